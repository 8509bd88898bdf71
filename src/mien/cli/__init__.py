"""The `mien` command: parses, calls, prints. Results go to standard output, progress and errors to standard error.

Exit codes: 0 done (verify: same person), 1 the answer is no, 2 bad input or usage, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from io import TextIOWrapper
from types import FrameType


def main() -> None:
    """Entry point of the `mien` command."""
    signal.signal(signal.SIGINT, _interrupted)
    if isinstance(sys.stdout, TextIOWrapper):  # names of files may be no text; a table shows them escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    from mien.cli.app import app  # after the handler: Ctrl-C works while this loads

    app()


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    """Leave in order: what runs is finished or undone, nothing is half-written."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C means now
    sys.stderr.write("mien: interrupted\n")
    sys.exit(130)
