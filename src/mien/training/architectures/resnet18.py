"""ResNet-18 (He et al. 2016, https://arxiv.org/abs/1512.03385) for crops of about 48 pixels.

Its stem is a 3x3 convolution of stride 2, and there is no pool behind it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mien.training.architectures.scaling import Standardise


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norms, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet18(nn.Module):
    """Four stages of two blocks.

    Args:
        channels: 1 or 3.
        size: side of the crops; any.
        classes: number of logits.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.size = size
        stages: list[nn.Module] = []
        inputs = 64
        for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            stages += [BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)]
            inputs = outputs
        self.layers = nn.Sequential(
            Standardise(),
            nn.Conv2d(channels, 64, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.3),
        )
        self.head = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) with values 0..255 to (N, classes) logits."""
        logits: Tensor = self.head(self.layers(x))
        return logits
