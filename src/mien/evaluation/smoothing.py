"""Smoothers over recorded tracks: what they answer, how good that is, and how the plain ones are tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import cast

import numpy as np

from mien.datasets.base import NO_ANSWER
from mien.datasets.tracks import Track, TrackSet
from mien.errors import DataError
from mien.evaluation.segments import Floats, Ints, latency, matched, segments
from mien.models.smoothing import NOTHING_YET, Kind, MovingAverage, Smoother, steadied
from mien.types import FloatArray

WINDOWS = (0.15, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Seconds that are tried for moving averages."""
MARGINS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)
"""Hystereses that are tried."""
KINDS: tuple[Kind, ...] = ("box", "exponential")


@dataclass(frozen=True, eq=False)
class Counted:
    """What of one track was right, as counts that can be added over tracks.

    Attributes:
        confusion: (C, C) int64 frames: a row for each true label, a column for each answer.
        hits: segments that were found.
        found: segments that were answered.
        true: segments that there are.
        onsets: |start found - start true| in seconds, of the segments that were found.
        latencies: seconds until a segment that begins in the track is first answered; infinite where it never is.
    """

    confusion: Ints
    hits: int
    found: int
    true: int
    onsets: tuple[float, ...]
    latencies: tuple[float, ...]


def probabilities_of(smoother: Smoother, tracks: Sequence[Track]) -> list[FloatArray]:
    """(T, C) for each track; all tracks run side by side."""
    order = sorted(range(len(tracks)), key=lambda i: -len(tracks[i]))
    longest = max(map(len, tracks), default=0)
    out = [np.zeros(track.scores.shape, np.float32) for track in tracks]
    elapsed = [track.elapsed for track in tracks]
    states = smoother.begin(len(order))
    for t in range(longest):
        while len(tracks[order[-1]]) <= t:  # these have ended
            order.pop()
        states = states[: len(order)]
        scores = np.stack([tracks[i].scores[t] for i in order])
        waited = np.array([elapsed[i][t] for i in order])
        seen = np.array([tracks[i].seen[t] for i in order])
        answers, states = smoother.step(states, scores, waited, seen)
        for answer, i in zip(answers, order, strict=True):
            out[i][t] = answer
    return out


def frame_by_frame(tracks: Sequence[Track]) -> list[FloatArray]:
    """(T, C) for each track: the scores themselves, and where no face is seen, those of the frame before."""
    out = []
    for track in tracks:
        last = np.maximum.accumulate(np.where(track.seen, np.arange(len(track)), -1))
        even = np.full(track.scores.shape, 1 / track.scores.shape[1], np.float32)
        out.append(np.where((last >= 0)[:, None], track.scores[np.maximum(last, 0)], even))
    return out


def states_of(answers: Sequence[FloatArray], margin: float) -> list[Ints]:
    """(T,) for each track: what it is said to show, by `steadied`."""
    longest = max(map(len, answers), default=0)
    classes = answers[0].shape[1] if answers else 0
    padded = np.zeros((len(answers), longest, classes), np.float32)
    for i, answer in enumerate(answers):
        padded[i, : len(answer)] = answer
    current = np.full(len(answers), NOTHING_YET, np.int64)
    states = np.zeros((len(answers), longest), np.int64)
    for t in range(longest):
        current = states[:, t] = steadied(padded[:, t], current, margin)
    return [row[: len(answer)] for row, answer in zip(states, answers, strict=True)]


def counted(track: Track, states: Ints, classes: int) -> Counted:
    """What of a track was right; frames without an answer are left out."""
    known = track.truth != NO_ANSWER
    truth, said, times = track.truth[known], states[known], track.times[known]
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, said), 1)
    found, true = segments(said, times), segments(truth, times)
    pairs = matched(found, true)
    begun = [segment for segment in true if segment.start > times[0]]
    waits = [latency(said, times, segment) for segment in begun]
    return Counted(
        confusion,
        len(pairs),
        len(found),
        len(true),
        tuple(abs(f.start - t.start) for f, t in pairs),
        tuple(np.inf if wait is None else wait for wait in waits),
    )


def accuracy_of(confusions: Ints) -> Floats:
    """(...,) of (..., C, C) confusion matrices."""
    right = np.trace(confusions, axis1=-2, axis2=-1)
    return cast(Floats, right / np.maximum(confusions.sum(axis=(-2, -1)), 1))


def macro_f1_of(confusions: Ints) -> Floats:
    """(...,) mean F1 over the labels that there are, of (..., C, C) confusion matrices."""
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    true, said = confusions.sum(axis=-1), confusions.sum(axis=-2)
    f1 = 2 * right / np.maximum(true + said, 1)
    return cast(Floats, (f1 * (true > 0)).sum(axis=-1) / np.maximum((true > 0).sum(axis=-1), 1))


def segment_f1_of(hits: Ints, found: Ints, true: Ints) -> Floats:
    """F1 of segments; 1 where there is nothing to find and nothing was found."""
    total = np.asarray(found + true, dtype=np.float64)
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)


class Tuning:
    """Tracks on which hystereses are tried: for the best mean of frame accuracy and segment F1.

    Args:
        tracks: whose truth is known.
    """

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._known = [track.truth != NO_ANSWER for track in tracks]
        self._truth = [track.truth[known] for track, known in zip(tracks, self._known, strict=True)]
        self._times = [track.times[known] for track, known in zip(tracks, self._known, strict=True)]
        self._segments = [segments(truth, times) for truth, times in zip(self._truth, self._times, strict=True)]

    def figures(self, states: Sequence[Ints]) -> tuple[float, float]:
        """Frame accuracy and segment F1 of answers, (T,) for each track."""
        said = [row[known] for row, known in zip(states, self._known, strict=True)]
        right = np.concatenate([a == b for a, b in zip(said, self._truth, strict=True)])
        found = [segments(row, times) for row, times in zip(said, self._times, strict=True)]
        hits = sum(len(matched(f, t)) for f, t in zip(found, self._segments, strict=True))
        of = segment_f1_of(*(np.array(n) for n in (hits, sum(map(len, found)), sum(map(len, self._segments)))))
        return float(right.mean()), float(of)

    def quality(self, states: Sequence[Ints]) -> float:
        """The mean of both `figures`."""
        return sum(self.figures(states)) / 2

    def margin(self, answers: Sequence[FloatArray]) -> tuple[float, float]:
        """The hysteresis of the best quality of answers, (T, C) for each track, and that quality."""
        tried = [(self.quality(states_of(answers, margin)), margin) for margin in MARGINS]
        best, margin = max(tried, key=lambda pair: (pair[0], -pair[1]))
        return margin, best

    def margin_over(self, answers: Sequence[FloatArray], others: Sequence[Ints]) -> float:
        """The hysteresis with which answers are better than others in both figures: the smaller gain is the largest.

        Args:
            answers: (T, C) for each track.
            others: (T,) for each track: what something else says that it shows.
        """
        theirs = self.figures(others)

        def smaller_gain(margin: float) -> float:
            ours = self.figures(states_of(answers, margin))
            return min(our - their for our, their in zip(ours, theirs, strict=True))

        return max(MARGINS, key=smaller_gain)


def tuned_moving_average(data: TrackSet) -> MovingAverage:
    """The moving average of the best `quality` on some tracks: kind, window and hysteresis are all tried.

    Raises:
        DataError: there are no tracks.
    """
    if not len(data):
        raise DataError(f"{data.name}: no tracks to tune on")
    best: tuple[float, MovingAverage] | None = None
    tuning = Tuning(data.tracks)
    for kind, window in product(KINDS, WINDOWS):
        plain = MovingAverage(data.labels, window, kind=kind)
        margin, value = tuning.margin(probabilities_of(plain, data.tracks))
        if best is None or value > best[0]:
            best = value, MovingAverage(data.labels, window, kind=kind, margin=margin)
    assert best is not None  # noqa: S101 - there is at least one window
    return best[1]
