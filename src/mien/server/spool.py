"""Uploads on their way to files: written by a thread, so that a slow disk keeps nobody waiting but who sends them."""

from __future__ import annotations

import asyncio
from pathlib import Path

PIECE = 1_000_000  # bytes that are gathered before a thread writes them: it costs a thread's turn each time


class Spool:
    """Gathers what belongs into files, and writes it in pieces, in the order in which it came.

    Whoever adds to it calls `flush` after each bit that arrived: nothing more is read while that waits, so that no more
    than a piece and that bit are ever in memory.

    Attributes:
        held: bytes that wait.
    """

    def __init__(self) -> None:
        self.held = 0
        self._waiting: dict[Path, bytearray] = {}

    def add(self, path: Path, data: bytes) -> None:
        """Append to a file, later; no data makes it, if it is not there.

        Args:
            path: of a file that nobody else writes.
            data: to append.
        """
        self._waiting.setdefault(path, bytearray()).extend(data)
        self.held += len(data)

    async def flush(self, least: int = 0) -> None:
        """Write what waits, if that is as much.

        Raises:
            OSError: a file cannot be written.
        """
        if not self._waiting or self.held < least:
            return
        waiting, self._waiting = self._waiting, {}
        await asyncio.to_thread(_append, waiting)
        self.held = 0


def _append(waiting: dict[Path, bytearray]) -> None:
    for path, data in waiting.items():
        with path.open("ab") as file:
            file.write(data)
