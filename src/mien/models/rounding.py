"""Rounding of weights to whole steps such that errors cancel, without looking at data.

What a convolution sums are values after a ReLU, alike within a window: an error of one weight is made up for by the
opposite error of its neighbour. So of the weights of a kernel, and then of an output channel, as many are rounded the
other way as brings the sum of the errors to within half a step: those that lay nearest to the middle (SQuant, Guo et
al. 2022, arXiv:2202.07471). Embeddings of dlib-resnet move a third less by it (docs/optimize.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
MOST = 64
"""Steps to either side that 7 bits of weights take: 255 * 64 * 2 still fits into 16 bits."""


def whole_steps(weights: Array) -> npt.NDArray[np.int8]:
    """Weights of a convolution to whole steps.

    Args:
        weights: (K, C, ...) in units of a step, in [-64, 64]: K output channels, C input channels, a window.

    Returns:
        The same shape; none is more than one step and a half off.
    """
    rounded = np.clip(np.rint(weights), -MOST, MOST)
    if not weights.size:
        return rounded.astype(np.int8)
    kernels = weights.shape[0] * weights.shape[1]
    for groups in (kernels, weights.shape[0]):
        shape = (groups, -1)
        rounded = _cancelled(weights.reshape(shape), rounded.reshape(shape)).reshape(weights.shape)
    return rounded.astype(np.int8)


def _cancelled(exact: Array, rounded: Array) -> Array:
    """(G, T) with the errors of each row summing to within half a step, where its weights allow it."""
    errors = rounded - exact
    surplus = np.rint(errors.sum(axis=1, keepdims=True))
    back = np.sign(surplus)
    may = (errors * back > 0) & (np.abs(rounded - back) <= MOST)
    worst_first = np.argsort(np.where(may, -errors * back, np.inf), axis=1, kind="stable")
    rank = np.argsort(worst_first, axis=1)
    return np.where(may & (rank < np.abs(surplus)), rounded - back, rounded)


def reround(graph: Any, weights: dict[str, npt.NDArray[np.float32]]) -> None:
    """Round the weights of the convolutions of a graph in QDQ form anew.

    Args:
        graph: in which they are int8 constants, one scale for each output channel.
        weights: as they were in float32, by name.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        rounded = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if rounded is None or rounded.data_type != rounded.INT8 or len(rounded.dims) < 3:
            continue
        exact = weights[rounded.name.removesuffix("_quantized")].astype(np.float64)
        scale = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        steps = exact / scale.reshape(-1, *(1 for _ in exact.shape[1:]))
        rounded.CopyFrom(numpy_helper.from_array(whole_steps(steps), rounded.name))
