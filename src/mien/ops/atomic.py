"""Files that appear whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`, which takes its place when the block ends without an error.

    Args:
        target: is replaced if it exists; its folder must exist.

    Yields:
        A path at which nothing is yet; if the block fails, nothing stays there.

    Raises:
        OSError: `target` is a folder, or cannot be replaced.
    """
    temporary = target.parent / f".mien-{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        temporary.replace(target)
    finally:
        with suppress(OSError, ValueError):  # an error before this one is the one to report
            temporary.unlink(missing_ok=True)
