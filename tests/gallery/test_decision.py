from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import ModelError
from mien.gallery.decision import NOBODY, Candidate, Identification, Rule, decide, match, rank_people, with_templates
from mien.gallery.rules import rule_for
from mien.models.base import Calibration
from mien.models.density import DensityScale
from mien.models.dlib_resnet import RECORD
from mien.models.registry import records

RULE = Rule(tail=((0.4, 1e-1), (0.5, 1e-2), (0.6, 1e-3)), logistic=(40.0, -20.0), faces_gain=2.0)
NAMED = [("a1", "Ada"), ("b2", "Bo"), ("c3", None)]


def floats(*rows):
    return np.array(rows, dtype=np.float32)


class TestThreshold:
    def test_one_person_with_one_face_is_a_pair(self):
        for s, rate in RULE.tail:
            assert RULE.threshold([1], rate) == pytest.approx(s)

    def test_ten_people_ask_for_a_tenth_of_the_rate(self):
        assert RULE.threshold([1] * 10, 1 - (1 - 1e-3) ** 10) == pytest.approx(0.6)

    def test_it_goes_on_beyond_what_was_measured(self):
        assert RULE.threshold([1], 1e-5) == pytest.approx(0.8)

    @given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.floats(1e-4, 0.5))
    @settings(max_examples=50, deadline=None)
    def test_fpir_is_its_inverse_and_more_people_or_faces_raise_it(self, faces, rate):
        at = RULE.threshold(faces, rate)
        assert RULE.fpir(at, faces) == pytest.approx(rate, rel=1e-6)
        assert RULE.threshold([*faces, 1], rate) > at
        assert RULE.threshold([faces[0] + 1, *faces[1:]], rate) > at

    def test_faces_that_say_nothing_new_stop_counting(self):
        one, two, ten, thousand = RULE.chances([1, 2, 10, 1000])
        assert (one, two) == (1, pytest.approx(math.e))
        assert ten < thousand < math.exp(2)
        assert RULE.chances(0) == 0

    def test_an_empty_gallery_has_a_threshold_too(self):
        assert RULE.threshold([], 0.01) == RULE.threshold([1], 0.01)

    @pytest.mark.parametrize("rate", [0, 1, -0.1, math.nan])
    def test_rates_that_are_none(self, rate):
        with pytest.raises(ValueError, match="between 0 and 1"):
            RULE.threshold([1], rate)

    def test_simulated_strangers_come_at_the_rate(self):
        """Scores drawn from the rule's own tail: the best of N passes as often as was asked for."""
        rng = np.random.default_rng(0)
        people, strangers = 50, 20000
        decay = math.log(10) / 0.1
        scores = 0.3 + rng.exponential(1 / decay, (strangers, people))  # FMR(s) = exp(-decay (s - 0.3)), as the tail
        best = scores.max(axis=1)
        for rate in (0.01, 0.1):
            assert (best >= RULE.threshold([1] * people, rate)).mean() == pytest.approx(rate, rel=0.15)


class TestProbability:
    def test_one_person_at_even_odds_is_the_logistic(self):
        p = RULE.probabilities(floats([0.55]), [[1]], 1)
        assert p[0, 0] == pytest.approx(1 / (1 + math.exp(-2)))

    def test_two_alike_share_it(self):
        p = RULE.probabilities(floats([0.9, 0.9]), [[1, 1]], 2)
        assert p[0] == pytest.approx([0.5, 0.5], abs=1e-3)

    def test_more_people_or_faces_or_strangers_lower_it(self):
        def p(people=10, faces=1, prior=0.5):
            return RULE.probabilities(floats([0.58]), [[faces]], people, prior)[0, 0]

        assert p(people=100) < p()
        assert p(faces=4) < p()
        assert p(prior=0.1) < p()

    def test_against_bayes_by_hand(self):
        s, faces, people, prior = np.array([0.61, 0.58, 0.2]), np.array([3, 1, 2]), 20, 0.3
        weights = prior / people * np.exp(40 * s - 20) / np.exp(2 * (1 - 1 / faces))
        expected = weights / (1 - prior + weights.sum())
        assert RULE.probabilities(s[None], faces, people, prior)[0] == pytest.approx(expected)

    def test_nothing_overflows_and_empty_places_weigh_nothing(self):
        p = RULE.probabilities(np.array([[1e6, -np.inf], [-1e6, -np.inf], [-np.inf, -np.inf]]), 1, 2)
        assert p.tolist() == [[1, 0], [0, 0], [0, 0]]
        assert RULE.probabilities(np.zeros((2, 0)), 1, 0).shape == (2, 0)

    def test_priors_that_are_none(self):
        with pytest.raises(ValueError, match="prior"):
            RULE.probabilities(floats([0.5]), 1, 1, prior=1)


class TestRanking:
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6))
    @settings(max_examples=40, deadline=None)
    def test_against_a_plain_loop(self, seed, k):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(4, 12)).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = -np.inf
        owners = rng.integers(-1, 5, values.shape)
        people, best = rank_people(values, owners, k)
        for q in range(4):
            score = {}
            for s, o in zip(values[q].tolist(), owners[q].tolist(), strict=True):
                if o != NOBODY and s > -np.inf:
                    score[o] = max(s, score.get(o, -np.inf))
            expected = sorted(score.items(), key=lambda pair: -pair[1])[:k]
            expected += [(NOBODY, -np.inf)] * (k - len(expected))
            assert list(zip(people[q].tolist(), best[q].tolist(), strict=True)) == expected

    def test_one_list_of_owners_for_all_probes(self):
        people, _ = rank_people(floats([0.1, 0.9, 0.5], [0.8, 0.2, 0.9]), np.array([0, 1, 0]), 2)
        assert people.tolist() == [[1, 0], [0, 1]]

    def test_no_faces_at_all(self):
        people, best = rank_people(np.zeros((2, 0), np.float32), np.zeros(0, np.int64), 3)
        assert (people == NOBODY).all()
        assert (best == -np.inf).all()

    def test_templates_are_means_of_those_with_several_faces(self):
        faces = floats([0, 0], [2, 4], [5, 5], [9, 9])
        vectors, owners = with_templates(faces, np.array([7, 7, 3, NOBODY]))
        assert owners.tolist() == [7, 7, 3, NOBODY, 7]
        assert vectors[-1].tolist() == [1, 2]

    def test_the_mean_of_two_views_can_beat_a_better_single_face(self):
        """The probe lies between two faces of 0, nearer to that middle than to the one face of 1."""
        faces = floats([-0.5, 0], [0.5, 0], [0, 0.4])
        people, best = match(RULE, floats([0, 0]), faces, np.array([0, 0, 1]), 2)
        assert people.tolist() == [[0, 1]]
        assert best[0] == pytest.approx([1.0, (1 - 0.16) / (1 + 0.16)])

    def test_cosine(self):
        rule = Rule(RULE.tail, RULE.logistic, metric="cosine")
        people, best = match(rule, floats([2, 0]), floats([0, 3], [1, 1]), np.array([0, 1]), 2)
        assert people.tolist() == [[1, 0]]
        assert best[0] == pytest.approx([math.sqrt(0.5), 0], abs=1e-6)


class TestAnswers:
    def decided(self, *similarities, **given):
        ranked = rank_people(floats(similarities), np.array([0, 1, 2]), 3)
        return decide(RULE, ranked, NAMED, **{"faces": [1, 1, 1], **given})[0]

    def test_known(self):
        answer = self.decided(0.2, 0.9, 0.3)
        assert (answer.known, answer.person, answer.name) == (True, "b2", "Bo")
        assert [c.person for c in answer.candidates] == ["b2", "c3", "a1"]
        assert (answer.fpir, answer.people) == (0.01, 3)
        assert answer.threshold == pytest.approx(RULE.threshold([1, 1, 1], 0.01))
        assert answer.to_dict() == {"person": "Bo", "id": "b2", "similarity": 0.9, "probability": 1.0}

    def test_unknown_is_an_answer_with_a_probability(self):
        answer = self.decided(0.2, 0.45, 0.3)
        assert (answer.known, answer.person, answer.name) == (False, None, None)
        assert answer.probability == pytest.approx(1 - sum(c.probability for c in answer.candidates))
        assert 0.9 < answer.probability < 1
        out = answer.to_dict(candidates=True)
        assert out["person"] is None
        assert "id" not in out
        assert [c["person"] for c in out["candidates"]] == ["Bo", None, "Ada"]
        assert json.loads(json.dumps(out, allow_nan=False)) == out

    def test_a_group_without_a_name_is_known(self):
        answer = self.decided(0.2, 0.3, 0.95)
        assert (answer.known, answer.person, answer.name) == (True, "c3", None)
        assert answer.to_dict()["id"] == "c3"

    def test_a_threshold_by_hand_has_no_rate(self):
        assert self.decided(0.2, 0.3, 0.375, threshold=0.375, fpir=None).person == "c3"
        answer = self.decided(0.2, 0.3, 0.34, threshold=0.375)
        assert not answer.known
        assert answer.fpir is None
        assert "fpir" not in answer.to_dict(candidates=True)

    def test_a_stricter_rate_turns_an_answer_into_unknown(self):
        assert self.decided(0.1, 0.6, 0.2, fpir=0.1).known
        assert not self.decided(0.1, 0.6, 0.2, fpir=1e-4).known

    def test_nobody_enrolled(self):
        answer = decide(RULE, rank_people(np.zeros((1, 0), np.float32), np.zeros(0, np.int64), 3), [], faces=[])[0]
        assert answer.candidates == ()
        assert answer.similarity is None
        assert answer.to_dict() == {"person": None, "probability": 1.0}

    def test_what_does_not_fit(self):
        with pytest.raises(ValueError, match="3 people"):
            self.decided(0.1, 0.2, 0.3, faces=[1, 1])
        with pytest.raises(ValueError, match="either"):
            self.decided(0.1, 0.2, 0.3, fpir=None)

    def test_results_are_frozen(self):
        answer = Identification((Candidate("x", "X", 0.5, 0.5),), 0.4, 0.01, 1)
        with pytest.raises(AttributeError):
            answer.threshold = 0  # type: ignore[misc]


class TestRules:
    @pytest.mark.parametrize("mode", ["fast", "accurate"])
    def test_the_default_embedder_has_a_fitted_one(self, mode):
        rule = rule_for(RECORD, mode)
        assert rule.scale is not None
        assert rule.metric == "l2"
        similarities, rates = zip(*rule.tail, strict=True)
        assert list(similarities) == sorted(similarities)
        assert list(rates) == sorted(rates, reverse=True)
        assert rule.threshold([1], 1e-3) < rule.threshold([1] * 1000, 1e-2) < 0.8

    def test_other_weights_of_that_name_fall_back_to_their_record(self):
        from dataclasses import replace

        other = replace(RECORD, weights=replace(RECORD.weights, sha256="0" * 64))
        rule = rule_for(other, "fast")
        assert rule.scale is None
        assert rule.threshold([1], 1e-3) == pytest.approx(RECORD.calibrations["fast"].thresholds["1e-3"])

    def test_an_embedder_that_nobody_measured(self):
        from dataclasses import replace

        bare = replace(RECORD, name="mine", calibrations={})
        with pytest.raises(ModelError, match="evaluate identification"):
            rule_for(bare, "fast")
        with pytest.raises(ModelError, match="fewer than two"):
            Rule.of(Calibration({"1e-2": 0.5}, (1.0, 0.0), "toy"))

    def test_every_embedder_with_thresholds_can_decide(self):
        for record in records().values():
            for mode in record.calibrations:
                if len(record.calibrations[mode].thresholds) > 1:
                    assert 0 < rule_for(record, mode).threshold([1, 1, 1]) < 1


class TestDensity:
    def scale(self, strength=0.5):
        rng = np.random.default_rng(0)
        return DensityScale(np.zeros(4, np.float32), rng.normal(size=(9, 4)).astype(np.float32), 1.0, 2, strength)

    def test_against_a_plain_loop(self):
        scale = self.scale()
        x = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
        for row, moved in zip(x, scale(x), strict=True):
            near = np.sort(((scale.centroids - row) ** 2).sum(axis=1))[:2].mean()
            assert moved == pytest.approx(row * near**-0.5, rel=1e-4)

    def test_crowded_faces_move_apart(self):
        scale = self.scale()
        crowded = scale.centroids[0] + floats([0, 0, 0, 0.01])
        far = crowded * 20
        assert np.linalg.norm(scale(crowded)) / np.linalg.norm(crowded) > np.linalg.norm(scale(far)) / np.linalg.norm(
            far
        )

    def test_none_and_no_strength_change_nothing(self):
        assert self.scale()(np.zeros((0, 4), np.float32)).shape == (0, 4)
        x = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)
        assert self.scale(strength=0)(x) == pytest.approx(x)

    def test_many_at_once_are_the_same(self, monkeypatch):
        x = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
        whole = self.scale()(x)
        monkeypatch.setattr("mien.models.density._AT_ONCE", 7)
        assert self.scale()(x) == pytest.approx(whole)

    def test_arrays_and_back(self):
        scale = self.scale()
        again = DensityScale.from_arrays(scale.to_arrays())
        assert again.centroids == pytest.approx(scale.centroids, abs=2e-3)
        assert (again.reference, again.neighbours, again.strength) == (1.0, 2, 0.5)
