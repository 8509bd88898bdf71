"""Passive signs that the camera sees a picture of a picture: the rim of a screen or print, and moire.

Both are weak. What they miss, and how often they see what is not there, is measured in docs/liveness.md; no attempt is
accepted because of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mien.types import FloatArray

__all__ = ["Signs", "look_for_signs"]

_SIDE = 128  # pixels of the window whose spectrum is looked at
_LOWEST, _HIGHEST = 0.14, 0.48  # cycles per pixel: below are faces, above is the end
_AXES = 3  # bins beside the axes: blocks of compression, rows of sensors
_LEAST_WINDOW = 16  # pixels
_REACH = 6.0  # eye distances around the face in which a rim is looked for
_LEAST_SIDE = 2.0  # eye distances that a side of it is long at least
_STEEP = 12.0  # degrees that a side leans at most


@dataclass(frozen=True)
class Signs:
    """What was seen in one frame.

    Attributes:
        moire: how far the highest peak of the spectrum, away from the axes, stands above what surrounds it; in
            decibels.
        sides: on how many of the four sides of the face a long straight edge runs, 0 to 4.
    """

    moire: float
    sides: int


def look_for_signs(grey: npt.NDArray[np.uint8], landmarks: FloatArray) -> Signs:
    """Look at one face.

    Args:
        grey: (H, W) uint8, the frame.
        landmarks: (5, 2) of the face, pixels.
    """
    centre = landmarks.mean(axis=0)
    eyes = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    if not (np.isfinite(centre).all() and eyes > 1.0):
        return Signs(0.0, 0)
    return Signs(_moire(grey, centre), _sides(grey, centre, eyes))


def _moire(grey: npt.NDArray[np.uint8], centre: FloatArray) -> float:
    height, width = grey.shape
    side = min(_SIDE, height, width)
    left = int(np.clip(centre[0] - side / 2, 0, width - side))
    top = int(np.clip(centre[1] - side / 2, 0, height - side))
    window = grey[top : top + side, left : left + side].astype(np.float64)
    taper = np.hanning(side)
    power = np.abs(np.fft.fftshift(np.fft.fft2((window - window.mean()) * taper[:, None] * taper))) ** 2
    decibels = 10 * np.log10(power + 1e-3 * side**2)
    around = cv2.blur(decibels, (9, 9))
    frequency = np.fft.fftshift(np.fft.fftfreq(side))
    radius = np.hypot(frequency[:, None], frequency)
    bins = np.abs(np.arange(side) - side // 2)
    looked = (radius > _LOWEST) & (radius < _HIGHEST) & (bins[:, None] > _AXES) & (bins > _AXES)
    # three bins together: noise has single high ones
    excess = cv2.blur(decibels, (3, 3)) - around
    return float(excess[looked].max(initial=0.0))


def _sides(grey: npt.NDArray[np.uint8], centre: FloatArray, eyes: float) -> int:
    """Long straight edges left of, right of, above and below the face."""
    height, width = grey.shape
    reach = _REACH * eyes
    x0, x1 = np.clip((centre[0] - reach, centre[0] + reach), 0, width).astype(int)
    y0, y1 = np.clip((centre[1] - reach, centre[1] + reach), 0, height).astype(int)
    if min(x1 - x0, y1 - y0) < _LEAST_WINDOW:
        return 0
    edges = cv2.Canny(cv2.GaussianBlur(grey[y0:y1, x0:x1], (3, 3), 0), 60, 150)
    least = _LEAST_SIDE * eyes
    lines = cv2.HoughLinesP(edges, 1, np.pi / 180, int(least * 0.6), minLineLength=least, maxLineGap=4)
    if lines is None:
        return 0
    ends = lines.reshape(-1, 4).astype(np.float64) + np.array([x0, y0, x0, y0])
    middle = (ends[:, :2] + ends[:, 2:]) / 2 - centre
    lean = np.degrees(np.arctan2(np.abs(ends[:, 3] - ends[:, 1]), np.abs(ends[:, 2] - ends[:, 0])))
    upright, level = lean > 90 - _STEEP, lean < _STEEP
    found = (
        upright & (middle[:, 0] < -eyes),
        upright & (middle[:, 0] > eyes),
        level & (middle[:, 1] < -1.2 * eyes),
        level & (middle[:, 1] > 1.4 * eyes),
    )
    return sum(bool(side.any()) for side in found)
