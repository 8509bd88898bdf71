"""Faces: a frozen struct of arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mien.answers import Expressions
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


def expressions(n: int, threshold: float = 0.5) -> Expressions:
    scores = np.array([[0.2, 0.8], [0.55, 0.45], [0.5, 0.5]])[:n].reshape(n, 2)
    return Expressions(("calm", "glad"), scores, threshold)


def test_expressions_name_the_best_or_say_that_they_are_not_sure():
    three = expressions(3, threshold=0.55)
    assert three.top.tolist() == [1, 0, 0]
    assert three.confidence.tolist() == pytest.approx([0.8, 0.55, 0.5])
    assert three.names == ["glad", "calm", "uncertain"]
    assert expressions(3, threshold=0).names == ["glad", "calm", "calm"]
    assert repr(three) == "Expressions(glad 0.80, calm 0.55, uncertain 0.50)"


def test_expressions_are_selected_as_faces_are():
    three = expressions(3)
    assert three[1].names == ["calm"]
    assert three[-1].scores.tolist() == [[0.5, 0.5]]
    assert three[np.array([True, False, True])].names == ["glad", "calm"]
    assert [e.names for e in three[:2]] == [["glad"], ["calm"]]
    assert expressions(0).names == []
    assert expressions(0).confidence.shape == (0,)
    with pytest.raises(IndexError):
        three[3]


def test_expressions_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="scores of classes"):
        Expressions(("calm", "glad"), np.zeros((2, 3)), 0.5)
    with pytest.raises(ValueError, match="labels"):
        Expressions((), np.zeros((2, 0)), 0.5)
    with pytest.raises(ValueError, match="of 2 faces, expected 3"):
        faces(3).with_answers(expressions=expressions(2))
    with pytest.raises(ValueError, match="read-only"):
        expressions(2).scores[0] = 1


def test_faces_carry_their_expressions():
    three = faces(3, dimensions=2).with_answers(expressions=expressions(3))
    assert three[1].expressions.names == ["calm"]
    assert three[np.array([2, 0])].expressions.scores.tolist() == three.expressions.scores[[2, 0]].tolist()
    assert three.largest().expressions.scores.tolist() == [[0.5, 0.5]]
    assert three.with_embeddings(np.zeros((3, 4))).expressions is three.expressions
    assert repr(three) == "Faces(3 in 100 x 50, embeddings of 2, expressions)"


def test_expressions_in_dicts():
    one = faces(1).with_answers(expressions=Expressions(("calm", "glad"), [[0.123456, 0.876544]], 0.9))
    (face,) = one.to_dicts()
    assert face["expression"] == {
        "label": "uncertain",
        "confidence": 0.8765,
        "scores": {"calm": 0.1235, "glad": 0.8765},
    }
    json.dumps(face)
    assert "expression" not in faces(1).to_dicts()[0]
    assert faces(0).with_answers(expressions=expressions(0)).to_dicts() == []


def test_verification_as_a_dict():
    answer = Verification(True, 0.71239, 0.99876, 0.5, 1e-3, "m", "fast").to_dict()
    assert answer["similarity"] == 0.7124
    assert answer["same"] is True


def test_faces_come_back_from_their_dicts(server_analyzer, portrait):
    faces = server_analyzer(portrait)
    again = Faces.from_dicts(faces.to_dicts(), faces.image_size)
    assert again.to_dicts() == faces.to_dicts()
    assert again.image_size == faces.image_size
    assert len(Faces.from_dicts([], (3, 4))) == 0


def test_uncertain_answers_stay_so(server_analyzer, shared_photos):
    faces = server_analyzer(shared_photos / "crowd.jpg")
    assert "uncertain" in faces.expressions.names
    assert Faces.from_dicts(faces.to_dicts(), faces.image_size).expressions.names == faces.expressions.names


@pytest.mark.parametrize("dicts", [[{}], [{"box": "x"}], [1], [{"box": [1, 2, 3], "score": 1, "landmarks": []}]])
def test_what_are_no_faces_is_refused(dicts):
    with pytest.raises(ValueError, match=r"box|faces"):
        Faces.from_dicts(dicts, (1, 1))
