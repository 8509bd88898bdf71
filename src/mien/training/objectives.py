"""What a network learns: the loss of its outputs, how an epoch is measured, and which pictures are alike."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mien.datasets.base import IndexArray
from mien.evaluation.calibration import probabilities
from mien.evaluation.classification import classification_report
from mien.models.attributes import AGES, GENDERS
from mien.training import losses
from mien.training.crops import Crops
from mien.training.framing import Framing, attributes_template, face_template
from mien.training.options import TrainingOptions
from mien.types import FloatArray


class Objective(Protocol):
    """What the training loop asks of a task."""

    @property
    def framing(self) -> Framing:
        """How faces lie in its crops."""
        ...

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Of a batch: (N, outputs) and (N, targets) to one number."""
        ...

    def score(self, logits: FloatArray, crops: Crops) -> dict[str, float]:
        """What an epoch is worth, by name: "loss" is best low, all others high."""
        ...

    def strata(self, crops: Crops) -> IndexArray:
        """(N,) which kind of picture each is, where rare kinds are shown more often."""
        ...


class Classification:
    """One class for each picture, towards shares.

    Args:
        options: loss, balance, smoothing.
        training: what is learnt from, for the frequencies of the classes.
    """

    framing: Framing = staticmethod(face_template)

    def __init__(self, options: TrainingOptions, training: Crops) -> None:
        self._smoothing = options.smoothing
        self._weights: Tensor | None = None
        if options.balance == "loss":
            frequencies = torch.from_numpy(training.targets.mean(axis=0))
            self._weights = losses.class_weights(frequencies, options.balance_power)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy towards shares, weighted."""
        weights = None if self._weights is None else self._weights.to(logits.device)
        return losses.soft_cross_entropy(logits, losses.smoothed(targets, self._smoothing), weights)

    def score(self, logits: FloatArray, crops: Crops) -> dict[str, float]:
        """Loss against the targets; accuracy and macro F1 where there is an answer."""
        answers = probabilities(logits)
        judged = crops.truth >= 0
        report = classification_report(answers[judged], crops.truth[judged], crops.labels)
        return {
            "loss": float(-(crops.targets * np.log(np.maximum(answers, 1e-12))).sum(axis=1).mean()),
            "accuracy": report.accuracy,
            "macro_f1": report.macro_f1,
        }

    def strata(self, crops: Crops) -> IndexArray:
        """The main class."""
        main: IndexArray = crops.targets.argmax(axis=1)
        return main


class AgeAndGender:
    """Age as a distribution over years, and gender, side by side; what nobody labelled counts for nothing.

    Targets are shares, (N, years and then genders), either part zeros where it is unknown. Label distribution learning
    (Gao et al. 2018, "Age estimation using expectation of label distribution learning"): cross-entropy towards a
    Gaussian about the age, and the error of the expected age.

    Args:
        options: smoothing, of gender alone.
    """

    framing: Framing = staticmethod(attributes_template)

    def __init__(self, options: TrainingOptions) -> None:
        self._smoothing = options.smoothing
        self._years = torch.tensor(AGES, dtype=torch.float32)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The sum of both."""
        n = len(AGES)
        years = self._years.to(logits.device)
        ages, genders = logits[:, :n].float(), logits[:, n:].float()
        shares = targets[:, :n]
        age = -(shares * functional.log_softmax(ages, dim=1)).sum(dim=1)
        known = shares.sum(dim=1)
        error = ((functional.softmax(ages, dim=1) @ years) - shares @ years).abs() * known
        wanted = targets[:, n:]
        wanted = wanted * (1 - self._smoothing) + self._smoothing / len(GENDERS) * wanted.sum(dim=1, keepdim=True)
        gender = -(wanted * functional.log_softmax(genders, dim=1)).sum(dim=1)
        return (age + _PER_YEAR * error + gender).mean()

    def score(self, logits: FloatArray, crops: Crops) -> dict[str, float]:
        """The loss of the validation part, the share of ages within five years, and of genders that are right."""
        n = len(AGES)
        with torch.no_grad():
            loss = self.loss(torch.from_numpy(logits), torch.from_numpy(crops.targets)).item()
        ages = probabilities(logits[:, :n]) @ np.array(AGES, np.float64)
        true, known = crops.targets[:, :n] @ np.array(AGES), crops.targets[:, :n].any(axis=1)
        labelled = crops.targets[:, n:].any(axis=1)
        right = logits[:, n:].argmax(axis=1) == crops.targets[:, n:].argmax(axis=1)
        return {
            "loss": loss,
            "age_accuracy": _share(np.abs(ages - true) <= _CLOSE, known),
            "gender_accuracy": _share(right, labelled),
        }

    def strata(self, crops: Crops) -> IndexArray:
        """The decade of life; the first five years for themselves."""
        ages = crops.targets[:, : len(AGES)] @ np.array(AGES)
        decades: IndexArray = (np.where(ages < 5, 0, 1 + ages // 10)).astype(np.int64)
        return decades


_PER_YEAR = 0.02
_CLOSE = 5.0


def _share(right: npt.ArrayLike, of: npt.ArrayLike) -> float:
    counted = np.asarray(right)[np.asarray(of)]
    return float(counted.mean()) if len(counted) else float("nan")
