"""The moving average, and what tracks are said to show."""

from __future__ import annotations

import numpy as np
import pytest

from mien.models.smoothing import NOTHING_YET, MovingAverage, steadied

LABELS = ("a", "b", "c")


def run(smoother, frames, elapsed, seen=None):
    states, out = smoother.begin(), []
    for t, frame in enumerate(frames):
        there = None if seen is None else [seen[t]]
        probabilities, states = smoother.step(states, np.array([frame], np.float32), elapsed[t], there)
        out.append(probabilities[0])
    return np.array(out)


def random_frames(n, seed=0):
    rng = np.random.default_rng(seed)
    elapsed = rng.uniform(0.02, 0.4, n)
    elapsed[0] = 0
    return rng.dirichlet(np.ones(3), n), elapsed, rng.random(n) < 0.8


@pytest.mark.parametrize("kind", ["box", "exponential"])
def test_it_is_the_weighted_mean_of_the_past(kind):
    frames, elapsed, seen = random_frames(40)
    found = run(MovingAverage(LABELS, 0.7, kind=kind), frames, elapsed, seen)
    times = np.cumsum(elapsed)
    for t in range(40):
        ages = times[t] - times[: t + 1]
        weights = (ages <= 0.7 + 1e-6) if kind == "box" else np.exp(-ages / 0.7)
        weights = weights * seen[: t + 1]
        expected = weights @ frames[: t + 1] / weights.sum() if weights.sum() > 1e-9 else np.full(3, 1 / 3)
        assert np.allclose(found[t], expected, atol=1e-4)


def test_nothing_seen_is_anything():
    assert np.allclose(run(MovingAverage(LABELS), np.full((3, 3), np.nan), [0, 0.1, 0.1], [False] * 3), 1 / 3)


def test_a_gap_forgets():
    found = run(MovingAverage(LABELS, 5.0, reset_after=2.0), np.eye(3), [0, 0.1, 3.0])
    assert np.allclose(found[1], [0.5, 0.5, 0])
    assert np.allclose(found[2], [0, 0, 1])


def test_a_window_without_time_is_refused():
    with pytest.raises(ValueError, match="holds no frame"):
        MovingAverage(LABELS, 0.0)
    with pytest.raises(ValueError, match="are not of 1 tracks"):
        MovingAverage(LABELS).step(np.zeros((1, 5), np.float32), np.eye(3, dtype=np.float32)[:1], 0.1)


def test_an_answer_stays_until_another_is_clearly_more_probable():
    probabilities = np.array([[0.5, 0.45, 0.05], [0.4, 0.55, 0.05], [0.3, 0.65, 0.05]])
    assert steadied(probabilities, np.array([1, 0, 0]), 0.2).tolist() == [1, 0, 1]
    assert steadied(probabilities, np.full(3, NOTHING_YET), 0.9).tolist() == [0, 1, 1]
    assert steadied(probabilities, np.array([2, 2, 2]), 0.0).tolist() == [0, 1, 1]
    slipped = np.array([[0.35, 0.08, 0.2]])
    assert steadied(slipped, np.array([1]), 0.4).tolist() == [0]  # four times as probable
    assert steadied(slipped, np.array([2]), 0.4).tolist() == [2]
    assert steadied(np.zeros((0, 3)), np.zeros(0, np.int64), 0.1).tolist() == []
