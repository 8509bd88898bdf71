from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from mien.ops.degrade import FACE, KINDS, degrade, eye_distance
from mien.ops.image import load_image
from tests.conftest import PHOTOS

ASTRONAUT = np.array(
    [[203.34, 101.38], [247.08, 104.87], [223.24, 125.04], [203.22, 142.06], [241.05, 144.69]], dtype=np.float32
)
"""Where the detector sees the landmarks of tests/photos/astronaut.jpg."""


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return load_image(PHOTOS / "astronaut.jpg")


def levels(photo, kind):
    """Clean, and every strength of the report from mild to harsh."""
    return [degrade(photo, ASTRONAUT, kind, strength) for strength in (0, *KINDS[kind].strengths)]


def face(image, landmarks=ASTRONAUT):
    """The middle of the face, grey."""
    x, y = landmarks.mean(axis=0).astype(int)
    half = int(0.9 * eye_distance(landmarks))
    return cv2.cvtColor(image[y - half : y + half, x - half : x + half], cv2.COLOR_RGB2GRAY).astype(float)


def at(image, x, y, landmarks=ASTRONAUT):
    """The colour at a place given in eye distances from between the eyes."""
    to_picture = np.linalg.lstsq(np.column_stack([FACE, np.ones(5)]), landmarks, rcond=None)[0]
    column, row = np.rint(np.array([x, y, 1]) @ to_picture).astype(int)
    return image[row, column].astype(int)


def falls(values):
    return all(b < a for a, b in pairwise(values))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_the_identity_and_the_input_stays(photo, kind):
    before = photo.copy()
    same = degrade(photo, ASTRONAUT, kind, 0)
    np.testing.assert_array_equal(same, photo)
    assert same is not photo
    worse = degrade(photo, ASTRONAUT, kind, KINDS[kind].strengths[-1])
    assert worse.dtype == np.uint8
    assert worse.shape[2] == 3
    assert worse.shape != photo.shape or (worse != photo).any()
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_twice(photo, kind):
    strength = KINDS[kind].strengths[1]
    once, again = (degrade(photo, ASTRONAUT, kind, strength) for _ in range(2))
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("kind", KINDS)
def test_grey_stays_grey(photo, kind):
    grey = np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    worse = degrade(grey, ASTRONAUT, kind, KINDS[kind].strengths[-1])
    assert (worse == worse[..., :1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_face_at_the_edge_or_outside_of_the_picture(photo, kind):
    for landmarks in (ASTRONAUT - ASTRONAUT.mean(axis=0), ASTRONAUT + 2000, ASTRONAUT * 20):
        assert degrade(photo, landmarks, kind, KINDS[kind].strengths[0]).size > 0


@pytest.mark.parametrize("kind", KINDS)
def test_strengths_that_mean_nothing(photo, kind):
    for strength in (float("nan"), 1e9, -1e9):
        with pytest.raises(ValueError, match=f"strength of {kind} is "):
            degrade(photo, ASTRONAUT, kind, strength)


def test_unknown_kind(photo):
    with pytest.raises(ValueError, match="'rain' is none of dark, bright"):
        degrade(photo, ASTRONAUT, "rain", 1)


def test_darkness_is_stops_of_linear_light(photo):
    assert falls([image.mean() for image in levels(photo, "dark")])
    white = np.full((4, 4, 3), 255, np.uint8)
    # a quarter of the light is 0.25 linear: sRGB 0.5371
    assert degrade(white, ASTRONAUT, "dark", 2)[0, 0].tolist() == [137] * 3
    brighter = [image.mean() for image in levels(photo, "bright")]
    assert falls(brighter[::-1])


def test_blur_takes_detail_and_follows_the_size_of_the_face(photo):
    for kind in ("blur", "motion"):
        assert falls([cv2.Laplacian(face(image), cv2.CV_64F).var() for image in levels(photo, kind)])
    point = np.zeros((101, 101, 3), np.uint8)
    point[50, 50] = 255
    edge = np.zeros((101, 101, 3), np.uint8)
    edge[:, 51:] = 255
    spread = np.diff(degrade(edge, FACE * 40, "blur", 0.05)[50, :, 0].astype(float))
    assert np.sqrt((spread * (np.arange(100) - 50) ** 2).sum() / 255) == pytest.approx(0.05 * 40, rel=0.05)
    path = degrade(point, FACE * 40, "motion", 0.2)[50, :, 0] > 0
    assert path.sum() in (8, 9)
    assert degrade(point, FACE * 40, "motion", 0.2)[49].max() == 0


def test_noise_has_the_sd_that_it_says(photo):
    grey = np.full((200, 200, 3), 128, np.uint8)
    for sd in (5, 20):
        noisy = degrade(grey, ASTRONAUT, "noise", sd).astype(float)
        assert (noisy - 128).std() == pytest.approx(sd, rel=0.03)
    apart = degrade(photo, ASTRONAUT, "noise", 10).astype(float) - photo
    between = (photo > 60).all(axis=2) & (photo < 190).all(axis=2)
    assert apart[between].std() == pytest.approx(10, rel=0.05)
    assert abs(np.corrcoef(apart[between][:, 0], apart[between][:, 2])[0, 1]) < 0.05
    other = degrade(photo[::-1].copy(), ASTRONAUT, "noise", 10).astype(float) - photo[::-1]
    assert (other != apart).any()  # no two pictures get the same noise


def test_compression_strays_further_at_lower_quality(photo):
    errors = [np.abs(image.astype(float) - photo).mean() for image in levels(photo, "jpeg")]
    assert falls(errors[::-1])
    assert errors[0] == 0


def test_small_pictures_have_their_eyes_that_far_apart(photo):
    before = eye_distance(ASTRONAUT)
    for pixels in (24, 12):
        small = degrade(photo, ASTRONAUT, "size", pixels)
        scale = np.array(small.shape[:2]) / photo.shape[:2]
        np.testing.assert_allclose(before * scale, pixels, rtol=0.01)
    np.testing.assert_array_equal(degrade(photo, ASTRONAUT, "size", 300), photo)  # never enlarged


def test_a_face_that_looks_aside_keeps_its_eye_distance():
    assert eye_distance(FACE * 40) == pytest.approx(40, rel=1e-4)
    turned = FACE * 40 * np.array([0.6, 1], dtype=np.float32)
    assert np.ptp(turned[:2, 0]) == pytest.approx(24)
    assert 33 < eye_distance(turned) < 40


def test_rotation_turns_about_the_face(photo):
    turned = degrade(photo, ASTRONAUT, "rotation", 90)
    x, y = np.rint(ASTRONAUT.mean(axis=0)).astype(int)
    was, now = (image[y - 30 : y + 31, x - 30 : x + 31].astype(float) for image in (photo, turned))
    assert np.abs(np.rot90(was) - now).mean() < 12  # half a pixel aside at most
    assert np.abs(was - now).mean() > 25
    back = degrade(turned, ASTRONAUT, "rotation", -90)
    assert np.abs(face(back) - face(photo)).mean() < 8


def test_the_mask_sits_on_mouth_nose_and_chin(photo):
    cloth = (168, 200, 216)
    for share, covered, free in (
        (0.5, [(0, 1.154), (0.3, 1.2), (0, 1.7)], [(0, 0.57), (0.5, 0), (0, 0.3)]),
        (0.75, [(0, 1.154), (0, 0.78), (0, 1.7)], [(0, 0.45), (-0.5, 0)]),
        (1, [(0, 0.57), (0, 1.6), (0.7, 0.9)], [(-0.5, 0), (0.5, 0), (0, 0.05), (0, -0.5)]),
    ):
        masked = degrade(photo, ASTRONAUT, "mask", share)
        for place in covered:
            assert np.abs(at(masked, *place) - cloth).max() < 60, (share, place)
            assert (at(masked, *place) != at(photo, *place)).any()
        for place in free:
            np.testing.assert_array_equal(at(masked, *place), at(photo, *place))


def test_glasses_cover_the_eyes(photo):
    for x in (-0.5, 0.5):
        darker = [at(image, x, 0.05).sum() for image in levels(photo, "glasses")]
        assert falls(darker)
        assert darker[-1] < 60
    glasses = degrade(photo, ASTRONAUT, "glasses", 1)
    for place in ((0, 0.57), (0, 1.154), (0, -0.6), (0, -0.3)):
        np.testing.assert_array_equal(at(glasses, *place), at(photo, *place))


def test_the_hat_covers_the_forehead_and_leaves_the_eyes(photo):
    hidden = [(image != photo).any(axis=2).sum() for image in levels(photo, "hat")]
    assert falls(hidden[::-1][:-1])
    hat = degrade(photo, ASTRONAUT, "hat", 1)
    assert at(hat, 0, -0.6).max() < 90
    for place in ((-0.5, 0.0), (0.5, 0.0), (0, 0.57), (0, 1.154)):
        np.testing.assert_array_equal(at(hat, *place), at(photo, *place))
    half = degrade(photo, ASTRONAUT, "hat", 0.5)
    np.testing.assert_array_equal(at(half, 0, -0.5), at(photo, 0, -0.5))


def test_what_is_worn_turns_with_the_head():
    """Drawn on a turned face, it is what is drawn on an upright one, turned."""
    plain = np.full((240, 240, 3), 128, np.uint8)
    upright = FACE * 30 + np.array([120, 110], dtype=np.float32)
    turn = cv2.getRotationMatrix2D((120, 120), 25, 1.0)
    turned = (upright @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    for kind in ("mask", "glasses", "hat"):
        first = cv2.warpAffine(degrade(plain, upright, kind, 1), turn, (240, 240), borderValue=(128, 128, 128))
        then = degrade(plain, turned, kind, 1)
        middle = (slice(30, 210), slice(30, 210))
        assert np.abs(first[middle].astype(float) - then[middle]).mean() < 1.5, kind
