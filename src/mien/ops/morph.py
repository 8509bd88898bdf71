"""One face turning into another: both are bent halfway towards each other, and cross-faded.

A plain cross-fade shows two mouths; dense optical flow (DIS, Kroeger et al., "Fast optical flow using dense inverse
search", 2016) moves one mouth to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mien.types import FloatArray, ImageArray

_ENLARGED = 2  # flow is found at this scale: faces of 48 pixels are small for it
_SMOOTHING = 2.0  # pixels of the face: skin moves together


@dataclass(frozen=True, eq=False)
class Morph:
    """The way from one picture to another; made by `morph_between`.

    Attributes:
        start: (H, W) uint8.
        end: (H, W) uint8.
        forth: (H, W, 2) float32, xy in pixels: where each pixel of `start` lies in `end`, less its own place.
        back: the same from `end` to `start`.
    """

    start: ImageArray
    end: ImageArray
    forth: FloatArray
    back: FloatArray

    def at(self, share: float) -> FloatArray:
        """The picture in between.

        Args:
            share: 0 gives `start`, 1 gives `end`.

        Returns:
            (H, W) float32 in [0, 255].
        """
        if share <= 0:
            return self.start.astype(np.float32)
        if share >= 1:
            return self.end.astype(np.float32)
        # A pixel in between came from about `share` of the way back, and goes the rest of the way.
        first = _moved(self.start, self.back * np.float32(share))
        last = _moved(self.end, self.forth * np.float32(1 - share))
        mixed: FloatArray = (1 - np.float32(share)) * first + np.float32(share) * last
        return mixed


def morph_between(start: ImageArray, end: ImageArray) -> Morph:
    """Find how two grey pictures of faces, of the same size, fit onto each other.

    Args:
        start: (H, W) uint8.
        end: (H, W) uint8.
    """
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    first, last = (
        cv2.resize(picture, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_LINEAR)
        for picture in (start, end)
    )
    ways = []
    for a, b in ((first, last), (last, first)):
        flow = finder.calc(a, b, np.zeros((*a.shape, 2), np.float32))
        small = cv2.resize(flow, start.shape[::-1], interpolation=cv2.INTER_AREA) / _ENLARGED
        ways.append(cv2.GaussianBlur(small, (0, 0), _SMOOTHING).astype(np.float32))
    return Morph(start, end, ways[0], ways[1])


def _moved(picture: ImageArray, flow: FloatArray) -> FloatArray:
    """Each pixel taken from where the flow points."""
    height, width = picture.shape
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    found = cv2.remap(
        picture, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found.astype(np.float32)
