"""What faces show: from faces in pictures to expressions, with the network that comes with mien or one of the user's.

Networks are trained by `mien train expression` (recipes/expression.md has the commands of the one that ships).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.answers import Expressions
from mien.errors import ModelError, WeightsError
from mien.models import _onnx
from mien.models.base import ModelEntry, Record, RuntimeOptions, WeightsFile
from mien.models.cards import read_card_beside
from mien.models.classifier import ClassifierCard, CropClassifier
from mien.models.crop_network import over_faces
from mien.types import Faces, ImageArray

TASK = "expression"
SHIPPED = "mien-s"
"""Name of the network that comes with mien."""

_PER_CLASS = "per_class"
_WEIGHTS = Path(__file__).with_name("weights")


class FaceClassifier:
    """Names the expression of the faces of pictures.

    Args:
        record: of the network.
        network: classifies crops.
    """

    def __init__(self, record: Record, network: CropClassifier) -> None:
        if network.card.task != TASK:
            raise ModelError(f"model {record.name!r} is for {network.card.task!r}, not for {TASK!r}")
        self.record = record
        self.network = network

    def __call__(self, images: Sequence[ImageArray], faces: Sequence[Faces]) -> list[Faces]:
        """Classify all faces of all pictures in as few network calls as the batch size allows.

        Args:
            images: RGB uint8 (H, W, 3).
            faces: those of each picture.

        Returns:
            The same faces with their expressions.

        Raises:
            ModelError: the network fails, or gives what are no scores.
        """
        network = self.network
        answers = over_faces(images, faces, network.card.crop, lambda crops: {TASK: network(crops)})
        return [
            f.with_answers(expressions=Expressions(network.labels, answer[TASK], network.threshold))
            for f, answer in zip(faces, answers, strict=True)
        ]


def bundled(folder: Path = _WEIGHTS) -> ModelEntry:
    """The entry of the expression network that comes with mien.

    Raises:
        ModelError: its card is missing or damaged.
    """
    path = folder / f"{SHIPPED}.json"
    card, weights = read_card_beside(path, ClassifierCard)
    if card.task != TASK or card.name != SHIPPED:
        raise ModelError(f"{path} is the card of {card.name!r} for {card.task!r}")
    return ModelEntry(_record(card, weights), CropClassifier)


def entry_from_file(path: str | Path) -> ModelEntry:
    """A model entry for an expression network of the user's own, as `mien train expression` writes them.

    The model's name carries the start of the file's hash, so that two files are never taken for one.

    Args:
        path: of the ONNX file; may start with `~`.

    Raises:
        WeightsError: no such file, or not an ONNX file that onnxruntime can run.
        ModelError: not a classifier that mien trained, or for something else.
    """
    path, data = _onnx.read_own(path)
    network = CropClassifier(path, RuntimeOptions(threads=1))
    if network.card.task != TASK:
        raise ModelError(f"{path} is for {network.card.task!r}, not for {TASK!r}")
    try:
        network.logits(np.zeros((1, network.size, network.size, 3), dtype=np.uint8))
    except ModelError as error:
        raise WeightsError(f"{path}: {error}") from error
    weights = _onnx.own_weights(path, data)
    record = _record(network.card, weights)
    return ModelEntry(replace(record, name=f"{TASK}:{path.stem}@{weights.sha256[:8]}"), CropClassifier)


def _record(card: ClassifierCard, weights: WeightsFile) -> Record:
    """The record that a card makes."""
    return Record(
        name=card.name,
        task="expression",
        summary=card.summary or f"tells {len(card.labels)} expressions apart",
        weights=weights,
        licence_code="Apache-2.0",
        licence_weights=card.licence,
        commercial_use=card.commercial_use,
        origin=card.origin or f"trained with mien; {card.architecture}",
        training_data=card.training_data,
        limits=card.limits,
        crop=card.crop,
        input_notes="RGB uint8 0..255, no mean or scale (both inside the graph)",
        threshold=card.threshold,
        labels=card.labels,
        architecture=card.architecture,
        temperature=card.temperature,
        calibrated_on=card.calibration,
        parents=card.parents,
        metrics=dict(figures_of(card.metrics)),
        metrics_by_class=_by_class(card),
    )


def figures_of(metrics: Mapping[str, Any], *above: str) -> Iterator[tuple[str, str]]:
    """Every figure but those of single classes, under its full name."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            if name != _PER_CLASS:
                yield from figures_of(value, *above, name)
        else:
            yield ", ".join((*above, name.replace("_", " "))), value if isinstance(value, str) else f"{value:.4g}"


def _by_class(card: ClassifierCard) -> dict[str, dict[str, dict[str, float]]]:
    """By data set and label: the figures of each class, where they have the form that `mien evaluate` gives them."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, figures in card.metrics.items():
        rows = figures.get(_PER_CLASS) if isinstance(figures, Mapping) else None
        if not isinstance(rows, Mapping):
            continue
        found[name] = {
            label: {metric: value for metric, value in row.items() if isinstance(value, (int, float))}
            for label, row in rows.items()
            if label in card.labels and isinstance(row, Mapping)
        }
    return found
