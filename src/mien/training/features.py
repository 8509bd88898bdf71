"""Classical descriptions of a face: histograms of oriented gradients (HOG) and of local binary patterns (LBP).

scikit-image computes both. What it computes is also written as a graph in `classical_graph`, which is what a trained
model carries; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.types import FloatArray, ImageArray

FeatureName = Literal["hog", "lbp", "hog+lbp"]
FEATURES: tuple[FeatureName, ...] = ("hog", "lbp", "hog+lbp")
SIZES = (24, 256)
"""Smallest and largest side of a crop."""

LBP_POINTS = 8
LBP_CODES = LBP_POINTS * (LBP_POINTS - 1) + 3
"""59: the uniform patterns of 8 neighbours (at most two changes between 0 and 1 around the circle), and all others."""
_LUMA = np.array([299, 587, 114], dtype=np.int32)  # ITU-R BT.601, in thousandths: exact in integers and in float32
_MOST_FEATURES = 20_000


@dataclass(frozen=True)
class FeatureSpec:
    """Which features are computed, and how; stored in the model's card.

    Attributes:
        name: "hog", "lbp", or "hog+lbp" (one after the other).
        size: side of the crops in pixels. Pixels beyond the last whole cell are not used.
        orientations: bins of the gradient's direction over 180 degrees.
        cell: side in pixels of the cells of both kinds of histogram.
        block: side in cells of the blocks in which HOG is normalised (L2-Hys; Dalal and Triggs 2005).
    """

    name: FeatureName = "hog"
    size: int = 48
    orientations: int = 9
    cell: int = 8
    block: int = 2

    def __post_init__(self) -> None:
        if self.name not in FEATURES:
            raise DataError(f"no features {self.name!r}: choose one of {', '.join(FEATURES)}")
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise DataError(f"crops of {self.size} pixels: choose a side from {SIZES[0]} to {SIZES[1]}")
        if not (2 <= self.orientations <= 36 and self.cell >= 2 and 1 <= self.block <= self.cells):
            raise DataError(f"features of {self} are not possible: the crop is too small for its cells and blocks")
        if self.dimensions > _MOST_FEATURES:
            raise DataError(
                f"{self.dimensions:,} features a picture are too many (limit {_MOST_FEATURES:,}): take smaller crops"
            )

    @property
    def cells(self) -> int:
        """Cells along a side."""
        return self.size // self.cell

    @property
    def hog_dimensions(self) -> int:
        """Length of the HOG part."""
        blocks = self.cells - self.block + 1
        return blocks**2 * self.block**2 * self.orientations if "hog" in self.name else 0

    @property
    def lbp_dimensions(self) -> int:
        """Length of the LBP part."""
        return self.cells**2 * LBP_CODES if "lbp" in self.name else 0

    @property
    def dimensions(self) -> int:
        """D, the length of a description."""
        return self.hog_dimensions + self.lbp_dimensions

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def describe(crops: ImageArray, spec: FeatureSpec) -> FloatArray:
    """Describe faces.

    Args:
        crops: (N, S, S, 3) uint8 RGB, S = `spec.size`.
        spec: which features.

    Returns:
        (N, D) float32: HOG in [0, 1], and square roots of LBP's shares in [0, 1].

    Raises:
        ValueError: the crops are of another shape or type.
    """
    if crops.dtype != np.uint8 or crops.shape[1:] != (spec.size, spec.size, 3):
        raise ValueError(f"crops are (N, {spec.size}, {spec.size}, 3) uint8, not {crops.shape} {crops.dtype}")
    out = np.empty((len(crops), spec.dimensions), dtype=np.float32)
    for row, crop in zip(out, crops, strict=True):
        grey = to_grey(crop)
        if "hog" in spec.name:
            row[: spec.hog_dimensions] = _hog(grey, spec)
        if "lbp" in spec.name:
            row[spec.hog_dimensions :] = _lbp(grey, spec)
    return out


def to_grey(crop: ImageArray) -> ImageArray:
    """(H, W, 3) RGB to (H, W) uint8, rounded the same way wherever it is computed."""
    return np.asarray((crop @ _LUMA + 500) // 1000, dtype=np.uint8)


def _hog(grey: ImageArray, spec: FeatureSpec) -> npt.NDArray[np.floating]:
    from skimage.feature import hog

    return np.asarray(
        hog(
            grey.astype(np.float64),
            orientations=spec.orientations,
            pixels_per_cell=(spec.cell, spec.cell),
            cells_per_block=(spec.block, spec.block),
            block_norm="L2-Hys",
        )
    )


def _lbp(grey: ImageArray, spec: FeatureSpec) -> npt.NDArray[np.floating]:
    """Square roots of the shares of the codes in each cell: Euclidean distances of these compare histograms well."""
    from skimage.feature import local_binary_pattern

    codes = local_binary_pattern(grey, LBP_POINTS, 1, "nri_uniform").astype(np.int64)
    whole = spec.cells * spec.cell
    cells = codes[:whole, :whole].reshape(spec.cells, spec.cell, spec.cells, spec.cell).swapaxes(1, 2)
    numbered = cells.reshape(spec.cells**2, -1) + LBP_CODES * np.arange(spec.cells**2)[:, None]
    counts = np.bincount(numbered.ravel(), minlength=spec.lbp_dimensions)
    return np.sqrt(counts / spec.cell**2)
