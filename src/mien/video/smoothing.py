"""Expressions of tracks over time: a smoother with the states of all tracks, and what each track is said to show.

What a track shows changes when something else is more probable by the smoother's margin; it is `UNCERTAIN` until its
probability reaches a threshold, and again when it falls well under it. So nothing flickers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mien.errors import ModelError
from mien.models.smoothing import NOTHING_YET, MovingAverage, Smoother, steadied
from mien.types import FloatArray
from mien.video.columns import UNCERTAIN, UNKNOWN

if TYPE_CHECKING:
    from mien.models.base import RuntimeOptions
    from mien.models.store import WeightsStore

SECONDS = 0.5
"""Window of the moving average that is used where there is no network."""
MARGIN = 0.1
"""Its margin."""
THRESHOLD = 0.5
"""Smoothed probability from which on a track is said to show something, unless the network's card has another."""

_STAYS = 0.8  # part of the threshold under which it is uncertain again
_FORGET = 30.0  # seconds from one clearing of tracks that are gone to the next


@dataclass
class _Track:
    """What is remembered of a track."""

    time: float
    state: FloatArray  # (S,)
    label: int = NOTHING_YET
    certain: bool = False


class TrackSmoother:
    """Smooths tracks that come and go.

    Args:
        labels: the C expressions.
        smoother: takes in moments; by default an exponential moving average.
        threshold: probability from which on a track is said to show something.
    """

    def __init__(
        self, labels: Sequence[str], smoother: Smoother | None = None, *, threshold: float = THRESHOLD
    ) -> None:
        self._smoother = smoother or MovingAverage(tuple(labels), SECONDS, kind="exponential", margin=MARGIN)
        self._threshold = threshold
        self._tracks: dict[int, _Track] = {}
        self._cleared = -math.inf

    def __call__(self, time: float, tracks: Sequence[int], raw: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int8]]:
        """One moment.

        Args:
            time: seconds; not before that of the call before.
            tracks: numbers of the N tracks.
            raw: (N, C) float32 probabilities; NaN where a face was not seen.

        Returns:
            (N, C) float32 probabilities and (N,) int8 states: positions among the labels, or `UNCERTAIN`; NaN and
            `UNKNOWN` for tracks that were never seen.
        """
        seen = np.asarray(np.isfinite(raw).all(axis=1), dtype=np.bool_)
        known = [i for i, track in enumerate(tracks) if seen[i] or track in self._tracks]
        smoothed = np.full(raw.shape, np.nan, dtype=np.float32)
        states = np.full(len(tracks), UNKNOWN, dtype=np.int8)
        if known:
            held = [self._held(tracks[i], time) for i in known]
            smoothed[known] = self._step(time, held, raw[known], seen[known])
            states[known] = self._said(held, smoothed[known])
        self._forget(time)
        return smoothed, states

    def _held(self, track: int, time: float) -> _Track:
        held = self._tracks.get(track)
        if held is None or time - held.time > self._smoother.reset_after:
            held = self._tracks[track] = _Track(time, self._smoother.begin()[0])
        return held

    def _step(self, time: float, held: Sequence[_Track], raw: FloatArray, seen: npt.NDArray[np.bool_]) -> FloatArray:
        elapsed = np.array([max(time - track.time, 0.0) for track in held], dtype=np.float32)
        probabilities, states = self._smoother.step(np.stack([track.state for track in held]), raw, elapsed, seen)
        for track, state in zip(held, states, strict=True):
            track.time, track.state = time, state
        return probabilities

    def _said(self, held: Sequence[_Track], probabilities: FloatArray) -> list[int]:
        current = np.array([track.label for track in held], dtype=np.int64)
        labels = steadied(probabilities, current, self._smoother.margin)
        out = []
        for track, label, chances in zip(held, labels.tolist(), probabilities, strict=True):
            stays = track.certain and track.label == label
            track.label = label
            track.certain = bool(chances[label] >= self._threshold * (_STAYS if stays else 1.0))
            out.append(label if track.certain else UNCERTAIN)
        return out

    def _forget(self, time: float) -> None:
        if time - self._cleared > _FORGET:
            self._tracks = {n: t for n, t in self._tracks.items() if time - t.time <= self._smoother.reset_after}
            self._cleared = time


def load_smoother(
    labels: Sequence[str], name: str | None = None, *, store: WeightsStore, options: RuntimeOptions
) -> TrackSmoother:
    """What says what tracks show over time, by its name.

    Args:
        labels: of the expressions.
        name: of a temporal network, the path of one, or "average"; None: the network that comes with mien, where it
            is for these expressions, else a moving average.
        store: where weights are kept.
        options: of the network.

    Raises:
        ModelError: the network is for other expressions, or cannot be loaded.
    """
    from mien.models import registry
    from mien.models.temporal import SHIPPED

    labels = tuple(labels)
    if name == "average":
        return TrackSmoother(labels)
    model = registry.load_temporal(registry.entry(name or SHIPPED, "temporal"), store, options)
    if model.labels == labels:
        return TrackSmoother(labels, model, threshold=model.network.card.threshold)
    if name is None:
        return TrackSmoother(labels)
    raise ModelError(
        f"model {model.record.name!r} is for {', '.join(model.labels)}; the expression model says {', '.join(labels)}"
    )
