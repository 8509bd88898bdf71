"""`mien evaluate clustering`: group pictures whose people are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import print_json, progress_bar, stdout
from mien.cli.targets import check_report
from mien.ops.atomic import write_whole

if TYPE_CHECKING:
    from rich.table import Table

    from mien.evaluation.clustering import ClusteringReport


def clustering(
    *,
    folder: Annotated[Path, typer.Argument(help="One subfolder for each person.")],
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Similarity from which on groups are merged.")
    ] = None,
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    accurate: options.Accurate = False,
    as_json: options.Json = False,
    out: Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")] = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Are faces grouped by person? Pairwise and B-cubed figures, beside DBSCAN as it is usually set.

    One face of each picture counts, that of its subject. A picture in which no face is found is a group of its own.
    """
    from mien.evaluation.clustering import evaluate_clustering
    from mien.evaluation.people import read_people
    from mien.gallery.grouping.grouping import grouping_rule
    from mien.models import registry

    check_report(out)  # what can be refused at once is, not after minutes of work
    people = read_people(folder)
    rule = grouping_rule(registry.entry(embedder, "embedding").record, "accurate" if accurate else "fast")
    at = rule.threshold_or(threshold)
    describe = options.make_describer(
        detector=detector, embedder=embedder, accurate=accurate, threads=threads, device=device
    )
    with progress_bar("describing faces", results_last=True) as progress:
        report = evaluate_clustering(people, describe, rule, threshold=at, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        stdout().print(_table(report))
    if out is not None:
        write_whole(out, json.dumps(report.to_dict(), indent=2) + "\n")


def _table(report: ClusteringReport) -> Table:
    from rich.table import Table

    about = ", ".join([report.model, *report.setup.values()])
    title = f"{about}: {report.n:,} pictures of {report.people:,} people, {report.missed:,} without a face"
    made = Table(title=title, caption=report.protocol)
    made.add_column("Method")
    for name in ("Groups", "Pairs: precision", "recall", "F1", "B-cubed: precision", "recall", "F1"):
        made.add_column(name, justify="right")
    for grouping in report.groupings:
        figures = [f"{value:.1%}" for part in (grouping.pairwise, grouping.b_cubed) for value in vars(part).values()]
        made.add_row(grouping.method, f"{grouping.clusters:,}", *figures)
    return made
