from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mien.evaluation import metrics

# No deadline: a busy machine is not a wrong result.
few = settings(max_examples=50, deadline=None)

# A coarse grid of similarities, so that ties within and across the two kinds are the rule.
scored = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=st.integers(-5, 5).map(lambda k: k / 5)),
        arrays(np.bool_, n).filter(lambda a: bool(a.any() and not a.all())),
    )
)


def gaussians(n: int = 2000, gap: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    same = np.arange(2 * n) < n
    return rng.normal(np.where(same, 0.5 + gap, 0.5), 0.1), same


class TestRoc:
    @few
    @given(scored)
    def test_each_point_is_the_error_rates_at_its_threshold(self, data):
        s, same = data
        curve = metrics.roc(s, same)
        assert curve.thresholds[0] == np.inf
        assert len(curve.thresholds) == len(set(s)) + 1
        assert (np.diff(curve.thresholds) < 0).all()
        for t, fmr, tmr in zip(curve.thresholds, curve.fmr, curve.tmr, strict=True):
            assert fmr == pytest.approx(np.mean(s[~same] >= t))
            assert tmr == pytest.approx(np.mean(s[same] >= t))

    @few
    @given(scored)
    def test_auc_is_the_mann_whitney_statistic(self, data):
        s, same = data
        diff = s[same][:, None] - s[~same][None, :]
        expected = np.mean((diff > 0) + 0.5 * (diff == 0))
        assert metrics.auc(metrics.roc(s, same)) == pytest.approx(expected)

    def test_auc_agrees_with_scipy(self):
        stats = importlib.import_module("scipy.stats")
        s, same = gaussians()
        u = stats.mannwhitneyu(s[same], s[~same]).statistic / (same.sum() * (~same).sum())
        assert metrics.auc(metrics.roc(s, same)) == pytest.approx(u)

    def test_minus_infinity_never_matches(self):
        curve = metrics.roc([-np.inf, 0.9, 0.1, 0.2], [True, True, False, False])
        assert metrics.auc(curve) == 0.5
        assert metrics.tar_at_zero(curve) == 0.5

    @pytest.mark.parametrize(
        ("s", "same"),
        [([0.1, 0.2], [True, True]), ([0.1], [True, False]), ([np.nan, 0.1], [True, False]), ([], [])],
    )
    def test_refuses_what_has_no_curve(self, s, same):
        with pytest.raises(ValueError, match=r"needed|\(N,\)|NaN"):
            metrics.roc(s, same)


class TestEer:
    @few
    @given(scored)
    def test_lies_between_the_error_rates_around_it(self, data):
        curve = metrics.roc(*data)
        rate = metrics.eer(curve)
        fnmr = 1 - curve.tmr
        k = int(np.argmax(fnmr <= curve.fmr))
        assert curve.fmr[k - 1] - 1e-12 <= rate <= curve.fmr[k] + 1e-12
        assert fnmr[k] - 1e-12 <= rate <= fnmr[k - 1] + 1e-12

    def test_known_values(self):
        assert metrics.eer(metrics.roc([0.9, 0.8, 0.2, 0.1], [True, True, False, False])) == 0
        assert metrics.eer(metrics.roc([0.9, 0.3, 0.5, 0.1], [True, True, False, False])) == 0.5
        assert metrics.eer(metrics.roc([0.1, 0.9], [True, False])) == 1
        assert metrics.eer(metrics.roc([0.5, 0.5], [True, False])) == 0.5

    def test_of_two_gaussians_is_the_tail_at_their_middle(self):
        stats = importlib.import_module("scipy.stats")
        s, same = gaussians(n=100_000)
        assert metrics.eer(metrics.roc(s, same)) == pytest.approx(stats.norm.sf(1.5), abs=1.5e-3)


class TestTarAtFar:
    @few
    @given(scored, st.sampled_from([0.5, 0.34, 0.2]))
    def test_is_the_best_over_all_thresholds(self, data, far):
        s, same = data
        got = metrics.tar_at_far(metrics.roc(s, same), {"far": far})
        allowed = [t for t in [*s, 2.0] if np.mean(s[~same] >= t) <= far + 1e-9]
        assert got["far"] == pytest.approx(max(np.mean(s[same] >= t) for t in allowed))

    def test_a_rate_below_one_expected_false_match_says_no_more_than_none_among_them(self):
        s, same = gaussians(n=999)
        curve = metrics.roc(s, same)
        assert [metrics.measurable(999, rate) for rate in (1e-2, 1e-3)] == [True, False]
        assert metrics.measurable(1000, 1e-3)
        assert metrics.tar_at_far(curve)["1e-3"] == metrics.tar_at_far(curve)["1e-4"] == metrics.tar_at_zero(curve)
        assert metrics.tar_at_far(curve)["1e-2"] > metrics.tar_at_zero(curve)

    def test_exactly_the_allowed_number_of_false_matches(self):
        impostors = np.arange(1000) / 1000  # 10 of them at or above 0.990
        s = np.concatenate([[0.9905, 0.9885], impostors])
        same = np.arange(1002) < 2
        assert metrics.tar_at_far(metrics.roc(s, same)) == {"1e-2": 0.5, "1e-3": 0.0, "1e-4": 0.0}


class TestBestThreshold:
    @few
    @given(scored)
    def test_no_threshold_is_better(self, data):
        s, same = data

        def accuracy(t):
            return np.mean((s >= t) == same)

        best = accuracy(metrics.best_threshold(s, same))
        assert best == pytest.approx(max(accuracy(t) for t in [*s, 2.0]))

    def test_is_in_the_middle_of_the_widest_gap(self):
        # Cuts between 0.9|0.8 and 0.6|0.2 are equally good; the second gap is wider.
        s = [0.9, 0.8, 0.6, 0.2]
        assert metrics.best_threshold(s, [True, False, True, False]) == pytest.approx(0.4)

    def test_neighbouring_floats_still_separate(self):
        low = 0.5
        high = float(np.nextafter(low, 1))
        t = metrics.best_threshold([high, low], [True, False])
        assert low < t <= high


class TestThresholdAtFmr:
    @few
    @given(
        arrays(np.float64, st.integers(5, 60), elements=st.integers(-5, 5).map(lambda k: k / 5)),
        st.sampled_from([0.2, 0.25, 0.5, 0.9]),
        st.sampled_from([np.float64, np.float32]),
    )
    def test_never_exceeds_the_rate_and_is_tight(self, impostors, fmr, dtype):
        s = impostors.astype(dtype)
        t = metrics.threshold_at_fmr(s, fmr)
        allowed = int(len(s) * fmr + 1e-9)
        assert np.sum(s >= t) <= allowed
        below = s[s < t].max()
        assert np.sum(s >= below) > allowed

    def test_a_tie_that_does_not_fit_is_left_out_whole(self):
        s = np.array([0.9] * 3 + [0.1] * 97)
        assert np.sum(s >= metrics.threshold_at_fmr(s, 0.02)) == 0
        assert np.sum(s >= metrics.threshold_at_fmr(s, 0.03)) == 3

    def test_refuses_a_rate_it_cannot_measure(self):
        with pytest.raises(ValueError, match="999 impostor pairs cannot measure"):
            metrics.threshold_at_fmr(np.linspace(0, 1, 999), 1e-3)
        metrics.threshold_at_fmr(np.linspace(0, 1, 1000), 1e-3)

    def test_refuses_non_finite(self):
        with pytest.raises(ValueError, match="finite"):
            metrics.threshold_at_fmr([0.1, -np.inf, 0.2], 0.5)


def test_error_rates_count_both_kinds():
    s, same = [0.9, 0.3, 0.5, 0.5, 0.1, -np.inf], [True, True, True, False, False, True]
    assert metrics.error_rates(s, same, 0.5) == (0.5, 0.5)
    assert metrics.error_rates(s, same, -np.inf) == (1.0, 0.25)


class TestFitLogistic:
    def test_agrees_with_a_general_optimiser(self):
        optimize = importlib.import_module("scipy.optimize")
        s, same = gaussians(n=300, gap=0.15)
        n, m = same.sum(), (~same).sum()
        target = np.where(same, (n + 1) / (n + 2), 1 / (m + 2))
        weight = np.where(same, 0.5 / n, 0.5 / m)

        def loss(x):
            z = x[0] * s + x[1]
            return np.sum(weight * (np.logaddexp(0, z) - target * z))

        expected = optimize.minimize(
            loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 5000}
        ).x
        assert metrics.fit_logistic(s, same) == pytest.approx(expected, rel=1e-4)

    def test_recovers_the_truth_of_equal_gaussians(self):
        # log odds of N(0.8, 0.1) against N(0.5, 0.1) are 30 s - 19.5
        slope, intercept = metrics.fit_logistic(*gaussians(n=50_000))
        assert slope == pytest.approx(30, rel=0.03)
        assert -intercept / slope == pytest.approx(0.65, abs=2e-3)

    def test_is_blind_to_the_share_of_genuine_pairs(self):
        s, same = gaussians(n=20_000, gap=0.2)
        keep = ~same | (np.arange(len(s)) % 10 == 0)
        full, thinned = metrics.fit_logistic(s, same), metrics.fit_logistic(s[keep], same[keep])
        assert thinned[0] == pytest.approx(full[0], rel=0.1)
        assert metrics.logistic(0.6, *thinned) == pytest.approx(float(metrics.logistic(0.6, *full)), abs=0.03)

    def test_stays_finite_when_the_kinds_do_not_overlap(self):
        s = np.concatenate([np.linspace(0.98, 0.99, 50), np.linspace(0.90, 0.91, 50)])
        slope, intercept = metrics.fit_logistic(s, np.arange(100) < 50)
        p = metrics.logistic(s, slope, intercept)
        assert math.isfinite(slope)
        assert p[:50].min() > 0.9
        assert p[50:].max() < 0.1

    def test_says_one_half_when_similarity_says_nothing(self):
        slope, intercept = metrics.fit_logistic([0.5] * 20, [True, False] * 10)
        assert metrics.logistic(0.5, slope, intercept) == pytest.approx(0.5)


def test_logistic_does_not_overflow():
    assert metrics.logistic([-1e5, 0, 1e5], 1.0, 0.0).tolist() == [0.0, 0.5, 1.0]


class TestUncertainty:
    def test_standard_error_is_scipys(self):
        stats = importlib.import_module("scipy.stats")
        folds = np.random.default_rng(1).normal(0.98, 0.01, 10)
        assert metrics.standard_error(folds) == pytest.approx(stats.sem(folds))
        assert math.isnan(metrics.standard_error([0.5]))

    @pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 600), (3, 3000), (7, 10), (10, 10)])
    @pytest.mark.parametrize("confidence", [0.9, 0.95])
    def test_wilson_is_scipys(self, k, n, confidence):
        stats = importlib.import_module("scipy.stats")
        interval = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
        assert metrics.wilson_interval(k, n, confidence) == pytest.approx((interval.low, interval.high), abs=1e-12)

    def test_wilson_refuses_what_is_no_rate(self):
        with pytest.raises(ValueError, match="4 of 3"):
            metrics.wilson_interval(4, 3)


class TestProbability:
    def test_brier_known_values(self):
        assert metrics.brier([1, 0], [True, False]) == 0
        assert metrics.brier([0, 1], [True, False]) == 1
        assert metrics.brier([0.5] * 5, [True, False, False, False, False]) == pytest.approx(0.25)

    def test_brier_weighs_the_kinds_evenly(self):
        assert metrics.brier([0.9, 0.2, 0.2, 0.2], [True, False, False, False]) == pytest.approx(
            0.5 * 0.01 + 0.5 * 0.04
        )

    def test_ece_of_honest_probabilities_is_small(self):
        rng = np.random.default_rng(0)
        p = rng.uniform(size=40_000)
        same = rng.uniform(size=p.size) < p
        assert metrics.expected_calibration_error(p, same) < 0.01
        assert metrics.expected_calibration_error(np.where(p > 0.5, 1, 0), same) == pytest.approx(0.25, abs=0.01)

    def test_ece_does_not_let_the_sides_cancel(self):
        p = [0.8] * 10 + [0.2] * 10  # says 0.8 and 0.2, is always right
        assert metrics.expected_calibration_error(p, [True] * 10 + [False] * 10) == pytest.approx(0.2)

    def test_ece_takes_the_ends(self):
        assert metrics.expected_calibration_error([1.0, 0.0], [True, False]) == 0
