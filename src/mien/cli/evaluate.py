"""`mien evaluate`: measure models by the protocols of the literature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import (
    evaluate_attributes,
    evaluate_clustering,
    evaluate_expression,
    evaluate_identification,
    evaluate_liveness,
    evaluate_parts,
    evaluate_quality,
    evaluate_robustness,
    evaluate_temporal,
    options,
)
from mien.cli.console import Commands, print_json, progress_bar, stdout
from mien.cli.targets import check_report
from mien.ops.atomic import write_whole

# The models, numpy and rich are imported where they are needed: `mien --help` waits for none of them.
if TYPE_CHECKING:
    from rich.table import Table

    from mien.evaluation.verification import VerificationReport

app = typer.Typer(cls=Commands, help="Measure models by the protocols of the literature.", no_args_is_help=True)


app.command("expression")(evaluate_expression.expression)
app.command("attributes")(evaluate_attributes.attributes)
app.command("identification")(evaluate_identification.identification)
app.command("clustering")(evaluate_clustering.clustering)
app.command("eyes")(evaluate_parts.eyes)
app.command("mouth")(evaluate_parts.mouth)
app.command("quality")(evaluate_quality.quality)
app.command("robustness")(evaluate_robustness.robustness)
app.command("temporal")(evaluate_temporal.temporal)
app.command("liveness")(evaluate_liveness.liveness)


@app.command()
def verification(
    *,
    root: Annotated[Path, typer.Option(help="Folder of the pictures: ROOT/Name/Name_0001.jpg.")],
    pairs: Annotated[Path, typer.Option(help="LFW's pairs.txt, or a table of path_a,path_b,same[,fold].")],
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    accurate: options.Accurate = False,
    as_json: options.Json = False,
    roc: Annotated[Path | None, typer.Option(help="Draw the ROC curve here (.png, .svg, .pdf).")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")] = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    precision: options.Precision = None,
) -> None:
    """Are two pictures of one person? LFW's View 2 protocol, and how the model's own thresholds fare.

    A picture in which no face is found makes every pair that it is in an error.
    """
    from mien.evaluation.pairs import read_pairs
    from mien.evaluation.plots import plot_roc
    from mien.evaluation.verification import evaluate_verification

    check_report(out, (roc,))  # what can be refused at once is, not after minutes of work
    listed = read_pairs(pairs, root)
    describe = options.make_describer(
        detector=detector,
        embedder=embedder,
        accurate=accurate,
        threads=threads,
        device=device,
        precision=precision,
    )
    with progress_bar("describing faces", results_last=True) as progress:
        report = evaluate_verification(listed, describe, progress=progress)
    _print(report, as_json=as_json)  # first: a full disk must not take what minutes of work gave
    if out is not None:
        write_whole(out, json.dumps(report.to_dict(), indent=2) + "\n")
    if roc is not None:
        plot_roc(report, roc)


def _print(report: VerificationReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    stdout().print(_table(report))


def _table(report: VerificationReport) -> Table:
    """The report for people."""
    from rich.table import Table

    about = ", ".join([report.model, *report.setup.values()])
    table = Table(title=f"{about}: {report.n:,} pairs", caption=report.protocol, min_width=50)
    table.add_column("Measure")
    table.add_column("Value", justify="right")
    for name, value in _figures(report):
        table.add_row(name, value)
    for name, fixed in report.fixed.items():
        low, high = fixed.fmr_interval
        table.add_section()
        table.add_row(f"At the model's threshold for FMR {name}", f"{fixed.threshold:.4f}")
        table.add_row("  accuracy", f"{fixed.accuracy:.2%}")
        table.add_row("  FMR (95 % interval)", f"{fixed.fmr:.3%} ({low:.3%} to {high:.3%})")
        table.add_row("  FNMR", f"{fixed.fnmr:.2%}")
    return table


def _figures(report: VerificationReport) -> list[tuple[str, str]]:
    """(name, value) of everything but the fixed thresholds."""
    from mien.evaluation import metrics

    rows = [("Accuracy", f"{report.accuracy:.2%} ± {report.accuracy_se:.2%}")]
    for name, value in report.tar_at_far.items():
        few = not metrics.measurable(report.impostors, float(name))
        caveat = f" (no false match among {report.impostors:,})" if few else ""
        rows.append((f"TAR at FAR {name}{caveat}", f"{value:.2%}"))
    rows += [
        ("Equal error rate", f"{report.eer:.2%}"),
        ("Area under the ROC", f"{report.auc:.5f}"),
        ("Pictures with no face found", f"{report.missed:,} of {report.pictures:,}"),
        ("Pairs lost to them (counted as errors)", f"{report.missed_pairs:,}"),
    ]
    if report.brier is not None and report.ece is not None:
        rows.append(("Probability: Brier score, ECE", f"{report.brier:.4f}, {report.ece:.4f}"))
    return rows
