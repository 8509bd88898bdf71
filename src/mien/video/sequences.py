"""Pictures as frames: folders and patterns of files, and whatever else gives pictures with their times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import ImageError, VideoError
from mien.ops.files import list_images
from mien.ops.image import load_image
from mien.types import ImageArray
from mien.video.losses import Losses
from mien.video.reading import Picture, SourceInfo, scaled_size

__all__ = ["IterableReader", "SequenceReader"]

_UNREADABLE = ("1 picture could not be read", "{n} pictures could not be read")


class SequenceReader:
    """Reads picture files as the frames of a video, in natural order of their names ("2" before "10").

    Args:
        source: folder, whose own pictures are taken and not those in folders inside it, or pattern (`*`, `?`, `[...]`).
        name: for messages.
        fps: pictures per second.
        max_pixels: larger pictures are lost.
        longest: pictures are scaled down to this longest side.
        losses: told which pictures cannot be read.

    Raises:
        VideoError: there are no pictures, or the folder cannot be listed.
    """

    def __init__(
        self, source: str, name: str, losses: Losses, *, fps: float, max_pixels: int, longest: int | None
    ) -> None:
        try:
            self._files = list(list_images([source], recursive=False))
        except ImageError as error:
            raise VideoError(str(error)) from error
        if not self._files or self._files == [Path(source)]:
            raise VideoError(f"{name}: there are no pictures in it")
        self._losses, self._max_pixels, self._longest = losses, max_pixels, longest
        frames = len(self._files)
        self.info = SourceInfo(name, fps=fps, duration=frames / fps, frames=frames)

    def __iter__(self) -> Iterator[Picture]:
        """Every picture at its time; one that cannot be read leaves a gap."""
        for index, path in enumerate(self._files):
            time = index / (self.info.fps or 1)
            yield Picture(time, partial(self._load, path, time))

    def interrupt(self) -> None:
        """Nothing to do: files do not wait."""

    def close(self) -> None:
        """Nothing to do: no file stays open."""

    def _load(self, path: Path, time: float) -> ImageArray | None:
        try:
            return shrunk(load_image(path, max_pixels=self._max_pixels), self._longest)
        except ImageError as error:
            self._losses.count(*_UNREADABLE, time)
            self._losses.tell(str(error))
            return None


class IterableReader:
    """Takes pictures from any iterable of (time, image), as it comes: in the thread of whoever takes the frames.

    Args:
        pairs: seconds, rising strictly, and what `load_image` takes: arrays, paths or bytes.
        name: for messages.
        max_pixels: larger pictures are lost.
        longest: pictures are scaled down to this longest side.
        losses: told which pictures cannot be read.
    """

    def __init__(
        self, pairs: Iterable[Any], name: str, losses: Losses, *, max_pixels: int, longest: int | None
    ) -> None:
        self._pairs, self._losses = pairs, losses
        self._max_pixels, self._longest = max_pixels, longest
        self.info = SourceInfo(name)

    def __iter__(self) -> Iterator[Picture]:
        """Raises VideoError where an item is no such pair, or time does not rise."""
        last = None
        for item in self._pairs:
            time = _time_of(item, last, self.info.name)
            last = time
            yield Picture(time, partial(self._load, item[1], time))

    def interrupt(self) -> None:
        """Nothing to do: nobody else waits for it."""

    def close(self) -> None:
        """End a generator."""
        close = getattr(self._pairs, "close", None)
        if callable(close) and hasattr(self._pairs, "send"):
            with suppress(ValueError):  # it runs, in another thread, and is not asked for more
                close()

    def _load(self, source: Any, time: float) -> ImageArray | None:
        try:
            return shrunk(load_image(source, max_pixels=self._max_pixels), self._longest)
        except ImageError as error:
            self._losses.count(*_UNREADABLE, time)
            self._losses.tell(str(error))
            return None


def shrunk(image: ImageArray, longest: int | None) -> ImageArray:
    """Scale an RGB picture down to `longest`; as it is where it is no larger."""
    height, width = image.shape[:2]
    size = scaled_size(width, height, longest)
    if size == (width, height):
        return image
    import cv2

    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _time_of(item: Any, last: float | None, name: str) -> float:
    try:
        time, _ = item
        time = float(time)
    except (TypeError, ValueError) as error:
        raise VideoError(f"{name}: its items are not pairs of a time in seconds and a picture") from error
    if not np.isfinite(time) or (last is not None and time <= last):
        raise VideoError(f"{name}: times must rise, and {time} s does not follow {last} s")
    return time
