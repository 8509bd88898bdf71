"""Decoded pictures as RGB arrays, as they are displayed: square pixels, scaled, turned and mirrored."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.types import ImageArray
from mien.video.reading import scaled_size

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["ToRGB"]

_MOST_STRETCH = 4.0  # sample aspect ratios beyond are damage
_MATRIX_BYTES = 36


class ToRGB:
    """Converts, scales and stretches in one pass, then turns as the display matrix says.

    Args:
        longest: pictures are scaled down to this longest side; None leaves them.
        max_pixels: pixels that are not square are left as they are where squaring them would take more.
        threads: of the conversion.
    """

    def __init__(self, longest: int | None, max_pixels: int, threads: int) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()  # keeps its tables from one picture to the next
        self._longest, self._max_pixels, self._threads = longest, max_pixels, threads

    def __call__(self, frame: VideoFrame, aspect: Fraction | None) -> ImageArray:
        """(H, W, 3) uint8 RGB of a decoded picture whose pixels are `aspect` times as wide as high."""
        width, height = scaled_size(*_stretched(frame, aspect, self._max_pixels), self._longest)
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", threads=self._threads)
        return _turn(frame)(np.asarray(rgb.to_ndarray(), dtype=np.uint8))


def _stretched(frame: VideoFrame, aspect: Fraction | None, max_pixels: int) -> tuple[int, int]:
    """Size with square pixels, as displayed; nothing is made smaller."""
    width, height = frame.width, frame.height
    if not aspect or not 1 / _MOST_STRETCH <= aspect <= _MOST_STRETCH or aspect == 1:
        return width, height
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return size if size[0] * size[1] <= max_pixels else (width, height)


def _turn(frame: VideoFrame) -> Callable[[ImageArray], ImageArray]:
    """How to bring a decoded picture upright: the nearest of the eight turns and mirrorings."""
    a, b, c, d = _display_matrix(frame)
    straight = abs(a) + abs(d) >= abs(b) + abs(c)
    return _TURNS[(True, a < 0, d < 0) if straight else (False, c < 0, b < 0)]


def _display_matrix(frame: VideoFrame) -> tuple[float, float, float, float]:
    """(a, b, c, d): x, y of a picture are displayed in the directions a x + c y, b x + d y."""
    from av.sidedata.sidedata import Type

    try:
        side_data: Any = frame.side_data
    except ValueError:  # data of a kind that PyAV does not know, as EXIF; the angle is known even so
        turn = math.radians(-frame.rotation)
        return math.cos(turn), math.sin(turn), -math.sin(turn), math.cos(turn)
    data = side_data.get(Type.DISPLAYMATRIX)
    if data is None or data.buffer_size < _MATRIX_BYTES:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data)[:20], np.int32).tolist()
    return a, b, c, d


def _as_it_is(image: ImageArray) -> ImageArray:
    return image


def _turned(transpose: bool, flip_x: bool, flip_y: bool) -> Callable[[ImageArray], ImageArray]:
    def turn(image: ImageArray) -> ImageArray:
        image = image.transpose(1, 0, 2) if transpose else image
        return np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])

    return turn


# (whether x stays x, whether the displayed x is mirrored, and the displayed y)
_TURNS = {
    (straight, flip_x, flip_y): _turned(not straight, flip_x, flip_y)
    for straight in (True, False)
    for flip_x in (True, False)
    for flip_y in (True, False)
} | {(True, False, False): _as_it_is}
