"""Annotated video: names and expressions drawn on every frame, with the frames' own times, and the sound copied.

PyAV is imported when one is written. Pictures are coded with H.264 where FFmpeg has an encoder, else as MPEG-4 part 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from mien.errors import MienError, VideoError
from mien.ops.atomic import written_whole
from mien.ops.draw import draw_faces
from mien.ops.files import printable
from mien.types import Faces, ImageArray
from mien.video.columns import UNCERTAIN, Rows
from mien.video.plots import colour_of
from mien.video.sound import Sound
from mien.video.story import name_of
from mien.video.summary import Source

FORMATS = (".mp4", ".mov", ".mkv")
"""What an annotated video can be written as."""

_BASE = Fraction(1, 60_000)  # of timestamps: exact for all usual frame rates, and as fine as MPEG-4 allows
_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "veryfast", "crf": "21"}),
    ("libopenh264", {}),
    ("mpeg4", {"qscale": "3"}),
)
_SAME = 1e-6  # seconds by which times may differ that are one


class _FrameLike(Protocol):
    @property
    def time(self) -> float: ...
    @property
    def image(self) -> ImageArray: ...


def check_render(path: Path) -> None:
    """Find out ahead whether an annotated video can be written.

    Raises:
        MienError: PyAV is not installed, or the suffix names no format.
    """
    if path.suffix.lower() not in FORMATS:
        raise MienError(f"{printable(path)}: not a format for videos; use {', '.join(FORMATS)}")
    _encoder()


def render(
    path: Path,
    frames: Iterable[_FrameLike],
    blocks: Iterable[Rows],
    names: Mapping[int, str],
    source: Source,
    *,
    start: float = 0.0,
    sound: Path | None = None,
    progress: Callable[..., None] = lambda done, total: None,
) -> None:
    """Write a video with everything drawn that is known; whole, or not at all.

    Args:
        path: where to; .mp4, .mov or .mkv.
        frames: of the source, in order.
        blocks: the rows, in order of time.
        names: by track.
        source: what was looked at; frames after its end are left out.
        start: seconds of the source that become 0.
        sound: the file whose sound is copied; None for none. Sound that the format cannot hold is left out.
        progress: called with (seconds done, seconds in all).

    Raises:
        MienError: it cannot be written.
    """
    moments = _Moments(blocks)
    with Writer(path, start=start, sound=sound) as writer:
        for frame in frames:
            if frame.time > source.end + _SAME:
                break
            writer(frame.time, annotated(frame.image, moments.at(frame.time), names))
            progress(frame.time - source.start, max(source.seconds, _SAME))


def annotated(image: ImageArray, rows: Rows, names: Mapping[int, str]) -> ImageArray:
    """A picture with boxes, names and expressions drawn on it.

    Args:
        image: (H, W, 3) uint8 RGB.
        rows: of this moment. A colour says what a face shows, as in plots, or where nobody asked for that, who it is.
        names: by track.

    Returns:
        (H, W, 3) uint8 RGB, a new array, or `image` where nobody is seen.
    """
    seen = rows[rows.seen]
    if not len(seen):
        return image
    height, width = image.shape[:2]
    faces = Faces(seen.boxes, seen.scores, np.zeros((len(seen), 5, 2), dtype=np.float32), (width, height))
    labels = [_label(track, state, seen, names) for track, state in zip(seen.track, seen.state, strict=True)]
    colours: list[Any] = seen.track.tolist()
    if seen.labels:
        colours = [_colour(state, seen.labels) for state in seen.state.tolist()]
    return draw_faces(image, faces, labels, colours=colours, points=False)


def _colour(state: int, labels: Sequence[str]) -> tuple[int, int, int]:
    """The colour of an expression; white for what is uncertain, or not known."""
    colour = colour_of(name_of(state, labels) or "uncertain", labels)
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _label(track: int, state: int, rows: Rows, names: Mapping[int, str]) -> str:
    who = names.get(int(track), f"person {track}")
    shown = name_of(int(state), rows.labels)
    return who if shown is None or state == UNCERTAIN else f"{who}: {shown}"


class _Moments:
    """Rows of the moment that holds at a time, in one pass: times must not go back."""

    def __init__(self, blocks: Iterable[Rows]) -> None:
        self._coming = (moment for rows in blocks for moment in rows.moments())
        self._now = Rows.empty()
        self._next = next(self._coming, None)

    def at(self, time: float) -> Rows:
        """The rows that stand at `time`; none where nobody was there."""
        while self._next is not None and self._next.time[0] <= time + _SAME:
            self._now, self._next = self._next, next(self._coming, None)
        over = len(self._now) and time >= self._now.time[0] + max(float(self._now.seconds[0]), _SAME) - _SAME
        return Rows.empty(self._now.labels) if over and time > self._now.time[0] + _SAME else self._now


class LiveRender:
    """Draws frames as they come: of a source that cannot be read twice. Names are those known by then.

    Args:
        path: where to.
    """

    def __init__(self, path: Path) -> None:
        self._writer = Writer(path)

    def __call__(self, frame: _FrameLike, rows: Rows, names: Mapping[int, str]) -> None:
        """The next frame, and its rows."""
        self._writer(frame.time, annotated(frame.image, rows, names))

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)


class Writer:
    """A video file that appears whole, or not at all; a context manager.

    Args:
        path: where to; .mp4, .mov or .mkv.
        start: seconds that become 0; the time of the first picture by default.
        sound: the file whose sound is copied; None for none.

    Raises:
        MienError: it cannot be written, or no picture came.
    """

    def __init__(self, path: Path, *, start: float | None = None, sound: Path | None = None) -> None:
        check_render(path)
        self._path, self._start, self._sound_of = path, start, sound
        self._stack = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._sound: Sound | None = None
        self._size = (0, 0)
        self._first = 0.0
        self._stamp = -1

    def __enter__(self) -> Self:
        self._temporary = self._stack.enter_context(_whole(self._path))
        return self

    def __call__(self, time: float, image: ImageArray) -> None:
        """The next picture; all have the size of the first, and those of another are scaled to it.

        Args:
            time: seconds, later than that of the one before.
            image: (H, W, 3) uint8 RGB.
        """
        try:
            self._write(time, image)
        except OSError as error:
            raise _unwritten(self._path, error) from error

    def _write(self, time: float, image: ImageArray) -> None:
        import av

        if self._stream is None:
            self._open(time, image)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        width, height = self._size
        picture = picture.reformat(width=width, height=height, format="yuv420p")
        self._stamp = max(round((time - self._first) / _BASE), self._stamp + 1)
        picture.pts, picture.time_base = self._stamp, _BASE
        for packet in self._stream.encode(picture):
            self._container.mux(packet)
        if self._sound is not None:
            self._sound.copy(until=time)

    def _open(self, time: float, image: ImageArray) -> None:
        import av

        name, options = _encoder()
        height, width = image.shape[:2]
        self._size = max(width // 2 * 2, 2), max(height // 2 * 2, 2)
        self._first = time if self._start is None else self._start
        kind = {".mkv": "matroska", ".mov": "mov"}.get(self._path.suffix.lower(), "mp4")
        self._container = self._stack.enter_context(av.open(str(self._temporary), "w", format=kind))
        stream = self._container.add_stream(name, options=options)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _BASE
        self._stream = stream
        if self._sound_of is not None:
            self._sound = self._stack.enter_context(Sound(self._sound_of, self._container, start=self._first))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._stack.__exit__(kind, error, traceback)

    def _finish(self) -> None:
        if self._stream is None:
            raise VideoError(f"{printable(self._path)}: not written: there was no picture to draw on")
        try:
            for packet in self._stream.encode():
                self._container.mux(packet)
        except OSError as error:
            raise _unwritten(self._path, error) from error


class _whole:  # noqa: N801 - reads as a function
    """`written_whole`, with one line for what goes wrong."""

    def __init__(self, path: Path) -> None:
        self._path, self._inner = path, written_whole(path)

    def __enter__(self) -> Path:
        return self._inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        try:
            self._inner.__exit__(*error)
        except OSError as failure:
            raise _unwritten(self._path, failure) from failure


def _encoder() -> tuple[str, dict[str, str]]:
    """The first that FFmpeg has."""
    try:
        from av.codec import codecs_available
    except ImportError as error:
        raise MienError("writing video needs PyAV: pip install 'mien[video]'") from error
    found = next(((name, dict(options)) for name, options in _ENCODERS if name in codecs_available), None)
    if found is None:
        raise MienError("this PyAV has no encoder for video; install the one that comes as a wheel")
    return found


def _unwritten(path: Path, error: OSError) -> MienError:
    return MienError(f"{printable(path)}: cannot be written ({error.strerror or error})")
