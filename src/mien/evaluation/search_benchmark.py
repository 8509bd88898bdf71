"""How fast a gallery is searched on this machine, beside what memory allows and beside installed peers, in one run.

The contestants take turns query by query in one process, so that a busy moment of the machine falls on all of them. The
vectors are real ones, as far as there are any, and drawn ones around them.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien.gallery.records import Changes
from mien.gallery.search.index import Index, open_index
from mien.types import FloatArray

Run = Callable[[FloatArray], object]

DIMENSION = 128
_FACES_EACH = 4
_QUERIES = 200
_ENROLMENTS = 50
_K = 10

# Standard deviations of dlib-resnet's embeddings of 2,312 people, along their principal axes: between people, and
# between faces of one person. Both fall off exponentially, and nothing is left from axis 90 on.
_BETWEEN, _BETWEEN_AXES = 0.13, 32
_WITHIN, _WITHIN_AXES = 0.052, 75
_AXES = 90
_NORM_OF_MEAN = 1.3


@dataclass(frozen=True)
class SearchResult:
    """What one way to search, or one other step, needed.

    Attributes:
        name: what.
        p50_ms: median of one search.
        p99_ms: of 100 searches one takes longer.
        recall: share of queries for which the nearest face is found.
        seconds: of the whole step, where it is not a search.
        megabytes: on the disk.
        note: why there is no figure.
    """

    name: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    recall: float | None = None
    seconds: float | None = None
    megabytes: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what was not measured is absent."""
        values = {name: round(value, 4) if isinstance(value, float) else value for name, value in vars(self).items()}
        return {name: value for name, value in values.items() if value not in (None, "")}


def faces_like_real(count: int, rng: np.random.Generator, real: FloatArray | None = None) -> FloatArray:
    """(count, D) float32 embeddings with the spread of real ones, four of each person.

    Args:
        count: how many.
        rng: draws them.
        real: (N, D) embeddings; the first rows are these, and people are drawn around them. Without, people are drawn
            around a point as far from the origin as those of dlib-resnet are.
    """
    dimension = DIMENSION if real is None else real.shape[1]
    axes = np.arange(dimension)
    rotation = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    within, between = (
        (size * np.exp(-axes / length) * (axes < _AXES))[:, None] * rotation
        for size, length in ((_WITHIN, _WITHIN_AXES), (_BETWEEN, _BETWEEN_AXES))
    )
    mean = rotation[0] * _NORM_OF_MEAN if real is None else real.mean(axis=0)
    people = -(-count // _FACES_EACH)
    faces = np.empty((count, dimension), dtype=np.float32)
    for first in range(0, people, 1 << 14):
        size = min(people - first, 1 << 14)
        who = mean + rng.standard_normal((size, dimension)) @ between
        rows = slice(first * _FACES_EACH, min((first + size) * _FACES_EACH, count))
        wanted = rows.stop - rows.start
        faces[rows] = np.repeat(who, _FACES_EACH, axis=0)[:wanted] + rng.standard_normal((wanted, dimension)) @ within
    if real is not None:
        faces[: len(real)] = real[:count]
    return faces


def run_search_benchmark(
    count: int,
    *,
    queries: int = _QUERIES,
    real: FloatArray | None = None,
    approximate: bool = True,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[SearchResult]:
    """Time single searches for the 10 nearest of `count` faces; queries are further faces of the same people.

    Args:
        count: how many faces.
        queries: how many searches of each contestant.
        real: (N, D) embeddings to be among them.
        approximate: whether to build the graph, too, which takes longest.
        seed: of what is drawn.
        progress: called with (done, total, what).

    Raises:
        ValueError: fewer than one face or query.
    """
    if count < 1 or queries < 1:
        raise ValueError("a benchmark of search needs a face and a query at least")
    say = progress or (lambda done, total, what: None)
    say(0, 4, "drawing faces")
    rng = np.random.default_rng(seed)
    faces = faces_like_real(count, rng, real)
    probes = _further_faces(faces, queries, rng)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "vectors")
        say(1, 4, "writing the index")
        index, steps = _written(faces, cache)
        say(2, 4, "building graphs")
        runs, graph, more = _contestants(faces, index, approximate)
        say(3, 4, "searching")
        results = [_summary(name, times) for name, times in _times(runs, probes).items()]
        recall = None if graph is None else _recall(graph, index, probes)
    results = [_with_recall(r, recall) if r.name == _APPROXIMATE else r for r in results]
    say(4, 4, "done")
    return [*results, *more, *steps]


_APPROXIMATE = "mien, approximate"


def _further_faces(faces: FloatArray, queries: int, rng: np.random.Generator) -> FloatArray:
    """(queries, D): each between two faces of one person, off by as much as such faces differ."""
    first = rng.integers(len(faces), size=queries) // _FACES_EACH * _FACES_EACH
    a, b, c = (faces[np.minimum(first + i, len(faces) - 1)] for i in range(3))
    return np.ascontiguousarray(a + (b - c), dtype=np.float32)


def _changes(faces: FloatArray, first: int, revision: int, complete: bool) -> Changes:
    ids = np.arange(first, first + len(faces), dtype=np.int64)
    people: list[str | None] = [f"{i // _FACES_EACH:032x}" for i in ids.tolist()]
    return Changes(revision, ids, people, faces, np.empty(0, dtype=np.int64), complete)


def _written(faces: FloatArray, cache: Path) -> tuple[Index, list[SearchResult]]:
    """An index over a file, and what it took to write it, add to it and open it."""
    held = max(len(faces) - _ENROLMENTS, 0)
    index = open_index(faces.shape[1], "l2", cache=cache)
    start = time.perf_counter()
    index.apply(_changes(faces[:held], 0, 1, complete=True))
    written = time.perf_counter() - start
    start = time.perf_counter()
    for i in range(held, len(faces)):
        index.apply(_changes(faces[i : i + 1], i, 2 + i, complete=False))
    added = (time.perf_counter() - start) / (len(faces) - held)
    start = time.perf_counter()
    index = open_index(faces.shape[1], "l2", cache=cache)
    _ = index.revision
    opened = time.perf_counter() - start
    megabytes = 512 * cache.stat().st_blocks / 1e6 if hasattr(cache.stat(), "st_blocks") else None
    return index, [
        SearchResult("writing the file of vectors", seconds=written, megabytes=megabytes),
        SearchResult("adding one face to it", seconds=added),
        SearchResult("opening it", seconds=opened),
    ]


def _contestants(
    faces: FloatArray, index: Index, approximate: bool
) -> tuple[dict[str, Run], Index | None, list[SearchResult]]:
    """What is timed, by name; the approximate index, if there is one; and what else there is to report."""
    runs: dict[str, Run] = {
        "reading the matrix once (a sum)": lambda query: faces.sum(),
        "plain numpy product": lambda query: faces @ query[0],
        "mien, exact": lambda query: index.search(query, _K),
        "mien, people": lambda query: index.top_people(query, _K),
    }
    more: list[SearchResult] = []
    graph: Index | None = None
    if importlib.util.find_spec("faiss"):
        import faiss

        flat = faiss.IndexFlatL2(faces.shape[1])
        flat.add(faces)
        runs["faiss, flat"] = lambda query: flat.search(query, _K)
    else:
        more.append(SearchResult("faiss, flat", note="faiss is not installed"))
    if approximate and importlib.util.find_spec("usearch"):
        built = graph = open_index(faces.shape[1], "l2", approximate=True)
        start = time.perf_counter()
        built.apply(_changes(faces, 0, 1, complete=True))
        more.append(SearchResult("building the graph", seconds=time.perf_counter() - start))
        runs[_APPROXIMATE] = lambda query: built.search(query, _K)
    elif approximate:
        more.append(SearchResult(_APPROXIMATE, note="usearch is not installed"))
    return runs, graph, more


def _times(runs: dict[str, Run], probes: FloatArray) -> dict[str, list[float]]:
    """Seconds of every search; the first of each is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(probes[:1])
    for i in range(len(probes)):
        for name, run in runs.items():
            start = time.perf_counter()
            run(probes[i : i + 1])
            times[name].append(time.perf_counter() - start)
    return times


def _summary(name: str, times: list[float]) -> SearchResult:
    p50, p99 = np.percentile(times, [50, 99])
    return SearchResult(name, 1e3 * float(p50), 1e3 * float(p99))


def _with_recall(result: SearchResult, recall: float | None) -> SearchResult:
    return SearchResult(result.name, result.p50_ms, result.p99_ms, recall)


def _recall(graph: Index, index: Index, probes: FloatArray) -> float:
    found, truth = graph.search(probes, 1)[0], index.search(probes, 1)[0]
    return float((found == truth).mean())
