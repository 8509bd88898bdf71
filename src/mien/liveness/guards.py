"""What must hold during the whole attempt: frames flow, one face, the same face, and motion that faces can do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mien.liveness.observing import SIDE, Look, Observation
from mien.liveness.reasons import Reason
from mien.types import FloatArray

__all__ = ["Continuity", "Flow", "Guard", "Limits", "Motion", "Passive", "Repeats"]

Alike = Callable[[FloatArray, FloatArray], float]
"""Similarity in [-1, 1] of two embeddings."""


@dataclass(frozen=True)
class Limits:
    """What guards allow.

    Attributes:
        gap: seconds from one frame to the next, at most.
        least_rate: new frames per second, at least, over the last `rate_over` seconds.
        rate_over: seconds.
        frozen: seconds for which nothing at all may change.
        lost: seconds for which the face may be unseen.
        second: area of another face as a part of the person's, from which on it is near.
        alike: similarity of faces in one attempt, at least.
        repeats: frames in a row that may be the same as some frames before.
        loop: part of the motion at rest that earlier motion must leave unexplained; see `mien.liveness.loops`.
        jump: how much of a face may change at once; see `Motion`.
        jumps: times that it may.
        moire: decibels, see `Signs`.
        sides: see `Signs`; 5, more than there are, only measures it: real rooms have edges on all sides, too.
        signs: share of frames that may show a sign.
    """

    gap: float = 0.45
    least_rate: float = 7.0
    rate_over: float = 1.5
    frozen: float = 0.35
    lost: float = 0.35
    second: float = 0.3
    alike: float = 0.0
    repeats: int = 6
    loop: float = 0.05
    jump: float = 0.3
    jumps: int = 0
    moire: float = 12.5
    sides: int = 5
    signs: float = 0.5


class Guard(Protocol):
    """Looks at every frame of an attempt."""

    def see(self, observation: Observation) -> Reason | None:
        """The next frame; the reason for which the attempt ends here, or None."""
        ...

    @property
    def measures(self) -> Mapping[str, float]:
        """What was measured, for the report."""
        ...


class Flow:
    """Frames must come in order, often enough, and differ: a camera's noise makes no two alike.

    Some cameras give a frame twice in poor light; one that stands still for longer is frozen.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last: Observation | None = None
        self._new: deque[float] = deque()  # times of frames that differ from the one before
        self._changed = 0.0
        self._started: float | None = None
        self._frames = self._duplicates = 0
        self._gap = 0.0

    def see(self, observation: Observation) -> Reason | None:
        """See `Guard`."""
        before, self._last = self._last, observation
        time, self._frames = observation.time, self._frames + 1
        if not np.isfinite(time):
            return "stream"
        if before is None or self._started is None:
            self._started = self._changed = time
            self._new.append(time)
            return None
        if time <= before.time:
            return "stream"
        self._gap = max(self._gap, time - before.time)
        if observation.digest == before.digest:
            self._duplicates += 1
        else:
            self._changed = time
            self._new.append(time)
        return self._judge(time)

    def _judge(self, time: float) -> Reason | None:
        over = self._limits.rate_over
        while self._new and self._new[0] <= time - over:
            self._new.popleft()
        if self._gap > self._limits.gap or time - self._changed > self._limits.frozen:
            return "stream"
        assert self._started is not None  # noqa: S101
        slow = time - self._started >= over and len(self._new) < self._limits.least_rate * over
        return "stream" if slow else None

    @property
    def measures(self) -> Mapping[str, float]:
        """Frames, duplicates, longest gap in seconds."""
        return {"frames": self._frames, "duplicates": self._duplicates, "longest_gap": self._gap}


class Repeats:
    """No run of frames may be the same as an earlier one: a video in a loop.

    Frames are compared as thumbnails with all earlier ones; a run at one lag counts when something moves in it, and
    each frame is nearer to its earlier double than noise and motion leave two frames of a living scene. Copies that
    were compressed again, or had noise added, are found as long as the thumbnails, which average pixels, agree.
    """

    _SAME = 0.12  # grey levels, mean over the thumbnail, light and contrast of the whole picture aside
    _MOVES = 4.0  # times that
    _MOST = 3000  # frames that are remembered

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._thumbs = np.zeros((256, SIDE * SIDE), np.float32)
        self._n = 0
        self._runs = np.zeros(0, np.int64)  # by lag - 1: for how many frames this lag has held
        self._nearest = np.inf
        self._longest = 0

    def see(self, observation: Observation) -> Reason | None:
        """See `Guard`."""
        if self._limits.repeats >= self._MOST:
            return None  # switched off
        thumb = observation.thumb.ravel()
        if self._n == self._MOST:
            return "stream"  # far beyond what an attempt lasts
        if self._n == len(self._thumbs):
            self._thumbs = np.concatenate([self._thumbs, np.zeros_like(self._thumbs)])
        earlier = self._thumbs[: self._n][::-1]  # lag 1 first
        distances = np.abs(earlier - thumb).mean(axis=1)
        runs = np.append(self._runs, 0)[: self._n]
        self._runs = np.where(distances < self._SAME, runs + 1, 0)
        self._thumbs[self._n] = thumb
        self._n += 1
        return self._judge(distances)

    def _judge(self, distances: FloatArray) -> Reason | None:
        far = distances[self._limits.repeats :]
        self._nearest = min(self._nearest, float(far.min(initial=np.inf)))
        long = np.flatnonzero(self._runs > self._limits.repeats)
        for lag in long[long >= self._limits.repeats]:
            run = self._thumbs[self._n - self._runs[lag] : self._n]
            moves = float(np.abs(run - run[0]).mean(axis=1).max())
            if moves > self._MOVES * self._SAME:
                self._longest = max(self._longest, int(self._runs[lag]))
                return "presentation"
        return None

    @property
    def measures(self) -> Mapping[str, float]:
        """Distance of the two frames that were most alike, some frames apart; longest repetition."""
        nearest = self._nearest if np.isfinite(self._nearest) else -1.0
        return {"nearest_repeat": nearest, "longest_repeat": self._longest}


class Continuity:
    """One face, that of the beginning: one track without a break, embeddings that agree, nobody else near."""

    def __init__(self, limits: Limits, alike: Alike) -> None:
        self._limits, self._alike = limits, alike
        self._track: int | None = None
        self._seen: float | None = None
        self._first: list[FloatArray] = []
        self._least = 1.0
        self._second = 0.0
        self._embedded = 0

    def see(self, observation: Observation) -> Reason | None:
        """See `Guard`."""
        look = observation.look
        if look is None:
            lost = self._seen is not None and observation.time - self._seen > self._limits.lost
            return "face-lost" if lost else None
        self._seen = observation.time
        self._second = max(self._second, observation.second)
        if observation.second >= self._limits.second:
            return "several-faces"
        if self._track is None:
            self._track = look.track
        return "another-face" if look.track != self._track or not self._same(look) else None

    def _same(self, look: Look) -> bool:
        if look.embedding is None:
            return True
        self._embedded += 1
        if len(self._first) < 3:
            self._first.append(look.embedding)
        # the best of the first ones: one of them can be poor
        similarity = max(self._alike(look.embedding, first) for first in self._first)
        self._least = min(self._least, similarity)
        return similarity >= self._limits.alike

    @property
    def measures(self) -> Mapping[str, float]:
        """Least similarity to the beginning, embeddings, largest other face."""
        return {"least_alike": self._least, "embeddings": self._embedded, "second_face": self._second}


class Motion:
    """A face changes in places at once, not everywhere: where a picture is swapped for another, all of it changes.

    Measured on the aligned face: the 40th percentile (or just above) of the changes of its cells from frame to frame,
    in standard deviations of its grey levels. A smile or a blink leaves most of a face as it was.
    """

    _PERCENTILE = 40

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last: Look | None = None
        self._largest = 0.0
        self._jumps = 0

    def see(self, observation: Observation) -> Reason | None:
        """See `Guard`."""
        look, before = observation.look, self._last
        self._last = look or before
        if look is None or before is None:
            return None
        changes = np.abs(look.patch - before.patch).ravel()
        k = len(changes) * self._PERCENTILE // 100
        change = float(np.partition(changes, k)[k])
        self._largest = max(self._largest, change)
        self._jumps += change > self._limits.jump
        return "presentation" if self._jumps > self._limits.jumps else None

    @property
    def measures(self) -> Mapping[str, float]:
        """The largest change at once."""
        return {"largest_jump": self._largest}


class Passive:
    """Signs of a picture of a picture, in most of the frames."""

    _LEAST = 10  # frames

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._frames = 0
        self._moire = self._sides = 0
        self._peaks: list[float] = []

    def see(self, observation: Observation) -> Reason | None:
        """See `Guard`."""
        if observation.signs is None:
            return None
        self._frames += 1
        self._peaks.append(observation.signs.moire)
        self._moire += observation.signs.moire >= self._limits.moire
        self._sides += observation.signs.sides >= self._limits.sides
        most = self._limits.signs * self._frames
        seen = self._frames >= self._LEAST and (self._moire > most or self._sides > most)
        return "presentation" if seen else None

    @property
    def measures(self) -> Mapping[str, float]:
        """Median of the spectrum's peak in decibels; shares of frames with signs."""
        frames = max(self._frames, 1)
        peak = float(np.median(self._peaks)) if self._peaks else 0.0
        return {"moire_peak": peak, "moire": self._moire / frames, "rim": self._sides / frames}
