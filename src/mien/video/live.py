"""Live sources: connections that give pictures as time passes, and that are made anew when they break."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from threading import Event, Lock
from typing import Protocol

from mien.errors import VideoError
from mien.video.addresses import HttpFile
from mien.video.clock import Clock
from mien.video.container import Limits, open_video
from mien.video.losses import Losses
from mien.video.reading import Picture, SourceInfo

__all__ = ["Backoff", "Connection", "LiveReader", "StreamConnection"]

_LEAST_STEP = 0.001  # seconds between a picture and the first one of the next connection


@dataclass(frozen=True)
class Backoff:
    """How long to wait before each further try: twice as long each time, up to a limit, and never in step with others.

    Attributes:
        first: seconds before the second try, at most.
        most: seconds between two tries, at most.
        patience: seconds without pictures after which a source is given up.
    """

    first: float = 0.5
    most: float = 10.0
    patience: float = 60.0

    def delays(self, rng: random.Random) -> Iterator[float]:
        """Seconds to wait before each try, each between half of its limit and all of it, until patience is at an end.

        Time is measured from the first one asked for, so that tries count that take long themselves.
        """
        until = time.monotonic() + self.patience
        limit = self.first
        while time.monotonic() < until:
            yield min(rng.uniform(limit / 2, limit), max(0.0, until - time.monotonic()))
            limit = min(2 * limit, self.most)


class Connection(Protocol):
    """A connection to a live source, open from the start."""

    info: SourceInfo

    def __iter__(self) -> Iterator[Picture]:
        """Pictures with times that rise from any zero; ends, or raises OSError or VideoError, when it breaks."""
        ...

    def interrupt(self) -> None:
        """End a read that waits; from any thread."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class LiveReader:
    """Reads a live source for as long as it can be reached.

    Time runs from the first picture. Within a connection it follows the source's timestamps; from one connection to
    the next, this machine's clock.

    Args:
        first: the connection to begin with: a source that was never there is not waited for.
        connect: makes another one; raises VideoError or OSError where it cannot be made.
        losses: told how long there were no pictures, and why.
        backoff: see `Backoff`.
    """

    def __init__(
        self, first: Connection, connect: Callable[[], Connection], losses: Losses, backoff: Backoff | None = None
    ) -> None:
        self._connect, self._losses, self._backoff = connect, losses, backoff or Backoff()
        self._lock = Lock()
        self._stopped = Event()
        self._connection: Connection | None = first
        self.info = replace(first.info, live=True, duration=None, frames=None)

    def __iter__(self) -> Iterator[Picture]:
        """The pictures of one connection after another."""
        clock, outage = _Clock(), None
        while self._connection is not None:
            why = "the source ended"
            try:
                for picture in self._connection:
                    when = clock(picture.time)
                    if outage is not None:
                        self._losses.tell(outage.sentence(when))
                        outage = None
                    yield Picture(when, picture.image)
            except (OSError, VideoError) as error:
                why = self._said(error)
            if clock.last is None or self._stopped.is_set():
                return
            outage = outage or _Outage(clock.last, self._backoff)
            outage.why = why
            clock.broke()
            self._reconnect(outage)

    def interrupt(self) -> None:
        """End a read or a wait; from any thread."""
        self._stopped.set()
        with self._lock:
            if self._connection is not None:
                self._connection.interrupt()

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _reconnect(self, outage: _Outage) -> None:
        """Try until there is a connection again; there is none after this when patience is at an end, or on a stop."""
        self.close()
        for delay in outage.delays:
            if self._stopped.wait(delay):
                return
            try:
                connection = self._connect()
            except (OSError, VideoError) as error:
                outage.why = self._said(error)
                continue
            with self._lock:
                self._connection = connection
            if self._stopped.is_set():  # while it was made
                connection.interrupt()
            return
        self._losses.tell(f"no pictures from {outage.at:.1f} s on, and given up: {outage.why}")

    def _said(self, error: Exception) -> str:
        return str(error).removeprefix(f"{self.info.name}: ") or type(error).__name__


class _Clock:
    """Seconds since the first picture, over all connections."""

    def __init__(self) -> None:
        self.last: float | None = None
        self._began = 0.0
        self._offset: float | None = None

    def __call__(self, stamp: float) -> float:
        now = time.monotonic()
        if self.last is None:
            self._began, self._offset = now, -stamp
        elif self._offset is None:
            self._offset = max(now - self._began, self.last + _LEAST_STEP) - stamp
        assert self._offset is not None  # noqa: S101
        self.last = stamp + self._offset
        return self.last

    def broke(self) -> None:
        """The next connection has a zero of its own."""
        self._offset = None


class _Outage:
    """A time without pictures."""

    def __init__(self, at: float, backoff: Backoff) -> None:
        self.at, self.why = at, ""
        self.delays = backoff.delays(random.Random())  # noqa: S311  (jitter)

    def sentence(self, until: float) -> str:
        return f"no pictures for {until - self.at:.1f} s, from {self.at:.1f} s on: {self.why}"


class StreamConnection:
    """A stream over HTTP or RTSP.

    Args:
        source: what is read: an `HttpFile`, or an RTSP address.
        name: for messages.
        limits: see `Limits`.
        losses: told what cannot be decoded.
        timeout: seconds that connecting, and each read, may take.

    Attributes:
        recorded: whether it is no live stream after all, but a file of which nobody said how long it is.

    Raises:
        VideoError: as `open_video`.
    """

    def __init__(self, source: HttpFile | str, name: str, limits: Limits, losses: Losses, *, timeout: float) -> None:
        self._file = None if isinstance(source, str) else source
        try:
            if isinstance(source, str):
                options = {**_RTSP, "timeout": str(int(timeout * 1_000_000))}
                self._video = open_video(
                    source, name, limits, losses, format="rtsp", options={**_PROMPT, **options}, timeout=timeout
                )
            else:
                self._video = open_video(source, name, limits, losses, options=_PROMPT)
                source.opened()
        except VideoError:
            self._close_file()
            raise
        self.info = SourceInfo(name, fps=self._video.rate, live=True)
        self.recorded = self._video.recorded

    def __iter__(self) -> Iterator[Picture]:
        """Pictures at their timestamps, or at the times of their arrival where the stream has none."""
        video = self._video
        clock = Clock(Losses(), step=video.step)  # a stream's first timestamps are often missing: nothing is lost
        last = 0.0
        for frame in video:
            arrived = max(time.monotonic(), last + _LEAST_STEP)
            last = clock(video.stamp(frame)) if video.timed else arrived
            yield Picture(last, partial(video.image, frame))

    def interrupt(self) -> None:
        """End a read that waits; over RTSP it ends by itself after the time-out."""
        if self._file is not None:
            self._file.interrupt()

    def close(self) -> None:
        """End the connection."""
        self._video.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()


_PROMPT = {"analyzeduration": "1000000", "fpsprobesize": "0"}
"""Do not look at many seconds of a stream before its first picture is given."""

_RTSP = {
    "protocol_whitelist": "rtsp,rtsps,rtp,udp,tcp,tls",
    "format_whitelist": "rtsp",
    "rtsp_flags": "prefer_tcp",
    "allowed_media_types": "video",
}
