"""Kept crops: an embedder sees in them what it saw in the picture."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.errors import GalleryError
from mien.gallery.kept_crops import MAX_SIDE, make_crop, read_crop
from mien.models import arcface
from mien.ops import align
from mien.ops.image import load_image
from mien.types import Faces


@pytest.fixture(scope="module")
def seen(analyzer, portrait):
    image = load_image(portrait)
    return image, analyzer.detector([image])[0].largest()


def turned(image, face, angle):
    """The picture and its face, turned about its centre."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    matrix[:, 2] += 300
    landmarks = align.apply(matrix[None], face.landmarks)
    box = np.concatenate([landmarks[0].min(axis=0) - 40, landmarks[0].max(axis=0) + 40])[None]
    moved = cv2.warpAffine(image, matrix, (width + 600, height + 600))
    return moved, Faces(box, face.scores, landmarks, (width + 600, height + 600))


def embedding(analyzer, image, face):
    return analyzer.embedder([image], [face])[0].embeddings[0]


@pytest.mark.parametrize("scale", [0.15, 0.5, 1, 4])
def test_an_embedder_sees_the_same(analyzer, seen, scale):
    image = cv2.resize(seen[0], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    face = Faces(seen[1].boxes * scale, seen[1].scores, seen[1].landmarks * scale, image.shape[1::-1])
    crop = make_crop(image, face)
    piece, found = read_crop(crop)
    assert max(piece.shape) <= MAX_SIDE
    assert len(crop) < 300_000
    assert found.scores[0] == pytest.approx(face.scores[0], abs=1e-4)
    distance = np.linalg.norm(embedding(analyzer, image, face) - embedding(analyzer, piece, found))
    assert distance < (0.1 if scale < 0.2 else 0.06)  # one person's pictures are 0.43 apart


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 180])
def test_the_crops_of_embedders_are_whole_at_any_angle(seen, angle):
    image, face = turned(*seen, angle)
    piece, found = read_crop(make_crop(image, face))
    for spec in (arcface.CROP,):
        wanted, got = (
            align.extract_crops(i, align.crop_transforms(f, spec.template_array(), spec.size), spec.size)[0].astype(int)
            for i, f in ((image, face), (piece, found))
        )
        assert np.abs(wanted - got).mean() < 4
        corners = [got[y, x].sum() for y in (2, -3) for x in (2, -3)]
        assert [c > 0 for c in corners] == [wanted[y, x].sum() > 0 for y in (2, -3) for x in (2, -3)]


def test_landmarks_stay_where_they_are(seen):
    """A mark painted on the eye is found where the crop says the eye is, also where the crop is reduced."""
    image = cv2.resize(seen[0], None, fx=4, fy=4)
    landmarks = seen[1].landmarks * 4
    for x, y in landmarks[0].astype(int):
        cv2.circle(image, (int(x), int(y)), 12, (0, 255, 0), -1)
    piece, found = read_crop(make_crop(image, Faces(seen[1].boxes * 4, seen[1].scores, landmarks, image.shape[1::-1])))
    for x, y in found.landmarks[0].round().astype(int):
        r, g, b = piece[y, x].astype(int)
        assert g > 180 > max(r, b) + 60


def test_a_face_at_the_edge(analyzer, seen):
    image, face = seen
    x, y = face.landmarks[0].mean(axis=0).astype(int)
    corner = np.ascontiguousarray(image[y:, x:])
    shift = np.float32([x, y])
    moved = Faces(face.boxes - np.tile(shift, 2), face.scores, face.landmarks - shift, corner.shape[1::-1])
    piece, found = read_crop(make_crop(corner, moved))
    assert np.linalg.norm(embedding(analyzer, corner, moved) - embedding(analyzer, piece, found)) < 0.2


@pytest.mark.parametrize("landmarks", [np.zeros((1, 5, 2)), np.full((1, 5, 2), -1e4)])
def test_degenerate_landmarks_give_some_crop(seen, landmarks):
    image, face = seen
    read_crop(make_crop(image, Faces(face.boxes, face.scores, landmarks, face.image_size)))


def test_one_face_makes_a_crop(seen):
    with pytest.raises(ValueError, match="one face"):
        make_crop(seen[0], Faces.empty((10, 10)))


def jpeg(comment, size=(64, 64)):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "JPEG", comment=comment)
    return file.getvalue()


GOOD = {"mien-face": 1, "box": [1, 1, 9, 9], "landmarks": [[1, 1]] * 5, "score": 0.9}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        jpeg(b""),
        jpeg(b"a comment"),
        jpeg(b"[1]"),
        jpeg(b"[" * 5000),
        jpeg(json.dumps(GOOD | {"mien-face": 2}).encode()),
        jpeg(json.dumps(GOOD | {"landmarks": [[1, 1]] * 4}).encode()),
        jpeg(json.dumps(GOOD | {"landmarks": [["a", 1]] * 5}).encode()),
        jpeg(json.dumps(GOOD | {"box": [1, 1, 9, float("nan")]}).encode()),
        jpeg(json.dumps({"mien-face": 1}).encode()),
        jpeg(json.dumps(GOOD).encode(), (2000, 2000)),
        jpeg(json.dumps(GOOD).encode())[:-200],
    ],
)
def test_what_is_no_kept_crop(data):
    with pytest.raises(GalleryError) as caught:
        read_crop(data)
    assert "\n" not in str(caught.value)


def test_the_cases_above_fail_for_their_reason():
    assert len(read_crop(jpeg(json.dumps(GOOD).encode()))[1]) == 1
