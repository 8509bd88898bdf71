"""One line where the packages of the extra `server` are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mien.errors import MienError


@contextmanager
def needs_extra() -> Iterator[None]:
    """Around imports from `mien.server`.

    Raises:
        MienError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "mien":
            raise
        raise MienError(f"serving needs more packages: pip install 'mien[server]' ({error.name} is missing)") from error
