from __future__ import annotations

import json
import math
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from mien.errors import DataError
from mien.evaluation import metrics
from mien.evaluation.pairs import Pairs
from mien.evaluation.verification import _folds, evaluate_verification, score_pairs
from mien.models.base import Calibration


class Described:
    """Embeddings known in advance: (1,) numbers, whose similarity is minus their distance."""

    model = "toy"
    setup = MappingProxyType({"detector": "none"})

    def __init__(self, values, calibration=None):
        self.values = values
        self.calibration = calibration
        self.asked: list[Path] = []

    def __call__(self, paths, *, progress=None):
        self.asked += paths
        for done in range(len(paths)):
            if progress:
                progress(done + 1, len(paths))
        return [None if (v := self.values[int(p.stem)]) is None else np.array([v], np.float32) for p in paths]

    def similarity(self, a, b):
        return -np.abs(a - b)[:, 0]


def case(rows, calibration=None):
    """Pairs of given similarity: rows of (similarity or None, same, fold), two pictures each."""
    values = [v for s, _, _ in rows for v in (0.0, None if s is None else -s)]
    n = len(rows)
    pairs = Pairs(
        source="toy.txt",
        paths=tuple(Path(f"{i}.jpg") for i in range(2 * n)),
        first=np.arange(0, 2 * n, 2),
        second=np.arange(1, 2 * n, 2),
        same=np.array([same for _, same, _ in rows], dtype=bool),
        fold=np.array([fold for _, _, fold in rows]),
    )
    return pairs, Described(values, calibration)


def evaluate(rows, calibration=None):
    return evaluate_verification(*case(rows, calibration))


# Fold 0 alone would choose -0.5 and fold 1 alone -2.5: each misjudges one pair of the other.
TWO_FOLDS = [(-0.2, True, 0), (-0.8, False, 0), (-2, True, 1), (-3, False, 1)]


class TestFolds:
    def test_the_threshold_of_a_fold_comes_from_the_others(self):
        report = evaluate(TWO_FOLDS)
        assert report.fold_thresholds == pytest.approx((-2.5, -0.5))
        assert report.fold_accuracies == (0.5, 0.5)
        assert report.accuracy == 0.5
        assert "2 folds" in report.protocol

    def test_the_mean_is_over_folds_and_has_their_standard_error(self):
        third = [(-0.1, True, 2), (-9, False, 2), (-8, False, 2)]
        report = evaluate([*TWO_FOLDS, *third])
        assert len(report.fold_accuracies) == 3
        assert report.fold_accuracies[2] == 1
        assert report.accuracy == pytest.approx(np.mean(report.fold_accuracies))
        assert report.accuracy_se == pytest.approx(np.std(report.fold_accuracies, ddof=1) / math.sqrt(3))

    def test_random_folds_against_a_plain_loop(self):
        rng = np.random.default_rng(3)
        rows = [(-abs(rng.normal(1 if i % 2 else 2, 0.5)), bool(i % 2), i // 60) for i in range(600)]
        report = evaluate(rows)
        s, same, fold = (np.array(column) for column in zip(*rows, strict=True))
        s = s.astype(np.float32)
        for k in range(10):
            best = max(np.mean((s >= t) == same, where=fold != k) for t in s)
            t = report.fold_thresholds[k]
            assert np.mean((s >= t) == same, where=fold != k) == pytest.approx(best)
            assert np.mean((s >= t) == same, where=fold == k) == pytest.approx(report.fold_accuracies[k])

    def test_one_fold_is_cut_into_ten_and_says_so(self):
        rows = [(-1 - i / 100, True, 0) for i in range(30)] + [(-5 - i / 100, False, 0) for i in range(30)]
        report = evaluate(rows)
        assert len(report.fold_accuracies) == 10
        assert report.accuracy == 1
        assert report.protocol.startswith("one fold, threshold by 10-fold cross-validation inside it")

    def test_one_fold_does_not_choose_its_threshold_on_what_it_judges(self):
        # The similarity says nothing; the best threshold in hindsight is right on 75 %.
        rows = [(-1.0, True, 0), (-3.0, True, 0), (-2.0, False, 0), (-4.0, False, 0)]
        report = evaluate(rows)
        assert len(report.fold_accuracies) == 2
        # Parts {-1 | -2} and {-3 | -4}: -1.5 refuses both of the second, -3.5 accepts both of the first.
        assert report.fold_accuracies == (0.5, 0.5)

    def test_one_fold_keeps_neighbours_in_one_part(self):
        rows = [(-1 - i, True, 0) for i in range(20)] + [(-50 - i, False, 0) for i in range(20)]
        _, fold = _folds(case(rows)[0])
        assert fold.tolist() == [i // 2 for i in range(20)] * 2

    @pytest.mark.parametrize(
        "rows",
        [
            [(-1, True, 0), (-2, False, 0)],
            [(-1, True, 0), (-2, False, 0), (-1, True, 1)],
            [(-1, True, 0), (-2, True, 0)],
            [],
        ],
    )
    def test_too_few_pairs(self, rows):
        with pytest.raises(DataError, match=r"toy.txt"):
            evaluate(rows)


class TestMissed:
    def test_a_missed_pair_is_an_error_of_either_kind(self):
        good = [(-0.1, True, k) for k in (0, 1)] * 4 + [(-9, False, k) for k in (0, 1)] * 4
        assert evaluate(good).accuracy == 1
        for same in (True, False):
            report = evaluate([*good, (None, same, 0)])
            assert report.fold_accuracies == pytest.approx((8 / 9, 1))
            assert (report.missed, report.missed_pairs, report.n) == (1, 1, 17)

    def test_missed_pairs_do_not_move_the_threshold(self):
        missed = [(None, same, fold) for same in (True, False) for fold in (0, 1)] * 3
        assert evaluate([*TWO_FOLDS, *missed]).fold_thresholds == evaluate(TWO_FOLDS).fold_thresholds

    def test_a_missed_genuine_pair_lowers_the_curve(self):
        rows = [(-0.1, True, k % 2) for k in range(9)] + [(-9, False, k % 2) for k in range(100)]
        report = evaluate([*rows, (None, True, 0)])
        assert report.tar_at_far == dict.fromkeys(("1e-2", "1e-3", "1e-4"), pytest.approx(0.9))
        assert report.tar_at_zero == pytest.approx(0.9)
        assert report.auc == pytest.approx(0.9)

    def test_a_missed_impostor_pair_does_not_flatter_the_false_match_rate(self):
        rows = [(-0.1, True, 0), (-0.1, True, 1), (-0.05, False, 0)] + [(-9, False, 1)] * 3
        calibration = Calibration({"1e-2": -1.0}, (1.0, 0.0), "toy")
        report = evaluate([*rows, *[(None, False, 0)] * 4], calibration)
        assert report.fixed["1e-2"].fmr == pytest.approx(1 / 4)
        assert report.roc.impostors == 4
        assert report.fixed["1e-2"].accuracy == pytest.approx(5 / 10)

    def test_one_picture_in_many_pairs_counts_once(self):
        pairs = Pairs(
            source="toy.txt",
            paths=tuple(Path(f"{i}.jpg") for i in range(4)),
            first=np.array([0, 0, 1, 0, 1]),
            second=np.array([1, 2, 2, 3, 3]),
            same=np.array([True, False, False, True, False]),
            fold=np.array([0, 1, 0, 1, 1]),
        )
        describe = Described([0.0, 0.5, 3.0, None])
        similarities, missed = score_pairs(pairs, describe)
        assert similarities.tolist() == [-0.5, -3.0, -2.5, -np.inf, -np.inf]
        assert missed == 1
        assert describe.asked == list(pairs.paths)

    def test_nothing_found_at_all(self):
        with pytest.raises(DataError, match=r"no face found in 4 of 8 pictures"):
            evaluate([(None, True, 0), (None, False, 0), (None, True, 1), (None, False, 1)])


class TestAsShipped:
    ROWS = (
        (-0.1, True, 0),
        (-0.3, True, 1),
        (-0.9, True, 0),
        (-0.2, False, 1),
        (-3, False, 0),
        (-4, False, 1),
    )

    def test_error_rates_at_the_records_thresholds(self):
        report = evaluate(self.ROWS, Calibration({"1e-2": -0.5, "1e-3": -0.15}, (2.0, 1.0), "toy"))
        loose, strict = report.fixed["1e-2"], report.fixed["1e-3"]
        assert (loose.fmr, loose.fnmr, loose.accuracy) == pytest.approx((1 / 3, 1 / 3, 4 / 6))
        assert (strict.fmr, strict.fnmr, strict.accuracy) == pytest.approx((0, 2 / 3, 4 / 6))
        assert loose.fmr_interval == pytest.approx(metrics.wilson_interval(1, 3))

    def test_probability_is_the_records(self):
        report = evaluate(self.ROWS, Calibration({}, (2.0, 1.0), "toy"))
        s, same, _ = (np.array(column) for column in zip(*self.ROWS, strict=True))
        p = 1 / (1 + np.exp(-(2 * s + 1)))
        assert report.brier == pytest.approx(np.mean((p - same) ** 2))
        assert report.ece == pytest.approx(metrics.expected_calibration_error(p, same))

    def test_absent_without_a_calibration(self):
        report = evaluate(self.ROWS)
        assert report.brier is None
        assert not {"at_thresholds", "probability"} & set(report.to_dict())


def test_to_dict_is_the_contract():
    rows = [(-0.1, True, k % 10) for k in range(100)] + [(-9, False, k % 10) for k in range(100)]
    report = evaluate([*rows, (None, True, 0)], Calibration({"1e-3": -1.0}, (1.0, 0.0), "toy"))
    out = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(out) == {
        *("protocol", "n", "model", "detector", "accuracy", "tar_at_far", "tar_at_zero", "auc", "eer"),
        *("missed", "missed_pairs", "pictures", "impostors", "at_thresholds", "probability"),
    }
    assert out["n"] == 201
    assert out["model"] == "toy"
    assert out["missed"] == 1
    assert set(out["accuracy"]) == {"mean", "se", "folds", "thresholds"}
    assert out["accuracy"]["mean"] == pytest.approx(1 - 1 / 210, abs=1e-6)
    assert out["tar_at_far"] == dict.fromkeys(("1e-2", "1e-3", "1e-4"), pytest.approx(100 / 101, abs=1e-6))
    assert out["impostors"] == 100
    assert out["at_thresholds"]["1e-3"]["fnmr"] == pytest.approx(1 / 101, abs=1e-6)


def test_progress_is_passed_on():
    seen = []
    pairs, describe = case(TWO_FOLDS)
    evaluate_verification(pairs, describe, progress=lambda *at: seen.append(at))
    assert seen[-1] == (8, 8)


class TestContract:
    def test_one_embedding_for_each_picture(self):
        pairs, describe = case(TWO_FOLDS)
        with pytest.raises(ValueError, match="8 pictures gave 1"):
            score_pairs(pairs, lambda paths, progress=None: describe(paths)[:1])

    def test_finite_similarities(self):
        pairs, describe = case(TWO_FOLDS)
        describe.similarity = lambda a, b: np.full(len(a), np.nan)
        with pytest.raises(ValueError, match="finite"):
            score_pairs(pairs, describe)
