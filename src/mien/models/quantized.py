"""int8 forms of networks: uint8 activations, int8 weights, in ONNX's QDQ form, which becomes integer kernels at load.

Weights take 7 of their 8 bits. Processors without VNNI add products of 8 by 8 bits in 16, where they saturate; with 7
bits nothing does, every processor computes the same integers, and embeddings do not depend on where they were made
(recipes/LOG.md has what 8 bits do). Scheme: Jacob et al. 2018, arXiv:1712.05877, weights per channel (Krishnamoorthi
2018, arXiv:1806.08342).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mien.errors import MienError, ModelError
from mien.models import _onnx
from mien.models.rounding import reround
from mien.models.runtime import Session, folded

LAYERS = ("Conv", "Gemm", "MatMul")
"""What is worth computing in integers."""
_WEIGHTED = (*LAYERS, "ConvTranspose")
_BETWEEN = (
    *("Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Pad", "Relu", "Reshape"),
    "Transpose",
)  # what integers can pass through between two layers
_OPSET = 17
_SCHEMA = 2
Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value of tensors, by name."""


@dataclass(frozen=True)
class Quantization:
    """All that is needed to make the int8 form of a graph, beside the graph.

    Attributes:
        ranges: of every float tensor of `float_graph`'s graph, seen on calibration pictures.
        float_layers: names of the layers that stay in float32.
        gains: what outputs (N, K) are multiplied by, by name, as rounding shrinks them by a percent or so.
        shifts: what is then added to them: K numbers, the mean of what rounding took (Nagel et al. 2019,
            arXiv:1906.04721, correct biases so).
        weights: SHA-256 of the weights that all this was measured with; "" where nobody will ask.
    """

    ranges: Ranges
    float_layers: tuple[str, ...] = ()
    gains: Mapping[str, float] = field(default_factory=dict)
    shifts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    weights: str = ""

    def to_json(self) -> str:
        """As text that `from_json` reads; five digits, which is more than 8 bits can use."""
        ranges = {name: [float(f"{low:.5g}"), float(f"{high:.5g}")] for name, (low, high) in self.ranges.items()}
        shifts = {name: [float(f"{value:.5g}") for value in values] for name, values in self.shifts.items()}
        gains = {name: float(f"{gain:.5g}") for name, gain in self.gains.items()}
        values = {"schema": _SCHEMA, "weights": self.weights, "float_layers": list(self.float_layers), "ranges": ranges}
        return json.dumps({**values, "gains": gains, "shifts": shifts}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Quantization:
        """Read what `to_json` wrote.

        Raises:
            ModelError: it is not that.
        """
        try:
            values = json.loads(text)
            ranges = {str(name): (float(low), float(high)) for name, (low, high) in values["ranges"].items()}
            layers, weights = tuple(str(name) for name in values["float_layers"]), str(values["weights"])
            gains = {str(name): float(gain) for name, gain in values["gains"].items()}
            shifts = {str(name): tuple(map(float, numbers)) for name, numbers in values["shifts"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError("damaged: not the ranges of a network") from error
        finite = all(
            map(math.isfinite, [*gains.values(), *(number for numbers in shifts.values() for number in numbers)])
        )
        if values.get("schema") != _SCHEMA or not finite or not all(map(_is_range, ranges.values())):
            raise ModelError("not the ranges of a network that this version of mien knows")
        return cls(ranges, layers, gains, shifts, weights)


def _is_range(pair: tuple[float, float]) -> bool:
    return math.isfinite(pair[0]) and math.isfinite(pair[1]) and pair[0] <= pair[1]


def float_graph(data: bytes, name: str) -> bytes:
    """A network as its int8 form is made from: norms and constants folded, of an opset that has per-channel QDQ.

    Args:
        data: an ONNX file that takes one uint8 input (N, H, W, 3).
        name: what errors call it.

    Raises:
        WeightsError: not an ONNX file that onnxruntime can load.
        ModelError: not a graph whose layers can be computed in integers.
    """
    from onnx import checker, version_converter

    _onnx.refuse_outside(data, name)
    nodes = _onnx.parsed(data, name).graph.node
    if any(node.op_type.startswith(("Quantize", "Dequantize", "QLinear")) for node in nodes):
        raise ModelError(f"{name}: is quantised already; start from its float32 form")
    model = _onnx.parsed(folded(data, name=name), name)
    try:
        if _opset(model) < _OPSET:
            model = version_converter.convert_version(model, _OPSET)
        _name_nodes(model.graph)
        checker.check_model(model)
    except Exception as error:  # onnx raises its own, undocumented types
        raise ModelError(
            f"{name}: its graph cannot be quantised ({str(error).strip().splitlines()[0][:160]})"
        ) from error
    if len(_onnx.inputs(model.graph)) != 1:
        raise ModelError(f"{name}: takes {len(_onnx.inputs(model.graph))} inputs; only networks with one are quantised")
    if not layers(model.SerializeToString()):
        raise ModelError(f"{name}: its graph has no layer ({', '.join(LAYERS)}) that can be computed in integers")
    return bytes(model.SerializeToString())


def _opset(model: Any) -> int:
    versions = [int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return max(versions, default=0)


def _name_nodes(graph: Any) -> None:
    """Give every node a name of its own: that of its first output."""
    for node in graph.node:
        node.name = node.output[0]


def layers(graph: bytes) -> list[str]:
    """Names of the layers of a `float_graph` that are computed in integers, in the order in which they run.

    Not the last ones, whose results are the network's answers: 256 steps are too few for these, and they cost little.
    """
    model = _onnx.parsed(graph, "the graph")
    constants = {tensor.name for tensor in model.graph.initializer}
    last = _last_layers(model.graph)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in LAYERS and node.input[1] in constants and node.name not in last
    ]


def _last_layers(graph: Any) -> set[str]:
    """Names of the layers between which and an output there is no other layer."""
    makers = {name: node for node in graph.node for name in node.output}
    found: set[str] = set()
    waiting, seen = [value.name for value in graph.output], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in makers:
            continue
        seen.add(name)
        node = makers[name]
        if node.op_type in _WEIGHTED:
            found.add(node.name)
        else:
            waiting.extend(node.input)
    return found


def _named(graph: bytes) -> list[str]:
    """Names of all layers, those that are never computed in integers too."""
    return [node.name for node in _onnx.parsed(graph, "the graph").graph.node if node.op_type in LAYERS]


def float_tensors(graph: bytes) -> list[str]:
    """Names of the float32 tensors that a graph computes, in order."""
    from onnx import TensorProto, shape_inference

    model = shape_inference.infer_shapes(_onnx.parsed(graph, "the graph"))
    known = [*model.graph.value_info, *model.graph.output]
    floats = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return [name for node in model.graph.node for name in node.output if name in floats]


def watched(graph: bytes, tensors: Sequence[str]) -> bytes:
    """The same graph, giving these tensors as outputs too."""
    from onnx import TensorProto, helper

    model = _onnx.parsed(graph, "the graph")
    given = {value.name for value in model.graph.output}
    for name in tensors:
        if name not in given:
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())


def quantized(graph: bytes, quantization: Quantization) -> bytes:
    """The int8 form of a graph.

    Args:
        graph: of `float_graph`.
        quantization: the ranges of its tensors, and what stays in float32.

    Raises:
        ModelError: ranges are missing, or onnxruntime cannot insert the operators.
    """
    from onnx import numpy_helper
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    missing = [name for name in float_tensors(graph) if name not in quantization.ranges]
    if missing:
        raise ModelError(f"no range of tensor {missing[0]!r}: calibrated for another graph")
    ranges = {name: (np.float32(low), np.float32(high)) for name, (low, high) in quantization.ranges.items()}
    kept = set(_named(graph)) - (set(layers(graph)) - set(quantization.float_layers))
    model = _onnx.parsed(graph, "the graph")
    metadata = [(entry.key, entry.value) for entry in model.metadata_props]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    try:
        with _quietly():
            quantizer = QDQQuantizer(
                model,
                per_channel=True,
                reduce_range=True,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QUInt8,
                tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
                nodes_to_quantize=[],
                nodes_to_exclude=sorted(kept | _only_between_floats(model.graph, kept)),
                op_types_to_quantize=[*LAYERS, *_BETWEEN],
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )
            quantizer.quantize_model()
        made = quantizer.model.model
    except MienError:
        raise
    except Exception as error:  # it raises what it likes
        raise ModelError(f"onnxruntime cannot quantise the graph: {str(error).strip()[:160]}") from error
    reround(made.graph, weights)
    for name, shift in quantization.shifts.items():
        _correct_output(made.graph, name, quantization.gains.get(name, 1.0), shift)
    del made.metadata_props[:]
    for key, value in metadata:
        made.metadata_props.add(key=key, value=value)
    made.producer_name, made.producer_version = "mien", ""
    return bytes(made.SerializeToString())


def _correct_output(graph: Any, name: str, gain: float, shift: Sequence[float]) -> None:
    """Multiply an output of a graph, and add numbers to it."""
    from onnx import helper, numpy_helper

    rounded, scaled = f"{name}_rounded", f"{name}_scaled"
    for node in graph.node:
        node.output[:] = [rounded if output == name else output for output in node.output]
        node.input[:] = [rounded if given == name else given for given in node.input]
    for what, value in (("gain", gain), ("shift", shift)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"{name}_{what}"))
    graph.node.append(helper.make_node("Mul", [rounded, f"{name}_gain"], [scaled], name=scaled))
    graph.node.append(helper.make_node("Add", [scaled, f"{name}_shift"], [name], name=f"{name}_shifted"))


def _only_between_floats(graph: Any, kept: set[str]) -> set[str]:
    """Names of the nodes between layers that get floats alone: rounding there would cost, and gain nothing."""
    makers = {name: node for node in graph.node for name in node.output}
    in_integers = {node.name for node in graph.node if node.op_type in LAYERS and node.name not in kept}
    found: set[str] = set()
    for node in graph.node:  # in topological order: integers come from above
        if node.op_type not in _BETWEEN:
            continue
        above = [makers[name] for name in node.input if name in makers]
        if not any(other.name in in_integers for other in above):
            found.add(node.name)
        else:
            in_integers.add(node.name)
    return found


class _quietly:  # noqa: N801 - used as a function
    """onnxruntime's quantiser logs advice to the root logger, which is not for users of mien."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)


def probe(session: Session, batch: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(batch, H, W, 3) uint8 noise that a network takes, to time it; 384 x 640 where it takes any size."""
    sides = [
        side if isinstance(side, int) else free
        for side, free in zip(session.inputs[0].shape[1:3], (384, 640), strict=True)
    ]
    return np.random.default_rng(0).integers(0, 256, (batch, *sides, 3), dtype=np.uint8)
