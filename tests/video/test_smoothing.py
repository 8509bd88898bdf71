"""Tracks made steady, whatever smoother does it."""

from __future__ import annotations

import numpy as np
import pytest

from mien.models.smoothing import MovingAverage
from mien.video.columns import UNCERTAIN, UNKNOWN
from mien.video.smoothing import TrackSmoother

LABELS = ("neutral", "happiness", "anger")
NEUTRAL, HAPPY = [0.9, 0.05, 0.05], [0.05, 0.9, 0.05]
HIDDEN = [np.nan] * 3


def smoothed(frames, step: float = 0.1, **how) -> tuple[np.ndarray, list[int]]:
    """One track: its probabilities and states."""
    smoother = TrackSmoother(LABELS, **how)
    out = [smoother(i * step, [1], np.array([frame], dtype=np.float32)) for i, frame in enumerate(frames)]
    return np.concatenate([p for p, _ in out]), [int(s[0]) for _, s in out]


def test_nobody():
    chances, states = TrackSmoother(LABELS)(0.0, [], np.zeros((0, 3), dtype=np.float32))
    assert chances.shape == (0, 3)
    assert states.shape == (0,)


def test_what_lasts_is_said_and_one_frame_is_not():
    _, states = smoothed([NEUTRAL] * 10 + [HAPPY] + [NEUTRAL] * 10)
    assert set(states) == {0}
    _, states = smoothed([NEUTRAL] * 10 + [HAPPY] * 15)
    assert states[:10] == [0] * 10
    assert states[-5:] == [1] * 5


def test_nothing_clear_is_uncertain():
    _, states = smoothed([[0.4, 0.3, 0.3]] * 5)
    assert states == [UNCERTAIN] * 5


def test_an_answer_near_the_threshold_does_not_flicker():
    around = [[0.5 + (-1) ** i * 0.06, 0.3, 0.2 - (-1) ** i * 0.06] for i in range(40)]
    _, states = smoothed(around, smoother=MovingAverage(LABELS, 0.05))
    assert states == [0] * 40


def test_a_track_that_was_never_seen_is_unknown():
    chances, states = smoothed([HIDDEN, HIDDEN, NEUTRAL])
    assert np.isnan(chances[:2]).all()
    assert states == [UNKNOWN, UNKNOWN, 0]


def test_what_was_shown_goes_on_through_an_occlusion():
    chances, states = smoothed([HAPPY] * 10 + [HIDDEN] * 5 + [HAPPY] * 3)
    assert states == [1] * 18
    assert np.isfinite(chances).all()


def test_a_track_that_comes_back_late_begins_anew():
    smoother = TrackSmoother(LABELS)
    for i in range(20):
        smoother(i / 10, [1], np.array([HAPPY], dtype=np.float32))
    chances, states = smoother(60.0, [1], np.array([NEUTRAL], dtype=np.float32))
    np.testing.assert_allclose(chances[0], NEUTRAL, atol=1e-6)
    assert states.tolist() == [0]


def test_tracks_do_not_mix_and_are_forgotten():
    smoother = TrackSmoother(LABELS)
    alone = TrackSmoother(LABELS)
    for i in range(400):
        tracks = [1, 100 + i]
        raw = np.array([NEUTRAL if i % 7 else HAPPY, HAPPY], dtype=np.float32)
        both, _ = smoother(i / 5, tracks, raw)
        one, _ = alone(i / 5, [1], raw[:1])
        np.testing.assert_array_equal(both[0], one[0])
    assert len(smoother._tracks) < 200


@pytest.mark.parametrize("step", [0.02, 0.1, 0.4])
def test_the_pace_of_moments_makes_little_difference(step):
    frames = [NEUTRAL] * round(2 / step) + [HAPPY] * round(2 / step)
    _, states = smoothed(frames, step)
    begins = states.index(1) * step
    assert 2.0 <= begins <= 2.9
