from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mien.errors import DataError
from mien.evaluation.classification import classification_report, risk_coverage

LABELS = ("a", "b", "c")


def certain(*answers: int, classes: int = 3):
    return np.eye(classes)[list(answers)]


def noisy(n: int = 500, classes: int = 5, seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), truth] += 1.2
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True), truth, [f"class {i}" for i in range(classes)]


class TestAgainstScikitLearn:
    def test_every_figure(self):
        sklearn = pytest.importorskip("sklearn.metrics")
        p, truth, labels = noisy()
        ours, answer = classification_report(p, truth, labels), p.argmax(axis=1)
        precision, recall, f1, support = sklearn.precision_recall_fscore_support(truth, answer, zero_division=0)
        assert ours.accuracy == pytest.approx(sklearn.accuracy_score(truth, answer))
        assert ours.balanced_accuracy == pytest.approx(sklearn.balanced_accuracy_score(truth, answer))
        assert ours.macro_f1 == pytest.approx(sklearn.f1_score(truth, answer, average="macro"))
        assert ours.nll == pytest.approx(sklearn.log_loss(truth, p))
        assert ours.brier == pytest.approx(((p - np.eye(5)[truth]) ** 2).sum(axis=1).mean())
        np.testing.assert_array_equal(ours.confusion, sklearn.confusion_matrix(truth, answer))
        figures = list(ours.per_class.values())
        np.testing.assert_allclose([f.precision for f in figures], precision)
        np.testing.assert_allclose([f.recall for f in figures], recall)
        np.testing.assert_allclose([f.f1 for f in figures], f1)
        assert [f.support for f in figures] == support.tolist()

    def test_class_without_support_is_left_out_of_the_means(self):
        sklearn = pytest.importorskip("sklearn.metrics")
        truth, answer = np.array([0, 0, 1, 1]), [0, 2, 1, 1]
        ours = classification_report(certain(*answer), truth, LABELS)
        assert ours.lacking == ("c",)
        assert ours.macro_f1 == pytest.approx(sklearn.f1_score(truth, answer, labels=[0, 1], average="macro"))
        assert ours.balanced_accuracy == pytest.approx(0.75)
        assert math.isnan(ours.per_class["c"].recall)
        assert ours.to_dict()["per_class"]["c"] == {"precision": 0.0, "support": 0}


class TestByHand:
    def test_unanswered_pictures_are_errors(self):
        report = classification_report(certain(0, 1), [0, 1], LABELS, unanswered=[1, 1])
        assert (report.n, report.unanswered, report.accuracy) == (4, 2, 0.5)
        assert report.per_class["b"].recall == pytest.approx(1 / 3)
        assert report.per_class["b"].precision == 1
        assert report.per_class["b"].f1 == pytest.approx(0.5)
        assert report.confusion.sum() == 2

    def test_calibration_error(self):
        p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
        report = classification_report(p, [0, 1, 0, 0], ["a", "b"])
        assert report.ece == pytest.approx(0.5 * abs(0.9 - 0.5) + 0.5 * abs(0.6 - 1.0))
        assert report.reliability.weight.sum() == pytest.approx(1)
        assert len(report.reliability.weight) == 15

    def test_abstaining(self):
        p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.5, 0.5]])
        report = classification_report(p, [0, 0, 1, 1], ["a", "b"], threshold=0.75)
        assert (report.uncertain, report.accuracy_on_rest) == (0.5, 1.0)
        np.testing.assert_allclose(report.risk_coverage.coverage, [0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(report.risk_coverage.accuracy, [1, 1, 2 / 3, 0.5])
        assert report.risk_coverage.accuracy_at(0.8) == pytest.approx(2 / 3)

    def test_confidence_at_the_threshold_is_answered(self):
        assert classification_report([[0.75, 0.25]], [0], ["a", "b"], threshold=0.75).uncertain == 0

    def test_ties_are_taken_together(self):
        curve = risk_coverage([0.9, 0.9, 0.5], [True, False, True])
        np.testing.assert_allclose(curve.coverage, [2 / 3, 1])
        assert math.isnan(curve.accuracy_at(0.5))

    def test_all_uncertain(self):
        report = classification_report([[0.6, 0.4]], [0], ["a", "b"], threshold=0.99)
        assert report.uncertain == 1
        assert "accuracy_on_rest" not in report.to_dict()["uncertain"]

    def test_one_class_and_all_right(self):
        report = classification_report(np.ones((3, 1)), [0, 0, 0], ["only"])
        assert (report.accuracy, report.macro_f1, report.ece, report.nll) == (1, 1, 0, 0)

    def test_json_is_strict(self):
        p, truth, labels = noisy(50)
        text = json.dumps(classification_report(p, truth, labels, 0.4).to_dict(), allow_nan=False)
        out = json.loads(text)
        assert out["labels"] == labels
        assert np.array(out["confusion"]).sum() == 50
        assert {"threshold", "share", "accuracy_on_rest"} <= set(out["uncertain"])


class TestMistakes:
    def test_nothing_to_measure(self):
        with pytest.raises(DataError, match="nothing to measure"):
            classification_report(np.zeros((0, 3)), np.zeros(0, int), LABELS, unanswered=[1])

    @pytest.mark.parametrize(
        ("p", "truth", "labels"),
        [
            ([[math.nan, 1, 0]], [0], LABELS),
            ([[0.5, 0.1, 0.1]], [0], LABELS),
            ([[1.5, -0.5, 0]], [0], LABELS),
            ([[1, 0, 0]], [3], LABELS),
            ([[1, 0, 0]], [-1], LABELS),
            ([[1, 0, 0]], [0.0], LABELS),
            ([[1, 0, 0]], [0, 0], LABELS),
            ([[1, 0, 0]], [0], ("a", "b")),
            ([[1, 0, 0]], [0], ("a", "a", "b")),
        ],
    )
    def test_what_cannot_be_measured(self, p, truth, labels):
        with pytest.raises(ValueError, match="must"):
            classification_report(p, truth, labels)
