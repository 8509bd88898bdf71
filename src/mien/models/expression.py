"""What faces show: from faces in pictures to expressions, with the network that comes with mien or one of the user's.

Networks are trained by `mien train expression` (recipes/expression.md has the commands of the one that ships).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mien.answers import Expressions
from mien.errors import ModelError
from mien.models import trained
from mien.models.base import ModelEntry, Record, Task, WeightsFile
from mien.models.classifier import ClassifierCard, CropClassifier
from mien.models.crop_network import over_faces
from mien.types import Faces, ImageArray

TASK: Task = "expression"
SHIPPED = "mien-s"
"""Name of the network that comes with mien."""


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


def bundled(folder: Path = trained.WEIGHTS) -> ModelEntry:
    """The entry of the expression network that comes with mien; see `trained.bundled`."""
    return trained.bundled(SHIPPED, TASK, CropClassifier, _record, folder)


def entry_from_file(path: str | Path) -> ModelEntry:
    """The entry of an expression network of the user's own; see `trained.entry_from_file`."""
    return trained.entry_from_file(path, TASK, CropClassifier, _record)


def _record(card: ClassifierCard, weights: WeightsFile) -> Record:
    """The record that a card makes."""
    return trained.record_of(
        card,
        weights,
        TASK,
        summary=f"tells {len(card.labels)} expressions apart",
        threshold=card.threshold,
        labels=card.labels,
        temperature=card.temperature,
        metrics_by_class=_by_class(card),
    )


def _by_class(card: ClassifierCard) -> dict[str, dict[str, dict[str, float]]]:
    """By data set and label: the figures of each class, where they have the form that `mien evaluate` gives them."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, figures in card.metrics.items():
        rows = figures.get(trained.PER_CLASS) if isinstance(figures, Mapping) else None
        if not isinstance(rows, Mapping):
            continue
        found[name] = {
            label: {metric: value for metric, value in row.items() if isinstance(value, (int, float))}
            for label, row in rows.items()
            if label in card.labels and isinstance(row, Mapping)
        }
    return found
