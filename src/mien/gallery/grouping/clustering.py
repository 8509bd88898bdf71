"""Groups faces by whom they show: average linkage on squared distances, exact, in bounded memory.

The mean squared distance between the faces of two clusters is |a|^2 + |b|^2 - 2 a.b, averaged; so the mean of a cluster
and the mean of its squared lengths say all that average linkage (Sokal and Michener 1958) has to know, and nothing of
N^2 is kept. Clusters that are each other's nearest can be merged in any order (Murtagh 1983), so each round merges all
such pairs. Merging moves no cluster nearer to a third one: a cluster whose nearest is too far is done, and a nearest
that was not merged stays the nearest. Forbidden pairs are infinitely far, which changes none of this.

*Caution* adds to that distance c / n for either cluster of n faces: one face says less about where its person lies
than twenty do, and the scatter of a small cluster about its own mean is too small. Merged clusters come nearer to
others by at most c, which is looked after.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.types import FloatArray

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_BLOCK = 1 << 24  # linkages in memory at a time: 64 MB


@dataclass(frozen=True, eq=False)
class Clusters:
    """Groups of faces.

    Attributes:
        labels: (N,) int64, the number of each face's group; -1 for faces that belong to nobody.
        numbers: (K,) int64, the numbers of the groups, ascending.
        medoids: (K,) int64, of each group the face with the least mean squared distance to the others.
    """

    labels: Ints
    numbers: Ints
    medoids: Ints


def cluster(
    embeddings: FloatArray,
    *,
    threshold: float,
    cannot_link: npt.ArrayLike | Iterable[tuple[int, int]] = (),
    known: npt.ArrayLike | None = None,
    merge_known: bool = False,
    min_size: int = 2,
    caution: float = 0.0,
) -> Clusters:
    """Group faces: merge the two nearest groups until no two are within the threshold.

    The result depends on the order of the faces only where distances are equal.

    Args:
        embeddings: (N, D), compared by Euclidean distance.
        threshold: groups are merged while the root of their mean squared distance is at most this.
        cannot_link: pairs of indices of faces that must not be in one group. Pairs inside one group of `known` are
            not obeyed: that group stays.
        known: (N,) int, groups of an earlier clustering, -1 for faces that had none or are new. They keep their
            numbers and all of their faces; new faces join them or form groups of their own.
        merge_known: whether groups of `known` may be merged with each other; the lower number stays.
        min_size: faces that a new group has at least.
        caution: squared distance that one face counts as farther; 0 is plain average linkage.

    Returns:
        The groups. New ones are numbered from 0, or from behind the highest number known, the largest first.

    Raises:
        ValueError: the arrays do not fit, hold NaN, or an index is out of range.
    """
    points = _checked_points(embeddings)
    earlier = _checked_known(known, len(points))
    pairs = _checked_pairs(cannot_link, len(points))
    kept, start = _start(points, earlier, pairs)
    linkage = _Linkage(points, start, pairs, fixed=0 if merge_known else len(kept), limit=threshold**2, caution=caution)
    while linkage.merge():
        pass
    labels = _numbered(linkage.owner, kept, min_size)
    numbers = np.unique(labels[labels >= 0])
    return Clusters(labels, numbers, _medoids(points, labels, numbers))


def _checked_points(embeddings: FloatArray) -> Doubles:
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings have shape {embeddings.shape}, expected (N, D)")
    points = embeddings.astype(np.float64)
    if not np.isfinite(points).all():
        raise ValueError("embeddings hold values that are not finite")
    # about their mean: lengths are then no longer than need be, and rounding is least
    return points - points.mean(axis=0) if len(points) else points


def _checked_known(known: npt.ArrayLike | None, n: int) -> Ints:
    labels = np.full(n, -1, dtype=np.int64) if known is None else np.asarray(known, dtype=np.int64)
    if labels.shape != (n,):
        raise ValueError(f"known has shape {labels.shape}, expected ({n},)")
    return labels


def _checked_pairs(pairs: npt.ArrayLike | Iterable[tuple[int, int]], n: int) -> Ints:
    listed = pairs if isinstance(pairs, np.ndarray) else list(pairs)  # type: ignore[arg-type]
    out = np.array(listed, dtype=np.int64).reshape(-1, 2)
    if ((out < 0) | (out >= n)).any():
        raise ValueError(f"cannot_link names faces that are not among the {n}")
    return out


def _start(points: Doubles, earlier: Ints, pairs: Ints) -> tuple[Ints, Ints]:
    """What to begin with: the numbers of known groups, and (N,) the first group of each face, known groups first.

    Faces with the same embedding begin together (copies of one picture), unless they have to be told apart.
    """
    kept, place = np.unique(earlier[earlier >= 0], return_inverse=True)
    start = np.empty(len(points), dtype=np.int64)
    start[earlier >= 0] = place
    free = np.flatnonzero(earlier < 0)
    key = np.zeros(len(points), dtype=np.int64)
    constrained = np.unique(pairs)
    key[constrained] = 1 + np.arange(len(constrained))
    start[free] = len(kept) + _same_rows(np.column_stack([points[free], key[free]]))
    return kept, start


def _same_rows(rows: Doubles) -> Ints:
    """(N,) numbers, in order of appearance, equal where rows are."""
    as_bytes = np.ascontiguousarray(rows + 0.0).view(np.dtype((np.void, rows.shape[1] * 8))).reshape(-1)  # + 0.0: no -0
    _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    out: Ints = rank[inverse.reshape(-1)]
    return out


class _Linkage:
    """Clusters while they are merged; a merged one keeps the lower of the two numbers.

    Args:
        points: (N, D) about their mean.
        owner: (N,) the first cluster of each.
        pairs: (P, 2) faces that must not be in one.
        fixed: clusters below this number are not merged with each other.
        limit: highest mean squared distance at which clusters are merged.
        caution: added to it, divided by the size of either cluster.
    """

    def __init__(self, points: Doubles, owner: Ints, pairs: Ints, *, fixed: int, limit: float, caution: float) -> None:
        n = int(owner.max(initial=-1)) + 1
        self.owner = owner
        self._pairs = pairs
        self._fixed = fixed
        self._limit = limit
        self._caution = caution
        self._sizes = np.bincount(owner, minlength=n).astype(np.float64)
        self._means = np.zeros((n, points.shape[1]))
        np.add.at(self._means, owner, points)
        self._means /= self._sizes[:, None]
        self._squares = np.bincount(owner, (points**2).sum(axis=1), minlength=n) / self._sizes
        self._active = np.arange(n)  # clusters that may still be merged, ascending
        self._nearest = np.full(n, -1)
        self._distance = np.full(n, np.inf)  # mean squared, to the nearest
        self._stale = np.ones(n, dtype=bool)  # whether the nearest has to be looked for

    def merge(self) -> bool:
        """Merge all pairs that are each other's nearest; False where none is near enough."""
        self._look()
        within = self._distance[self._active]
        active = self._active[within <= self._limit]
        # the other side's share of the caution is what merging it with others could take off
        self._active = self._active[within <= self._limit + self._caution]
        if not len(active):
            return False
        mutual = active[(self._nearest[self._nearest[active]] == active) & (active < self._nearest[active])]
        if not len(mutual):  # equal distances that rounding ordered differently, seen from both sides
            mutual = active[[np.argmin(self._distance[active])]]
        ends = np.sort(np.stack([mutual, self._nearest[mutual]]), axis=0)
        self._join(ends[0], ends[1])
        return True

    def _join(self, into: Ints, gone: Ints) -> None:
        share = (self._sizes[gone] / (self._sizes[into] + self._sizes[gone]))[:, None]
        self._means[into] = (1 - share) * self._means[into] + share * self._means[gone]
        self._squares[into] = (1 - share[:, 0]) * self._squares[into] + share[:, 0] * self._squares[gone]
        self._sizes[into] += self._sizes[gone]
        renamed = np.arange(len(self._sizes))
        renamed[gone] = into
        self.owner = renamed[self.owner]
        changed = np.zeros(len(self._sizes), dtype=bool)
        changed[into] = changed[gone] = True
        # one whose nearest seemed just too far, when rounding put it just near enough from the other side, is back
        self._active = np.union1d(self._active[renamed[self._active] == self._active], into)
        self._stale[self._active] |= changed[self._active] | changed[self._nearest[self._active]]

    def _look(self) -> None:
        """Find the nearest of every cluster that does not know it, block by block."""
        active = self._active
        rows = np.flatnonzero(self._stale[active])
        if not len(rows):
            return
        means, squares = (
            self._means[active].astype(np.float32),
            (self._squares + self._caution / self._sizes)[active].astype(np.float32),
        )
        forbidden = self._forbidden()
        fixed = int(np.searchsorted(active, self._fixed))
        step = max(1, _BLOCK // len(active))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            distance = means[block] @ means.T
            distance *= -2
            distance += squares
            low, high = np.searchsorted(forbidden[:, 0], [block, block + 1])
            for i in np.flatnonzero(high > low):
                distance[i, forbidden[low[i] : high[i], 1]] = np.inf
            distance[: int(np.searchsorted(block, fixed)), :fixed] = np.inf
            distance[np.arange(len(block)), block] = np.inf
            distance += squares[block, None]
            best = distance.argmin(axis=1)
            self._nearest[active[block]] = active[best]
            self._distance[active[block]] = distance[np.arange(len(block)), best]
            if self._caution and len(rows) < len(active):
                self._tell(active, active[block], distance)
        self._stale[active] = False

    def _tell(self, active: Ints, block: Ints, distance: FloatArray) -> None:
        """Tell all clusters of those that may have come nearer."""
        best = distance.argmin(axis=0)
        found = distance[best, np.arange(len(active))]
        nearer = found < self._distance[active]
        self._distance[active[nearer]] = found[nearer]
        self._nearest[active[nearer]] = block[best[nearer]]

    def _forbidden(self) -> Ints:
        """(2 P, 2) pairs of places in `_active` that must not be merged, both ways, sorted."""
        place = np.full(len(self._sizes), -1)
        place[self._active] = np.arange(len(self._active))
        pairs = place[self.owner[self._pairs]]
        pairs = pairs[(pairs >= 0).all(axis=1)]
        both: Ints = np.concatenate([pairs, pairs[:, ::-1]])
        return both[np.argsort(both[:, 0], kind="stable")]


def _numbered(owner: Ints, kept: Ints, min_size: int) -> Ints:
    """(N,) the number of each face's group: as known, or new ones by size, then by their first face."""
    clusters, first, sizes = np.unique(owner, return_index=True, return_counts=True)
    new = (clusters >= len(kept)) & (sizes >= min_size)
    order = np.flatnonzero(new)[np.lexsort((first[new], -sizes[new]))]
    numbers = np.full(int(owner.max(initial=-1)) + 1, -1, dtype=np.int64)
    numbers[: len(kept)] = kept[: len(numbers)]
    numbers[clusters[order]] = kept.max(initial=-1) + 1 + np.arange(len(order))
    labels: Ints = numbers[owner]
    return labels


def _medoids(points: Doubles, labels: Ints, numbers: Ints) -> Ints:
    """(K,) of each group the face nearest to its mean: by squared distance that is the one nearest to all."""
    member = np.flatnonzero(labels >= 0)
    place = np.searchsorted(numbers, labels[member])
    means = np.zeros((len(numbers), points.shape[1]))
    np.add.at(means, place, points[member])
    means /= np.bincount(place, minlength=len(numbers))[:, None]
    off = ((points[member] - means[place]) ** 2).sum(axis=1)
    order = np.lexsort((member, off, place))
    _, first = np.unique(place[order], return_index=True)
    medoids: Ints = member[order[first]].astype(np.int64)
    return medoids
