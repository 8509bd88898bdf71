"""dlib's face recognition ResNet (Davis King, 2017) as a trunk: its layers in torch, started from its weights.

dlib's file holds its batch norms folded to a scale and a shift. To be trained further the network gets norms back that
leave every answer as it is (`settle_norms`); without them it learns several times more slowly (recipes/LOG.md).
It is fully convolutional up to its pooled 256 features, and so takes crops of other sizes than 150.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.errors import WeightsError
from mien.models.dlib_format import Layer, Network
from mien.types import FloatArray

FEATURES = 256
STAGES = (  # channels in, channels out, whether the block halves the picture
    *[(32, 32, False)] * 3,
    (32, 64, True),
    *[(64, 64, False)] * 3,
    (64, 128, True),
    *[(128, 128, False)] * 2,
    (128, 256, True),
    *[(256, 256, False)] * 2,
    (256, 256, True),
)
_ANOTHER = "the backbone is not dlib's face recognition network"


class Convolution(nn.Module):
    """A convolution and its batch norm."""

    def __init__(self, inputs: int, outputs: int, side: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, stride=stride, padding=padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs, momentum=0.05)
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        y: Tensor = self.norm(self.conv(x))
        return y

    @torch.no_grad()
    def load(self, weight: FloatArray, bias: FloatArray) -> None:
        """Take a weight (O, I, K, K) and a bias (O,), which is all that the norm adds, until `settle_norms`."""
        norm = self.norm
        self.conv.weight.copy_(torch.from_numpy(weight))
        norm.bias.copy_(torch.from_numpy(bias))
        norm.weight.fill_((1 + norm.eps) ** 0.5)
        norm.reset_running_stats()


class Block(nn.Module):
    """Two convolutions and a shortcut; where sizes differ, zeros stand for what the smaller one lacks, as in dlib."""

    def __init__(self, inputs: int, outputs: int, *, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.first = Convolution(inputs, outputs, 3, stride=2 if halves else 1, padding=0 if halves else 1)
        self.second = Convolution(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        y = self.second(functional.relu(self.first(x)))
        if self.halves:
            x = functional.avg_pool2d(x, 2)
        rows, columns = max(x.shape[2], y.shape[2]), max(x.shape[3], y.shape[3])
        return functional.relu(_padded(x, y.shape[1], rows, columns) + _padded(y, y.shape[1], rows, columns))


def _padded(x: Tensor, channels: int, rows: int, columns: int) -> Tensor:
    missing = (0, columns - x.shape[3], 0, rows - x.shape[2], 0, channels - x.shape[1])
    return functional.pad(x, missing) if any(missing) else x


class FaceTrunk(nn.Module):
    """Crops to 256 features.

    Args:
        channels: 3 for RGB crops; 1 for grey ones, whose stem sums the weights over the colours.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.stem = Convolution(channels, 32, 7, stride=2)
        self.blocks = nn.ModuleList(Block(inputs, outputs, halves=halves) for inputs, outputs, halves in STAGES)
        self._frozen: tuple[nn.Module, ...] = ()

    def convolutions(self) -> Iterator[Convolution]:
        """All convolutions, from the input on: the order of dlib's file."""
        return (module for module in self.modules() if isinstance(module, Convolution))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) with values 0..255 to (N, 256)."""
        x = functional.max_pool2d(functional.relu(self.stem(x)), 3, stride=2)
        for block in self.blocks:
            x = block(x)
        return x.mean(dim=(2, 3))

    def load_dlib(self, network: Network) -> None:
        """Take dlib's weights.

        Args:
            network: as `mien.models.dlib_format.read_network` gives it.

        Raises:
            WeightsError: it is another network.
        """
        layers = network.layers
        pairs = [(layer, layers[i + 1]) for i, layer in enumerate(layers[:-1]) if layer.kind == "con"]
        if any(affine.kind != "affine" for _, affine in pairs):
            raise WeightsError(_ANOTHER)
        mean = np.asarray(network.mean, np.float32)
        self.load([_folded(con, affine, None if i else mean) for i, (con, affine) in enumerate(pairs)])

    def load(self, folded: Sequence[tuple[FloatArray, FloatArray]]) -> None:
        """Take weights into which the norms are folded.

        Args:
            folded: (O, I, K, K) weight and (O,) bias of each convolution, from the input on; a grey network sums
                those of a stem for colours.

        Raises:
            WeightsError: another network's: nothing is taken.
        """
        own = list(self.convolutions())
        weights = [weight for weight, _ in folded]
        if weights and self.channels == 1:
            weights[0] = weights[0].sum(axis=1, keepdims=True)
        if [weight.shape for weight in weights] != [tuple(convolution.conv.weight.shape) for convolution in own]:
            raise WeightsError(f"{_ANOTHER}: its layers differ in number or size")
        for convolution, weight, (_, bias) in zip(own, weights, folded, strict=True):
            convolution.load(weight, bias)

    @torch.no_grad()
    def settle_norms(self, inputs: Tensor) -> None:
        """Give every norm the statistics of its own input, and such a scale and shift that no answer changes.

        Args:
            inputs: (N, C, S, S) crops as they come in training; a few hundred.
        """

        def settle(norm: nn.BatchNorm2d, arguments: tuple[Tensor]) -> None:
            mean, variance = arguments[0].mean(dim=(0, 2, 3)), arguments[0].var(dim=(0, 2, 3))
            spread = (variance + norm.eps).sqrt()
            assert norm.running_mean is not None  # noqa: S101 - for the type checker
            assert norm.running_var is not None  # noqa: S101
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            norm.bias.add_(scale * (mean - norm.running_mean))
            norm.weight.copy_(scale * spread)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)

        hooks = [convolution.norm.register_forward_pre_hook(settle) for convolution in self.convolutions()]
        was_training = self.training
        self.eval()(inputs)
        self.train(was_training)
        for hook in hooks:
            hook.remove()

    def freeze(self, blocks: int) -> None:
        """Leave the stem and the first `blocks` blocks as they are, their norms too."""
        self._frozen = (self.stem, *self.blocks[:blocks])
        for module in self._frozen:
            module.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> FaceTrunk:
        """As torch's, except that what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def _folded(con: Layer, affine: Layer, mean: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Weight and bias of a convolution with its affine layer, and for the first one dlib's scaling, folded in."""
    weight, bias = con.arrays["weight"].astype(np.float32), con.arrays["bias"].astype(np.float32)
    if mean is not None:  # exact: the first convolution has no padding
        weight = weight / np.float32(256)
        bias = bias - np.einsum("oihw,i->o", weight, mean)
    scale, shift = affine.arrays["scale"], affine.arrays["shift"]
    folded: npt.NDArray[np.float32] = np.ascontiguousarray(weight * scale[:, None, None, None])
    return folded, np.ascontiguousarray(bias * scale + shift)


class FaceTrunkClassifier(nn.Module):
    """The trunk with dropout and one linear layer.

    Args:
        channels: 1 or 3.
        size: side of the crops; any of at least 103 pixels.
        classes: number of logits.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.size = size
        self.trunk = FaceTrunk(channels)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(FEATURES, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) with values 0..255 to (N, classes) logits."""
        logits: Tensor = self.head(self.drop(self.trunk(x)))
        return logits
