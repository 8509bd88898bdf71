"""Skin colours for grey crops, for networks that were trained on coloured faces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.types import ImageArray

# Red, green and blue of a face as powers of its brightness. Chosen on grey faces of lfw_dev; the mean colours of the
# faces of UTKFace give nearly the same curves. See recipes/LOG.md.
_EXPONENTS = (0.80, 1.05, 1.25)
_GREY = 4.0  # largest mean difference of two channels of a crop that counts as grey


def _tables() -> npt.NDArray[np.uint8]:
    brightness = np.arange(256)[:, None] / 255.0
    table: npt.NDArray[np.uint8] = np.rint(255.0 * brightness ** np.array(_EXPONENTS)).astype(np.uint8)
    return table


_TABLES = _tables()


def tint_grey(crops: ImageArray) -> ImageArray:
    """Give grey crops the colours of skin; coloured ones stay as they are.

    Args:
        crops: (N, H, W, 3) RGB uint8.

    Returns:
        The same array where no crop is grey, else a new one.
    """
    # Every eighth pixel in both directions tells grey from colour as well as all of them.
    sample = crops[:, ::8, ::8].astype(np.int16)
    spread = np.ptp(sample, axis=-1).mean(axis=(1, 2))
    grey = spread < _GREY
    if not grey.any():
        return crops
    tinted = crops.copy()
    tinted[grey] = _TABLES[crops[grey, ..., 1]]  # grey: any channel is the brightness
    return tinted
