"""Ctrl-C in a loop whose state is whole only now and then."""

from __future__ import annotations

import signal
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Self


class HeldInterrupts:
    """While this is entered, a first Ctrl-C waits for `check`; a second one does not wait.

    On leaving, whoever handled interrupts before handles the one that waited. Does nothing outside of the main thread,
    and where interrupts are ignored.
    """

    def __init__(self) -> None:
        self._waits = False
        self._before: signal.Handlers | object = None

    def __enter__(self) -> Self:
        if current_thread() is main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_back()
        if self._waits and (kind is None or kind is KeyboardInterrupt):  # another error is the one to report
            signal.raise_signal(signal.SIGINT)

    def check(self) -> None:
        """Raise KeyboardInterrupt if one waits: called where all is whole."""
        if self._waits:
            raise KeyboardInterrupt

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        self._waits = True
        self._give_back()

    def _give_back(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]  # what `signal` gave
            self._before = None
