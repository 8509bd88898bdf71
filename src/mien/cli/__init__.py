"""The `mien` command: parses, calls, prints. Results go to standard output, progress and errors to standard error.

Exit codes: 0 done (verify: same person), 1 the answer is no, 2 bad input or usage, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Entry point of the `mien` command."""
    signal.signal(signal.SIGINT, _interrupted)
    from mien.cli.app import app  # after the handler: Ctrl-C works while this loads

    try:
        app()
    except BrokenPipeError:  # the reader of our output has left: not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    """Leave in order: what runs is finished or undone, nothing is half-written."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C means now
    sys.stderr.write("mien: interrupted\n")
    sys.exit(130)
