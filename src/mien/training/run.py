"""A whole training run: read the data, train, calibrate, export, measure, and leave all of it in one folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from mien.datasets import ImageSet, has_split, open_image_set
from mien.errors import DataError, DeviceError, ModelError
from mien.evaluation.expression import Cut, ExpressionReport, SquareCutter, evaluate_expression
from mien.models._onnx import read_own
from mien.models.base import CropSpec
from mien.models.cards import embed_card, refuse_labels
from mien.models.classifier import ClassifierCard, CropClassifier
from mien.models.runtime import default_threads
from mien.models.store import WeightsStore
from mien.ops.atomic import write_whole
from mien.ops.files import printable
from mien.training.architectures import architecture
from mien.training.backbone import NONE, Backbone, load_backbone, read_backbone
from mien.training.batches import plain_inputs
from mien.training.calibrated import calibrated
from mien.training.crops import Crops, read_crops
from mien.training.export import export
from mien.training.framing import face_template
from mien.training.loop import CHECKPOINT, Trainer, predict, refuse_nothing_to_resume
from mien.training.options import TrainingOptions
from mien.training.reports import summary, write_reports
from mien.training.teachers import blend, teach

MODEL, WEIGHTS, SETTINGS = "model.onnx", "weights.safetensors", "settings.json"
_SETTLE_ON = 512
_SGD_RATE = 0.05  # where the user names none; architectures name what suits AdamW
_LONGEST_NAME = 100  # in a card
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
        history: a row for each epoch, see `loop.COLUMNS`.
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
        on_epoch: called with what each epoch gave, see `loop.COLUMNS`.

    Raises:
        DataError: settings and data do not fit, the loss diverges, or a file cannot be written.
        ModelError: no such architecture or backbone, or the exported model differs from the trained one.
    """
    _check_device(options.device)
    torch.set_num_threads(options.threads or default_threads())
    torch.manual_seed(options.seed)
    chosen = architecture(options.architecture)
    size = _input_size(options)
    start = _backbone(backbone or chosen.backbone or NONE, backbone_sha256, store or WeightsStore())
    experts = [CropClassifier(path) for path in teachers]
    card = _draft(data, options, name=name, parents=_parents(start, teachers))  # what no card can say is refused now
    lessons = _lessons(data, experts, options, progress)
    network = chosen.build(3 if options.colour else 1, size, len(data.training.labels))
    if start is not None:
        few = replace(lessons, pixels=lessons.pixels[:: -(-len(lessons) // _SETTLE_ON)])
        load_backbone(network, start, next(plain_inputs(few, size, _SETTLE_ON)))
    if options.freeze >= 0:
        _freeze(network, options)
    trainer = Trainer(
        network,
        lessons,
        data.validation,
        options,
        size=size,
        folder=folder,
        rate=options.learning_rate or (_SGD_RATE if options.optimizer == "sgd" else chosen.learning_rate),
        backbone=None if start is None else start.sha256,
    )
    if resume:
        trainer.resume()
    trained = trainer.run(progress=progress, on_epoch=on_epoch)
    write_whole(folder / WEIGHTS, save_safetensors({k: v.contiguous() for k, v in trained.state_dict().items()}))
    card = replace(card, origin=f"mien train expression: {options.architecture}, epoch {trainer.best_epoch}")
    card = calibrated(card, predict(trained, data.validation, size), data.validation.truth)
    return _finish(trained, size, card, data, options, folder=folder, history=trainer.history)


def _check_device(name: str) -> None:
    try:
        (torch.zeros(1, device=name) + 1).item()  # some devices make tensors, and compute nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(f"--device {name!r}: torch does not offer it here; use cpu") from error


def _input_size(options: TrainingOptions) -> int:
    chosen = architecture(options.architecture)
    size = options.input_size or chosen.size
    if size < chosen.smallest:
        raise DataError(f"--input-size {size}: {options.architecture} needs {chosen.smallest} pixels or more")
    return size


def _backbone(name: str, expected: str | None, store: WeightsStore) -> Backbone | None:
    return None if name == NONE else read_backbone(name, store, sha256_expected=expected)


def _freeze(network: nn.Module, options: TrainingOptions) -> None:
    trunk = getattr(network, "trunk", None)
    if trunk is None:
        raise DataError(f"--freeze: {options.architecture} has no trunk that can be frozen; mien-s and face-trunk have")
    trunk.freeze(options.freeze)


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


def _parents(start: Backbone | None, teachers: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of all weights that the model comes from, by names that a card can have."""
    parents = {} if start is None else {Path(start.name).name[:_LONGEST_NAME]: start.sha256}
    for i, path in enumerate(teachers, start=1):
        name = f"teacher {printable(path.stem)}"[:_LONGEST_NAME]
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
    network: nn.Module,
    size: int,
    card: ClassifierCard,
    data: TrainingData,
    options: TrainingOptions,
    *,
    folder: Path,
    history: list[dict[str, float]],
) -> TrainedModel:
    """Export, measure what was exported, write its figures into its card, and embed that."""
    exported = export(network, size, card, colour=options.colour)
    setup: dict[str, str | int] = {"threads": options.threads or default_threads(), "crops": data.cut}
    if data.validation.left_out:
        setup["left_out"] = data.validation.left_out
    report = evaluate_expression(data.validation.as_images(), CropClassifier(exported), setup=setup)
    card = replace(card, metrics={data.validation.name[:_LONGEST_NAME]: summary(report)})
    write_whole(folder / MODEL, embed_card(exported, card))
    write_reports(folder, report, history)
    return TrainedModel(folder, card, report, history)


def prepare_folder(folder: Path, options: TrainingOptions, *, resume: bool) -> None:
    """Make the folder of a run, or take it up again; a run that is there already is never overwritten.

    Raises:
        DataError: it holds another run, none to take up again, or cannot be written.
    """
    begun = (folder / CHECKPOINT).exists() or (folder / MODEL).exists()
    if begun and not resume:
        raise DataError(f"{folder}: holds a training run already; go on with --resume, or choose another --out")
    if resume:  # its settings stay as they were written: whether these are the same is checked with the checkpoint
        refuse_nothing_to_resume(folder)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror or error}") from error
    write_whole(folder / SETTINGS, json.dumps(options.to_dict(), indent=2) + "\n")


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make the folder of a run, and keep other runs out of it, until the block or the process ends.

    Raises:
        DataError: another run is in it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror or error}") from error
    try:
        import fcntl
    except ImportError:  # Windows: two runs in one folder are the user's to avoid
        yield
        return
    place = os.open(folder, os.O_RDONLY)  # the folder itself: a file for the lock would stay behind
    try:
        with suppress(OSError):  # a file system without locks: as on Windows
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(f"{folder}: another run is at work in it; choose another --out") from error
        yield
    finally:
        os.close(place)
