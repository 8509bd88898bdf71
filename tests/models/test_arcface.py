"""ArcFace-style embedders: crops and embeddings as OpenCV's FaceRecognizerSF makes them from the same file.

The published weights cannot be fetched here; the graph built below has their input, output and shapes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.errors import ModelError, UnknownModelError, WeightsError
from mien.models import arcface
from mien.models.base import FileSource, RuntimeOptions
from mien.models.embedding import FaceEmbedder
from mien.models.store import WeightsStore
from mien.ops import align
from mien.types import Faces

OPTIONS = RuntimeOptions(threads=1)
LANDMARKS = np.float32([[171, 118], [236, 131], [199, 165], [158, 197], [212, 208]])  # a face, tilted and off centre


def published(*, shape=(1, 3, 112, 112), dimensions=128, batch_bound=False, scale=1 / 128):
    """A small graph with SFace's outside: `data` (1, 3, 112, 112) 0..255 to `fc1` (1, 128), scaled inside."""
    rng = np.random.default_rng(3)
    weights = {
        "unit": np.float32(scale),
        "conv_w": rng.normal(0, 0.3, (8, 3, 5, 5)).astype(np.float32),
        "conv_b": rng.normal(0, 0.3, 8).astype(np.float32),
        "fc_w": rng.normal(0, 0.02, (8 * 14 * 14, dimensions)).astype(np.float32),
        "fc_b": rng.normal(0, 0.02, dimensions).astype(np.float32),
        "flat_shape": np.array([1, 8 * 14 * 14]),
    }
    flatten = ["Reshape", ["low", "flat_shape"]] if batch_bound else ["Flatten", ["low"]]
    nodes = [
        helper.make_node("Mul", ["data", "unit"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "conv_w", "conv_b"], ["conv"], strides=[8, 8], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["conv"], ["low"]),
        helper.make_node(*flatten, ["flat"]),
        helper.make_node("Gemm", ["flat", "fc_w", "fc_b"], ["fc1"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sface",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [shape[0], dimensions])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6).SerializeToString()


def photograph(height=300, width=400, seed=1):
    """Smooth random colours: RGB uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def random_crops(n, seed=2):
    return np.random.default_rng(seed).integers(0, 256, (n, 112, 112, 3), dtype=np.uint8)


@pytest.fixture
def sface(tmp_path):
    path = tmp_path / "sface.onnx"
    path.write_bytes(published())
    return path


@pytest.fixture
def recognizer(sface):
    return cv2.FaceRecognizerSF.create(str(sface), "")


@pytest.fixture
def network():
    return arcface.ENTRY.network(arcface.open_batch(published()), OPTIONS)


def opencv_row(landmarks):
    """The row of FaceDetectorYN that alignCrop reads: box, five landmarks, score."""
    return np.concatenate([[0, 0, 10, 10], landmarks.reshape(-1), [0.9]]).astype(np.float32)[None]


def one_face(landmarks, width=400, height=300):
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    return Faces([[*low, *high]], [0.9], landmarks[None], (width, height))


def test_same_embeddings_as_opencv(recognizer, network):
    crops = random_crops(5)
    theirs = np.concatenate([recognizer.feature(np.ascontiguousarray(crop[..., ::-1])).copy() for crop in crops])
    mine = network(crops)
    assert mine.dtype == np.float32
    np.testing.assert_allclose(mine, theirs, atol=1e-4)
    assert np.abs(network(np.ascontiguousarray(crops[..., ::-1])) - theirs).max() > 1e-2  # colours swapped


def test_same_alignment_as_opencv(recognizer):
    """OpenCV aligns a picture of coordinates, which says where each pixel of the crop came from."""
    y, x = np.mgrid[:300, :400].astype(np.float32)
    places = recognizer.alignCrop(np.dstack([x, y, np.zeros_like(x)]), opencv_row(LANDMARKS))[..., :2]
    transform = align.similarity_transforms(LANDMARKS[None], arcface.CROP.template_array())
    v, u = np.mgrid[:112, :112]
    mine = align.apply(align.invert(transform), np.stack([u, v], -1).reshape(1, -1, 2)).reshape(112, 112, 2)
    inner = ((mine > 1) & (mine < [398, 298])).all(axis=-1)
    assert inner.mean() > 0.9
    # OpenCV 4 interpolates at 32nds of a pixel; the mean says that the transforms agree far better
    assert np.abs(mine - places)[inner].max() < 1 / 32 + 1e-2
    np.testing.assert_allclose((mine - places)[inner].mean(axis=0), 0, atol=1e-2)


def test_same_crop_as_opencv(recognizer):
    picture = photograph()
    theirs = recognizer.alignCrop(np.ascontiguousarray(picture[..., ::-1]), opencv_row(LANDMARKS))[..., ::-1]
    template = arcface.CROP.template_array()
    (mine,) = align.extract_crops(picture, align.similarity_transforms(LANDMARKS[None], template), 112)
    assert np.abs(mine.astype(int) - theirs).max() <= 1
    swapped = align.similarity_transforms(LANDMARKS[None, [1, 0, 2, 4, 3]], template)
    assert np.abs(align.extract_crops(picture, swapped, 112)[0].astype(int) - theirs).mean() > 10


def test_from_picture_to_embedding_as_opencv(recognizer, network):
    picture = photograph()
    bgr = np.ascontiguousarray(picture[..., ::-1])
    crop = recognizer.alignCrop(bgr, opencv_row(LANDMARKS))
    theirs = (recognizer.feature(crop).copy() + recognizer.feature(crop[:, ::-1].copy())) / 2
    embedder = FaceEmbedder(arcface.RECORD, network)  # its fast mode averages the crop and its mirror
    (faces,) = embedder([picture], [one_face(LANDMARKS)])
    assert faces.embeddings.shape == (1, 128)
    cosine = (faces.embeddings * theirs).sum() / np.linalg.norm(faces.embeddings) / np.linalg.norm(theirs)
    assert cosine > 0.9999


def test_published_batch_of_one_is_opened(network):
    crops = random_crops(4)
    together = network(crops)
    assert not network._one_by_one
    assert together.shape == (4, 128)
    np.testing.assert_allclose(together, np.concatenate([network(crop[None]) for crop in crops]), atol=1e-5)


def test_a_batch_that_stays_fixed_is_run_crop_by_crop(network):
    bound = arcface.ENTRY.network(arcface.open_batch(published(batch_bound=True)), OPTIONS)
    assert bound._one_by_one
    crops = random_crops(4)
    np.testing.assert_allclose(bound(crops), network(crops), atol=1e-5)


def test_unconverted_files_run_too(sface, network):
    crops = random_crops(2)
    plain = arcface.ArcFaceNetwork(sface, OPTIONS, mean=0, scale=1)
    np.testing.assert_allclose(plain(crops), network(crops), atol=1e-5)


def test_weights_listed_as_inputs_are_folded():
    model = onnx.load_model_from_string(published())
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.ir_version = 3
    opened = onnx.load_model_from_string(arcface.open_batch(model.SerializeToString()))
    assert [value.name for value in opened.graph.input] == ["data"]


def test_pixels_are_scaled_as_asked():
    graph = published(scale=1.0)
    crops = random_crops(2)
    plain = arcface.ArcFaceNetwork(graph, OPTIONS, mean=0, scale=1)
    shifted = arcface.ArcFaceNetwork(graph, OPTIONS, mean=127.5, scale=1 / 127.5)
    halved = arcface.ArcFaceNetwork(graph, OPTIONS, mean=-10, scale=0.5)
    blue_first = arcface.ArcFaceNetwork(graph, OPTIONS, mean=0, scale=1, bgr=True)
    values = crops.transpose(0, 3, 1, 2).astype(np.float32)
    session = plain._session
    for network, expected in (
        (plain, values),
        (shifted, values / 127.5 - 1),
        (halved, (values + 10) / 2),
        (blue_first, values[:, ::-1]),
    ):
        want = np.concatenate([session(value[None])[0] for value in expected])
        np.testing.assert_allclose(network(crops), want, rtol=1e-4, atol=1e-3)


def test_record():
    record = arcface.RECORD
    assert record.metric == "cosine"
    assert not record.calibrations
    assert record.crop is not None
    left_eye, right_eye, *_ = record.crop.template
    assert left_eye[0] < right_eye[0]


@pytest.mark.parametrize(("batch", "dimensions"), [(1, 128), ("N", 512), (None, 64)])
def test_own_file(tmp_path, batch, dimensions):
    path = tmp_path / "mine.onnx"
    path.write_bytes(published(shape=(batch, 3, 112, 112), dimensions=dimensions))
    entry = arcface.entry_from_file(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry.record.name == f"arcface:mine@{sha256[:8]}"
    assert entry.record.dimensions == dimensions
    assert entry.record.weights.sha256 == sha256
    assert entry.record.weights.size == path.stat().st_size
    assert entry.record.weights.sources == (FileSource(str(path)),)
    assert not entry.record.commercial_use
    assert entry.convert is not None
    network = entry.network(entry.convert(path.read_bytes()), OPTIONS)
    assert network(random_crops(3)).shape == (3, dimensions)


@pytest.mark.parametrize("name", ["my model.onnx", "モデル.onnx", ".hidden.onnx", "-.onnx"])
def test_own_file_of_any_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(published())
    entry = arcface.entry_from_file(path)
    assert entry.convert is not None
    store = WeightsStore(tmp_path / "cache")
    assert store.path(entry.record.weights) == path
    assert store.derived(entry.record.weights, ".onnx", "1", entry.convert).is_file()


def test_own_file_by_name(sface):
    registry = pytest.importorskip("mien.models.registry")
    assert registry.entry(f"arcface:{sface}", "embedding").record.dimensions == 128
    assert registry.entry(f"arcface:{sface}").record.task == "embedding"
    with pytest.raises(UnknownModelError):
        registry.entry(f"arcface:{sface}", "detection")


def rank_four_output():
    model = onnx.load_model_from_string(published())
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 128, 1, 1]), "wide"))
    model.graph.node[-1].output[0] = "narrow"
    model.graph.node.append(helper.make_node("Reshape", ["narrow", "wide"], ["fc1"]))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model.SerializeToString()


def outside_weights():
    model = onnx.load_model_from_string(published())
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere.bin")
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not an onnx file", "is not an ONNX file"),
        (b"", "."),
        (published()[:2000], "."),
        (published(shape=(1, 3, 160, 160)), r"\(N or 1, 3, 112, 112\), and takes \(1, 3, 160, 160\)"),
        (published(shape=(1, 112, 112, 3)), r"takes \(1, 112, 112, 3\)"),
        (published(shape=(4, 3, 112, 112)), r"takes \(4, 3, 112, 112\)"),
        (published(shape=("N", 3, "H", "W")), r"takes \(any, 3, any, any\)"),
        (rank_four_output(), r"give \(N, D\), and gives \(1, 128, 1, 1\)"),
        (outside_weights(), "weights in other files"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, data, message):
    path = tmp_path / "mine.onnx"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=message) as caught:
        arcface.entry_from_file(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(WeightsError, match=r"cannot read|is not a file") as caught:
            arcface.entry_from_file(path)
        assert "\n" not in str(caught.value)


def graph_that_gives(*nodes, **weights):
    """An ArcFace-style graph whose embedding `y` the nodes make from `flat` (N, 3)."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            *nodes,
        ],
        "own",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", None])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    ("node", "shape", "says"),
    [
        (helper.make_node("Reshape", ["flat", "shape"], ["y"]), [1, 7], "cannot run"),
        (helper.make_node("Expand", ["one", "shape"], ["y"]), [1, 10**14], "cannot run"),
        (helper.make_node("Reshape", ["none", "shape"], ["y"], allowzero=1), [1, 0], "gives \\(1, 0\\)"),
    ],
)
def test_own_files_that_fail_when_run_are_one_clear_line(tmp_path, node, shape, says):
    path = tmp_path / "own.onnx"
    one, none = np.ones((1, 1), np.float32), np.ones(0, np.float32)
    path.write_bytes(graph_that_gives(node, shape=np.array(shape), one=one, none=none))
    with pytest.raises(WeightsError, match=says) as error:
        arcface.entry_from_file(path)
    assert "\n" not in str(error.value)


def test_own_files_that_never_end_are_not_read():
    with pytest.raises(WeightsError, match="not a file"):
        arcface.entry_from_file("/dev/zero" if os.path.exists("/dev/zero") else ".")  # noqa: PTH110


@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_an_error(factor):
    node = helper.make_node("Mul", ["flat", "factor"], ["y"])
    data = graph_that_gives(node, factor=np.float32([factor, 1, 1]))
    record = dataclasses.replace(arcface.RECORD, dimensions=3)
    embedder = FaceEmbedder(record, arcface.ArcFaceNetwork(data, OPTIONS))
    faces = Faces(np.float32([[140, 60, 260, 230]]), np.float32([1]), LANDMARKS[None], (400, 300))
    with pytest.raises(ModelError, match="not finite"):
        embedder([photograph()], [faces])
