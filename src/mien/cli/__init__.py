"""The `mien` command: parses, calls, prints. Results go to standard output, progress and errors to standard error.

Exit codes: 0 done (verify: same person), 1 the answer is no, 2 bad input or usage, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def main() -> None:
    """Entry point of the `mien` command."""
    signal.signal(signal.SIGINT, _interrupted)
    _open_missing_streams()
    from mien.cli.app import app  # after the handler: Ctrl-C works while this loads

    try:
        app()
    except OSError as error:  # where results cannot be written: a full disk
        discard_output()
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"mien: {where}{error.strerror or error}\n")
        sys.exit(2)


def discard_output() -> None:
    """Send what is still to be written to standard output nowhere: nobody takes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_missing_streams() -> None:
    """Where a standard stream is closed (`mien ... >&-`), read and write nothing, and let no file take its number."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


class _Hold:
    """Whether interrupts wait, and whether one does."""

    on = False
    waiting = False


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a first Ctrl-C wait until the block is done; a second one means now."""
    _Hold.on = True
    try:
        yield
    finally:
        _Hold.on = False
    if _Hold.waiting:
        _leave()


def interrupted() -> bool:
    """Whether a Ctrl-C waits, see `uninterrupted`: long work then ends early, and in order."""
    return _Hold.waiting


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    """Leave in order: what runs is finished or undone, nothing is half-written."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C means now
    if _Hold.on:
        _Hold.waiting = True
    else:
        _leave()


def _leave() -> None:
    sys.stderr.write("mien: interrupted\n")
    sys.exit(130)
