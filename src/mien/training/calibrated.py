"""What makes confidences honest, for deep and classical models alike: the temperature, and when to say "uncertain"."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mien.datasets.base import IndexArray
from mien.evaluation.calibration import abstain_threshold, fit_temperature, probabilities
from mien.models.classifier import ClassifierCard
from mien.types import FloatArray

UNCERTAIN_SHARE = 0.1
"""Share of the validation faces whose answer becomes "uncertain"."""
_DIGITS = 1e4


def calibrated(card: ClassifierCard, logits: FloatArray, truth: IndexArray) -> ClassifierCard:
    """The card with the temperature at which held-out answers are most likely, and the threshold of "uncertain".

    Args:
        card: of the model.
        logits: (N, C) of pictures that were not learnt from.
        truth: (N,) their classes.
    """
    temperature = round(fit_temperature(logits, _doubtful(truth, len(card.labels))), 4)
    return replace(card, temperature=temperature, threshold=threshold_for(logits, temperature, UNCERTAIN_SHARE))


def threshold_for(logits: FloatArray, temperature: float, share: float) -> float:
    """The confidence under which that share of the held-out answers, (N, C) logits, lies."""
    confidences = np.minimum(probabilities(logits, temperature).max(axis=1), 1.0)
    # Rounded down: a model that is always sure would otherwise have a threshold of 1, and never answer.
    return math.floor(abstain_threshold(confidences, share) * _DIGITS) / _DIGITS


def _doubtful(truth: IndexArray, classes: int) -> npt.NDArray[np.float64]:
    """(N, C) Platt's targets (1999): not 1, but (n + 1) / (n + 2) for a class of n pictures.

    So a few pictures that are all answered right do not make the model certain.
    """
    counts = np.bincount(truth, minlength=classes).astype(np.float64)[truth]
    doubt = 1 / (counts + 2)
    targets = np.repeat(doubt[:, None] / (classes - 1), classes, axis=1)
    targets[np.arange(len(targets)), truth] = 1 - doubt
    return targets
