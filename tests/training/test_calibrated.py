"""Temperature and threshold of a model, from answers on pictures that it did not learn from."""

import numpy as np
import pytest

from mien.evaluation.calibration import probabilities
from mien.models.base import CropSpec
from mien.models.classifier import ClassifierCard
from mien.training.calibrated import calibrated
from mien.training.framing import face_template

CARD = ClassifierCard(
    name="x", task="expression", labels=("a", "b"), crop=CropSpec(48, face_template(48)), temperature=1, threshold=0,
    architecture="cnn2", training_data="", licence="", limits="",
)  # fmt: skip


def test_few_pictures_that_are_all_right_do_not_make_it_certain():
    truth = np.arange(8) % 2
    logits = (np.eye(2)[truth] * 9).astype(np.float32)
    card = calibrated(CARD, logits, truth)
    confidence = probabilities(logits, card.temperature).max()
    assert confidence == pytest.approx(5 / 6, abs=1e-3)  # four of each class, all right: (4 + 1) / (4 + 2)
    assert confidence >= card.threshold


def test_a_threshold_is_never_rounded_above_what_it_lies_below():
    truth = np.zeros(100_000, dtype=np.int64)
    logits = np.tile(np.array([[30, 0]], np.float32), (len(truth), 1))
    card = calibrated(CARD, logits, truth)
    assert probabilities(logits[:1], card.temperature).max() > 0.99995
    assert card.threshold < 1


def test_about_a_tenth_becomes_uncertain():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 5000)
    logits = (np.eye(2)[truth] * 3 + rng.normal(0, 2, (5000, 2))).astype(np.float32)
    card = calibrated(CARD, logits, truth)
    confidences = probabilities(logits, card.temperature).max(axis=1)
    assert (confidences < card.threshold).mean() == pytest.approx(0.1, abs=0.005)
