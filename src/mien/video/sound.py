"""The sound of a video, copied into another one packet by packet: never decoded."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from mien.video.container import DEMUXERS

_SIMPLE = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_SAME = 0.001  # seconds; times are rounded to ticks of different clocks
_BEHIND = 0.25  # seconds by which sound is written ahead of its picture


class Sound:
    """Copies the first stream of sound of a file, as far as the pictures have come; nothing where there is none.

    Args:
        path: of the file.
        target: container to write into, before anything is written.
        start: seconds of the file that become 0.
    """

    def __init__(self, path: Path, target: Any, *, start: float) -> None:
        self._target, self._start = target, start
        self._file: Any = None
        self._from: Any = None
        self._packet: Any = None
        with suppress(OSError, ValueError, IndexError):  # a video without its sound is better than none
            self._open(path)

    def _open(self, path: Path) -> None:
        import av

        options = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "", "enable_drefs": "0"}
        self._file = path.open("rb")
        self._from = av.open(self._file, "r", options=options, metadata_errors="replace", io_open=_refuse)
        stream = self._from.streams.audio[0]
        if stream.codec_context is None or stream.codec_context.name not in _SIMPLE:
            raise ValueError("sound that is not simply copied")
        self._base = stream.time_base or Fraction(1, 1_000_000)
        self._begin = self._start + (self._from.start_time or 0) / 1_000_000
        if self._start > 0:
            self._from.seek(int(self._begin / self._base), stream=stream)
        self._stream = self._target.add_stream_from_template(stream)
        self._packets = self._from.demux(stream)
        self._packet = self._next()

    def copy(self, *, until: float) -> None:
        """Write what sounds until a time of the file, in seconds."""
        while self._packet is not None and self._time(self._packet) <= until - self._start + _BEHIND:
            self._packet.stream = self._stream
            offset = round(self._begin / self._base)
            self._packet.pts = max(self._packet.pts - offset, 0)
            self._packet.dts = max(self._packet.dts - offset, 0)
            self._target.mux(self._packet)
            self._packet = self._next()

    def _next(self) -> Any:
        """The next packet that begins at the start or later; None at the end, or where reading fails."""
        with suppress(OSError, ValueError):
            for packet in self._packets:
                if packet.pts is not None and packet.dts is not None and self._time(packet) >= -_SAME:
                    return packet
        return None

    def _time(self, packet: Any) -> float:
        """Seconds since the start."""
        return float(packet.pts * self._base) - self._begin

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for opened in (self._from, self._file):
            if opened is not None:
                opened.close()


def _refuse(url: str, flags: int, options: object) -> NoReturn:
    raise OSError("a file that refers to others")
