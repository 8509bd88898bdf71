"""Does what the camera sees at rest come again? A short film in a loop, though every frame has noise of its own.

Copies with fresh noise are no doubles, frame by frame: they differ by as much as two frames of somebody who holds
still. What comes again is the *motion*. The last second of it is compared with every earlier one: their difference,
over time, is noise alone for a loop, which is another in each frame, and something smooth for whoever lives, since the
sway of a head, however small, does not repeat. Smooth is told from noise by the covariance of a signal with itself 0.15
seconds later: noise that is new in each frame has no part in it, however much of it was added.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from mien.liveness.guards import Limits
from mien.liveness.observing import Observation
from mien.liveness.reasons import Reason
from mien.types import FloatArray

__all__ = ["STEP", "WINDOW", "Loops", "point_of", "unexplained"]

STEP = 0.05
"""Seconds between the points of a trajectory; frames are interpolated, so that they need not come on a beat."""
WINDOW = 20
"""Points that have to come again."""
_CELLS = 16
_APART = 3  # points: see the covariance above
_LEAST_LAG = 10  # points: what is nearer is the same motion still going on
_LEAST_MOTION = 0.15  # of the variance: with less of it what is left unexplained cannot be told
_WIDE = 0.4  # part of the cells that have to move so much: eyelids and a screen in the background do not
_EVERY = 4  # points from one comparison to the next
_MOST = 1600  # points that are remembered: longer than an attempt
_LONGEST_GAP = 1.0  # seconds


def point_of(thumb: FloatArray) -> FloatArray:
    """A thumbnail without what lamps do that flicker: light, the level of each row and column, and contrast.

    Args:
        thumb: (32, 32) grey levels.

    Returns:
        (256,) float32.
    """
    small = cv2.resize(np.asarray(thumb, dtype=np.float32), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    plain = small - small.mean(axis=0, keepdims=True) - small.mean(axis=1, keepdims=True) + small.mean()
    return np.asarray((plain / (plain.std() + 0.5)).ravel(), dtype=np.float32)


def unexplained(points: FloatArray, usable: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """What the most alike earlier stretch of a trajectory leaves unexplained of the last `WINDOW` points.

    Each cell is scaled so that it varies by 1: motion in a few places alone, such as eyelids, is not enough.

    Args:
        points: (N, D) float32, in order, `STEP` seconds apart.
        usable: (N,) stretches with a point that is not usable are left out.

    Returns:
        The covariance of the difference, as a part of that of the motion: about 0 where it came before, about 2 where
        the two have nothing to do with each other; infinite where there is nothing to compare, or too little moves.
        And by how many seconds that was earlier.
    """
    starts = np.arange(max(len(points) - WINDOW - _LEAST_LAG + 1, 0))
    if not len(starts) or not usable[-WINDOW:].all():
        return np.inf, 0.0
    bad = np.concatenate([[0], np.cumsum(~usable)])
    starts = starts[bad[starts + WINDOW] == bad[starts]]
    last = points[-WINDOW:]
    scaled = (points - last.mean(axis=0)) / (last.std(axis=0) + 1e-6)
    now = scaled[-WINDOW:]
    by_cell = (now[_APART:] * now[:-_APART]).mean(axis=0)
    motion = float(by_cell.sum()) * (WINDOW - _APART)
    if not len(starts) or not np.quantile(by_cell, 1 - _WIDE) > _LEAST_MOTION:
        return np.inf, 0.0
    left = _covariance_of_difference(scaled, now, starts, motion) / motion
    best = int(left.argmin())
    return float(left[best]), float(len(points) - WINDOW - starts[best]) * STEP


def _covariance_of_difference(
    scaled: FloatArray, now: FloatArray, starts: npt.NDArray[np.int64], motion: float
) -> FloatArray:
    """Of `now` less each earlier stretch, with itself `_APART` points later; (K,)."""
    products = scaled @ now.T  # (N, WINDOW)
    later = (scaled[_APART:] * scaled[:-_APART]).sum(axis=1)
    i = np.arange(WINDOW - _APART)
    rows = starts[:, None] + i
    earlier = later[rows].sum(axis=1)
    crossed = products[rows + _APART, i].sum(axis=1) + products[rows, i + _APART].sum(axis=1)
    return np.asarray(motion + earlier - crossed)


class Loops:
    """A guard of the moments at rest: who does something twice repeats themselves, and may."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._points = np.zeros((64, _CELLS * _CELLS), np.float32)
        self._usable = np.zeros(64, np.bool_)
        self._n = 0
        self._first = 0.0
        self._last: tuple[float, FloatArray] | None = None
        self._before = np.inf  # what was left unexplained at the comparison before
        self._least = np.inf
        self._lag = 0.0

    def see(self, observation: Observation, *, resting: bool) -> Reason | None:
        """The next frame, and whether the face is at rest; the reason for which the attempt ends here, or None."""
        if self._limits.loop == -np.inf:
            return None  # switched off
        before, point = self._last, point_of(observation.thumb)
        self._last = observation.time, point
        if before is None or not 0 < observation.time - before[0] < _LONGEST_GAP:
            self._n, self._first = 0, observation.time
            self._add(point, resting)
            return None
        found = False
        while self._n < _MOST and (time := self._first + self._n * STEP) <= observation.time:
            share = (time - before[0]) / (observation.time - before[0])
            self._add((1 - share) * before[1] + share * point, resting)
            found = (self._n % _EVERY == 0 and self._repeats()) or found
        return "presentation" if found else None

    def _add(self, point: FloatArray, resting: bool) -> None:
        if self._n == len(self._points):
            self._points = np.concatenate([self._points, np.zeros_like(self._points)])
            self._usable = np.concatenate([self._usable, np.zeros_like(self._usable)])
        self._points[self._n], self._usable[self._n] = point, resting
        self._n += 1

    def _repeats(self) -> bool:
        """At two comparisons in a row, since one of many can look so by chance."""
        now, lag = unexplained(self._points[: self._n], self._usable[: self._n])
        left, self._before = max(now, self._before), now
        if left < self._least:
            self._least, self._lag = left, lag
        return left < self._limits.loop

    @property
    def measures(self) -> Mapping[str, float]:
        """What the most alike earlier motion left unexplained, and its lag in seconds; 9: nothing was compared."""
        return {"loop": float(np.clip(self._least, -9.0, 9.0)), "loop_lag": self._lag}
