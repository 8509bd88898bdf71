"""Pictures that nobody has labelled."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien.datasets.base import NO_ANSWER, ImageSet
from mien.errors import DataError
from mien.ops.files import folder_error, list_images, printable
from mien.ops.image import load_image


def open_unlabelled(paths: Sequence[str | os.PathLike[str]], labels: tuple[str, ...]) -> ImageSet:
    """All pictures of files and folders, without targets and answers.

    Args:
        paths: pictures, and folders that are searched through.
        labels: the classes that a teacher will choose among.

    Raises:
        DataError: a folder cannot be listed, or there are no pictures.
    """

    def refuse(error: OSError) -> None:
        raise DataError(str(folder_error(error)))

    given = [os.fspath(path) for path in paths]
    for path in given:
        if not os.path.lexists(path):
            raise DataError(f"{printable(path)}: no such file or folder")
    files: list[Path] = list(list_images(given, on_error=refuse))
    if not files:
        raise DataError(f"no pictures in {', '.join(given)}")
    return ImageSet(
        name=f"{len(files):,} unlabelled pictures",
        protocol="none",
        labels=labels,
        items=[str(file) for file in files],
        targets=np.zeros((len(files), len(labels)), np.float32),
        truth=np.full(len(files), NO_ANSWER, np.int64),
        read=lambda i: load_image(files[i]),
    )
