"""Why an attempt ended: codes for programs, and sentences for the person in front of the camera.

The sentences tell an honest person what to do better. What a guard saw stays in the measures of the report, which are
for whoever runs the door.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mien.ops import advice
from mien.ops.advice import Language

__all__ = ["ADVICE", "SENTENCES", "Reason", "advise", "sentence"]

Reason = Literal[
    "accepted",
    "no-baseline",
    "face-lost",
    "several-faces",
    "too-early",
    "not-done",
    "another-action",
    "no-rest",
    "stream",
    "presentation",
    "another-face",
    "not-recognised",
    "too-long",
    "cancelled",
    "locked",
    "withdrawn",
    "expired",
    "rehearsal",
]

SENTENCES: Mapping[Reason, Mapping[Language, str]] = {
    "accepted": {"en": "Welcome.", "zh": "欢迎。"},
    "no-baseline": {
        "en": "No calm, clear view of one face; follow the advice and try again.",
        "zh": "没有看到平静、清晰的单人面部；请按提示调整后重试。",
    },
    "face-lost": {"en": "The face left the picture; stay in view.", "zh": "面部离开了画面；请保持在画面中。"},
    "several-faces": {
        "en": "Somebody else came close; one person at a time.",
        "zh": "有其他人靠近；请一次只让一个人在镜头前。",
    },
    "too-early": {"en": "Wait until you are asked.", "zh": "请等提示出现后再做动作。"},
    "not-done": {"en": "What was asked was not seen in time.", "zh": "没有及时看到要求的动作。"},
    "another-action": {"en": "Something else than asked was seen.", "zh": "看到的不是要求的动作。"},
    "no-rest": {"en": "Come back to rest after each action.", "zh": "每个动作后请恢复自然表情。"},
    "stream": {
        "en": "The pictures did not come evenly; check the camera, and whether computer or network are busy.",
        "zh": "画面不连续；请检查摄像头，以及电脑或网络是否繁忙。",
    },
    "presentation": {"en": "This could not be confirmed.", "zh": "无法确认。"},
    "another-face": {"en": "This could not be confirmed.", "zh": "无法确认。"},
    "not-recognised": {"en": "Not recognised.", "zh": "未能识别。"},
    "too-long": {"en": "It took too long; try again.", "zh": "用时过长；请重试。"},
    "cancelled": {"en": "Ended before it was done.", "zh": "未完成即结束。"},
    "locked": {"en": "Too many failed attempts; wait.", "zh": "失败次数过多；请稍候。"},
    "withdrawn": {
        "en": "This person withdrew their consent to be recognised; use another way in.",
        "zh": "此人已撤回对人脸识别的同意；请使用其他方式进入。",
    },
    "expired": {
        "en": "The time for which this face may be kept is over; use another way in.",
        "zh": "此人脸信息的保存期限已过；请使用其他方式进入。",
    },
    "rehearsal": {
        "en": "A recording never unlocks anything; this was a rehearsal.",
        "zh": "录像不能解锁；这只是一次演练。",
    },
}

_OWN: Mapping[str, Mapping[Language, str]] = {
    "no_face": {"en": "come in front of the camera", "zh": "请站到镜头前"},
    "one_person": {"en": "one person at a time", "zh": "请一次只让一个人在镜头前"},
    "neutral": {"en": "relax your face: no smile, mouth closed", "zh": "请放松面部：不要笑，闭上嘴"},
    "open_eyes": {"en": "open your eyes", "zh": "请睁开眼睛"},
    "hold_still": {"en": "hold still for a moment", "zh": "请保持不动片刻"},
}
ADVICE: Mapping[str, Mapping[Language, str]] = {**advice.TEXTS, **_OWN}
"""By its code: what to do so that the attempt can begin."""


def sentence(reason: Reason, language: Language = "en") -> str:
    """What the person is told."""
    return SENTENCES[reason][language]


def advise(codes: tuple[str, ...], language: Language = "en") -> list[str]:
    """The sentences of pieces of advice."""
    return [ADVICE[code][language] for code in codes]
