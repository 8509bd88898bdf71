"""From a trained network to one ONNX file that takes plain crops, and the proof that both answer the same."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.errors import ModelError
from mien.models.base import RuntimeOptions
from mien.models.cards import CropCard, embed_card
from mien.models.crop_network import CropNetwork, probabilities
from mien.types import FloatArray, ImageArray

_OPSET = 17
_LUMA = (0.299, 0.587, 0.114)
_HALVED_FROM = 1024  # numbers; smaller constants are not worth a cast
PARITY = 2e-3
"""Largest difference of a probability between torch and the exported graph. What float32 gives is near 1e-6."""
_PROBES = 16
_ONE_THREAD = RuntimeOptions(threads=1)


class Deployed(nn.Module):
    """What is exported: crops as they are cut from pictures in, logits out.

    Args:
        network: takes (N, C, S, S) float32 with values 0..255.
        size: S.
        colour: whether C is 3.
        widths: how many of the network's numbers go to each output, in order.
    """

    luma: Tensor

    def __init__(self, network: nn.Module, size: int, *, colour: bool, widths: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self._size = size
        self._colour = colour
        self._widths = list(widths)
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1))

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """(N, S', S', 3) uint8 RGB to float32 logits, (N, width) for each output."""
        x = crops.permute(0, 3, 1, 2).float()
        if not self._colour:
            x = (x * self.luma).sum(dim=1, keepdim=True)
        if crops.shape[1] != self._size:
            x = functional.interpolate(x, size=(self._size, self._size), mode="bilinear", align_corners=False)
        return tuple(self.network(x).split(self._widths, dim=1))


def export(
    network: nn.Module, size: int, card: CropCard, kind: type[CropNetwork[Any]], *, colour: bool, half: bool = True
) -> bytes:
    """Write a network as ONNX, with its card inside, and check that it answers as the network does.

    Args:
        network: in evaluation mode, on the CPU; gives what all outputs of `kind` need, side by side.
        size: side of the network's input.
        card: what the file says of itself.
        kind: of network that the file will be loaded as.
        colour: whether the network sees colours.
        half: store weights as float16, which the runtime widens once at load: half the file, same speed. Left alone
            where that would change a probability by more than `PARITY`.

    Returns:
        The ONNX file.

    Raises:
        ModelError: the exported graph answers differently.
    """
    outputs = kind.outputs_of(card)
    deployed = Deployed(network, size, colour=colour, widths=list(outputs.values())).eval()
    data = _graph(deployed, card, list(outputs))
    difference = _difference(deployed, kind(data, _ONE_THREAD))
    if not difference <= PARITY:
        raise ModelError(
            f"the exported graph differs from the network by {difference:.2g} in a probability: not written"
        )
    if half:
        halved = stored_halved(data)
        if _difference(deployed, kind(halved, _ONE_THREAD)) <= PARITY:
            return halved
    return data


def _graph(deployed: Deployed, card: CropCard, outputs: list[str]) -> bytes:
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
            output_names=outputs,
            dynamic_axes={name: {0: "N"} for name in ("crops", *outputs)},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name, model.producer_version = "mien", ""
    onnx.checker.check_model(model)
    return embed_card(model.SerializeToString(), card)


def stored_halved(data: bytes) -> bytes:
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


def _difference(deployed: Deployed, exported: CropNetwork[Any]) -> float:
    """How far the graph's probabilities are from the network's, at most."""
    crops = probe_crops(exported.size)
    with torch.no_grad():
        expected = deployed(torch.from_numpy(crops))
    return parity(exported, crops, [logits.numpy() for logits in expected])


def parity(exported: CropNetwork[Any], crops: ImageArray, expected: Sequence[FloatArray]) -> float:
    """The largest difference of a probability from those of the expected logits of each output."""
    pairs = zip(exported.run(crops).values(), expected, strict=True)
    return max(float(np.abs(probabilities(found) - probabilities(wanted)).max()) for found, wanted in pairs)


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
