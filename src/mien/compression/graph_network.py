"""An exported graph as a torch network that can be trained further, and written back: what pruning fine-tunes.

Only what the networks that mien trains and converts are made of is known. Convolutions carry their norms folded; they
get norms back that change no answer (`settle`), as without them networks learn several times more slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.errors import ModelError
from mien.models import _onnx
from mien.models.base import RuntimeOptions
from mien.models.quantized import LAYERS, watched
from mien.models.runtime import Session
from mien.types import ImageArray

Array = npt.NDArray[Any]
Values = dict[str, Tensor]


class _Convolution(nn.Module):
    """A convolution and, once settled, a norm."""

    def __init__(self, weight: Array, bias: Array | None, attributes: Mapping[str, Any]) -> None:
        super().__init__()
        outputs = weight.shape[0]
        self.weight = nn.Parameter(torch.from_numpy(np.array(weight, np.float32)))
        self.bias = nn.Parameter(torch.from_numpy(np.zeros(outputs) if bias is None else np.array(bias)).float())
        self.stride = tuple(attributes.get("strides", (1, 1)))
        self.dilation = tuple(attributes.get("dilations", (1, 1)))
        self.groups = int(attributes.get("group", 1))
        self.padding = _padding(attributes)
        self.norm: nn.BatchNorm2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        left, right, top, bottom = self.padding
        even = left == right and top == bottom  # the convolution pads evenly by itself, without a copy
        y = functional.conv2d(
            x if even else functional.pad(x, self.padding),
            self.weight,
            None if self.norm is not None else self.bias,
            self.stride,
            (top, left) if even else 0,
            self.dilation,
            self.groups,
        )
        return y if self.norm is None else self.norm(y)

    @torch.no_grad()
    def settle(self, before: Tensor) -> None:
        """Give it a norm with the statistics of its own output (N, C, H, W), less its bias; answers stay the same."""
        norm = nn.BatchNorm2d(len(self.bias), momentum=0.05)
        mean, variance = before.mean(dim=(0, 2, 3)), before.var(dim=(0, 2, 3))
        assert norm.running_mean is not None  # noqa: S101 - for the type checker
        assert norm.running_var is not None  # noqa: S101
        norm.running_mean.copy_(mean - self.bias)  # the norm sees the output without its bias
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
        self.norm = norm

    @torch.no_grad()
    def folded(self) -> tuple[Array, Array]:
        """Weight and bias with the norm folded in."""
        if self.norm is None:
            return self.weight.numpy().copy(), self.bias.numpy().copy()
        norm = self.norm
        assert norm.running_mean is not None  # noqa: S101
        assert norm.running_var is not None  # noqa: S101
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = self.weight * scale[:, None, None, None]
        return weight.numpy().copy(), (norm.bias - norm.running_mean * scale).numpy().copy()


class _Linear(nn.Module):
    """What Gemm and MatMul do with a constant matrix."""

    def __init__(self, weight: Array, bias: Array | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.array(weight, np.float32)))  # (inputs, outputs)
        self.bias = None if bias is None else nn.Parameter(torch.from_numpy(np.array(bias, np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class GraphNetwork(nn.Module):
    """A graph, run by torch.

    Args:
        graph: an ONNX file that takes pixels (N, H, W, 3).
        crops: (N, H, W, 3) uint8 that it takes; shapes that the graph computes are taken from what it does with them.

    Raises:
        ModelError: it has operators that are not known here.
    """

    def __init__(self, graph: bytes, crops: ImageArray) -> None:
        super().__init__()
        model = _onnx.parsed(graph, "the graph")
        self._graph = graph
        self._input = _onnx.inputs(model.graph)[0].name
        self.outputs = [value.name for value in model.graph.output]
        self._constants = constants(model) | computed_shapes(graph, crops)
        self._nodes = [node for node in model.graph.node if node.output[0] not in self._constants]
        self.layers = nn.ModuleDict()
        self._places: dict[str, str] = {}  # node -> key in layers, which may hold no dots
        for node in self._nodes:
            if (layer := self._layer(node)) is not None:
                self._places[node.output[0]] = f"layer{len(self.layers)}"
                self.layers[self._places[node.output[0]]] = layer
            elif node.op_type not in _OPERATORS and node.op_type != "Split":
                raise ModelError(f"the graph has an operator that pruning does not know: {node.op_type}")
        self.lay_out()

    def lay_out(self) -> None:
        """Bring weights into the memory layout in which processors convolve fastest (1.5 times here)."""
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _layer(self, node: Any) -> nn.Module | None:
        given = [self._constants.get(name) for name in node.input]
        attributes = _attributes(node)
        if node.op_type == "Conv" and given[1] is not None:
            return _Convolution(given[1], given[2] if len(given) > 2 else None, attributes)
        if node.op_type == "Gemm" and given[1] is not None:
            weight = given[1].T if attributes.get("transB") else given[1]
            return _Linear(weight, given[2] if len(given) > 2 else None)
        if node.op_type == "MatMul" and given[1] is not None:
            return _Linear(given[1], None)
        return None

    def layer(self, name: str) -> nn.Module:
        """The layer whose first output has this name."""
        found: nn.Module = self.layers[self._places[name]]
        return found

    def forward(self, crops: Tensor) -> Tensor:
        """(N, H, W, 3) pixels 0..255 to (N, K): all outputs, one after the other."""
        values = self.run(crops)
        return torch.cat([values[name].flatten(1) for name in self.outputs], dim=1)

    def run(self, crops: Tensor, watch: Callable[[str, Tensor], Tensor] | None = None) -> Values:
        """Every tensor by name; `watch` may look at the output of each node, and replace it."""
        values: Values = {self._input: crops}
        for node in self._nodes:
            name = node.output[0]
            if node.op_type == "Split":  # the one operator with several outputs
                values |= zip(node.output, _split(_Arguments(node, values, self._constants)), strict=True)
                continue
            if name in self._places:
                value = self.layer(name)(values[node.input[0]])
            else:
                value = _OPERATORS[node.op_type](_Arguments(node, values, self._constants))
            values[name] = value if watch is None else watch(name, value)
        return values

    @torch.no_grad()
    def settle(self, crops: Tensor) -> None:
        """Give every convolution that is not grouped to single channels a norm; answers stay as they are."""
        self.eval()
        values = self.run(crops)
        for name in self._places:
            layer = self.layer(name)
            if isinstance(layer, _Convolution):
                layer.settle(values[name])

    def exported(self) -> bytes:
        """The graph with the weights as they are now."""
        from onnx import numpy_helper

        model = _onnx.parsed(self._graph, "the graph")
        new: dict[str, Array] = {}
        for node in model.graph.node:
            if node.output[0] in self._places:
                if node.op_type == "Conv" and len(node.input) == 2:  # its norm has a shift that must go somewhere
                    node.input.append(f"{node.output[0]}_bias")
                    model.graph.initializer.add(name=node.input[2])
                new |= _weights_of(node, self.layer(node.output[0]))
        del model.graph.value_info[:]  # sizes may have changed
        for tensor in model.graph.initializer:
            if tensor.name in new:
                value = np.ascontiguousarray(new[tensor.name].astype(np.float32))
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return bytes(model.SerializeToString())


def _weights_of(node: Any, layer: nn.Module) -> dict[str, Array]:
    if isinstance(layer, _Convolution):
        arrays = layer.folded()
    else:
        assert isinstance(layer, _Linear)  # noqa: S101
        transposed = node.op_type == "Gemm" and _attributes(node).get("transB")
        weight = layer.weight.detach().numpy()
        arrays = (
            weight.T if transposed else weight,
            np.zeros(0) if layer.bias is None else layer.bias.detach().numpy(),
        )
    return dict(zip(node.input[1:], arrays, strict=False))  # a node without a bias has one name less


def constants(model: Any) -> dict[str, Array]:
    """The constant tensors of a model, by name."""
    from onnx import numpy_helper

    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def computed_shapes(graph: bytes, crops: ImageArray) -> dict[str, Array]:
    """The whole numbers that a graph computes, which are shapes, by name."""
    from onnx import TensorProto, helper, shape_inference

    model = _onnx.parsed(graph, "the graph")
    inferred = shape_inference.infer_shapes(model).graph
    whole = [value.name for value in inferred.value_info if value.type.tensor_type.elem_type == TensorProto.INT64]
    made = [name for node in model.graph.node for name in node.output if name in set(whole)]
    if not made:
        return {}
    for name in made:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT64, None))
    session = Session(model.SerializeToString(), RuntimeOptions(threads=1))
    return dict(zip(made, session(crops, made), strict=True))


def multiply_adds(graph: bytes, crops: ImageArray) -> dict[str, int]:
    """Of each layer, for one crop, by the name of its output.

    Args:
        graph: an ONNX file.
        crops: (N, H, W, 3) uint8 that it takes.
    """
    model = _onnx.parsed(graph, "the graph")
    known = constants(model)
    layers = [node for node in model.graph.node if node.op_type in LAYERS and node.input[1] in known]
    names = [node.output[0] for node in layers]
    outputs = Session(watched(graph, names), RuntimeOptions(threads=1))(crops[:1], names)
    counts = {}
    for node, output in zip(layers, outputs, strict=True):
        weight = known[node.input[1]]
        # every number of the output is a sum over all of the weight but its output channels
        channels = weight.shape[0] if node.op_type == "Conv" or _attributes(node).get("transB") else weight.shape[-1]
        counts[node.output[0]] = int(output[0].size * (weight.size // channels))
    return counts


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _padding(attributes: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Of the last two axes, as torch wants them: left, right, top, bottom."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError("the graph pads by itself (auto_pad), which pruning does not know")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return left, right, top, bottom


# Operators: each takes its arguments, gives its first output


class _Arguments:
    """A node with the values of its inputs."""

    def __init__(self, node: Any, values: Values, constants: Mapping[str, Array]) -> None:
        self._names = list(node.input)
        self._values, self._constants = values, constants
        self.attributes = _attributes(node)

    def __getitem__(self, i: int) -> Tensor:
        name = self._names[i]
        if name in self._values:
            return self._values[name]
        return torch.from_numpy(np.array(self._constants[name]))

    def integers(self, i: int) -> list[int] | None:
        """A constant input; None where it is left out."""
        if i >= len(self._names) or not self._names[i]:
            return None
        return [int(value) for value in np.ravel(self._constants[self._names[i]])]

    def axes(self) -> tuple[int, ...]:
        axes = self.attributes.get("axes") or self.integers(1)
        return tuple(axes) if axes else tuple(range(self[0].ndim))


def _pad(a: _Arguments) -> Tensor:
    pads = a.integers(1) or []
    n = len(pads) // 2
    order = [side for axis in reversed(range(n)) for side in (pads[axis], pads[axis + n])]
    return functional.pad(a[0], order)


def _pool(a: _Arguments, *, maximum: bool) -> Tensor:
    attributes = a.attributes
    x, padding = a[0], _padding(attributes)
    if any(padding):
        if not maximum and not attributes.get("count_include_pad"):
            raise ModelError("the graph averages over borders in a way that pruning does not know")
        x = functional.pad(x, padding, value=-torch.inf if maximum else 0.0)
    window = tuple(attributes["kernel_shape"])
    stride, ceil = tuple(attributes.get("strides", (1, 1))), bool(attributes.get("ceil_mode", 0))
    if maximum:
        return functional.max_pool2d(x, window, stride, ceil_mode=ceil)
    return functional.avg_pool2d(x, window, stride, ceil_mode=ceil)


def _resize(a: _Arguments) -> Tensor:
    mode, places = a.attributes.get("mode", b"nearest"), a.attributes.get("coordinate_transformation_mode", b"")
    sizes = a.integers(3)
    if mode != b"linear" or places not in (b"half_pixel", b"pytorch_half_pixel", b"") or sizes is None:
        raise ModelError("the graph enlarges in a way that pruning does not know")
    return functional.interpolate(a[0], size=tuple(sizes[-2:]), mode="bilinear", align_corners=False)


def _reshape(a: _Arguments) -> Tensor:
    _, *shape = a.integers(1) or []  # the first is the batch
    return a[0].reshape([len(a[0]), *(a[0].shape[i] if side == 0 else side for i, side in enumerate(shape, 1))])


def _split(a: _Arguments) -> tuple[Tensor, ...]:
    axis, sizes = int(a.attributes.get("axis", 0)), a.integers(1)
    if sizes is None:
        raise ModelError("the graph splits in a way that pruning does not know")
    parts: tuple[Tensor, ...] = torch.split(a[0], sizes, dim=axis)
    return parts


def _clip(a: _Arguments) -> Tensor:
    return torch.clamp(a[0], min=float(a[1]), max=float(a[2]))


_OPERATORS: Mapping[str, Callable[[_Arguments], Tensor]] = {
    "Add": lambda a: a[0] + a[1],
    "Sub": lambda a: a[0] - a[1],
    "Mul": lambda a: a[0] * a[1],
    "Div": lambda a: a[0] / a[1],
    "AveragePool": lambda a: _pool(a, maximum=False),
    "MaxPool": lambda a: _pool(a, maximum=True),
    "Cast": lambda a: a[0].float(),
    "Clip": _clip,
    "Flatten": lambda a: a[0].flatten(1),
    "GlobalAveragePool": lambda a: a[0].mean(dim=(2, 3), keepdim=True),
    "Identity": lambda a: a[0],
    "Pad": _pad,
    "ReduceMean": lambda a: a[0].mean(dim=a.axes(), keepdim=bool(a.attributes.get("keepdims", 1))),
    "ReduceSum": lambda a: a[0].sum(dim=a.axes(), keepdim=bool(a.attributes.get("keepdims", 1))),
    "Relu": lambda a: functional.relu(a[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda a: torch.sigmoid(a[0]),
    "Squeeze": lambda a: a[0].flatten(1),
    "Transpose": lambda a: a[0].permute(*a.attributes["perm"]),
}
