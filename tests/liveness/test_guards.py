from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.liveness.guards import Limits, Repeats
from tests.liveness.synthetic import RATE, Obedient, Puppet, asking, play

ASKED = asking("smile", "turn-left", "blink")


def changing(function):
    """Run an attempt in which each observation is changed; the reason for which it ended."""
    return play(ASKED, Obedient(), change=function)[0].reason


def test_without_a_change_it_is_accepted():
    assert changing(lambda seen: seen) == "accepted"


@pytest.mark.parametrize("time", [0.5, 2.0, float("nan"), float("inf"), float("-inf")])
def test_times_that_do_not_rise(time):
    assert changing(lambda seen: replace(seen, time=time) if seen.time > 2.2 else seen) == "stream"


def test_a_gap():
    assert changing(lambda seen: None if 2.0 < seen.time < 2.6 else seen) == "stream"
    assert changing(lambda seen: None if 2.0 < seen.time < 2.3 else seen) == "accepted"


def test_too_few_frames():
    assert changing(lambda seen: seen if round(seen.time * RATE) % 4 == 0 else None) == "stream"


def test_frozen_frames():
    held = []

    def freeze(seen):
        if 2.0 < seen.time < 2.6:
            held.append(seen)
            return replace(held[0], time=seen.time)
        return seen

    assert changing(freeze) == "stream"


def test_every_frame_twice_is_a_slow_camera():
    last = []

    def twice(seen):
        if round(seen.time * RATE) % 2:
            return replace(last[-1], time=seen.time)
        last.append(seen)
        return seen

    assert changing(twice) == "accepted"


@pytest.mark.parametrize(("area", "reason"), [(0.1, "accepted"), (0.5, "several-faces")])
def test_another_face(area, reason):
    assert changing(lambda seen: replace(seen, second=area) if seen.time > 2 else seen) == reason


@pytest.mark.parametrize(("seconds", "reason"), [(0.2, "accepted"), (0.6, "face-lost")])
def test_a_face_that_is_gone_for_a_while(seconds, reason):
    assert changing(lambda seen: replace(seen, look=None) if 1.0 < seen.time < 1.0 + seconds else seen) == reason


def test_another_track():
    assert (
        changing(lambda seen: replace(seen, look=replace(seen.look, track=2 if seen.time > 2 else 1))) == "another-face"
    )


def test_another_persons_embeddings():
    one, other = np.eye(4, dtype=np.float32)[:2]

    def embedded(seen):
        return replace(seen, look=replace(seen.look, embedding=other if seen.time > 3 else one))

    assert changing(embedded) == "another-face"
    assert changing(lambda seen: replace(seen, look=replace(seen.look, embedding=one))) == "accepted"


def test_all_of_a_face_changes_at_once():
    """Two pictures of faces at the same place."""
    other = np.random.default_rng(5).normal(0, 1, (16, 16)).astype(np.float32)

    def swapped(seen):
        return replace(seen, look=replace(seen.look, patch=other)) if seen.time > 3 else seen

    assert changing(swapped) == "presentation"


def film(n, seed=0, noise=0.3):
    """Thumbnails in which something moves, with noise."""
    random = np.random.default_rng(seed)
    columns = np.arange(32)
    phases = np.cumsum(random.uniform(0.05, 0.25, n))
    return [
        (128 + 30 * np.sin(columns / 3 + phase) + random.normal(0, noise, (32, 32))).astype(np.float32)
        for phase in phases
    ]


def seen_by(guard, thumbs):
    base = Puppet().at(0.0)
    return [guard.see(replace(base, time=k / RATE, thumb=thumb)) for k, thumb in enumerate(thumbs)]


def test_a_loop_is_found_after_a_few_frames():
    once = film(20)
    guard = Repeats(Limits())
    reasons = seen_by(guard, once * 2)
    assert reasons.index("presentation") in range(20 + Limits().repeats, 20 + Limits().repeats + 3)


def test_a_loop_that_was_compressed_again():
    random = np.random.default_rng(3)
    once = film(20)
    again = [thumb + random.normal(0, 0.05, thumb.shape).astype(np.float32) for thumb in once]
    assert "presentation" in seen_by(Repeats(Limits()), once + again)


@pytest.mark.parametrize("seed", range(5))
def test_what_moves_on_is_no_loop(seed):
    assert set(seen_by(Repeats(Limits()), film(300, seed))) == {None}


def test_a_scene_without_motion_is_no_loop():
    """A still camera in a dark room: frames differ by little, and nothing moves."""
    random = np.random.default_rng(0)
    still = [(10 + random.normal(0, 0.05, (32, 32))).astype(np.float32) for _ in range(100)]
    assert set(seen_by(Repeats(Limits()), still)) == {None}


def test_memory_of_frames_is_bounded():
    random = np.random.default_rng(0)
    guard = Repeats(Limits())
    guard._MOST = 50
    assert seen_by(guard, [random.normal(0, 9, (32, 32)).astype(np.float32) for _ in range(60)])[-1] == "stream"
