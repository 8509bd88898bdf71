"""Quality on real photographs that are made worse: the right measure falls, and the right advice comes."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from mien import FaceAnalyzer, Faces, load_image
from mien.answers import Poses, Qualities
from mien.models.quality import FaceQuality, fitted
from mien.ops import advice


@pytest.fixture(scope="module")
def picture(portrait):
    return load_image(portrait)


@pytest.fixture(scope="module")
def face(picture) -> Faces:
    return FaceAnalyzer(only=("detect",), threads=1)(picture)


def assess(image, face) -> Qualities:
    """By the landmarks of the picture as it was: what is tested is the measure, not the detector."""
    return FaceQuality().assess(np.ascontiguousarray(image), face)


def shrunk(face: Faces, scale: float) -> Faces:
    width, height = face.image_size
    return Faces(face.boxes * scale, face.scores, face.landmarks * scale, (int(width * scale), int(height * scale)))


def test_a_good_portrait_is_usable(picture, face):
    quality = assess(picture, face)
    assert quality.usable[0], quality.advice
    assert quality.score[0] > 0.85
    assert quality.inside[0] == 1


def spoilt(picture, how: str):
    ramp = np.clip(np.linspace(-0.5, 1.5, 200), 0.03, 1)[None, :, None]
    wide = np.ones((1, picture.shape[1], 1))
    wide[:, 150:350] = ramp
    wide[:, :150] = 0.03
    return {
        "dark": lambda: (picture * 0.12).astype(np.uint8),
        "bright": lambda: np.clip(picture * 4.0, 0, 255).astype(np.uint8),
        "blurred": lambda: cv2.GaussianBlur(picture, (0, 0), 9),
        "one-sided": lambda: (picture * wide).astype(np.uint8),
    }[how]()


@pytest.mark.parametrize(
    ("how", "measure", "code"),
    [
        ("dark", "brightness", "more_light"),
        ("blurred", "sharpness", "sharper"),
        ("bright", "bright", "less_light"),
        ("one-sided", "side_light", "even_light"),
    ],
)
def test_what_is_wrong_is_measured_and_said(picture, face, how, measure, code):
    before, after = assess(picture, face), assess(spoilt(picture, how), face)
    lower = how in ("dark", "blurred")
    assert (getattr(after, measure) < 0.5 * getattr(before, measure)) if lower else (getattr(after, measure) > 0.15)
    assert code in after.advice[0]
    assert code not in before.advice[0]
    assert not after.usable[0]


def test_a_far_face_is_told_to_come_closer(picture, face):
    scale = 10 / float(assess(picture, face).eyes[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    quality = assess(small, shrunk(face, scale))
    assert quality.eyes[0] == pytest.approx(10, rel=0.05)
    assert "closer" in quality.advice[0]


def test_a_face_that_the_picture_cuts_off(picture, face):
    middle = int(face.landmarks[0, 2, 0])
    half = Faces(face.boxes, face.scores, face.landmarks, (middle, picture.shape[0]))
    quality = assess(picture[:, :middle], half)
    assert 0.3 < quality.inside[0] < 0.7
    assert "into_view" in quality.advice[0]


def test_a_covered_face(picture, face):
    top, covered = int(face.landmarks[0, :2, 1].mean()), {}
    for tone in (20, 235):
        masked = picture.copy()
        x1, _, x2, y2 = face.boxes[0].astype(int)
        masked[top + 30 : y2 + 20, x1 - 20 : x2 + 20] = tone
        covered[tone] = assess(masked, face)
        assert covered[tone].occlusion[0] > assess(picture, face).occlusion[0] + 0.1
    assert any("uncover" in quality.advice[0] for quality in covered.values())


def test_a_turned_head_and_a_tilted_one(picture, face):
    turned = face.landmarks.copy()
    turned[0, 2, 0] += 0.5 * (turned[0, 1, 0] - turned[0, 0, 0])
    assert "turn_to_camera" in assess(picture, Faces(face.boxes, face.scores, turned, face.image_size)).advice[0]
    centre = face.landmarks[0].mean(axis=0)
    tilted = (face.landmarks - centre) @ np.float32([[0.5, 0.866], [-0.866, 0.5]]) + centre
    assert "upright" in assess(picture, Faces(face.boxes, face.scores, tilted, face.image_size)).advice[0]


def test_the_score_falls_as_a_picture_gets_worse(picture, face):
    scores = [assess(cv2.GaussianBlur(picture, (0, 0), s), face).score[0] for s in (1, 8, 16)]
    assert scores[0] > scores[1] > scores[2]


def test_embeddings_are_used_only_of_the_embedder_that_the_score_knows(analyzer, picture):
    (found,) = analyzer([picture])
    plain = FaceQuality("sface")([picture], [found])[0].qualities
    known = FaceQuality("dlib-resnet")([picture], [found])[0].qualities
    assert fitted().embedder == "dlib-resnet"
    assert plain.score[0] != known.score[0]
    np.testing.assert_array_equal(found.qualities.score, known.score)
    without = FaceAnalyzer(only=("quality", "pose"), threads=1)(picture)
    assert without.embeddings is None
    np.testing.assert_allclose(without.qualities.score, plain.score, atol=1e-4)


def test_no_faces_and_odd_pictures(face):
    blank = np.zeros((40, 60, 3), np.uint8)
    assert len(assess(blank, Faces.empty((60, 40)))) == 0
    nonsense = Faces([[0, 0, 9, 9]], [0.9], np.full((1, 5, 2), np.nan), (60, 40))
    quality = assess(blank, nonsense)
    assert np.isfinite([getattr(quality, name) for name in Qualities.measures()]).all()
    assert "more_light" in quality.advice[0]


def test_json_and_selection(picture, face):
    two = Faces(*(np.concatenate([array] * 2) for array in (face.boxes, face.scores, face.landmarks)), face.image_size)
    quality = assess(picture, two)
    (first, _) = quality.to_dicts()
    assert set(first) == {*Qualities.measures(), "usable", "advice"}
    assert first["advice"] == []
    assert first["usable"] is True
    assert len(quality[np.array([True, False])]) == 1
    assert quality[0].advised.shape == (1, len(advice.CODES))
    with pytest.raises(ValueError, match="advised has shape"):
        Qualities(**{name: [1.0] for name in Qualities.measures()}, codes=("again",), advised=np.zeros((2, 1)))
    with pytest.raises(ValueError, match="pitch has shape"):
        Poses(yaw=[1.0], pitch=[1.0, 2.0], roll=[1.0])


def test_advice_in_two_languages():
    assert advice.texts(["closer", "more_light"]) == ["move closer", "more light"]
    assert advice.texts(["turn_to_camera"], "zh") == ["请转向镜头"]
    assert all(set(text) == {"en", "zh"} for text in advice.TEXTS.values())


def test_quality_and_pose_are_cheap(picture, face):
    arrays = (np.concatenate([array] * 16) for array in (face.boxes, face.scores, face.landmarks))
    many = Faces(*arrays, face.image_size)
    times = []
    for _ in range(5):
        start = time.thread_time()
        assess(picture, many)
        times.append(time.thread_time() - start)
    assert min(times) / 16 < 2e-3  # 1 ms where nothing else runs
