"""Expressions over time: how well what tracks are said to show fits what they show, frame by frame and by segments."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mien.datasets.tracks import TrackSet
from mien.errors import DataError
from mien.evaluation.segments import MIN_IOU, Floats, Ints
from mien.evaluation.smoothing import (
    Counted,
    accuracy_of,
    counted,
    frame_by_frame,
    macro_f1_of,
    probabilities_of,
    segment_f1_of,
    states_of,
)
from mien.models.smoothing import Smoother
from mien.types import FloatArray

FRAME_BY_FRAME = "frame by frame"
PROTOCOL = f"causal, frame by frame; segments by IoU of at least {MIN_IOU:g}; 95 % intervals over tracks"
_RESAMPLED = 2000
_LEVELS = (2.5, 97.5)
_DECIMALS = 4
_SPEED_TRACKS, _SPEED_STEPS = 4, 50

Measure = Callable[["_Sums"], Floats]


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def to_list(self) -> list[float]:
        """JSON-ready: value, low, high."""
        return [round(number, _DECIMALS) for number in (self.value, self.low, self.high)]


@dataclass(frozen=True)
class TemporalFigures:
    """How good the answers of one smoother are.

    Attributes:
        accuracy: share of frames that are right.
        macro_f1: mean F1 of frames, over the expressions that there are.
        segment_f1: F1 of segments.
        found: number of segments that were answered; of these, `hits` fit.
        hits: see `found`.
        onset_error: median seconds between starts found and true, of the segments that were found; None without any.
        latency: median seconds until a segment that begins in its track is answered, those that never are included
            as infinitely late; None without any, infinite where half of them never are.
        noticed: share of these segments that are answered at all.
    """

    accuracy: Interval
    macro_f1: Interval
    segment_f1: Interval
    found: int
    hits: int
    onset_error: float | None
    latency: float | None
    noticed: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not known or not finite is absent."""
        plain = {"onset_error": self.onset_error, "latency": self.latency, "noticed": self.noticed}
        return {
            "frame_accuracy": self.accuracy.to_list(),
            "macro_f1": self.macro_f1.to_list(),
            "segment_f1": self.segment_f1.to_list(),
            "segments_found": self.found,
            "segments_right": self.hits,
            **{name: round(v, _DECIMALS) for name, v in plain.items() if v is not None and np.isfinite(v)},
        }


@dataclass(frozen=True, eq=False)
class TemporalReport:
    """The figures of several smoothers on the same tracks.

    Attributes:
        data: what the tracks are of.
        model: name of the network.
        frames: number of frames in all.
        tracks: number of tracks.
        segments: number of true segments.
        rows: by the name of each smoother: its figures.
        gains: by the name of each other smoother: by how much the network's accuracy and segment F1 are above its.
        ms_per_step: milliseconds that the network takes for one frame of 4 tracks.
        setup: what else the figures depend on.
        examples: by name (also "true"): what the first tracks are said to show, for plots; (T,) each.
        times: of these, (T,) seconds each.
        labels: the expressions.
    """

    data: str
    model: str
    frames: int
    tracks: int
    segments: int
    rows: Mapping[str, TemporalFigures]
    gains: Mapping[str, tuple[Interval, Interval]]
    ms_per_step: float
    setup: Mapping[str, str | int] = field(default_factory=dict)
    examples: Mapping[str, Sequence[Ints]] = field(default_factory=dict)
    times: Sequence[Floats] = ()
    labels: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the one schema of `mien evaluate temporal`; figures with an interval are [value, low, high]."""
        return {
            "protocol": PROTOCOL,
            "n": self.frames,
            "tracks": self.tracks,
            "segments": self.segments,
            "model": self.model,
            "data": self.data,
            **self.setup,
            "methods": {name: figures.to_dict() for name, figures in self.rows.items()},
            "gain_over": {
                name: {"frame_accuracy": accuracy.to_list(), "segment_f1": segment.to_list()}
                for name, (accuracy, segment) in self.gains.items()
            },
            "ms_per_step": round(self.ms_per_step, _DECIMALS),
        }

    def summary(self) -> dict[str, Any]:
        """The figures that go into a model's card: by method."""
        return {
            name: {
                "frame_accuracy": _with_interval(of.accuracy),
                "macro_f1": _with_interval(of.macro_f1),
                "segment_f1": _with_interval(of.segment_f1),
            }
            for name, of in self.rows.items()
        }


def _with_interval(figure: Interval) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def evaluate_temporal(
    data: TrackSet,
    model: Smoother,
    others: Mapping[str, Smoother],
    *,
    name: str,
    setup: Mapping[str, str | int] | None = None,
) -> TemporalReport:
    """Measure a network beside others on tracks whose truth is known.

    Args:
        data: the tracks.
        model: the network.
        others: by name: what it is compared with; what each frame says by itself is always one of them.
        name: of the network.
        setup: what else the figures depend on, for the report.

    Raises:
        DataError: there are no tracks, or their labels are others.
        ModelError: the network fails.
    """
    if not len(data):
        raise DataError(f"{data.name}: no tracks to measure")
    for what, smoother in {name: model, **others}.items():
        if smoother.labels != data.labels:
            raise DataError(f"{data.name}: its labels are not those of {what}")
    states = {FRAME_BY_FRAME: states_of(frame_by_frame(data.tracks), 0.0)}
    for what, smoother in {**others, name: model}.items():
        states[what] = states_of(_answers(smoother, data), smoother.margin)
    counts = {what: _counts(data, said) for what, said in states.items()}
    drawn = np.random.default_rng(0).multinomial(len(data), np.full(len(data), 1 / len(data)), _RESAMPLED)
    sums = {what: _Sums.of(of, drawn) for what, of in counts.items()}
    return TemporalReport(
        data=data.name,
        model=name,
        frames=data.frames,
        tracks=len(data),
        segments=sum(c.true for c in counts[name]),
        rows={what: _figures(counts[what], sums[what]) for what in states},
        gains={what: _gains(sums[name], sums[what]) for what in states if what != name},
        ms_per_step=_speed(model, len(data.labels)),
        setup=dict(setup or {}),
        examples={"true": [track.truth for track in data.tracks[:_EXAMPLES]]}
        | {what: said[:_EXAMPLES] for what, said in states.items()},
        times=[track.times for track in data.tracks[:_EXAMPLES]],
        labels=data.labels,
    )


_EXAMPLES = 3


def _answers(smoother: Smoother, data: TrackSet) -> list[FloatArray]:
    return probabilities_of(smoother, data.tracks)


def _counts(data: TrackSet, states: Sequence[Ints]) -> list[Counted]:
    return [counted(track, said, len(data.labels)) for track, said in zip(data.tracks, states, strict=True)]


@dataclass(frozen=True, eq=False)
class _Sums:
    """Counts over all tracks, and after that over each resampled set of them: R + 1 rows."""

    confusion: Ints
    hits: Ints
    found: Ints
    true: Ints

    @classmethod
    def of(cls, counts: Sequence[Counted], drawn: Ints) -> _Sums:
        weights = np.concatenate([np.ones((1, len(counts)), np.int64), drawn])
        confusion = np.stack([c.confusion for c in counts])
        parts = (np.array([getattr(c, name) for c in counts]) for name in ("hits", "found", "true"))
        return cls(np.tensordot(weights, confusion, axes=1), *(weights @ part for part in parts))

    @property
    def accuracy(self) -> Floats:
        return accuracy_of(self.confusion)

    @property
    def macro_f1(self) -> Floats:
        return macro_f1_of(self.confusion)

    @property
    def segment_f1(self) -> Floats:
        return segment_f1_of(self.hits, self.found, self.true)


def _interval(values: Floats) -> Interval:
    """Of the whole (the first value) and the resampled sets."""
    low, high = np.percentile(values[1:], _LEVELS)
    return Interval(float(values[0]), float(low), float(high))


def _figures(counts: Sequence[Counted], sums: _Sums) -> TemporalFigures:
    onsets = [seconds for c in counts for seconds in c.onsets]
    waits = [seconds for c in counts for seconds in c.latencies]
    return TemporalFigures(
        accuracy=_interval(sums.accuracy),
        macro_f1=_interval(sums.macro_f1),
        segment_f1=_interval(sums.segment_f1),
        found=int(sums.found[0]),
        hits=int(sums.hits[0]),
        onset_error=float(np.median(onsets)) if onsets else None,
        latency=float(np.sort(waits)[len(waits) // 2]) if waits else None,
        noticed=float(np.isfinite(waits).mean()) if waits else None,
    )


def _gains(ours: _Sums, theirs: _Sums) -> tuple[Interval, Interval]:
    """Of accuracy and segment F1, with intervals over the same tracks."""
    return _interval(ours.accuracy - theirs.accuracy), _interval(ours.segment_f1 - theirs.segment_f1)


def _speed(model: Smoother, classes: int) -> float:
    states = model.begin(_SPEED_TRACKS)
    scores = np.full((_SPEED_TRACKS, classes), 1 / classes, np.float32)
    taken = []
    for _ in range(_SPEED_STEPS):
        began = time.perf_counter()
        _, states = model.step(states, scores, 0.1)
        taken.append(time.perf_counter() - began)
    return 1e3 * float(np.median(taken))


COLUMNS = ("Method", "Frame accuracy", "Macro F1", "Segment F1", "Segments", "Onset error", "Latency", "Noticed")
"""What `rows` gives."""


def rows(report: TemporalReport) -> list[tuple[str, ...]]:
    """A row for each method, as people read it."""

    def seconds(value: float | None) -> str:
        return "–" if value is None or not np.isfinite(value) else f"{value:.2f} s"

    def share(figure: Interval) -> str:
        return f"{figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%})"

    return [
        (
            name,
            share(of.accuracy),
            f"{of.macro_f1.value:.3f}",
            share(of.segment_f1),
            f"{of.hits:,} of {of.found:,}",
            seconds(of.onset_error),
            seconds(of.latency),
            "–" if of.noticed is None else f"{of.noticed:.1%}",
        )
        for name, of in report.rows.items()
    ]


def gain_lines(report: TemporalReport) -> list[str]:
    """By how much the network is better than each other method, in sentences."""
    return [
        f"{report.model} over {name}: frame accuracy {100 * accuracy.value:+.1f} points"
        f" ({100 * accuracy.low:+.1f} to {100 * accuracy.high:+.1f}), segment F1 {100 * segment.value:+.1f}"
        f" ({100 * segment.low:+.1f} to {100 * segment.high:+.1f})"
        for name, (accuracy, segment) in report.gains.items()
    ]


def to_markdown(report: TemporalReport) -> str:
    """The report as Markdown."""
    from mien.evaluation.report_pages import markdown, markdown_table

    about = f"{report.model} on {report.data}: {report.tracks:,} tracks, {report.frames:,} frames"
    parts = [
        f"# {markdown(about)}",
        f"{markdown(PROTOCOL)}. {report.segments:,} true segments.",
        markdown_table(COLUMNS, rows(report)),
        "\n".join(f"- {markdown(line)}" for line in gain_lines(report)),
    ]
    return "\n\n".join(parts) + "\n"
