"""From the timestamps of a file, which may be missing, repeated or jump, to times that rise."""

from __future__ import annotations

from mien.video.losses import Losses

__all__ = ["Clock"]

_JUMP_BACK = 1.0  # seconds: further back than a slip, and a new count begins (files put one behind the other)
_JUMP_AHEAD = 10.0  # seconds beyond the end that the file claims: a damaged timestamp
_STANDING = 3  # equal timestamps in a row: they say nothing
_MENDED = (
    "1 timestamp was missing or impossible, and was made from its neighbours",
    "{n} timestamps were missing or impossible, and were made from their neighbours",
)


class Clock:
    """Turns timestamps into times that rise strictly, and leaves good timestamps exactly as they are.

    Args:
        losses: told how many timestamps were mended.
        step: seconds from one picture to the next where timestamps do not say.
        end: the last time that is plausible, in seconds, or None.
    """

    def __init__(self, losses: Losses, *, step: float, end: float | None = None) -> None:
        self._losses, self._step, self._end = losses, step, end
        self._offset = 0.0  # of a count that began anew
        self._last: float | None = None
        self._stamp: float | None = None
        self._run = 0  # timestamps mended in a row

    def __call__(self, stamp: float | None) -> float:
        """The time of the next picture; `stamp` is what the file says, in seconds, or None."""
        time = self._plausible(stamp)
        if time is None:
            self._losses.count(*_MENDED)
            time = self._mended(stamp)
            self._run += 1
        else:
            self._run = 0
        self._last, self._stamp = time, stamp
        return time

    def _plausible(self, stamp: float | None) -> float | None:
        if stamp is None:
            return None
        if self._last is None:
            return stamp
        time = stamp + self._offset
        ahead = self._end is not None and time > self._end + _JUMP_AHEAD and time > self._last + _JUMP_AHEAD
        return None if time <= self._last or ahead else time

    def _mended(self, stamp: float | None) -> float:
        if self._last is None:
            return 0.0
        near = stamp is not None and self._last - _JUMP_BACK < stamp + self._offset <= self._last
        repeated = stamp == self._stamp and self._run < _STANDING
        if near and (self._run == 0 or repeated):
            return self._last + self._step / 2  # a slip: the next one is on time again
        time = self._last + self._step
        self._offset = 0.0 if stamp is None else time - stamp
        return time
