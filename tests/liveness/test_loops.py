from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mien import load_image
from mien.liveness.guards import Limits, Repeats
from mien.liveness.loops import STEP, WINDOW, Loops, unexplained
from tests.liveness.acting import Actor, Face, Nature
from tests.liveness.filming import compressed
from tests.liveness.synthetic import Obedient, Puppet, asking, play

FPS = 12.0
NOISE = 0.3
"""Of a cell of a thumbnail: that of a sensor whose pixels have some 4 grey levels of it."""


def sway(seconds, seed, *, fps=FPS, noise=NOISE, strength=1.0):
    """Thumbnails of something that sways a little, as heads do, and never twice alike."""
    random = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(random.normal(0, 1, (96, 96)).astype(np.float32), (0, 0), 2.5)
    texture = 128 + 40 * texture / texture.std()
    waves = random.uniform(0.1, 0.9, (2, 7)), random.uniform(0, 6.3, (2, 7)), random.normal(0, 0.25 * strength, (2, 7))
    out = []
    for k in range(int(seconds * fps)):
        x, y = (waves[2] * np.sin(2 * np.pi * waves[0] * k / fps + waves[1])).sum(axis=1)
        seen = cv2.warpAffine(texture, np.array([[1, 0, x], [0, 1, y]]), (96, 96))[16:80, 16:80]
        out.append(cv2.resize(seen, (32, 32), interpolation=cv2.INTER_AREA))
    return noisy(out, random, noise)


def noisy(thumbs, random, noise=NOISE):
    return [(thumb + random.normal(0, noise, (32, 32))).astype(np.float32) for thumb in thumbs]


def looped(seconds, seed, *, period, noise=NOISE):
    """A piece of a film, again and again, with fresh noise on each frame."""
    piece = sway(period, seed, noise=0.1)
    copies = (piece * int(np.ceil(seconds / period)))[: int(seconds * FPS)]
    return noisy(copies, np.random.default_rng(seed + 1000), noise)


def seen_by(guard, thumbs, *, times=None, resting=lambda time: True):
    base = Puppet().at(0.0)
    for k, thumb in enumerate(thumbs):
        time = k / FPS if times is None else times[k]
        observation = replace(base, time=time, thumb=thumb)
        if (reason := guard.see(observation, resting=resting(time))) is not None:
            return reason, time
    return None, guard.measures["loop"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("period", [0.9, 1.7, 2.6])
def test_a_loop_is_found_though_each_frame_has_noise_of_its_own(seed, period):
    reason, time = seen_by(Loops(Limits()), looped(10.0, seed, period=period))
    assert reason == "presentation"
    assert time >= WINDOW * STEP + 0.5


def test_noise_of_its_own_is_what_the_guard_of_doubles_does_not_see():
    guard, base = Repeats(Limits()), Puppet().at(0.0)
    thumbs = looped(10.0, 0, period=1.7)
    assert {guard.see(replace(base, time=k / FPS, thumb=t)) for k, t in enumerate(thumbs)} == {None}


@pytest.mark.parametrize("seed", range(8))
def test_what_sways_on_is_no_loop(seed):
    assert seen_by(Loops(Limits()), sway(15.0, seed))[0] is None


@pytest.mark.parametrize("seed", range(3))
def test_noise_alone_is_no_loop(seed):
    """Somebody who holds perfectly still, or a wall."""
    random = np.random.default_rng(seed)
    still = noisy([random.normal(128, 30, (32, 32))] * 200, random)
    assert seen_by(Loops(Limits()), still) == (None, 9.0)


def test_a_lamp_that_flickers_before_somebody_who_is_still_is_no_loop():
    """Bright and dark bands that go through the picture, again and again, and brightness that goes up and down."""
    random, rows = np.random.default_rng(0), np.arange(32)[:, None]
    picture = random.normal(128, 30, (32, 32))
    times = np.arange(200) / FPS
    bands = [picture * (1 + 0.05 * np.sin(3 * t)) + 6 * np.sin(rows / 5 + 2 * np.pi * 0.8 * t) for t in times]
    assert seen_by(Loops(Limits()), noisy(bands, random))[0] is None


@pytest.mark.parametrize("seed", range(3))
def test_blinks_are_alike_and_may_be(seed):
    """The same few cells, the same course, every two seconds, of somebody who hardly moves."""
    eyes = np.zeros((32, 32), np.float32)
    eyes[12:14, 10:13] = eyes[12:14, 19:22] = -15.0
    thumbs = sway(16.0, seed, strength=0.3)
    shut = [max(0.0, 1 - abs(k / FPS % 2.0 - 1.0) / 0.25) for k in range(len(thumbs))]
    assert seen_by(Loops(Limits()), [t + eyes * np.float32(s) for t, s in zip(thumbs, shut, strict=True)])[0] is None


def test_frames_need_not_come_on_a_beat():
    random = np.random.default_rng(2)
    piece = sway(30.0, 3, fps=100.0, noise=0.0)[:170]
    times = np.cumsum(random.uniform(0.05, 0.12, 100))
    thumbs = noisy([piece[int(time * 100) % len(piece)] for time in times], random)
    assert seen_by(Loops(Limits()), thumbs, times=times)[0] == "presentation"


def test_what_is_done_twice_is_no_loop():
    """Only moments at rest are compared: a smile may be like the last one."""
    thumbs = looped(10.0, 0, period=1.7)
    assert seen_by(Loops(Limits()), thumbs, resting=lambda time: False) == (None, 9.0)
    assert seen_by(Loops(Limits()), thumbs, resting=lambda time: time % 1.2 > 0.1) == (None, 9.0)


def test_switched_off_and_after_a_gap():
    assert seen_by(Loops(Limits(loop=-np.inf)), looped(10.0, 0, period=1.7))[0] is None
    guard, thumbs = Loops(Limits()), looped(1.9, 0, period=0.9)
    times = [k / FPS + 50 * (k // 22) for k in range(66)]
    assert seen_by(guard, thumbs * 3, times=times)[0] is None


def test_memory_of_points_is_bounded():
    guard = Loops(Limits())
    seen_by(guard, sway(5.0, 0) * 24, resting=lambda time: False)
    assert guard._n <= 1600
    assert guard._points.nbytes <= 2048 * 256 * 4


def test_the_measure_is_about_0_for_what_came_before_and_about_2_for_what_has_nothing_to_do_with_it():
    random = np.random.default_rng(0)
    walk = cv2.GaussianBlur(random.normal(0, 1, (400, 64)).astype(np.float32), (1, 31), 0)
    again = np.concatenate([walk[:60], walk[20:60]]) + random.normal(0, 0.02, (100, 64)).astype(np.float32)
    left, lag = unexplained(again.astype(np.float32), np.ones(100, np.bool_))
    assert left == pytest.approx(0, abs=0.05)
    assert lag == pytest.approx(40 * STEP)
    assert unexplained(walk[:100], np.ones(100, np.bool_))[0] > 0.5
    assert unexplained(walk[: WINDOW + 5], np.ones(WINDOW + 5, np.bool_)) == (np.inf, 0.0)


def test_a_judge_ends_an_attempt_of_somebody_in_a_loop():
    """What a puppet does is right; what surrounds it comes again."""
    thumbs = looped(30.0, 4, period=1.5)

    def behind(seen):
        return replace(seen, thumb=thumbs[round(seen.time * FPS) % len(thumbs)])

    status, judge = play(asking("smile", "turn-left", "blink"), Obedient(after=1.5), change=behind)
    assert status.reason == "presentation"
    assert judge.measures["loop"] < Limits().loop


def test_simulated_people_with_sensor_noise_are_no_loops_and_their_copies_are(analyzer, portrait):
    """From pixels: `recipes/liveness.py` measures it on others."""
    image = load_image(portrait)
    actor = Actor(image, analyzer(image).largest().landmarks[0])
    random, nature = np.random.default_rng(0), Nature(5)
    frames = [actor.render(nature(Face(), k / FPS), random) for k in range(60)]
    assert seen_by(Loops(Limits()), [thumb_of(frame) for frame in frames])[0] is None
    copies = [compressed(frames[10 + k % 16], int(random.integers(50, 90))) for k in range(72)]
    assert seen_by(Loops(Limits()), [thumb_of(frame) for frame in copies])[0] == "presentation"


def thumb_of(frame):
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
