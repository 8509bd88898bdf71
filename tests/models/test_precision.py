"""float32 or int8: who decides, what is measured and kept, and that answers on photographs stay the same."""

import json

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

TOLERANCE = 0.12
"""Largest distance between an embedding in int8 and in float32, as docs/optimize.md states it."""


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


@pytest.mark.parametrize("name", ["dlib-resnet", "mien-s"])
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


def test_decisions_on_photographs_are_the_same(portrait, astronaut):
    exact, rounded = (FaceAnalyzer(threads=1, precision=kind) for kind in ("float32", "int8"))
    photos = [str(portrait), str(astronaut)]
    these, those = exact(photos), rounded(photos)
    for a, b in zip(these, those, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)  # the detector has no int8 form
        assert a.expressions.names == b.expressions.names
        distance = np.linalg.norm(a.embeddings - b.embeddings, axis=1)
        assert 0 < distance.max() <= TOLERANCE
    one, other = these[0].embeddings[0], those[1].embeddings[0]
    for fmr in (1e-2, 1e-3, 1e-4):
        assert exact.compare(one, those[0].embeddings[0], fmr=fmr).same
        assert not exact.compare(one, other, fmr=fmr).same
        assert not rounded.compare(those[0].embeddings[0], other, fmr=fmr).same
