"""`mien evaluate`: measure models by the protocols of the literature."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mien.errors import MienError
from mien.evaluation.pairs import read_pairs
from mien.evaluation.plots import plot_roc
from mien.evaluation.verification import Describer, VerificationReport, evaluate_verification

app = typer.Typer(help="Measure models by the protocols of the literature.", no_args_is_help=True)


@app.callback()
def evaluate() -> None:
    """Measure models by the protocols of the literature."""
    # Keeps `verification` a command of its own while it is the only one.


@app.command()
def verification(
    root: Annotated[Path, typer.Option(help="Folder of the pictures: ROOT/Name/Name_0001.jpg.")],
    pairs: Annotated[Path, typer.Option(help="LFW's pairs.txt, or a table of path_a,path_b,same[,fold].")],
    detector: Annotated[
        str | None, typer.Option(help="Detector, by name.", show_default="mien's own")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Embedder, by name.", show_default="mien's own")
    ] = None,
    accurate: Annotated[
        bool, typer.Option("--accurate", help="Slower and more accurate embeddings.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON to stdout.")] = False,
    roc: Annotated[Path | None, typer.Option(help="Draw the ROC curve here (.png, .svg, .pdf).")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads of one network call; 0 lets mien choose.")] = 0,
    device: Annotated[str, typer.Option(help="Where networks run: cpu, cuda, auto, ...")] = "cpu",
) -> None:
    """Are two pictures of one person? LFW's View 2 protocol, and how the model's own thresholds fare.

    A picture in which no face is found makes every pair that it is in an error.
    """
    for path in (roc, out):
        _check_folder(path)
    listed = read_pairs(pairs, root)
    describe = make_describer(
        detector=detector, embedder=embedder, accurate=accurate, threads=threads, device=device
    )
    with _Bar("faces") as bar:
        report = evaluate_verification(listed, describe, progress=bar)
    if out is not None:
        _write(out, json.dumps(report.to_dict(), indent=2) + "\n")
    if roc is not None:
        plot_roc(report, roc)
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        Console().print(_table(report))


def make_describer(
    *, detector: str | None, embedder: str | None, accurate: bool, threads: int, device: str
) -> Describer:
    """The analyzer that the options ask for, as `evaluate_verification` wants it: the seam to the models."""
    # Here rather than above: `mien --help` should not wait for onnxruntime.
    from mien.analyzer import FaceAnalyzer  # noqa: PLC0415
    from mien.evaluation.describe import SubjectDescriber  # noqa: PLC0415
    from mien.ops.image import load_image  # noqa: PLC0415

    named = {name: value for name, value in (("detector", detector), ("embedder", embedder)) if value}
    analyzer = FaceAnalyzer(**named, accurate=accurate, threads=threads, device=device)
    return SubjectDescriber(
        analyzer,
        load_image,
        detector=analyzer.detector.record.name,
        mode="accurate" if accurate else "fast",
    )


class _Bar:
    """A progress bar on stderr that `evaluate_verification` can call with (done, total)."""

    def __init__(self, words: str) -> None:
        self._progress = Progress(
            TextColumn(words),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(words, total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


def _table(report: VerificationReport) -> Table:
    """The report for people."""
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
    rows = [("Accuracy", f"{report.accuracy:.2%} ± {report.accuracy_se:.2%}")]
    rows += [(f"TAR at FAR {name}", f"{value:.2%}") for name, value in report.tar_at_far.items()]
    rows += [
        ("TAR with no false match", f"{report.tar_at_zero:.2%}"),
        ("Equal error rate", f"{report.eer:.2%}"),
        ("Area under the ROC", f"{report.auc:.5f}"),
        ("Pictures with no face found", f"{report.missed:,} of {report.pictures:,}"),
        ("Pairs lost to them (counted as errors)", f"{report.missed_pairs:,}"),
    ]
    if report.brier is not None and report.ece is not None:
        rows.append(("Probability: Brier score, ECE", f"{report.brier:.4f}, {report.ece:.4f}"))
    return rows


def _check_folder(path: Path | None) -> None:
    """Refuse a place that cannot be written before minutes of work, not after."""
    if path is not None and not path.parent.is_dir():
        raise MienError(f"{path}: its folder does not exist; make it first")


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise MienError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
