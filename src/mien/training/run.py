"""A whole training run: read the data, train, calibrate, export, measure, and leave all of it in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from os import PathLike
from pathlib import Path

import numpy as np

from mien.datasets import ImageSet, has_split, open_image_set
from mien.errors import DataError, ModelError
from mien.evaluation.expression import Cut, ExpressionReport, SquareCutter, evaluate_expression
from mien.models._onnx import read_own
from mien.models.base import CropSpec
from mien.models.cards import embed_card, refuse_labels
from mien.models.classifier import ClassifierCard, CropClassifier
from mien.models.runtime import default_threads
from mien.models.store import WeightsStore
from mien.ops.atomic import write_whole
from mien.ops.files import printable
from mien.training.calibrated import calibrated
from mien.training.crops import Crops, read_crops
from mien.training.export import export
from mien.training.fitting import LONGEST_NAME, Fitted, fit, prepare
from mien.training.framing import face_template
from mien.training.objectives import Classification
from mien.training.options import TrainingOptions
from mien.training.reports import summary, write_reports
from mien.training.run_folder import MODEL
from mien.training.teachers import blend, teach

Progress = Callable[..., None]


@dataclass(frozen=True)
class TrainingData:
    """What a network is trained on, and what chooses among its epochs and calibrates it.

    Attributes:
        training: with targets.
        validation: with answers; no picture of `training`.
        unlabelled: faces that only teachers give targets to, or None.
        cut: how crops were made of the pictures, for the report.
    """

    training: Crops
    validation: Crops
    unlabelled: Crops | None = None
    cut: str = "as given"


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What a run gives.

    Attributes:
        folder: of the run.
        card: of the model.
        report: of the exported model on the validation part.
        history: a row for each epoch, see `Trainer.run`.
    """

    folder: Path
    card: ClassifierCard
    report: ExpressionReport
    history: list[dict[str, float]]

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL


def open_parts(
    data: str | PathLike[str], *, validation: str | PathLike[str] | None, fraction: float
) -> tuple[ImageSet, ImageSet]:
    """The training and the validation part of a data set.

    Args:
        data: as `open_image_set` reads it.
        validation: a data set of its own for validation; by default the part of `data`, and where it has none, a part
            of its training pictures, chosen by their pixels.
        fraction: of the training pictures, where they have to give the validation part.

    Raises:
        DataError: no such data set; its labels cannot be used; a part would be empty.
    """
    training = open_image_set(data, split="train")
    if validation is not None:
        held = open_image_set(validation, split="validation" if has_split(validation, "validation") else None)
    elif has_split(data, "validation"):
        held = open_image_set(data, split="validation")
    else:
        training, held = training.split(fraction)
        held = replace(held, name=f"{held.name}, a part set aside")
    if held.labels != training.labels:
        raise DataError(
            f"the validation part has the classes {', '.join(held.labels)}; training has {', '.join(training.labels)}"
        )
    try:
        refuse_labels(training.labels)
    except ModelError as error:  # which blames a card: here it is the names of the user's folders
        raise DataError(f"{training.name}: classes that no model can have ({str(error).partition(': ')[2]})") from error
    training, held = training.for_training(), held.for_measuring()
    for part, what in ((training, "training"), (held, "validation")):
        if not len(part):
            raise DataError(f"{part.name}: no picture for {what}")
    _refuse_empty_classes(training)
    return training, held


def _refuse_empty_classes(images: ImageSet | Crops) -> None:
    present = images.targets.sum(axis=0)
    empty = [label for label, weight in zip(images.labels, present, strict=True) if weight == 0]
    if empty:
        raise DataError(f"{images.name}: no picture of class {', '.join(empty)}; add some, or remove the class")


def read_data(
    training: ImageSet,
    validation: ImageSet,
    options: TrainingOptions,
    folder: Path,
    *,
    cut: Cut | None = None,
    unlabelled: ImageSet | None = None,
    face_cut: Cut | None = None,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> TrainingData:
    """Read the crops of all parts; what is in the validation part too is left out of the training part.

    Args:
        training: part to learn from.
        validation: part to measure on.
        options: crop size and colour.
        folder: of the run, for crops that are too many for memory.
        cut: finds the faces of photographs; by default the pictures are taken for crops of faces.
        unlabelled: photographs whose faces only teachers label.
        face_cut: finds those faces.
        skip_unreadable: leave out what cannot be read.
        progress: called with (done, total, what).

    Raises:
        DataError: a picture cannot be read.
    """

    def read(images: ImageSet, how: Cut, part: str, *, skip: bool) -> Crops:
        report = None if progress is None else lambda done, total: progress(done, total, f"reading {part}")
        spill = folder / f"{part.replace(' ', '-')}-crops.npy"
        return read_crops(
            images,
            how,
            options.crop_size,
            colour=options.colour,
            spill=spill,
            skip_unreadable=skip,
            progress=report,
        )

    plain = cut or SquareCutter(options.crop_size)
    held = read(validation, plain, "validation part", skip=skip_unreadable)
    learnt = read(training, plain, "training part", skip=skip_unreadable).without(held)
    _refuse_empty_classes(learnt)  # again: what was left out may have been all of a class
    return TrainingData(
        learnt,
        held,
        None if unlabelled is None else read(unlabelled, face_cut or plain, "unlabelled faces", skip=True),
        cut="as given" if cut is None else "detected faces",
    )


def train(
    data: TrainingData,
    options: TrainingOptions,
    folder: Path,
    *,
    name: str,
    backbone: str | None = None,
    backbone_sha256: str | None = None,
    teachers: Sequence[Path] = (),
    store: WeightsStore | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    on_epoch: Callable[[Mapping[str, float]], None] | None = None,
) -> TrainedModel:
    """Train, calibrate, export and measure a model.

    Args:
        data: the crops.
        options: all settings.
        folder: of the run; exists.
        name: of the model, for its card.
        backbone: weights to start from, see `read_backbone`; "none" for random ones; by default the architecture's.
        backbone_sha256: what the file of the backbone must hash to.
        teachers: ONNX files of trained models that give `options.distil` of every target.
        store: where registered weights are; the user's cache by default.
        resume: go on from the folder's checkpoint.
        progress: called with (done, total, what).
        on_epoch: called with what each epoch gave, see `Trainer.run`.

    Raises:
        DataError: settings and data do not fit, the loss diverges, or a file cannot be written.
        ModelError: no such architecture or backbone, or the exported model differs from the trained one.
    """
    start = prepare(options, backbone=backbone, backbone_sha256=backbone_sha256, store=store)
    experts = [CropClassifier(path) for path in teachers]
    parents = (start.parents if start else {}) | _teachers(teachers)
    card = _draft(data, options, name=name, parents=parents)  # what no card can say is refused now
    lessons = _lessons(data, experts, options, progress)
    fitted = fit(
        lessons,
        data.validation,
        Classification(options, lessons),
        options,
        folder,
        outputs=len(lessons.labels),
        start=start,
        resume=resume,
        progress=progress,
        on_epoch=on_epoch,
    )
    card = replace(card, origin=f"mien train expression: {options.architecture}, epoch {fitted.epoch}")
    card = calibrated(card, fitted.validation_logits, data.validation.truth)
    return _finish(fitted, card, data, options, folder=folder)


def _lessons(
    data: TrainingData, teachers: Sequence[CropClassifier], options: TrainingOptions, progress: Progress | None
) -> Crops:
    """The training part with the targets that the options ask for, and the unlabelled faces with their teachers'."""
    training = data.training
    targets = training.targets
    if options.loss == "majority":
        targets = np.eye(len(training.labels), dtype=np.float32)[targets.argmax(axis=1)]
    if not teachers:
        if data.unlabelled is not None:
            raise DataError("--unlabelled needs a --teacher to label the faces")
        return replace(training, targets=targets)
    pixels = training.pixels
    if data.unlabelled is not None:
        pixels = np.concatenate([pixels, data.unlabelled.pixels])
        unknown = np.zeros((len(data.unlabelled), len(training.labels)), np.float32)
        targets = np.concatenate([targets, unknown])
    lessons = replace(training, pixels=pixels, targets=targets, truth=targets.argmax(axis=1))
    report = None if progress is None else lambda done, total: progress(done, total, "asking the teachers")
    taught = teach(lessons, teachers, progress=report)
    return replace(lessons, targets=blend(targets, taught, options.distil))


def _teachers(paths: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of each teacher, by names that a card can have."""
    parents: dict[str, str] = {}
    for i, path in enumerate(paths, start=1):
        name = f"teacher {printable(path.stem)}"[:LONGEST_NAME]
        digest = sha256(read_own(path)[1]).hexdigest()
        parents[f"teacher {i}" if name in parents else name] = digest  # every run calls its model model.onnx
    return parents


def _draft(data: TrainingData, options: TrainingOptions, *, name: str, parents: Mapping[str, str]) -> ClassifierCard:
    """The card, as far as it is known before the training."""
    others = "" if data.unlabelled is None else f", and {len(data.unlabelled):,} faces labelled by teachers"
    return ClassifierCard(
        name=name,
        task="expression",
        labels=data.training.labels,
        crop=CropSpec(options.crop_size, face_template(options.crop_size)),
        temperature=1.0,
        threshold=0.0,
        architecture=options.architecture,
        training_data=f"{data.training.name}: {len(data.training):,} pictures{others}",
        licence="that of the training data and of the weights it started from",
        limits=(
            "Says what a face shows, not what a person feels; not for judging, diagnosing or deciding about people."
        ),
        calibration=f"{data.validation.name}: {len(data.validation):,} pictures that were not trained on",
        recipe_sha256=sha256(json.dumps(options.to_dict(), sort_keys=True).encode()).hexdigest(),
        data_sha256={"training": data.training.digest, "validation": data.validation.digest},
        parents=parents,
    )


def _finish(
    fitted: Fitted, card: ClassifierCard, data: TrainingData, options: TrainingOptions, *, folder: Path
) -> TrainedModel:
    """Export, measure what was exported, write its figures into its card, and embed that."""
    exported = export(fitted.network, fitted.size, card, CropClassifier, colour=options.colour)
    setup: dict[str, str | int] = {"threads": options.threads or default_threads(), "crops": data.cut}
    if data.validation.left_out:
        setup["left_out"] = data.validation.left_out
    report = evaluate_expression(data.validation.as_images(), CropClassifier(exported), setup=setup)
    card = replace(card, metrics={data.validation.name[:LONGEST_NAME]: summary(report)})
    write_whole(folder / MODEL, embed_card(exported, card))
    write_reports(folder, report, fitted.history)
    return TrainedModel(folder, card, report, fitted.history)
