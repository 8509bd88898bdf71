"""Trained classifiers: their cards, and files that are not what they say."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.errors import ModelError, WeightsError
from mien.models.base import BundledSource, CropSpec, RuntimeOptions
from mien.models.cards import embed_card, read_card_beside, refuse_labels, write_card_beside
from mien.models.classifier import ClassifierCard, CropClassifier
from tests.models.tiny_classifier import LABELS, SCALE, TEMPLATE, card, graph, network, with_changes, with_metadata

OPTIONS = RuntimeOptions(threads=1)
HASH = "ab" * 32


def crops(*brightness: int) -> np.ndarray:
    return np.stack([np.full((48, 48, 3), value, np.uint8) for value in brightness])


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_a_card_comes_back_as_it_was():
    full = card(
        summary="tells faces apart",
        origin="here",
        calibration="a part of the training data",
        commercial_use=False,
        recipe_sha256=HASH,
        data_sha256={"FER+ training": HASH},
        parents={"dlib-resnet": HASH},
        metrics={"FER+ validation": {"accuracy": 0.9, "per_class": {"anger": {"f1": 0.5, "support": 12}}}},
    )
    assert ClassifierCard.from_json(full.to_json()) == full
    assert ClassifierCard.from_json(card().to_json()) == card()
    assert ClassifierCard.from_json(full.to_json()).crop.template_array().shape == (5, 2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": 2}, "schema"),
        ({"schema": ...}, "schema"),
        ({"name": ...}, "'name' is missing"),
        ({"temperature": ...}, "'temperature' is missing"),
        ({"colour": "blue"}, "'colour' is nothing"),
        ({"name": 3}, "name"),
        ({"name": "../evil"}, "name"),
        ({"task": ""}, "task"),
        ({"labels": "happy"}, "labels"),
        ({"labels": ["one"]}, "2 to 1,000"),
        ({"labels": [f"c{i}" for i in range(1001)]}, "2 to 1,000"),
        ({"labels": ["a", "a"]}, "twice"),
        ({"labels": ["a", ""]}, "labels"),
        ({"labels": ["a", " b"]}, "space"),
        ({"labels": ["a", 7]}, "labels"),
        ({"labels": ["a", "b\u001b[31m"]}, "labels"),
        ({"labels": ["a", "uncertain"]}, "not sure"),
        ({"labels": ["a", "x" * 101]}, "labels"),
        ({"crop": 48}, "crop"),
        ({"crop": {"size": 48}}, "crop"),
        ({"crop": {"size": 15, "template": TEMPLATE}}, "size from 16 to 512"),
        ({"crop": {"size": 513, "template": TEMPLATE}}, "size from 16 to 512"),
        ({"crop": {"size": 48.0, "template": TEMPLATE}}, "size"),
        ({"crop": {"size": True, "template": TEMPLATE}}, "size"),
        ({"crop": {"size": 48, "template": TEMPLATE[:4]}}, "five points"),
        ({"crop": {"size": 48, "template": [*TEMPLATE[:4], [1, 2, 3]]}}, "five points"),
        ({"crop": {"size": 48, "template": [*TEMPLATE[:4], ["1", 2]]}}, "five points"),
        ({"crop": {"size": 48, "template": [*TEMPLATE[:4], [1e9, 2]]}}, "far outside"),
        ({"crop": {"size": 48, "template": [[20, 20]] * 5}}, "one line"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"threshold": 1.1}, "threshold"),
        ({"threshold": None}, "threshold"),
        ({"architecture": "two\nlines"}, "architecture"),
        ({"limits": ["a"]}, "limits"),
        ({"licence": "x" * 10_001}, "licence"),
        ({"commercial_use": "yes"}, "commercial_use"),
        ({"recipe_sha256": "abc"}, "recipe_sha256"),
        ({"data_sha256": {"FER+": "abc"}}, "data_sha256"),
        ({"parents": [HASH]}, "parents"),
        ({"metrics": 0.9}, "metrics"),
        ({"metrics": {"a": [1]}}, "metrics"),
        ({"metrics": {"a": {"b": {"c": {"d": {"e": 1}}}}}}, "metrics"),
        ({"metrics": {"a": "x" * 101}}, "metrics"),
        ({"metrics": {"a": True}}, "metrics"),
    ],
)
def test_an_odd_card_is_one_line(changes, says):
    with pytest.raises(ModelError) as caught:
        ClassifierCard.from_json(with_changes(**changes))
    assert says in one_line(caught)
    assert "damaged" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "[" * 100_000,
        '{"schema": 1, "schema": 1}',
        with_changes().replace("2.0", "NaN"),
        with_changes().replace("2.0", "Infinity"),
        with_changes().replace("2.0", "1e999"),
        with_changes().replace("2.0", "9" * 5000),
        with_changes(limits="x" * 1_000_001),
    ],
    ids=lambda text: text[:12],
)
def test_a_card_that_is_no_json_object_is_one_line(text):
    with pytest.raises(ModelError) as caught:
        ClassifierCard.from_json(text)
    assert "card" in one_line(caught)


def test_values_are_checked_where_a_card_is_made_too():
    with pytest.raises(ModelError, match="temperature"):
        card(temperature=float("nan"))
    with pytest.raises(ModelError, match="five points"):
        card(crop=CropSpec(48, (*TEMPLATE[:4], (float("nan"), 1.0))))


def test_labels_can_be_checked_before_anything_is_trained():
    refuse_labels(["a", "b"])
    with pytest.raises(ModelError, match="call that class otherwise"):
        refuse_labels(["a", "uncertain"])


def test_probabilities_are_the_softmax_of_logits_by_temperature():
    classifier = CropClassifier(network(), OPTIONS)
    assert (classifier.name, classifier.labels, classifier.size, classifier.threshold) == ("tiny", LABELS, 48, 0.5)
    pictures = crops(0, 128, 255)
    logits = classifier.logits(pictures)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[:, 1], [0, SCALE * 128 / 255, SCALE], rtol=1e-5)
    odds = np.exp(logits / 2.0)
    np.testing.assert_allclose(classifier(pictures), odds / odds.sum(axis=1, keepdims=True), rtol=1e-5)
    assert classifier(pictures).dtype == np.float32


def test_any_number_of_crops_gives_the_same_scores():
    classifier = CropClassifier(network(), OPTIONS)
    pictures = crops(*range(70))  # three batches
    alone = np.concatenate([classifier(crop[None]) for crop in pictures])
    np.testing.assert_allclose(classifier(pictures), alone, rtol=1e-6)
    assert classifier(pictures[:0]).shape == (0, 8)
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(classifier, [pictures] * 8):
            np.testing.assert_allclose(scores, alone, rtol=1e-6)


def test_large_logits_do_not_overflow():
    classifier = CropClassifier(network(scale=1e30), OPTIONS)
    np.testing.assert_allclose(classifier(crops(255))[0], np.eye(8)[1])


@pytest.mark.parametrize("wrong", [np.zeros((1, 48, 48, 3)), np.zeros((1, 47, 48, 3), np.uint8), crops(1)[0]])
def test_other_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match="not \\(N, 48, 48, 3\\) uint8"):
        CropClassifier(network(), OPTIONS)(wrong)


@pytest.mark.parametrize("scale", [np.inf, np.nan])
def test_scores_that_are_not_finite_are_damaged_weights(scale):
    with pytest.raises(ModelError, match="not finite"):
        CropClassifier(network(scale=scale), OPTIONS)(crops(255))


def test_a_graph_that_gives_another_number_of_classes_is_refused():
    model = onnx.load_model_from_string(network(gives="all"))
    model.graph.initializer.append(numpy_helper.from_array(np.arange(8) < 5, "which"))
    model.graph.node.append(helper.make_node("Compress", ["all", "which"], ["logits"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", "C"]))
    classifier = CropClassifier(model.SerializeToString(), OPTIONS)  # nothing declared is wrong
    with pytest.raises(ModelError, match="8 classes"):
        classifier(crops(1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"size": 64}, "takes 'crops' (N, 64, 64, 3) tensor(uint8)"),
        ({"channels": 1}, "takes 'crops' (N, 48, 48, 1)"),
        ({"takes": "images"}, "takes 'images'"),
        ({"kind": TensorProto.FLOAT}, "tensor(float)"),
        ({"batch": 1}, "takes 'crops' (1, 48"),
        ({"gives": "scores"}, "gives 'scores'"),
        ({"count": 7}, "gives 'logits' (N, 7)"),
    ],
)
def test_a_graph_that_is_not_what_its_card_says_is_refused(changes, says):
    with pytest.raises(ModelError) as caught:
        CropClassifier(network(**changes), OPTIONS)
    assert says in one_line(caught)


def test_files_that_are_no_classifier(tmp_path):
    with pytest.raises(ModelError, match="hold no card"):
        CropClassifier(graph().SerializeToString(), OPTIONS)
    with pytest.raises(ModelError, match="the card is not JSON"):
        CropClassifier(with_metadata("{"), OPTIONS)
    with pytest.raises(WeightsError, match="onnxruntime cannot load"):
        CropClassifier(b"nonsense", OPTIONS)
    with pytest.raises(WeightsError, match="onnxruntime cannot load"):
        CropClassifier(network()[:-40], OPTIONS)
    with pytest.raises(WeightsError, match="onnxruntime's own format"):
        CropClassifier(b"\0\0\0\0ORTM" + bytes(100), OPTIONS)
    for path in (tmp_path, tmp_path / "nowhere.onnx", "\0"):
        with pytest.raises(WeightsError):
            CropClassifier(path, OPTIONS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(WeightsError, match="is not a file"):
        CropClassifier(tmp_path / "pipe.onnx", OPTIONS)


def test_metadata_that_are_no_text_are_one_line():
    with pytest.raises(ModelError) as caught:
        CropClassifier(with_metadata("\u00e9x").replace("\u00e9x".encode(), b"\xff\xfex"), OPTIONS)
    one_line(caught)


def test_custom_operators_are_refused():
    model = onnx.load_model_from_string(network())
    model.graph.node.append(helper.make_node("Steal", ["logits"], ["more"], domain="evil"))
    model.opset_import.append(helper.make_opsetid("evil", 1))
    with pytest.raises(WeightsError) as caught:
        CropClassifier(model.SerializeToString(), OPTIONS)
    one_line(caught)


def point_outside(tensor) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")
    tensor.external_data.add(key="length", value=str(3 * 8 * 4))


@pytest.mark.parametrize("where", ["initializer", "constant", "branch"])
def test_weights_in_other_files_are_never_read(tmp_path, monkeypatch, where):
    """onnxruntime would read a file of the working folder into the network."""
    (tmp_path / "secret.bin").write_bytes(np.ones((3, 8), np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    model = onnx.load_model_from_string(network())
    if where == "initializer":
        point_outside(model.graph.initializer[0])
    else:
        tensor = numpy_helper.from_array(np.ones((3, 8), np.float32), "inside")
        point_outside(tensor)
        node = helper.make_node("Constant", [], ["inside"], value=tensor)
        if where == "branch":
            out = helper.make_tensor_value_info("inside", TensorProto.FLOAT, [3, 8])
            branch = helper.make_graph([node], "branch", [], [out])
            node = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
            model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        model.graph.node.append(node)
    (tmp_path / "evil.onnx").write_bytes(model.SerializeToString())
    for source in (model.SerializeToString(), tmp_path / "evil.onnx"):
        with pytest.raises(WeightsError, match="keeps its weights in other files"):
            CropClassifier(source, OPTIONS)


def test_the_word_location_alone_is_no_reason_to_refuse():
    assert CropClassifier(network(card(limits="Depends on location.")), OPTIONS).card.limits == "Depends on location."


def test_embedding_a_card_replaces_the_one_that_was_there():
    other = embed_card(network(), card(temperature=3.0))
    assert CropClassifier(other, OPTIONS).card.temperature == 3.0
    assert len(onnx.load_model_from_string(other).metadata_props) == 1
    with pytest.raises(WeightsError, match="not an ONNX file"):
        embed_card(b"nonsense", card())


def test_the_card_beside_a_network(tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(network())
    beside = write_card_beside(path, card())
    assert beside == tmp_path / "tiny.json"
    found, weights = read_card_beside(beside, ClassifierCard)
    assert found == card()
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.size == path.stat().st_size
    assert weights.sources == (BundledSource("tiny.onnx"),)
    values = json.loads(beside.read_text())
    assert values.pop("file") == {"sha256": weights.sha256, "size": weights.size}
    assert values == json.loads(card().to_json())
    path.rename(tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=r"name the file tiny\.onnx"):
        write_card_beside(tmp_path / "other.onnx", card())


@pytest.mark.parametrize("about", [..., 3, {}, {"sha256": "x", "size": 1}, {"sha256": HASH, "size": -1}])
def test_a_card_beside_nothing_is_refused(tmp_path, about):
    (tmp_path / "tiny.json").write_text(with_changes(file=about))
    with pytest.raises(ModelError, match="'file'"):
        read_card_beside(tmp_path / "tiny.json", ClassifierCard)
    with pytest.raises(ModelError, match="cannot read the card"):
        read_card_beside(tmp_path / "nowhere.json", ClassifierCard)


def test_a_graph_that_fails_is_said_once(capfd):
    """onnxruntime would also write it to standard error by itself, in colours."""
    model = graph()
    (ones,) = (node for node in model.graph.node if node.op_type == "MatMul")
    ones.output[0] = "scores"
    size = numpy_helper.from_array(np.array([1 << 50], np.int64), "size")
    model.graph.initializer.append(size)
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["size"], ["bomb"]),
            helper.make_node("ReduceMax", ["bomb"], ["most"], keepdims=0),
            helper.make_node("Add", ["scores", "most"], ["logits"]),
        ]
    )
    model.metadata_props.add(key="mien", value=card().to_json())
    with pytest.raises((ModelError, WeightsError), match="onnxruntime cannot"):
        CropClassifier(model.SerializeToString(), OPTIONS)(np.zeros((1, 48, 48, 3), np.uint8))
    assert capfd.readouterr().err == ""
