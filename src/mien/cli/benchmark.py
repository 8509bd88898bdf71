"""`mien benchmark`: this machine, mien beside installed peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import print_json, progress_bar, stdout, table
from mien.errors import DataError

if TYPE_CHECKING:
    from mien.evaluation.benchmark import Result
    from mien.types import FloatArray


def benchmark(
    photo: Annotated[
        Path | None, typer.Argument(help="A photograph with a face or more; for --search also embeddings (.npy).")
    ] = None,
    search: Annotated[
        int,
        typer.Option("--search", min=0, metavar="N", help="Fill, open and search a gallery of N faces instead."),
    ] = 0,
    turns: Annotated[int, typer.Option("--turns", min=1, help="Processes of each contestant.")] = 3,
    threads: options.Threads = 0,
    as_json: options.Json = False,
) -> None:
    """Time detection, embedding, end to end, cold start and memory, beside the peers that are installed."""
    if search:
        _search(search, photo, as_json)
        return
    if photo is None:
        raise DataError("benchmark needs a photograph with a face, or --search N")
    from mien.evaluation.benchmark import run_benchmark
    from mien.models.runtime import default_threads

    threads = threads or default_threads()
    with progress_bar("benchmark") as progress:
        results = run_benchmark(photo, threads=threads, turns=turns, progress=progress)
    if as_json:
        print_json({"photo": str(photo), "threads": threads, "results": [r.to_dict() for r in results]})
        return
    _print(results)


def _search(count: int, faces: Path | None, as_json: bool) -> None:
    """Fill a gallery with drawn faces, and those that are given, and search it."""
    from mien.evaluation.search_benchmark import run_search_benchmark

    real = None if faces is None else _embeddings(faces)
    with progress_bar("benchmark", results_last=True) as progress:
        results = run_search_benchmark(count, real=real, progress=progress)
    if as_json:
        print_json({"faces": count, "results": [r.to_dict() for r in results]})
        return
    searches = [
        [
            r.name,
            _number(r.p50_ms, ".3f"),
            _number(r.p99_ms, ".3f"),
            _number(r.times_reading, ".2f"),
            _number(r.recall, ".3f"),
        ]
        for r in results
        if r.p50_ms is not None
    ]
    stdout().print(table(["", "p50, ms", "p99, ms", "times reading", "recall@1"], searches))
    steps = [
        [
            r.name,
            _number(r.seconds, ".2f"),
            _number(r.per_second, ",.0f"),
            _number(r.megabytes, ",.1f"),
            _number(r.bytes_each, ",.0f"),
        ]
        for r in results
        if r.seconds is not None or r.megabytes is not None
    ]
    stdout().print(table(["", "seconds", "faces a second", "MB", "bytes a face"], steps))
    for r in results:
        if r.note:
            stdout().print(f"{r.name}: {r.note}", markup=False, highlight=False)


def _embeddings(path: Path) -> FloatArray:
    """(N, 128) embeddings: of the faces of a photograph, or as `mien gallery export` writes them (vectors.npy).

    Raises:
        DataError: the file holds none.
    """
    if path.suffix != ".npy":
        from mien.analyzer import FaceAnalyzer
        from mien.ops.image import load_image

        embeddings = FaceAnalyzer(only=("detect", "embed"))(load_image(path)).embeddings
        assert embeddings is not None  # noqa: S101 - the analyzer embeds
        return embeddings
    import numpy as np

    from mien.evaluation.search_benchmark import DIMENSION

    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as embeddings (.npy): {error}") from error
    if (
        vectors.ndim != 2
        or vectors.shape[1] != DIMENSION
        or vectors.dtype.kind != "f"
        or not np.isfinite(vectors).all()
    ):
        raise DataError(f"{path}: holds no embeddings: expected (N, {DIMENSION}) finite numbers")
    found: FloatArray = vectors.astype(np.float32)
    return found


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _print(results: list[Result]) -> None:
    first = {r.group: r.milliseconds for r in reversed(results)}  # each group's first contestant
    rows = []
    for r in results:
        base = first[r.group]
        ratio = f"{r.milliseconds / base:.1f}" if r.milliseconds and base else ""
        rows.append(
            [
                r.group,
                r.name,
                _number(r.milliseconds, ".1f") or r.note,
                ratio,
                _number(r.first_ms, ".0f"),
                _number(r.peak_mb, ".0f"),
            ]
        )
    header = ["", "", "ms (embedding: per face)", "times the first", "first result, ms", "peak MB"]
    stdout().print(table(header, rows))
