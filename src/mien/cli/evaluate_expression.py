"""`mien evaluate expression`: measure a classifier on labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mien.cli import options
from mien.cli.console import EXIT_BAD_INPUT, print_json, progress_bar, report_error, stdout
from mien.cli.targets import REPORT_FORMATS, check_report, report_page
from mien.errors import MienError
from mien.ops.atomic import write_whole

if TYPE_CHECKING:
    from rich.table import Table

    from mien.datasets.base import ImageSet, Split
    from mien.evaluation.classification import Classifier
    from mien.evaluation.expression import Cut, ExpressionReport
    from mien.models.base import CropSpec

MODEL = "mien-s"
_MOST_TOLD = 10  # pictures that cannot be read


def expression(
    *,
    data: Annotated[
        Path, typer.Argument(help="FER+ (zip or folder), FER2013 (csv), or a folder with one folder for each class.")
    ],
    model: Annotated[str, typer.Option("--model", help="Name of a model, or path of an ONNX file.")] = MODEL,
    split: Annotated[
        str | None,
        typer.Option("--split", help="train, validation or test, where the data have parts."),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Find the face and cut it; by default pictures are taken for cut faces.")
    ] = False,
    as_json: options.Json = False,
    out: Annotated[Path | None, typer.Option(help="Write the report here (.json, .md, .html).")] = None,
    confusion: Annotated[Path | None, typer.Option(help="Draw the confusion matrix here (.png, .svg, .pdf).")] = None,
    reliability: Annotated[
        Path | None, typer.Option(help="Draw here whether confidences hold (.png, .svg, .pdf).")
    ] = None,
    coverage: Annotated[
        Path | None, typer.Option(help="Draw here what leaving out uncertain answers gains (.png, .svg, .pdf).")
    ] = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    precision: options.Precision = None,
) -> None:
    """What do faces show? Accuracy, each class's precision and recall, confusion, calibration and speed.

    Pictures that cannot be read are listed, and not measured; the exit code is then 2.
    """
    from mien.evaluation.expression import evaluate_expression
    from mien.models.runtime import default_threads

    pictures = {"confusion": confusion, "reliability": reliability, "risk_coverage": coverage}
    # what can be refused at once is, not after minutes of work
    check_report(out, pictures.values(), formats=REPORT_FORMATS)
    images = open_data(data, split)
    classifier = open_classifier(model, threads=threads, device=device, precision=precision)
    cut = make_cut(classifier, threads=threads, device=device) if align else None
    crops = "detected faces" if align else "as given"
    setup: dict[str, str | int] = {"threads": threads or default_threads(), "device": device, "crops": crops}
    with progress_bar("classifying faces", results_last=True) as progress:
        report = evaluate_expression(images, classifier, cut=cut, setup=setup, progress=progress)
    _print(report, as_json=as_json)  # first: a full disk must not take what minutes of work gave
    _write_report(report, out)
    _draw(report, pictures)
    if report.unreadable:
        _tell_unreadable(report)
        raise typer.Exit(EXIT_BAD_INPUT)


def open_data(path: Path, split: str | None) -> ImageSet:
    """The labelled pictures: the seam to the data sets.

    Raises:
        DataError: they cannot be opened.
    """
    from mien.datasets import open_image_set

    if split not in (None, "train", "validation", "test"):
        raise typer.BadParameter(f"{split!r} is none of train, validation, test", param_hint="--split")
    return open_image_set(path, split=cast("Split | None", split))


def open_classifier(name_or_path: str, *, threads: int, device: str, precision: str | None = None) -> Classifier:
    """The classifier that the options ask for: the seam to the models.

    Raises:
        ModelError: it cannot be loaded.
    """
    from mien.cli.console import DownloadBars
    from mien.models.base import RuntimeOptions
    from mien.models.registry import load_classifier
    from mien.models.store import WeightsStore

    runtime = RuntimeOptions(threads=threads, device=device, precision=options.checked_precision(precision))
    return load_classifier(name_or_path, WeightsStore(progress=DownloadBars()), runtime)


def make_cut(classifier: Classifier, *, threads: int, device: str) -> Cut:
    """Finds faces with the default detector, and cuts them as the classifier's card says.

    Raises:
        MienError: the classifier does not say how its faces are cut.
    """
    crop = crop_of(classifier)
    return options.face_cut(crop.size, crop.template, threads=threads, device=device)


def crop_of(classifier: Classifier) -> CropSpec:
    """How faces are cut for a classifier.

    Raises:
        MienError: it does not say so.
    """
    crop: CropSpec | None = getattr(getattr(classifier, "card", None), "crop", None)
    if crop is None:
        raise MienError(f"{classifier.name}: does not say how faces are cut for it; leave out --align")
    return crop


def _print(report: ExpressionReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    for shown in _tables(report):
        stdout().print(shown)
    for note in report.notes:
        stdout().print(f"Note: {note}", markup=False, highlight=False)


def _tables(report: ExpressionReport) -> list[Table]:
    """The report for people."""
    from rich.markup import escape

    from mien.evaluation.report_pages import CLASS_COLUMNS, about, headline, per_class

    tables = [
        _table(("Measure", "Value"), headline(report), title=escape(about(report)), caption=escape(report.protocol)),
        _table(CLASS_COLUMNS, per_class(report.figures)),
    ]
    if len(report.figures.labels) <= 12:
        tables.append(_matrix(report))
    return tables


def _matrix(report: ExpressionReport) -> Table:
    from rich.text import Text

    from mien.ops.files import printable

    names = [printable(label) for label in report.figures.labels]
    rows: list[tuple[Any, ...]] = []
    for i, (name, counts) in enumerate(zip(names, report.figures.confusion.tolist(), strict=True)):
        cells = [Text(f"{n:,}", "bold" if i == j else "" if n else "dim") for j, n in enumerate(counts)]
        rows.append((name, *cells))
    # Answers by their first letters: eight full words do not fit on a terminal.
    return _table(("True \\ answer", *(name[:5] for name in names)), rows, title="Confusion matrix")


def _table(columns: tuple[str, ...], rows: Any, *, title: str | None = None, caption: str | None = None) -> Table:
    from rich.markup import escape
    from rich.table import Table

    made = Table(title=title, caption=caption, min_width=50)
    for i, column in enumerate(columns):
        made.add_column(escape(column), justify="right" if i else "left", no_wrap=not i)
    for row in rows:
        made.add_row(*(escape(cell) if isinstance(cell, str) else cell for cell in row))
    return made


def _write_report(report: ExpressionReport, out: Path | None) -> None:
    from mien.evaluation.classification_plots import report_pictures
    from mien.evaluation.report_pages import to_html, to_markdown

    if out is None:
        return
    page = report_page(
        report,
        out.suffix.lower(),
        to_markdown=to_markdown,
        to_html=to_html,
        pictures=lambda shown: report_pictures(shown.figures),
    )
    write_whole(out, page)


def _draw(report: ExpressionReport, pictures: dict[str, Path | None]) -> None:
    from mien.evaluation import classification_plots as plots

    draw = {
        "confusion": plots.plot_confusion,
        "reliability": plots.plot_reliability,
        "risk_coverage": plots.plot_risk_coverage,
    }
    for what, path in pictures.items():
        if path is not None:
            draw[what](report.figures, path, title=f"{report.model} on {report.data}")


def _tell_unreadable(report: ExpressionReport) -> None:
    for bad in report.unreadable[:_MOST_TOLD]:
        report_error(bad.reason if bad.item in bad.reason else f"{bad.item}: {bad.reason}")
    more = len(report.unreadable) - _MOST_TOLD
    if more > 0:
        report_error(f"and {more:,} more")
    total = report.figures.n + len(report.unreadable)
    report_error(f"{len(report.unreadable):,} of {total:,} pictures cannot be read; the figures are without them")
