"""dlib's face recognition ResNet (Davis King, 2017), converted once from its .dat to ONNX.

Architecture: http://dlib.net/dnn_face_recognition_ex.cpp.html; a 29-layer residual network trained with a metric
loss, 128-D output compared by plain Euclidean distance. Parity with dlib itself on equal chips: recipes/dlib_parity.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import WeightsError
from mien.models import dlib_landmarks
from mien.models.base import (
    Calibration,
    CropSpec,
    CropView,
    EmbeddingRecipe,
    ModelEntry,
    Record,
    RuntimeOptions,
    WeightsFile,
    int8_ranges,
)
from mien.models.dlib_format import Layer, Network, package_source, read_network
from mien.models.dlib_landmarks import CENTERFACE_TEMPLATE, CHIP_SIZE
from mien.models.runtime import Session
from mien.ops.tint import tint_grey
from mien.types import FloatArray, ImageArray

_CALIBRATED_ON = (
    "1,198,786 pairs of the 1,468 people of lfw_dev who are in no pair of lfw_dev_pairs; probabilities also on its"
    " unlisted pairs of one person (recipes/calibrate_verification.py)"
)
RECORD = Record(
    name="dlib-resnet",
    task="embedding",
    summary="128-D embeddings compared by distance; the default embedder",
    weights=WeightsFile(
        filename="dlib_face_recognition_resnet_model_v1.dat",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        size=22_466_066,
        sources=(package_source("dlib_face_recognition_resnet_model_v1.dat"),),
    ),
    licence_code="Apache-2.0 (own converter)",
    licence_weights="CC0-1.0",
    commercial_use=True,
    origin="Davis King 2017, http://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html",
    training_data="about 3 million faces of 7,485 people: FaceScrub, VGG-Face, and pictures from the web",
    limits=(
        "Trained mostly on adult public figures of the West: errors are higher for children and for groups that are"
        " rare in its data. Not for identifying people without their consent, nor as the only ground of a decision"
        " about a person."
    ),
    crop=CropSpec(size=CHIP_SIZE, template=CENTERFACE_TEMPLATE),
    input_notes="RGB, channel means (122.782, 117.001, 104.298) subtracted, divided by 256 (both inside the graph)",
    metric="l2",
    dimensions=128,
    calibrations={
        "fast": Calibration(
            thresholds={"1e-2": 0.4780, "1e-3": 0.5702, "1e-4": 0.6557},
            logistic=(42.058, -19.742),
            source=_CALIBRATED_ON,
        ),
        "accurate": Calibration(
            thresholds={"1e-2": 0.4856, "1e-3": 0.5781, "1e-4": 0.6608},
            logistic=(40.651, -19.397),
            source=_CALIBRATED_ON,
        ),
    },
)
_SCALE = 1.0 / 256.0


def to_onnx(data: bytes) -> bytes:
    """Convert dlib's .dat to an ONNX graph: (N, S, S, 3) uint8 RGB crops in, (N, 128) float32 embeddings out.

    Mean, scale and the affine layers are folded into the convolutions (exact, up to rounding: the first convolution
    has no padding, so the mean is a bias).

    Args:
        data: the bytes of dlib_face_recognition_resnet_model_v1.dat.

    Raises:
        WeightsError: the bytes are not such a network.
    """
    return _GraphBuilder(read_network(data)).build()


class DlibResNet:
    """The converted network.

    Args:
        model: the ONNX graph that `to_onnx` made, as bytes or a path.
        options: threads and device.
    """

    def __init__(self, model: Path | bytes, options: RuntimeOptions) -> None:
        self._session = Session(model, options)

    def __call__(self, crops: ImageArray) -> FloatArray:
        """Embed (N, 150, 150, 3) uint8 RGB crops; returns (N, 128) float32."""
        embeddings: FloatArray = self._session(crops)[0]
        return embeddings


# Chosen on pairs of lfw_dev that are not reported; see recipes/LOG.md.
RECIPE = EmbeddingRecipe(
    fast=(CropView(scale=1.05, rotation=-3), CropView(scale=1.06, mirrored=True)),
    accurate=(
        CropView(),
        CropView(mirrored=True),
        CropView(scale=1.05, rotation=3),
        CropView(scale=1.05, rotation=3, mirrored=True),
        CropView(scale=1.05, rotation=-3),
        CropView(scale=1.05, rotation=-3, mirrored=True),
        CropView(scale=1.06),
        CropView(scale=1.06, mirrored=True),
        CropView(shift=(-0.02, -2 / 150), scale=1.03, mirrored=True),
        CropView(shift=(0.02, 2 / 150), scale=1.03),
    ),
    aligner=dlib_landmarks.RECORD.name,
    prepare=tint_grey,
)
ENTRY = ModelEntry(
    RECORD,
    DlibResNet,
    convert=to_onnx,
    converter_version="1",
    recipe=RECIPE,
    int8=int8_ranges(RECORD.name),
)


class _GraphBuilder:
    """Writes the ONNX graph layer by layer, keeping the shape of the current tensor."""

    def __init__(self, network: Network) -> None:
        self._layers = network.layers
        self._mean = network.mean
        self._size = network.size
        self._nodes: list[object] = []
        self._constants: list[object] = []
        self._shape = (3, *network.size)  # (C, H, W)

    def build(self) -> bytes:
        """The serialised model."""
        from onnx import TensorProto

        current = self._node("Transpose", ["crops"], perm=[0, 3, 1, 2])
        current = self._node("Cast", [current], to=TensorProto.FLOAT)
        branch = branch_shape = None  # where the residual branch that is open now started
        layers = self._layers
        i = 0
        while i < len(layers):
            layer = layers[i]
            if layer.kind == "con" and branch is None and i > 0:
                branch, branch_shape = current, self._shape
            if layer.kind == "con":
                current = self._convolution(current, layer, layers[i + 1], first=i == 0)
                i += 1  # its affine layer is folded in
            elif layer.kind == "relu":
                current = self._node("Relu", [current])
            elif layer.kind == "avg_pool" and branch is not None and branch_shape is not None:
                # In a down-sampling block the pool stands on the skipped branch, not on the convolutions.
                main, main_shape, self._shape = current, self._shape, branch_shape
                branch = self._pool(branch, layer)
                current, branch_shape, self._shape = main, self._shape, main_shape
            elif layer.kind in ("avg_pool", "max_pool"):
                current = self._pool(current, layer)
            elif layer.kind == "add_prev" and branch is not None and branch_shape is not None:
                current = self._add(current, branch, branch_shape)
                branch = branch_shape = None
            elif layer.kind == "fc":
                flat = self._node("Flatten", [current], axis=1)
                weight = layer.arrays["weight"]
                current = self._node("MatMul", [flat, self._constant(weight)])
                self._shape = (weight.shape[1], 1, 1)
            else:
                raise WeightsError(f"unexpected dlib layer {layer.kind!r} at position {i}")
            i += 1
        return self._serialised(current)

    def _serialised(self, output: str) -> bytes:
        from onnx import TensorProto, helper

        rows, columns = self._size
        graph = helper.make_graph(
            [*self._nodes, helper.make_node("Identity", [output], ["embeddings"])],
            "dlib_resnet",
            [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", rows, columns, 3])],
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", self._shape[0]])],
            self._constants,
        )
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="mien")
        return bytes(model.SerializeToString())

    def _node(self, op: str, inputs: list[str], **attributes: object) -> str:
        from onnx import helper

        output = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def _constant(self, array: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _convolution(self, current: str, con: Layer, affine: Layer, *, first: bool) -> str:
        if affine.kind != "affine":
            raise WeightsError("a dlib convolution without its affine layer is not supported")
        weight, bias = con.arrays["weight"], con.arrays["bias"]
        if first:  # (x - mean) / 256 folded in; exact because nothing is padded
            if con.padding != (0, 0):
                raise WeightsError("a padded first dlib convolution is not supported")
            weight = weight * np.float32(_SCALE)
            bias = bias - np.einsum("oihw,i->o", weight, self._mean)
        scale, shift = affine.arrays["scale"], affine.arrays["shift"]
        weight = weight * scale[:, None, None, None]
        bias = bias * scale + shift
        self._shape = (weight.shape[0], *self._pooled(con, weight.shape[2:]))
        return self._node(
            "Conv",
            [current, self._constant(weight), self._constant(bias)],
            strides=list(con.stride),
            pads=[*con.padding, *con.padding],
        )

    def _pooled(self, layer: Layer, window: tuple[int, ...]) -> tuple[int, int]:
        """(H, W) after sliding a window, rounded down as dlib does."""
        rows, columns = (
            1 + (n + 2 * pad - size) // stride
            for n, pad, size, stride in zip(self._shape[1:], layer.padding, window, layer.stride, strict=True)
        )
        return rows, columns

    def _pool(self, current: str, layer: Layer) -> str:
        if layer.window == (0, 0):
            self._shape = (self._shape[0], 1, 1)
            return self._node("GlobalAveragePool", [current])
        self._shape = (self._shape[0], *self._pooled(layer, layer.window))
        return self._node(
            "MaxPool" if layer.kind == "max_pool" else "AveragePool",
            [current],
            kernel_shape=list(layer.window),
            strides=list(layer.stride),
            pads=[*layer.padding, *layer.padding],
        )

    def _add(self, main: str, branch: str, branch_shape: tuple[int, ...]) -> str:
        """Add two tensors; where one is smaller in channels, rows or columns, zeros stand for what is missing."""
        total = tuple(max(pair) for pair in zip(self._shape, branch_shape, strict=True))
        main = self._padded(main, self._shape, total)
        branch = self._padded(branch, branch_shape, total)
        self._shape = (total[0], total[1], total[2])
        return self._node("Add", [main, branch])

    def _padded(self, name: str, shape: tuple[int, ...], total: tuple[int, ...]) -> str:
        if shape == total:
            return name
        missing = [t - s for s, t in zip(shape, total, strict=True)]
        pads = np.array([0, 0, 0, 0, 0, *missing], dtype=np.int64)
        return self._node("Pad", [name, self._constant(pads)])
