"""Video files, read ahead and to the end: nothing is dropped, and what is damaged is told."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mien.errors import VideoError
from mien.ops.files import printable
from mien.video.addresses import HttpFile
from mien.video.clock import Clock
from mien.video.container import Limits, Video, open_video
from mien.video.losses import Losses
from mien.video.reading import Picture, SourceInfo

__all__ = ["TIME_TOLERANCE", "FileReader", "open_regular"]

TIME_TOLERANCE = 0.0005
"""Seconds: many containers round timestamps to milliseconds."""

_EARLIER = (0.0, 1.0, 10.0)  # seconds before the start asked for at which a seek may have to begin
_SHORT = 0.5  # seconds that a file may end early before that is worth a word


class FileReader:
    """Reads a container from a file object.

    Args:
        file: binary; read from its beginning, and closed with the reader.
        name: for messages.
        limits: see `Limits`.
        losses: told what cannot be read.
        start: seconds; what is shown earlier is passed over as far as seeking allows.

    Raises:
        VideoError: as `open_video`.
    """

    def __init__(
        self, file: BinaryIO | HttpFile, name: str, limits: Limits, losses: Losses, *, start: float = 0.0
    ) -> None:
        self._file, self._name, self._limits = file, name, limits
        self._losses, self._start = losses, start
        head = _head(file)
        try:
            _check_is_no_picture(head, name)
            self._video = self._open()
        except VideoError as error:
            file.close()
            raise _told_better(error, head, name) from None
        if isinstance(file, HttpFile):
            file.opened()
        video = self._video
        self.info = SourceInfo(name, fps=video.rate, duration=video.duration, frames=video.frames)

    def __iter__(self) -> Iterator[Picture]:
        """Pictures from about `start` on: earlier ones may come first."""
        video = self._video
        clock = Clock(self._losses if video.timed else Losses(), step=video.step, end=video.duration)
        time = None
        try:
            for frame in self._from_start():
                time = clock(self._video.stamp(frame) if video.timed else None)
                yield Picture(time, partial(self._video.image, frame))
        except OSError as error:
            self._losses.tell(f"reading stopped after {time or 0:.1f} s: {error}")
        if time is not None:
            self._tell_short(time + video.step)
            if not video.timed:
                self._losses.tell(f"there are no timestamps in it: {1 / video.step:g} pictures per second were assumed")

    def interrupt(self) -> None:
        """End a read that waits, where the file is one that does."""
        if isinstance(self._file, HttpFile):
            self._file.interrupt()

    def close(self) -> None:
        """Close the container and its file."""
        self._video.close()
        self._file.close()

    def _open(self) -> Video:
        self._file.seek(0)
        video = open_video(self._file, self._name, self._limits, self._losses)
        video.since = self._start - TIME_TOLERANCE
        return video

    def _from_start(self) -> Iterator[Any]:
        """From the last seek that leads to `start` or before it; from the beginning where none does."""
        if self._start > 0 and self._video.timed and self._file.seekable():
            for earlier in _EARLIER:
                if not self._video.seek(max(0.0, self._start - earlier)):
                    break
                frames = iter(self._video)
                first = next(frames, None)
                stamp = None if first is None else self._video.stamp(first)
                if stamp is not None and stamp <= self._start + TIME_TOLERANCE:
                    yield first
                    yield from frames
                    return
            self._video.close()
            self._video = self._open()
        yield from self._video

    def _tell_short(self, end: float) -> None:
        claimed = self._video.ends
        if end < claimed - max(_SHORT, 2 * self._video.step):
            self._losses.tell(f"it ends at {end:.1f} s, of the {claimed:.1f} s that it claims")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for `FileReader`; pipes and devices are refused before they are opened, as that may block.

    Raises:
        VideoError: there is none, it is empty or of another kind, or it cannot be read.
    """
    name = printable(path)
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(f"{name}: is a pipe or a device, not a regular file")
        if status.st_size == 0:
            raise VideoError(f"{name}: the file is empty")
        return Path(path).open("rb")
    except FileNotFoundError as error:
        raise VideoError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:
        raise VideoError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}".lower()) from error


def _head(file: BinaryIO | HttpFile) -> bytes:
    """How a file begins; nothing of one that lies elsewhere."""
    if isinstance(file, HttpFile):
        return b""
    file.seek(0)
    return file.read(64)


def _check_is_no_picture(head: bytes, name: str) -> None:
    """Refuse pictures in boxes, whose tiles FFmpeg would take for videos."""
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
        raise VideoError(f"{name}: {_A_PICTURE}")


def _told_better(error: VideoError, head: bytes, name: str) -> VideoError:
    """Say more of files whose beginning tells what they are."""
    if head[4:8] == b"ftyp" and "damaged" in str(error):
        return VideoError(f"{name}: the recording was never finished, or its end is missing: no index (moov) in it")
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")) or head[8:12] == b"WEBP":
        return VideoError(f"{name}: {_A_PICTURE}")
    return error


_A_PICTURE = "a picture, not a video; give a folder of pictures, or use mien analyze"
