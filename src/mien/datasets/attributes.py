"""Pictures of faces with ages and genders: UTKFace's file names, or a table of one's own.

UTKFace (Zhang, Song & Qi 2017) writes labels into names: AGE_GENDER_RACE_DATE.jpg, gender 0 male, 1 female; race
0 White, 1 Black, 2 Asian, 3 Indian, 4 other. Some names lack a field: such pictures are left out, and counted.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.datasets.base import NO_ANSWER, IndexArray
from mien.datasets.sources import Archive, Folder, Source
from mien.errors import DataError
from mien.ops.files import natural_key, printable
from mien.ops.image import load_image
from mien.types import ImageArray

RACES = ("White", "Black", "Asian", "Indian", "other")
_GENDERS = {"0": 0, "1": 1, "male": 0, "female": 1, "m": 0, "f": 1, "man": 0, "woman": 1, "男": 0, "女": 1}
_OLDEST = 130
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_COLUMNS = ("file", "age", "gender", "group")


@dataclass(frozen=True, eq=False)
class AttributeSet:
    """N pictures with what is known of the face in each. The pictures stay where they are until `read`.

    Attributes:
        name: as reports call it.
        items: N names of pictures, as messages show them.
        ages: (N,) int64 in years, -1 where unknown.
        genders: (N,) int64, 0 male, 1 female, -1 where unknown.
        groups: N names of groups by which errors are reported (UTKFace: race), "" where unknown; never learnt.
        read: gives picture i as (H, W, 3) uint8 RGB; raises ImageError where it cannot.
        left_out: names of pictures whose labels could not be understood.
    """

    name: str
    items: Sequence[str]
    ages: IndexArray
    genders: IndexArray
    groups: Sequence[str]
    read: Callable[[int], ImageArray]
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def subset(self, chosen: npt.NDArray[np.integer] | Sequence[int], *, name: str | None = None) -> AttributeSet:
        """The pictures at these positions, in this order."""
        picked = [int(i) for i in chosen]
        read = self.read
        return AttributeSet(
            name or self.name,
            [self.items[i] for i in picked],
            self.ages[picked],
            self.genders[picked],
            [self.groups[i] for i in picked],
            lambda i: read(picked[i]),
            self.left_out,
        )


@dataclass(frozen=True)
class _Labels:
    """What is known of one picture."""

    file: str
    age: int
    gender: int
    group: str


def open_attributes(path: str | os.PathLike[str]) -> AttributeSet:
    """Pictures with ages and genders.

    Args:
        path: a folder or zip archive of pictures named as UTKFace names them, or a csv table with the columns `file`
            (relative to the table), and `age`, `gender` or both, and perhaps `group`.

    Raises:
        DataError: none of these, or no picture has a label.
    """
    path = Path(path)
    called = printable(path)
    if path.suffix.lower() == ".csv":
        return _from_table(path)
    source: Source
    if path.is_dir():
        names = _pictures_below(path)
        read: Callable[[str], ImageArray] = lambda name: load_image(path / name)  # noqa: E731
    elif path.suffix.lower() == ".zip":
        source = Archive(path)
        names = sorted((n for n in source.names() if n.lower().endswith(_PICTURES)), key=natural_key)
        source.check(names)
        read = source.picture
    else:
        raise DataError(f"{called}: not a folder, a zip archive or a csv table")
    return _made(called, names, (_from_name(name) for name in names), read)


def _pictures_below(root: Path) -> list[str]:
    found = [
        str((Path(folder) / name).relative_to(root))
        for folder, _, files in os.walk(root)
        for name in files
        if name.lower().endswith(_PICTURES) and not name.startswith(".")
    ]
    return sorted(found, key=natural_key)


def _from_name(name: str) -> _Labels | None:
    """The labels in a name, or None where it is not as UTKFace has it."""
    fields = Path(name).name.split("_")
    if len(fields) != 4 or not fields[0].isdecimal() or len(fields[0]) > 3:
        return None
    age, gender, race = int(fields[0]), _GENDERS.get(fields[1]), fields[2]
    if age > _OLDEST or gender is None or not (race.isdecimal() and int(race) < len(RACES)):
        return None
    return _Labels(name, age, gender, RACES[int(race)])


def _from_table(path: Path) -> AttributeSet:
    called = printable(path)
    text = _decoded(Folder(path.parent).read(path.name), called)
    rows = csv.DictReader(io.StringIO(text))
    header = [name.strip().lower() for name in rows.fieldnames or ()]
    if "file" not in header or not {"age", "gender"} & set(header):
        raise DataError(f"{called}: its first line must name the columns file, and age or gender (or both)")
    rows.fieldnames = header
    found = [_from_row(row, f"{called}, line {rows.line_num}") for row in rows]
    return _made(called, [row.file for row in found], found, lambda name: load_image(path.parent / name))


def _decoded(data: bytes, called: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{called}: not UTF-8 text") from error


def _from_row(row: dict[str, str], where: str) -> _Labels:
    file = (row.get("file") or "").strip()
    if not file:
        raise DataError(f"{where}: names no file")
    age, gender = (row.get("age") or "").strip(), (row.get("gender") or "").strip().lower()
    if age and not (age.isdecimal() and int(age) <= _OLDEST):
        raise DataError(f"{where}: {printable(age)!r} is no age in whole years")
    if gender and gender not in _GENDERS:
        raise DataError(f"{where}: {printable(gender)!r} is no gender that can be learnt; use male, female, or nothing")
    return _Labels(
        file, int(age) if age else NO_ANSWER, _GENDERS.get(gender, NO_ANSWER), (row.get("group") or "").strip()
    )


def _made(
    called: str, names: Sequence[str], labels: Iterable[_Labels | None], read: Callable[[str], ImageArray]
) -> AttributeSet:
    pairs = list(zip(names, labels, strict=True))
    found = [label for _, label in pairs if label is not None]
    if not found:
        raise DataError(
            f"{called}: no picture with a label; names must be AGE_GENDER_RACE_DATE.jpg, or give a csv table"
            f" with the columns {', '.join(_COLUMNS)}"
        )
    items = [label.file for label in found]
    return AttributeSet(
        called,
        items,
        np.array([label.age for label in found], np.int64),
        np.array([label.gender for label in found], np.int64),
        [label.group for label in found],
        lambda i: read(items[i]),
        tuple(name for name, label in pairs if label is None),
    )
