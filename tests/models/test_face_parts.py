"""Eyes and mouths that are open or closed: the networks that ship, on real faces, and how parts are cut."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import mien
from mien import ModelError
from mien.models import face_parts, registry
from mien.models.base import CropSpec, RuntimeOptions
from mien.models.cards import write_card_beside
from mien.models.classifier import CropClassifier
from mien.models.store import WeightsStore
from mien.types import Faces
from tests.models.tiny_classifier import card, network

OPTIONS = RuntimeOptions(threads=1)
FACE = np.array([(0, 0), (1, 0), (0.5, 0.583), (0.077, 1.03), (0.923, 1.03)], np.float32)


@pytest.fixture(scope="module")
def analyzer() -> mien.FaceAnalyzer:
    return mien.FaceAnalyzer(only=("detect", "eyes", "mouth"), threads=1).load()


def faces(*landmarks: np.ndarray, size=(400, 300)) -> Faces:
    points = np.stack(landmarks) if landmarks else np.zeros((0, 5, 2), np.float32)
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    return Faces(boxes, np.full(len(points), 0.9), points, size)


def crop_of(part: str) -> CropSpec:
    crop = registry.record(face_parts.SHIPPED[part]).crop
    assert crop is not None
    return crop


def with_lids(image: np.ndarray, face: Faces) -> np.ndarray:
    """The picture with both eyes painted shut: the skin around each over it, softly, and a line of lashes."""
    apart = float(np.linalg.norm(face.landmarks[0, 1] - face.landmarks[0, 0]))
    painted = image.astype(np.float32)
    for x, y in np.round(face.landmarks[0, :2]).astype(int).tolist():
        inner, outer = (np.zeros(image.shape[:2], np.uint8) for _ in range(2))
        cv2.ellipse(inner, (x, y), (round(0.27 * apart), round(0.15 * apart)), 0, 0, 360, 255, -1)
        cv2.ellipse(outer, (x, y), (round(0.31 * apart), round(0.2 * apart)), 0, 0, 360, 255, -1)
        skin = np.median(image[(outer > 0) & (inner == 0)], axis=0)
        share = cv2.GaussianBlur(inner, (0, 0), 0.03 * apart)[:, :, None] / 255
        painted = (1 - share) * painted + share * skin
        lashes = (round(0.22 * apart), round(0.06 * apart))
        cv2.ellipse(painted, (x, y), lashes, 0, 10, 170, (skin * 0.35).tolist(), max(round(0.03 * apart), 1))
    return np.asarray(cv2.GaussianBlur(painted, (0, 0), 0.015 * apart), dtype=np.uint8)


def with_open_mouth(image: np.ndarray, face: Faces) -> np.ndarray:
    """The picture with a dark hole below the upper lip."""
    image = image.copy()
    left, right = face.landmarks[0, 3:]
    apart = float(np.linalg.norm(face.landmarks[0, 1] - face.landmarks[0, 0]))
    x, y = (left + right) / 2
    place = (round(float(x)), round(float(y) + 0.12 * apart))
    cv2.ellipse(image, place, (round(0.3 * apart), round(0.24 * apart)), 0, 0, 360, (150, 80, 75), -1, cv2.LINE_AA)
    cv2.ellipse(image, place, (round(0.25 * apart), round(0.18 * apart)), 0, 0, 360, (35, 15, 15), -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.02 * apart), dtype=np.uint8)


def test_portraits_have_open_eyes_and_closed_mouths(analyzer, portrait, astronaut):
    for path in (portrait, astronaut):
        (found,) = analyzer(path).to_dicts()
        assert found["eyes"]["left"]["open"]
        assert found["eyes"]["right"]["open"]
        assert found["eyes"]["left"]["confidence"] > 0.7
        assert not found["mouth"]["open"]  # also of the astronaut, who smiles with her teeth closed


def test_real_portraits_have_open_eyes(analyzer, shared_photos):
    for name in ("obama_1.jpg", "biden_1.jpg", "alex_2.jpg", "kit_1.jpg", "rose_1.jpg", "lin_1.png"):
        eyes = analyzer(shared_photos / name).largest().eyes
        assert min(eyes.left[0], eyes.right[0]) > 0.5, name


def test_painted_lids_close_the_eyes_and_a_painted_hole_opens_the_mouth(analyzer, portrait, astronaut):
    for path in (portrait, astronaut):
        image = mien.load_image(path)
        face = analyzer(image).largest()
        shut = analyzer._stages["eyes"]()([with_lids(image, face)], [face])[0].eyes
        assert max(shut.left[0], shut.right[0]) < 0.5
        gaping = analyzer._stages["mouth"]()([with_open_mouth(image, face)], [face])[0].mouths
        assert gaping.open[0] > 0.5


def test_one_closed_eye_is_said_of_that_eye(analyzer, astronaut):
    image = mien.load_image(astronaut)
    face = analyzer(image).largest()
    winking = with_lids(image, face)
    middle = int(face.landmarks[0, :2, 0].mean())
    winking[:, middle:] = image[:, middle:]
    (said,) = analyzer._stages["eyes"]()([winking], [face])[0].to_dicts()
    assert (said["eyes"]["left"]["open"], said["eyes"]["right"]["open"]) == (False, True)


def test_a_mirrored_picture_swaps_the_eyes(analyzer, portrait):
    image = mien.load_image(portrait)
    face = analyzer(image).largest()
    points = face.landmarks[:, [1, 0, 2, 4, 3]].copy()
    points[..., 0] = image.shape[1] - 1 - points[..., 0]
    mirrored = Faces(face.boxes, face.scores, points, face.image_size)
    other = analyzer._stages["eyes"]()([np.ascontiguousarray(image[:, ::-1])], [mirrored])[0].eyes
    np.testing.assert_allclose([other.left, other.right], [face.eyes.right, face.eyes.left], atol=0.02)


def test_many_faces_answer_as_each_alone_and_none_is_fine(analyzer, portrait, astronaut):
    images = [mien.load_image(path) for path in (portrait, astronaut)]
    blank = np.zeros((64, 64, 3), np.uint8)
    none, *found = analyzer([blank, *images])
    assert len(none.eyes) == len(none.mouths) == 0
    assert none.to_dicts() == []
    for image, face in zip(images, found, strict=True):
        alone = analyzer(image)
        np.testing.assert_allclose(alone.eyes.left, face.eyes.left, atol=1e-5)
        np.testing.assert_allclose(alone.mouths.open, face.mouths.open, atol=1e-5)
    assert analyzer([]) == []


def test_crops_show_the_parts_where_the_card_says():
    upright, turned = FACE * 100 + [120, 80], FACE @ np.array([[0, 100], [-100, 0]], np.float32) + [250, 100]
    for points in (upright, turned.astype(np.float32)):
        image = np.zeros((400, 400, 3), np.uint8)
        for value, (x, y) in zip((100, 150, 0, 200, 250), points, strict=True):
            cv2.circle(image, (round(float(x)), round(float(y))), 8, (value,) * 3, -1)
        found = faces(points, size=(400, 400))
        left = face_parts.left_eyes([image], [found], crop_of("eyes"))[0][0, 14:18, 14:18]
        right = face_parts.right_eyes([image], [found], crop_of("eyes"))[0][0, 14:18, 14:18]
        assert abs(float(left.mean()) - 100) < 3
        assert abs(float(right.mean()) - 150) < 3
        mouth = face_parts.mouths([image], [found], crop_of("mouth"))[0][0, ..., 0]
        assert mouth[:, :16].max() > 180  # the left corner
        assert mouth[:, 16:].max() > 230  # and the right one


def test_a_right_eye_is_mirrored():
    image = np.zeros((300, 400, 3), np.uint8)
    points = FACE * 100 + [120, 80]
    image[:, 220:] = 255  # the outer half of the right eye
    crop = face_parts.right_eyes([image], [faces(points)], crop_of("eyes"))[0][0, ..., 0]
    assert crop[:, :14].min() > 200
    assert crop[:, 18:].max() < 50


def test_the_eyes_of_a_turned_face_stay_in_the_middle():
    points = FACE * 100 + [120, 80]
    points[2, 0] += 40  # the nose of a face that looks aside
    points[1, 0] -= 25
    found = faces(points)
    crop = crop_of("eyes")
    template = crop.template_array()
    transforms = face_parts.part_transforms(found, template, crop.size, (0,))
    from mien.ops import align

    np.testing.assert_allclose(align.apply(transforms, found.landmarks)[0, 0], template[0], atol=1e-3)


def test_landmarks_that_say_nothing_still_give_answers(analyzer):
    image = np.full((100, 100, 3), 128, np.uint8)
    same, missing = np.full((5, 2), 50, np.float32), np.full((5, 2), np.nan, np.float32)
    found = Faces([[10, 10, 90, 90]] * 2, [0.9, 0.9], np.stack([same, missing]), (100, 100))
    for stage in ("eyes", "mouth"):
        found = analyzer._stages[stage]()([image], [found])[0]
    assert np.isfinite([found.eyes.left, found.eyes.right, found.mouths.open]).all()


def test_networks_for_something_else_are_refused(tmp_path):
    other = CropClassifier(network(), OPTIONS)
    with pytest.raises(ModelError, match="is for 'expression', not for 'eyes'"):
        face_parts.EyeStates(registry.record("mien-s"), other)
    with pytest.raises(ModelError, match="not for 'mouth'"):
        face_parts.MouthStates(registry.record("mien-s"), other)
    with pytest.raises(ModelError, match="not closed and open"):
        face_parts.check_part(card(task="eyes"), "eyes")
    (tmp_path / "mien-eyes.onnx").write_bytes(network(card(name="mien-eyes")))
    write_card_beside(tmp_path / "mien-eyes.onnx", card(name="mien-eyes"))
    with pytest.raises(ModelError, match="for 'expression'"):
        face_parts.bundled("eyes", tmp_path)
    with pytest.raises(ModelError, match="cannot read the card"):
        face_parts.bundled("mouth", tmp_path)


@pytest.mark.parametrize("part", ["eyes", "mouth"])
def test_shipped_networks_are_small_and_say_what_they_are(part):
    record = registry.record(face_parts.SHIPPED[part])
    assert record.weights.size <= 100_000
    assert record.task == part
    assert record.labels == ("closed", "open")
    assert not record.commercial_use
    found = registry.load_part(part, record.name, WeightsStore(), OPTIONS)
    assert {"accuracy", "tpr", "fpr", "auc"} <= set(next(iter(found.card.metrics.values())))
