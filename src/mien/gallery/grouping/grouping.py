"""From the faces of pictures to groups of people: `clustering` with what is known about photographs and models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np

from mien.errors import DataError
from mien.gallery.grouping.clustering import Clusters, cluster
from mien.gallery.grouping.face_file import MadeBy
from mien.gallery.grouping.groups import FaceKey, Groups
from mien.models.base import Record
from mien.models.density import DensityScale, read_fitted
from mien.types import Faces, FloatArray


@dataclass(frozen=True, eq=False)
class GroupingRule:
    """How the embeddings of one model are grouped best.

    Attributes:
        metric: "l2" or "cosine".
        threshold: similarity from which on two groups are merged, where the user names none; None where that is not
            known.
        caution: see `cluster`.
        scale: what embeddings are moved by before they are compared, or None.
    """

    metric: str
    threshold: float | None
    caution: float = 0.0
    scale: DensityScale | None = None

    def __call__(
        self,
        embeddings: FloatArray,
        *,
        threshold: float,
        cannot_link: Sequence[tuple[int, int]] = (),
        known: Sequence[int] | None = None,
        min_size: int = 2,
    ) -> Clusters:
        """`cluster` for (N, D) embeddings of the model, with a similarity for a threshold.

        Raises:
            DataError: no two embeddings can be that alike or unlike.
        """
        return cluster(
            self.prepared(embeddings),
            threshold=distance_at(threshold, self.metric),
            cannot_link=cannot_link,
            known=known,
            min_size=min_size,
            caution=self.caution,
        )

    def prepared(self, embeddings: FloatArray) -> FloatArray:
        """(N, D) to (N, D): embeddings whose Euclidean distance is what counts."""
        if self.metric == "cosine":  # of length 1, Euclidean distance orders as the cosine does
            lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
            embeddings = embeddings / np.maximum(lengths, np.float32(1e-12))
        return embeddings if self.scale is None else self.scale(embeddings)

    def threshold_or(self, asked: float | None) -> float:
        """The threshold that was asked for, or the rule's own.

        Raises:
            DataError: there is none, or what was asked for is no similarity.
        """
        threshold = self.threshold if asked is None else asked
        if threshold is None:
            raise DataError("nobody has measured how this model's embeddings are grouped; name a --threshold")
        distance_at(threshold, self.metric)
        return threshold


def grouping_rule(record: Record, mode: str) -> GroupingRule:
    """The rule of an embedder in a mode: measured (`recipes/clustering.py`), or else from its record.

    For models that no grouping was measured with, the threshold is that of verification at the lowest false match rate.
    """
    fitted = _fitted(record.name, record.weights.sha256).get(mode)
    if fitted is not None:
        return fitted
    calibration = record.calibrations.get(mode)
    return GroupingRule(record.metric or "l2", max(calibration.thresholds.values()) if calibration else None)


@cache
def _fitted(name: str, sha256: str) -> dict[str, GroupingRule]:
    """The rules of an embedder by mode; none where nobody fitted any to exactly these weights."""
    found = read_fitted("clustering", name, sha256)
    if found is None:
        return {}
    scale, modes = found
    return {mode: GroupingRule("l2", values["threshold"], values["caution"], scale) for mode, values in modes.items()}


def grouped(
    pictures: Mapping[str, Faces],
    paths: Mapping[str, Sequence[str]],
    made_by: MadeBy,
    rule: GroupingRule,
    *,
    threshold: float,
    min_size: int = 2,
    twice_in_picture: bool = False,
    earlier: Groups | None = None,
    failed: Sequence[tuple[str, str]] = (),
) -> Groups:
    """Group the faces of pictures.

    Args:
        pictures: by SHA-256, the faces of each, with embeddings.
        paths: by SHA-256, where each picture is; those that are not in it are left out.
        made_by: what the faces come from.
        rule: of that embedder.
        threshold: similarity; two groups are merged where that of their mean squared distance reaches it.
        min_size: faces that a new group has at least.
        twice_in_picture: whether two faces of one picture may show one person (collages, mirrors).
        earlier: groups to extend: they keep their numbers and their faces.
        failed: passed on.

    Returns:
        The groups, members most like all others first.
    """
    keys = [(digest, i) for digest in paths for i in range(len(pictures[digest]))]
    embeddings = embeddings_of(keys, pictures, made_by)
    labels = earlier.labels() if earlier is not None else {}
    clusters = rule(
        embeddings,
        threshold=threshold,
        cannot_link=[] if twice_in_picture else _in_one_picture(keys),
        known=[labels.get(key, 0) - 1 for key in keys],  # people count groups from 1
        min_size=min_size,
    )
    members = _members(keys, rule.prepared(embeddings), clusters)
    ungrouped = [key for key, label in zip(keys, clusters.labels, strict=True) if label < 0]
    return Groups(made_by, threshold, min_size, members, ungrouped, dict(paths), failed)


def embeddings_of(keys: Sequence[FaceKey], pictures: Mapping[str, Faces], made_by: MadeBy) -> FloatArray:
    """(N, D) float32."""
    rows = [embeddings[i] for digest, i in keys if (embeddings := pictures[digest].embeddings) is not None]
    return np.array(rows, dtype=np.float32).reshape(len(keys), made_by.dimension)


def distance_at(similarity: float, metric: str) -> float:
    """The Euclidean distance at which embeddings have a similarity (see `mien.ops.similarity`).

    Raises:
        DataError: no two embeddings can be that alike or unlike.
    """
    if not -1 < similarity < 1:
        raise DataError(f"a threshold of {similarity:g} is no similarity; it lies between -1 and 1")
    return math.sqrt(2 - 2 * similarity) if metric == "cosine" else math.sqrt((1 - similarity) / (1 + similarity))


def _in_one_picture(keys: Sequence[FaceKey]) -> list[tuple[int, int]]:
    places: dict[str, list[int]] = {}
    for place, (digest, _) in enumerate(keys):
        places.setdefault(digest, []).append(place)
    return [pair for faces in places.values() for pair in combinations(faces, 2)]


def _members(keys: Sequence[FaceKey], embeddings: FloatArray, clusters: Clusters) -> dict[int, list[FaceKey]]:
    """Of each group its faces, those nearest to its mean first."""
    if not len(keys):
        return {}
    order = np.argsort(clusters.labels, kind="stable")
    found, starts = np.unique(clusters.labels[order], return_index=True)
    parts = {int(n): part for n, part in zip(found, np.split(order, starts[1:]), strict=True) if n >= 0}
    members: dict[int, list[FaceKey]] = {}
    for number, part in parts.items():
        off = np.linalg.norm(embeddings[part] - embeddings[part].mean(axis=0), axis=1)
        members[number + 1] = [keys[i] for i in part[np.argsort(off, kind="stable")]]
    return members
