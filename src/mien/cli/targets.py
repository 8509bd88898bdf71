"""Files that commands write beside what they print: refused before the work where possible."""

from __future__ import annotations

from pathlib import Path

from mien.errors import MienError


def check_target(path: Path) -> None:
    """Refuse a file that cannot be written, before minutes of work.

    Raises:
        MienError: it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise MienError(f"{path}: cannot be written: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise MienError(f"{path}: its folder does not exist; make it first")
