"""Approximate search, for galleries in which comparing with everybody takes too long.

A graph proposes faces; their distances are those of the exact index, from the rows that it keeps. So an answer may miss
a face, but no distance is ever wrong.
"""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mien.gallery.records import Changes, Ids
from mien.gallery.search import exact
from mien.gallery.search.exact import NOWHERE, Rows
from mien.gallery.search.graph import Graph, Progress, check_installed
from mien.gallery.search.vector_file import blank
from mien.types import FloatArray

if TYPE_CHECKING:
    from mien.gallery.search.index import ExactIndex

_log = logging.getLogger(__name__)

_FEW = 10_000  # faces: up to here all are compared, which takes a millisecond
_UNSAVED = 1000  # faces that the file of the graph may lack
_LONG = 100_000  # new faces: adding them takes a minute or so


class ApproximateIndex:
    """Compares with the faces that a graph proposes; see `Index`.

    With few faces it compares with all. The graph lies in a file beside the cache, where there is one, so that it is
    built once, on all cores.

    Args:
        rows: the exact index, which it is built from and which measures what it proposes.
        file: of the graph, or None.
        gallery: id of the gallery.
        progress: told how far building is.

    Raises:
        GalleryError: usearch is not installed.
    """

    def __init__(
        self, rows: ExactIndex, file: Path | None = None, gallery: str = "", progress: Progress | None = None
    ) -> None:
        check_installed()
        self._exact = rows
        self._file = file
        self._gallery = gallery
        self._progress = progress
        self._graph: Graph | None = None
        self._state: tuple[int, int, int] | None = None
        self._unsaved = 0
        self._lock = Lock()

    @property
    def revision(self) -> int:
        """See `Index`."""
        return self._exact.revision

    @property
    def quality(self) -> tuple[int, float] | None:
        """How many faces a search looks at, and the recall@1 that this had when it was measured; None without graph."""
        return None if self._graph is None else (self._graph.width, self._graph.recall)

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

    def owners(self) -> tuple[int, list[str], Ids]:
        """See `Index`."""
        return self._exact.owners()

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
        if not len(probes):
            return distances, ids
        with self._lock:
            proposed = self._followed(rows).near(probes, k)
        for i, candidates in enumerate(proposed):
            places = rows.places(np.unique(candidates))
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
        graph = self._graph
        if graph is None:
            graph = self._graph = self._opened(rows)
            self._state = None
        if state != self._state:
            came, went = graph.follow(rows)
            self._state = state
            self._unsaved += came
            if went or self._unsaved > _UNSAVED:
                self._save(graph, erase=went > 0)
        return graph

    def _opened(self, rows: Rows) -> Graph:
        """The graph of the file, or an empty one."""
        graph = Graph(self._exact.dimension, self._progress)
        if self._file is not None and graph.load(self._file, self._gallery, rows):
            return graph
        if len(rows.live) > _LONG and self._progress is None:
            kept = "" if self._file is None else "; it is kept"
            _log.warning("building the search graph of %d faces, which takes minutes%s", len(rows.live), kept)
        return Graph(self._exact.dimension, self._progress)

    def _save(self, graph: Graph, *, erase: bool) -> None:
        if self._file is None:
            return
        try:
            if erase:
                blank(self._file)
            graph.save(self._file, self._gallery)
            self._unsaved = 0
        except (OSError, RuntimeError) as error:  # what usearch says of a full disk
            _log.info("the search graph stays in memory: %s", error)
