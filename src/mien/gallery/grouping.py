"""From the faces of pictures to groups of people: `clustering` with what is known about photographs and models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from mien.errors import DataError
from mien.gallery.clustering import Clusters, cluster
from mien.gallery.face_file import MadeBy
from mien.gallery.groups import FaceKey, Groups
from mien.models.base import Calibration
from mien.types import Faces, FloatArray

THRESHOLDS: Mapping[tuple[str, str], float] = {("dlib-resnet", "fast"): 0.6, ("dlib-resnet", "accurate"): 0.6}
"""By embedder and mode, the similarity that grouped lfw_dev best; see recipes/LOG.md."""


def default_threshold(made_by: MadeBy, calibration: Calibration | None) -> float:
    """The similarity from which on groups are merged, where the user names none.

    For models that no grouping was measured with, it is the threshold of verification at the lowest false match rate.

    Raises:
        DataError: nothing is known of this model.
    """
    measured = THRESHOLDS.get((made_by.embedder, made_by.mode))
    if measured is not None:
        return measured
    if calibration is None or not calibration.thresholds:
        raise DataError(f"no threshold is known for {made_by.embedder} ({made_by.mode}); name one with --threshold")
    return max(calibration.thresholds.values())


def grouped(
    pictures: Mapping[str, Faces],
    paths: Mapping[str, Sequence[str]],
    made_by: MadeBy,
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
    clusters = cluster(
        embeddings,
        threshold=distance_at(threshold, made_by.metric),
        cannot_link=[] if twice_in_picture else _in_one_picture(keys),
        known=[labels.get(key, -1) for key in keys],
        min_size=min_size,
    )
    members = _members(keys, embeddings, clusters)
    ungrouped = [key for key, label in zip(keys, clusters.labels, strict=True) if label < 0]
    return Groups(made_by, threshold, min_size, members, ungrouped, dict(paths), failed)


def embeddings_of(keys: Sequence[FaceKey], pictures: Mapping[str, Faces], made_by: MadeBy) -> FloatArray:
    """(N, D) embeddings, of length 1 where the model compares angles."""
    rows = [embeddings[i] for digest, i in keys if (embeddings := pictures[digest].embeddings) is not None]
    out = np.array(rows, dtype=np.float32).reshape(len(keys), made_by.dimension)
    return unit(out) if made_by.metric == "cosine" else out


def unit(embeddings: FloatArray) -> FloatArray:
    """Embeddings of length 1: then Euclidean distance orders as the cosine does."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    scaled: FloatArray = embeddings / np.maximum(lengths, np.float32(1e-12))
    return scaled


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
        members[number] = [keys[i] for i in part[np.argsort(off, kind="stable")]]
    return members
