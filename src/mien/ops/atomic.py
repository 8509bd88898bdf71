"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree


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


@contextmanager
def folder_written_whole(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside `target`, which becomes `target` when the block ends without an error.

    Args:
        target: must not exist, or be an empty folder; the folders above it are made.

    Yields:
        An empty folder; if the block fails, nothing stays there.

    Raises:
        OSError: a folder cannot be made, or `target` holds something.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".mien-{uuid.uuid4().hex}.tmp"
    temporary.mkdir()
    try:
        yield temporary
        if target.is_dir():
            target.rmdir()  # refuses what is not empty
        temporary.rename(target)
    finally:
        rmtree(temporary, ignore_errors=True)
