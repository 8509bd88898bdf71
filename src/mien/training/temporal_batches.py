"""Batches of tracks, each changed a little every time it is learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mien.datasets.base import NO_ANSWER
from mien.datasets.tracks import Track

_LEAST = 1e-4


@dataclass(frozen=True)
class TrackAugmentation:
    """Random changes of a track; `strength` scales all of them, 0 changes nothing.

    Attributes:
        strength: see above.
        spliced: chance that a track goes on as another one, from a frame on in which both show the same.
        thinned: largest share of frames that are left out, evenly: another frame rate.
        slower: largest change of the pace, as a logarithm.
        lost: share of frames in which the face is not seen.
        foreign: share of frames whose scores are those of another track.
        noise: standard deviation of what is added to the logarithms of scores, for the whole track (faces of which the
            network is sure although it is wrong) and half as much for each frame.
        sharpness: standard deviation of the logarithm of what these are multiplied by: the expression network has
            seen the training faces, and is surer of them than of others.
    """

    strength: float = 1.0
    spliced: float = 0.5
    thinned: float = 0.5
    slower: float = 0.2
    lost: float = 0.01
    foreign: float = 0.01
    noise: float = 0.15
    sharpness: float = 0.1

    def __call__(self, track: Track, other: Track, rng: np.random.Generator) -> Track:
        """Change a track.

        Args:
            track: to change.
            other: gives foreign frames, or how it goes on.
            rng: all that is random comes from it.
        """
        s = self.strength
        if s <= 0:
            return track
        if rng.random() < self.spliced * s:
            track = _spliced(track, other, rng)
        kept = _kept(len(track), 1 - s * self.thinned * rng.random(), rng)
        n = len(kept)
        times = track.times[kept] * np.exp(rng.uniform(-self.slower, self.slower) * s)
        scores = track.scores[kept].copy()
        wrong = rng.random(n) < self.foreign * s * 2 * rng.random()
        scores[wrong] = other.scores[rng.integers(0, len(other), int(wrong.sum()))]
        logs = np.log(np.maximum(scores, _LEAST)) * np.exp(self.sharpness * s * rng.standard_normal())
        logs += self.noise * s * (rng.standard_normal(logs.shape[1]) + 0.5 * rng.standard_normal(logs.shape))
        scores = np.exp(logs - logs.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        seen = track.seen[kept] & (rng.random(n) >= self.lost * s)
        return Track(times, scores.astype(np.float32), seen, track.truth[kept])


def _spliced(track: Track, other: Track, rng: np.random.Generator) -> Track:
    """The first part of a track and the last of another, where there are frames that show the same."""
    leaves = int(rng.integers(len(track)))
    enters = np.flatnonzero(other.truth == track.truth[leaves])
    if not len(enters):
        return track
    goes_on = int(rng.choice(enters)) + 1
    jump = track.times[leaves] - other.times[goes_on - 1]
    times = np.concatenate([track.times[: leaves + 1], other.times[goes_on:] + jump])
    scores = np.concatenate([track.scores[: leaves + 1], other.scores[goes_on:]])
    seen = np.concatenate([track.seen[: leaves + 1], other.seen[goes_on:]])
    return Track(times, scores, seen, np.concatenate([track.truth[: leaves + 1], other.truth[goes_on:]]))


def _kept(n: int, share: float, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Positions of about this share of n frames, evenly spread, from a random one on."""
    first = int(rng.integers(0, max(n // 4, 1)))
    return np.unique(np.arange(first, n, 1 / share).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Batch:
    """B tracks, filled up to the longest of T frames.

    Attributes:
        scores: (B, T, C).
        elapsed: (B, T) seconds.
        seen: (B, T) 1 or 0.
        truth: (B, T) labels; `NO_ANSWER` where there is none, and after a track's end.
    """

    scores: Tensor
    elapsed: Tensor
    seen: Tensor
    truth: Tensor


def joined(tracks: Sequence[Track]) -> Batch:
    """One batch of tracks."""
    size = (len(tracks), max(map(len, tracks)))
    scores = np.zeros((*size, tracks[0].scores.shape[1]), np.float32)
    elapsed, seen = np.zeros(size, np.float32), np.zeros(size, np.float32)
    truth = np.full(size, NO_ANSWER, np.int64)
    for row, track in enumerate(tracks):
        n = len(track)
        scores[row, :n], elapsed[row, :n] = track.scores, track.elapsed
        seen[row, :n], truth[row, :n] = track.seen, track.truth
    return Batch(*map(torch.from_numpy, (scores, elapsed, seen, truth)))


def epoch_of(
    tracks: Sequence[Track], size: int, augment: TrackAugmentation, rng: np.random.Generator
) -> Iterator[Batch]:
    """All tracks once, in random order, changed."""
    order = rng.permutation(len(tracks))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        others = rng.integers(0, len(tracks), len(chosen))
        yield joined([augment(tracks[i], tracks[k], rng) for i, k in zip(chosen, others, strict=True)])
