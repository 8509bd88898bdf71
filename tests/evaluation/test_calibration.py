from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from mien.errors import DataError
from mien.evaluation.calibration import TEMPERATURES, abstain_threshold, fit_temperature, probabilities
from mien.evaluation.metrics import reliability


def overconfident(n: int = 4000, factor: float = 3.0):
    """Logits that are `factor` times too large, and truths drawn from what they should say."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, 6)) * 1.5
    p = probabilities(logits)
    truth = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return logits * factor, truth


def cross_entropy(logits, targets, temperature):
    return -np.mean(np.sum(targets * np.log(probabilities(logits, temperature) + 1e-300), axis=1))


class TestTemperature:
    def test_finds_the_factor_and_lowers_the_calibration_error(self):
        logits, truth = overconfident()
        temperature = fit_temperature(logits, truth)
        assert temperature == pytest.approx(3, rel=0.1)

        def ece(t):
            p = probabilities(logits, t)
            return reliability(p.max(axis=1), p.argmax(axis=1) == truth).ece

        assert ece(temperature) < 0.04 < 0.1 < ece(1.0)

    def test_is_the_optimum(self):
        logits, truth = overconfident(500)
        targets = np.eye(6)[truth] * 0.9 + 0.1 / 6
        found = minimize_scalar(
            lambda t: cross_entropy(logits, targets, t), bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8}
        )
        assert fit_temperature(logits, targets) == pytest.approx(found.x, rel=1e-4)

    def test_classes_and_shares_say_the_same(self):
        logits, truth = overconfident(300)
        assert fit_temperature(logits, truth) == pytest.approx(fit_temperature(logits, np.eye(6)[truth] * 7))

    def test_pictures_without_a_target_are_left_out(self):
        logits, truth = overconfident(300)
        more = np.vstack([logits, np.full((5, 6), 100.0)])
        assert fit_temperature(more, np.append(truth, [-1] * 5)) == pytest.approx(fit_temperature(logits, truth))

    def test_large_logits_do_not_overflow(self):
        logits, truth = overconfident(200)
        assert fit_temperature(logits + 1e6, truth) == pytest.approx(fit_temperature(logits, truth), rel=1e-6)

    def test_degenerate(self):
        right = np.eye(3)[[0, 1, 2]] * 5
        assert fit_temperature(right, [0, 1, 2]) == TEMPERATURES[0]
        assert fit_temperature(right, [1, 2, 0]) == TEMPERATURES[1]
        assert fit_temperature(np.full((4, 3), 0.1), [0, 1, 2, 0]) == 1
        one_class = fit_temperature([[2.0, 0.0], [0.5, 0.0], [-1.0, 0.0]], [0, 0, 0])
        assert TEMPERATURES[0] < one_class < TEMPERATURES[1]

    def test_mistakes(self):
        for logits, targets in (
            (np.zeros((0, 3)), np.zeros(0, int)),
            (np.ones((2, 3)), [-1, -1]),
            (np.ones((2, 3)), np.zeros((2, 3))),
            ([[np.nan, 0.0]], [0]),
            ([[np.inf, 0.0]], [0]),
        ):
            with pytest.raises(DataError):
                fit_temperature(logits, targets)
        for logits, targets in (([1.0, 2.0], [0]), ([[1.0, 2.0]], [0, 1]), ([[1.0, 2.0]], [2]), ([[1.0, 2.0]], [0.5])):
            with pytest.raises(ValueError, match=r"logits|classes"):
                fit_temperature(logits, targets)


class TestAbstaining:
    def test_the_share_falls_below(self):
        confidences = np.random.default_rng(0).random(1000)
        for share in (0.0, 0.1, 0.25, 0.999):
            threshold = abstain_threshold(confidences, share)
            assert np.mean(confidences < threshold) == pytest.approx(share)

    def test_never_more_than_the_share(self):
        confidences = np.repeat([0.2, 0.9], 10)
        assert np.mean(confidences < abstain_threshold(confidences, 0.4)) == 0
        assert np.mean(confidences < abstain_threshold(confidences, 0.5)) == 0.5

    def test_all_alike(self):
        assert abstain_threshold([0.7] * 5) == 0.7
        assert abstain_threshold([1.0]) == 1.0

    def test_mistakes(self):
        for confidences in ([], [np.nan], [1.2], [-0.1, 0.5]):
            with pytest.raises(DataError):
                abstain_threshold(confidences)
        with pytest.raises(ValueError, match="share"):
            abstain_threshold([0.5], 1.0)
