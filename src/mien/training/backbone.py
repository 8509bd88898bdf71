"""Weights to start from: a registered model's, or those of a local file that is what its hash says.

Three forms are read: dlib's .dat, the .safetensors of a run, and the .onnx of a trained network (mien-s itself, say).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from mien.errors import WeightsError
from mien.models import registry
from mien.models._onnx import parsed
from mien.models.dlib_format import read_network
from mien.models.store import WeightsStore
from mien.ops.files import printable
from mien.training.architectures.face_trunk import FaceTrunkClassifier
from mien.types import FloatArray

NONE = "none"
_HEAD = "head."
_LONGEST_NAME = 100  # in a card
_LARGEST = 2 << 30


@dataclass(frozen=True)
class Backbone:
    """Weights that were read and checked.

    Attributes:
        name: of the model or file.
        sha256: of the file.
        data: its bytes.
    """

    name: str
    sha256: str
    data: bytes

    @property
    def parents(self) -> dict[str, str]:
        """Its hash, by a name that a card can have."""
        return {Path(self.name).name[:_LONGEST_NAME]: self.sha256}


def read_backbone(name: str, store: WeightsStore, *, sha256_expected: str | None = None) -> Backbone:
    """Read weights and check their hash before anything is parsed.

    Args:
        name: a registered model ("dlib-resnet", "mien-s"), or the path of a file: dlib's .dat, or the .safetensors or
            .onnx of a run.
        store: where registered weights are.
        sha256_expected: of a file, in hex; may be left out where it is a registered model's file.

    Raises:
        WeightsError: it cannot be read, or its hash is another, or is not known and not given.
        UnknownModelError: neither a file nor a registered model.
    """
    path = Path(name).expanduser()
    if not (path.suffix or path.exists()):
        weights = registry.record(name).weights
        data = store.path(weights).read_bytes()
        return _checked(name, data, sha256_expected or weights.sha256)
    try:
        if path.exists() and not path.is_file():  # a device never ends
            raise WeightsError(f"{printable(path)}: not a file")
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f"{printable(path)}: over {_LARGEST >> 30} GB, which no backbone here has")
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{printable(path)}: the backbone cannot be read: {error.strerror}") from error
    return _checked(printable(path), data, sha256_expected)


def _checked(name: str, data: bytes, expected: str | None) -> Backbone:
    found = sha256(data).hexdigest()
    known = {record.weights.sha256 for record in registry.records().values()}
    if expected is None and found not in known:
        raise WeightsError(f"{name}: its SHA-256 is {found}; if that is right, say --backbone-sha256 {found}")
    if expected is not None and found != expected.strip().lower():
        raise WeightsError(f"{name}: its SHA-256 is {found}, not {expected}: not the file it should be")
    return Backbone(name, found, data)


def load_backbone(network: nn.Module, backbone: Backbone, inputs: Tensor) -> None:
    """Start a network from weights; its head stays new where the classes differ in number.

    Args:
        network: as its architecture builds it.
        backbone: the weights.
        inputs: (N, C, S, S) crops as they come in training, by which weights with folded norms (dlib's, and those of
            ONNX files) get their norms back.

    Raises:
        WeightsError: they are another network's.
    """
    if _is_safetensors(backbone.data):
        _load_run(network, backbone)
        return
    if not isinstance(network, FaceTrunkClassifier):
        raise WeightsError(f"{backbone.name}: these weights fit mien-s and face-trunk, not this architecture")
    if _is_onnx(backbone.data):
        _load_graph(network, backbone)
    else:
        network.trunk.load_dlib(read_network(backbone.data))
    network.trunk.settle_norms(inputs)


def _load_graph(network: FaceTrunkClassifier, backbone: Backbone) -> None:
    """The weights of an exported network: its convolutions, in the order in which they run, and its head if it fits."""
    graph = parsed(backbone.data, backbone.name).graph
    constants = _constants(graph)
    try:
        convolutions = [[constants[name] for name in node.input[1:]] for node in graph.node if node.op_type == "Conv"]
        heads = [[constants[name] for name in node.input[1:]] for node in graph.node if node.op_type == "Gemm"]
        network.trunk.load([(weight, bias) for weight, bias in convolutions])
        [(weight, bias)] = heads
    except (KeyError, ValueError, WeightsError) as error:
        raise WeightsError(f"{backbone.name}: not the exported graph of a network of this architecture") from error
    if weight.shape == tuple(network.head.weight.shape):
        network.load_state_dict(
            {"head.weight": torch.from_numpy(weight), "head.bias": torch.from_numpy(bias)}, strict=False
        )


def _constants(graph: Any) -> dict[str, FloatArray]:
    """The weights of an `onnx.GraphProto` by name, also of those that are stored as float16 and cast."""
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    casts = {node.output[0]: constants[node.input[0]] for node in graph.node if _casts(node, constants)}
    return {name: np.array(value, dtype=np.float32) for name, value in (constants | casts).items()}


def _casts(node: Any, constants: Mapping[str, Any]) -> bool:
    return node.op_type == "Cast" and node.input[0] in constants


def _load_run(network: nn.Module, backbone: Backbone) -> None:
    """The weights that a run left, as they are; the head stays new where the classes differ in number."""
    try:
        weights = load_safetensors(backbone.data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{backbone.name}: a damaged .safetensors file") from error
    own = network.state_dict()
    fitting = {name: value for name, value in weights.items() if not _is_other_head(name, value, own)}
    missing = [name for name in own if name not in fitting and not name.startswith(_HEAD)]
    wrong = [name for name, value in fitting.items() if name not in own or own[name].shape != value.shape]
    if missing or wrong:
        raise WeightsError(f"{backbone.name}: the weights of another architecture (differs in {(missing + wrong)[0]})")
    network.load_state_dict(own | fitting)


def _is_other_head(name: str, value: Tensor, own: dict[str, Tensor]) -> bool:
    return name.startswith(_HEAD) and name in own and own[name].shape != value.shape


def _is_safetensors(data: bytes) -> bool:
    """A length of 8 bytes, then a JSON object."""
    return data[8:9] == b"{"


def _is_onnx(data: bytes) -> bool:
    """The version of the format, which every exporter writes first."""
    return data[:1] == b"\x08"
