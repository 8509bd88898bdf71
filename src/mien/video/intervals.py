"""Intervals of time as pairs of seconds: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Interval: TypeAlias = tuple[float, float]
"""(start, end) in seconds, end not before start."""
_SAME = 1e-4  # seconds by which a time can differ from itself, and no frame is as short: files hold rounded times


def joined(intervals: Iterable[Interval], gap: float = 0.0) -> list[Interval]:
    """The union, in order, where neighbours at most `gap` seconds apart become one.

    Args:
        intervals: in any order; they may overlap.
        gap: seconds.
    """
    out: list[Interval] = []
    for start, end in sorted(intervals):
        if out and start <= out[-1][1] + gap:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def total(intervals: Sequence[Interval]) -> float:
    """Seconds inside intervals that do not overlap."""
    return sum(end - start for start, end in intervals)


def inside(intervals: Iterable[Interval], start: float, end: float) -> list[Interval]:
    """What of them lies between two times; nothing of no length is left."""
    cut = ((max(a, start), min(b, end)) for a, b in intervals)
    return [(a, b) for a, b in cut if b > a]


def most_at_once(intervals: Iterable[Interval]) -> int:
    """How many hold at one time, at most; where one ends as another begins, they do not meet."""
    return max(over_time(intervals)[1], default=0)


def over_time(intervals: Iterable[Interval]) -> tuple[list[float], list[int]]:
    """How many hold over time: (T,) seconds at which that can change, rising, and (T,) how many from then on."""
    times: list[float] = []
    counts: list[int] = []
    for time, change in sorted(step for a, b in intervals for step in ((a, 1), (b, -1))):
        if not times or time - times[-1] > _SAME:
            times.append(time)
            counts.append(counts[-1] if counts else 0)
        counts[-1] += change
    return times, counts
