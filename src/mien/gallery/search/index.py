"""The search index of a gallery: the faces and people nearest to an embedding.

An index is a copy. It says how far it has followed its gallery (`revision`), and is told what happened since (`apply`,
or `catch_up` for both).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from mien.gallery.records import Changes, Ids
from mien.gallery.search import exact
from mien.gallery.search.exact import NOWHERE, Rows
from mien.gallery.search.table import Answer, MemoryTable, Table, read
from mien.types import FloatArray

if TYPE_CHECKING:
    from mien.gallery.search.approximate import ApproximateIndex

_log = logging.getLogger(__name__)

_CALLS = 5  # of `changes`: another process may undo what this one was told


class Index(Protocol):
    """May be shared by threads."""

    @property
    def revision(self) -> int:
        """Of the gallery, as far as it is known here; 0 where nothing is."""
        ...

    def __len__(self) -> int:
        """How many faces it holds."""
        ...

    def apply(self, changes: Changes) -> None:
        """Follow the gallery: from `revision` on, or from nothing where the changes are complete.

        What was known already changes nothing. Where another process has meanwhile found the cache broken, nothing is
        done, and `revision` is lower than before; see `catch_up`.

        Raises:
            ValueError: the embeddings have another dimension, or values that are not finite.
            GalleryBusyError: other processes have been writing for longer than we wait.
        """
        ...

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[FloatArray, Ids]:
        """The faces nearest to each query.

        Args:
            queries: (Q, D).
            k: how many, 1 or more.

        Returns:
            (Q, k) float32 distances, Euclidean or 1 - cosine, nearest first, equal ones by id; infinite in places that
            stay empty. And (Q, k) int64 ids of the faces, -1 there.

        Raises:
            ValueError: queries of another shape, or not finite.
            GalleryError: another process died while it wrote the cache; asking again makes it anew.
        """
        ...

    def top_people(self, queries: npt.ArrayLike, k: int) -> tuple[FloatArray, list[list[str]]]:
        """The people nearest to each query, by the nearest of their faces; equal ones by that face's id.

        Faces that belong to nobody are passed over.

        Returns:
            (Q, k) float32 distances, infinite in places that stay empty; and for each query up to k ids of people.

        Raises:
            ValueError: queries of another shape, or not finite.
            GalleryError: as `search`.
        """
        ...

    def owners(self) -> tuple[int, list[str], Ids]:
        """The people who have faces: the revision at which they have, their ids, and (P,) how many faces each has."""
        ...


def open_index(
    dimension: int,
    metric: str,
    *,
    cache: Path | None = None,
    gallery_id: str = "",
    approximate: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Index:
    """An index for the faces of one gallery.

    Args:
        dimension: of an embedding.
        metric: "l2", plain Euclidean, or "cosine".
        cache: file beside the gallery in which the vectors lie, readable by their owner only, for all processes;
            without, they are in the memory of this one. What is wrong with the file is its index's business: it is
            written anew. Where that fails, memory is used.
        gallery_id: the file of another gallery is not used.
        approximate: search a graph (see `ApproximateIndex`): far faster with many faces, and now and then wrong.
        progress: called with how many faces the graph has, and is to have, while it is built.

    Raises:
        ValueError: an unknown metric.
        GalleryError: approximate search needs what is not installed.
    """
    if metric not in ("l2", "cosine"):
        raise ValueError(f'no metric {metric!r}; there are "l2" and "cosine"')
    table = _table(dimension, metric, cache, gallery_id)
    index = ExactIndex(dimension, metric, table)
    return over_graph(index, cache, gallery_id, progress) if approximate else index


def over_graph(
    index: ExactIndex, cache: Path | None, gallery_id: str, progress: Callable[[int, int], None] | None = None
) -> ApproximateIndex:
    """The approximate index over an exact one; see `open_index`.

    Raises:
        GalleryError: approximate search needs what is not installed.
    """
    from mien.gallery.search.approximate import ApproximateIndex
    from mien.gallery.search.vector_file import graph_file

    return ApproximateIndex(index, None if cache is None else graph_file(cache), gallery_id, progress)


def erase_cache(cache: Path) -> None:
    """Leave nothing of a cache file on the disk: of a gallery that is removed, or encrypted from now on.

    Raises:
        GalleryBusyError: others have been writing to it for longer than we wait.
        OSError: it cannot be removed.
    """
    from mien.gallery.search.vector_file import FileTable, blank, blank_leftovers, graph_file

    blank(graph_file(cache))
    blank_leftovers(cache)
    if cache.is_file():
        FileTable(cache, "", 1, "l2").erase()


def catch_up(index: Index, changes: Callable[[int], Changes]) -> None:
    """Bring an index to where its gallery is.

    Args:
        index: to be told.
        changes: what happened since a revision, see `Reader.changes`.
    """
    for _ in range(_CALLS):
        news = changes(index.revision)
        index.apply(news)
        if index.revision >= news.revision:
            return
    index.apply(changes(0))  # complete: whatever others do, this is the gallery


def _table(dimension: int, metric: str, cache: Path | None, gallery_id: str) -> Table:
    if cache is None or os.name == "nt":  # Windows lets no file be replaced that is mapped
        return MemoryTable(dimension, metric)
    from mien.gallery.search.vector_file import FileTable

    return FileTable(cache, gallery_id, dimension, metric)


class ExactIndex:
    """Compares with every face; see `Index`.

    A search reads all of the matrix once, 512 MB for a million faces of 128 values, and little else.
    """

    def __init__(self, dimension: int, metric: str, table: Table) -> None:
        self.dimension = dimension
        self.metric = metric
        self._table = table

    @property
    def revision(self) -> int:
        """See `Index`."""
        return self._table.revision

    def __len__(self) -> int:
        """See `Index`."""
        return self.read(lambda rows: len(rows.live))

    def apply(self, changes: Changes) -> None:
        """See `Index`."""
        try:
            self._table.apply(changes)
        except OSError as error:  # a full disk, a folder that cannot be written to
            _log.info("the search index stays in memory: %s", error)
            self._table = MemoryTable(self.dimension, self.metric)
            if changes.complete:
                self._table.apply(changes)

    def read(self, work: Callable[[Rows], Answer]) -> Answer:
        """Do something with the rows, of which none changes meanwhile.

        Raises:
            GalleryError: see `search`.
        """
        return read(self._table, work)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[FloatArray, Ids]:
        """See `Index`."""
        probes = exact.prepared(queries, self.dimension, self.metric)
        return self.read(lambda rows: exact.nearest(rows, probes, k))

    def top_people(self, queries: npt.ArrayLike, k: int) -> tuple[FloatArray, list[list[str]]]:
        """See `Index`."""
        probes = exact.prepared(queries, self.dimension, self.metric)
        return self.read(lambda rows: top_people(rows, probes, k, exact.nearest))

    def owners(self) -> tuple[int, list[str], Ids]:
        """See `Index`."""
        return self.read(_owners)


def _owners(rows: Rows) -> tuple[int, list[str], Ids]:
    faces = np.bincount(rows.codes[rows.codes != NOWHERE], minlength=len(rows.people))
    present = np.flatnonzero(faces)
    return rows.revision, [str(rows.people[code]) for code in present.tolist()], faces[present]


Search = Callable[[Rows, FloatArray, int], tuple[FloatArray, Ids]]


def top_people(rows: Rows, probes: FloatArray, k: int, search: Search) -> tuple[FloatArray, list[list[str]]]:
    """The nearest people from the nearest faces, of which as many are fetched as it takes; see `Index.top_people`."""
    distances, _ = exact.empty(len(probes), k)
    people: list[list[str]] = [[] for _ in probes]
    wanted = min(k, rows.owners)
    left, faces = np.arange(len(probes)), 4 * k
    while len(left) and wanted:
        near, ids = search(rows, probes[left], faces)
        for place, query in enumerate(left.tolist()):
            people[query], found = _first_faces(rows, ids[place], near[place], k)
            distances[query, : len(found)] = found
        if faces >= len(rows.live):
            break
        left = np.array([query for query in left if len(people[query]) < wanted], dtype=np.int64)
        faces *= 8
    return distances, people


def _first_faces(rows: Rows, ids: Ids, distances: FloatArray, k: int) -> tuple[list[str], FloatArray]:
    """The owners of faces, each once, where they come first; and how far they are."""
    places = rows.places(ids)
    codes = np.where(ids != NOWHERE, rows.codes[places], NOWHERE)
    owned = np.flatnonzero(codes != NOWHERE)
    _, first = np.unique(codes[owned], return_index=True)
    kept = owned[np.sort(first)[:k]]
    return [str(rows.people[code]) for code in codes[kept]], distances[kept]
