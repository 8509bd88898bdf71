from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.liveness.challenge import ACTIONS, recorded, sequences
from mien.liveness.performing import Timing
from tests.liveness.synthetic import RATE, Obedient, Puppet, asking, do, play, ramp

TURNED = asking("smile", "turn-left", "blink")


@pytest.mark.parametrize("actions", sequences(ACTIONS, 3), ids="-".join)
def test_who_does_what_is_asked_is_accepted(actions):
    status, judge = play(asking(*actions), Obedient())
    assert status.reason == "accepted"
    assert status.step == 3
    assert all(judge.measures[f"{k}_reaction"] > 0.3 for k in (1, 2, 3))


@settings(max_examples=10, deadline=None)
@given(st.floats(0.2, 3.0), st.sampled_from([10.0, 15.0, 25.0, 30.0]), st.integers(0, 9))
def test_at_any_frame_rate_and_after_any_human_reaction(after, rate, seed):
    actions = sequences(ACTIONS, 3)[seed * 3]
    puppet = Puppet(random=np.random.default_rng(seed))
    assert play(asking(*actions), Obedient(after), puppet=puppet, rate=rate)[0].reason == "accepted"


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sequences(ACTIONS, 3)), st.sampled_from(sequences(ACTIONS, 3)))
def test_another_order_is_never_accepted(asked, given_):
    if asked == given_:
        return
    done = iter(given_)

    class Replay(Obedient):
        def __call__(self, puppet, status, time):
            if status.action is not None and status.step >= self._answered:
                self._instead[status.action] = next(done)
            super().__call__(puppet, status, time)

    assert play(asking(*asked), Replay())[0].reason in ("another-action", "not-done", "no-rest")


@pytest.mark.parametrize("asked", ACTIONS)
@pytest.mark.parametrize("done", [*ACTIONS, None])
def test_only_the_right_action_counts(asked, done):
    instead = {} if done is None else {asked: done}

    def idle(puppet, status, time):
        do(puppet, None, 0)

    status, _ = play(asking(asked), idle if done is None else Obedient(instead=instead))
    if done == asked:
        assert status.reason == "accepted"
    else:
        assert status.reason in ("another-action", "not-done")


@pytest.mark.parametrize("action", ["smile", "open-mouth", "turn-left"])
def test_doing_it_before_being_asked(action):
    """During the pause, and at the moment of asking: who knows what comes is no person."""

    def early(puppet, status, time):
        do(puppet, action, ramp(time, 1.2, hold=3.0))

    assert play(asking(action, pause=1.0), early)[0].reason == "too-early"
    assert play(asking(action, pause=0.5), Obedient(after=0.0))[0].reason != "accepted"


def test_eyes_that_are_closed_before_being_asked():
    def early(puppet, status, time):
        do(puppet, "blink", ramp(time, 1.2, hold=1.5))

    assert play(asking("blink", pause=1.5), early)[0].reason == "too-early"


def test_blinks_of_ones_own_do_no_harm():
    class Blinking(Obedient):
        def __call__(self, puppet, status, time):
            super().__call__(puppet, status, time)
            if time % 2.5 < 0.2:
                puppet.eyes = 0.05

    assert play(TURNED, Blinking())[0].reason == "accepted"


def test_a_blink_of_ones_own_is_too_short_to_be_the_one_asked():
    def blinks(puppet, status, time):
        do(puppet, None, 0)
        puppet.eyes = 0.05 if time % 1.5 < 0.3 else 0.97

    assert play(asking("blink"), blinks)[0].reason == "not-done"


def test_a_turn_that_jumps_is_two_pictures():
    def jumps(puppet, status, time):
        do(puppet, "turn-left", float(status.action is not None and time % 2 < 1))

    assert play(asking("turn-left"), jumps)[0].reason in ("presentation", "too-early")


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"happiness": 0.9}, "neutral"),
        ({"mouth": 0.9}, "neutral"),
        ({"eyes": 0.1}, "open_eyes"),
        ({"yaw": 25.0}, "turn_to_camera"),
        ({"there": False}, "no_face"),
        ({"advice": ("more_light",)}, "more_light"),
        ({"advice": ("again",)}, "again"),
        ({"scale": 0.3}, "closer"),
    ],
)
def test_without_a_calm_clear_view_nothing_is_asked(change, advice):
    def wrong(puppet, status, time):
        for name, value in change.items():
            setattr(puppet, name, value)

    seen = []

    def watched(puppet, status, time):
        seen.append(status)
        wrong(puppet, status, time)

    status, _ = play(TURNED, watched, timing=Timing(baseline=2.0))
    assert status.reason == "no-baseline"
    assert all(s.state == "baseline" and s.action is None for s in seen)
    assert advice in seen[-1].advice


def test_somebody_who_never_comes_to_rest_again():
    def stays(puppet, status, time):
        do(puppet, "smile", float(status.step > 0) or ramp(time, 2.4, hold=60.0))

    assert play(asking("smile", "turn-left"), stays)[0].reason == "no-rest"


def test_who_is_more_at_rest_than_in_the_beginning_is_at_rest():
    """A mouth that was a little open while the baseline was found."""
    obedient = Obedient()

    def relaxes(puppet, status, time):
        obedient(puppet, status, time)
        puppet.mouth = max(puppet.mouth, 0.3) if time < 1.2 else puppet.mouth

    assert play(asking("smile", "turn-left"), relaxes)[0].reason == "accepted"


def test_an_attempt_does_not_last_for_ever():
    slow = Timing(whole=3.0)
    assert play(TURNED, Obedient(), timing=slow)[0].reason == "too-long"


def test_after_the_end_nothing_changes():
    status, judge = play(asking("smile"), Obedient(instead={"smile": "turn-left"}))
    assert judge.see(Puppet().at(99.0)) == status


def test_recordings_are_asked_when_they_were():
    asked = recorded(("smile",), (3.0,))
    seen = []

    def watched(puppet, status, time):
        seen.append((time, status.action))
        do(puppet, "smile", ramp(time, 3.5))

    assert play(asked, watched)[0].reason == "accepted"
    assert min(time for time, action in seen if action) == pytest.approx(3.0, abs=2 / RATE)


def test_memory_is_bounded():
    """Of a puppet that is never at rest, so that nothing is asked; what is kept has limits of its own, besides."""

    def waits(puppet, status, time):
        do(puppet, None, 0)
        puppet.happiness = 0.9

    tracemalloc.start()
    try:
        status, _ = play(TURNED, waits, seconds=15.0, timing=Timing(whole=12.0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status.reason == "too-long"
    assert peak < 16e6
