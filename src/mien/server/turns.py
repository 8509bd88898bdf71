"""Frames that were sent in order, and overtook each other on the way, take their turns in order again.

Requests of one page go over several connections, and one whose packet was lost comes after those that were sent later.
So a frame waits a little for those before it; those that have not come by then are missed, and are not judged when
they come. That costs an honest person a frame or two, and opens no door. Numbers are the client's own: who replays
frames can number them as they like, and leave out what they like. What stops replays is judged of the frames themselves
(`mien.liveness.guards`, `mien.liveness.replays`): that they differ from all that were seen before, and that by this
machine's clock no gap between those that are judged is too long, whoever is to blame for it.

A number that comes *twice* is another matter: nobody's network does that, but whoever sends a request again does.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass, field

__all__ = ["AHEAD", "PATIENCE", "RepeatedError", "Turns"]

AHEAD = 6
"""How far numbers may run ahead of the frame that is next: as many requests a browser has under way at most."""
PATIENCE = 0.2
"""Seconds that a frame waits for those before it; well below the longest gap between two frames
(`mien.liveness.guards.Limits.gap`), because whoever awaits our answers sends nothing meanwhile."""
_APART = 0.05  # seconds, at most, by which a frame was taken before the next one, where that is all that is known


class RepeatedError(Exception):
    """A number came twice, or far out of turn."""


@dataclass(eq=False)
class _Waiting:
    arrived: float
    called: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """The order of the frames of one attempt; all of it in one event loop.

    Args:
        ahead: how far numbers may run ahead.
        patience: seconds that a frame waits for those before it.
    """

    def __init__(self, ahead: int = AHEAD, patience: float = PATIENCE) -> None:
        self._ahead, self._patience = ahead, patience
        self._next = 0
        self._time = -math.inf  # of the last that had its turn
        self._waiting: dict[int, _Waiting] = {}
        self._missed: set[int] = set()  # numbers that others did not wait for any longer, and that may still come

    async def take(self, number: int, arrived: float) -> float | None:
        """Wait for a frame's turn. What the caller does without awaiting anything is done in order.

        Args:
            number: 0, 1, 2, ...: as the client sent them.
            arrived: seconds, when it arrived.

        Returns:
            When it was taken, for all that can be known: `arrived`, or a little before those that overtook it. Times
            rise. None: it was missed.

        Raises:
            RepeatedError: see there.
        """
        if number in self._missed:
            self._missed.remove(number)
            return None
        if number in self._waiting or not self._next <= number < self._next + self._ahead:
            raise RepeatedError
        waiting = self._waiting[number] = _Waiting(arrived)
        try:
            while number != self._next:
                await self._called(waiting)
        finally:
            del self._waiting[number]
        self._go_on(number + 1)
        self._time = self._time_of(arrived)
        return self._time

    def excuse(self, number: int) -> None:
        """A frame that had its turn could not be judged: its number may come once more, though that comes too late."""
        self._missed.add(number)

    async def _called(self, waiting: _Waiting) -> None:
        """Until it may be its turn. Who has waited too long calls the first of those that are here."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await waiting.called.wait()
                return
        first = min(self._waiting)
        self._missed.update(range(self._next, first))
        self._go_on(first)

    def _go_on(self, number: int) -> None:
        self._next = number
        if number in self._waiting:
            self._waiting[number].called.set()

    def _time_of(self, arrived: float) -> float:
        """A frame was taken before those that were sent after it, so before the first of them was here.

        It can have been made a quarter of a second later than this says, which is of no use: whoever waits to see what
        is asked seems quicker by that, not slower, and is too quick if anything; and what follows was here already.
        """
        overtaken = min((other.arrived for other in self._waiting.values()), default=math.inf)
        before = overtaken - min((overtaken - self._time) / 2, _APART) if overtaken < math.inf else math.inf
        return min(arrived, before)
