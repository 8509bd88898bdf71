"""Places for what lasts: live streams and attempts to unlock, each of which holds networks' time and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from mien.server.problems import Problem

_RETRY_AFTER = {"Retry-After": "10"}


class Places:
    """So many at once, and no more than half of them for one owner where there are others.

    Args:
        count: how many.
        shared: whether owners are told apart: on one's own machine everybody is the same.

    Attributes:
        free: how many are left.
    """

    def __init__(self, count: int, *, shared: bool) -> None:
        self.free, self._lock = count, Lock()
        self._share = max(1, count // 2) if shared else count
        self._taken: Counter[str] = Counter()

    def take(self, owner: str) -> None:
        """Take one; `leave` gives it back.

        Raises:
            Problem: none is free, or none for this owner.
        """
        with self._lock:
            if not self.free:
                raise Problem(429, "full", "too many live streams and attempts at once", _RETRY_AFTER)
            if self._taken[owner] >= self._share:
                raise Problem(429, "full", "too many live streams and attempts of this key at once", _RETRY_AFTER)
            self.free -= 1
            self._taken[owner] += 1

    def leave(self, owner: str) -> None:
        """Give one back."""
        with self._lock:
            self.free += 1
            self._taken -= Counter([owner])

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """One, for a while.

        Raises:
            Problem: as `take`.
        """
        self.take(owner)
        try:
            yield
        finally:
            self.leave(owner)
