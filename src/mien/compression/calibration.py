"""Calibration: which values the tensors of a network take on pictures such as it will see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.datasets import open_image_set
from mien.datasets.base import ImageSet
from mien.datasets.photographs import open_unlabelled
from mien.errors import DataError, ImageError, ModelError
from mien.models.base import RuntimeOptions
from mien.models.quantized import Quantization, Ranges, float_tensors, quantized, watched
from mien.models.runtime import Session
from mien.types import FloatArray, ImageArray

Progress = Callable[[int, int], None]
MOST = 256
"""Pictures that calibration looks at."""
_CORRECTED_ON = 12  # batches
_LARGEST_GAIN = 2.0  # more is no rounding but another network
FEWEST = 8
"""Fewer say little about the range of a tensor."""


def calibration_pictures(path: Path, most: int = MOST) -> ImageSet:
    """Pictures to calibrate on: those of a folder, or of a labelled data set, evenly chosen.

    Args:
        path: a folder that is searched through, or FER+ (zip) or FER2013 (csv).
        most: how many are taken at most.

    Raises:
        DataError: no such folder, no picture in it, or too few.
    """
    images = open_image_set(path, split="train") if path.is_file() else open_unlabelled([path], ("face", "other"))
    if len(images) < FEWEST:
        raise DataError(f"{path}: {len(images)} pictures are too few to calibrate on; give {FEWEST} or more")
    return images.subset(np.unique(np.linspace(0, len(images) - 1, most).astype(np.int64)))


def readable(images: ImageSet) -> list[ImageArray]:
    """The pictures that can be read; others are left out.

    Raises:
        DataError: too few can.
    """
    pictures: list[ImageArray] = []
    first = ""
    for i in range(len(images)):
        try:
            pictures.append(images.read(i))
        except (ImageError, OSError) as error:
            first = first or str(error)
    if len(pictures) < FEWEST:
        raise DataError(
            f"calibration: {len(pictures)} of {len(images)} pictures can be read; give {FEWEST} or more"
            + (f" ({first})" if first else "")
        )
    return pictures


def tensor_ranges(graph: bytes, batches: Sequence[ImageArray], *, progress: Progress | None = None) -> Ranges:
    """The lowest and the highest value of every float tensor of a graph.

    Args:
        graph: of `mien.models.quantized.float_graph`.
        batches: (N, H, W, 3) uint8, as the network gets them.
        progress: called with (batches done, batches in all).

    Raises:
        ModelError: a tensor holds values that are not finite, or has none.
    """
    names = float_tensors(graph)
    session = Session(watched(graph, names), RuntimeOptions(threads=1))
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for done, batch in enumerate(batches, 1):
        values = session(batch, names)
        low = np.minimum(low, [_extreme(np.min, array) for array in values])
        high = np.maximum(high, [_extreme(np.max, array) for array in values])
        if progress is not None:
            progress(done, len(batches))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ModelError("the network gives values that are not finite: it cannot be quantised")
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def corrected(graph: bytes, quantization: Quantization, batches: Sequence[ImageArray]) -> Quantization:
    """The same with the gains and shifts that make up for what rounding takes from the outputs (N, K) on average.

    Args:
        graph: of `mien.models.quantized.float_graph`.
        quantization: without gains and shifts.
        batches: (N, H, W, 3) uint8, as the network gets them; a few pictures do.
    """
    exact, rounded = (
        Session(network, RuntimeOptions(threads=1)) for network in (graph, quantized(graph, quantization))
    )
    flat = [port.name for port in exact.outputs if len(port.shape) == 2]
    if not flat:  # maps of a detector, in which a face is rare
        return quantization
    answers = [(exact(batch, flat), rounded(batch, flat)) for batch in batches[:_CORRECTED_ON]]
    gains, shifts = {}, {}
    for i, name in enumerate(flat):
        a, b = (np.concatenate([given[i] for given in side]).astype(np.float64) for side in zip(*answers, strict=True))
        gains[name] = _gain(a, b)
        shifts[name] = tuple(map(float, (a - gains[name] * b).mean(axis=0)))
    return replace(quantization, gains=gains, shifts=shifts)


def _gain(exact: npt.NDArray[np.float64], rounded: npt.NDArray[np.float64]) -> float:
    """By how much outputs shrank, of all K together: a line through what rounding made of them; 1 where none fits."""
    exact, rounded = exact - exact.mean(axis=0), rounded - rounded.mean(axis=0)
    along, length = float((exact * rounded).sum()), float((exact**2).sum())
    return length / along if along * _LARGEST_GAIN > length else 1.0


def _extreme(of: Callable[[FloatArray], np.floating], array: FloatArray) -> float:
    return float(of(array)) if array.size else 0.0
