"""A classifier of eight expressions that is no network: brighter crops look happier."""

from __future__ import annotations

import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from mien.models.base import CropSpec
from mien.models.cards import embed_card
from mien.models.classifier import ClassifierCard

LABELS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
TEMPLATE = ((14.5, 18.9), (32.5, 18.9), (23.5, 28.6), (16.3, 36.0), (30.7, 36.0))
SCALE = 8.0  # of the logit of happiness, for a white crop


def card(**changes) -> ClassifierCard:
    facts = {
        "name": "tiny",
        "task": "expression",
        "labels": LABELS,
        "crop": CropSpec(48, TEMPLATE),
        "temperature": 2.0,
        "threshold": 0.5,
        "architecture": "brightness",
        "training_data": "none",
        "licence": "Apache-2.0",
        "limits": "A test: it knows nothing of faces.",
    }
    return ClassifierCard(**{**facts, **changes})


def with_changes(**changes) -> str:
    """A card as JSON with keys set to something else, or left out where that is `...`."""
    values = json.loads(card().to_json()) | changes
    return json.dumps({key: value for key, value in values.items() if value is not ...})


def graph(
    *, size=48, count=8, takes="crops", gives="logits", kind=TensorProto.UINT8, batch="N", scale=SCALE, channels=3
):
    """The ONNX model, without a card: the logit of class 1 is the brightness, those of the others are 0."""
    weights = np.zeros((channels, count), np.float32)
    weights[:, 1] = scale / 255 / channels
    nodes = [
        helper.make_node("Cast", [takes], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], [gives]),
    ]
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(takes, kind, [batch, size, size, channels])],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, [batch, count])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def network(this: ClassifierCard | None = None, **changes) -> bytes:
    """The bytes of an ONNX file with a card."""
    return embed_card(graph(**changes).SerializeToString(), this or card())


def with_metadata(text: str) -> bytes:
    """The bytes of an ONNX file that says this about itself."""
    model = graph()
    model.metadata_props.add(key="mien", value=text)
    return model.SerializeToString()
