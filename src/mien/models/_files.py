"""Files of the weights cache: hashing, writing whole or not at all, and what to say when the disk refuses."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from mien.errors import WeightsError
from mien.models.base import WeightsFile

CHUNK = 1 << 20

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Progress(Protocol):
    """Is told how far a transfer has come."""

    def __call__(self, done: int, total: int, what: str) -> None:
        """Report.

        Args:
            done: bytes that have arrived.
            total: bytes in all.
            what: name of the file or package.
        """
        ...


def silent(done: int, total: int, what: str) -> None:
    """A `Progress` that says nothing."""


def sha256_of(path: Path) -> str:
    """Lower-case hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches(path: Path, weights: WeightsFile) -> bool:
    """Whether `path` is a readable file with exactly the pinned content."""
    try:
        return path.stat().st_size == weights.size and sha256_of(path) == weights.sha256
    except OSError:
        return False


def copy_verified(stream: IO[bytes], weights: WeightsFile, target: Path) -> None:
    """Copy a stream to `target`, never more than the pinned size, and check it.

    Raises:
        WeightsError: the content is not the pinned one; `target` is gone again.
    """
    digest, left = hashlib.sha256(), weights.size
    with target.open("wb") as out:
        while left >= 0 and (chunk := stream.read(min(CHUNK, left + 1))):
            left -= len(chunk)
            digest.update(chunk)
            if left >= 0:
                out.write(chunk)
    if left != 0 or digest.hexdigest() != weights.sha256:
        target.unlink()
        raise WeightsError(f"{weights.filename} does not match its pinned SHA-256, nothing of it was kept")


def publish(finished: Path, target: Path) -> None:
    """Move a finished file into place in one step, so that no reader ever sees a part of it."""
    with finished.open("rb+") as file:
        os.fsync(file.fileno())  # before the rename: a power cut must not leave a name without its content
    target.parent.mkdir(parents=True, exist_ok=True)
    finished.replace(target)


def ensure_room(folder: Path, needed: int) -> None:
    """Refuse before the first byte when the disk cannot hold the result.

    Raises:
        WeightsError: less than `needed` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WeightsError(
            f"{needed / 1e6:,.0f} MB are needed in {folder} but {free / 1e6:,.0f} MB are free: "
            "make room, or set MIEN_HOME to a folder on another disk"
        )


def sweep(folder: Path, *, keep: str | None = None) -> None:
    """Remove what is in `folder`, except files that match the glob `keep`; then the folder if it is empty."""
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif keep is None or not entry.match(keep):
            entry.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def explain(error: OSError, folder: Path) -> WeightsError:
    """Turn what the operating system said about `folder` into one line that says what to do."""
    if error.errno in _FULL:
        return WeightsError(f"no room left in {folder}: make room, or set MIEN_HOME to a folder on another disk")
    return WeightsError(
        f"cannot write to {folder} ({error.strerror or error}): set MIEN_HOME to a folder you can write to"
    )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn every OSError of the block into a `WeightsError` about `folder`."""
    try:
        yield
    except OSError as error:
        raise explain(error, folder) from error
