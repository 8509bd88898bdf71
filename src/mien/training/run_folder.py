"""The folder of a training run: one run at a time, and none overwrites another."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mien.errors import DataError
from mien.ops.atomic import write_whole
from mien.training.loop import CHECKPOINT, refuse_nothing_to_resume
from mien.training.options import TrainingOptions
from mien.training.temporal_options import TemporalOptions

MODEL, WEIGHTS, SETTINGS = "model.onnx", "weights.safetensors", "settings.json"


def prepare_folder(folder: Path, options: TrainingOptions | TemporalOptions, *, resume: bool) -> None:
    """Make the folder of a run, or take it up again; a run that is there already is never overwritten.

    Raises:
        DataError: it holds another run, none to take up again, or cannot be written.
    """
    begun = (folder / CHECKPOINT).exists() or (folder / MODEL).exists()
    if begun and not resume:
        raise DataError(f"{folder}: holds a training run already; go on with --resume, or choose another --out")
    if resume:  # its settings stay as they were written: whether these are the same is checked with the checkpoint
        refuse_nothing_to_resume(folder)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror or error}") from error
    write_whole(folder / SETTINGS, json.dumps(options.to_dict(), indent=2) + "\n")


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make the folder of a run, and keep other runs out of it, until the block or the process ends.

    Raises:
        DataError: another run is in it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror or error}") from error
    try:
        import fcntl
    except ImportError:  # Windows: two runs in one folder are the user's to avoid
        yield
        return
    place = os.open(folder, os.O_RDONLY)  # the folder itself: a file for the lock would stay behind
    try:
        with suppress(OSError):  # a file system without locks: as on Windows
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(f"{folder}: another run is at work in it; choose another --out") from error
        yield
    finally:
        os.close(place)
