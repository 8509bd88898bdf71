"""Segments: from when to when a track shows an expression, and how well those that were found fit those that are true.

A rest (the first label, neutral) is no segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.datasets.base import NO_ANSWER

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MIN_IOU = 0.5
"""Two segments of one label fit where they have this share of their union in common."""
REST = 0
_LONELY = 0.1  # seconds that a track of one frame lasts


@dataclass(frozen=True)
class Segment:
    """A stretch of time with one label.

    Attributes:
        label: position in the labels.
        start: seconds.
        end: seconds, above `start`.
    """

    label: int
    start: float
    end: float

    def iou(self, other: Segment) -> float:
        """Time in common, in parts of the time of either."""
        common = min(self.end, other.end) - max(self.start, other.start)
        return max(common, 0.0) / (max(self.end, other.end) - min(self.start, other.start))


def segments(states: Ints, times: Floats) -> list[Segment]:
    """The segments of a track; each frame lasts until the next one, and the last one as long as most.

    Args:
        states: (T,) labels; `REST` and `NO_ANSWER` are no segments.
        times: (T,) seconds, rising.
    """
    if not len(states):
        return []
    starts = np.flatnonzero(np.diff(states, prepend=states[0] - 1))
    step = float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else _LONELY
    ends = np.append(times[starts[1:]], times[-1] + step)
    return [
        Segment(int(states[i]), float(times[i]), float(end))
        for i, end in zip(starts, ends, strict=True)
        if states[i] not in (REST, NO_ANSWER) and end > times[i]
    ]


def matched(found: Sequence[Segment], true: Sequence[Segment]) -> list[tuple[Segment, Segment]]:
    """Pairs (found, true) of one label that fit; best first, each segment in one pair at most."""
    pairs = [
        (f.iou(t), i, k)
        for i, f in enumerate(found)
        for k, t in enumerate(true)
        if f.label == t.label and f.start < t.end and t.start < f.end
    ]
    used: set[int] = set()
    taken: set[int] = set()
    chosen = []
    for iou, i, k in sorted(pairs, key=lambda pair: -pair[0]):
        if iou >= MIN_IOU and i not in used and k not in taken:
            used.add(i)
            taken.add(k)
            chosen.append((found[i], true[k]))
    return chosen


def latency(states: Ints, times: Floats, segment: Segment) -> float | None:
    """Seconds from a true segment's start to the first frame in it that says so; None where none does."""
    inside = (times >= segment.start) & (times < segment.end) & (states == segment.label)
    return float(times[np.argmax(inside)] - segment.start) if inside.any() else None
