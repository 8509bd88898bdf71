"""Quantisation behind its gate: what passes, what is left in float32, what is refused."""

import numpy as np
import pytest

from mien.compression.calibration import calibration_pictures, corrected, readable, tensor_ranges
from mien.compression.gate import Score, holds, refusal
from mien.compression.quantize import quantize
from mien.compression.sensitivity import by_harm
from mien.compression.subjects import AttributesSubject, ClassifierSubject, detection_score
from mien.datasets import open_image_set
from mien.datasets.attributes import AttributeSet
from mien.errors import DataError, GateError
from mien.evaluation.expression import SquareCutter
from mien.models.attributes import AttributesNetwork
from mien.models.base import RuntimeOptions
from mien.models.cards import task_of
from mien.models.classifier import CropClassifier
from mien.models.quantized import Quantization, float_graph, quantized
from mien.types import Faces
from tests.compression.networks import attributes_network, black, faces, network, save


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return open_image_set(save(tmp_path_factory.mktemp("sets") / "evaluation", 12, seed=7))


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    return save(tmp_path_factory.mktemp("sets") / "calibration", 8, seed=9)


def test_what_keeps_its_accuracy_passes(evaluation, calibration):
    subject = ClassifierSubject(network(), evaluation)
    done = quantize(subject, subject.batches(readable(calibration_pictures(calibration))), max_loss=0.0)
    assert done.quantization.float_layers == ()
    assert done.comparison.before.score.value == 1.0
    assert done.comparison.loss == 0.0
    assert done.comparison.after.size < done.comparison.before.size / 2
    classifier = CropClassifier(done.network, RuntimeOptions(threads=1))
    assert classifier.card.metrics[evaluation.name] == {"accuracy": 1.0, "macro_f1": 1.0}
    crops, truth = faces(5, seed=11)
    assert (classifier(crops).argmax(axis=1) == truth).all()


def test_layers_that_hurt_are_left_out(evaluation, calibration):
    """Between its first two layers one channel is so large that 256 steps leave nothing of the others."""
    subject = ClassifierSubject(network(outlier=3e4), evaluation)
    done = quantize(subject, subject.batches(readable(calibration_pictures(calibration))), max_loss=0.0)
    assert set(done.quantization.float_layers) == {"y0", "y1"}
    assert done.comparison.to_dict()["float_layers"]


def test_outputs_that_shrink_are_brought_back(calibration):
    """Ranges that are too narrow cut off what is large: outputs shrink, and move."""
    graph = float_graph(network(), "portraits")
    batch = np.stack(readable(calibration_pictures(calibration)))
    narrow = {name: (0.75 * low, 0.75 * high) for name, (low, high) in tensor_ranges(graph, [batch]).items()}
    found = corrected(graph, Quantization(narrow), [batch])
    assert 1.02 < found.gains["logits"] < 2
    exact, plain, better = (
        CropClassifier(model, RuntimeOptions(threads=1)).logits(batch)
        for model in (graph, quantized(graph, Quantization(narrow)), quantized(graph, found))
    )
    np.testing.assert_allclose(better.mean(axis=0), exact.mean(axis=0), atol=1e-3)
    assert np.abs(better - exact).mean() < 0.7 * np.abs(plain - exact).mean()


def test_nothing_is_brought_back_where_outputs_are_lost(calibration):
    graph = float_graph(network(), "portraits")
    batch = np.stack(readable(calibration_pictures(calibration)))
    nothing = dict.fromkeys(tensor_ranges(graph, [batch]), (0.0, 1e-06))
    assert corrected(graph, Quantization(nothing), [batch]).gains == {"logits": 1.0}


def test_harm_is_where_it_was_made(calibration):
    graph = float_graph(network(outlier=3e4), "portraits")
    batch = np.stack(readable(calibration_pictures(calibration)))
    (first, most), (second, _), (_, third), _ = by_harm(graph, tensor_ranges(graph, [batch]), batch[:4])
    assert {first, second} == {"y0", "y1"}
    assert most > 10 * third


def test_the_gate_refuses_what_was_calibrated_on_nothing(evaluation, tmp_path):
    subject = ClassifierSubject(network(), evaluation)
    batches = subject.batches(readable(calibration_pictures(black(tmp_path / "black"))))
    with pytest.raises(GateError, match=r"loses \d+\.\d+ points of accuracy .* nothing was written"):
        quantize(subject, batches, max_loss=0.01)


def test_the_gate_is_at_what_was_allowed():
    before = Score("accuracy", 0.9, 1000)
    assert holds(before, Score("accuracy", 0.895, 1000), 0.005)
    assert not holds(before, Score("accuracy", 0.8949, 1000), 0.005)
    assert holds(before, Score("accuracy", 0.95, 1000), 0.0)
    assert "0.51 points" in str(refusal("x", before, Score("accuracy", 0.8949, 1000), 0.005, "do this"))


def test_an_evaluation_set_of_one_class_is_refused(tmp_path):
    images = open_image_set(save(tmp_path / "all", 3))
    with pytest.raises(DataError, match="two classes or more"):
        ClassifierSubject(network(), images.subset(np.flatnonzero(images.truth == 0)))


def test_too_few_pictures_to_calibrate_are_refused(tmp_path):
    with pytest.raises(DataError, match="no pictures"):
        calibration_pictures(black(tmp_path / "none", 0))
    with pytest.raises(DataError, match="too few"):
        calibration_pictures(black(tmp_path / "few", 3))
    with pytest.raises(DataError, match="no such file"):
        calibration_pictures(tmp_path / "missing")


def test_pictures_that_cannot_be_read_are_left_out_or_refused(tmp_path):
    folder = black(tmp_path / "some", 10)
    (folder / "broken.png").write_bytes(b"not a picture")
    assert len(readable(calibration_pictures(folder))) == 10
    for path in list(folder.glob("?.png"))[:5]:
        path.write_bytes(b"nor this")
    with pytest.raises(DataError, match=r"5 of 11 pictures can be read"):
        readable(calibration_pictures(folder))


def test_a_network_for_age_and_gender_is_measured_by_both():
    crops, truth = faces(12, seed=7)
    pictures = AttributeSet("portraits", list(map(str, truth)), 60 + truth, truth, [""] * len(truth), crops.__getitem__)
    subject = AttributesSubject(attributes_network(), pictures, cut=SquareCutter(48))
    done = quantize(subject, subject.batches(list(faces(8)[0])), max_loss=0.01)
    assert done.comparison.before.score.n == 24
    assert done.comparison.before.score.more["gender_accuracy"] == 1.0
    assert done.comparison.before.score.value == pytest.approx(1 - done.comparison.before.score.more["age_mae"] / 100)
    card = AttributesNetwork(done.network, RuntimeOptions(threads=1)).card
    assert card.metrics["portraits"]["gender_accuracy"] == 1.0
    assert task_of(done.network) == "attributes"
    with pytest.raises(DataError, match="both genders, or of several ages"):
        AttributesSubject(attributes_network(), pictures.subset(np.flatnonzero(truth == 0)), cut=SquareCutter(48))


def found(*boxes) -> Faces:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    landmarks = array[:, None, :2] + np.linspace(0.2, 0.8, 5)[None, :, None] * (array[:, None, 2:] - array[:, None, :2])
    return Faces(array, np.ones(len(array), np.float32), landmarks.astype(np.float32), (100, 100))


def test_detections_are_compared_face_by_face():
    none = found()
    one, moved, other = found([10, 10, 30, 30]), found([11, 10, 31, 30]), found([60, 60, 90, 90])
    assert detection_score([none], [none]).value == 0
    same = detection_score([one, none], [one, none])
    assert (same.value, same.more["iou"], same.more["landmark_shift"]) == (1.0, 1.0, 0.0)
    near = detection_score([one], [moved])
    assert near.value == 1.0
    assert near.more["landmark_shift"] == pytest.approx(1 / 20, abs=1e-3)
    assert detection_score([one], [other]).value == 0
    assert detection_score([one, one], [one, none]).value == pytest.approx(2 / 3)
