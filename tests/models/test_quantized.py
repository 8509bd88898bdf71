"""int8 forms: what they hold, how near they are, and what cannot be made one."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mien.errors import ModelError, WeightsError
from mien.models import quantized
from mien.models.base import RuntimeOptions
from mien.models.classifier import CropClassifier
from mien.models.quantized import Quantization, float_graph, float_tensors, layers
from mien.models.runtime import Session
from tests.compression.networks import card, faces, network
from tests.models import tiny_classifier

ONE = RuntimeOptions(threads=1)


@pytest.fixture(scope="module")
def graph():
    return float_graph(network(), "portraits")


@pytest.fixture(scope="module")
def ranges(graph):
    names = float_tensors(graph)
    values = Session(quantized.watched(graph, names), ONE)(faces(10)[0], names)
    return {name: (float(a.min()), float(a.max())) for name, a in zip(names, values, strict=True)}


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


def test_the_last_layer_stays_float(graph):
    assert layers(graph) == ["y0", "y1", "y2", "y3"]


def test_weights_take_seven_bits_and_answers_stay_near(graph, ranges):
    made = quantized.quantized(graph, Quantization(ranges))
    tensors = [numpy_helper.to_array(t) for t in onnx.load_from_string(made).graph.initializer]
    weights = [t for t in tensors if t.dtype == np.int8 and t.ndim == 4]
    assert len(weights) == 4
    assert all(np.abs(w.astype(int)).max() <= 64 for w in weights)
    crops = faces(20, seed=5)[0]
    exact, rounded = (CropClassifier(model, ONE)(crops) for model in (network(), made))
    assert 0 < np.abs(exact - rounded).max() < 0.25
    assert (exact.argmax(axis=1) == rounded.argmax(axis=1)).all()


def test_the_card_stays(graph, ranges):
    made = quantized.quantized(graph, Quantization(ranges))
    assert CropClassifier(made, ONE).card == card()


def test_layers_that_are_left_out_stay_float(graph, ranges):
    all_of_them = quantized.quantized(graph, Quantization(ranges, tuple(layers(graph))))
    assert "QuantizeLinear" not in operators(all_of_them)
    crops = faces(4)[0]
    np.testing.assert_allclose(
        CropClassifier(all_of_them, ONE)(crops), CropClassifier(network(), ONE)(crops), atol=1e-5
    )
    one = quantized.quantized(graph, Quantization(ranges, ("y1",)))
    kept = [t for t in onnx.load_from_string(one).graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert sum(len(t.dims) == 4 for t in kept) == 1


def test_outputs_are_scaled_and_shifted(graph, ranges):
    crops = faces(4)[0]
    plain, shifted = (
        CropClassifier(quantized.quantized(graph, Quantization(ranges, (), gains, shifts)), ONE).logits(crops)
        for gains, shifts in (({}, {}), ({"logits": 1.5}, {"logits": (0.5, -0.25)}))
    )
    np.testing.assert_allclose(shifted - 1.5 * plain, np.tile([0.5, -0.25], (8, 1)), atol=1e-5)


def test_ranges_survive_a_file(ranges):
    before = Quantization(ranges, ("y1",), {"logits": 1.01}, {"logits": (0.5, -0.25)}, "abc")
    after = Quantization.from_json(before.to_json())
    assert after.float_layers == ("y1",)
    assert (after.gains, after.shifts, after.weights) == (before.gains, before.shifts, before.weights)
    assert after.ranges.keys() == ranges.keys()
    for name, pair in ranges.items():
        np.testing.assert_allclose(after.ranges[name], pair, rtol=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"schema": 1, "weights": "", "float_layers": [], "ranges": {}, "gains": {}, "shifts": {}}),
        json.dumps({"schema": 2, "weights": "", "float_layers": [], "ranges": {}, "shifts": {}}),
        json.dumps({"schema": 2, "float_layers": [], "ranges": {}, "gains": {}, "shifts": {}}),
        json.dumps({"schema": 2, "weights": "", "float_layers": [], "ranges": {"a": [1]}, "gains": {}, "shifts": {}}),
        json.dumps(
            {"schema": 2, "weights": "", "float_layers": [], "ranges": {"a": [2, 1]}, "gains": {}, "shifts": {}}
        ),
        '{"schema": 2, "weights": "", "float_layers": [], "ranges": {"a": [0, NaN]}, "gains": {}, "shifts": {}}',
        '{"schema": 2, "weights": "", "float_layers": [], "ranges": {}, "gains": {}, "shifts": {"y": [Infinity]}}',
        '{"schema": 2, "weights": "", "float_layers": [], "ranges": {}, "gains": {"logits": NaN}, "shifts": {}}',
    ],
)
def test_damaged_ranges_are_refused(text):
    with pytest.raises(ModelError, match="ranges of a network"):
        Quantization.from_json(text)


def test_ranges_of_another_graph_are_refused(graph):
    with pytest.raises(ModelError, match="calibrated for another graph"):
        quantized.quantized(graph, Quantization({"x0": (0.0, 255.0)}))


def test_a_graph_without_layers_is_refused():
    with pytest.raises(ModelError, match="no layer"):
        float_graph(tiny_classifier.network(), "tiny")


def test_what_is_int8_already_is_refused(graph, ranges):
    made = quantized.quantized(graph, Quantization(ranges))
    with pytest.raises(ModelError, match="quantised already"):
        float_graph(made, "portraits")


def test_what_is_no_network_is_refused():
    with pytest.raises(WeightsError, match="not an ONNX file"):
        float_graph(b"not a network", "photo")


def test_norms_are_folded():
    model = onnx.load_from_string(network())
    for node in model.graph.node:
        if node.name == "" and node.op_type == "Relu" and node.input[0] == "y1":
            node.input[0] = "normed"
    norm = onnx.helper.make_node("BatchNormalization", ["y1", "g", "b", "m", "v"], ["normed"])
    position = next(i for i, node in enumerate(model.graph.node) if node.output[0] == "y1")
    model.graph.node.insert(position + 1, norm)
    for name, value in {"g": 2, "b": 0.1, "m": 0.2, "v": 1}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.full(16, value, np.float32), name))
    assert "BatchNormalization" not in operators(float_graph(model.SerializeToString(), "normed"))
