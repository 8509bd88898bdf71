"""How faces lie in the crops that models are trained on."""

from __future__ import annotations

from collections.abc import Callable

from mien.models.arcface import CROP as ARCFACE_CROP
from mien.models.dlib_landmarks import CENTERFACE_TEMPLATE, CHIP_SIZE

FACE_TEMPLATE = ((14.57, 18.87), (32.43, 18.87), (23.5, 28.58), (16.28, 36.0), (30.72, 36.0))
"""Where the detector's landmarks lie in FER+'s pictures of 48 pixels (recipes/expression_template.py)."""
_SIDE = 48
ATTRIBUTES_MARGIN = 0.0
"""Around dlib's chips on each side, in parts of theirs, for age and gender (recipes/LOG.md)."""

Template = tuple[tuple[float, float], ...]
Framing = Callable[[int], Template]
"""By the side of a crop: where the five landmarks lie in it."""


def face_template(size: int) -> Template:
    """Where the five landmarks lie in crops of `size` pixels framed as FER+ is; pixel centres at integers."""
    return _scaled(FACE_TEMPLATE, size / _SIDE)


def people_template(size: int) -> Template:
    """The same for recognition: tighter, as ArcFace's crops are."""
    return _scaled(ARCFACE_CROP.template, size / ARCFACE_CROP.size)


def attributes_template(size: int) -> Template:
    """The same for age and gender: as dlib's face recognition network sees faces, with `ATTRIBUTES_MARGIN` around."""
    margin = CHIP_SIZE * ATTRIBUTES_MARGIN
    wider = tuple((x + margin, y + margin) for x, y in CENTERFACE_TEMPLATE)
    return _scaled(wider, size / (CHIP_SIZE + 2 * margin))


def _scaled(template: Template, scale: float) -> Template:
    return tuple((round((x + 0.5) * scale - 0.5, 3), round((y + 0.5) * scale - 0.5, 3)) for x, y in template)
