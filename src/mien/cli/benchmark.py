"""`mien benchmark`: this machine, mien beside installed peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import print_json, progress_bar, stdout, table

if TYPE_CHECKING:
    from mien.evaluation.benchmark import Result


def benchmark(
    photo: Annotated[Path, typer.Argument(help="A photograph with a face or more.")],
    turns: Annotated[int, typer.Option("--turns", min=1, help="Processes of each contestant.")] = 3,
    threads: options.Threads = 0,
    as_json: options.Json = False,
) -> None:
    """Time detection, embedding, end to end, cold start and memory, beside the peers that are installed."""
    from mien.evaluation.benchmark import run_benchmark
    from mien.models.runtime import default_threads

    threads = threads or default_threads()
    with progress_bar("benchmark") as progress:
        results = run_benchmark(photo, threads=threads, turns=turns, progress=progress)
    if as_json:
        print_json({"photo": str(photo), "threads": threads, "results": [r.to_dict() for r in results]})
        return
    _print(results)


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
