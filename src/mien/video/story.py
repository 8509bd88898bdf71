"""What becomes of each track: when it was there, what it showed from when to when, blinks, crossings, shares of time.

A `Story` is told row by row and keeps what happened, not the rows: its memory grows with what happens, and not with the
length of the video.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mien.video.attention import FACING, Attention
from mien.video.columns import UNCERTAIN, UNKNOWN, Row, Rows
from mien.video.counting import Crossing, Line, LineCounter
from mien.video.intervals import Interval

GAP = 1.0
"""Seconds for which somebody may be out of sight without having left."""
_CLOSED = 0.5  # probability that an eye is open, under which it is closed
LONGEST_BLINK = 0.5
"""Seconds; eyes that stay closed longer do not blink."""


@dataclass(frozen=True, slots=True)
class Band:
    """A time in which a track showed one thing.

    Attributes:
        start: seconds.
        end: seconds.
        state: position among the labels, `UNCERTAIN` or `UNKNOWN`.
        peak: the highest smoothed probability of the state; 0 where it has none.
        peak_time: when that was.
    """

    start: float
    end: float
    state: int
    peak: float = 0.0
    peak_time: float = 0.0


@dataclass(frozen=True)
class Rules:
    """By which rows become a story.

    Attributes:
        lines: whose crossings are counted.
        gap: seconds for which somebody may be out of sight without having left.
        facing: degrees of yaw and pitch within which a face is towards the camera.
    """

    lines: tuple[Line, ...] = ()
    gap: float = GAP
    facing: float = FACING


@dataclass
class Track:
    """One track, as far as it is told.

    Attributes:
        number: of the track.
        attention: seconds towards the camera, and with open eyes.
        presence: when it was seen; occlusions shorter than the gap do not interrupt it.
        bands: what it showed, in order, without a gap where it was present.
        blinks: when its eyes closed for a moment.
        time_in: seconds in each state, in which it was seen.
    """

    number: int
    attention: Attention
    presence: list[Interval] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    blinks: list[float] = field(default_factory=list)
    time_in: dict[int, float] = field(default_factory=dict)
    _closed_since: float | None = None
    _was_open: bool = False
    _scene: int = 0

    @property
    def seconds(self) -> float:
        """For how long it was seen."""
        return sum(self.time_in.values())

    def add(self, row: Row, gap: float) -> None:
        """What it does next; while it is not seen, nothing is known of it."""
        if not row.seen:
            return
        there = bool(self.presence) and row.time - self.presence[-1][1] <= gap
        if there:
            self.presence[-1] = (self.presence[-1][0], max(self.presence[-1][1], row.end))
        else:
            self.presence.append((row.time, row.end))
        self.time_in[row.state] = self.time_in.get(row.state, 0.0) + row.end - row.time
        self.attention.add(row)
        self._show(row, there)
        self._blink(row, there and row.scene == self._scene)
        self._scene = row.scene

    def _show(self, row: Row, there: bool) -> None:
        last = self.bands[-1] if there else None
        if last is None or last.state != row.state:
            if last is not None:  # through an occlusion, what it showed before goes on
                self.bands[-1] = Band(last.start, row.time, last.state, last.peak, last.peak_time)
            self.bands.append(Band(row.time, row.end, row.state, row.chance, row.time))
            return
        peak, when = max((last.peak, -last.peak_time), (row.chance, -row.time))
        self.bands[-1] = Band(last.start, max(last.end, row.end), row.state, peak, -when)

    def _blink(self, row: Row, there: bool) -> None:
        if not there or math.isnan(row.left):
            self._closed_since, self._was_open = None, False
        if math.isnan(row.left):
            return
        if max(row.left, row.right) >= _CLOSED:
            since = self._closed_since
            if since is not None and row.time - since <= LONGEST_BLINK:
                self.blinks.append(since)
            self._closed_since, self._was_open = None, True
        elif self._was_open and self._closed_since is None:
            self._closed_since = row.time


class Story:
    """All tracks of a video.

    Args:
        labels: of the expressions.
        rules: by which it is told; lines in pixels.
    """

    def __init__(self, labels: Sequence[str], rules: Rules = Rules()) -> None:
        self.labels = tuple(labels)
        self.rules = rules
        self.tracks: dict[int, Track] = {}
        self._lines = LineCounter(rules.lines, rules.gap)

    @property
    def crossings(self) -> Sequence[Crossing]:
        """Of all lines, in order of time."""
        return self._lines.crossings

    def add(self, rows: Rows) -> None:
        """Tell what happens next.

        Args:
            rows: later than those before.
        """
        for row in rows.walk():
            track = self.tracks.get(row.track)
            if track is None:
                track = self.tracks[row.track] = Track(row.track, Attention(self.rules.facing))
            track.add(row, self.rules.gap)
            self._lines.add(row)


def steady(bands: Sequence[Band], least: float) -> list[Band]:
    """Bands without those shorter than `least` seconds.

    What interrupts one thing for less than that is passed over; what is short otherwise becomes `UNCERTAIN`, so that
    nothing is said to last longer than it does.

    Args:
        bands: in order.
        least: seconds.
    """
    out: list[Band] = []
    for band in _uninterrupted(bands, least):
        short = band.state >= 0 and band.end - band.start < least
        now = Band(band.start, band.end, UNCERTAIN) if short else band
        if out and out[-1].end == now.start and out[-1].state == now.state:
            now = _joined(out.pop(), now)
        out.append(now)
    return out


def _uninterrupted(bands: Sequence[Band], least: float) -> list[Band]:
    """Bands of one state that are less than `least` seconds apart become one, with what is between."""
    out: list[Band] = []
    for band in bands:
        before, start = len(out), band.start
        while before and out[before - 1].end == start and band.start - out[before - 1].end < least:
            before -= 1
            start = out[before].start
            if out[before].state == band.state:
                out[before:] = [_joined(out[before], band)]
                break
        else:
            out.append(band)
    return out


def _joined(first: Band, last: Band) -> Band:
    peak, when = max((first.peak, -first.peak_time), (last.peak, -last.peak_time))
    return Band(first.start, last.end, first.state, peak, -when)


def name_of(state: int, labels: Sequence[str]) -> str | None:
    """A state in a word; None where it is unknown."""
    if state == UNKNOWN:
        return None
    return "uncertain" if state == UNCERTAIN else labels[state]
