"""From a trained network to one ONNX file that takes plain crops, and the proof that both answer the same."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.errors import ModelError
from mien.models.base import RuntimeOptions
from mien.models.cards import embed_card
from mien.models.classifier import ClassifierCard, CropClassifier
from mien.types import FloatArray, ImageArray

_OPSET = 17
_LUMA = (0.299, 0.587, 0.114)
_HALVED_FROM = 1024  # numbers; smaller constants are not worth a cast
PARITY = 2e-3
"""Largest difference of a probability between torch and the exported graph. What float32 gives is near 1e-6."""
_PROBES = 16


class Deployed(nn.Module):
    """What is exported: crops as they are cut from pictures in, logits out.

    Args:
        network: takes (N, C, S, S) float32 with values 0..255.
        size: S.
        colour: whether C is 3.
    """

    luma: Tensor

    def __init__(self, network: nn.Module, size: int, *, colour: bool) -> None:
        super().__init__()
        self.network = network
        self._size = size
        self._colour = colour
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1))

    def forward(self, crops: Tensor) -> Tensor:
        """(N, S', S', 3) uint8 RGB to (N, classes) float32 logits."""
        x = crops.permute(0, 3, 1, 2).float()
        if not self._colour:
            x = (x * self.luma).sum(dim=1, keepdim=True)
        if crops.shape[1] != self._size:
            x = functional.interpolate(x, size=(self._size, self._size), mode="bilinear", align_corners=False)
        logits: Tensor = self.network(x)
        return logits


def export(network: nn.Module, size: int, card: ClassifierCard, *, colour: bool, half: bool = True) -> bytes:
    """Write a network as ONNX, with its card inside, and check that it answers as the network does.

    Args:
        network: in evaluation mode, on the CPU.
        size: side of the network's input.
        card: what the file says of itself.
        colour: whether the network sees colours.
        half: store weights as float16, which the runtime widens once at load: half the file, same speed. Left alone
            where that would change a probability by more than `PARITY`.

    Returns:
        The ONNX file.

    Raises:
        ModelError: the exported graph answers differently.
    """
    deployed = Deployed(network, size, colour=colour).eval()
    data = _graph(deployed, card)
    difference = _difference(deployed, data, card)
    if not difference <= PARITY:
        raise ModelError(
            f"the exported graph differs from the network by {difference:.2g} in a probability: not written"
        )
    if half:
        halved = _stored_halved(data)
        if _difference(deployed, halved, card) <= PARITY:
            return halved
    return data


def _graph(deployed: Deployed, card: ClassifierCard) -> bytes:
    import onnx

    side = card.crop.size
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further packages is called legacy
        torch.onnx.export(
            deployed,
            (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
            buffer,  # type: ignore[arg-type]  # files are taken, too
            input_names=["crops"],
            output_names=["logits"],
            dynamic_axes={"crops": {0: "N"}, "logits": {0: "N"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name, model.producer_version = "mien", ""
    onnx.checker.check_model(model)
    return embed_card(model.SerializeToString(), card)


def _stored_halved(data: bytes) -> bytes:
    """The same graph with large constants as float16, each cast to float32, which the runtime does once, at load."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(data)
    graph = model.graph
    casts = []
    for constant in list(graph.initializer):
        if constant.data_type != TensorProto.FLOAT or np.prod(constant.dims) < _HALVED_FROM:
            continue
        name, values = constant.name, numpy_helper.to_array(constant)
        halved = numpy_helper.from_array(values.astype(np.float16), f"{name}_half")
        graph.initializer.remove(constant)
        graph.initializer.append(halved)
        casts.append(helper.make_node("Cast", [halved.name], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    return bytes(model.SerializeToString())


def _difference(deployed: Deployed, data: bytes, card: ClassifierCard) -> float:
    """How far the graph's probabilities are from the network's, at most."""
    crops = probe_crops(card.crop.size)
    with torch.no_grad():
        expected = torch.softmax(deployed(torch.from_numpy(crops)) / card.temperature, dim=1).numpy()
    return parity(CropClassifier(data, RuntimeOptions(threads=1)), crops, expected)


def parity(classifier: CropClassifier, crops: ImageArray, expected: FloatArray) -> float:
    """The largest difference of a probability."""
    return float(np.abs(classifier(crops) - expected).max())


def probe_crops(size: int) -> ImageArray:
    """(16, size, size, 3) uint8: blobs of light and noise of many contrasts, always the same."""
    rng = np.random.default_rng(0)
    across = np.linspace(-1, 1, size)
    centres = rng.uniform(-0.6, 0.6, (_PROBES, 2, 1, 1))
    blobs = np.exp(-((across[None, None] - centres[:, 0]) ** 2 + (across[None, :, None] - centres[:, 1]) ** 2) * 3)
    pixels = 255 * blobs[..., None] * rng.uniform(0.3, 1, (_PROBES, 1, 1, 3))
    noisy = pixels + rng.normal(0, 1, (_PROBES, size, size, 3)) * rng.uniform(0, 40, (_PROBES, 1, 1, 1))
    crops: ImageArray = np.clip(noisy, 0, 255).astype(np.uint8)
    return crops
