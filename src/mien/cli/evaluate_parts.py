"""`mien evaluate eyes` and `mouth`: measure what tells open ones from closed ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import exit_for_unreadable, print_json, progress_bar, stdout, table
from mien.cli.targets import check_report, write_json_report
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.evaluation.face_parts import PartReport
    from mien.models.face_parts import Part

_Data = Annotated[
    Path, typer.Argument(help="A .npz with images (N, H, W) uint8 and open (N,), or a folder with closed/ and open/.")
]
_Model = Annotated[str | None, typer.Option("--model", help="Name of a model, or path of an ONNX file.")]
_Out = Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")]


def eyes(
    *,
    data: _Data,
    model: _Model = None,
    as_json: options.Json = False,
    out: _Out = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Are eyes open? Accuracy, true and false positive rate (open is positive) and AUC on pictures of eyes.

    Pictures that cannot be read are listed, and not measured; the exit code is then 2.
    """
    _evaluate("eyes", data, model, as_json=as_json, out=out, threads=threads, device=device)


def mouth(
    *,
    data: _Data,
    model: _Model = None,
    as_json: options.Json = False,
    out: _Out = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Are mouths open? The same on pictures of mouths."""
    _evaluate("mouth", data, model, as_json=as_json, out=out, threads=threads, device=device)


def _evaluate(
    part: Part, data: Path, model: str | None, *, as_json: bool, out: Path | None, threads: int, device: str
) -> None:
    from mien.cli.console import DownloadBars
    from mien.datasets.patches import open_patches
    from mien.evaluation.face_parts import evaluate_part
    from mien.models import face_parts, registry
    from mien.models.base import RuntimeOptions
    from mien.models.store import WeightsStore

    check_report(out, formats=(".json",))
    images = open_patches(data)
    store, runtime = WeightsStore(progress=DownloadBars()), RuntimeOptions(threads=threads, device=device)
    network = registry.load_part(part, model or face_parts.SHIPPED[part], store, runtime)
    with progress_bar(f"looking at {part}", results_last=True) as progress:
        report = evaluate_part(images, network, progress=progress)
    _print(report, as_json=as_json)
    write_json_report(report, out)
    exit_for_unreadable([bad.reason for bad in report.unreadable])


def _print(report: PartReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    low, high = report.figures.accuracy_interval
    rows = [
        ["pictures", f"{report.figures.n:,}"],
        ["accuracy (95 % interval)", f"{report.figures.accuracy:.2%} ({low:.1%} to {high:.1%})"],
        ["open called open", f"{report.tpr:.2%}"],
        ["closed called open", f"{report.fpr:.2%}"],
        ["area under the ROC curve", f"{report.auc:.4f}"],
        ["calibration error", f"{report.figures.ece:.3f}"],
    ]
    console = stdout()
    console.print(f"{report.model} on {printable(report.data)}", style="bold", highlight=False, markup=False)
    console.print(table(["measure", "value"], rows))
