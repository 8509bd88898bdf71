"""Checkpoints: all that a run needs to go on exactly where it stopped, in a file that cannot execute code."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from mien.errors import DataError
from mien.ops.atomic import written_whole


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        DataError: it cannot be written (a full disk, say); the one before stays.
    """
    try:
        with written_whole(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch's writer hides what the file said (a full disk) in a RuntimeError
        cause = error if isinstance(error, OSError) else error.__context__
        reason = getattr(cause, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"{path}: the checkpoint cannot be written: {reason}; the one before is kept") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed (`weights_only`).

    Raises:
        DataError: it cannot be read, or is no checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        UnpicklingError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise DataError(f"{path}: not a checkpoint that can be read; start again without it") from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: not a checkpoint; start again without it")
    return state
