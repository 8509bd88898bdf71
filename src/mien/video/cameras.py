"""Cameras of this machine, through OpenCV.

OpenCV and not PyAV: it opens a camera by its number alike on Linux, macOS and Windows, where FFmpeg wants a device's
name in three ways, and it is there anyway. Pictures have the time at which they arrive.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any

import numpy as np

from mien.errors import VideoError
from mien.types import ImageArray
from mien.video.container import Limits
from mien.video.reading import Picture, SourceInfo
from mien.video.sequences import shrunk

__all__ = ["CameraConnection", "camera_number"]

_FASTEST = 1000.0


def camera_number(source: object) -> int | None:
    """The camera that a number, digits or a Linux device (`/dev/video0`) stand for; None for anything else."""
    if isinstance(source, bool):
        return None
    if isinstance(source, int):
        return source
    if not isinstance(source, (str, os.PathLike)):
        return None
    text = os.fsdecode(source)
    match = re.fullmatch(r"/dev/video(\d{1,4})", text) or re.fullmatch(r"(\d{1,4})", text)
    if match is None or (text.isdecimal() and os.path.lexists(text)):
        return None
    return int(match[1])


class CameraConnection:
    """A camera that is switched on.

    Args:
        number: from 0.
        limits: see `Limits`.
        capture: an OpenCV capture to read from; by default, that of the camera.

    Raises:
        VideoError: there is no such camera, or somebody else is using it.
    """

    def __init__(self, number: int, limits: Limits, *, capture: Any = None) -> None:
        name = f"camera {number}"
        self._capture = _opened(number, name) if capture is None else capture
        if not self._capture.isOpened():
            raise VideoError(f"{name}: cannot be opened; is it plugged in, and not used by another program?")
        self._limits = limits
        self._stopped = Event()
        import cv2

        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.info = SourceInfo(name, fps=fps if 0 < fps <= _FASTEST else None, live=True)

    def __iter__(self) -> Iterator[Picture]:
        """Pictures until it is unplugged."""
        while not self._stopped.is_set():
            given, bgr = self._capture.read()
            if not given or bgr is None:
                raise VideoError(f"{self.info.name}: gives no more pictures; was it unplugged?")
            yield Picture(time.monotonic(), partial(_rgb, bgr, self._limits.longest))

    def interrupt(self) -> None:
        """End after the next picture."""
        self._stopped.set()

    def close(self) -> None:
        """Switch it off."""
        self._capture.release()


def _opened(number: int, name: str) -> Any:
    import cv2

    if number < 0:
        raise VideoError(f"{name}: cameras are counted from 0")
    if sys.platform.startswith("linux") and not os.path.exists(f"/dev/video{number}"):  # noqa: PTH110
        raise VideoError(f"{name}: there is no such camera (no /dev/video{number})")
    with _quiet():
        return cv2.VideoCapture(number)


def _rgb(bgr: Any, longest: int | None) -> ImageArray:
    import cv2

    colour = cv2.cvtColor(bgr, cv2.COLOR_GRAY2RGB if bgr.ndim == 2 else cv2.COLOR_BGR2RGB)
    return shrunk(np.asarray(colour, dtype=np.uint8), longest)


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV's warnings go to standard error, past every handler: what they say is said by our errors."""
    import cv2

    before = cv2.getLogLevel()  # type: ignore[attr-defined]
    cv2.setLogLevel(0)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        cv2.setLogLevel(before)  # type: ignore[attr-defined]
