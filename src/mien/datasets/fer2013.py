"""FER2013 (Goodfellow et al., "Challenges in Representation Learning", 2013): a csv table, one picture of 48x48 a row.

Columns, in any order: `emotion` (a code, see `LABELS`), `pixels` (2,304 numbers) and, where it is split, `Usage`. FER+
came as a second table, `fer2013new.csv`, with ten raters' votes for the rows of the first: where it lies beside it, its
labels are used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.datasets import ferplus
from mien.datasets.base import ImageSet, IndexArray, Split, choose_part, one_hot
from mien.datasets.labels import EXPRESSIONS
from mien.datasets.tables import read_rows
from mien.errors import DataError
from mien.ops.files import is_folder, printable
from mien.types import ImageArray

LABELS = EXPRESSIONS[:7]
"""FER2013 has no contempt."""

FILES = ("fer2013.csv", "icml_face_data.csv")
"""What the table is called, in a folder."""

_VOTES = "fer2013new.csv"
_SIDE = 48
_CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
_SPLITS: dict[str, Split] = {"training": "train", "publictest": "validation", "privatetest": "test"}
_GREY = {str(value): value for value in range(256)}


def read_fer2013(path: str | os.PathLike[str], *, split: Split | None = None) -> ImageSet:
    """FER2013 as a csv table, with FER+'s labels where `fer2013new.csv` lies beside it.

    The table is read line by line, and the pictures of the part are held in memory: 2,304 bytes each.

    Args:
        path: the table, or the folder that holds it.
        split: Usage "Training" is train, "PublicTest" validation, "PrivateTest" test; None where there is only one.

    Raises:
        DataError: a table is malformed (names the line), the two tables do not match, or there is no such part.
    """
    path = Path(path)
    table = _table(path)
    votes = _read_votes(table)
    part = _read_part(table, split, with_codes=votes is None)
    labelled = "FER2013" if votes is None else "FER+"
    name = f"{labelled} {part.split}" if part.split else f"{labelled} ({path.name})"
    items = [f"{printable(table)}, line {line}" for line in part.lines]
    if votes is None:
        truth = np.array([LABELS.index(_CODES[code]) for code in part.codes], dtype=np.int64)
        return ImageSet(name, "FER2013 labels", LABELS, items, one_hot(truth, len(LABELS)), truth, part.picture)
    if len(votes) != part.rows:
        raise DataError(f"{printable(table)}: {part.rows:,} rows, but {_VOTES} beside it has {len(votes):,}")
    chosen = votes[part.positions]
    targets, truth = ferplus.vote_shares(chosen), ferplus.majority(chosen)
    return ImageSet(name, ferplus.PROTOCOL, EXPRESSIONS, items, targets, truth, part.picture)


def fer2013_parts(path: Path) -> frozenset[Split | None]:
    """The parts of the table (None: it is not split). Reads the whole table, but decodes no picture."""
    table = _table(path)
    return frozenset(row.split for row in _rows(table))


def holds_fer2013(folder: Path) -> bool:
    """Whether the table lies in this folder, under one of its names."""
    return any((folder / name).is_file() for name in FILES)


def _table(path: Path) -> Path:
    if not is_folder(path):
        return path
    return next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])


# The pictures


@dataclass(frozen=True, eq=False)
class _Part:
    """The rows of one part: N lines, codes, positions in the table, pictures (N, 48, 48) uint8; `rows` of all parts."""

    split: Split | None
    lines: list[int]
    codes: list[int]
    positions: IndexArray
    pixels: ImageArray
    rows: int

    def picture(self, i: int) -> ImageArray:
        return np.repeat(self.pixels[i][..., None], 3, axis=2)


@dataclass(frozen=True)
class _Row:
    line: int
    where: str
    code: str
    pixels: str
    split: Split | None


def _read_part(table: Path, split: Split | None, *, with_codes: bool) -> _Part:
    lines: list[int] = []
    codes: list[int] = []
    positions: list[int] = []
    pixels = bytearray()
    seen: dict[Split | None, Split | None] = {}
    rows = 0
    for row in _rows(table):
        seen[row.split] = row.split
        if split is None:
            choose_part(printable(table), seen, None)  # two parts: said now, not after the whole table
        if row.split == split or split is None or (split == "train" and row.split is None):
            lines.append(row.line)
            codes.append(_code(row) if with_codes else 0)
            positions.append(rows)
            pixels += _pixels(row)
        rows += 1
    if not rows:
        raise DataError(f"{printable(table)}: a table without rows")
    found = choose_part(printable(table), seen, split)
    pictures = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, _SIDE, _SIDE)
    return _Part(found, lines, codes, np.array(positions, dtype=np.int64), pictures, rows)


def _code(row: _Row) -> int:
    if row.code.strip() not in set("0123456"):
        raise DataError(f"{row.where}: emotion is {printable(row.code)[:80]!r}, expected a code from 0 to 6")
    return int(row.code)


def _pixels(row: _Row) -> bytes:
    try:
        grey = bytes(map(_GREY.__getitem__, row.pixels.split()))
    except KeyError as error:
        raise DataError(f"{row.where}: {printable(error.args[0])[:80]!r} is not a pixel (0 to 255)") from error
    if len(grey) != _SIDE * _SIDE:
        raise DataError(f"{row.where}: {len(grey)} pixels, expected {_SIDE} x {_SIDE}")
    return grey


def _rows(table: Path) -> Iterator[_Row]:
    """The rows of the table, their columns found by the titles."""
    name = printable(table)
    with _opened(table) as rows:
        _, titles = next(rows, (0, []))
        columns = {title.strip().lower(): i for i, title in enumerate(titles)}
        if not {"emotion", "pixels"} <= columns.keys():
            raise DataError(f"{name}: not FER2013: its first line does not name the columns emotion and pixels")
        code, pixels, usage = columns["emotion"], columns["pixels"], columns.get("usage")
        for line, row in rows:
            where = f"{name}, line {line}"
            if len(row) != len(titles):
                raise DataError(f"{where}: expected {len(titles)} fields, found {len(row)}")
            yield _Row(line, where, row[code], row[pixels], None if usage is None else _split(row[usage], where))


def _split(usage: str, where: str) -> Split:
    try:
        return _SPLITS[usage.strip().lower()]
    except KeyError:
        raise DataError(
            f"{where}: Usage is {printable(usage)[:80]!r}, expected Training, PublicTest or PrivateTest"
        ) from None


@contextmanager
def _opened(table: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    try:
        file = table.open("rb")
    except OSError as error:
        raise DataError(f"{printable(table)}: cannot be read ({str(error.strerror).lower()})") from error
    with file:
        yield read_rows(file, printable(table))


# The votes beside them


def _read_votes(table: Path) -> IndexArray | None:
    """(R, 10) int64 for all rows of the table, or None where no votes lie beside it."""
    path = table.with_name(_VOTES)
    if not path.is_file() or path == table:
        return None
    votes: list[list[int]] = []
    with _opened(path) as rows:
        _, titles = next(rows, (0, []))
        if len(titles) != 2 + len(ferplus.CLASSES):
            raise DataError(
                f"{printable(path)}: expected Usage, Image name and {len(ferplus.CLASSES)} votes as columns"
            )
        for line, row in rows:
            where = f"{printable(path)}, line {line}"
            if len(row) != len(titles):
                raise DataError(f"{where}: expected {len(titles)} fields, found {len(row)}")
            votes.append(ferplus.parse_votes(row[2:], where))
    return np.array(votes, dtype=np.int64).reshape(-1, len(ferplus.CLASSES))
