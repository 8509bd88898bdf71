"""What to do about a face that is pictured too poorly to recognise somebody by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

Language = Literal["en", "zh"]

TEXTS: Mapping[str, Mapping[Language, str]] = {
    "closer": {"en": "move closer", "zh": "请靠近一些"},
    "into_view": {"en": "bring the whole face into the picture", "zh": "请让整张脸都在画面里"},
    "sharper": {"en": "hold still, or clean and focus the lens", "zh": "请保持不动，或擦净镜头并对焦"},
    "more_light": {"en": "more light", "zh": "请增加光线"},
    "less_light": {"en": "less light", "zh": "请减少光线"},
    "even_light": {"en": "light from the front, not from one side", "zh": "请让光线从正面而不是一侧照来"},
    "turn_to_camera": {"en": "turn to the camera", "zh": "请转向镜头"},
    "upright": {"en": "hold the head upright", "zh": "请把头摆正"},
    "uncover": {"en": "uncover the face", "zh": "请不要遮挡面部"},
    "again": {"en": "take it again", "zh": "请重拍一张"},
}
"""By its code: what people are told."""
CODES: tuple[str, ...] = tuple(TEXTS)

# Eyes, detail and light: where two to four points of the true matches are lost as pictures of lfw_dev are made worse
# (docs/robustness.md, docs/quality.md). The others: what few or none of lfw_dev's pictures pass (recipes/quality.py).
LEAST_EYES = 17.0
LEAST_INSIDE = 0.85
LEAST_DETAIL = 0.003
LEAST_BRIGHTNESS = 30.0
MOST_BRIGHTNESS = 215.0
MOST_BRIGHT = 0.15
MOST_SIDE_LIGHT = 0.45
MOST_YAW = 40.0
MOST_PITCH = 18.0
MOST_ROLL = 40.0
MOST_OCCLUSION = 0.3
LEAST_SCORE = 0.8


def advise(measures: Mapping[str, npt.NDArray[np.floating]]) -> npt.NDArray[np.bool_]:
    """Which advice each face gets.

    Args:
        measures: (N,) each, by the names in `mien.answers.Qualities`, and "yaw", "pitch" and "roll" in degrees.

    Returns:
        (N, 10) bool, in the order of `CODES`; "again" only where nothing else is known to be wrong.
    """
    m = measures
    found = {
        "closer": m["eyes"] < LEAST_EYES,
        "into_view": m["inside"] < LEAST_INSIDE,
        "sharper": m["detail"] < LEAST_DETAIL,
        "more_light": m["brightness"] < LEAST_BRIGHTNESS,
        "less_light": (m["brightness"] > MOST_BRIGHTNESS) | (m["bright"] > MOST_BRIGHT),
        "even_light": np.abs(m["side_light"]) > MOST_SIDE_LIGHT,
        "turn_to_camera": (np.abs(m["yaw"]) > MOST_YAW) | (np.abs(m["pitch"]) > MOST_PITCH),
        "upright": np.abs(m["roll"]) > MOST_ROLL,
        "uncover": m["occlusion"] > MOST_OCCLUSION,
    }
    known = np.stack(list(found.values()), axis=1)
    again = (m["score"] < LEAST_SCORE) & ~known.any(axis=1)
    advised: npt.NDArray[np.bool_] = np.concatenate([known, again[:, None]], axis=1)
    return advised


def texts(codes: Iterable[str], language: Language = "en") -> list[str]:
    """The sentences for some codes.

    Raises:
        KeyError: there is no such code or language.
    """
    return [TEXTS[code][language] for code in codes]
