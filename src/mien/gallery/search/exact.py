"""Exact search: the one matrix product, and what makes its answer right to the last digit.

|q - x|^2 = |q|^2 + |x|^2 - 2 q.x costs one product with a matrix that is read once, at the speed of memory, but cancels
where q and x are close. So the product only narrows the choice: whatever could be among the k nearest, given how far
float32 may be off (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), is measured again by the
difference itself in float64. The answer is that of the differences; the product only decides how soon it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mien.gallery.records import Ids
from mien.types import FloatArray

Codes = npt.NDArray[np.int32]
Doubles = npt.NDArray[np.float64]

NOWHERE = -1
"""The id of a free row, the code of a face that belongs to nobody, and the id in places that stay empty."""

_BLOCK = 1 << 22  # products of several queries that are held at a time: 16 MB
_GROUP = 256  # rows of which the least is taken first: a partition of a million values costs as much as the product
_PIECE = 1 << 14  # rows that are subtracted at a time
_UNIT = np.finfo(np.float32).eps / 2


@dataclass(eq=False)
class Rows:
    """The faces of a gallery at one revision, as rows of a matrix; some rows may be free.

    Attributes:
        revision: of the gallery.
        sequence: changes when a row that was there changes; not when rows are added.
        ids: (N,) int64 of the faces; NOWHERE where a row is free.
        codes: (N,) int32, positions in `people`; NOWHERE for a face that belongs to nobody.
        squares: (N,) float32, |x|^2; infinite where a row is free, so that no query is near it.
        matrix: (N, D) float32; of length 1 where the metric is "cosine".
        people: ids; None where somebody has no face any more.
        metric: "l2" or "cosine".
        origin: what they are a view of, where that is not memory.
    """

    revision: int
    sequence: int
    ids: Ids
    codes: Codes
    squares: FloatArray
    matrix: FloatArray
    people: list[str | None]
    metric: str
    origin: object = None

    @cached_property
    def live(self) -> Ids:
        """Rows that hold a face."""
        rows: Ids = np.flatnonzero(self.ids != NOWHERE)
        return rows

    @cached_property
    def owners(self) -> int:
        """How many people have a face."""
        return len(self.people) - self.people.count(None)

    @cached_property
    def by_id(self) -> tuple[Ids, Ids]:
        """The ids in order, and the row of each."""
        ids = self.ids[self.live]
        if (ids[1:] > ids[:-1]).all():
            return ids, self.live
        order = np.argsort(ids)
        return ids[order], self.live[order]

    def places(self, ids: Ids) -> Ids:
        """The rows of faces; NOWHERE for those that are not here."""
        known, rows = self.by_id
        if not len(known):
            return np.full(len(ids), NOWHERE, dtype=np.int64)
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        places: Ids = np.where(known[at] == ids, rows[at], NOWHERE)
        return places


def prepared(vectors: npt.ArrayLike, dimension: int, metric: str) -> FloatArray:
    """(N, D) float32 as rows are kept: of length 1 where the metric is "cosine", but for zeros, which stay.

    Raises:
        ValueError: another shape, a value that is not finite, or one so large that its square is not.
    """
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != dimension:
        raise ValueError(f"embeddings have shape {array.shape}, expected (N, {dimension})")
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(array.astype(np.float64), axis=1)
    if not (norms < 1e18).all():  # also where one is not a number
        raise ValueError("an embedding holds a value that is not finite, or is too large to be one")
    if metric == "cosine":
        array = (array / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)
    return array


def distances_of(squared: Doubles, metric: str) -> FloatArray:
    """From squared Euclidean distances to distances: their root, or 1 - cosine, which is half of |u - v|^2."""
    return (np.sqrt(squared) if metric == "l2" else squared / 2).astype(np.float32)


def nearest(rows: Rows, queries: FloatArray, k: int) -> tuple[FloatArray, Ids]:
    """The faces nearest to each query, exactly.

    Args:
        rows: to search.
        queries: (Q, D), from `prepared`.
        k: how many, 1 or more.

    Returns:
        (Q, k) float32 distances, nearest first, equal ones by id, infinite in places that stay empty; and (Q, k) int64
        ids, NOWHERE there.
    """
    distances, ids = empty(len(queries), k)
    for i, squared in _products(rows, queries):
        chosen = _within_reach(rows, queries[i], squared, k)
        measure(rows, queries[i], chosen, distances[i], ids[i])
    return distances, ids


def measure(rows: Rows, query: FloatArray, chosen: Ids, distances: FloatArray, ids: Ids) -> None:
    """Write the nearest of the chosen rows to `distances` and `ids`, (k,) each, by the difference itself."""
    distance = distances_of(_differences(rows.matrix, chosen, query), rows.metric)
    names = rows.ids[chosen]
    order = np.lexsort((names, distance))[: len(ids)]
    distances[: len(order)], ids[: len(order)] = distance[order], names[order]


def empty(queries: int, k: int) -> tuple[FloatArray, Ids]:
    """Distances and ids of nothing found."""
    if k < 1:
        raise ValueError(f"as many as {k} cannot be found")
    return np.full((queries, k), np.inf, dtype=np.float32), np.full((queries, k), NOWHERE, dtype=np.int64)


def _products(rows: Rows, queries: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """|x|^2 - 2 q.x of one query after the other, (N,); as many queries share a product as memory allows."""
    count = len(rows.ids)
    step = max(1, _BLOCK // max(count, 1))
    for first in range(0, len(queries), step):
        some = queries[first : first + step]
        # numpy hands a single vector to a routine that reads the matrix at the speed of memory
        products = (rows.matrix @ (-2 * some[0]))[None] if len(some) == 1 else (-2 * some) @ rows.matrix.T
        products += rows.squares
        yield from enumerate(products, first)


def _within_reach(rows: Rows, query: FloatArray, squared: FloatArray, k: int) -> Ids:
    """Rows that may be among the k nearest: those nearer than the k-th, and as far beyond as float32 may be off.

    At least k rows, none longer than n, are within `bound` by the product, so that the k-th is truly within
    r^2 = bound + |q|^2 + error(n). What is as near is no longer than |q| + r, which limits its own error.
    """
    if k >= len(rows.live):
        return rows.live
    least = _Least(squared)
    bound = least.bound(k)
    found = least.up_to(bound)
    if len(found) > k:
        bound = float(np.partition(squared[found], k - 1)[k - 1])
        found = found[squared[found] <= bound]
    length = float(np.sqrt(np.vdot(query, query)))
    reach = bound + _error(rows, length, float(np.sqrt(rows.squares[found].max())))
    radius = np.sqrt(max(reach + length**2, 0.0))
    reach += _error(rows, length, length + radius) + 8 * _UNIT * radius**2  # the last: distances that round alike
    return least.up_to(reach)


class _Least:
    """(N,) values with the least of every group of them, so that few have to be looked at."""

    def __init__(self, values: FloatArray) -> None:
        whole = len(values) // _GROUP * _GROUP
        self._values = values
        self._groups = values[:whole].reshape(-1, _GROUP).min(axis=1)
        self._rest = np.arange(whole, len(values))

    def bound(self, k: int) -> float:
        """A value that at least k of the values do not exceed, N >= k: the k-th least of the least of groups."""
        least = self._groups if len(self._groups) >= k else self._values
        return float(np.partition(least, k - 1)[k - 1])

    def up_to(self, bound: float) -> Ids:
        """Positions of all values that do not exceed it, in order."""
        groups = np.flatnonzero(self._groups <= bound)
        places = np.concatenate([(groups[:, None] * _GROUP + np.arange(_GROUP)).ravel(), self._rest])
        found: Ids = places[self._values[places] <= bound]
        return found


def _error(rows: Rows, query_length: float, length: float) -> float:
    """How far |x|^2 - 2 q.x in float32 may be off, for any x no longer than `length`."""
    return float(rows.matrix.shape[1] + 8) * float(_UNIT) * length * (length + 2 * query_length)


def _differences(matrix: FloatArray, chosen: Ids, query: FloatArray) -> Doubles:
    """(len(chosen),) squared distances by the difference itself."""
    found = np.empty(len(chosen), dtype=np.float64)
    for first in range(0, len(chosen), _PIECE):
        part = slice(first, first + _PIECE)
        difference = matrix[chosen[part]].astype(np.float64) - query
        np.einsum("nd,nd->n", difference, difference, out=found[part])
    return found
