"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import BinaryIO

from mien.errors import MienError


@contextmanager
def written_whole(target: Path, *, prefix: str = ".mien-") -> Iterator[Path]:
    """Give a temporary path beside `target`, which takes its place when the block ends without an error.

    Args:
        target: is replaced if it exists; its folder must exist.
        prefix: how the name of the temporary file begins, by which what a killed process leaves can be found.

    Yields:
        A path at which nothing is yet; if the block fails, nothing stays there.

    Raises:
        OSError: `target` is a folder, or cannot be replaced.
    """
    temporary = target.parent / f"{prefix}{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        temporary.replace(target)
    finally:
        with suppress(OSError, ValueError):  # an error before this one is the one to report
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write a file whole, or not at all; of a text, what UTF-8 cannot hold is escaped.

    Args:
        path: is replaced if it exists.
        content: text is written as UTF-8.
        private: only its owner may read it, whatever the umask and whoever could read the file before.

    Raises:
        MienError: it cannot be written.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    try:
        with written_whole(path) as temporary, new_file(temporary, private=private) as file:
            file.write(data)
    except OSError as error:
        raise MienError(f"{path}: cannot be written ({error.strerror or error})") from error


def new_file(path: Path, *, private: bool = False) -> BinaryIO:
    """Make a file and open it for writing.

    Args:
        path: at which nothing may be.
        private: only its owner may read it (on POSIX), from its first moment on, whatever the umask.

    Raises:
        OSError: it cannot be made.
    """
    return open(path, "xb", opener=_private if private else None)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def folder_written_whole(target: Path, *, private: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `target`, which becomes `target` when the block ends without an error.

    Args:
        target: must not exist, or be an empty folder; the folders above it are made.
        private: only its owner may look into it (on POSIX).

    Yields:
        An empty folder; if the block fails, nothing stays there.

    Raises:
        OSError: a folder cannot be made, or `target` holds something.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".mien-{uuid.uuid4().hex}.tmp"
    temporary.mkdir(0o700 if private else 0o777)
    try:
        yield temporary
        if target.is_dir():
            target.rmdir()  # refuses what is not empty
        temporary.rename(target)
    finally:
        rmtree(temporary, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Have the names of new files on the disk, where the system can do that (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
