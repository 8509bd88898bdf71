"""Places for what lasts: live streams and attempts to unlock, each of which holds networks' time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from mien.server.problems import Problem


class Places:
    """So many at once.

    Args:
        count: how many.

    Attributes:
        free: how many are left.
    """

    def __init__(self, count: int) -> None:
        self.free, self._lock = count, Lock()

    def take(self) -> None:
        """Take one; `leave` gives it back.

        Raises:
            Problem: none is free.
        """
        with self._lock:
            if not self.free:
                raise Problem(429, "full", "too many live streams and attempts at once", {"Retry-After": "10"})
            self.free -= 1

    def leave(self) -> None:
        """Give one back."""
        with self._lock:
            self.free += 1

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One, for a while.

        Raises:
            Problem: none is free.
        """
        self.take()
        try:
            yield
        finally:
            self.leave()
