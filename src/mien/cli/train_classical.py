"""`mien train classical`: HOG and LBP with an SVM, k-NN or a forest; the same data and the same report as networks."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import note, print_json, print_rows, progress_bar
from mien.errors import MienError

# The models, numpy and rich are imported where they are needed: `mien --help` waits for none of them.
if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.datasets.base import ImageSet
    from mien.evaluation.expression import Cut, ExpressionReport
    from mien.training.classical import ClassicalModel

MODEL = "model.onnx"
_MOST_TOLD = 10


class Task(StrEnum):
    """What the classes are."""

    EXPRESSION = "expression"
    PEOPLE = "people"


class Features(StrEnum):
    """What the classifier sees."""

    HOG = "hog"
    LBP = "lbp"
    BOTH = "hog+lbp"


class ClassifierName(StrEnum):
    """What learns."""

    LINEAR_SVM = "linear-svm"
    RBF_SVM = "rbf-svm"
    KNN = "knn"
    FOREST = "forest"


def classical(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="One folder for each class or person (or train/ and validation/ of such), FER+ or FER2013.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make: model, report, picture.")],
    task: Annotated[Task, typer.Option(help="What the classes are.")] = Task.EXPRESSION,
    features: Annotated[Features, typer.Option(help="What the classifier sees.")] = Features.HOG,
    classifier: Annotated[ClassifierName, typer.Option(help="What learns.")] = ClassifierName.LINEAR_SVM,
    size: Annotated[int, typer.Option(min=24, max=256, help="Side of the crops in pixels.")] = 48,
    validation: Annotated[
        Path | None, typer.Option(help="Another data set, to calibrate and measure on; by default the part of DATA.")
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of each class set aside where there is no validation part.")
    ] = 0.1,
    limit: Annotated[int, typer.Option(min=0, help="Learn from this many pictures; 0: all.")] = 0,
    align: Annotated[bool, typer.Option("--align", help="Find and cut the largest face of each photograph.")] = False,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="Also learn from the mirrored faces.")] = False,
    penalty: Annotated[float, typer.Option(min=0, help="C of the SVMs; 0: what suits each.")] = 0.0,
    neighbours: Annotated[int, typer.Option(min=1, help="k of k-NN.")] = 15,
    trees: Annotated[int, typer.Option(min=1, max=2000, help="Of the forest.")] = 200,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out pictures that cannot be read.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all that is random.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Train a classical model: features by hand, with an SVM, k-NN or a forest.

    Makes the folder --out with model.onnx, report.json, report.md, report.html and pictures. The model runs
    wherever a trained network does. It is measured on the validation part; where there is none, on the share set aside.
    """
    from mien.training.classical import ClassicalOptions, require_libraries, train_classical
    from mien.training.features import FeatureSpec
    from mien.training.framing import face_template, people_template

    require_libraries()
    _refuse_existing(out)
    spec = FeatureSpec(features.value, size)
    settings = ClassicalOptions(
        c=penalty,
        neighbours=neighbours,
        trees=trees,
        mirrored=mirrored,
        held=validation_fraction,
        limit=limit,
    )
    training, held = _open(data, validation, task)
    template = people_template(size) if task is Task.PEOPLE else face_template(size)
    cut = options.face_cut(size, template) if align else None
    with progress_bar("reading", results_last=True) as progress:
        model = train_classical(
            training,
            held,
            features=spec,
            classifier=classifier.value,
            options=settings,
            task=task.value,
            template=template,
            cut=cut,
            skip_unreadable=skip_unreadable,
            seed=seed,
            progress=progress,
        )
        model, report = _measured(model, cut, lambda done, total: progress(done, total, "measuring"))
    _print(model, report, as_json=as_json)  # first: a full disk must not take what minutes of work gave
    _write(out, model, report)
    _tell(model)


def _refuse_existing(out: Path) -> None:
    try:
        if out.is_dir() and not any(out.iterdir()):
            return
        exists = out.exists() or out.is_symlink()
    except OSError as error:
        raise MienError(f"{out}: cannot be used ({error.strerror or error})") from error
    if exists:
        raise MienError(f"{out}: exists already; choose another --out, or remove it")


def _open(data: Path, validation: Path | None, task: Task) -> tuple[ImageSet, ImageSet | None]:
    """What is learnt from, and what calibrates and measures, where there is such a part."""
    from mien.datasets import has_split, open_image_set

    training = open_image_set(data, split="train", task=task.value)
    place = validation or data
    if has_split(place, "validation"):
        return training, open_image_set(place, split="validation", task=task.value)
    return training, None if validation is None else open_image_set(validation, task=task.value)


def _measured(
    model: ClassicalModel, cut: Cut | None, progress: Callable[[int, int], None]
) -> tuple[ClassicalModel, ExpressionReport]:
    """The report on the pictures that were not learnt from, and the model with its figures in its card."""
    from mien.evaluation.expression import evaluate_expression
    from mien.training.reports import summary

    setup = {"alignment": "detected faces"} if cut is not None else {}
    report = evaluate_expression(model.validation, model, cut=cut, setup=setup, progress=progress)
    return model.with_metrics({report.data[:100]: summary(report)}), report


def _print(model: ClassicalModel, report: ExpressionReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    from mien.evaluation.report_pages import headline

    print_rows(("Measure", "Value"), headline(report))
    note(f"{model.name}: learnt from {model.learnt:,} pictures, measured on {report.data}")


def _write(out: Path, model: ClassicalModel, report: ExpressionReport) -> None:
    """The whole folder, or nothing."""
    from mien.ops.atomic import folder_written_whole
    from mien.training.reports import write_reports

    try:
        with folder_written_whole(out) as folder:
            (folder / MODEL).write_bytes(model.data)
            write_reports(folder, report)
    except OSError as error:
        raise MienError(f"{out}: cannot be written ({error.strerror or error})") from error


def _tell(model: ClassicalModel) -> None:
    """What was left out, and what could not be done."""
    _listed(model.unreadable, "pictures cannot be read, and were left out")
    _listed(model.faceless, "pictures show no face, and were left out")
    _listed(model.single, "classes have one picture (or equal ones): learnt from, and not measured")


def _listed(items: tuple[str, ...], what: str) -> None:
    for item in items[:_MOST_TOLD]:
        note(f"  {item}")
    if items:
        more = f", {_MOST_TOLD} shown" if len(items) > _MOST_TOLD else ""
        note(f"{len(items):,} {what}{more}")
