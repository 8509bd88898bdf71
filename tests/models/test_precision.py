"""float32 or int8: who decides, what is measured and kept, and that answers on photographs stay the same."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mien import FaceAnalyzer
from mien.errors import ModelError
from mien.models import precision, registry
from mien.models.base import RuntimeOptions
from mien.models.precision import Measured, measured, wanted
from mien.models.quantized import Quantization, float_graph, float_tensors, quantized, watched
from mien.models.runtime import Session
from mien.models.store import WeightsStore
from tests.compression.networks import faces, network
from tests.conftest import PHOTOS, SHARED

MOVED = 0.06
"""Largest distance between an embedding in int8 and in float32: docs/optimize.md has 0.042 for 1,583 faces."""
CHANGED = 0.035
"""How much the similarity of two faces may change by it: there 0.029 for 1,200 pairs."""
TASKS = ("detect", "expression", "age", "gender", "eyes", "embed")
FMRS = (1e-2, 1e-3, 1e-4)
WITH_INT8 = ("dlib-resnet", "mien-s", "mien-age")


@pytest.fixture
def forms(tmp_path):
    """A network in float32 and in int8, as files."""
    graph = float_graph(network(), "portraits")
    names = float_tensors(graph)
    values = Session(watched(graph, names), RuntimeOptions(threads=1))(faces(4)[0], names)
    ranges = {name: (float(a.min()), float(a.max())) for name, a in zip(names, values, strict=True)}
    (tmp_path / "float32.onnx").write_bytes(network())
    (tmp_path / "int8.onnx").write_bytes(quantized(graph, Quantization(ranges)))
    return tmp_path / "float32.onnx", tmp_path / "int8.onnx"


def test_what_is_said_goes_before_the_environment(monkeypatch):
    monkeypatch.delenv(precision.ENVIRONMENT, raising=False)
    assert wanted(RuntimeOptions()) == "float32"
    monkeypatch.setenv(precision.ENVIRONMENT, " INT8 ")
    assert wanted(RuntimeOptions()) == "int8"
    assert wanted(RuntimeOptions(precision="float32")) == "float32"
    monkeypatch.setenv(precision.ENVIRONMENT, "int4")
    with pytest.raises(ModelError, match="'int4': choose one of auto, float32, int8"):
        wanted(RuntimeOptions())


def test_what_was_measured_is_kept(forms, tmp_path):
    store = WeightsStore(tmp_path / "home")
    first = measured(*forms, store)
    assert first.float32_ms > 0
    assert first.int8_ms > 0
    (kept,) = (tmp_path / "home" / "measured").iterdir()
    kept.write_text(json.dumps({"float32_ms": 5.0, "int8_ms": 1.0}))
    assert measured(*forms, store) == Measured(5.0, 1.0)
    kept.write_text('{"float32_ms"')
    assert measured(*forms, store) != Measured(5.0, 1.0)
    assert json.loads(kept.read_text()).keys() == {"float32_ms", "int8_ms"}


def test_a_cache_that_cannot_be_written_is_no_obstacle(forms, tmp_path):
    (tmp_path / "home").write_text("a file, not a folder")
    assert measured(*forms, WeightsStore(tmp_path / "home")).int8_ms > 0


def test_int8_must_be_worth_it():
    assert Measured(2.0, 1.0).int8_wins
    assert not Measured(1.1, 1.0).int8_wins
    assert not Measured(1.0, 2.0).int8_wins


@pytest.mark.parametrize("name", WITH_INT8)
def test_the_ranges_are_of_the_weights_that_ship(name):
    """If not: recipes/int8_ranges.py."""
    model = registry.entry(name)
    assert model.int8 is not None
    assert Quantization.from_json(model.int8.read_text()).weights == model.record.weights.sha256


def test_ranges_of_other_weights_are_refused(tmp_path, caplog):
    model = registry.entry("mien-s")
    assert model.int8 is not None
    other = tmp_path / "mien-s.int8.json"
    other.write_text(replace(Quantization.from_json(model.int8.read_text()), weights="0" * 64).to_json())
    stale = replace(model, int8=other)
    with pytest.raises(ModelError, match=r"mien-s\.int8\.json is of other weights"):
        registry.load(stale, WeightsStore(), RuntimeOptions(threads=1, precision="int8"))
    registry.load(stale, WeightsStore(), RuntimeOptions(threads=1, precision="auto"))
    assert "runs in float32" in caplog.text


@pytest.mark.parametrize("name", WITH_INT8)
def test_an_int8_form_is_made_once_and_loaded_where_it_wins(name, monkeypatch):
    store, model = WeightsStore(), registry.entry(name)
    assert model.int8 is not None
    path = registry.int8_form(model, model.int8, store)
    made = path.stat().st_mtime_ns
    assert registry.int8_form(model, model.int8, store).stat().st_mtime_ns == made
    loaded = []
    model = registry.ModelEntry(model.record, lambda path, _: loaded.append(path), model.convert,
                                model.converter_version, int8=model.int8)  # fmt: skip
    for figures in (Measured(2.0, 1.0), Measured(1.0, 1.0)):
        monkeypatch.setattr(precision, "measured", lambda *_, figures=figures: figures)
        registry.load(model, store, RuntimeOptions(precision="auto"))
    registry.load(model, store, RuntimeOptions(precision="int8"))
    registry.load(model, store, RuntimeOptions(precision="float32"))
    assert [other == path for other in loaded] == [True, False, True, False]


@pytest.fixture(scope="module")
def answers():
    """What both precisions say of all photographs that there are: the project's, and the development data's."""
    places = [PHOTOS, *([SHARED / "photos"] if SHARED.is_dir() else [])]
    photos = sorted(path for place in places for path in place.iterdir() if path.suffix in (".jpg", ".png"))
    analyzers = [FaceAnalyzer(threads=1, precision=kind, only=TASKS) for kind in ("float32", "int8")]
    return analyzers[0], *([analyzer(str(photo)) for photo in photos] for analyzer in analyzers)


def test_answers_on_photographs_are_the_same(answers):
    """But for a face in a crowd whose confidence is the threshold: whether that is said or "uncertain"."""
    _, exact, rounded = answers
    assert sum(map(len, exact)) >= 2
    for a, b in zip(exact, rounded, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)  # the detector has no int8 form
        np.testing.assert_array_equal(a.expressions.top, b.expressions.top)
        clear = np.abs(a.expressions.confidence - a.expressions.threshold) > 0.03
        assert clear.sum() >= int(0.9 * len(a))
        assert [name for name, sure in zip(a.expressions.names, clear, strict=True) if sure] == [
            name for name, sure in zip(b.expressions.names, clear, strict=True) if sure
        ]
        assert a.genders.names == b.genders.names
        assert np.abs(a.expressions.scores - b.expressions.scores).max() > 0  # it did run in int8
        np.testing.assert_allclose(a.ages.years, b.ages.years, atol=1.5)
        np.testing.assert_array_equal(a.eyes.left > 0.5, b.eyes.left > 0.5)


def test_photographs_are_verified_as_before(answers):
    """All pairs of photographs by their largest faces, as `mien verify` takes them."""
    analyzer, *sides = answers
    sides = [np.concatenate([faces.largest().embeddings for faces in side]) for side in sides]
    for fmr in FMRS:
        same = [[[analyzer.compare(a, b, fmr=fmr).same for a in side] for b in side] for side in sides]
        assert same[0] == same[1]
        mixed = [[analyzer.compare(a, b, fmr=fmr).same for a in sides[0]] for b in sides[1]]
        assert mixed == same[0]


def test_faces_are_verified_differently_only_next_to_the_threshold(answers):
    """All pairs of all faces: a crowd of 24 has some whose similarity is a threshold by chance."""
    analyzer, *sides = answers
    exact, rounded = (np.concatenate([faces.embeddings for faces in side]) for side in sides)
    assert 0 < np.linalg.norm(exact - rounded, axis=1).max() < MOVED
    i, j = np.triu_indices(len(exact), 1)
    before = analyzer.similarity(exact[i], exact[j])
    for one, other in ((rounded, rounded), (exact, rounded)):
        after = analyzer.similarity(one[i], other[j])
        assert np.abs(after - before).max() < CHANGED
        for threshold in analyzer.embedder.record.calibrations["fast"].thresholds.values():
            assert ((after >= threshold) != (before >= threshold)).mean() < 0.005
