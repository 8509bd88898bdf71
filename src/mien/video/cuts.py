"""Noticing cuts: frames that do not go on from the one before."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_SIZE = (32, 18)  # width, height of what is compared: coarse enough that people and cameras may move
_ALIKE = 0.5  # correlation under which a frame shows another scene
_FLAT = 2.0  # standard deviation in grey levels under which a frame shows nothing


class CutDetector:
    """Compares each frame, reduced to a thumbnail, with the one before.

    It takes the correlation of both, which a flash or a fade of the light leaves high, and motion lowers little: a
    frame that correlates by less than a half with the one before shows another scene. From or to a flat (black) picture
    is a cut as well.
    """

    def __init__(self) -> None:
        self._before: npt.NDArray[np.float64] | None = None

    def __call__(self, grey: npt.NDArray[np.uint8]) -> bool:
        """Take the next frame, (h, w) uint8; returns whether there is a cut before it. The first frame follows none."""
        now = np.asarray(cv2.resize(grey, _SIZE, interpolation=cv2.INTER_AREA), dtype=np.float64)
        before, self._before = self._before, now
        return before is not None and not _alike(before, now)


def _alike(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    flat = a.std() < _FLAT, b.std() < _FLAT
    if any(flat):
        return all(flat)
    correlation = ((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std())
    return bool(correlation >= _ALIKE)
