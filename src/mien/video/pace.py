"""How often the detector runs."""

from __future__ import annotations

import math

MOST = 15
"""Frames between two detections, at most."""
PERIOD = 0.2
"""Seconds between two detections, where real time need not be held."""
_LONGEST = 0.5  # seconds between two detections, at most: a new face waits so long
_SHARE = 0.8  # of the time that a frame lasts, which may be used
_MEMORY = 0.2  # weight of the newest measurement
_SLACK = 1e-3  # seconds by which timestamps are rounded


class Pace:
    """Says when to detect: every so many frames, every `PERIOD`, or for a live source as often as work has time for.

    Args:
        every: a number of frames, at least 1; None: every `PERIOD` seconds, so that it does not depend on the machine.
        measured: whether to detect as often as can be held instead, by the time that work takes.
    """

    def __init__(self, every: int | None, *, measured: bool = False) -> None:
        self._fixed, self._measured = every, measured
        self._detecting: float | None = None
        self._following: float | None = None
        self._lasts: float | None = None

    def due(self, frames: int, seconds: float) -> bool:
        """Whether to detect, so many frames and seconds after the last detection."""
        if self._fixed is None and not self._measured:
            return seconds >= PERIOD - _SLACK
        return frames >= (self._fixed or self.every)

    @property
    def every(self) -> int:
        """Frames from one detection to the next that hold the pace, by what was measured."""
        if self._detecting is None or self._lasts is None:
            return 1
        if self._detecting <= _SHARE * self._lasts:
            return 1
        following = self._following if self._following is not None else 0.0
        spare = _SHARE * self._lasts - following
        extra = self._detecting - following
        needed = math.ceil(extra / spare) if spare > 0 else MOST
        longest = max(1, int(_LONGEST / self._lasts)) if self._lasts > 0 else MOST
        return max(1, min(needed, longest, MOST))

    def learn(self, took: float, lasts: float, *, detected: bool) -> None:
        """Learn what a frame took.

        Args:
            took: seconds of work.
            lasts: seconds from the frame before to this one, by their timestamps.
            detected: whether the detector ran.
        """
        if lasts > 0:
            self._lasts = _blend(self._lasts, lasts)
        if detected:
            self._detecting = _blend(self._detecting, took)
        else:
            self._following = _blend(self._following, took)


def _blend(old: float | None, new: float) -> float:
    return new if old is None else (1 - _MEMORY) * old + _MEMORY * new
