"""Faces: a frozen struct of arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mien.types import Faces, Verification


def faces(n: int, dimensions: int | None = None) -> Faces:
    boxes = np.array([[i, i, i + 10 * (i + 1), i + 10] for i in range(n)], dtype=float).reshape(n, 4)
    embeddings = None if dimensions is None else np.arange(n * dimensions, dtype=float).reshape(n, dimensions)
    return Faces(boxes, np.linspace(0.9, 0.5, n), np.zeros((n, 5, 2)), (100, 50), embeddings)


def test_no_faces():
    none = Faces.empty((100, 50))
    assert len(none) == 0
    assert none.to_dicts() == []
    assert len(none.largest()) == 0
    assert list(none) == []
    assert none[:0].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("boxes", np.zeros((2, 5))),
        ("scores", np.zeros(3)),
        ("landmarks", np.zeros((2, 10))),
        ("embeddings", np.zeros((3, 128))),
        ("embeddings", np.zeros(2)),
    ],
)
def test_a_wrong_shape_is_refused(field, value):
    arrays = {"boxes": np.zeros((2, 4)), "scores": np.zeros(2), "landmarks": np.zeros((2, 5, 2))}
    with pytest.raises(ValueError, match=field):
        Faces(**{**arrays, field: value}, image_size=(10, 10))


def test_arrays_are_float32_copies_that_nobody_can_change():
    boxes = np.zeros((1, 4))
    one = Faces(boxes, [0.5], np.zeros((1, 5, 2)), (10, 10))
    boxes[:] = 7
    assert one.boxes.dtype == np.float32
    assert one.boxes.sum() == 0
    with pytest.raises(ValueError, match="read-only"):
        one.boxes[0] = 1


def test_indexing_selects_faces_with_everything_they_have():
    three = faces(3, dimensions=2)
    assert three[1].boxes.tolist() == [three.boxes[1].tolist()]
    assert three[-1].embeddings.tolist() == [[4, 5]]
    assert len(three[np.array([True, False, True])]) == 2
    assert [len(f) for f in three] == [1, 1, 1]
    with pytest.raises(IndexError):
        three[3]


def test_largest_is_by_area():
    assert faces(3).largest().boxes[0, 0] == 2


def test_dicts_hold_what_there_is_and_nothing_else():
    plain = faces(1).to_dicts()[0]
    assert set(plain) == {"box", "score", "landmarks"}
    full = faces(1, dimensions=4).to_dicts()[0]
    assert full["embedding"] == [0, 1, 2, 3]
    assert "embedding" not in faces(1, dimensions=4).to_dicts(embeddings=False)[0]
    json.dumps(full)


def test_verification_as_a_dict():
    answer = Verification(True, 0.71239, 0.99876, 0.5, 1e-3, "m", "fast").to_dict()
    assert answer["similarity"] == 0.7124
    assert answer["same"] is True
