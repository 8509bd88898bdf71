"""Reading ahead: one thread reads, into a bounded buffer, and whoever wants the pictures takes them out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition, Thread, current_thread
from typing import Generic, Protocol, TypeVar

__all__ = ["Ahead"]


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


_Item = TypeVar("_Item", bound=_Sized)

_JOIN_SECONDS = 2.0


class _Buffer(Generic[_Item]):
    """First in, first out; holds at least one item, and as many more as fit into both limits."""

    def __init__(self, most: int, most_bytes: int, *, drop: bool) -> None:
        self._most, self._most_bytes, self._drop = most, most_bytes, drop
        self._items: deque[_Item] = deque()
        self._bytes = 0
        self._changed = Condition()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: _Item) -> bool:
        """Add an item; where there is no room, wait, or drop the oldest. False: nobody wants more."""
        with self._changed:
            while self._full(item.nbytes) and not self._closed:
                if self._drop:
                    self._take()
                    self.dropped += 1
                else:
                    self._changed.wait()
            if self._closed:
                return False
            self._items.append(item)
            self._bytes += item.nbytes
            self._changed.notify_all()
            return True

    def get(self, *, peek: bool = False) -> _Item | None:
        """The oldest item, waited for; None at the end, or when closed. What ended the reading is raised after all."""
        with self._changed:
            while not (self._items or self._ended or self._closed):
                self._changed.wait()
            if self._closed:
                return None
            if self._items:
                return self._items[0] if peek else self._take()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    def end(self, error: BaseException | None = None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()

    def _full(self, more: int) -> bool:
        return bool(self._items) and (len(self._items) >= self._most or self._bytes + more > self._most_bytes)

    def _take(self) -> _Item:
        item = self._items.popleft()
        self._bytes -= item.nbytes
        self._changed.notify_all()
        return item


class Ahead(Generic[_Item]):
    """Runs an iterator in a thread of its own, ahead of whoever takes its items.

    Args:
        items: the iterator; its thread is the only one that touches it.
        most: items that may wait.
        most_bytes: what they may weigh together; one item may always wait.
        drop: when there is no room, drop the oldest rather than wait.
        interrupt: makes `items` end soon when it waits for something; called by `close`.
        finish: called by the thread when it ends.
    """

    def __init__(
        self,
        items: Iterator[_Item],
        *,
        most: int,
        most_bytes: int,
        drop: bool,
        interrupt: Callable[[], None],
        finish: Callable[[], None],
    ) -> None:
        self._buffer: _Buffer[_Item] = _Buffer(most, most_bytes, drop=drop)
        self._interrupt = interrupt
        self._thread = Thread(target=_run, args=(items, self._buffer, finish), name="mien-frames", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Items that nobody took in time."""
        return self._buffer.dropped

    def get(self) -> _Item | None:
        """The next item, or None at the end; raises what the iterator raised, after the items before it."""
        return self._buffer.get()

    def peek(self) -> _Item | None:
        """The next item, which stays the next."""
        return self._buffer.get(peek=True)

    def close(self) -> None:
        """End the thread; from any thread, and more than once. Who waits in `get` gets None."""
        self._buffer.close()
        self._interrupt()
        if self._thread is not current_thread():
            self._thread.join(_JOIN_SECONDS)  # a network source may take its time-out to notice


def _run(items: Iterator[_Item], buffer: _Buffer[_Item], finish: Callable[[], None]) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not buffer.put(item):
                break
    except BaseException as raised:  # whoever takes the items is told, whatever it is
        error = raised
    finally:
        try:
            finish()
        finally:
            buffer.end(error)
