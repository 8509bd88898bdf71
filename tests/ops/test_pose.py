"""Head pose: exact on drawn heads, right on real ones that are turned and mirrored."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien import FaceAnalyzer, load_image
from mien.ops.pose import PITCH_OF_THE_PLANE, SHAPE, head_pose


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(5, 3): the generic face, turned as the docstring of `head_pose` says; x right, y down, z away."""
    y, p, r = np.radians([-yaw, pitch + PITCH_OF_THE_PLANE, roll])
    around_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    around_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    around_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return SHAPE @ (around_z @ around_y @ around_x).T


@given(st.floats(-80, 80), st.floats(-60, 60), st.floats(-170, 170), st.floats(1, 500), st.floats(-1e3, 1e3))
def test_angles_of_the_generic_face_are_found_again(yaw, pitch, roll, size, shift):
    landmarks = turned(yaw, pitch, roll)[:, :2] * size + shift
    angles, misfit = head_pose(landmarks[None])
    np.testing.assert_allclose(angles[0], [yaw, pitch, roll], atol=1e-4)
    assert misfit[0] < 1e-6


def test_signs():
    """A nose to the right of the picture looks to the right; one that is high looks up; a tilt is clockwise."""
    face = np.float32([[40, 40], [80, 40], [60, 62], [44, 80], [76, 80]])
    moved = np.stack([face] * 3)
    moved[1, 2, 0] += 8
    moved[2, 2, 1] -= 8
    angles, _ = head_pose(moved)
    assert angles[1, 0] > angles[0, 0] + 10
    assert angles[2, 1] > angles[0, 1] + 5
    tilted = face.copy()
    tilted[:, 1] += (face[:, 0] - 60) * 0.2  # the right lower than the left
    assert head_pose(tilted[None])[0][0, 2] > 5


def test_nothing_and_nonsense():
    angles, misfit = head_pose(np.zeros((0, 5, 2)))
    assert (angles.shape, misfit.shape) == ((0, 3), (0,))
    angles, misfit = head_pose(np.stack([np.full((5, 2), v) for v in (np.nan, np.inf, 7.0)]))
    np.testing.assert_array_equal(angles, 0)
    np.testing.assert_array_equal(misfit, 1)


@pytest.fixture(scope="module")
def finder() -> FaceAnalyzer:
    return FaceAnalyzer(only=("detect", "pose"), threads=1)


def pose_of(finder: FaceAnalyzer, image: np.ndarray) -> np.ndarray:
    poses = finder(image).largest().poses
    return np.array([poses.yaw[0], poses.pitch[0], poses.roll[0]])


@pytest.mark.parametrize("angle", [-30, -15, 10, 25])
def test_roll_follows_a_photograph_that_is_turned(finder, portrait, angle):
    image = load_image(portrait)
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1.0)  # OpenCV's angles are anticlockwise
    rotated = np.asarray(cv2.warpAffine(image, matrix, (width, height)))
    before, after = pose_of(finder, image), pose_of(finder, rotated)
    assert after[2] - before[2] == pytest.approx(angle, abs=3)
    np.testing.assert_allclose(after[:2], before[:2], atol=10)


def test_a_mirrored_photograph_has_yaw_and_roll_of_the_other_sign(finder, portrait, astronaut):
    for path in (portrait, astronaut):
        image = load_image(path)
        before, after = pose_of(finder, image), pose_of(finder, np.ascontiguousarray(image[:, ::-1]))
        np.testing.assert_allclose(after * [-1, 1, -1], before, atol=7)


@pytest.mark.data
def test_views_that_are_known(finder, lfw):
    """By eye: profiles to either side, a bowed head, a raised one."""
    for name, which, sign in VIEWS:
        pose = pose_of(finder, load_image(lfw / name[:-5] / f"{name}.jpg"))
        assert pose[which] * sign > LEAST[which], (name, pose)


LEAST = (45, 8, 20)  # degrees
VIEWS = [
    ("Jacques_Chirac_0010", 0, -1),
    ("Hernan_Diaz_0001", 0, -1),
    ("Mercedes_Amor_0001", 0, 1),
    ("George_Clooney_0002", 0, 1),
    ("Jeremy_Greenstock_0009", 1, -1),
    ("Jelena_Dokic_0001", 1, -1),
    ("Adolfo_Rodriguez_Saa_0002", 1, 1),
    ("Mehdi_Baala_0001", 1, 1),
]
