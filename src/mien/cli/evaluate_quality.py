"""`mien evaluate quality`: does the score of faces foretell where recognition fails?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import print_json, print_rows, progress_bar, stdout
from mien.cli.targets import check_report
from mien.ops.atomic import write_whole

if TYPE_CHECKING:
    from mien.evaluation.quality import QualityReport


def quality(
    *,
    data: Annotated[Path, typer.Argument(help="A folder of pictures for each person; or, with --pairs, its root.")],
    pairs: Annotated[
        Path | None, typer.Option(help="LFW's pairs.txt, or a table of path_a,path_b,same; all pairs if not given.")
    ] = None,
    fmr: Annotated[float, typer.Option("--fmr", help="False match rate of the threshold: 1e-2, 1e-3 or 1e-4.")] = 1e-3,
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    accurate: options.Accurate = False,
    as_json: options.Json = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the curve here (.png, .svg, .pdf).")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")] = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Leave out the worst pictures, more and more of them: how far do errors of recognition fall?"""
    from mien.evaluation.pairs import read_pairs
    from mien.evaluation.people import read_people
    from mien.evaluation.quality import evaluate_quality, listed_pairs, pairs_of_people
    from mien.ops.image import load_image

    check_report(out, (plot,))  # what can be refused at once is, not after minutes of work
    chosen = pairs_of_people(read_people(data)) if pairs is None else listed_pairs(read_pairs(pairs, data))
    analyzer = options.make_analyzer(
        detector=detector,
        embedder=embedder,
        only=("detect", "embed", "quality"),
        accurate=accurate,
        threads=threads,
        device=device,
    ).load()
    setup = {"detector": detector, "mode": "accurate" if accurate else "fast"}
    with progress_bar("measuring faces", results_last=True) as progress:
        report = evaluate_quality(chosen, analyzer, load_image, fmr=fmr, setup=setup, progress=progress)
    _print(report, as_json=as_json)  # first: a full disk must not take what minutes of work gave
    if out is not None:
        write_whole(out, json.dumps(report.to_dict(), indent=2) + "\n")
    if plot is not None:
        from mien.evaluation.quality_plots import plot_discard

        plot_discard(report, plot)


def _print(report: QualityReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    about = ", ".join([report.model, *report.setup.values()])
    missed = f", {report.missed:,} without a face" if report.missed else ""
    heading = f"{about}: {report.n:,} pictures{missed}, {report.pairs:,} pairs of one person"
    stdout().print(f"{heading}\n{report.protocol} (FMR {report.fmr:g})", markup=False, highlight=False)
    points = zip(report.shares, report.fnmr, report.kept_pairs, strict=True)
    rows = [[f"{share:.0%}", f"{fnmr:.2%}" if pairs else "", f"{pairs:,}"] for share, fnmr, pairs in points]
    print_rows(["worst left out", "FNMR", "pairs left"], rows)
    rest = f"{report.usable:.1%} of the pictures get no advice"
    if report.usable_fnmr == report.usable_fnmr:
        rest += f"; FNMR of their pairs {report.usable_fnmr:.2%}"
    told = [f"{code} {count:,}" for code, count in report.advice.items() if count]
    stdout().print("; ".join([rest, *told]), markup=False, highlight=False)
