"""A small real data set: the faces of the repository's two portraits, each in many lights and places."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mien import FaceAnalyzer
from mien.datasets.base import ImageSet

LABELS = ("astronaut", "hopper")


@pytest.fixture
def drawn():
    """For tests that look at the pictures of a run's report."""


@pytest.fixture(autouse=True)
def _not_drawn(request, monkeypatch):
    """Nine tenths of the time of so small a run would be matplotlib's: elsewhere its report has no pictures."""
    if "drawn" in request.fixturenames:
        return
    from mien.training import reports

    for name in ("plot_confusion", "plot_reliability", "plot_learning_curves"):
        monkeypatch.setattr(reports, name, lambda *_, **__: None)
    monkeypatch.setattr(reports, "report_pictures", lambda _: {})


@pytest.fixture(scope="session")
def two_faces():
    """(2, 64, 64, 3) uint8: the two faces."""
    astronaut = np.asarray(Image.open("tests/photos/astronaut.jpg").convert("RGB"))
    hopper = np.asarray(Image.open("tests/photos/grace_hopper.jpg").convert("RGB"))
    analyzer = FaceAnalyzer(only=("detect",))
    crops = []
    for picture in (astronaut, hopper):
        x1, y1, x2, y2 = analyzer(picture).largest().boxes[0].astype(int)
        crops.append(cv2.resize(picture[y1:y2, x1:x2], (64, 64), interpolation=cv2.INTER_AREA))
    return np.stack(crops)


@pytest.fixture(scope="session")
def make_set(two_faces):
    """A set of n pictures, half of each face, lit and shifted at random."""

    def make(n, seed=0):
        rng = np.random.default_rng(seed)
        truth = np.arange(n) % 2
        pictures = []
        for label in truth:
            shift = rng.integers(-5, 6, 2)
            moved = np.roll(two_faces[label], shift, axis=(0, 1)).astype(np.float32)
            lit = (moved - 128) * rng.uniform(0.5, 1.3) + 128 + rng.uniform(-40, 40) + rng.normal(0, 12, moved.shape)
            pictures.append(np.clip(lit, 0, 255).astype(np.uint8))
        return ImageSet(
            name=f"two faces {seed}",
            protocol="which portrait",
            labels=LABELS,
            items=[f"{i}.png" for i in range(n)],
            targets=np.eye(2, dtype=np.float32)[truth],
            truth=truth.astype(np.int64),
            read=pictures.__getitem__,
        )

    return make
