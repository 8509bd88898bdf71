"""`mien evaluate identification`: who of many people, or none of them, on pictures of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import print_json, progress_bar, stdout, table
from mien.cli.targets import REPORT_FORMATS, check_report, report_page
from mien.errors import MienError
from mien.ops.atomic import write_whole
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.evaluation.identification import IdentificationReport
    from mien.gallery.decision import Rule


def identification(
    *,
    folder: Annotated[Path, typer.Argument(help="Holds a folder of pictures for each person.")],
    enrol: Annotated[int, typer.Option("--enrol", min=1, help="Pictures of each person that are enrolled.")] = 1,
    strangers: Annotated[
        int | None, typer.Option("--strangers", min=0, help="People who stay strangers; by default all with no more.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of who and what is chosen.")] = 0,
    target_fpir: Annotated[
        float, typer.Option("--target-fpir", help="Share of strangers who may get a name: recommends a threshold.")
    ] = 0.01,
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    accurate: options.Accurate = False,
    as_json: options.Json = False,
    out: Annotated[Path | None, typer.Option(help="Write the report here (.json, .md, .html).")] = None,
    det: Annotated[
        Path | None, typer.Option(help="Draw both errors at every threshold here (.png, .svg, .pdf).")
    ] = None,
    cmc: Annotated[Path | None, typer.Option(help="Draw the share found among the first k here (.png, ...).")] = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Who is it, or nobody known? Rank 1, 5, 10; FNIR at FPIR 1e-2 and 1e-1; the threshold for your own pictures.

    Of everybody with more pictures than are enrolled, the others are searched for; people with no more are strangers.
    """
    from mien.evaluation.identification import evaluate_identification, split_people
    from mien.evaluation.people import read_people

    # what can be refused at once is, not after minutes of work
    if not 0 < target_fpir < 1:
        raise typer.BadParameter(f"{target_fpir:g} does not lie between 0 and 1", param_hint="--target-fpir")
    check_report(out, (det, cmc), formats=REPORT_FORMATS)
    people = read_people(folder)
    split_people(people, enrol=enrol, strangers=strangers, seed=seed)
    rule = find_rule(embedder, "accurate" if accurate else "fast")
    describe = options.make_describer(
        detector=detector, embedder=embedder, accurate=accurate, threads=threads, device=device
    )
    with progress_bar("describing faces", results_last=True) as progress:
        report = evaluate_identification(
            people,
            describe,
            rule=rule,
            enrol=enrol,
            strangers=strangers,
            seed=seed,
            target_fpir=target_fpir,
            progress=progress,
        )
    _print(report, as_json=as_json)  # first: a full disk must not take what minutes of work gave
    _write(report, out, det, cmc)


def find_rule(embedder: str, mode: str) -> Rule | None:
    """How a gallery of this embedder decides; None where nobody has measured it."""
    from mien.errors import ModelError
    from mien.gallery.rules import rule_for
    from mien.models import registry

    record = registry.entry(embedder, "embedding").record
    try:
        return rule_for(record, mode)
    except ModelError:
        return None


def _print(report: IdentificationReport, *, as_json: bool) -> None:
    from mien.evaluation.identification_pages import COLUMNS, about, headline, thresholds

    if as_json:
        print_json(report.to_dict())
        return
    stdout().print(f"{about(report)}\n{report.protocol}", markup=False, highlight=False)
    stdout().print(table(("Measure", "Value"), headline(report)))
    if rows := thresholds(report):
        stdout().print(table(COLUMNS, rows))
    for note in report.notes:
        stdout().print(f"Note: {note}", markup=False, highlight=False)


def _write(report: IdentificationReport, out: Path | None, det: Path | None, cmc: Path | None) -> None:
    from mien.evaluation import identification_plots as plots

    if out is not None:
        write_whole(out, _page(report, out.suffix.lower()))
    if det is not None:
        if not report.strangers:
            raise MienError(f"{printable(det)}: not drawn: without strangers there are no errors to trade")
        plots.plot_det(report, det)
    if cmc is not None:
        plots.plot_cmc(report, cmc)


def _page(report: IdentificationReport, suffix: str) -> str:
    from mien.evaluation.identification_pages import to_html, to_markdown
    from mien.evaluation.identification_plots import report_pictures

    return report_page(report, suffix, to_markdown=to_markdown, to_html=to_html, pictures=report_pictures)
