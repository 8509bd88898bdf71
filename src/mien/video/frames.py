"""Frames: pictures with the time at which each is shown, from whatever gives pictures.

    with open_frames("lesson.mp4", start=60, end=120, max_fps=10, longest=1280) as frames:
        for frame in frames:
            print(frame.time, frame.image.shape)
        print(frames.losses)

A file is read ahead by a thread that waits when its frames are not taken: nothing is dropped. A camera or a stream does
not wait: what is not taken in time is dropped, the oldest first, and counted.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from glob import has_magic
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from mien.errors import VideoError
from mien.models.runtime import default_threads
from mien.ops.files import is_folder, printable
from mien.ops.image import MAX_PIXELS
from mien.types import ImageArray
from mien.video.addresses import HttpFile, is_address, shown
from mien.video.buffering import Ahead
from mien.video.cameras import CameraConnection, camera_number
from mien.video.container import Limits
from mien.video.files import TIME_TOLERANCE, FileReader, open_regular
from mien.video.live import Backoff, Connection, LiveReader, StreamConnection
from mien.video.losses import Losses
from mien.video.reading import Picture, Reader, SourceInfo
from mien.video.sequences import IterableReader, SequenceReader

__all__ = ["Frame", "FrameSource", "Source", "SourceInfo", "open_frames"]

Source: TypeAlias = "str | os.PathLike[str] | int | Iterable[tuple[float, Any]]"

_AHEAD_FRAMES = 16
_AHEAD_BYTES = 64 << 20
_AHEAD_LIVE = 4  # what waits is old


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        index: number of the picture in order of display, from 0 at the first one after `start`. Pictures left out by
            `every` or `max_fps`, dropped or lost count too, so that numbers may be missing.
        time: seconds since the start of the source, rising strictly.
        image: (H, W, 3) uint8 RGB, upright. The size can change within a source.
    """

    index: int
    time: float
    image: ImageArray

    @property
    def nbytes(self) -> int:
        """What the picture takes in memory."""
        return self.image.nbytes


def open_frames(
    source: Source,
    *,
    start: float = 0.0,
    end: float | None = None,
    every: int = 1,
    max_fps: float | None = None,
    longest: int | None = None,
    fps: float = 25.0,
    threads: int = 0,
    max_pixels: int = MAX_PIXELS,
    timeout: float = 10.0,
    patience: float = 60.0,
) -> FrameSource:
    """Open a source of frames; its first one has been decoded when this returns.

    Args:
        source: path of a video; folder or pattern of pictures; address of a stream or a video (http, https, rtsp,
            rtsps); number of a camera; or an iterable of (seconds, picture), with pictures as `load_image` takes them.
        start: seconds; the first frame is the first that is shown then or later, exactly.
        end: seconds; the last frame is the last that is shown before; None reads to the end.
        every: give only every n-th frame.
        max_fps: give no more frames per second than this on average, spread evenly over time.
        longest: scale pictures down to this longest side, in pixels.
        fps: pictures per second of a folder or pattern.
        threads: threads of the decoder; 0 takes the cores there are.
        max_pixels: larger pictures are refused before they are decoded.
        timeout: seconds to wait for a connection, and for anything to arrive over it.
        patience: seconds for which a live source that broke is tried again; then the frames end.

    Raises:
        VideoError: nothing can be read from it; one line says why.
        ValueError: an argument that makes no sense.
    """
    selection = _Selection(start, end, every, max_fps)
    _check(longest=longest, fps=fps, max_pixels=max_pixels, timeout=timeout)
    opening = _Opening(
        Limits(max_pixels, longest, threads or default_threads()), start, fps, timeout, Backoff(patience=patience)
    )
    return FrameSource(opening.reader(source), selection, opening.losses)


class FrameSource:
    """Iterator of `Frame`, and context manager; made by `open_frames`.

    May be closed by any thread; whoever waits for a frame then gets the end. Also closed when it is no longer used.
    """

    def __init__(self, reader: Reader, selection: _Selection, losses: Losses) -> None:
        self._reader, self._losses = reader, losses
        self._size: tuple[int, int] | None = None
        self._closed = False
        frames = _frames(reader, selection)
        self._ahead: Ahead[Frame] | None = None
        self._direct: Iterator[Frame] = iter(())
        if isinstance(reader, IterableReader):
            self._direct = frames
            return
        live = reader.info.live
        self._ahead = Ahead(
            frames,
            most=_AHEAD_LIVE if live else _AHEAD_FRAMES,
            most_bytes=_AHEAD_BYTES,
            drop=live,
            interrupt=reader.interrupt,
            finish=reader.close,
        )
        self._end = weakref.finalize(self, self._ahead.close)
        self._await_first(selection)

    @property
    def info(self) -> SourceInfo:
        """What is known of the source; its size from the first frame on."""
        if self._size is None:
            return self._reader.info
        return replace(self._reader.info, width=self._size[0], height=self._size[1])

    @property
    def losses(self) -> tuple[str, ...]:
        """What could not be read or was dropped until now, as sentences with counts."""
        dropped = self.dropped
        late = (f"{dropped:,} frame{'s were' if dropped != 1 else ' was'} dropped: not taken in time",)
        return self._losses.sentences() + (late if dropped else ())

    @property
    def dropped(self) -> int:
        """Frames of a live source that were not taken in time."""
        return self._ahead.dropped if self._ahead is not None else 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frame:
        if self._closed:
            raise StopIteration
        frame = next(self._direct, None) if self._ahead is None else self._ahead.get()
        if frame is None:
            raise StopIteration
        if self._size is None:
            self._size = frame.image.shape[1], frame.image.shape[0]
        return frame

    def close(self) -> None:
        """Stop reading, and let go of files, devices and connections. From any thread, and more than once."""
        if self._closed:
            return
        self._closed = True
        if self._ahead is None:
            self._reader.close()
        else:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _await_first(self, selection: _Selection) -> None:
        """Wait for the first frame: a source that has none is an error now, not an empty loop later."""
        assert self._ahead is not None  # noqa: S101
        try:
            first = self._ahead.peek()
        except BaseException:
            self.close()
            raise
        if first is None:
            self.close()
            raise VideoError(f"{self.info.name}: {self._why_nothing(selection)}")
        self._size = first.image.shape[1], first.image.shape[0]

    def _why_nothing(self, selection: _Selection) -> str:
        lost = "".join(f": {sentence}" for sentence in self._losses.sentences()[:1])
        if selection.start or selection.end is not None:
            until = "its end" if selection.end is None else f"{selection.end:g} s"
            lasts = f", it lasts {self.info.duration:.1f} s" if self.info.duration else ""
            return f"no picture between {selection.start:g} s and {until}{lasts}{lost}"
        if lost:
            return f"no picture can be read from it{lost}"
        return "there is no picture in it"


@dataclass(frozen=True)
class _Selection:
    """Which pictures are wanted; arguments of `open_frames`."""

    start: float
    end: float | None
    every: int
    max_fps: float | None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and self.start >= 0):
            raise ValueError(f"start is {self.start}; it is in seconds, and 0 or more")
        if self.end is not None and not self.end > self.start:
            raise ValueError(f"end is {self.end}; it must be after the start, {self.start}")
        if self.every < 1:
            raise ValueError(f"every is {self.every}; 1 gives every frame")
        _check(max_fps=self.max_fps)

    def of(self, pictures: Iterable[Picture]) -> Iterator[tuple[int, Picture]]:
        """Those wanted, numbered."""
        index, slot = -1, -1
        for picture in pictures:
            if self.start > 0 and picture.time < self.start - TIME_TOLERANCE:
                continue
            if self.end is not None and picture.time >= self.end - TIME_TOLERANCE:
                return
            index += 1
            if index % self.every:
                continue
            if self.max_fps is not None:
                # Time is cut in slots, and each gives its first picture.
                now = math.floor((picture.time - self.start + TIME_TOLERANCE) * self.max_fps)
                if now == slot:
                    continue
                slot = now
            yield index, picture


def start_again(time: float, *, start: float, max_fps: float | None) -> float:
    """Where to start so that the frames from one on are given again, and the same ones.

    Args:
        time: seconds, of a frame that was given.
        start: with which it was.
        max_fps: likewise.
    """
    if max_fps is None:
        return time
    return start + math.floor((time - start + TIME_TOLERANCE) * max_fps) / max_fps


def _check(**positive: float | None) -> None:
    for name, value in positive.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be more than 0")


def _frames(reader: Reader, selection: _Selection) -> Iterator[Frame]:
    for index, picture in selection.of(reader):
        image = picture.image()
        if image is not None:
            yield Frame(index, picture.time, image)


@dataclass(frozen=True)
class _Opening:
    """Finds the reader for a source."""

    limits: Limits
    start: float
    fps: float
    timeout: float
    backoff: Backoff
    losses: Losses = field(default_factory=Losses)

    def reader(self, source: Source) -> Reader:
        number = camera_number(source)
        if number is not None:
            return self._live(lambda: CameraConnection(number, self._prompt))
        if isinstance(source, (str, os.PathLike)):
            return self._of_path(os.fspath(source))
        if isinstance(source, Iterable):
            return IterableReader(
                source, "frames", self.losses, max_pixels=self.limits.max_pixels, longest=self.limits.longest
            )
        raise VideoError(
            f"cannot read frames from {type(source).__name__}: pass a path, an address, the number of a camera, "
            "or pairs of a time and a picture"
        )

    @property
    def _prompt(self) -> Limits:
        return replace(self.limits, delay=False)

    def _of_path(self, path: str) -> Reader:
        if not path:
            raise VideoError("the name of the source is empty")
        if is_address(path):
            return self._of_address(path)
        name = printable(path)
        if is_folder(Path(path)) or (has_magic(path) and not os.path.lexists(path)):
            most, longest = self.limits.max_pixels, self.limits.longest
            return SequenceReader(path, name, self.losses, fps=self.fps, max_pixels=most, longest=longest)
        return FileReader(open_regular(path), name, self.limits, self.losses, start=self.start)

    def _of_address(self, address: str) -> Reader:
        """HTTP that says how long it is gives a file; what has no end is live, and so is RTSP."""
        name = shown(address)
        if address.lower().startswith("rtsp"):
            return self._live(lambda: self._stream(address, name))
        file = HttpFile(address, self.timeout)
        if file.length is not None:
            return FileReader(file, name, self.limits, self.losses, start=self.start)
        first = self._stream(file, name)
        if first.recorded:
            first.close()
            return FileReader(HttpFile(address, self.timeout), name, self.limits, self.losses, start=self.start)
        return LiveReader(first, lambda: self._stream(HttpFile(address, self.timeout), name), self.losses, self.backoff)

    def _stream(self, source: HttpFile | str, name: str) -> StreamConnection:
        return StreamConnection(source, name, self._prompt, self.losses, timeout=self.timeout)

    def _live(self, connect: Callable[[], Connection]) -> Reader:
        return LiveReader(connect(), connect, self.losses, self.backoff)
