"""A training run for age and gender: read the data, train, calibrate, export, measure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from mien.datasets.attributes import AttributeSet
from mien.datasets.base import NO_ANSWER, ImageSet, IndexArray
from mien.errors import DataError
from mien.evaluation.attributes import AttributesReport, evaluate_attributes
from mien.evaluation.calibration import fit_temperature
from mien.evaluation.expression import Cut
from mien.models.attributes import AGES, GENDERS, TASK, AttributesCard, AttributesNetwork
from mien.models.base import CropSpec
from mien.models.cards import embed_card
from mien.models.store import WeightsStore
from mien.ops.atomic import write_whole
from mien.training.backbone import Backbone
from mien.training.calibrated import threshold_for
from mien.training.crops import Crops, read_crops
from mien.training.export import export
from mien.training.fitting import LONGEST_NAME, Fitted, fit, prepare
from mien.training.framing import attributes_template
from mien.training.objectives import AgeAndGender
from mien.training.options import TrainingOptions
from mien.training.run_folder import MODEL
from mien.types import FloatArray

_SPREAD = 2.0  # years, standard deviation of the target: how well an age can be told at best
_UNCERTAIN_SHARE = 0.05
_LABELS = (*map(str, AGES), *GENDERS)
Progress = Callable[..., None]


@dataclass(frozen=True)
class AttributesData:
    """Crops to learn from, and those that choose the best epoch and calibrate.

    Attributes:
        training: with targets: shares of years, then of genders.
        validation: likewise.
        held: the validation part as pictures, to measure what was exported.
    """

    training: Crops
    validation: Crops
    held: AttributeSet


@dataclass(frozen=True, eq=False)
class TrainedAttributes:
    """What a run gives.

    Attributes:
        folder: of the run.
        card: of the model.
        report: of the exported model on the validation part.
        history: what each epoch gave, see `Trainer.run`.
    """

    folder: Path
    card: AttributesCard
    report: AttributesReport
    history: list[dict[str, float]]

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL


def read_data(
    training: AttributeSet,
    validation: AttributeSet,
    options: TrainingOptions,
    folder: Path,
    *,
    cut: Cut,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> AttributesData:
    """Read the crops of both parts; what is in the validation part too is left out of the training part.

    Args:
        training: part to learn from.
        validation: part to measure on.
        options: crop size and colour.
        folder: of the run, for crops that are too many for memory.
        cut: finds the face of a picture, and cuts it.
        skip_unreadable: leave out what cannot be read.
        progress: called with (done, total, what).

    Raises:
        DataError: a picture cannot be read, or nobody's age or gender is known.
    """

    def read(part: AttributeSet, what: str) -> Crops:
        report = None if progress is None else lambda done, total: progress(done, total, f"reading {what} part")
        return read_crops(
            _as_images(part),
            cut,
            options.crop_size,
            colour=options.colour,
            spill=folder / f"{what}-crops.npy",
            skip_unreadable=skip_unreadable,
            progress=report,
        )

    for part in (training, validation):
        _refuse_one_sided(part)
    held = read(validation, "validation")
    return AttributesData(read(training, "training").without(held), held, validation)


def _refuse_one_sided(part: AttributeSet) -> None:
    """Refuse a part without ages, or with one gender."""
    if not (part.ages != NO_ANSWER).any():
        raise DataError(f"{part.name}: no picture with an age")
    for number, gender in enumerate(GENDERS):
        if not (part.genders == number).any():
            raise DataError(f"{part.name}: no picture of gender {gender}; both are needed")


def _as_images(part: AttributeSet) -> ImageSet:
    """The same with shares as targets: a Gaussian about the age, one for the gender, zeros for what is unknown."""
    targets = np.zeros((len(part), len(_LABELS)), np.float32)
    (dated,) = np.nonzero(part.ages != NO_ANSWER)
    targets[dated, : len(AGES)] = _about(part.ages[dated])
    (known,) = np.nonzero(part.genders != NO_ANSWER)
    targets[known, len(AGES) + part.genders[known]] = 1
    return ImageSet(part.name, "age and gender", _LABELS, part.items, targets, part.genders, part.read)


def _about(ages: IndexArray) -> FloatArray:
    """(N,) ages to (N, years) shares."""
    years = np.array(AGES)
    distance = years - np.minimum(ages, AGES[-1])[:, None]
    shares = np.exp(-(distance**2) / (2 * _SPREAD**2))
    targets: FloatArray = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return targets


def train_attributes(
    data: AttributesData,
    options: TrainingOptions,
    folder: Path,
    *,
    name: str,
    cut: Cut,
    backbone: str | None = None,
    backbone_sha256: str | None = None,
    store: WeightsStore | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    on_epoch: Callable[[Mapping[str, float]], None] | None = None,
) -> TrainedAttributes:
    """Train, calibrate, export and measure a network for age and gender.

    Args:
        data: the crops.
        options: all settings.
        folder: of the run; exists.
        name: of the model, for its card.
        cut: finds the face of a picture, and cuts it; for the report.
        backbone: weights to start from, see `read_backbone`; "none" for random ones; by default the architecture's.
        backbone_sha256: what the file of the backbone must hash to.
        store: where registered weights are; the user's cache by default.
        resume: go on from the folder's checkpoint.
        progress: called with (done, total, what).
        on_epoch: called with what each epoch gave.

    Raises:
        DataError: settings and data do not fit, the loss diverges, or a file cannot be written.
        ModelError: no such architecture or backbone, or the exported model differs from the trained one.
    """
    start = prepare(options, backbone=backbone, backbone_sha256=backbone_sha256, store=store)
    card = _draft(data, options, name=name, start=start)  # what no card can say is refused now
    fitted = fit(
        data.training,
        data.validation,
        AgeAndGender(options),
        options,
        folder,
        outputs=len(_LABELS),
        start=start,
        resume=resume,
        progress=progress,
        on_epoch=on_epoch,
    )
    card = replace(card, origin=f"mien train attributes: {options.architecture}, epoch {fitted.epoch}")
    card = _calibrated(card, fitted.validation_logits, data.validation)
    return _finish(fitted, card, data, options, folder=folder, cut=cut)


def _draft(data: AttributesData, options: TrainingOptions, *, name: str, start: Backbone | None) -> AttributesCard:
    """The card, as far as it is known before the training."""
    return AttributesCard(
        name=name,
        task=TASK,
        crop=CropSpec(options.crop_size, attributes_template(options.crop_size)),
        age_temperature=1.0,
        gender_temperature=1.0,
        gender_threshold=0.0,
        architecture=options.architecture,
        training_data=f"{data.training.name}: {len(data.training):,} pictures",
        licence="that of the training data and of the weights it started from",
        limits=(
            "Says how old a face looks and how its gender is perceived, not what either is; not for deciding about"
            " people, nor for checking who is of age."
        ),
        calibration=f"{data.validation.name}: {len(data.validation):,} pictures that were not trained on",
        recipe_sha256=sha256(json.dumps(options.to_dict(), sort_keys=True).encode()).hexdigest(),
        data_sha256={"training": data.training.digest, "validation": data.validation.digest},
        parents={} if start is None else start.parents,
    )


def _calibrated(card: AttributesCard, logits: FloatArray, held: Crops) -> AttributesCard:
    """The card with temperatures at which held-out answers are most likely, and the threshold of "uncertain"."""
    n = len(AGES)
    ages, genders = logits[:, :n], logits[:, n:]
    dated, known = held.targets[:, :n].any(axis=1), held.targets[:, n:].any(axis=1)
    true_ages = np.eye(n)[np.rint(held.targets[dated][:, :n] @ np.array(AGES)).astype(np.int64)]
    gender = fit_temperature(genders[known], held.targets[known][:, n:].astype(np.float64))
    return replace(
        card,
        age_temperature=round(fit_temperature(ages[dated], true_ages), 4),
        gender_temperature=round(gender, 4),
        gender_threshold=threshold_for(genders[known], round(gender, 4), _UNCERTAIN_SHARE),
    )


def _finish(
    fitted: Fitted, card: AttributesCard, data: AttributesData, options: TrainingOptions, *, folder: Path, cut: Cut
) -> TrainedAttributes:
    """Export, measure what was exported, write its figures into its card, and embed that."""
    exported = export(fitted.network, fitted.size, card, AttributesNetwork, colour=options.colour)
    report = evaluate_attributes(data.held, AttributesNetwork(exported), cut=cut)
    card = replace(card, metrics={data.held.name[:LONGEST_NAME]: report.summary()})
    write_whole(folder / MODEL, embed_card(exported, card))
    write_whole(folder / "report.json", json.dumps(report.to_dict(), indent=2) + "\n")
    return TrainedAttributes(folder, card, report, fitted.history)
