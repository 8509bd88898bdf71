"""The `mien` command: parses, calls, prints. Results go to standard output, progress and errors to standard error.

Exit codes: 0 done (verify: same person), 1 the answer is no, 2 bad input or usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys

EXIT_NO = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Entry point of the `mien` command."""
    from mien.cli.app import app  # noqa: PLC0415 - keeps `import mien.cli` free
    from mien.errors import MienError  # noqa: PLC0415

    try:
        app(standalone_mode=True)
    except MienError as error:
        fail(str(error))
    except KeyboardInterrupt:
        _leave("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has left: not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def fail(message: str) -> None:
    """Print one line on standard error and leave with exit code 2."""
    _leave(message, EXIT_BAD_INPUT)


def _leave(message: str, code: int) -> None:
    sys.stderr.write(f"mien: {message}\n")
    sys.exit(code)
