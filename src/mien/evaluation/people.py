"""Pictures whose people are known: a folder with one folder for each person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.errors import DataError
from mien.evaluation.metrics import Ints
from mien.ops.files import is_folder, list_images, printable, subfolders


@dataclass(frozen=True, eq=False)
class People:
    """Pictures of people.

    Attributes:
        source: where they come from, for messages.
        names: of P people.
        paths: of N pictures.
        person: (N,) int64, positions in `names`.
    """

    source: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    person: Ints


def read_people(folder: Path) -> People:
    """The pictures of a folder that has a folder for each person; people in natural order, empty folders left out.

    As where pictures are imported into a gallery, a person's may lie in folders of their own.

    Raises:
        DataError: it is not such a folder.
        ImageError: a folder cannot be listed.
    """
    if not is_folder(folder):
        raise DataError(f"{printable(folder)}: no such folder")
    found = {path.name: list(list_images([path])) for path in subfolders(folder)}
    found = {name: pictures for name, pictures in found.items() if pictures}
    if len(found) < 2:
        raise DataError(f"{printable(folder)}: expected one folder with pictures for each person, at least two")
    person = np.repeat(np.arange(len(found)), [len(pictures) for pictures in found.values()])
    paths = tuple(path for pictures in found.values() for path in pictures)
    return People(printable(folder), tuple(found), paths, person)
