"""Files that commands write beside what they print: refused before the work where possible, never half there."""

from __future__ import annotations

from pathlib import Path

from mien.errors import MienError
from mien.ops.atomic import written_whole


def check_target(path: Path) -> None:
    """Refuse a file that cannot be written, before minutes of work.

    Raises:
        MienError: it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise MienError(f"{path}: cannot be written: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise MienError(f"{path}: its folder does not exist; make it first")


def write_text(path: Path, text: str) -> None:
    """Write a whole file, or nothing.

    Raises:
        MienError: it cannot be written.
    """
    try:
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise MienError(f"{path}: cannot be written ({error.strerror or error})") from error
