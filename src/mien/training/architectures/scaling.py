"""The scaling that networks without a backbone begin with."""

from __future__ import annotations

from torch import Tensor, nn


class Standardise(nn.Module):
    """Values of 0..255 to about -2..2: what pictures of faces are on average is taken off."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return (x - 128.0) / 64.0
