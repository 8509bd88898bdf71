"""The one door to data sets: finds out in which layout one lies."""

from __future__ import annotations

import os
from pathlib import Path

from mien.datasets.base import ImageSet, Split
from mien.datasets.fer2013 import fer2013_parts, holds_fer2013, read_fer2013
from mien.datasets.ferplus import ferplus_parts, read_ferplus
from mien.datasets.folder import Task, folder_parts, read_folder
from mien.errors import DataError
from mien.ops.files import is_folder, printable

_UNDERSTOOD = (
    "understood are FER+ (zip or folder with label.csv), FER2013 (csv), and a folder with one folder for each class, "
    "or with train/ and validation/ that hold these"
)
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


def open_image_set(path: str | os.PathLike[str], *, split: Split | None = None, task: Task = "expression") -> ImageSet:
    """Open labelled pictures, in whichever of the understood layouts they lie.

    Labels are read, pictures are not (but those of a csv table): they are read one by one, by `ImageSet.read`.

    Args:
        path: FER+ as a zip archive or folder (see `ferplus`), FER2013 as a csv table (see `fer2013`), or one folder for
            each class (see `folder`).
        split: the part: "train" (also gives a data set without parts), "validation" or "test"; None where there is only
            one.
        task: what the classes are; "people" keeps the names of folders as they are.

    Raises:
        DataError: it is none of these layouts, is malformed, or has no such part: one line that says what and where.
    """
    location = Path(path)
    layout = _layout(location)
    if task == "people" and layout != "folder":
        raise DataError(f"{printable(location)}: names expressions, not people; give one folder for each person")
    if layout == "ferplus":
        return read_ferplus(location, split=split)
    if layout == "fer2013":
        return read_fer2013(location, split=split)
    return read_folder(location, split=split, task=task)


def has_split(path: str | os.PathLike[str], split: Split) -> bool:
    """Whether `open_image_set` finds this part; a data set without parts is training data.

    Raises:
        DataError: as `open_image_set`, but for a part that is not there.
    """
    location = Path(path)
    find = {"ferplus": ferplus_parts, "fer2013": fer2013_parts, "folder": folder_parts}[_layout(location)]
    parts = find(location)
    return split in parts or (split == "train" and None in parts)


def _layout(path: Path) -> str:
    """Which reader understands what lies there."""
    if is_folder(path):
        return _folder_layout(path)
    name = printable(path)
    try:
        if not path.is_file():
            raise DataError(f"{name}: {'not a file or a folder' if path.exists() else 'no such file or folder'}")
        with path.open("rb") as file:
            start = file.read(4)
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read ({str(getattr(error, 'strerror', None) or error).lower()})") from error
    if start in _ZIP_STARTS or path.suffix.lower() == ".zip":
        if not ferplus_parts(path):
            raise DataError(f"{name}: an archive without label.csv; unpack it and give the folder ({_UNDERSTOOD})")
        return "ferplus"
    if path.suffix.lower() == ".csv":
        return "fer2013"
    raise DataError(f"{name}: not a data set ({_UNDERSTOOD})")


def _folder_layout(path: Path) -> str:
    if ferplus_parts(path):
        return "ferplus"
    if holds_fer2013(path):
        return "fer2013"
    if folder_parts(path):
        return "folder"
    raise DataError(f"{printable(path)}: no folders in it, so no classes ({_UNDERSTOOD})")
