from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mien.errors import DataError, ImageDecodeError
from mien.evaluation.describe import SubjectDescriber, loaded, subject
from mien.models.base import Calibration
from mien.types import Faces


def faces(*boxes, size=(250, 250), embeddings=True) -> Faces:
    n = len(boxes)
    found = Faces(np.reshape(boxes, (n, 4)), np.ones(n), np.zeros((n, 5, 2)), size)
    return found.with_embeddings(np.arange(n, dtype=np.float32)[:, None]) if embeddings else found


class TestSubject:
    def test_none_without_faces(self):
        assert subject(Faces.empty((250, 250))) is None

    def test_only_face_even_at_the_edge(self):
        assert subject(faces((0, 0, 10, 10))) == 0

    def test_the_central_of_equals(self):
        assert subject(faces((0, 75, 100, 175), (90, 80, 190, 180), (150, 0, 250, 100))) == 1

    def test_not_the_larger_bystander_at_the_edge(self):
        assert subject(faces((0, 0, 110, 110), (80, 80, 175, 175))) == 1

    def test_not_a_speck_in_the_very_centre(self):
        assert subject(faces((120, 120, 130, 130), (85, 85, 185, 185))) == 1

    def test_the_centre_is_of_the_picture_not_a_square(self):
        assert subject(faces((50, 50, 100, 100), (275, 50, 325, 100), size=(600, 150))) == 1


class FakeAnalyzer:
    """Finds in each 1x1 picture as many faces as its value says; the embedding counts them."""

    def __init__(self, calibrations=()):
        self.embedder = SimpleNamespace(record=SimpleNamespace(name="toy", calibrations=dict(calibrations)))
        self.detector = SimpleNamespace(record=SimpleNamespace(name="d"))
        self.batches: list[int] = []

    def __call__(self, images):
        self.batches.append(len(images))
        return [faces(*[(100, 100, 100 + k, 100 + k) for k in range(1, 1 + int(image[0, 0, 0]))]) for image in images]

    def similarity(self, a, b):
        return (a * b).sum(axis=1)


def load(path: Path):
    if path.stem == "broken":
        raise ImageDecodeError(f"{path}: not an image")
    return np.full((1, 1, 3), int(path.stem), np.uint8)


class TestSubjectDescriber:
    def test_batches_order_and_missed(self):
        analyzer = FakeAnalyzer()
        describe = SubjectDescriber(analyzer, load, batch=3)
        seen = []
        out = describe([Path(str(k)) for k in (1, 0, 3, 2, 5, 4, 0)], progress=lambda *at: seen.append(at))
        assert [None if e is None else e.tolist() for e in out] == [[0], None, [2], [1], [4], [3], None]
        assert analyzer.batches == [3, 3, 1]
        assert seen == [(3, 7), (6, 7), (7, 7)]

    def test_no_pictures(self):
        assert SubjectDescriber(FakeAnalyzer(), load)([]) == []

    def test_unreadable_picture(self):
        describe = SubjectDescriber(FakeAnalyzer(), load)
        with pytest.raises(DataError, match=r"broken.jpg: cannot be used"):
            describe([Path("1"), Path("broken.jpg")])

    def test_facts_for_the_report(self):
        fast = Calibration({"1e-3": 0.5}, (1.0, 0.0), "toy")
        analyzer = FakeAnalyzer({"fast": fast})
        describe = SubjectDescriber(analyzer, load, mode="fast")
        assert (describe.model, describe.setup) == ("toy", {"detector": "d", "mode": "fast"})
        assert describe.calibration is fast
        assert SubjectDescriber(analyzer, load, mode="accurate").calibration is None
        assert describe.similarity(np.ones((2, 3)), np.ones((2, 3))).tolist() == [3, 3]

    def test_an_analyzer_without_embeddings_is_a_mistake(self):
        describe = SubjectDescriber(lambda images: [faces((0, 0, 1, 1), embeddings=False)], load)
        with pytest.raises(ValueError, match="without embeddings"):
            describe([Path("1")])


class TestLoaded:
    def test_reads_ahead_in_another_thread_but_not_further(self):
        read: list[tuple[str, str]] = []

        def slow(path):
            read.append((path.name, threading.current_thread().name))
            return np.zeros((1, 1, 3), np.uint8)

        pictures = loaded([Path(str(k)) for k in range(20)], slow, ahead=4)
        for _ in range(3):
            next(pictures)
        deadline = time.monotonic() + 60
        while len(read) < 6 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02)
        assert [name for name, _ in read] == ["0", "1", "2", "3", "4", "5"]  # 3 taken, 3 waiting
        assert all(thread.startswith("mien-load") for _, thread in read)
        assert len(list(pictures)) == 17

    def test_stops_reading_when_the_caller_stops(self):
        read = []

        def slow(path):
            read.append(path)
            time.sleep(0.2 if len(read) > 1 else 0.0)
            return np.zeros((1, 1, 3), np.uint8)

        pictures = loaded([Path(str(k)) for k in range(100)], slow, ahead=50)
        next(pictures)
        pictures.close()
        assert len(read) < 40  # of 50 that were to be read ahead
