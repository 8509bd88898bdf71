"""Sensitivity: which layers hurt most in int8, judged by the error of the network's outputs when only they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mien.models.base import RuntimeOptions
from mien.models.quantized import Quantization, Ranges, layers, quantized
from mien.models.runtime import Session
from mien.types import ImageArray

Progress = Callable[[int, int], None]


def by_harm(
    graph: bytes, ranges: Ranges, batch: ImageArray, *, progress: Progress | None = None
) -> list[tuple[str, float]]:
    """Every layer, the most harmful first.

    Args:
        graph: of `mien.models.quantized.float_graph`.
        ranges: of its tensors.
        batch: (N, H, W, 3) uint8: a few pictures do, as one layer's error shows in each of them.
        progress: called with (layers done, layers in all).

    Returns:
        (name, harm) of each layer: the mean squared error of the outputs, relative to their variance.
    """
    names = layers(graph)
    exact = _outputs(graph, batch)
    harms = []
    for done, name in enumerate(names, 1):
        alone = Quantization(ranges, tuple(other for other in names if other != name))
        harms.append(_error(exact, _outputs(quantized(graph, alone), batch)))
        if progress is not None:
            progress(done, len(names))
    order = np.argsort(-np.array(harms), kind="stable")
    return [(names[i], harms[i]) for i in order]


def _outputs(network: bytes, batch: ImageArray) -> list[npt.NDArray[np.float64]]:
    outputs = Session(network, RuntimeOptions(threads=1))(batch)
    return [np.asarray(output, dtype=np.float64) for output in outputs]


def _error(exact: Sequence[npt.NDArray[np.float64]], rounded: Sequence[npt.NDArray[np.float64]]) -> float:
    """The largest of the outputs' errors."""
    return max(float(((a - b) ** 2).mean() / max(float(a.var()), 1e-12)) for a, b in zip(exact, rounded, strict=True))
