"""Age and gender as faces look: from faces in pictures to years and classes, by one network with two outputs.

The ONNX file takes `crops` (N, S, S, 3) uint8 RGB and gives `age` (N, years) and `gender` (N, genders), logits both.
Networks are trained by `mien train attributes` (recipes/attributes.md has the commands of the one that ships).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from mien.answers import Ages, Genders
from mien.models import trained
from mien.models.base import ModelEntry, Record, Task, WeightsFile
from mien.models.cards import Check, CropCard, check_temperature, check_threshold
from mien.models.crop_network import CropNetwork, over_faces, probabilities
from mien.types import Faces, FloatArray, ImageArray

TASK: Task = "attributes"
SHIPPED = "mien-age"
"""Name of the network that comes with mien."""

AGES: tuple[int, ...] = tuple(range(101))
"""Years that the age output tells apart; the last one stands for older people, too."""
GENDERS: tuple[str, ...] = ("male", "female")

_AGE, _GENDER = "age", "gender"


@dataclass(frozen=True, kw_only=True)
class AttributesCard(CropCard):
    """What a network for age and gender says about itself.

    Attributes:
        age_temperature: logits of the years are divided by it before the softmax, so that the spread is honest.
        gender_temperature: likewise, of the genders.
        gender_threshold: confidence below which the gender is "uncertain".

    Raises:
        ModelError: a value is none that a card can have.
    """

    CHECKS: ClassVar[Mapping[str, Check]] = MappingProxyType(
        {
            **CropCard.CHECKS,
            "age_temperature": check_temperature,
            "gender_temperature": check_temperature,
            "gender_threshold": check_threshold,
        }
    )

    age_temperature: float
    gender_temperature: float
    gender_threshold: float


@dataclass(frozen=True, eq=False)
class Attributes:
    """What the network says of N crops.

    Attributes:
        ages: (N, years) float32, calibrated probabilities of `AGES`.
        genders: (N, genders) float32, calibrated probabilities of `GENDERS`.
    """

    ages: FloatArray
    genders: FloatArray

    @property
    def years(self) -> FloatArray:
        """(N,) float32: the expected age."""
        return years_of(self.ages)[0]

    @property
    def sd(self) -> FloatArray:
        """(N,) float32: standard deviation of the distribution of ages."""
        return years_of(self.ages)[1]


def years_of(probabilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation, (N,) float32 each, of distributions over `AGES`, (N, years)."""
    years = np.array(AGES, np.float64)
    mean = probabilities @ years
    variance = np.maximum(probabilities @ years**2 - mean**2, 0)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


class AttributesNetwork(CropNetwork[AttributesCard]):
    """A trained network for age and gender; see `CropNetwork` for what it takes and raises."""

    CARD = AttributesCard
    WHAT = "network for age and gender"

    @classmethod
    def outputs_of(cls, card: AttributesCard) -> Mapping[str, int]:
        """Years and genders."""
        return {_AGE: len(AGES), _GENDER: len(GENDERS)}

    def __call__(self, crops: ImageArray) -> Attributes:
        """Estimate.

        Args:
            crops: (N, S, S, 3) uint8 RGB, cut as the card's crop says.

        Raises:
            ModelError: the network fails, or gives what are no logits.
            ValueError: these are no such crops.
        """
        logits = self.run(crops)
        return Attributes(
            probabilities(logits[_AGE], self.card.age_temperature),
            probabilities(logits[_GENDER], self.card.gender_temperature),
        )


class FaceAttributes:
    """Says how old the faces of pictures look, and how their gender is perceived.

    Args:
        record: of the network.
        network: takes crops.
        only: "age", "gender" or both: what faces get.
    """

    def __init__(self, record: Record, network: AttributesNetwork, *, only: Sequence[str] = (_AGE, _GENDER)) -> None:
        self.record = record
        self.network = network
        self._only = frozenset(only)

    def __call__(self, images: Sequence[ImageArray], faces: Sequence[Faces]) -> list[Faces]:
        """Estimate for all faces of all pictures in as few network calls as the batch size allows.

        Args:
            images: RGB uint8 (H, W, 3).
            faces: those of each picture.

        Returns:
            The same faces with their ages and genders.

        Raises:
            ModelError: the network fails, or gives what are no scores.
        """
        answers = over_faces(images, faces, self.network.card.crop, self._estimate)
        return [f.with_answers(**self._said(answer)) for f, answer in zip(faces, answers, strict=True)]

    def _estimate(self, crops: ImageArray) -> dict[str, FloatArray]:
        found = self.network(crops)
        return {_AGE: found.ages, _GENDER: found.genders}

    def _said(self, answer: Mapping[str, FloatArray]) -> dict[str, Ages | Genders]:
        said: dict[str, Ages | Genders] = {}
        if _AGE in self._only:
            said["ages"] = Ages(*years_of(answer[_AGE]))
        if _GENDER in self._only:
            said["genders"] = Genders(GENDERS, answer[_GENDER], self.network.card.gender_threshold)
        return said


def bundled(folder: Path = trained.WEIGHTS) -> ModelEntry:
    """The entry of the network for age and gender that comes with mien; see `trained.bundled`."""
    return trained.bundled(SHIPPED, TASK, AttributesNetwork, _record, folder)


def entry_from_file(path: str | Path) -> ModelEntry:
    """The entry of a network for age and gender of the user's own; see `trained.entry_from_file`."""
    return trained.entry_from_file(path, TASK, AttributesNetwork, _record)


def _record(card: AttributesCard, weights: WeightsFile) -> Record:
    """The record that a card makes."""
    return trained.record_of(
        card,
        weights,
        TASK,
        summary="says how old faces look, and how their gender is perceived",
        threshold=card.gender_threshold,
    )
