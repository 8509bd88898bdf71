"""A temporal network that is none: half of what was, half of what is."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from mien.datasets.labels import EXPRESSIONS
from mien.models.cards import embed_card
from mien.models.temporal import TemporalCard

C = len(EXPRESSIONS)


def card(**changes) -> TemporalCard:
    facts = {
        "name": "tiny",
        "task": "temporal",
        "labels": EXPRESSIONS,
        "temperature": 1.0,
        "threshold": 0.3,
        "margin": 0.1,
        "state": C,
        "reset_after": 2.0,
        "average_kind": "box",
        "average_window": 0.5,
        "average_margin": 0.1,
        "architecture": "half",
        "training_data": "none",
        "licence": "Apache-2.0",
        "limits": "A test: it knows nothing of faces.",
    }
    return TemporalCard(**{**facts, **changes})


def graph(*, classes=C, state=C, batch="N", scale=4.0, kind=TensorProto.FLOAT, gives="logits"):
    """next_states = states / 2 + scores * seen / 2; logits = scale * next_states."""
    constants = {"half": 0.5, "scale": scale}
    nodes = [
        helper.make_node("Unsqueeze", ["seen", "last"], ["there"]),
        helper.make_node("Mul", ["scores", "there"], ["known"]),
        helper.make_node("Add", ["known", "states"], ["both"]),
        helper.make_node("Mul", ["both", "half"], ["next_states"]),
        helper.make_node("Mul", ["next_states", "scale"], [gives]),
        helper.make_node("Identity", ["elapsed"], ["unused"]),
    ]
    shapes = {"scores": [batch, classes], "elapsed": [batch], "seen": [batch], "states": [batch, state]}
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()],
        [
            helper.make_tensor_value_info(gives, kind, [batch, classes]),
            helper.make_tensor_value_info("next_states", kind, [batch, state]),
        ],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
        + [numpy_helper.from_array(np.array([1], np.int64), "last")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def network(this: TemporalCard | None = None, **changes) -> bytes:
    """The bytes of an ONNX file with a card."""
    return embed_card(graph(**changes).SerializeToString(), this or card())
