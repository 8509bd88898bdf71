"""The plain convolutional networks that tutorials on expressions use: blocks of 32, 64 (and 128), dense, softmax."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mien.training.architectures.scaling import Standardise


class _Plain(nn.Module):
    def __init__(self, channels: int, size: int, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = [Standardise()]
        inputs = channels
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
            inputs = width
        side = size // 2 ** len(widths)
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(inputs * side * side, 128), nn.ReLU(), nn.Dropout(0.5)
        )
        self.head = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) with values 0..255 to (N, classes) logits."""
        logits: Tensor = self.head(self.layers(x))
        return logits


class TwoBlocks(_Plain):
    """Convolutions of 32 and 64, each with a pool; a dense layer of 128."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__(channels, size, classes, (32, 64))


class ThreeBlocks(_Plain):
    """Convolutions of 32, 64 and 128, each with a pool; a dense layer of 128."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__(channels, size, classes, (32, 64, 128))
