"""ArcFace-style embedders (Deng et al. 2019): aligned 112 x 112 crops in, embeddings compared by angle out.

Many published networks share this crop and comparison and differ in how pixels are scaled: SFace, which is
registered here, and any ONNX file of the user's own (`entry_from_file`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import ModelError, WeightsError
from mien.models import _onnx
from mien.models.base import (
    CropSpec,
    ModelEntry,
    Record,
    RuntimeOptions,
    UrlSource,
    WeightsFile,
)
from mien.models.runtime import Session
from mien.types import FloatArray, ImageArray

SIZE = 112
CROP = CropSpec(
    size=SIZE,
    template=(
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ),
)

RECORD = Record(
    name="sface",
    task="embedding",
    summary="128-D embeddings compared by angle; 99.60 % on LFW by its authors",
    weights=WeightsFile(
        filename="face_recognition_sface_2021dec.onnx",
        sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        size=38_696_353,
        sources=(
            UrlSource(
                "https://github.com/opencv/opencv_zoo/raw/main/models/face_recognition_sface/"
                "face_recognition_sface_2021dec.onnx"
            ),
        ),
    ),
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    commercial_use=True,
    origin=(
        "Zhong et al. 2021, SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition,"
        " doi:10.1109/TIP.2020.3048632; file of December 2021 from the OpenCV Zoo"
    ),
    training_data="not said for this file; the paper trains on CASIA-WebFace, VGGFace2 and MS1MV2",
    limits=(
        "Not calibrated by mien: measure its thresholds with `mien evaluate verification` before it decides"
        " anything. OpenCV's threshold, cosine 0.363, is the best one on LFW; it stands for no false match"
        " rate. Not for identifying people without their consent, nor as the only ground of a decision"
        " about a person."
    ),
    crop=CROP,
    input_notes="RGB 0..255, no mean or scale (both inside the graph)",
    metric="cosine",
    dimensions=128,
    metrics={
        "LFW accuracy (its authors)": "99.60 %",
        "LFW threshold, cosine (OpenCV)": "0.363",
    },
)


def open_batch(data: bytes) -> bytes:
    """Let a graph take any number of crops, where it can, and let onnxruntime fold its weights.

    Many files are fixed to one crop only by what they declare. Others list their weights as inputs, which
    forbids folding. A graph that cannot take several crops, or sees them otherwise than one by one, stays
    fixed to one.

    Args:
        data: the bytes of an ONNX file that takes (N | 1, 3, 112, 112) float32.

    Raises:
        WeightsError: not such a file.
    """
    model = _onnx.parsed(data, "the file")
    graph = model.graph
    inputs = _onnx.inputs(graph)
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 8)  # older ones want weights among the inputs
    closed = bytes(model.SerializeToString())
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "N"
    del graph.value_info[:]
    opened = bytes(model.SerializeToString())
    return opened if _same_in_a_batch(opened) else closed


def _same_in_a_batch(graph: bytes) -> bool:
    """Whether a graph gives for two crops at once what it gives for each."""
    crops = np.random.default_rng(0).uniform(-1, 1, (2, 3, SIZE, SIZE)).astype(np.float32)
    try:
        session = Session(graph, RuntimeOptions(threads=1))
        together = session(crops)[0]
        alone = np.concatenate([session(crop[None])[0] for crop in crops])
    except Exception:  # onnxruntime raises its own, undocumented types
        return False
    tolerance = 1e-3 * float(np.abs(alone).max(initial=0))
    return together.shape == alone.shape and np.allclose(together, alone, rtol=0, atol=tolerance)


class ArcFaceNetwork:
    """An ArcFace-style network; files that take one crop at a time are run crop by crop.

    Args:
        model: an ONNX graph with one input (N | 1, 3, 112, 112) float32, as bytes or a path.
        options: threads and device.
        mean: subtracted from every value (0..255) first.
        scale: multiplied with afterwards.
        bgr: whether the network wants blue first.
    """

    def __init__(
        self,
        model: Path | bytes,
        options: RuntimeOptions,
        *,
        mean: float = 127.5,
        scale: float = 1 / 127.5,
        bgr: bool = False,
    ) -> None:
        self._session = Session(model, options)
        self._one_by_one = self._session.inputs[0].shape[:1] == (1,)
        self._mean, self._scale, self._bgr = np.float32(mean), np.float32(scale), bgr

    def __call__(self, crops: ImageArray) -> FloatArray:
        """Embed (N, 112, 112, 3) uint8 RGB crops, N >= 1; returns (N, D) float32, not normalised."""
        values = ((crops[..., ::-1] if self._bgr else crops) - self._mean) * self._scale
        planes = values.transpose(0, 3, 1, 2)  # (N, 3, 112, 112)
        batches = np.split(planes, len(planes)) if self._one_by_one else [planes]
        return np.concatenate([self._session(batch)[0] for batch in batches])


ENTRY = ModelEntry(RECORD, partial(ArcFaceNetwork, mean=0.0, scale=1.0), convert=open_batch, converter_version="1")


def entry_from_file(
    path: str | Path, *, mean: float = 127.5, scale: float = 1 / 127.5, bgr: bool = False
) -> ModelEntry:
    """A model entry for an ArcFace-style ONNX file of the user's own.

    The defaults suit the networks of InsightFace and most that were trained like them. The model's name
    carries the start of the file's hash, so that embeddings of two files are never taken for those of one.

    Args:
        path: of the file; may start with `~`.
        mean: subtracted from every value (0..255) first.
        scale: multiplied with afterwards.
        bgr: whether the network wants blue first.

    Raises:
        WeightsError: no such file, or not an ArcFace-style graph.
    """
    path, data = _onnx.read_own(path)
    dimensions = _dimensions(data, path)
    weights = _onnx.own_weights(path, data)
    record = Record(
        name=f"arcface:{path.stem}@{weights.sha256[:8]}",
        task="embedding",
        summary=f"{dimensions}-D embeddings compared by angle; a file of the user's own",
        weights=weights,
        licence_code="Apache-2.0",
        licence_weights="unknown to mien: ask whoever made the file",
        commercial_use=False,  # unless its maker says so; the usual files of this kind forbid it
        origin="the user's own file",
        training_data="unknown to mien",
        limits=("Not calibrated: measure its thresholds with `mien evaluate verification` before it decides anything."),
        crop=CROP,
        input_notes=f"{'BGR' if bgr else 'RGB'}, (value - {mean:g}) * {scale:g}",
        metric="cosine",
        dimensions=dimensions,
    )
    network = partial(ArcFaceNetwork, mean=mean, scale=scale, bgr=bgr)
    return ModelEntry(record, network, convert=open_batch, converter_version="1")


def _dimensions(data: bytes, path: Path) -> int:
    """Length of the embeddings of an ArcFace-style graph.

    Raises:
        WeightsError: not such a graph.
    """
    wanted = f"{path} is not an ArcFace-style embedder: it should"
    _onnx.refuse_outside(data, str(path))
    graph = _onnx.parsed(data, path.name).graph
    inputs = _onnx.inputs(graph)
    shapes = [_shape(value) for value in inputs]
    if len(shapes) != 1 or shapes[0][1:] != [3, SIZE, SIZE] or shapes[0][0] not in (None, 1):
        have = " and ".join(_written(shape) for shape in shapes) or "nothing"
        raise WeightsError(f"{wanted} take (N or 1, 3, {SIZE}, {SIZE}), and takes {have}")
    if inputs[0].type.tensor_type.elem_type != 1:  # TensorProto.FLOAT
        raise WeightsError(f"{wanted} take float32")
    session = Session(data, RuntimeOptions(threads=1))
    try:
        output = session(np.zeros((1, 3, SIZE, SIZE), dtype=np.float32))[0]
    except ModelError as error:
        raise WeightsError(f"{path}: {error}") from error
    if output.ndim != 2 or len(output) != 1 or not output.size:
        raise WeightsError(f"{wanted} give (N, D), and gives {_written(list(output.shape))} for one crop")
    return int(output.shape[1])


def _shape(value: Any) -> list[int | None]:
    """Declared shape of an input or output; None where an axis has no number."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.WhichOneof("value") == "dim_value" else None for dim in dims]


def _written(shape: list[int | None]) -> str:
    return f"({', '.join('any' if n is None else str(n) for n in shape)})"
