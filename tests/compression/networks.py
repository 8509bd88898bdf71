"""A small real network: random convolutions, and a linear layer that was fitted to tell two portraits apart."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mien.models.attributes import AGES, AttributesCard
from mien.models.base import CropSpec, RuntimeOptions
from mien.models.cards import embed_card
from mien.models.classifier import ClassifierCard
from mien.models.runtime import Session
from tests.models.tiny_classifier import TEMPLATE
from tests.training.portraits import FACES, variants

LABELS = tuple(FACES)
SIZE = 48
WIDTHS = (3, 16, 16, 32, 32)


def card(name: str = "portraits") -> ClassifierCard:
    return ClassifierCard(
        name=name,
        task="expression",
        labels=LABELS,
        crop=CropSpec(SIZE, TEMPLATE),
        temperature=1.0,
        threshold=0.0,
        architecture="four convolutions",
        training_data="two portraits",
        licence="Apache-2.0",
        limits="A test: it knows two people.",
    )


def faces(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(2 * count, 48, 48, 3) uint8 crops, and whose they are."""
    crops = np.stack([crop for person in LABELS for crop in variants(person, count, SIZE, seed)])
    return crops, np.repeat([0, 1], count)


def save(folder: Path, count: int, seed: int = 0, labels=LABELS) -> Path:
    """Crops as files, a folder for each class."""
    crops, truth = faces(count, seed)
    for i, (crop, label) in enumerate(zip(crops, truth, strict=True)):
        if LABELS[label] in labels:
            (folder / LABELS[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(crop).save(folder / LABELS[label] / f"{i}.png")
    return folder


def network(*, outlier: float = 1.0) -> bytes:
    """The network; `outlier` makes one channel between the first two convolutions so many times larger than the others,
    and changes no answer in float32."""
    rng = np.random.default_rng(3)
    weights = {}
    for i, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
        scale = np.sqrt(2 / (9 * inputs)) / (255 if i == 0 else 1)
        weights[f"w{i}"] = rng.normal(0, scale, (outputs, inputs, 3, 3)).astype(np.float32)
        weights[f"b{i}"] = rng.normal(0, 0.1, outputs).astype(np.float32)
    weights["w0"][0] *= outlier
    weights["b0"][0] *= outlier
    weights["w1"][:, 0] /= outlier
    features = Session(_graph(weights, "features").SerializeToString(), RuntimeOptions(threads=1))
    crops, truth = faces(40, seed=1)
    found = features(crops)[0]
    inputs = np.column_stack([found, np.ones(len(found))])
    signs = np.where(truth == 1, 4.0, -4.0)
    ridge = inputs.T @ inputs + 1e-3 * np.eye(inputs.shape[1])
    head = np.linalg.solve(ridge, inputs.T @ signs)
    weights["head"] = np.stack([-head[:-1], head[:-1]]).astype(np.float32)
    weights["shift"] = np.array([-head[-1], head[-1]], np.float32)
    return embed_card(_graph(weights, "logits").SerializeToString(), card())


def attributes_network() -> bytes:
    """The same, saying "male" for one portrait and 60 years for both."""
    model = onnx.load_from_string(network())
    model.graph.node[-1].output[0] = "gender"
    model.graph.node.append(helper.make_node("MatMul", ["features", "years"], ["age"]))
    years = np.zeros((WIDTHS[-1], len(AGES)), np.float32)
    years[:, 60] = 1
    model.graph.initializer.append(numpy_helper.from_array(years, "years"))
    del model.graph.output[:]
    for name, count in (("age", len(AGES)), ("gender", 2)):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count]))
    facts = {field: getattr(card(), field) for field in ("crop", "architecture", "training_data", "licence", "limits")}
    about = AttributesCard(
        name="ages", task="attributes", age_temperature=1.0, gender_temperature=1.0, gender_threshold=0.0, **facts
    )
    return embed_card(model.SerializeToString(), about)


def _graph(weights: dict[str, np.ndarray], gives: str):
    nodes = [
        helper.make_node("Transpose", ["crops"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["x0"], to=TensorProto.FLOAT),
    ]
    for i in range(4):
        half = {"strides": [2, 2]} if i % 2 else {}
        nodes.append(helper.make_node("Conv", [f"x{i}", f"w{i}", f"b{i}"], [f"y{i}"], pads=[1, 1, 1, 1], **half))
        nodes.append(helper.make_node("Relu", [f"y{i}"], [f"x{i + 1}"]))
    nodes += [
        helper.make_node("GlobalAveragePool", ["x4"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    if gives == "logits":
        nodes.append(helper.make_node("Gemm", ["features", "head", "shift"], ["logits"], transB=1))
    made = helper.make_graph(
        nodes,
        "portraits",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, ["N", 2 if gives == "logits" else WIDTHS[-1]])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def black(folder: Path, count: int = 12) -> Path:
    """Pictures that show nothing."""
    folder.mkdir()
    for i in range(count):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((SIZE, SIZE, 3), i % 3, np.uint8))
    return folder
