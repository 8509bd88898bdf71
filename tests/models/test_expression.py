"""From faces in pictures to what they show, by a stand-in for a network: brighter crops look happier."""

from __future__ import annotations

import numpy as np
import pytest

from mien import ModelError, UnknownModelError, WeightsError
from mien.models import expression, registry
from mien.models.base import RuntimeOptions
from mien.models.card import card as card_page
from mien.models.cards import write_card_beside
from mien.models.classifier import CropClassifier
from mien.models.store import WeightsStore
from mien.ops import align
from mien.types import Faces
from tests.models.tiny_classifier import LABELS, TEMPLATE, card, network

OPTIONS = RuntimeOptions(threads=1)
PER_CLASS = {"happiness": {"precision": 0.95, "recall": 0.5, "support": 1234}, "contempt": {"precision": 0.25}}


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "my own.onnx"
    path.write_bytes(network())
    return path


@pytest.fixture
def shipped(tmp_path):
    """A folder of bundled weights."""
    metrics = {"FER+ validation": {"accuracy": 0.91234, "per_class": PER_CLASS}}
    this = card(name="mien-s", metrics=metrics, parents={"a trunk": "cd" * 32}, calibration="held-out pictures")
    (tmp_path / "mien-s.onnx").write_bytes(network(this))
    write_card_beside(tmp_path / "mien-s.onnx", this)
    return tmp_path


def face_at(x: float, y: float, scale: float) -> np.ndarray:
    """(5, 2) landmarks of an upright face whose crop has its corner at (x, y)."""
    return np.array(TEMPLATE) * scale + [x, y]


def faces(*points: np.ndarray, size=(400, 300)) -> Faces:
    landmarks = np.stack(points) if points else np.zeros((0, 5, 2))
    boxes = np.concatenate([landmarks.min(axis=1), landmarks.max(axis=1)], axis=1)
    return Faces(boxes, np.full(len(landmarks), 0.9), landmarks, size)


def test_all_faces_of_all_pictures_are_cut_by_the_card_and_classified():
    model = expression.FaceClassifier(expression._record(card(), None), CropClassifier(network(), OPTIONS))
    dark, light = np.zeros((300, 400, 3), np.uint8), np.zeros((300, 400, 3), np.uint8)
    light[50:250, 200:400] = 255
    given = [faces(), faces(face_at(10, 20, 3)), faces(*[face_at(x, 70, 3) for x in (20, 230)] * 20)]
    none, one, many = model([dark, dark, light], given)
    assert none.expressions.scores.shape == (0, 8)
    assert one.expressions.labels == LABELS
    np.testing.assert_allclose(one.expressions.scores, 1 / 8, atol=1e-6)
    assert one.expressions.names == ["uncertain"]
    assert many.expressions.names == ["uncertain", "happiness"] * 20
    assert many.expressions.threshold == 0.5
    crops = align.extract_crops(light, align.crop_transforms(given[2], np.float32(TEMPLATE), 48), 48)
    np.testing.assert_allclose(many.expressions.scores, model.network(crops), rtol=1e-5)
    assert model([], []) == []


def test_the_bundled_network_needs_no_parsing_until_it_is_used(shipped, tmp_path, monkeypatch):
    entry = expression.bundled(shipped)
    record = entry.record
    assert (record.name, record.task, record.labels) == ("mien-s", "expression", LABELS)
    assert record.metrics == {"FER+ validation, accuracy": "0.9123"}
    assert record.weights.size == (shipped / "mien-s.onnx").stat().st_size
    store = WeightsStore(tmp_path / "cache", bundled=shipped)
    assert store.is_cached(record.weights)
    monkeypatch.setattr(registry, "_ENTRIES", {**registry._ENTRIES, "mien-s": entry})
    assert registry.load_classifier("mien-s", store, OPTIONS).card.name == "mien-s"
    assert registry.load_expression(entry, store, OPTIONS).record is record
    (shipped / "mien-s.onnx").write_bytes(network(card(name="mien-s")))
    with pytest.raises(WeightsError, match="does not match its pinned SHA-256; reinstall mien"):
        registry.load_classifier("mien-s", store, OPTIONS)


def test_a_missing_card_or_another_models_is_said(tmp_path):
    with pytest.raises(ModelError, match="cannot read the card"):
        expression.bundled(tmp_path)
    (tmp_path / "tiny.onnx").write_bytes(network())
    write_card_beside(tmp_path / "tiny.onnx", card()).rename(tmp_path / "mien-s.json")
    with pytest.raises(ModelError, match="is the card of 'tiny'"):
        expression.bundled(tmp_path)


def test_the_page_of_a_model_says_what_its_answers_mean(shipped):
    entry = expression.bundled(shipped)
    page = card_page(entry.record)
    assert "| labels | neutral, happiness, " in page
    assert "logits / 2:" in page
    assert "| answers `uncertain` | where the confidence is under 0.5; set on held-out pictures |" in page
    assert f"| started from a trunk | SHA-256 `{'cd' * 32}` |" in page
    assert "score threshold" not in page
    assert "bundled with mien" in page
    assert page.endswith(
        "\n| FER+ validation | precision | recall | support |\n|---|---:|---:|---:|\n"
        "| happiness | 0.950 | 0.500 | 1,234 |\n| contempt | 0.250 |  |  |\n"
    )


def test_a_file_of_the_users_own(own, tmp_path):
    store = WeightsStore(tmp_path / "cache")
    for name, task in ((f"expression:{own}", None), (f"expression:{own}", "expression"), (str(own), "expression")):
        entry = registry.entry(name, task)
        assert entry.record.name == f"expression:my own@{entry.record.weights.sha256[:8]}"
        assert registry.load_expression(entry, store, OPTIONS).network.labels == LABELS
    for name in (f"expression:{own}", str(own)):
        assert registry.load_classifier(name, store, OPTIONS).card == card()
    own.write_bytes(network(card(temperature=1.0)))
    with pytest.raises(WeightsError, match="SHA-256"):  # it has changed since its entry was made
        registry.load(entry, store, OPTIONS)


def test_files_that_are_for_something_else(own, tmp_path):
    with pytest.raises(UnknownModelError):
        registry.entry(f"expression:{own}", "embedding")
    with pytest.raises(UnknownModelError, match="no expression model called 'dlib-resnet'"):
        registry.load_classifier("dlib-resnet", WeightsStore(tmp_path), OPTIONS)
    own.write_bytes(network(card(task="people")))
    with pytest.raises(ModelError, match="is for 'people', not for 'expression'"):
        registry.entry(str(own), "expression")
    assert registry.load_classifier(str(own), WeightsStore(tmp_path), OPTIONS).card.task == "people"
    own.write_bytes(network(scale=float("nan")))
    with pytest.raises(WeightsError, match="not finite"):
        registry.entry(str(own), "expression")
    with pytest.raises(WeightsError, match="cannot read"):
        registry.entry(str(tmp_path / "nowhere.onnx"), "expression")
