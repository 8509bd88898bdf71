"""One line for each attempt, appended to a private file: who asked, what came of it, no pictures and no embeddings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mien.errors import LivenessError
from mien.liveness.lockout import make_private, state_folder

__all__ = ["add_line", "audit_path"]


def audit_path(folder: Path | None = None) -> Path:
    """The file; in `state_folder()` by default."""
    return (folder or state_folder()) / "unlock" / "attempts.jsonl"


def add_line(line: dict[str, Any], folder: Path | None = None) -> None:
    """Append a line; it is on the disk when this returns.

    Raises:
        LivenessError: it cannot be written; nobody is to be let in then.
    """
    path = audit_path(folder)
    make_private(path.parent)
    data = (json.dumps(line, ensure_ascii=True) + "\n").encode()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.write(handle, data) != len(data):  # one write: lines of two processes do not mix
                raise OSError("no room")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise LivenessError(f"{path}: cannot be written ({error.strerror or error}); nobody is let in") from error
