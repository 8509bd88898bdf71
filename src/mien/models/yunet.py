"""YuNet (Wu, Peng, Yu 2023, Machine Intelligence Research 20:656-665): a tiny detector with five landmarks.

One pass gives, at strides 8, 16 and 32, for every cell the chance that a face is there, how sure the network
is of its box, the box, and the landmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import WeightsError
from mien.models import _onnx
from mien.models.base import Detections, ModelEntry, Record, RuntimeOptions, UrlSource, WeightsFile
from mien.models.runtime import Session
from mien.ops import boxes as box_ops
from mien.types import FloatArray, ImageArray

RECORD = Record(
    name="yunet",
    task="detection",
    summary="a very small detector with five landmarks: 0.23 MB of weights",
    weights=WeightsFile(
        filename="face_detection_yunet_2023mar.onnx",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        size=232_589,
        sources=(
            UrlSource(
                "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
                "face_detection_yunet_2023mar.onnx"
            ),
        ),
    ),
    licence_code="Apache-2.0 (own decoder)",
    licence_weights="MIT",
    commercial_use=True,
    origin=(
        "Wu, Peng, Yu 2023, YuNet: A Tiny Millisecond-level Face Detector, doi:10.1007/s11633-023-1423-y;"
        " file of March 2023 from the OpenCV Zoo"
    ),
    training_data="WIDER FACE",
    limits="Its makers give 10 to 300 pixels, as the network sees them, for the faces it finds.",
    input_notes=("BGR 0..255 (mien's RGB is swapped in the graph), no mean or scale, height and width multiples of 32"),
    # OpenCV takes 0.9, others down to 0.5; not measured here, where the file could not be fetched. The score
    # is the geometric mean of two chances: 0.9 asks for 0.81 together, which loses blurred and turned faces;
    # 0.7 asks for even odds (0.49), as CenterFace's 0.5 does.
    threshold=0.7,
    metrics={
        "WIDER FACE AP easy / medium / hard (OpenCV Zoo)": "0.884 / 0.866 / 0.750",
    },
)

STRIDES = (8, 16, 32)
MULTIPLE = 32
_NMS_IOU = 0.3  # as OpenCV
_CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_OUTPUTS = tuple(f"{head}_{stride}" for head in _CHANNELS for stride in STRIDES)


def to_dynamic(data: bytes) -> bytes:
    """Open the published graph to any batch and size.

    The file is fixed to one picture of 640 x 640, by its input and by the shapes that it reshapes to. The
    opened graph takes (N, H, W, 3) uint8 RGB with H and W multiples of 32, and gives the same outputs by the
    same names. Where it turns out that the graph cannot take several pictures at once, its batch axis stays
    1.

    Args:
        data: the bytes of face_detection_yunet_2023mar.onnx.

    Raises:
        WeightsError: not that graph.
    """
    for batch in ("N", 1):
        opened = _opened(data, batch)
        if _agrees_with_itself(opened, batch):
            return opened
    raise WeightsError("the YuNet file is fixed to one picture size in a way that mien does not know")


def _opened(data: bytes, batch: str | int) -> bytes:
    from onnx import TensorProto, helper

    model = _onnx.parsed(data, "the YuNet file")
    graph = model.graph
    inputs = [value.name for value in _onnx.inputs(graph)]
    if len(inputs) != 1 or {o.name for o in graph.output} != set(_OUTPUTS):
        raise WeightsError("the YuNet file is not the graph that mien knows")
    _free_shapes(graph)
    before = [
        helper.make_node("Transpose", ["pictures"], ["pictures_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["pictures_nchw", "rgb_to_bgr"], ["pictures_bgr"], axis=1),
        helper.make_node("Cast", ["pictures_bgr"], [inputs[0]], to=TensorProto.FLOAT),
    ]
    order = helper.make_tensor("rgb_to_bgr", TensorProto.INT64, [3], [2, 1, 0])
    pictures = helper.make_tensor_value_info("pictures", TensorProto.UINT8, [batch, "H", "W", 3])
    outputs = [
        helper.make_tensor_value_info(f"{head}_{stride}", TensorProto.FLOAT, [batch, f"cells_{stride}", channels])
        for head, channels in _CHANNELS.items()
        for stride in STRIDES
    ]
    opened = helper.make_graph([*before, *graph.node], "yunet", [pictures], outputs, [*graph.initializer, order])
    result = helper.make_model(opened, opset_imports=model.opset_import, ir_version=max(model.ir_version, 8))
    return bytes(result.SerializeToString())


def _free_shapes(graph: Any) -> None:
    """Replace, in place, the sizes that were fixed when the graph was made.

    The heads reshape to (1, cells, C): 0 takes the batch from the input, -1 counts the cells. The feature
    pyramid enlarges by two, which an exporter may have written down as sizes.
    """
    from onnx import numpy_helper

    constants = _constants(graph)
    added = []
    for node in graph.node:
        if node.op_type == "Reshape":
            shape = constants.get(node.input[1])
            if shape is not None and len(shape) == 3:
                added.append(numpy_helper.from_array(np.array([0, -1, shape[2]]), f"{node.output[0]}_shape"))
                node.input[1] = added[-1].name
        elif node.op_type == "Resize" and len(node.input) == 4:
            twice = np.array([1, 1, 2, 2], dtype=np.float32)
            added.append(numpy_helper.from_array(twice, f"{node.output[0]}_scales"))
            node.input[2] = added[-1].name
            del node.input[3]
    graph.initializer.extend(added)


def _constants(graph: Any) -> Mapping[str, npt.NDArray[Any]]:
    """What is constant in a graph, by name: its initialisers and the values of its Constant nodes."""
    from onnx import numpy_helper

    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = attribute.t
    return {name: numpy_helper.to_array(tensor) for name, tensor in found.items()}


def _agrees_with_itself(graph: bytes, batch: str | int) -> bool:
    """Whether an opened graph runs on a new size, and sees in a batch what it sees one by one."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    try:
        session = Session(graph, RuntimeOptions(threads=1))
        alone = [session(picture[None], _OUTPUTS) for picture in pictures]
        stacked = [np.concatenate(outputs) for outputs in zip(*alone, strict=True)]
        together = stacked if batch == 1 else session(pictures, _OUTPUTS)
    except Exception:  # onnxruntime raises its own, undocumented types
        return False
    cells = [64 * 96 // stride**2 for _ in _CHANNELS for stride in STRIDES]
    return all(
        array.shape[:2] == (2, n) and np.allclose(array, single, rtol=1e-4, atol=1e-4)
        for array, n, single in zip(together, cells, stacked, strict=True)
    )


class YuNet:
    """The network alone: pictures of one size in, detections of each out.

    Args:
        model: the graph that `to_dynamic` made, as bytes or a path.
        options: threads and device.
    """

    multiple = MULTIPLE

    def __init__(self, model: Path | bytes, options: RuntimeOptions) -> None:
        self._session = Session(model, options)
        self._one_by_one = self._session.inputs[0].shape[:1] == (1,)

    def __call__(self, pictures: ImageArray, threshold: float) -> list[Detections]:
        """Detect.

        Args:
            pictures: (N, H, W, 3) uint8 RGB, H and W multiples of 32.
            threshold: lowest score of a face.

        Returns:
            For each picture boxes (K, 4), scores (K,) and landmarks (K, 5, 2), best first.
        """
        columns = pictures.shape[2]
        batches = [picture[None] for picture in pictures] if self._one_by_one else [pictures]
        found: list[Detections] = []
        for batch in batches:
            outputs = dict(zip(_OUTPUTS, self._session(batch, _OUTPUTS), strict=True))
            found += [_decode(outputs, i, columns, threshold) for i in range(len(batch))]
        return found


def _decode(outputs: Mapping[str, FloatArray], picture: int, width: int, threshold: float) -> Detections:
    """Faces of one picture, `width` pixels wide, of a batch; each output is (N, cells, C), row by row."""
    parts = [
        _candidates({head: outputs[f"{head}_{stride}"][picture] for head in _CHANNELS}, stride, width, threshold)
        for stride in STRIDES
    ]
    boxes, scores, landmarks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    kept = box_ops.nms(boxes, scores, _NMS_IOU)
    return boxes[kept], scores[kept], landmarks[kept]


def _candidates(heads: Mapping[str, FloatArray], stride: int, width: int, threshold: float) -> Detections:
    """Detections of one stride from its heads, each (cells, C), in the order of the cells."""
    scores = np.sqrt(np.clip(heads["cls"][:, 0], 0, 1) * np.clip(heads["obj"][:, 0], 0, 1))
    cells = np.flatnonzero(scores >= threshold)
    rows, columns = np.divmod(cells, width // stride)
    corner = np.stack([columns, rows], axis=1).astype(np.float32)  # (K, xy)
    box = heads["bbox"][cells]
    centre, half = (corner + box[:, :2]) * stride, np.exp(box[:, 2:]) * (stride / 2)
    # The network's first eye is the right one of the person, which is the left one in the picture: mien's.
    landmarks = (heads["kps"][cells].reshape(-1, 5, 2) + corner[:, None]) * stride
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return boxes.astype(np.float32), scores[cells].astype(np.float32), landmarks.astype(np.float32)


ENTRY = ModelEntry(RECORD, YuNet, convert=to_dynamic, converter_version="1")
