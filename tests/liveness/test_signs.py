from __future__ import annotations

import cv2
import numpy as np
import pytest

from mien import FaceAnalyzer, load_image
from mien.liveness.guards import Limits
from mien.liveness.observing import TASKS, observe
from mien.liveness.signs import look_for_signs
from tests.liveness.acting import Actor, Shown, camera
from tests.liveness.staging import Frame
from tests.liveness.synthetic import landmarks


@pytest.fixture(scope="module")
def actor(portrait):
    image = load_image(portrait)
    return Actor(image, FaceAnalyzer(only=("detect",), threads=1)(image).landmarks[0])


def signs(image, points):
    return look_for_signs(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.asarray(points, np.float32))


def test_a_screen_beats_and_a_photograph_does_not(actor):
    random = np.random.default_rng(0)
    seen = camera(Shown(actor.photo[::-1], screen=True)(actor.photo), random)
    assert signs(seen, actor.landmarks).moire > Limits().moire
    assert signs(camera(actor.photo.astype(float), random), actor.landmarks).moire < Limits().moire - 2


def test_the_rim_of_a_print(actor):
    random = np.random.default_rng(0)
    assert signs(camera(Shown(actor.photo[::-1])(actor.photo), random), actor.landmarks).sides == 4
    assert signs(actor.photo, actor.landmarks).sides < 4


@pytest.mark.parametrize("shape", [(1, 1), (8, 300), (300, 8), (40, 40)])
def test_small_pictures(shape):
    grey = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    found = look_for_signs(grey, landmarks())
    assert np.isfinite(found.moire)
    assert 0 <= found.sides <= 4


@pytest.mark.parametrize(
    "points", [np.zeros((5, 2)), np.full((5, 2), np.nan), landmarks() + 10_000, landmarks() - 10_000]
)
def test_landmarks_that_are_nowhere(points):
    found = look_for_signs(np.full((100, 120), 90, np.uint8), points.astype(np.float32))
    assert found.sides == 0
    assert np.isfinite(found.moire)


class Seen:
    """A moment, as an analyzer of pictures sees it."""

    def __init__(self, faces, seen=True):
        n = len(faces)
        self.faces = faces
        self.ids = np.arange(1, n + 1)
        self.seen = np.full(n, seen)
        self.embedded = np.ones(n, np.bool_)


def test_what_is_observed_of_a_picture(portrait):
    image = load_image(portrait)
    faces = FaceAnalyzer(only=TASKS, threads=1)(image)
    seen = observe(Frame(0, 1.5, image), Seen(faces))
    assert seen.time == 1.5
    assert seen.thumb.shape == (32, 32)
    assert seen.thumb.mean() == pytest.approx(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean(), abs=1)
    assert seen.look.track == 1
    assert seen.look.eyes > 0.9
    assert seen.look.happiness < 0.5
    assert abs(seen.look.patch.mean()) < 0.01
    assert np.array_equal(seen.look.embedding, faces.embeddings[0])
    other = image.copy()
    other[0, 0, 0] ^= 1
    assert observe(Frame(0, 1.5, other), Seen(faces)).digest != seen.digest
    assert observe(Frame(0, 1.5, image), Seen(faces, seen=False)).look is None
    assert observe(Frame(0, 1.5, image), Seen(faces[:0])).look is None
    with pytest.raises(ValueError, match="expressions"):
        observe(Frame(0, 1.5, image), Seen(FaceAnalyzer(only=("detect", "pose"), threads=1)(image)))
