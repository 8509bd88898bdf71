"""Fits how faces are grouped, beside the methods that others use.

    python recipes/clustering.py describe LFW_DEV_FOLDER embeddings.npz    once; minutes
    python recipes/clustering.py compare embeddings.npz [SPLITS]           the table of LOG.md; needs scipy
    python recipes/clustering.py fit embeddings.npz                        writes dlib-resnet.clustering.npz

Half of the people choose every parameter and give the landmarks of the density scale; the other half is reported; then
the other way round. What is fitted in the end rests on all people of lfw_dev.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import DBSCAN, HDBSCAN, KMeans

from mien.evaluation.clustering import b_cubed, dbscan, pairwise
from mien.gallery.grouping.clustering import cluster
from mien.models.density import DensityScale
from mien.models.dlib_resnet import RECORD
from mien.ops.atomic import write_whole
from mien.types import FloatArray

OUT = Path(__file__).parents[1] / "src/mien/models/weights/dlib-resnet.clustering.npz"
CENTRES, NEIGHBOURS, STRENGTH = 256, 4, 0.3
SMALLEST_CENTRE = 3  # people: no landmark is one person
FITTED = {"fast": {"threshold": 0.538, "caution": 0.04}, "accurate": {"threshold": 0.538, "caution": 0.04}}

Method = Callable[[FloatArray, Any], Any]


def describe(folder: Path, out: Path) -> None:
    """Embed the subject of every picture in both modes."""
    from mien import FaceAnalyzer, load_image
    from mien.evaluation.describe import SubjectDescriber
    from mien.evaluation.people import read_people

    people = read_people(folder)
    arrays: dict[str, Any] = {"names": [people.names[person] for person in people.person]}
    for mode in ("fast", "accurate"):
        analyzer = FaceAnalyzer(only=("detect", "embed"), accurate=mode == "accurate").load()
        arrays[mode] = np.stack(
            SubjectDescriber(analyzer, load_image, mode=mode)(people.paths)
        )  # no face is missed in lfw_dev
    np.savez(out, **arrays)


def density(embeddings: FloatArray, people: Any, strength: float = STRENGTH) -> DensityScale:
    """Landmarks of the space: k-means centres of the people's means."""
    means = np.stack([embeddings[people == person].mean(axis=0) for person in np.unique(people)])
    fitted = KMeans(min(CENTRES, len(means) // 4), n_init=1, random_state=0).fit(means)
    large = np.bincount(fitted.labels_) >= SMALLEST_CENTRE
    centres = fitted.cluster_centers_[large].astype(np.float32)
    reference = float(DensityScale.nearness(means, centres, NEIGHBOURS).mean())
    return DensityScale(means.mean(axis=0), centres, reference, NEIGHBOURS, strength)


def chinese_whispers(x: FloatArray, eps: float, rounds: int = 30) -> Any:
    """Biemann 2006, as dlib has it: faces within eps are linked, each takes the commonest label of its links."""
    near = [np.flatnonzero(row < eps) for row in squareform(pdist(x.astype(float)))]
    rng, labels = np.random.default_rng(0), np.arange(len(x))
    for _ in range(rounds):
        for i in rng.permutation(len(x)):
            links = near[i][near[i] != i]
            if len(links):
                values, counts = np.unique(labels[links], return_counts=True)
                labels[i] = values[counts.argmax()]
    return labels


def rank_order(x: FloatArray, limit: float, k: int = 20) -> Any:
    """Approximate rank-order (Otto et al. 2016): faces are linked that miss few of each other's nearest."""
    order = np.argsort(squareform(pdist(x.astype(float))), axis=1)[:, :k]
    rank = np.full((len(x), len(x)), k)
    rank[np.arange(len(x))[:, None], order] = np.arange(k)
    links = [(0, 0)]
    for a in range(len(x)):
        for b in order[a][order[a] > a]:
            if rank[b, a] < k:
                missed = (rank[b, order[a][: rank[a, b] + 1]] >= k).sum() + (
                    rank[a, order[b][: rank[b, a] + 1]] >= k
                ).sum()
                if missed / max(min(rank[a, b], rank[b, a]), 1) < limit:
                    links.append((a, b))
    i, j = np.array(links).T
    return connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=rank.shape), directed=False)[1]


def hierarchical(x: FloatArray, threshold: float, method: str) -> Any:
    """scipy's, on distances."""
    return fcluster(linkage(pdist(x.astype(float)), method), threshold, "distance")


def ours(x: FloatArray, setting: tuple[float, float]) -> Any:
    """Average linkage on squared distances, with caution."""
    return cluster(x, threshold=setting[0], caution=setting[1]).labels


def steps(low: float, high: float, step: float) -> list[float]:
    return [round(float(value), 3) for value in np.arange(low, high + 1e-9, step)]


def methods() -> Iterator[tuple[str, Method, list[Any], bool]]:
    """(name, method, its settings, whether embeddings are scaled by density)."""
    for samples in (5, 2):
        yield (
            f"DBSCAN, eps 0.5, min_samples {samples}",
            lambda x, t, m=samples: dbscan(x, eps=t, min_samples=m),
            [0.5],
            False,
        )
        tuned = lambda x, t, m=samples: DBSCAN(eps=t, min_samples=m).fit(x).labels_  # noqa: E731
        yield f"DBSCAN, eps chosen, min_samples {samples}", tuned, steps(0.36, 0.52, 0.02), False
    yield "DBSCAN, eps chosen, min_samples 2, density", tuned, steps(0.36, 0.52, 0.02), True
    sizes = [(2, 1), (2, 2), (3, 1), (3, 2)]
    yield (
        "HDBSCAN",
        lambda x, s: HDBSCAN(min_cluster_size=s[0], min_samples=s[1], copy=True).fit(x).labels_,
        sizes,
        False,
    )
    yield "Chinese whispers, 0.5", chinese_whispers, [0.5], False
    yield "Chinese whispers, chosen", chinese_whispers, steps(0.39, 0.48, 0.03), False
    yield "approximate rank-order", rank_order, [0.3, 0.5, 0.8], False
    yield "complete linkage", partial(hierarchical, method="complete"), steps(0.5, 0.74, 0.04), False
    yield "average linkage, distances", partial(hierarchical, method="average"), steps(0.46, 0.56, 0.01), False
    plain = [(t, 0.0) for t in steps(0.47, 0.53, 0.01)]
    cautious = [(round((t * t + 0.7 * c) ** 0.5, 3), c) for c in (0.02, 0.04, 0.06) for t in steps(0.49, 0.52, 0.01)]
    for name, scaled in (("average linkage, squares", False), ("the same, density", True)):
        yield name, ours, plain, scaled
        yield f"{name}, caution", ours, cautious, scaled
    yield "as it ships", ours, [(round(((1 - 0.538) / (1 + 0.538)) ** 0.5, 4), 0.04)], True


def compare(file: Path, splits: int, wanted: str = "", mode: str = "fast") -> None:
    """Print the table; the standard error is over splits, whose halves are two reports each."""
    with np.load(file) as arrays:
        x, people = arrays[mode].astype(np.float32), np.unique(arrays["names"], return_inverse=True)[1]
    count = int(people.max()) + 1
    halves = [np.isin(people, np.random.default_rng(i).permutation(count)[: count // 2]) for i in range(splits)]
    parts = [part for half in halves for part in ((half, ~half), (~half, half))]
    scales = [density(x[choose], people[choose]) for choose, _ in parts]
    for name, method, settings, scaled in methods():
        if wanted not in name:
            continue
        rows, chosen, took = [], [], 0.0
        for (choose, report), scale in zip(parts, scales, strict=True):
            one, other = (scale(x[half]) if scaled else x[half] for half in (choose, report))
            best = (
                max(settings, key=lambda s: sum(f1s(people[choose], method(one, s)))) if settings[1:] else settings[0]
            )
            start = time.monotonic()
            labels = np.asarray(method(other, best), dtype=np.int64)
            took += time.monotonic() - start
            pair, cube = pairwise(people[report], labels), b_cubed(people[report], labels)
            rows.append([pair.precision, pair.recall, pair.f1, cube.precision, cube.recall, cube.f1])
            chosen.append(best)
        figures = 100 * np.array(rows).reshape(splits, 2, 6).mean(axis=1)
        mean, error = figures.mean(axis=0), figures.std(axis=0, ddof=1) / splits**0.5
        pairs, cubes = (f"{mean[i]:.1f} | {mean[i + 1]:.1f} | {mean[i + 2]:.1f} ± {error[i + 2]:.1f}" for i in (0, 3))
        print(f"| {name} | {sorted(set(chosen))} | {pairs} | {cubes} | {took / len(parts):.1f} |", flush=True)


def f1s(people: Any, labels: Any) -> tuple[float, float]:
    labels = np.asarray(labels, dtype=np.int64)
    return pairwise(people, labels).f1, b_cubed(people, labels).f1


def fit(file: Path) -> None:
    """Write what ships."""
    with np.load(file) as arrays:
        scale = density(arrays["fast"].astype(np.float32), np.unique(arrays["names"], return_inverse=True)[1])
    about = {"embedder_sha256": RECORD.weights.sha256, "fitted_on": "lfw_dev, 2,312 people", "modes": FITTED}
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **scale.to_arrays())
    write_whole(OUT, buffer.getvalue())
    print(f"{OUT.name}: {len(scale.centroids)} landmarks, {len(buffer.getvalue()):,} bytes")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["describe", folder, out]:
            describe(Path(folder), Path(out))
        case ["compare", file, *rest]:
            compare(Path(file), int(rest[0]) if rest else 3, *rest[1:])
        case ["fit", file]:
            fit(Path(file))
        case _:
            sys.exit(__doc__)
