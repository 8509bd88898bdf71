"""Expressions over time: the seam between answers frame by frame and steady ones, and its plain form, a moving average.

A smoother keeps no tracks. Each track has a state, one row of an array, which its owner keeps: rows can be joined,
dropped and reordered as tracks come and go.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from mien.types import FloatArray

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Kind = Literal["box", "exponential"]

NOTHING_YET = -1
"""In what `steadied` takes: a track that shows nothing yet."""

_CLEARLY = 4.0  # times as probable
_FRAMES = 64  # that a moving average remembers, at most


class Smoother(Protocol):
    """Takes in what tracks show frame by frame, and says what they show.

    Attributes:
        labels: the C expressions.
        margin: by how much another expression must be more probable before a track is said to show it (`steadied`).
        reset_after: seconds after which a track begins anew.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """See above."""
        ...

    @property
    def margin(self) -> float:
        """See above."""
        ...

    @property
    def reset_after(self) -> float:
        """See above."""
        ...

    def begin(self, n: int = 1) -> FloatArray:
        """(n, S) float32: the states of tracks that begin."""
        ...

    def step(
        self,
        states: FloatArray,
        scores: FloatArray,
        elapsed: npt.ArrayLike,
        seen: npt.ArrayLike | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Take in one frame of N tracks.

        Args:
            states: (N, S) float32, from `begin` or the step before.
            scores: (N, C) float, probabilities of the labels in this frame (`Expressions.scores`); rows of faces that
                are not seen mean nothing.
            elapsed: (N,) seconds since the track's frame before, 0 for its first one; or one number for all tracks.
                A track begins anew after more than `reset_after` seconds.
            seen: (N,) bool, False where the face of a track is hidden or not found in this frame; all by default.

        Returns:
            (N, C) float32 probabilities, rows sum to 1, and (N, S) float32, the states for the next step.

        Raises:
            ValueError: the arrays do not fit, or the time or the scores of faces that are seen are not finite.
        """
        ...


class MovingAverage:
    """The mean of the probabilities of the last moments: what there is without a network.

    Args:
        labels: the C expressions.
        window: seconds. A "box" counts all frames of these alike; "exponential" lets frames fade, to 37 % after it.
        kind: see `window`.
        margin: see `Smoother`.
        reset_after: see `Smoother`.

    Raises:
        ValueError: the window is not above 0.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        window: float = 0.6,
        *,
        kind: Kind = "box",
        margin: float = 0.0,
        reset_after: float = 2.0,
    ) -> None:
        if not window > 0:
            raise ValueError(f"a window of {window} seconds holds no frame")
        self.labels = labels
        self.window = window
        self.kind = kind
        self.margin = margin
        self.reset_after = reset_after

    def begin(self, n: int = 1) -> FloatArray:
        """See `Smoother`; a state is the last 64 frames: their scores, and how long ago they were."""
        states = np.zeros((n, _FRAMES, len(self.labels) + 1), np.float32)
        states[:, :, -1] = np.inf
        return states.reshape(n, _FRAMES * (len(self.labels) + 1))

    def step(
        self,
        states: FloatArray,
        scores: FloatArray,
        elapsed: npt.ArrayLike,
        seen: npt.ArrayLike | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """See `Smoother`. Where a window holds no face, all expressions are as probable."""
        classes = len(self.labels)
        scores, waited, there = checked(scores, elapsed, seen, classes)
        n = len(scores)
        if states.shape != (n, _FRAMES * (classes + 1)):
            raise ValueError(f"states {states.shape} are not of {n} tracks of this moving average")
        kept = states.reshape(n, _FRAMES, classes + 1).copy()
        kept[waited > self.reset_after, :, -1] = np.inf
        kept[:, :, -1] += waited[:, None]
        latest = np.concatenate([scores, np.where(there, 0, np.inf)[:, None]], axis=1, dtype=np.float32)
        kept = np.concatenate([latest[:, None], kept[:, :-1]], axis=1)
        weights = self._weights(kept[:, :, -1])
        total = weights.sum(axis=1, keepdims=True)
        means = np.einsum("nk,nkc->nc", weights, kept[:, :, :-1]) / np.maximum(total, 1e-9)
        probabilities = np.where(total > 1e-9, means, 1 / classes).astype(np.float32)
        return probabilities, kept.reshape(states.shape)

    def _weights(self, ages: FloatArray) -> FloatArray:
        """(N, frames) of frames of these ages."""
        counts = ages <= self.window if self.kind == "box" else np.exp(-ages / np.float32(self.window))
        weights: FloatArray = counts.astype(np.float32)
        return weights


def checked(
    scores: FloatArray, elapsed: npt.ArrayLike, seen: npt.ArrayLike | None, classes: int
) -> tuple[FloatArray, FloatArray, Bools]:
    """What a smoother takes, as arrays of N rows: scores (0 where there is no face), seconds, whether there is a face.

    Raises:
        ValueError: they do not fit, or hold what are no times and probabilities.
    """
    scores = np.asarray(scores, dtype=np.float32)
    if scores.ndim != 2 or scores.shape[1] != classes:
        raise ValueError(f"scores {scores.shape} are not (N, {classes})")
    n = len(scores)
    waited = np.broadcast_to(np.asarray(elapsed, dtype=np.float32), (n,))
    there = np.broadcast_to(np.asarray(True if seen is None else seen, dtype=np.bool_), (n,))
    if not (waited >= 0).all():
        raise ValueError("time goes on: elapsed seconds must be 0 or more")
    known = scores[there]
    if not (np.isfinite(known).all() and (known >= 0).all() and (known <= 1 + 1e-3).all()):
        raise ValueError("scores of faces that are seen must be probabilities")
    return np.where(there[:, None], scores, 0).astype(np.float32), waited, there


def steadied(probabilities: FloatArray, current: Ints, margin: float) -> Ints:
    """What tracks are said to show: what they showed before, until something else is more probable by a margin.

    Four times as probable will do, too: else a slip would stay where nothing is certain afterwards.

    Args:
        probabilities: (N, C) of this frame.
        current: (N,) int64, the answers before; `NOTHING_YET` for tracks that begin.
        margin: in [0, 1); 0 gives the most probable expression of each frame.

    Returns:
        (N,) int64.
    """
    best = probabilities.argmax(axis=1).astype(np.int64)
    rows = np.arange(len(best))
    before = np.maximum(current, 0)
    ahead = probabilities[rows, best] - probabilities[rows, before]
    clearly = (ahead > margin) | (probabilities[rows, best] > _CLEARLY * probabilities[rows, before])
    stays = (current != NOTHING_YET) & ~clearly
    kept: Ints = np.where(stays, current, best)
    return kept
