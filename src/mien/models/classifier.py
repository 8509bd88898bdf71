"""Trained classifiers of face crops: one ONNX file that says all about itself, in a card of JSON.

The file takes `crops` (N, S, S, 3) uint8 RGB and gives `logits` (N, C) float32; scaling of pixels is inside. Its card
says what the classes are called, how faces are cut for it, how logits become honest confidences, and when to say
"uncertain".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from mien.models.cards import Check, CropCard, check_labels, check_temperature, check_threshold
from mien.models.crop_network import CropNetwork, probabilities
from mien.types import FloatArray, ImageArray

_LOGITS = "logits"


@dataclass(frozen=True, kw_only=True)
class ClassifierCard(CropCard):
    """What a trained classifier says about itself; its task is what its classes are, such as "expression".

    Attributes:
        labels: the C classes, in the order of its logits.
        temperature: logits are divided by it before the softmax, so that confidences are honest.
        threshold: confidence below which its answer is "uncertain"; 0 for a model that always answers.

    Raises:
        ModelError: a value is none that a card can have.
    """

    CHECKS: ClassVar[Mapping[str, Check]] = MappingProxyType(
        {
            **CropCard.CHECKS,
            "labels": check_labels,
            "temperature": check_temperature,
            "threshold": check_threshold,
        }
    )

    labels: tuple[str, ...]
    temperature: float
    threshold: float


class CropClassifier(CropNetwork[ClassifierCard]):
    """A trained classifier, ready to run; see `CropNetwork` for what it takes and raises."""

    CARD = ClassifierCard
    WHAT = "classifier"

    @property
    def labels(self) -> tuple[str, ...]:
        """The C classes, in the order of the scores."""
        return self.card.labels

    @property
    def threshold(self) -> float:
        """The confidence below which its answer is "uncertain"."""
        return self.card.threshold

    @classmethod
    def outputs_of(cls, card: ClassifierCard) -> Mapping[str, int]:
        """One, with a number for each class."""
        return {_LOGITS: len(card.labels)}

    def __call__(self, crops: ImageArray) -> FloatArray:
        """Classify.

        Args:
            crops: (N, S, S, 3) uint8 RGB, cut as the card's crop says.

        Returns:
            (N, C) float32, calibrated probabilities: rows sum to 1.

        Raises:
            ModelError: the network fails, or gives what are no logits.
            ValueError: these are no such crops.
        """
        return probabilities(self.logits(crops), self.card.temperature)

    def logits(self, crops: ImageArray) -> FloatArray:
        """What the network gives, before temperature and softmax: (N, C) float32; see `__call__`."""
        return self.run(crops)[_LOGITS]
