"""The names of expressions, and what else people call them."""

from __future__ import annotations

import unicodedata

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""What a face can show, in FER+ order."""

_ALSO_CALLED = {
    "neutral": "natural calm 中性 中立 平静 自然 无表情",
    "happiness": "happy joy joyful smile smiling 高兴 开心 快乐 幸福",
    "surprise": "surprised 惊讶 惊奇 吃惊",
    "sadness": "sad 悲伤 难过 伤心",
    "anger": "angry 生气 愤怒",
    "disgust": "disgusted 厌恶 恶心",
    "fear": "fearful afraid scared 害怕 恐惧",
    "contempt": "contemptuous 轻蔑 蔑视",
}
_BY_NAME = {name: label for label, names in _ALSO_CALLED.items() for name in (label, *names.split())}


def expression_named(name: str) -> str:
    """The label in `EXPRESSIONS` that a name such as "Happy" or "高兴" stands for; the name itself where it is none."""
    return _BY_NAME.get(unicodedata.normalize("NFKC", name).casefold().strip(), name)
