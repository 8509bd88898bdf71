"""Lists of verification pairs: LFW's `pairs.txt`, and plain tables of two paths and an answer.

LFW (Huang et al., "Labeled Faces in the Wild", 2007) writes `folds<TAB>n`, then for every fold n pairs of one
person (`name i j`) and n pairs of two people (`name i other j`). A first line with a single number is one
fold (View 1, `pairsDevTest.txt`). A table has no first line of counts: each row is
`path_a,path_b,same[,fold]`, separated by commas or tabs.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

_MOST_DIGITS = 9  # of any number in a file of pairs
_HEADER = re.compile(r"\s*[0-9]+(\s+[0-9]+)?\s*")
_TRUTH = {"1": True, "true": True, "yes": True, "same": True}
_TRUTH |= {"0": False, "false": False, "no": False, "different": False}


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of pictures, as a struct of arrays.

    Attributes:
        source: the file they were read from.
        paths: the P different pictures.
        first: (N,) int64, index into `paths`.
        second: (N,) int64, index into `paths`.
        same: (N,) bool, whether both show one person.
        fold: (N,) int64, the fold of each pair.
    """

    source: str
    paths: tuple[Path, ...]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    same: npt.NDArray[np.bool_]
    fold: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.same)


@dataclass(frozen=True)
class _Row:
    """One pair as the file says it, before its pictures are looked for."""

    line: int
    a: str
    b: str
    same: bool
    fold: int


class _Lines:
    """The non-blank lines of a file, with errors that name the file and the line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 text; give a pairs.txt or a table of paths") from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        self.lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        if not self.lines:
            raise DataError(f"{path}: empty; expected pairs")

    def error(self, line: int, message: str) -> DataError:
        return DataError(f"{self.path}, line {line}: {message}")


def read_pairs(path: Path, root: Path) -> Pairs:
    """Read a list of pairs and find its pictures.

    Args:
        path: LFW's format or a table (see the module); UTF-8, any line ends, blank lines are skipped.
        root: folder of the pictures. `Name n` is `root/Name/Name_000n.jpg` (or .jpeg, .png, .webp); what is
            not there is looked for in `root/lfw`, so the folder that LFW was unpacked in works too. Paths in
            a table are relative to `root`, or absolute.

    Returns:
        The pairs in file order; every picture exists.

    Raises:
        DataError: the file is malformed (names the line), or pictures are missing (counts them, names the
            first).
    """
    lines = _Lines(path)
    if not root.is_dir():
        raise DataError(f"{root}: not a folder; give the one that holds the pictures of {path}")
    if _HEADER.fullmatch(lines.lines[0][1]):
        return _resolve(lines, list(_lfw_rows(lines)), root, _lfw_candidates)
    return _resolve(lines, list(_table_rows(lines)), root, lambda name: (name,))


def _lfw_rows(lines: _Lines) -> Iterator[_Row]:
    """The pairs of LFW's format, held against the counts of its first line."""
    folds, per_kind = _counts(lines)
    body = lines.lines[1:]
    announced = folds * per_kind * 2
    for i, (number, line) in enumerate(body[:announced]):
        fold, place = divmod(i, 2 * per_kind)
        fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
        yield _lfw_row(lines, number, fields, same=place < per_kind, fold=fold)
    if len(body) != announced:
        more = len(body) > announced
        at = body[announced][0] if more else lines.lines[-1][0]
        raise lines.error(
            at,
            f"{'goes on after' if more else 'ends before'} the {announced} pairs that line "
            f"{lines.lines[0][0]} announces ({folds} x {per_kind} same and different); found {len(body)}",
        )


def _counts(lines: _Lines) -> tuple[int, int]:
    """(folds, pairs of each kind in a fold) from the first line."""
    number, text = lines.lines[0]
    if max(map(len, text.split())) > _MOST_DIGITS:
        raise lines.error(number, "announces more pairs than any file holds")
    *rest, per_kind = (int(field) for field in text.split())
    folds = rest[0] if rest else 1
    if folds < 1 or per_kind < 1:
        raise lines.error(number, "announces no pairs")
    return folds, per_kind


def _lfw_row(lines: _Lines, number: int, fields: list[str], *, same: bool, fold: int) -> _Row:
    """One line of LFW's format."""
    if len(fields) != (3 if same else 4):
        expected = "`name i j` (one person)" if same else "`name i other j` (two people)"
        raise lines.error(number, f"expected {expected}, found {len(fields)} fields")
    a, b = fields[0], fields[0] if same else fields[2]
    i, j = (_picture_number(lines, number, field) for field in (fields[1], fields[-1]))
    if not a or not b:
        raise lines.error(number, "a name is empty")
    if same and i == j:
        raise lines.error(number, f"compares picture {i} of {a} with itself")
    if not same and a == b:
        raise lines.error(number, f"a pair of two people names {a} twice")
    return _Row(number, f"{a}/{a}_{i:04d}", f"{b}/{b}_{j:04d}", same, fold)


def _picture_number(lines: _Lines, number: int, text: str) -> int:
    if not text.isdecimal() or len(text) > _MOST_DIGITS or int(text) < 1:
        raise lines.error(number, f"{text!r} is not the number of a picture (1, 2, ...)")
    return int(text)


def _table_rows(lines: _Lines) -> Iterator[_Row]:
    """The rows of a comma- or tab-separated table."""
    first_number, first = lines.lines[0]
    delimiter = "\t" if "\t" in first else ","
    if len(first.split(delimiter)) < 3:
        raise lines.error(first_number, "expected LFW's counts (`10<TAB>300` or `500`) or `path_a,path_b,same[,fold]`")
    width = 0
    titled = [field.strip().lower() for field in first.split(delimiter)][:3] == ["path_a", "path_b", "same"]
    if titled and len(lines.lines) == 1:
        raise lines.error(first_number, "titles, and no pairs below them")
    for number, line in lines.lines[titled:]:
        try:
            (fields,) = csv.reader([line], delimiter=delimiter, strict=True)
        except csv.Error as error:
            raise lines.error(number, f"{error}; write one pair a line") from error
        width = width or len(fields)
        yield _table_row(lines, number, [field.strip() for field in fields], width)


def _table_row(lines: _Lines, number: int, fields: list[str], width: int) -> _Row:
    """One row of a table; all rows have as many fields as the first."""
    if len(fields) != width or len(fields) not in (3, 4):
        raise lines.error(
            number,
            f"expected `path_a,path_b,same[,fold]` in every line alike, found {len(fields)} fields",
        )
    a, b, truth = fields[:3]
    if not a or not b:
        raise lines.error(number, "a path is empty")
    if a == b:
        raise lines.error(number, f"compares {a} with itself")
    if truth.lower() not in _TRUTH:
        raise lines.error(number, f"same is {truth!r}, expected 1 or 0 (titles must be path_a,path_b,same[,fold])")
    fold = fields[3] if width == 4 else "0"
    if not fold.isdecimal() or len(fold) > _MOST_DIGITS:
        raise lines.error(number, f"fold is {fold!r}, expected a number")
    return _Row(number, a, b, _TRUTH[truth.lower()], int(fold))


def _lfw_candidates(name: str) -> tuple[str, ...]:
    return tuple(name + suffix for suffix in SUFFIXES)


def _resolve(lines: _Lines, rows: list[_Row], root: Path, candidates: Callable[[str], tuple[str, ...]]) -> Pairs:
    """Find every picture once and number them in the order in which they are first named."""
    first_line: dict[str, int] = {}
    for row in rows:
        for name in (row.a, row.b):
            first_line.setdefault(name, row.line)
    found = {name: _find(root, candidates(name)) for name in first_line}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise lines.error(
            first_line[missing[0]],
            f"{candidates(missing[0])[0]} is not in {root}; "
            f"{len(missing)} of {len(found)} pictures are missing. Give the folder that holds them",
        )
    index = {name: i for i, name in enumerate(found)}
    return Pairs(
        source=str(lines.path),
        paths=tuple(path for path in found.values() if path is not None),
        first=np.array([index[row.a] for row in rows], dtype=np.int64),
        second=np.array([index[row.b] for row in rows], dtype=np.int64),
        same=np.array([row.same for row in rows], dtype=np.bool_),
        fold=np.array([row.fold for row in rows], dtype=np.int64),
    )


def _find(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of `names` that is a file in `root`, or else in `root/lfw`."""
    return next((path for base in (root, root / "lfw") for name in names if (path := base / name).is_file()), None)
