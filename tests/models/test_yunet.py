"""YuNet: the same file read by mien and by OpenCV's own FaceDetectorYN must give the same faces.

The published weights cannot be fetched here. The graph built below has their inputs, outputs and shapes (as
the export of the training code writes them) and random weights, which exercise every number of the decoder.
"""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.errors import WeightsError
from mien.models import yunet
from mien.models.base import RuntimeOptions
from mien.models.detection import ScaledDetector
from mien.ops import boxes as box_ops

OPTIONS = RuntimeOptions(threads=1)
CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def published(height=640, width=640, *, resize="scales", reshape=(1, -1), seed=0):
    """A small graph with the published file's outside: input (1, 3, H, W), twelve heads, a pyramid."""
    rng = np.random.default_rng(seed)
    nodes, weights = [], []

    def weight(name, array):
        weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def conv(source, name, shape, stride=1, scale=1.0, bias=0.0):
        spread = scale / np.sqrt(np.prod(shape[1:]))
        w = weight(f"{name}_w", rng.normal(0, spread, shape).astype(np.float32))
        b = weight(f"{name}_b", rng.normal(bias, 0.1, shape[0]).astype(np.float32))
        pad = (shape[2] - 1) // 2
        nodes.append(helper.make_node("Conv", [source, w, b], [name], strides=[stride] * 2, pads=[pad] * 4))
        return name

    def relu(source):
        nodes.append(helper.make_node("Relu", [source], [f"{source}_relu"]))
        return f"{source}_relu"

    # Unequal weights per colour and the range 0..255 make a swapped or scaled input show.
    nodes.append(helper.make_node("Mul", ["input", weight("unit", np.float32(1 / 64))], ["scaled"]))
    features = {8: relu(conv("scaled", "stem", (8, 3, 9, 9), stride=8, scale=2.0))}
    for stride in (16, 32):
        features[stride] = relu(conv(features[stride // 2], f"down_{stride}", (8, 8, 3, 3), stride=2, scale=2))
    for stride in (16, 8):
        lower = f"up_{stride}"
        roi = weight(f"roi_{stride}", np.zeros(0, np.float32))
        if resize == "scales":
            more = [roi, weight(f"scales_{stride}", np.float32([1, 1, 2, 2]))]
        else:
            sizes = np.array([1, 8, height // stride, width // stride])
            more = [roi, roi, weight(f"sizes_{stride}", sizes)]
        nodes.append(
            helper.make_node(
                "Resize",
                [features[stride * 2], *more],
                [lower],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        )
        nodes.append(helper.make_node("Add", [features[stride], lower], [f"sum_{stride}"]))
        features[stride] = f"sum_{stride}"
    outputs = []
    for head, channels in CHANNELS.items():
        for stride in yunet.STRIDES:
            name, cells = f"{head}_{stride}", height * width // stride**2
            gain = {"cls": 3.0, "obj": 3.0, "bbox": 0.5, "kps": 1.5}[head]
            raw = conv(features[stride], f"{name}_raw", (channels, 8, 1, 1), scale=gain)
            nodes.append(helper.make_node("Transpose", [raw], [f"{name}_t"], perm=[0, 2, 3, 1]))
            first, second = reshape if reshape[1] == -1 else (reshape[0], cells)
            shape = weight(f"{name}_shape", np.array([first, second, channels]))
            flat = f"{name}_flat" if channels == 1 else name
            nodes.append(helper.make_node("Reshape", [f"{name}_t", shape], [flat]))
            if channels == 1:
                nodes.append(helper.make_node("Sigmoid", [flat], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, cells, channels]))
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, width])],
        outputs,
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def photograph(height, width, seed=1):
    """Smooth random colours: RGB uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def by_opencv(tmp_path, data, picture, threshold, iou):
    """Faces of an RGB picture by OpenCV: boxes (K, 4) xyxy, scores (K,), landmarks (K, 5, 2)."""
    path = tmp_path / "yunet.onnx"
    path.write_bytes(data)
    height, width = picture.shape[:2]
    detector = cv2.FaceDetectorYN.create(str(path), "", (width, height), threshold, iou, 100_000)
    _, faces = detector.detect(np.ascontiguousarray(picture[..., ::-1]))
    faces = np.zeros((0, 15), np.float32) if faces is None else faces
    boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
    return boxes, faces[:, 14], faces[:, 4:14].reshape(-1, 5, 2)


def by_place(detections):
    """The same detections in an order that ties in score cannot change."""
    boxes, scores, landmarks = detections
    order = np.lexsort([*np.round(boxes.T), np.round(scores, 3)])
    return boxes[order], scores[order], landmarks[order]


def close(mine, theirs):
    for ours, other in zip(by_place(mine), by_place(theirs), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-2)


@pytest.fixture(scope="module")
def network():
    return yunet.YuNet(yunet.to_dynamic(published()), OPTIONS)


@pytest.fixture
def every_candidate(monkeypatch):
    """Suppression off, so that every cell is compared; OpenCV suppresses on boxes cut to whole pixels."""
    monkeypatch.setattr(yunet, "_NMS_IOU", 1.0)


@pytest.mark.usefixtures("every_candidate")
@pytest.mark.parametrize(("size", "threshold"), [((640, 640), 0.9), ((256, 416), 0.5), ((416, 256), 0.5)])
def test_same_candidates_as_opencv(tmp_path, network, size, threshold):
    picture = photograph(*size)
    theirs = by_opencv(tmp_path, published(*size), picture, threshold, 1.0)
    assert len(theirs[0]) > 100
    close(network(picture[None], threshold)[0], theirs)


@pytest.mark.usefixtures("every_candidate")
def test_a_picture_of_any_size_as_opencv(tmp_path, network):
    picture = photograph(250, 390)  # both fill it up to 256 x 416 with black
    theirs = by_opencv(tmp_path, published(256, 416), picture, 0.5, 1.0)
    (faces,) = ScaledDetector(yunet.RECORD, network, threshold=0.5)([picture])
    clipped = box_ops.clip(theirs[0], 390, 250)
    inside = box_ops.area(clipped) > 0
    close((faces.boxes, faces.scores, faces.landmarks), (clipped[inside], theirs[1][inside], theirs[2][inside]))


def test_same_faces_as_opencv(tmp_path, network):
    picture = photograph(256, 416)
    boxes, scores, landmarks = network(picture[None], 0.6)[0]
    their_boxes, their_scores, their_landmarks = by_opencv(tmp_path, published(256, 416), picture, 0.6, 0.3)
    # Suppression on whole pixels decides a few overlaps near 0.3 otherwise; each face both keep is the same.
    same = box_ops.iou(boxes, their_boxes) > 0.999
    mine, theirs = np.nonzero(same)
    assert len(mine) > 0.9 * max(len(boxes), len(their_boxes))
    np.testing.assert_allclose(boxes[mine], their_boxes[theirs], atol=1e-2)
    np.testing.assert_allclose(scores[mine], their_scores[theirs], atol=1e-4)
    np.testing.assert_allclose(landmarks[mine], their_landmarks[theirs], atol=1e-2)
    assert (np.diff(scores) <= 0).all()


@pytest.mark.usefixtures("every_candidate")
def test_the_comparison_would_notice(tmp_path, network):
    picture = photograph(256, 416)
    theirs = by_opencv(tmp_path, published(256, 416), picture, 0.5, 1.0)
    boxes, scores, landmarks = network(picture[None], 0.5)[0]
    swapped = network(np.ascontiguousarray(picture[None, ..., ::-1]), 0.5)[0]
    wrong = {
        "colours": swapped,
        "landmark order": (boxes, scores, landmarks[:, [1, 0, 2, 4, 3]]),
        "landmark axes": (boxes, scores, landmarks[..., ::-1]),
        "box by half a cell": (boxes + 4, scores, landmarks),
        "score without its root": (boxes, scores**2, landmarks),
    }
    for detections in wrong.values():
        with pytest.raises(AssertionError):
            close(detections, theirs)


def test_landmarks_are_in_mien_order(tmp_path):
    """One cell, made by hand: the person's right eye, first in the file, is the picture's left one."""
    heads = {"cls": [[1.0]], "obj": [[0.64]], "bbox": [[0.5, 0.25, np.log(3), np.log(2)]]}
    heads["kps"] = [[0.1, 0.2, 0.9, 0.2, 0.5, 0.5, 0.2, 0.8, 0.8, 0.8]]
    arrays = {name: np.repeat(np.float32(rows), 6, axis=0) for name, rows in heads.items()}
    arrays["obj"][np.arange(6) != 4] = 0  # 3 columns: only row 1, column 1
    boxes, scores, landmarks = yunet._candidates(arrays, stride=8, width=24, threshold=0.7)
    np.testing.assert_allclose(scores, [0.8], rtol=1e-6)
    np.testing.assert_allclose(boxes, [[12 - 12, 10 - 8, 12 + 12, 10 + 8]], rtol=1e-6, atol=1e-5)
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks[0]
    np.testing.assert_allclose(left_eye, [8.8, 9.6], rtol=1e-6)
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]


def test_scores_are_clipped_before_their_mean():
    arrays = {"cls": [[1.5], [-0.5], [0.9]], "obj": [[0.81], [-0.9], [1.2]]}
    arrays = {name: np.float32(rows) for name, rows in arrays.items()}
    arrays |= {"bbox": np.zeros((3, 4), np.float32), "kps": np.zeros((3, 10), np.float32)}
    scores = yunet._candidates(arrays, stride=8, width=24, threshold=0.1)[1]
    np.testing.assert_allclose(scores, [0.9, np.sqrt(0.9)], rtol=1e-6)


def test_a_batch_is_its_pictures(network):
    pictures = np.stack([photograph(96, 160, seed) for seed in range(3)])
    together = network(pictures, 0.6)
    assert len({len(scores) for _, scores, _ in together}) > 1
    for picture, found in zip(pictures, together, strict=True):
        for one, other in zip(network(picture[None], 0.6)[0], found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_no_faces(network):
    boxes, scores, landmarks = network(photograph(64, 96)[None], 1.01)[0]
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)
    assert landmarks.shape == (0, 5, 2)
    assert boxes.dtype == scores.dtype == landmarks.dtype == np.float32


@pytest.mark.parametrize("variant", [{"resize": "sizes"}, {"reshape": (1, 0)}, {"reshape": (-1, 0)}])
def test_other_ways_to_write_the_fixed_size(network, variant):
    opened = yunet.YuNet(yunet.to_dynamic(published(**variant)), OPTIONS)
    pictures = np.stack([photograph(96, 160, seed) for seed in range(2)])
    for mine, other in zip(network(pictures, 0.5), opened(pictures, 0.5), strict=True):
        for one, two in zip(mine, other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-3)


def fixed_to_one_picture():
    """A graph whose batch cannot be opened: it cuts out its first picture."""
    model = onnx.load_model_from_string(published())
    for name, value in {"zero": 0, "one": 1}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    model.graph.node[0].output[0] = "every"
    model.graph.node.insert(1, helper.make_node("Slice", ["every", "zero", "one", "zero"], ["scaled"]))
    return model.SerializeToString()


def test_a_batch_that_stays_fixed_is_run_picture_by_picture(network):
    opened = yunet.YuNet(yunet.to_dynamic(fixed_to_one_picture()), OPTIONS)
    pictures = np.stack([photograph(96, 160, seed) for seed in range(2)])
    for mine, other in zip(network(pictures, 0.5), opened(pictures, 0.5), strict=True):
        for one, two in zip(mine, other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-3)


def test_weights_listed_as_inputs_are_folded():
    model = onnx.load_model_from_string(published())
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    opened = onnx.load_model_from_string(yunet.to_dynamic(model.SerializeToString()))
    assert [value.name for value in opened.graph.input] == ["pictures"]


@pytest.mark.parametrize("data", [b"", b"not an onnx file", published()[:1000]])
def test_damaged_files_are_refused(data):
    with pytest.raises(WeightsError):
        yunet.to_dynamic(data)


def test_another_graph_is_refused():
    model = onnx.load_model_from_string(published())
    model.graph.output.pop()
    with pytest.raises(WeightsError, match="not the graph"):
        yunet.to_dynamic(model.SerializeToString())
