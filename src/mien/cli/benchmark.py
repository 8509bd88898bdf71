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


def benchmark(
    photo: Annotated[Path | None, typer.Argument(help="A photograph with a face or more.")] = None,
    search: Annotated[
        int,
        typer.Option("--search", min=0, metavar="N", help="Time search among N faces instead."),
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


def _search(count: int, photo: Path | None, as_json: bool) -> None:
    """Search among drawn faces, and those of a photograph, if there is one."""
    from mien.evaluation.search_benchmark import run_search_benchmark

    real = None
    if photo is not None:
        from mien.analyzer import FaceAnalyzer
        from mien.ops.image import load_image

        real = FaceAnalyzer(only=("detect", "embed"))(load_image(photo)).embeddings
    with progress_bar("benchmark") as progress:
        results = run_search_benchmark(count, real=real, progress=progress)
    if as_json:
        print_json({"faces": count, "results": [r.to_dict() for r in results]})
        return

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    rows = [
        [
            r.name,
            number(r.p50_ms, ".3f") or r.note,
            number(r.p99_ms, ".3f"),
            number(r.recall, ".3f"),
            number(r.seconds, ".4f"),
            number(r.megabytes, ".0f"),
        ]
        for r in results
    ]
    stdout().print(table(["", "p50, ms", "p99, ms", "recall@1", "seconds", "MB"], rows))


def _print(results: list[Result]) -> None:
    def number(value: float | None, digits: int = 0) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    first = {r.group: r.milliseconds for r in reversed(results)}  # each group's first contestant
    rows = []
    for r in results:
        base = first[r.group]
        ratio = f"{r.milliseconds / base:.1f}" if r.milliseconds and base else ""
        rows.append(
            [
                r.group,
                r.name,
                number(r.milliseconds, 1) or r.note,
                ratio,
                number(r.first_ms),
                number(r.peak_mb),
            ]
        )
    header = ["", "", "ms (embedding: per face)", "times the first", "first result, ms", "peak MB"]
    stdout().print(table(header, rows))
