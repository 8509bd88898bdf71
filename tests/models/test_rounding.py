"""Rounding whose errors cancel: over kernels, over channels, and never far off."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.models.rounding import MOST, reround, whole_steps


@pytest.fixture
def weights():
    return np.clip(np.random.default_rng(0).normal(0, 12, (8, 16, 3, 3)), -MOST, MOST)


def test_errors_of_a_channel_cancel(weights):
    off = whole_steps(weights) - weights
    assert np.abs(off.sum(axis=(1, 2, 3))).max() <= 0.5
    assert np.abs((np.rint(weights) - weights).sum(axis=(1, 2, 3))).max() > 1.5  # they do not by themselves


def test_no_weight_goes_far(weights):
    off = np.abs(whole_steps(weights) - weights)
    assert off.max() <= 1.5
    assert (off > 0.5).mean() < 0.15


def test_smooth_inputs_are_summed_better(weights):
    smooth = 1 + 0.2 * np.random.default_rng(1).random((500, 16, 3, 3))
    exact, nearest, chosen = (
        np.einsum("nchw,kchw->nk", smooth, w) for w in (weights, np.rint(weights), whole_steps(weights).astype(float))
    )
    assert np.abs(chosen - exact).mean() < 0.4 * np.abs(nearest - exact).mean()


def test_whole_steps_stay(weights):
    whole = np.rint(weights)
    np.testing.assert_array_equal(whole_steps(whole), whole)


def test_seven_bits_hold_them_all():
    edge = np.full((1, 1, 3, 3), MOST - 0.4)
    steps = whole_steps(edge)
    assert steps.max() == MOST
    assert steps.sum() in (round(edge.sum()), round(edge.sum()) + 1)
    assert np.abs(whole_steps(np.full((2, 3, 5, 5), float(MOST)))).max() == MOST


@pytest.mark.parametrize("shape", [(4, 1, 3, 3), (4, 7, 1, 1), (2, 3, 5), (0, 3, 3, 3)])
def test_kernels_of_every_shape(shape):
    steps = np.random.default_rng(2).uniform(-60, 60, shape)
    rounded = whole_steps(steps)
    assert rounded.shape == shape
    assert rounded.dtype == np.int8
    assert (np.abs((rounded - steps).sum(axis=tuple(range(1, len(shape))))) <= 0.5).all()


def test_only_weights_of_convolutions_are_rounded_anew():
    exact = np.random.default_rng(3).uniform(-0.9, 0.9, (2, 4, 3, 3)).astype(np.float32)
    scale = np.array([0.02, 0.015], np.float32)
    tensors = {"w_quantized": np.zeros((2, 4, 3, 3), np.int8), "b_quantized": np.ones(2, np.int32), "s": scale,
               "m_quantized": np.ones((4, 2), np.int8), "z": np.zeros(2, np.int8)}  # fmt: skip
    nodes = [helper.make_node("DequantizeLinear", [f"{name}_quantized", "s", "z"], [name], axis=0) for name in "wbm"]
    constants = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    outputs = [helper.make_tensor_value_info("w", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", [], outputs, constants)
    reround(graph, {"w": exact})
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert (np.abs(found["w_quantized"] * scale[:, None, None, None] - exact) <= 1.5 * scale.max()).all()
    assert found["w_quantized"].any()
    np.testing.assert_array_equal(found["b_quantized"], 1)
    np.testing.assert_array_equal(found["m_quantized"], 1)
