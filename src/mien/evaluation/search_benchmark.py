"""How fast a gallery is filled, opened and searched on this machine, beside what memory allows and installed peers.

One gallery in a file is filled and opened; then the contestants search its faces, and take turns query by query in one
process, so that a busy moment of the machine falls on all of them. The faces are real ones, as far as there are any,
and drawn ones around them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import DataError, MienError
from mien.gallery.decision import Rule
from mien.gallery.editing import new_person
from mien.gallery.gallery import EMBEDDER, Gallery
from mien.gallery.records import Changes, NewFace
from mien.gallery.rules import rule_for
from mien.gallery.search.approximate import ApproximateIndex
from mien.gallery.search.cache import cache_of
from mien.gallery.search.index import ExactIndex, catch_up, open_index, over_graph
from mien.gallery.search.vector_file import graph_file
from mien.models import registry
from mien.models.runtime import default_threads
from mien.types import FloatArray

Run = Callable[[int], object]
"""Searches for the query of that number."""
Say = Callable[[int, int, str], None]

DIMENSION = 128
_FACES_EACH = 4
_QUERIES = 200
_K = 10
_BULK = 8192  # faces of one transaction
_ONE_BY_ONE = 2000  # faces that are enrolled person by person
_TURNS = 3  # of what is done several times, to take the median
_READS = 3  # of the matrix by one thread, and by all, to take the best
_BYTES_EACH = (
    3000  # of disk for a face: the gallery, its log, the search file, the graph, and a copy while it is written
)

# Standard deviations of dlib-resnet's embeddings of 2,312 people, along their principal axes: between people, and
# between faces of one person. Both fall off exponentially, and nothing is left from axis 90 on.
_BETWEEN, _BETWEEN_AXES = 0.13, 32
_WITHIN, _WITHIN_AXES = 0.052, 75
_AXES = 90
_NORM_OF_MEAN = 1.3

_READING = "reading the matrix once"
_EXACT = "mien, exact"
_APPROXIMATE = "mien, approximate"

_FIRST_ANSWER = """
import sys
import numpy as np
from mien.gallery.gallery import Gallery
with Gallery.open(sys.argv[1], audit_searches=False, approximate=False) as gallery:
    print(gallery.identify(np.load(sys.argv[2]))[0].people, flush=True)
"""


@dataclass(frozen=True)
class SearchResult:
    """What one way to search, or one other step, needed.

    Attributes:
        name: what.
        p50_ms: median of one search.
        p99_ms: of 100 searches one takes longer.
        times_reading: the median beside that of reading all embeddings once, as fast as memory allows.
        recall: share of queries for which the nearest face is found.
        seconds: of the whole step, where it is not a search.
        per_second: faces.
        megabytes: on the disk.
        bytes_each: on the disk, for a face.
        note: why there is no figure, or how it came about.
    """

    name: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    times_reading: float | None = None
    recall: float | None = None
    seconds: float | None = None
    per_second: float | None = None
    megabytes: float | None = None
    bytes_each: float | None = None
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
    progress: Say | None = None,
) -> list[SearchResult]:
    """Fill a gallery in a temporary folder with faces, open it, and time single searches for the 10 nearest.

    Queries are further faces of the same people.

    Args:
        count: how many faces.
        queries: how many searches of each contestant.
        real: (N, 128) embeddings to be among them.
        approximate: whether to build the graph, too, which takes longest.
        seed: of what is drawn.
        progress: called with (done, total, what).

    Raises:
        ValueError: fewer than one face or query, or embeddings of another length.
        DataError: the disk has too little room.
        MienError: a process that is to open the gallery fails.
    """
    if count < 1 or queries < 1:
        raise ValueError("a benchmark of search needs a face and a query at least")
    if real is not None and (real.ndim != 2 or real.shape[1] != DIMENSION):
        raise ValueError(f"embeddings have shape {real.shape}, expected (N, {DIMENSION})")
    say = progress or (lambda done, total, what: None)
    with tempfile.TemporaryDirectory(prefix="mien-benchmark-") as folder:
        _check_room(Path(folder), count)
        say(0, 1, "drawing faces")
        rng = np.random.default_rng(seed)
        faces = faces_like_real(count, rng, real)
        probes = _further_faces(faces, queries, rng)
        path = Path(folder, "people.db")
        steps = [*_filled(path, faces, say), *_opened(path, probes, say)]
        del faces
        return [*_searched(path, probes, say, approximate=approximate), *steps]


def _check_room(folder: Path, count: int) -> None:
    free, needed = shutil.disk_usage(folder).free, _BYTES_EACH * count
    if free < needed:
        raise DataError(
            f"a gallery of {count:,} faces needs {needed / 1e9:.1f} GB of disk, {folder.parent} has {free / 1e9:.1f}:"
            " name a larger folder in TMPDIR"
        )


def _further_faces(faces: FloatArray, queries: int, rng: np.random.Generator) -> FloatArray:
    """(queries, D): each between two faces of one person, off by as much as such faces differ."""
    first = rng.integers(len(faces), size=queries) // _FACES_EACH * _FACES_EACH
    a, b, c = (faces[np.minimum(first + i, len(faces) - 1)] for i in range(3))
    return np.ascontiguousarray(a + (b - c), dtype=np.float32)


def _seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


# The gallery


def _filled(path: Path, faces: FloatArray, say: Say) -> list[SearchResult]:
    """Enrol: the last people one by one, as an import does, and all before them in bulk."""
    held = len(faces) - min(len(faces) // 2, _ONE_BY_ONE)
    held -= held % _FACES_EACH
    with Gallery.open(path, audit_searches=False) as gallery:
        in_bulk = _seconds(lambda: _enrol_in_bulk(gallery, faces[:held], len(faces), say))
        one_by_one = _seconds(lambda: _enrol_one_by_one(gallery, faces, held, say))
        count = gallery.count()[1]
    rates = {"enrolling in bulk": (held, in_bulk), "enrolling person by person": (len(faces) - held, one_by_one)}
    return [
        *(SearchResult(name, seconds=took, per_second=n / took) for name, (n, took) in rates.items() if n),
        _on_disk("the gallery's file", path, count),
    ]


def _enrol_in_bulk(gallery: Gallery, faces: FloatArray, total: int, say: Say) -> None:
    for first in range(0, len(faces), _BULK):
        new: list[NewFace] = []
        with gallery.store.write() as writer:
            for i in range(first, min(first + _BULK, len(faces)), _FACES_EACH):
                person = new_person(_name(i))
                writer.add_person(person)
                new += [NewFace(face, person=person.id) for face in faces[i : i + _FACES_EACH]]
            writer.add_faces(new)
        say(first + len(new), total, "enrolling")


def _enrol_one_by_one(gallery: Gallery, faces: FloatArray, held: int, say: Say) -> None:
    for i in range(held, len(faces), _FACES_EACH):
        gallery.enrol(_name(i), faces[i : i + _FACES_EACH])
        say(i, len(faces), "enrolling")


def _name(face: int) -> str:
    return f"Person {face // _FACES_EACH}"


def _on_disk(name: str, path: Path, faces: int, **more: Any) -> SearchResult:
    """A file with what it takes on the disk: room that was never written to takes none."""
    status = path.stat()
    size = 512 * status.st_blocks if hasattr(status, "st_blocks") else status.st_size
    return SearchResult(name, megabytes=size / 1e6, bytes_each=size / faces, **more)


def _opened(path: Path, probes: FloatArray, say: Say) -> list[SearchResult]:
    """The search file is written by the first search; what it takes to open the gallery then, and to go on."""
    say(0, 3, "writing the search file")

    def first_answer() -> None:
        with Gallery.open(path, audit_searches=False, approximate=False) as gallery:
            gallery.identify(probes[:1])

    written = _seconds(first_answer)
    cache = cache_of(str(path))
    say(1, 3, "opening")
    query = path.with_name("query.npy")
    np.save(query, probes[:1])
    started = [_seconds(lambda: _process(path, query)) for _ in range(_TURNS)]
    opened = [_seconds(first_answer) for _ in range(_TURNS)]
    say(2, 3, "following a change")
    with Gallery.open(path, audit_searches=False, approximate=False) as gallery:
        gallery.identify(probes[:1])
        followed = [_seconds(partial(_change_and_identify, gallery, probes, i)) for i in range(_TURNS)]
        faces = gallery.count()[1]
    name = "first search, which writes the search file"
    wrote = SearchResult(name, seconds=written) if cache is None else _on_disk(name, cache, faces, seconds=written)
    return [
        wrote,
        SearchResult("opening: process start to first answer", seconds=float(np.median(started))),
        SearchResult("opening again, and first answer", seconds=float(np.median(opened))),
        SearchResult("enrolling one face, and next answer", seconds=float(np.median(followed))),
    ]


def _change_and_identify(gallery: Gallery, probes: FloatArray, turn: int) -> None:
    gallery.enrol(f"Somebody new {turn}", probes[turn % len(probes)][None] + np.float32(0.1))
    gallery.identify(probes[:1])


def _process(path: Path, query: Path) -> None:
    """A process of its own that opens the gallery and answers once."""
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_ANSWER, str(path), str(query)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MienError(f"opening the gallery in a new process failed: {done.stderr.strip()[-300:]}")


# Searching


def _searched(path: Path, probes: FloatArray, say: Say, *, approximate: bool) -> list[SearchResult]:
    """All contestants, in turns; and what the graph took to build."""
    rule = rule_for(registry.entry(EMBEDDER, "embedding").record, "fast")
    prepared = rule.prepare(probes)
    with Gallery.open(path, audit_searches=False, approximate=False) as gallery:
        index = _exact_index(path, gallery, rule)
        runs, more = _contestants(index, gallery, probes, prepared)
        graph = None
        if approximate and importlib.util.find_spec("usearch"):
            graph, steps = _built(path, gallery, index, prepared, say)
            runs[_APPROXIMATE] = lambda i: graph.search(prepared[i : i + 1], _K)
            more += steps
        elif approximate:
            more.append(SearchResult(_APPROXIMATE, note="usearch is not installed"))
        reading, times = _times(_reader(index), runs, len(probes), say)
    results = [_summary(name, taken, reading) for name, taken in {_READING: reading, **times}.items()]
    if graph is not None:
        results = [replace(r, recall=graph.recall(prepared)) if r.name == _APPROXIMATE else r for r in results]
    return [*results, *more]


def _exact_index(path: Path, gallery: Gallery, rule: Rule) -> ExactIndex:
    """What the gallery itself searches, over the same file."""
    info = gallery.info
    index = open_index(info.dimension, info.metric, cache=cache_of(str(path)), gallery_id=info.id)
    assert isinstance(index, ExactIndex)  # noqa: S101 - for the type checker
    with gallery.store.read() as reader:

        def changes(since: int) -> Changes:
            found = reader.changes(since)
            return replace(found, vectors=rule.prepare(found.vectors))

        catch_up(index, changes)
    return index


def _contestants(
    index: ExactIndex, gallery: Gallery, probes: FloatArray, prepared: FloatArray
) -> tuple[dict[str, Run], list[SearchResult]]:
    """What is timed, by name, and what else there is to say."""
    matrix = index.read(lambda rows: np.array(rows.matrix))
    runs: dict[str, Run] = {
        "plain numpy product": lambda i: matrix @ prepared[i],
        _EXACT: lambda i: index.search(prepared[i : i + 1], _K),
        "mien, exact, people": lambda i: index.top_people(prepared[i : i + 1], _K),
        "mien, exact, identify": lambda i: gallery.identify(probes[i : i + 1]),
    }
    if not importlib.util.find_spec("faiss"):
        return runs, [SearchResult("faiss, flat", note="faiss is not installed")]
    import faiss

    flat = faiss.IndexFlatL2(matrix.shape[1])
    flat.add(matrix)
    runs["faiss, flat"] = lambda i: flat.search(prepared[i : i + 1], _K)
    return runs, []


def _built(
    path: Path, gallery: Gallery, index: ExactIndex, prepared: FloatArray, say: Say
) -> tuple[ApproximateIndex, list[SearchResult]]:
    """The graph over the gallery's faces, and what it took to build it and to open its file."""
    cache = cache_of(str(path))

    def search() -> ApproximateIndex:
        graph = over_graph(index, cache, gallery.info.id, lambda done, total: say(done, total, "building the graph"))
        graph.search(prepared[:1], _K)
        return graph

    built = _seconds(search)
    start = time.perf_counter()
    graph = search()
    opened = time.perf_counter() - start
    if graph.quality is None:
        return graph, [SearchResult(_APPROXIMATE, note="there are so few faces that all are compared")]
    width, recall = graph.quality
    note = f"a search looks at {width} faces: recall@1 {recall:.3f}, measured when it was built"
    about = SearchResult("building the graph", seconds=built, note=note)
    if cache is not None and graph_file(cache).is_file():
        about = _on_disk(about.name, graph_file(cache), len(index), seconds=built, note=note)
    return graph, [about, SearchResult("opening the graph again", seconds=opened)]


def _reader(index: ExactIndex) -> Callable[[], float]:
    """Reads all embeddings as fast as this machine can; the seconds of the best of several reads.

    By one thread and by as many as a product has, whichever is faster at the moment: a busy core slows down the latter.
    """
    matrix = index.read(lambda rows: np.array(rows.matrix))
    cores = _product_threads()
    pool = ThreadPoolExecutor(cores)
    parts = [part for part in np.array_split(matrix, cores) if len(part)]

    def read() -> float:
        alone = [_seconds(matrix.max) for _ in range(_READS)]
        together = [_seconds(lambda: list(pool.map(np.max, parts))) for _ in range(_READS)]
        return min(alone + together)

    return read


def _product_threads() -> int:
    """How many threads numpy's product has: all cores, unless somebody said otherwise."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if (said := os.environ.get(name, "")).isdecimal() and int(said):
            return min(int(said), default_threads())
    return default_threads()


def _times(
    read: Callable[[], float], runs: dict[str, Run], queries: int, say: Say
) -> tuple[list[float], dict[str, list[float]]]:
    """Seconds of every read, and of every search; the first of each is not counted."""
    reading: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in (lambda _: read(), *runs.values()):
        run(0)
    for i in range(queries):
        reading.append(read())
        for name, run in runs.items():
            times[name].append(_seconds(partial(run, i)))
        say(i + 1, queries, "searching")
    return reading, times


def _summary(name: str, times: list[float], reading: list[float]) -> SearchResult:
    p50, p99 = np.percentile(times, [50, 99])
    ratio = float(p50 / np.median(reading))
    return SearchResult(name, 1e3 * float(p50), 1e3 * float(p99), None if times is reading else ratio)
