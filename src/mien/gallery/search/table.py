"""What a search index keeps of a gallery, in memory or in a file, and how it follows the gallery's changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import RLock
from typing import Protocol, TypeVar

import numpy as np

from mien.errors import GalleryError
from mien.gallery.records import Changes, Ids
from mien.gallery.search.exact import NOWHERE, Codes, Rows, prepared
from mien.types import FloatArray

Answer = TypeVar("Answer")

_TRIES = 4  # of reading while others write, before a reader asks them to wait
_SPARE = 1024  # rows: the least that is free for more faces, and the least that lie fallow before rows are packed


class Table(Protocol):
    """Rows that follow a gallery. May be shared by threads, and a file by processes."""

    @property
    def revision(self) -> int:
        """Of the gallery, as far as it is known here; 0 where nothing is."""
        ...

    def lock(self) -> AbstractContextManager[object]:
        """Keep others from changing it."""
        ...

    def rows(self) -> Rows | None:
        """As they are now; None while somebody changes them."""
        ...

    def changed(self, rows: Rows) -> bool:
        """Whether a row of these has changed since."""
        ...

    def apply(self, changes: Changes) -> None:
        """Follow the gallery."""
        ...


def read(table: Table, work: Callable[[Rows], Answer]) -> Answer:
    """Do something with the rows, so that none of them changes on the way: again, where one did.

    Raises:
        GalleryError: a process died while it changed them, since `revision` was asked for.
    """
    for _ in range(_TRIES):
        rows = table.rows()
        if rows is not None:
            answer = work(rows)
            if not table.changed(rows):
                return answer
    with table.lock():
        rows = table.rows()
        if rows is None:
            raise GalleryError("the search index was left half-written: ask again, and it is made anew")
        return work(rows)


@dataclass(frozen=True, eq=False)
class Plan:
    """How rows follow changes. A face with another embedding gets another row: what is written is never overwritten.

    Attributes:
        ids: (A,) int64, of rows to add.
        codes: (A,) int32, theirs.
        vectors: (A, D) float32, theirs.
        freed: rows to free.
        moved: rows that get another code.
        moved_codes: those.
        people: ids that get the next codes.
        gone: codes of people who have no face any more.
    """

    ids: Ids
    codes: Codes
    vectors: FloatArray
    freed: Ids
    moved: Ids
    moved_codes: Codes
    people: list[str]
    gone: Ids

    @property
    def only_adds(self) -> bool:
        """Whether every row that is there stays as it is."""
        return not (len(self.freed) or len(self.moved) or len(self.gone))


def plan(rows: Rows, changes: Changes) -> Plan:
    """What to do so that the rows say what the gallery says.

    Raises:
        ValueError: see `prepared`.
    """
    dimension = rows.matrix.shape[1]
    vectors = prepared(changes.vectors.reshape(-1, dimension), dimension, rows.metric)
    ids, kept = np.unique(np.asarray(changes.ids, dtype=np.int64), return_index=True)
    vectors = vectors[kept]
    codes, people = _coded(rows, [changes.people[i] for i in kept])
    known = rows.places(ids)
    same = known != NOWHERE
    same[same] = (rows.matrix[known[same]] == vectors[same]).all(axis=1)
    moves = same.copy()
    moves[same] = rows.codes[known[same]] != codes[same]
    removed = rows.places(np.setdiff1d(np.asarray(changes.removed, dtype=np.int64), ids))
    freed = np.concatenate([removed[removed != NOWHERE], known[(known != NOWHERE) & ~same]])
    moved, moved_codes = known[moves], codes[moves]
    gone = _abandoned(rows, freed, moved, np.concatenate([codes[~same], moved_codes]))
    return Plan(ids[~same], codes[~same], vectors[~same], freed, moved, moved_codes, people, gone)


def _coded(rows: Rows, people: list[str | None]) -> tuple[Codes, list[str]]:
    """The code of each, and the ids of those who get the next ones."""
    wanted = {person for person in people if person is not None}
    known = {person: code for code, person in enumerate(rows.people) if person in wanted}
    new = sorted(wanted - known.keys())
    known |= {person: code for code, person in enumerate(new, len(rows.people))}
    return np.array([NOWHERE if p is None else known[p] for p in people], dtype=np.int32), new


def _abandoned(rows: Rows, freed: Ids, moved: Ids, arriving: Codes) -> Ids:
    """Codes of people who lose faces and have none left."""
    losing = np.unique(rows.codes[np.concatenate([freed, moved])])
    losing = losing[losing != NOWHERE]
    if not len(losing):
        return np.empty(0, dtype=np.int64)
    staying = rows.codes.copy()
    staying[freed] = NOWHERE
    staying[moved] = NOWHERE
    gone: Ids = np.setdiff1d(losing, np.concatenate([staying, arriving])).astype(np.int64)
    return gone


def squares_of(vectors: FloatArray) -> FloatArray:
    """(N,) float32, |x|^2."""
    return np.concatenate(
        [np.square(part, dtype=np.float64).sum(axis=1) for part in np.array_split(vectors, len(vectors) // 65536 + 1)]
    ).astype(np.float32)


def nothing(dimension: int, metric: str) -> Rows:
    """Rows of a gallery of which nothing is known."""
    return Rows(
        revision=0,
        sequence=0,
        ids=np.empty(0, dtype=np.int64),
        codes=np.empty(0, dtype=np.int32),
        squares=np.empty(0, dtype=np.float32),
        matrix=np.empty((0, dimension), dtype=np.float32),
        people=[],
        metric=metric,
    )


def followed(rows: Rows, changes: Changes) -> Rows:
    """The rows after the changes, packed, in arrays of their own."""
    start = nothing(rows.matrix.shape[1], rows.metric) if changes.complete else rows
    steps = plan(start, changes)
    codes = start.codes.copy()
    codes[steps.moved] = steps.moved_codes
    kept = np.setdiff1d(start.live, steps.freed)
    vectors = np.concatenate([start.matrix[kept], steps.vectors])
    codes = np.concatenate([codes[kept], steps.codes])
    present, codes_of = np.unique(codes, return_inverse=True)
    if len(present) and present[0] == NOWHERE:
        present, codes_of = present[1:], codes_of - 1
    people = [*start.people, *steps.people]
    return Rows(
        revision=changes.revision,
        sequence=0,
        ids=np.concatenate([start.ids[kept], steps.ids]),
        codes=codes_of.astype(np.int32).reshape(-1),
        squares=squares_of(vectors),
        matrix=vectors,
        people=[people[code] for code in present],
        metric=rows.metric,
    )


def capacity_for(count: int) -> int:
    """How many rows to make room for."""
    return count + max(_SPARE, count // 4)


def fallow(rows: int, faces: int) -> bool:
    """Whether so many rows lie free that they are worth packing."""
    return rows - faces > max(_SPARE, faces // 3)


class MemoryTable:
    """Rows in the memory of this process, gone with it."""

    def __init__(self, dimension: int, metric: str) -> None:
        self._lock = RLock()
        self._busy = False
        self._sequence = 0
        self._full = nothing(dimension, metric)  # with room for more rows
        self._rows = self._full

    @property
    def revision(self) -> int:
        """See `Table`."""
        return self._rows.revision

    def lock(self) -> AbstractContextManager[object]:
        """See `Table`."""
        return self._lock

    def rows(self) -> Rows | None:
        """See `Table`."""
        return None if self._busy else self._rows

    def changed(self, rows: Rows) -> bool:
        """See `Table`."""
        return self._busy or rows.sequence != self._sequence

    def apply(self, changes: Changes) -> None:
        """See `Table`."""
        with self._lock:
            rows = self._rows
            if changes.complete:
                self._pack(changes)
            elif changes.revision > rows.revision:
                steps = plan(rows, changes)
                count = len(rows.ids) + len(steps.ids)
                faces = len(rows.live) + len(steps.ids) - len(steps.freed)
                if count > len(self._full.ids) or fallow(count, faces):
                    self._pack(changes)
                else:
                    self._write(steps, changes.revision)

    def _pack(self, changes: Changes) -> None:
        packed = followed(self._rows, changes)
        count = len(packed.ids)
        room = capacity_for(count)
        full = nothing(packed.matrix.shape[1], packed.metric)
        for name in ("ids", "codes", "squares", "matrix"):
            array = getattr(packed, name)
            larger = np.zeros((room, *array.shape[1:]), dtype=array.dtype)
            larger[:count] = array
            setattr(full, name, larger)
        full.people = packed.people
        self._sequence += 1
        self._full = full
        self._rows = self._cut(count, changes.revision)

    def _write(self, steps: Plan, revision: int) -> None:
        full, count = self._full, len(self._rows.ids)
        end = count + len(steps.ids)
        full.ids[count:end], full.codes[count:end] = steps.ids, steps.codes
        full.squares[count:end], full.matrix[count:end] = squares_of(steps.vectors), steps.vectors
        people: list[str | None] = [*self._rows.people, *steps.people]
        if not steps.only_adds:
            self._busy = True
            self._sequence += 1
            full.ids[steps.freed], full.codes[steps.freed] = NOWHERE, NOWHERE
            full.squares[steps.freed], full.matrix[steps.freed] = np.inf, 0
            full.codes[steps.moved] = steps.moved_codes
            for code in steps.gone:
                people[code] = None
        full.people = people
        self._rows = self._cut(end, revision)
        self._busy = False

    def _cut(self, count: int, revision: int) -> Rows:
        full = self._full
        arrays = (full.ids[:count], full.codes[:count], full.squares[:count], full.matrix[:count])
        return Rows(revision, self._sequence, *arrays, full.people, full.metric)
