"""FER+: faces of 48x48 grey pixels, each labelled by ten raters.

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution", 2016.

Its official layout is a folder for each part (FER2013Train, FER2013Valid, FER2013Test) with the pictures and
`label.csv`, whose rows are: file, box of the face "(left, top, right, bottom)", and how many raters voted for each of
`CLASSES`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from mien.datasets.base import NO_ANSWER, ImageSet, IndexArray, Split, choose_part
from mien.datasets.labels import EXPRESSIONS
from mien.datasets.sources import Archive, Folder, Source, listed
from mien.datasets.tables import read_rows
from mien.errors import DataError, ImageError
from mien.ops.files import is_folder, printable
from mien.types import FloatArray, ImageArray

CLASSES = (*EXPRESSIONS, "unknown", "not a face")
"""What a rater of FER+ could vote for."""

PROTOCOL = "FER+ majority"

_LABELS = "label.csv"
_WRAPPER = "ferplus"  # the folder inside archives, and what they leave when they are unpacked
_SPLITS: dict[str, Split] = {"fer2013train": "train", "fer2013valid": "validation", "fer2013test": "test"}
_MOST_VOTES = 999  # for one class by one picture's raters: FER+ has ten
_COLUMNS = 2 + len(CLASSES)
_Box = tuple[int, int, int, int]


# The public calls


def read_ferplus(path: str | os.PathLike[str], *, split: Split | None = None) -> ImageSet:
    """FER+ in its official layout.

    `targets` are the shares of the votes (`vote_shares`), `truth` is the majority (`majority`).

    Args:
        path: a zip archive; a folder with `label.csv` and its pictures; or the folder above FER2013Train, FER2013Valid
            and FER2013Test.
        split: which of these; None where there is only one.

    Raises:
        DataError: it is not this layout, has no such part, or `label.csv` is malformed or names pictures that are not
            there.
    """
    path = Path(path)
    part, rows = _read_part(path, split)
    return ImageSet(
        name=f"FER+ {part.split}" if part.split else f"FER+ ({path.name})",
        protocol=PROTOCOL,
        labels=EXPRESSIONS,
        items=[part.source.called(part.prefix + file) for file in rows.files],
        targets=vote_shares(rows.votes),
        truth=majority(rows.votes),
        read=_Reader(part, rows.files, rows.boxes),
    )


def read_votes(path: str | os.PathLike[str], *, split: Split | None = None) -> IndexArray:
    """(N, 10) int64: how many raters voted for each of `CLASSES`, picture by picture as `read_ferplus` gives them."""
    return _read_part(Path(path), split)[1].votes


def ferplus_parts(path: str | os.PathLike[str]) -> frozenset[Split | None]:
    """The parts that lie there (None: one that is not called train, validation or test); empty where it is not FER+."""
    return frozenset(_parts(Path(path)))


# The votes


def vote_shares(votes: IndexArray) -> FloatArray:
    """What a network is trained towards: how the votes are shared by the eight expressions.

    A class with a single vote counts as none: Barsoum et al. drop these as outliers.

    Args:
        votes: (N, 10), see `CLASSES`.

    Returns:
        (N, 8) float32; rows sum to 1, or to 0 where "unknown" and "not a face" hold more than half of the votes.
    """
    counted = _without_outliers(votes)
    expressions = counted[:, : len(EXPRESSIONS)]
    known, total = expressions.sum(axis=1), counted.sum(axis=1)
    usable = (known > 0) & (2 * (total - known) <= total)
    return np.where(usable[:, None], expressions / np.maximum(known, 1)[:, None], 0).astype(np.float32)


def majority(votes: IndexArray) -> IndexArray:
    """What a network is measured by: the expression that holds more than half of the votes.

    A class with a single vote counts as none, here too.

    Args:
        votes: (N, 10), see `CLASSES`.

    Returns:
        (N,) int64 index into `EXPRESSIONS`, or `NO_ANSWER` where no expression holds so many.
    """
    counted = _without_outliers(votes)
    top = counted.argmax(axis=1)
    answered = (2 * counted.max(axis=1) > counted.sum(axis=1)) & (top < len(EXPRESSIONS))
    return np.where(answered, top, NO_ANSWER).astype(np.int64)


def _without_outliers(votes: IndexArray) -> IndexArray:
    return np.where(votes > 1, votes, 0)


@dataclass(frozen=True, eq=False)
class Agreement:
    """How raters answer where the other raters agree.

    Attributes:
        counts: (8, 10) int64: of the votes on pictures that the other raters say to show expression i, how many are for
            class j of `CLASSES`.
    """

    counts: IndexArray

    @property
    def overall(self) -> float:
        """Share of the votes that agree, in [0, 1]: the accuracy of one rater. NaN where nothing was judged."""
        with np.errstate(invalid="ignore"):
            return float(np.trace(self.counts) / self.counts.sum())

    @property
    def per_class(self) -> npt.NDArray[np.float64]:
        """(8,) the same for each expression: the recall of one rater. NaN where an expression was never seen."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.diagonal(self.counts) / self.counts.sum(axis=1))


def agreement(votes: IndexArray) -> Agreement:
    """How often one rater agrees with the majority of the others, each rater of each picture left out in turn.

    The majority is that of `majority`, by the votes of the others; pictures on which they give no answer are left out
    for this rater. A network's accuracy under the same protocol can be held against `Agreement.overall`.

    Args:
        votes: (N, 10), see `CLASSES`.
    """
    counts = np.zeros((len(EXPRESSIONS), len(CLASSES)), dtype=np.int64)
    for voted in range(len(CLASSES)):
        mine = votes[votes[:, voted] > 0]
        weights = mine[:, voted].copy()
        others = mine.copy()
        others[:, voted] -= 1
        truth = majority(others)
        answered = truth != NO_ANSWER
        np.add.at(counts[:, voted], truth[answered], weights[answered])
    return Agreement(counts)


# Where the parts lie


@dataclass(frozen=True, eq=False)
class _Part:
    """One `label.csv` and its pictures: names in `source`, after `prefix`."""

    source: Source
    prefix: str
    split: Split | None


@dataclass(frozen=True, eq=False)
class _Reader:
    part: _Part
    files: Sequence[str]
    boxes: Sequence[_Box]

    def __call__(self, i: int) -> ImageArray:
        name = self.part.prefix + self.files[i]
        picture = self.part.source.picture(name)
        left, top, right, bottom = self.boxes[i]
        height, width = picture.shape[:2]
        if (left, top, right, bottom) == (0, 0, width, height):
            return picture
        if right > width or bottom > height:
            raise ImageError(f"{self.part.source.called(name)}: {width} x {height} pixels do not hold the face's box")
        return np.ascontiguousarray(picture[top:bottom, left:right])


def _parts(path: Path) -> dict[Split | None, _Part]:
    if not is_folder(path):
        return _archive_parts(Archive(path))
    found: dict[Split | None, _Part] = {}
    for folder in _candidates(path):
        if (folder / _LABELS).is_file():
            split = _SPLITS.get(folder.resolve().name.lower())
            found.setdefault(split, _Part(Folder(folder), "", split))
    return found


def _candidates(path: Path) -> list[Path]:
    """The folders that may be a part: this one, and those of the official names in it (or in `ferplus` in it)."""
    bases = [path, path / _WRAPPER] if is_folder(path / _WRAPPER) else [path]
    named = [base / name for base in bases for name in sorted(listed(base)) if name.lower() in _SPLITS]
    return [path, *named]


def _archive_parts(archive: Archive) -> dict[Split | None, _Part]:
    found: dict[Split | None, _Part] = {}
    for name in archive.names():
        path = PurePosixPath(name)
        if path.name != _LABELS or path.parts[0] == "__MACOSX":
            continue
        split = _SPLITS.get(path.parent.name.lower())
        if split in found:
            raise DataError(f"{archive.called(name)}: a second {_LABELS} for the same part")
        found[split] = _Part(archive, name.removesuffix(_LABELS), split)
    return found


def _read_part(path: Path, split: Split | None) -> tuple[_Part, _Rows]:
    parts = _parts(path)
    if not parts:
        raise DataError(f"{printable(path)}: no {_LABELS} in it, so it is not FER+")
    part = choose_part(printable(path), parts, split)
    return part, _read_rows(part)


# label.csv


@dataclass(frozen=True, eq=False)
class _Rows:
    """`label.csv` as a struct of arrays: N names, N boxes, votes (N, 10)."""

    files: list[str]
    boxes: list[_Box]
    votes: IndexArray


def _read_rows(part: _Part) -> _Rows:
    source, labels = part.source, part.source.called(part.prefix + _LABELS)
    lines: dict[str, int] = {}  # in file order, so these are the names too
    boxes: list[_Box] = []
    votes: list[list[int]] = []
    known_boxes: dict[str, _Box] = {}  # nearly all are alike
    for line, row in read_rows(io.BytesIO(source.read(part.prefix + _LABELS)), labels):
        where = f"{labels}, line {line}"
        if len(row) != _COLUMNS:
            raise DataError(f"{where}: expected file, box and {len(CLASSES)} votes, found {len(row)} fields")
        file = _plain_name(row[0].strip(), where)
        if file in lines:
            raise DataError(f"{where}: {printable(file)} has a row already, line {lines[file]}")
        lines[file] = line
        boxes.append(known_boxes.get(row[1]) or known_boxes.setdefault(row[1], _box(row[1], where)))
        votes.append(parse_votes(row[2:], where))
    if not lines:
        raise DataError(f"{labels}: empty; expected a row for each picture")
    _check_present(part, lines, labels)
    return _Rows(list(lines), boxes, np.array(votes, dtype=np.int64))


def _check_present(part: _Part, lines: dict[str, int], labels: str) -> None:
    missing = [file for file in lines if part.prefix + file not in part.source]
    if missing:
        raise DataError(
            f"{labels}, line {lines[missing[0]]}: {printable(missing[0])} does not lie beside it; "
            f"{len(missing)} of {len(lines)} pictures are missing"
        )
    part.source.check([part.prefix + file for file in lines])


def _plain_name(name: str, where: str) -> str:
    """A name that leads nowhere: no path, no drive."""
    if not name or name in (".", "..") or any(c in name for c in "/\\:\0"):
        raise DataError(f"{where}: {printable(name)[:80]!r} is not the name of a picture beside {_LABELS}")
    return name


def _box(text: str, where: str) -> _Box:
    fields = [field.strip() for field in text.strip().removeprefix("(").removesuffix(")").split(",")]
    if len(fields) == 4 and all(_is_count(field, 99_999) for field in fields):
        left, top, right, bottom = map(int, fields)
        if left < right and top < bottom:
            return left, top, right, bottom
    raise DataError(f"{where}: {printable(text)[:80]!r} is not a box (left, top, right, bottom)")


def parse_votes(fields: Sequence[str], where: str) -> list[int]:
    """Counts of votes, each 0 to 999; DataError, beginning with `where`, for anything else."""
    for field in fields:
        if not _is_count(field.strip(), _MOST_VOTES):
            raise DataError(
                f"{where}: {printable(field)[:80]!r} is not a number of votes (a whole number, 0 to {_MOST_VOTES})"
            )
    return list(map(int, fields))


def _is_count(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(most))
