"""A classical model as one ONNX graph: from crops to logits, features included.

The same file format as deep models have, so that all that runs or measures those runs these, and a user of a trained
model needs neither scikit-learn nor scikit-image. Written here operator by operator, as HOG and LBP have no converter.
ONNX cannot execute code when it is loaded, which scikit-learn's own pickles do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mien.training.features import LBP_CODES, LBP_POINTS, FeatureSpec
from mien.types import FloatArray

OPSET = 17
_ML_OPSET = 3
_IR_VERSION = 8
_CLIP = 0.2  # of L2-Hys
_EPSILON = 1e-5  # of L2-Hys, as in scikit-image
_TIE = 3e-5  # float32 rounds a neighbour that equals its centre to either side
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class LinearHead:
    """logits = x @ weights + bias: (D, C) and (C,)."""

    weights: FloatArray
    bias: FloatArray


@dataclass(frozen=True, eq=False)
class KernelHead:
    """Margins m = exp(-gamma |z - s|^2) @ weights + bias over z = x @ projection + shift; logits = tanh(2 m) @ tally.

    Without a tally the margins are the logits.

    Attributes:
        projection: (D, P).
        shift: (P,).
        vectors: (V, P) float16, the support vectors s.
        gamma: of the radial basis function.
        weights: (V, M), M pairs of classes; (V, C) without a tally.
        bias: (M,).
        tally: (M, C): 1 for the class that a margin above 0 speaks for, -1 for the other of the pair.
    """

    projection: FloatArray
    shift: FloatArray
    vectors: npt.NDArray[np.float16]
    gamma: float
    weights: FloatArray
    bias: FloatArray
    tally: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class NeighbourHead:
    """logits = log of the smoothed shares of the classes among the k nearest, near ones counting more.

    Attributes:
        projection: (D, P).
        shift: (P,).
        vectors: (V, P) float16, the known faces.
        classes: (V,) int64.
        count: C.
        k: how many neighbours.
    """

    projection: FloatArray
    shift: FloatArray
    vectors: npt.NDArray[np.float16]
    classes: npt.NDArray[np.int64]
    count: int
    k: int


@dataclass(frozen=True, eq=False)
class ForestHead:
    """logits = log of the smoothed mean of the trees' shares.

    Attributes:
        trees: of each tree (feature, threshold, left, right, shares): (M,) int64, float32, int64, int64 and
            (M, C) float32; left is -1 in leaves; a face goes left where its feature is at most the threshold.
        count: C.
    """

    trees: Sequence[tuple[Array, Array, Array, Array, Array]]
    count: int


Head = LinearHead | KernelHead | NeighbourHead | ForestHead


def build(spec: FeatureSpec, head: Head, metadata: dict[str, str]) -> bytes:
    """The bytes of the ONNX file.

    Args:
        spec: the features.
        head: what is computed of them.
        metadata: properties of the file, such as the card.

    Returns:
        A model with input `crops` (N, S, S, 3) uint8 RGB and output `logits` (N, C) float32.
    """
    from onnx import TensorProto, helper

    graph = _Graph()
    grey = _grey(graph, spec)
    parts = []
    if "hog" in spec.name:
        parts.append(_hog(graph, grey, spec))
    if "lbp" in spec.name:
        parts.append(_lbp(graph, grey, spec))
    features = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)
    logits, count = _head(graph, features, head)
    graph.node("Identity", logits, output="logits")
    made = helper.make_graph(
        graph.nodes,
        "mien-classical",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", spec.size, spec.size, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", count])],
        graph.weights,
    )
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(made, opset_imports=domains, ir_version=_IR_VERSION, producer_name="mien")
    helper.set_model_props(model, metadata)
    return cast("bytes", model.SerializeToString())


class _Graph:
    """Nodes and constants, named by number."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """A stored array; its name."""
        from onnx import numpy_helper

        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def shape(self, *values: int) -> str:
        """A stored vector of integers."""
        return self.constant(values, np.int64)

    def node(self, operator: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        """One operator with one output; its name."""
        from onnx import helper

        output = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output

    def to_float(self, name: str) -> str:
        from onnx import TensorProto

        return self.node("Cast", name, to=TensorProto.FLOAT)


def _grey(g: _Graph, spec: FeatureSpec) -> str:
    """(N, 1, S, S): `features.to_grey`; every number on the way is whole and below 2^24, so float32 is exact."""
    luma = g.node("MatMul", g.to_float("crops"), g.constant([[299.0], [587.0], [114.0]]))
    grey = g.node("Floor", g.node("Div", g.node("Add", luma, g.constant(500.0)), g.constant(1000.0)))
    return g.node("Reshape", grey, g.shape(-1, 1, spec.size, spec.size))


def _hog(g: _Graph, grey: str, spec: FeatureSpec) -> str:
    """(N, D) as `skimage.feature.hog` has it."""
    down, right = _gradients(g, grey)
    strength = g.node("Sqrt", g.node("Add", g.node("Mul", down, down), g.node("Mul", right, right)))
    votes = g.node("Mul", _direction(g, down, right, spec.orientations), strength)
    cells = g.node("AveragePool", votes, kernel_shape=[spec.cell] * 2, strides=[spec.cell] * 2)
    blocks = spec.cells - spec.block + 1
    corners = [(row, column) for row in range(spec.block) for column in range(spec.block)]
    shifted = [
        g.node("Slice", cells, g.shape(row, column), g.shape(row + blocks, column + blocks), g.shape(2, 3))
        for row, column in corners
    ]
    block = shifted[0] if len(shifted) == 1 else g.node("Concat", *shifted, axis=1)
    clipped = g.node("Min", _normalised(g, block), g.constant(_CLIP))
    return _flat(g, _normalised(g, clipped), spec.hog_dimensions)


def _gradients(g: _Graph, grey: str) -> tuple[str, str]:
    """Central differences down and to the right, (N, 1, S, S) each, 0 on the border."""
    zero = g.constant(0.0)
    down = g.node("Conv", grey, g.constant(np.reshape([-1.0, 0.0, 1.0], (1, 1, 3, 1))))
    right = g.node("Conv", grey, g.constant(np.reshape([-1.0, 0.0, 1.0], (1, 1, 1, 3))))
    return (
        g.node("Pad", down, g.shape(0, 0, 1, 0, 0, 0, 1, 0), zero),
        g.node("Pad", right, g.shape(0, 0, 0, 1, 0, 0, 0, 1), zero),
    )


def _direction(g: _Graph, down: str, right: str, bins: int) -> str:
    """(N, bins, S, S): 1 in the bin of the gradient's direction modulo 180 degrees.

    There is no arctan2 in ONNX. A gradient turned into the upper half plane has reached the direction a where its
    cross product with a is not negative; it is in the bin between the last that it reached and the next.
    """
    zero = g.constant(0.0)
    level = g.node("And", g.node("Equal", down, zero), g.node("Less", right, zero))
    turn = g.node("Where", g.node("Or", g.node("Less", down, zero), level), g.constant(-1.0), g.constant(1.0))
    turned = g.node("Mul", g.node("Concat", down, right, axis=1), turn)
    angles = np.pi * np.arange(1, bins) / bins
    crossing = np.stack([np.cos(angles), -np.sin(angles)], axis=1)[:, :, None, None]
    reached = g.to_float(g.node("GreaterOrEqual", g.node("Conv", turned, g.constant(crossing)), zero))
    always = g.node("Add", g.node("Mul", down, zero), g.constant(1.0))
    never = g.node("Mul", down, zero)
    return g.node("Sub", g.node("Concat", always, reached, axis=1), g.node("Concat", reached, never, axis=1))


def _normalised(g: _Graph, block: str) -> str:
    """To a Euclidean length of about 1 over the channels."""
    squares = g.node("ReduceSumSquare", block, axes=[1], keepdims=1)
    return g.node("Div", block, g.node("Sqrt", g.node("Add", squares, g.constant(_EPSILON**2))))


def _lbp(g: _Graph, grey: str, spec: FeatureSpec) -> str:
    """(N, D): histograms of `local_binary_pattern(..., 8, 1, "nri_uniform")`, as `features.describe` has them."""
    differences = g.node("Conv", grey, g.constant(_neighbours()), pads=[1, 1, 1, 1])
    bits = g.to_float(g.node("GreaterOrEqual", differences, g.constant(-_TIE)))
    powers = 2.0 ** np.arange(LBP_POINTS).reshape(1, LBP_POINTS, 1, 1)
    from onnx import TensorProto

    patterns = g.node("Cast", g.node("Conv", bits, g.constant(powers)), to=TensorProto.INT64)
    patterns = g.node("Squeeze", patterns, g.shape(1))
    codes = g.node("Gather", g.constant(np.eye(LBP_CODES)[_uniform_codes()]), patterns, axis=0)
    cells = g.node(
        "AveragePool",
        g.node("Transpose", codes, perm=[0, 3, 1, 2]),
        kernel_shape=[spec.cell] * 2,
        strides=[spec.cell] * 2,
    )
    return _flat(g, g.node("Sqrt", cells), spec.lbp_dimensions)


def _neighbours() -> Array:
    """(8, 1, 3, 3): each neighbour on the circle, interpolated, less the centre; anticlockwise from the right."""
    kernels = np.zeros((LBP_POINTS, 1, 3, 3))
    for kernel, angle in zip(kernels[:, 0], 2 * np.pi * np.arange(LBP_POINTS) / LBP_POINTS, strict=True):
        row, column = 1 - round(np.sin(angle), 5), 1 + round(np.cos(angle), 5)
        for r in range(3):
            for c in range(3):
                kernel[r, c] = max(0.0, 1 - abs(row - r)) * max(0.0, 1 - abs(column - c))
        kernel[1, 1] -= 1
    return kernels


def _uniform_codes() -> npt.NDArray[np.int64]:
    """(256,): scikit-image's number of each pattern of 8 bits.

    0 for no bit, 57 for all; patterns of n bits in one run that starts at bit s: 8 (n - 1) + 1 + (-s mod 8);
    58 for all that have more than one run.
    """
    codes = np.full(2**LBP_POINTS, LBP_CODES - 1)
    codes[0], codes[-1] = 0, LBP_CODES - 2
    for ones in range(1, LBP_POINTS):
        for start in range(LBP_POINTS):
            pattern = sum(1 << (start + i) % LBP_POINTS for i in range(ones))
            codes[pattern] = LBP_POINTS * (ones - 1) + 1 + -start % LBP_POINTS
    return codes


def _flat(g: _Graph, maps: str, dimensions: int) -> str:
    """(N, channels, rows, columns) to (N, D), cell by cell."""
    return g.node("Reshape", g.node("Transpose", maps, perm=[0, 2, 3, 1]), g.shape(-1, dimensions))


def _head(g: _Graph, features: str, head: Head) -> tuple[str, int]:
    """Logits, and the number of classes."""
    match head:
        case LinearHead():
            return _affine(g, features, head.weights, head.bias), len(head.bias)
        case KernelHead():
            closeness = g.node("Mul", _distances(g, features, head), g.constant(-head.gamma))
            margins = _affine(g, g.node("Exp", closeness), head.weights, head.bias)
            if head.tally is None:
                return margins, len(head.bias)
            votes = g.node("Tanh", g.node("Mul", margins, g.constant(2.0)))
            return g.node("MatMul", votes, g.constant(head.tally)), head.tally.shape[1]
        case NeighbourHead():
            return _neighbour_logits(g, features, head), head.count
        case ForestHead():
            return _forest_logits(g, features, head), head.count


def _affine(g: _Graph, x: str, weights: Array, bias: Array) -> str:
    return g.node("Add", g.node("MatMul", x, g.constant(weights)), g.constant(bias))


def _distances(g: _Graph, features: str, head: KernelHead | NeighbourHead) -> str:
    """(N, V): squared distances in the projected space, never negative."""
    z = _affine(g, features, head.projection, head.shift)
    vectors = head.vectors.astype(np.float32)
    stored = g.to_float(g.constant(head.vectors.T, np.float16))
    products = g.node("Mul", g.node("MatMul", z, stored), g.constant(-2.0))
    lengths = g.node("ReduceSumSquare", z, axes=[1], keepdims=1)
    sums = g.node("Add", lengths, g.constant((vectors**2).sum(axis=1)))
    return g.node("Max", g.node("Add", sums, products), g.constant(0.0))


def _neighbour_logits(g: _Graph, features: str, head: NeighbourHead) -> str:
    distances = _distances(g, features, head)
    g.nodes.append(_nearest(distances, g.shape(head.k)))
    # a face twice as far counts half; the shares of k faces, and one face's worth of doubt spread over all classes
    nearness = g.node("Div", g.constant(1.0), g.node("Sqrt", g.node("Add", "nearest", g.constant(1e-4))))
    shares = g.node("Div", nearness, g.node("ReduceSum", nearness, g.shape(1), keepdims=1))
    classes = g.node("Gather", g.constant(head.classes, np.int64), "which")
    owner = g.node("OneHot", classes, g.shape(head.count), g.constant([0.0, 1.0]), axis=-1)
    column = g.node("Unsqueeze", shares, g.shape(2))
    totals = g.node("ReduceSum", g.node("Mul", owner, column), g.shape(1), keepdims=0)
    return g.node("Log", g.node("Add", totals, g.constant(1.0 / (head.k * head.count))))


def _nearest(distances: str, k: str) -> Any:
    from onnx import helper

    return helper.make_node("TopK", [distances, k], ["nearest", "which"], axis=1, largest=0)


def _forest_logits(g: _Graph, features: str, head: ForestHead) -> str:
    """One ensemble of ai.onnx.ml; each leaf adds its shares of the classes."""
    nodes: dict[str, list[Array]] = {name: [] for name in ("id", "tree", "feature", "value", "left", "right", "leaf")}
    leaves: dict[str, list[Array]] = {name: [] for name in ("tree", "id", "class", "weight")}
    for number, (feature, threshold, left, right, shares) in enumerate(head.trees):
        is_leaf = left < 0
        columns = (np.arange(len(feature)), np.full(len(feature), number), feature, threshold, left, right, is_leaf)
        for name, column in zip(nodes, columns, strict=True):
            nodes[name].append(column)
        leaf, kind = np.nonzero(np.where(is_leaf[:, None], shares, 0))
        for name, column in zip(
            leaves, (np.full(len(leaf), number), leaf, kind, shares[leaf, kind] / len(head.trees)), strict=True
        ):
            leaves[name].append(column)
    every = {name: np.concatenate(columns) for name, columns in nodes.items()}
    ends = {name: np.concatenate(columns) for name, columns in leaves.items()}
    is_leaf = every["leaf"].astype(bool)
    means = g.node(
        "TreeEnsembleRegressor",
        features,
        domain="ai.onnx.ml",
        n_targets=head.count,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_nodeids=every["id"].tolist(),
        nodes_treeids=every["tree"].tolist(),
        nodes_featureids=np.where(is_leaf, 0, every["feature"]).tolist(),
        nodes_values=np.where(is_leaf, 0, every["value"]).astype(np.float32).tolist(),
        nodes_modes=np.where(is_leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_truenodeids=np.where(is_leaf, 0, every["left"]).tolist(),
        nodes_falsenodeids=np.where(is_leaf, 0, every["right"]).tolist(),
        target_treeids=ends["tree"].tolist(),
        target_nodeids=ends["id"].tolist(),
        target_ids=ends["class"].tolist(),
        target_weights=ends["weight"].astype(np.float32).tolist(),
    )
    doubt = 1.0 / (len(head.trees) * head.count)
    return g.node("Log", g.node("Add", means, g.constant(doubt)))
