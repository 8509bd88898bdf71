"""A graph over faces that proposes the nearest ones, and its file.

Hierarchical navigable small worlds (Malkov and Yashunin, 2018), by usearch.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mien.errors import GalleryError
from mien.gallery.records import Ids
from mien.gallery.search import exact
from mien.gallery.search.exact import NOWHERE, Rows
from mien.gallery.search.vector_file import temporary_prefix
from mien.ops.atomic import written_whole
from mien.types import FloatArray

Progress = Callable[[int, int], None]
"""Called with how many faces have been added, and how many are to be."""

# Among 100,000 faces drawn like lfw_dev's, 16 and 64 have to look at 256 faces for a recall@1 of 0.995 (2.2 ms), these
# at 64 (1 ms), and take 2.8 times as long to build; 256 instead of 128 gains nothing (recipes/LOG.md).
_CONNECTIVITY = 32
_EXPANSION_ADD = 128
_WIDTHS = (32, 64, 128, 256, 512, 1024)  # faces that a search looks at: the least that finds enough
_ENOUGH = 0.995  # recall@1 that a width must have, measured; 0.99 is what we want to hold on other probes, too
_PROBES = 1000  # by which it is measured
_CHECK_AT = 1.1  # times as many faces as when all were looked for: new links may have cut off old faces
_PIECE = 1 << 14  # faces that are added, or looked for, at a time
_EACH = 13  # bytes of each face behind the graph
_STAND_IN = 1 << 62  # keys from here on are nobody's
_FOOTER = struct.Struct("<8s32sIIIfQI")
_MAGIC = b"miengrf2"  # the last digit is the version of the layout


class _Footer(NamedTuple):
    """The end of the file: what the graph is of, and how it searches; `check` is of all before."""

    magic: bytes
    gallery: bytes
    dimension: int
    connectivity: int
    width: int
    recall: float
    faces: int
    check: int


class Graph:
    """Faces by their ids, and which embedding of each it has. Not to be shared by threads without a lock.

    usearch forgets a face but keeps its vector until the place is needed. So noise takes the place at once, under a key
    that is nobody's.

    Pruning may leave a face to which no way leads, half a percent of them in clustered data: nobody would ever find it.
    So faces are looked for after they were added, and those that are not found are strays: compared with every query.

    How many faces a search has to look at grows with their number, and depends on what they are like. So it is
    measured, whenever all are looked for: see `width`.

    Attributes:
        ids: (N,) int64 of the faces, in order.
        marks: (N,) float32 of each vector, by which another embedding is noticed.
        stray: (N,) whether a face is one.
        width: faces that a search looks at: the least of some widths that finds the nearest face of enough probes.
        recall: the share of probes whose nearest face it found then, against exact search, in [0, 1].
    """

    def __init__(self, dimension: int, progress: Progress | None = None) -> None:
        self._index = _usearch().Index(
            ndim=dimension, metric="l2sq", dtype="f16", connectivity=_CONNECTIVITY, expansion_add=_EXPANSION_ADD
        )
        self._dimension = dimension
        self._say = progress or (lambda done, total: None)
        self._random = np.random.default_rng()
        self._direction = np.random.default_rng(0).standard_normal(dimension).astype(np.float32)
        self._checked = 0  # faces when all were looked for
        self._strays = _Strays(np.empty(0, dtype=np.int64), np.empty((0, dimension), dtype=np.float32))
        self.ids = np.empty(0, dtype=np.int64)
        self.marks = np.empty(0, dtype=np.float32)
        self.stray = np.empty(0, dtype=np.bool_)
        self.width = _WIDTHS[0]
        self.recall = 1.0

    def follow(self, rows: Rows) -> tuple[int, int]:
        """Hold the faces of these rows and no others; how many came and how many went."""
        ids, places = rows.by_id
        marks = (rows.matrix @ self._direction)[places]
        here = np.isin(self.ids, ids, assume_unique=True)
        stays = here.copy()
        at = np.searchsorted(ids, self.ids[here])
        stays[here] = np.isclose(marks[at], self.marks[here], rtol=1e-4, atol=1e-5)
        gone = self.ids[~stays]
        self._remove(gone)
        new = ~np.isin(ids, self.ids[stays], assume_unique=True)
        self._add(ids[new], rows.matrix, places[new])
        stray = new.copy()  # until they are found
        stray[np.searchsorted(ids, self.ids[stays])] = self.stray[stays]
        self.ids, self.marks, self.stray = ids, marks, stray
        self._check(rows, new)
        return int(new.sum()), len(gone)

    def near(self, queries: FloatArray, k: int) -> Ids:
        """(Q, K) ids of faces that are probably nearest, K >= k if there are so many; NOWHERE in places left over."""
        wanted = 2 * k + 8
        return np.concatenate(
            [self._proposed(queries, wanted, self.width), self._strays.nearest(queries, wanted)], axis=1
        )

    def save(self, path: Path, gallery: str) -> None:
        """Write it to a file, readable by its owner only."""
        with written_whole(path, prefix=temporary_prefix(path)) as temporary:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._index.save(str(temporary))
            with temporary.open("ab") as file:
                file.write(self.ids.tobytes() + self.marks.tobytes() + self.stray.tobytes())
            check = _checksum(temporary, temporary.stat().st_size)
            footer = _Footer(*self._kind(gallery), self.width, self.recall, len(self.ids), check)
            with temporary.open("ab") as file:
                file.write(_FOOTER.pack(*footer))

    def load(self, path: Path, gallery: str, rows: Rows) -> bool:
        """Take over what a file holds; False where there is none, or none that is whole and of this gallery.

        Args:
            path: of the file.
            gallery: its id.
            rows: what it is the graph of, or was.
        """
        try:
            size = path.stat().st_size - _FOOTER.size
            with path.open("rb") as file:
                footer = _read_footer(file, size)
                if footer is None or footer[:4] != self._kind(gallery) or _EACH * footer.faces > size:
                    return False
                if _checksum(path, size) != footer.check:
                    return False
                file.seek(size - _EACH * footer.faces)
                self.ids = np.frombuffer(file.read(8 * footer.faces), dtype=np.int64)
                self.marks = np.frombuffer(file.read(4 * footer.faces), dtype=np.float32)
                self.stray = np.frombuffer(file.read(footer.faces), dtype=np.bool_)
            self._index.load(str(path))
        except OSError:
            return False
        self._checked, self.width, self.recall = footer.faces, footer.width, footer.recall
        self._note_strays(rows)
        return True

    def _kind(self, gallery: str) -> tuple[bytes, bytes, int, int]:
        return _MAGIC, gallery.encode()[:32].ljust(32, b"\0"), self._dimension, _CONNECTIVITY

    def _add(self, ids: Ids, matrix: FloatArray, places: Ids) -> None:
        for first in range(0, len(ids), _PIECE):
            some = slice(first, first + _PIECE)
            self._index.add(ids[some].astype(np.uint64), matrix[places[some]])  # on all cores
            self._say(min(first + _PIECE, len(ids)), len(ids))

    def _remove(self, ids: Ids) -> None:
        if not len(ids):
            return
        self._index.remove(ids.astype(np.uint64))
        noise = self._random.standard_normal((len(ids), self._dimension)).astype(np.float32) / 10
        keys = _STAND_IN + self._random.integers(_STAND_IN, size=len(ids)).astype(np.uint64)
        self._index.add(keys, noise)

    def _proposed(self, queries: FloatArray, wanted: int, width: int = _WIDTHS[0]) -> Ids:
        """(Q, W) ids by the graph alone, nearest first; W <= wanted."""
        wanted = min(wanted, len(self._index))
        self._index.expansion_search = max(width, wanted)
        found = self._index.search(queries, wanted, threads=1 if len(queries) == 1 else 0)
        keys = np.asarray(found.keys).reshape(len(queries), -1)
        counts = np.atleast_1d(getattr(found, "counts", keys.shape[1]))
        filled = np.arange(keys.shape[1]) < counts[:, None]
        known = filled & (keys < _STAND_IN)
        ids: Ids = np.where(known, np.where(known, keys, 0).astype(np.int64), NOWHERE)
        return ids

    def _check(self, rows: Rows, new: Any) -> None:
        """Look for the faces that are new, now and then for all; and then see how far a search has to look."""
        everybody = len(self.ids) > _CHECK_AT * self._checked
        self._look_for(rows, np.arange(len(self.ids)) if everybody else np.flatnonzero(new))
        self._note_strays(rows)
        if everybody:
            self._checked = len(self.ids)
            self._tune(rows)

    def _look_for(self, rows: Rows, which: Ids) -> None:
        """Note which of these faces are not found by their own embedding."""
        for first in range(0, len(which), _PIECE):
            some = which[first : first + _PIECE]
            ids = self.ids[some]
            found = self._proposed(rows.matrix[rows.places(ids)], 10)
            self.stray[some] = ~(found == ids[:, None]).any(axis=1)

    def _note_strays(self, rows: Rows) -> None:
        ids = self.ids[self.stray]
        places = rows.places(ids)
        here = places != NOWHERE
        self._strays = _Strays(ids[here], rows.matrix[places[here]])

    def _tune(self, rows: Rows) -> None:
        """Choose the width by probes whose nearest face is known."""
        probes = self._probes(rows)
        _, truth = exact.nearest(rows, probes, 1)
        for width in _WIDTHS:
            self.width = width
            self.recall = float((self.near(probes, 1) == truth).any(axis=1).mean())
            if self.recall >= _ENOUGH:
                break

    def _probes(self, rows: Rows) -> FloatArray:
        """(P, D): further faces, as it were: each of the gallery, off by as much as another differs from one near it.

        That other one is second to none but its nearest, likely of the same person where people have several faces.
        Off by its own neighbours a face would be easier to find than those to come (recall 0.996 rather than 0.985
        among 100,000 drawn faces, 64 looked at).
        """
        count = min(_PROBES, len(self.ids))
        own, others = (rows.matrix[rows.places(self._random.choice(self.ids, count, replace=False))] for _ in range(2))
        near = self._proposed(others, 3)[:, -1]
        off = np.where((near != NOWHERE)[:, None], others - rows.matrix[rows.places(near)], 0)
        return exact.prepared(own + off, self._dimension, rows.metric)


class _Strays:
    """Faces that are compared with every query: by one product, as exact as a graph needs."""

    def __init__(self, ids: Ids, vectors: FloatArray) -> None:
        self._ids = ids
        self._vectors = vectors
        self._squares = np.square(vectors).sum(axis=1)

    def nearest(self, queries: FloatArray, count: int) -> Ids:
        """(Q, min(count, S)) ids of those that are nearest to each, in no order."""
        if len(self._ids) <= count:
            return np.broadcast_to(self._ids, (len(queries), len(self._ids)))
        squared = self._squares - 2 * queries @ self._vectors.T
        return self._ids[np.argpartition(squared, count - 1, axis=1)[:, :count]]


def _read_footer(file: BinaryIO, at: int) -> _Footer | None:
    file.seek(max(at, 0))
    data = file.read(_FOOTER.size)
    return _Footer(*_FOOTER.unpack(data)) if len(data) == _FOOTER.size else None


def _checksum(path: Path, size: int) -> int:
    """CRC-32 of the first `size` bytes."""
    check = 0
    with path.open("rb") as file:
        while size > 0 and (data := file.read(min(size, 1 << 20))):
            check = zlib.crc32(data, check)
            size -= len(data)
    return check


def check_installed() -> None:
    """Refuse approximate search where it cannot be done.

    Raises:
        GalleryError: usearch is not installed.
    """
    _usearch()


def _usearch() -> Any:
    try:
        from usearch import index
    except ImportError as error:
        raise GalleryError("approximate search needs usearch: pip install 'mien[ann]'") from error
    return index
