"""Work done ahead in a thread, while what asked for it is busy with what it has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetched(items: Iterable[T], do: Callable[[T], R], ahead: int) -> Iterator[R]:
    """Apply `do` to each item in a background thread, at most `ahead` of them before they are asked for.

    Args:
        items: what to work on.
        do: makes the result of one; what it raises is raised where that result is asked for.
        ahead: bounds the memory that waiting results take; at least 1.

    Yields:
        The results, in order.
    """
    waiting: deque[Future[R]] = deque()
    remaining = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mien-load") as pool:
        try:
            while True:
                for item in islice(remaining, ahead - len(waiting)):
                    waiting.append(pool.submit(do, item))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
