from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mien.liveness.levels import TURN_DEGREES, baseline_of, levels, turn_degrees
from tests.liveness.synthetic import Puppet, do, landmarks

angles = st.floats(-45, 45)


def look(points):
    seen = Puppet().at(0.0).look
    return type(seen)(**{**vars(seen), "landmarks": points.astype(np.float32)})


@given(angles, st.floats(-20, 20), st.floats(0.3, 3.0))
def test_a_head_that_turns_is_turned_by_its_angle(yaw, roll, scale):
    a = np.radians(roll)
    spin = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    rest = baseline_of([look(landmarks(0))])
    assert turn_degrees(look(landmarks(yaw) @ spin.T + 7), rest) == pytest.approx(yaw, abs=0.1)


@given(*[st.floats(-0.35, 0.35)] * 8)
def test_no_homography_turns_a_picture(a, b, c, d, e, f, g, h):
    """However a flat picture is held, and however near: tilted, squeezed, sheared, in perspective."""
    change = np.array([[1 + a, b, 300 * c], [d, 1 + e, 300 * f], [g / 300, h / 300, 1.0]])
    flat = landmarks(0, flat=True)
    held = cv2.perspectiveTransform((flat - flat.mean(axis=0))[None].astype(np.float64), change)[0]
    eyes, size = held[1] - held[0], np.linalg.norm(held[3] - held[1])
    assume(np.linalg.norm(eyes) > 6 and np.isfinite(size))
    assume(abs(np.linalg.det(change)) > 0.05)
    assert abs(turn_degrees(look(held), baseline_of([look(flat)]))) < 0.5


def test_somebody_who_is_turned_a_little_at_rest():
    rest = Puppet(yaw=10).at(0).look
    points = landmarks(10)
    baseline = baseline_of([type(rest)(**{**vars(rest), "landmarks": points})])
    assert turn_degrees(look(landmarks(30)), baseline) == pytest.approx(20, abs=0.5)
    assert turn_degrees(look(landmarks(-15)), baseline) == pytest.approx(-25, abs=0.5)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.tile([[3.0, 4.0]], (5, 1))])
def test_landmarks_that_say_nothing(points):
    rest = baseline_of([look(landmarks(0))])
    assert np.isfinite(list(levels(look(points), rest).values())).all()
    assert np.isfinite(list(levels(look(landmarks(0)), baseline_of([look(points)])).values())).all()


@pytest.mark.parametrize("action", ["smile", "open-mouth", "blink", "turn-left", "turn-right"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_each_action_reaches_its_own_level_and_no_other(action, mirrored):
    puppet = Puppet()
    rest = baseline_of([puppet.at(0).look for _ in range(9)])
    do(puppet, action, 1.0)
    found = levels(puppet.at(0).look, rest, mirrored=mirrored)
    other = {"turn-left": "turn-right", "turn-right": "turn-left"}
    expected = other.get(action, action) if mirrored else action
    assert [name for name, level in found.items() if level >= 1.0] == [expected]


def test_at_rest_nothing_is_done():
    puppet = Puppet()
    rest = baseline_of([puppet.at(0).look for _ in range(9)])
    assert max(abs(level) for _ in range(20) for level in levels(puppet.at(0).look, rest).values()) < 0.3


def test_left_is_the_persons_left():
    """Who faces a camera has their left on the right of its picture."""
    rest = baseline_of([look(landmarks(0))])
    assert levels(look(landmarks(TURN_DEGREES + 1)), rest)["turn-left"] > 1
