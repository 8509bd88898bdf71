"""Approximate search: a graph over the faces, for galleries in which comparing with everybody takes too long.

Hierarchical navigable small worlds (Malkov and Yashunin, 2018), by usearch. The graph proposes faces; their distances
are those of the exact index, from the rows that it keeps. So an answer may miss a face, but no distance is ever wrong.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mien.errors import GalleryError
from mien.gallery.records import Changes, Ids
from mien.gallery.search import exact
from mien.gallery.search.exact import NOWHERE, Rows
from mien.gallery.search.vector_file import blank, temporary_prefix
from mien.ops.atomic import written_whole
from mien.types import FloatArray

if TYPE_CHECKING:
    from mien.gallery.search.index import ExactIndex

_log = logging.getLogger(__name__)

# Among 20,000 drawn faces (`faces_like_real`) recall@1 is 0.982 at 16 faces looked at, 1.000 from 32 on; adding with
# 128 instead of 64 finds no more and takes 1.7 times as long.
_CONNECTIVITY = 16
_EXPANSION_ADD = 64
_EXPANSION_SEARCH = 64
_FEW = 10_000  # faces: up to here all are compared, which takes a millisecond
_UNSAVED = 1000  # faces that the file of the graph may lack
_CHECK_AT = 1.1  # times as many faces as when all were looked for: new links may have cut off old faces
_PIECE = 1 << 14  # faces that are looked for at a time
_EACH = 13  # bytes of each face behind the graph
_STAND_IN = 1 << 62  # keys from here on are nobody's
_FOOTER = struct.Struct("<8s32sIIQI")
_MAGIC = b"miengrf1"


class Graph:
    """Faces by their ids, and which embedding of each it has. Not to be shared by threads without a lock.

    usearch forgets a face but keeps its vector until the place is needed. So noise takes the place at once, under a key
    that is nobody's.

    Pruning may leave a face to which no way leads, half a percent of them in clustered data: nobody would ever find it.
    So faces are looked for after they were added, and those that are not found are strays: compared with every query.
    """

    def __init__(self, dimension: int) -> None:
        self._index = _usearch().Index(
            ndim=dimension,
            metric="l2sq",
            dtype="f16",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
        )
        self._dimension = dimension
        self._noise = np.random.default_rng()
        self._direction = np.random.default_rng(0).standard_normal(dimension).astype(np.float32)
        self._checked = 0  # faces when all were looked for
        self.ids = np.empty(0, dtype=np.int64)
        self.stray = np.empty(0, dtype=np.bool_)
        self.marks = np.empty(0, dtype=np.float32)  # (N,) of each vector, by which another embedding is noticed

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
        self._add(ids[new], rows.matrix[places[new]])
        stray = new.copy()  # until they are found
        stray[np.searchsorted(ids, self.ids[stays])] = self.stray[stays]
        self.ids, self.marks, self.stray = ids, marks, stray
        everybody = len(ids) > _CHECK_AT * self._checked
        self._look_for(rows, np.arange(len(ids)) if everybody else np.flatnonzero(new))
        self._checked = len(ids) if everybody else self._checked
        return int(new.sum()), len(gone)

    def near(self, queries: FloatArray, k: int) -> Ids:
        """(Q, K) ids of faces that are probably nearest, K >= k if there are so many; NOWHERE in places left over."""
        wanted = min(2 * k + 8, len(self._index))
        self._index.expansion_search = max(_EXPANSION_SEARCH, wanted)
        found = self._index.search(queries, wanted, threads=1 if len(queries) == 1 else 0)
        keys = np.asarray(found.keys).reshape(len(queries), -1)
        counts = np.atleast_1d(getattr(found, "counts", keys.shape[1]))
        filled = np.arange(keys.shape[1]) < counts[:, None]
        known = filled & (keys < _STAND_IN)
        ids: Ids = np.where(known, np.where(known, keys, 0).astype(np.int64), NOWHERE)
        return ids

    def _look_for(self, rows: Rows, which: Ids) -> None:
        """Note which of these faces are not found by their own embedding."""
        for first in range(0, len(which), _PIECE):
            some = which[first : first + _PIECE]
            ids = self.ids[some]
            found = self.near(rows.matrix[rows.places(ids)], 1)
            self.stray[some] = ~(found == ids[:, None]).any(axis=1)

    def save(self, path: Path, gallery: str) -> None:
        """Write it to a file, readable by its owner only."""
        with written_whole(path, prefix=temporary_prefix(path)) as temporary:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._index.save(str(temporary))
            with temporary.open("ab") as file:
                file.write(self.ids.tobytes() + self.marks.tobytes() + self.stray.tobytes())
            check = _checksum(temporary, temporary.stat().st_size)
            with temporary.open("ab") as file:
                name = gallery.encode()[:32]
                file.write(_FOOTER.pack(_MAGIC, name, self._dimension, _CONNECTIVITY, len(self.ids), check))

    def load(self, path: Path, gallery: str) -> bool:
        """Take over what a file holds; False where there is none, or none that is whole and of this gallery."""
        try:
            size = path.stat().st_size - _FOOTER.size
            with path.open("rb") as file:
                file.seek(max(size, 0))
                footer = file.read(_FOOTER.size)
                if len(footer) < _FOOTER.size:
                    return False
                magic, name, dimension, connectivity, count, check = _FOOTER.unpack(footer)
                kind = (magic, name.rstrip(b"\0"), dimension, connectivity)
                if kind != (_MAGIC, gallery.encode()[:32], self._dimension, _CONNECTIVITY) or _EACH * count > size:
                    return False
                if _checksum(path, size) != check:
                    return False
                file.seek(size - _EACH * count)
                self.ids = np.frombuffer(file.read(8 * count), dtype=np.int64)
                self.marks = np.frombuffer(file.read(4 * count), dtype=np.float32)
                self.stray = np.frombuffer(file.read(count), dtype=np.bool_)
            self._checked = count
            self._index.load(str(path))
        except OSError:
            return False
        return True

    def _remove(self, ids: Ids) -> None:
        if not len(ids):
            return
        self._index.remove(ids.astype(np.uint64))
        noise = self._noise.standard_normal((len(ids), self._dimension)).astype(np.float32) / 10
        keys = _STAND_IN + self._noise.integers(_STAND_IN, size=len(ids)).astype(np.uint64)
        self._index.add(keys, noise)

    def _add(self, ids: Ids, vectors: FloatArray) -> None:
        if len(ids):
            self._index.add(ids.astype(np.uint64), vectors)


class ApproximateIndex:
    """Compares with the faces that a graph proposes; see `Index`.

    With few faces it compares with all. The graph lies in a file beside the cache, where there is one, so that it is
    built once; building takes about a minute for each 100,000 faces on one core.

    Args:
        rows: the exact index, which it is built from and which measures what it proposes.
        file: of the graph, or None.
        gallery: id of the gallery.

    Raises:
        GalleryError: usearch is not installed.
    """

    def __init__(self, rows: ExactIndex, file: Path | None = None, gallery: str = "") -> None:
        check_installed()
        self._exact = rows
        self._file = file
        self._gallery = gallery
        self._graph: Graph | None = None
        self._state: tuple[int, int, int] | None = None
        self._unsaved = 0
        self._lock = Lock()

    @property
    def revision(self) -> int:
        """See `Index`."""
        return self._exact.revision

    def __len__(self) -> int:
        """See `Index`."""
        return len(self._exact)

    def apply(self, changes: Changes) -> None:
        """See `Index`."""
        self._exact.apply(changes)
        self._exact.read(self._follow)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[FloatArray, Ids]:
        """See `Index`. Now and then a nearer face is missed; see `recall`."""
        probes = exact.prepared(queries, self._exact.dimension, self._exact.metric)
        return self._exact.read(lambda rows: self._nearest(rows, probes, k))

    def top_people(self, queries: npt.ArrayLike, k: int) -> tuple[FloatArray, list[list[str]]]:
        """See `Index`."""
        from mien.gallery.search.index import top_people

        probes = exact.prepared(queries, self._exact.dimension, self._exact.metric)
        return self._exact.read(lambda rows: top_people(rows, probes, k, self._nearest))

    def recall(self, queries: npt.ArrayLike) -> float:
        """The share of queries whose nearest face is found, in [0, 1], measured against exact search.

        Args:
            queries: (Q, D), one or more.

        Raises:
            ValueError: no queries, or such as `search` refuses.
        """
        found, truth = self.search(queries, 1)[0], self._exact.search(queries, 1)[0]
        if not len(truth):
            raise ValueError("recall is measured with one query or more")
        return float((found == truth).mean())

    def _nearest(self, rows: Rows, probes: FloatArray, k: int) -> tuple[FloatArray, Ids]:
        if len(rows.live) <= max(_FEW, 4 * k):
            return exact.nearest(rows, probes, k)
        distances, ids = exact.empty(len(probes), k)
        if len(probes):
            with self._lock:
                graph = self._followed(rows)
                proposed, strays = graph.near(probes, k), graph.ids[graph.stray]
            for i, candidates in enumerate(proposed):
                places = rows.places(np.union1d(candidates, strays))
                places = places[places != NOWHERE]
                if len(places) >= k:
                    exact.measure(rows, probes[i], places, distances[i], ids[i])
                else:  # an island of the graph, smaller than what was asked for
                    distances[i : i + 1], ids[i : i + 1] = exact.nearest(rows, probes[i : i + 1], k)
        return distances, ids

    def _follow(self, rows: Rows) -> None:
        if len(rows.live) > _FEW:
            with self._lock:
                self._followed(rows)

    def _followed(self, rows: Rows) -> Graph:
        """The graph of these rows."""
        state = (rows.revision, rows.sequence, len(rows.ids))
        if self._graph is None:
            self._graph = Graph(self._exact.dimension)
            if self._file is not None and not self._graph.load(self._file, self._gallery):
                self._graph = Graph(self._exact.dimension)
            self._state = None
        if state != self._state:
            came, went = self._graph.follow(rows)
            self._state = state
            self._unsaved += came
            if went or self._unsaved > _UNSAVED:
                self._save(went > 0)
        return self._graph

    def _save(self, erase: bool) -> None:
        if self._file is None or self._graph is None:
            return
        try:
            if erase:
                blank(self._file)
            self._graph.save(self._file, self._gallery)
            self._unsaved = 0
        except (OSError, RuntimeError) as error:  # what usearch says of a full disk
            _log.info("the search graph stays in memory: %s", error)


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
