"""How well faces were grouped: pairwise and B-cubed precision, recall and F1; and the method that others use.

A cluster holds faces, a person has faces. *Pairwise* figures are over pairs of faces, so that they are decided by the
largest clusters and people: a cluster of 100 counts 4,950 pairs. *B-cubed* figures (Bagga and Baldwin 1998; extended by
Amigó et al. 2009) are means over faces, so that a person of one picture counts as a face of any other. Faces that were
given to nobody (-1) are each a cluster of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.evaluation.people import People
from mien.evaluation.verification import Describer, Progress
from mien.gallery.grouping.grouping import GroupingRule
from mien.types import FloatArray

Ints = npt.NDArray[np.int64]

_BLOCK = 1 << 24  # distances in memory at a time
_DECIMALS = 6
_USUAL = ((0.5, 5), (0.5, 2))  # eps and min_samples of those who group face_recognition's embeddings


@dataclass(frozen=True)
class Agreement:
    """Precision, recall and F1, each in [0, 1].

    Attributes:
        precision: share of what was put together that belongs together; 1 where nothing was.
        recall: share of what belongs together that was put together; 1 where nothing does.
        f1: the harmonic mean of both.
    """

    precision: float
    recall: float
    f1: float

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return {name: round(value, _DECIMALS) for name, value in vars(self).items()}


def pairwise(people: npt.ArrayLike, clusters: npt.ArrayLike) -> Agreement:
    """Agreement over pairs of faces.

    Args:
        people: (N,) whom each face shows, of any type that can be compared.
        clusters: (N,) int, the cluster of each face; -1 for none.

    Raises:
        ValueError: there are not as many of the one as of the other.
    """
    of_person, of_cluster, cell = _checked(people, clusters)
    together, put, belong = (_pairs(np.bincount(numbers)) for numbers in (cell, of_cluster, of_person))
    return _agreement(together / put if put else 1.0, together / belong if belong else 1.0)


def b_cubed(people: npt.ArrayLike, clusters: npt.ArrayLike) -> Agreement:
    """Agreement seen from each face, as a mean over faces; 1 where there are none.

    Args:
        people: (N,) whom each face shows, of any type that can be compared.
        clusters: (N,) int, the cluster of each face; -1 for none.

    Raises:
        ValueError: there are not as many of the one as of the other.
    """
    of_person, of_cluster, cell = _checked(people, clusters)
    if not len(cell):
        return Agreement(1.0, 1.0, 1.0)
    sizes = [np.bincount(numbers)[numbers] for numbers in (cell, of_cluster, of_person)]
    both, in_cluster, of_the_person = sizes
    return _agreement(float(np.mean(both / in_cluster)), float(np.mean(both / of_the_person)))


def dbscan(embeddings: FloatArray, *, eps: float, min_samples: int) -> Ints:
    """DBSCAN (Ester et al. 1996) by Euclidean distance: how users of face_recognition group faces.

    Faces with `min_samples` faces within `eps`, themselves included, are *core*; core faces within `eps` of one another
    are in one cluster, as are other faces within `eps` of a core face (the first cluster that reaches them).

    Args:
        embeddings: (N, D).
        eps: distance.
        min_samples: faces.

    Returns:
        (N,) int64 cluster of each face, -1 for none; the same as scikit-learn's.
    """
    neighbours = _within(embeddings, eps)
    core = np.array([len(near) >= min_samples for near in neighbours], dtype=bool)
    labels = np.full(len(embeddings), -1, dtype=np.int64)
    number = 0
    for i in np.flatnonzero(core):
        if labels[i] >= 0:
            continue
        reached = [int(i)]
        labels[i] = number
        while reached:
            near = neighbours[reached.pop()]
            new = near[labels[near] < 0]
            labels[new] = number
            reached += new[core[new]].tolist()
        number += 1
    return labels


def _within(embeddings: FloatArray, eps: float) -> list[Ints]:
    """Of each face those within `eps`, itself included; distances are made block by block."""
    n = len(embeddings)
    exact = embeddings.astype(np.float64)
    squares = (exact**2).sum(axis=1)
    rows = max(1, _BLOCK // max(n, 1))
    near: list[Ints] = []
    for start in range(0, n, rows):
        block = slice(start, start + rows)
        distances = squares[block, None] + squares - 2 * exact[block] @ exact.T
        near += [np.flatnonzero(row).astype(np.int64) for row in distances <= eps**2]
    return near


def _checked(people: npt.ArrayLike, clusters: npt.ArrayLike) -> tuple[Ints, Ints, Ints]:
    """Numbers from 0 on: of the person, the cluster, and the two together, of each face."""
    truth, found = np.asarray(people), np.array(clusters, dtype=np.int64)
    if truth.ndim != 1 or truth.shape != found.shape:
        raise ValueError(f"people have shape {truth.shape}, clusters {found.shape}; expected one of each for each face")
    alone = found < 0
    found[alone] = max(found.max(initial=0), 0) + 1 + np.arange(alone.sum())
    of_person, of_cluster = (_numbered(values) for values in (truth, found))
    width = int(of_cluster.max(initial=0)) + 1
    return of_person, of_cluster, _numbered(of_person * width + of_cluster)


def _numbered(values: npt.NDArray[Any]) -> Ints:
    numbers: Ints = np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers


def _pairs(sizes: Ints) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _agreement(precision: float, recall: float) -> Agreement:
    total = precision + recall
    return Agreement(precision, recall, 2 * precision * recall / total if total else 0.0)


@dataclass(frozen=True)
class Grouping:
    """How one method grouped the faces.

    Attributes:
        method: its name and settings, in words.
        clusters: of two faces or more.
        pairwise: over pairs of faces.
        b_cubed: over faces.
    """

    method: str
    clusters: int
    pairwise: Agreement
    b_cubed: Agreement

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "method": self.method,
            "clusters": self.clusters,
            "pairwise": self.pairwise.to_dict(),
            "b_cubed": self.b_cubed.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class ClusteringReport:
    """The figures of one set of pictures.

    Attributes:
        model: name of the embedder.
        setup: what else the figures depend on: detector, mode.
        n: number of pictures.
        people: number of people.
        missed: pictures in which no face was found; each is a cluster of its own in every figure.
        groupings: mien's first, then the methods beside it.
    """

    model: str
    setup: Mapping[str, str]
    n: int
    people: int
    missed: int
    groupings: list[Grouping] = field(default_factory=list)
    protocol: str = "the subject of each picture, all people together; pairwise and B-cubed figures"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        best, *others = [grouping.to_dict() for grouping in self.groupings]
        return {
            "protocol": self.protocol,
            "model": self.model,
            **self.setup,
            "n": self.n,
            "people": self.people,
            "missed": self.missed,
            **best,
            "beside": others,
        }


def judged(method: str, people: npt.ArrayLike, clusters: Ints) -> Grouping:
    """The figures of one grouping: (N,) people, (N,) clusters."""
    sizes = np.bincount(clusters[clusters >= 0])
    return Grouping(method, int((sizes > 1).sum()), pairwise(people, clusters), b_cubed(people, clusters))


def evaluate_clustering(
    people: People,
    describe: Describer,
    rule: GroupingRule,
    *,
    threshold: float,
    progress: Progress | None = None,
) -> ClusteringReport:
    """Group the subjects of pictures, and compare with whom they show.

    Args:
        people: their pictures, from `read_people`.
        describe: turns pictures into embeddings.
        rule: how the model's embeddings are grouped.
        threshold: similarity from which on groups are merged.
        progress: called with (done, total) while pictures are described.

    Raises:
        DataError: a picture cannot be read, or no face is found in any.
    """
    described = describe(people.paths, progress=progress)
    found = np.array([embedding is not None for embedding in described], dtype=bool)
    if not found.any():
        raise DataError("no face is found in any of the pictures: is this the folder of one folder for each person?")
    embeddings = np.stack([embedding for embedding in described if embedding is not None])

    def judge(method: str, clusters: Ints) -> Grouping:
        every = np.full(len(found), -1, dtype=np.int64)
        every[found] = clusters
        return judged(method, people.person, every)

    report = ClusteringReport(
        model=describe.model,
        setup=describe.setup,
        n=len(found),
        people=len(people.names),
        missed=int((~found).sum()),
        groupings=[judge(f"average linkage, similarity {threshold:g}", rule(embeddings, threshold=threshold).labels)],
    )
    for eps, samples in _USUAL:
        name = f"DBSCAN, eps {eps:g}, min_samples {samples}"
        report.groupings.append(judge(name, dbscan(embeddings, eps=eps, min_samples=samples)))
    return report
