"""Networks for parts of a face (an eye, a mouth): about 27,000 numbers, tens of microseconds a crop.

The light of a crop says nothing here, so each crop is brought to a mean of 0 and a contrast of 1 first.
"""

from __future__ import annotations

from torch import Tensor, nn

_WIDTHS = (16, 24, 32)
_DENSE = 32
_FAINTEST = 4.0  # grey levels; a plain crop's noise is not blown up


class Tiny(nn.Module):
    """Three convolutions, two of them of stride 2, a pool, and a dense layer, on the whole crop."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.rows = self._rows(size)
        first, second, third = _WIDTHS
        self.layers = nn.Sequential(
            *_convolution(channels, first, 5, stride=2),
            *_convolution(first, second, 3, stride=2),
            *_convolution(second, third, 3),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(third * _pooled(self.rows.stop - self.rows.start) * _pooled(size), _DENSE),
            nn.ReLU(),
            nn.Dropout(0.3),
        )
        self.head = nn.Linear(_DENSE, classes)

    @staticmethod
    def _rows(size: int) -> slice:
        """The rows of the crop that it looks at."""
        return slice(0, size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) with values 0..255 to (N, classes) logits."""
        x = x[:, :, self.rows]
        x = x - x.mean(dim=(1, 2, 3), keepdim=True)
        contrast = (x * x).mean(dim=(1, 2, 3), keepdim=True).sqrt()
        logits: Tensor = self.head(self.layers(x / (contrast + _FAINTEST)))
        return logits


class TinyWide(Tiny):
    """The same on the middle three quarters of the rows: for what is wide, such as eyes."""

    @staticmethod
    def _rows(size: int) -> slice:
        return slice(size // 8, size - size // 8)


def _convolution(inputs: int, outputs: int, side: int, *, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _pooled(length: int) -> int:
    """What two strides and a pool leave of a side."""
    return ((length + 1) // 2 + 1) // 2 // 2
