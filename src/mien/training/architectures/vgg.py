"""VGG-13 and VGG-16, with batch norms.

VGG-13 as the FER+ paper has it (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041); VGG-16 after Simonyan &
Zisserman 2015 (https://arxiv.org/abs/1409.1556).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mien.training.architectures.scaling import Standardise


def _stage(inputs: int, outputs: int, depth: int, *, dropout: float) -> list[nn.Module]:
    """`depth` convolutions of 3x3, and a pool that halves the picture."""
    layers: list[nn.Module] = []
    for i in range(depth):
        convolution = nn.Conv2d(inputs if i == 0 else outputs, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
    return [*layers, nn.MaxPool2d(2), *([nn.Dropout(dropout)] if dropout else [])]


class _VGG(nn.Module):
    def __init__(
        self, channels: int, size: int, classes: int, *, stages: Sequence[tuple[int, int]], dense: int, dropout: float
    ) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = [Standardise()]
        inputs = channels
        for outputs, depth in stages:
            layers += _stage(inputs, outputs, depth, dropout=dropout)
            inputs = outputs
        side = size // 2 ** len(stages)
        layers.append(nn.Flatten())
        width = inputs * side * side
        for _ in range(2):
            layers += [nn.Linear(width, dense), nn.ReLU(), nn.Dropout(0.5)]
            width = dense
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(dense, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) with values 0..255 to (N, classes) logits."""
        logits: Tensor = self.head(self.layers(x))
        return logits


class VGG13(_VGG):
    """Ten convolutions in four stages and three dense layers: the paper's, with batch norms."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        stages = ((64, 2), (128, 2), (256, 3), (256, 3))
        super().__init__(channels, size, classes, stages=stages, dense=1024, dropout=0.25)


class VGG16(_VGG):
    """Thirteen convolutions in five stages and three dense layers; 512 wide instead of 4096, for small pictures."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        stages = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
        super().__init__(channels, size, classes, stages=stages, dense=512, dropout=0.0)
