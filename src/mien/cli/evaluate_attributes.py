"""`mien evaluate attributes`: measure a network for age and gender on labelled pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import exit_for_unreadable, note, print_json, progress_bar, stdout, table
from mien.cli.targets import check_report
from mien.ops.atomic import write_whole

if TYPE_CHECKING:
    from mien.evaluation.attributes import AttributesReport

_FORMATS = (".json", ".md")


def attributes(
    *,
    data: Annotated[
        Path,
        typer.Argument(help="UTKFace (zip or folder), or a csv table with the columns file, age, gender, group."),
    ],
    model: Annotated[str | None, typer.Option("--model", help="Name of a model, or path of an ONNX file.")] = None,
    as_json: options.Json = False,
    out: Annotated[Path | None, typer.Option(help="Write the report here (.json, .md).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw answers against ages here (.png, .svg, .pdf).")] = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    precision: options.Precision = None,
) -> None:
    """How old do faces look, and how is their gender perceived? Errors, overall and by age, gender and group.

    The face of each picture is found first, as `mien analyze` finds it. Pictures that cannot be read are listed, and
    not measured; the exit code is then 2.
    """
    from mien.cli.console import DownloadBars
    from mien.datasets.attributes import open_attributes
    from mien.evaluation.attributes import evaluate_attributes
    from mien.models.attributes import SHIPPED
    from mien.models.base import RuntimeOptions
    from mien.models.registry import load_attributes_network
    from mien.models.runtime import default_threads
    from mien.models.store import WeightsStore

    check_report(out, (plot,), formats=_FORMATS)
    pictures = open_attributes(data)
    runtime = RuntimeOptions(threads=threads, device=device, precision=options.checked_precision(precision))
    network = load_attributes_network(model or SHIPPED, WeightsStore(progress=DownloadBars()), runtime)
    crop = network.card.crop
    cut = options.face_cut(crop.size, crop.template, threads=threads, device=device)
    setup: dict[str, str | int] = {"threads": threads or default_threads(), "device": device}
    with progress_bar("looking at faces", results_last=True) as progress:
        report = evaluate_attributes(pictures, network, cut=cut, setup=setup, progress=progress)
    _print(report, as_json=as_json)
    _write(report, out)
    if plot is not None:
        from mien.evaluation.attributes_plots import plot_ages

        plot_ages(report, plot)
    exit_for_unreadable([bad.reason for bad in report.unreadable], most=10)


def _print(report: AttributesReport, *, as_json: bool) -> None:
    from mien.evaluation.attributes import COLUMNS, rows

    if as_json:
        print_json(report.to_dict())
        return
    stdout().print(table(COLUMNS, rows(report)))
    if report.within is not None:
        one, two = report.within
        stdout().print(f"Ages within 1 and 2 standard deviations: {one:.0%}, {two:.0%}", highlight=False)
    if report.uncertain is not None and report.rest is not None:
        stdout().print(
            f"Gender uncertain: {report.uncertain:.1%}; right on the rest: {report.rest:.2%}", highlight=False
        )
    if report.missed:
        note(f"no face found in {report.missed:,} pictures: they are not in the figures")
    if report.left_out:
        note(f"{report.left_out:,} pictures left out: their names do not hold age, gender and race")


def _write(report: AttributesReport, out: Path | None) -> None:
    from mien.evaluation.attributes import COLUMNS, rows
    from mien.evaluation.report_pages import markdown_table

    if out is None:
        return
    if out.suffix.lower() == ".json":
        write_whole(out, json.dumps(report.to_dict(), indent=2) + "\n")
        return
    title = f"# {report.model} on {report.data}"
    write_whole(out, "\n\n".join([title, markdown_table(COLUMNS, rows(report))]) + "\n")
