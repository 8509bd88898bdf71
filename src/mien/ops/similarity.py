"""One number for "how alike": monotone in [-1, 1] for every model, whatever metric its embeddings were trained for."""

from __future__ import annotations

import numpy as np

from mien.types import FloatArray


def from_distance(distance: FloatArray) -> FloatArray:
    """Similarity of embeddings a Euclidean distance apart: (1 - d^2) / (1 + d^2).

    Strictly decreasing, 1 at distance 0, 0 at distance 1, above -1 everywhere: nothing is clipped, so no order is lost.
    """
    squared = np.square(distance)
    result: FloatArray = (1 - squared) / (1 + squared)
    return result


def l2(a: FloatArray, b: FloatArray) -> FloatArray:
    """Similarity by plain Euclidean distance of (..., D) and (..., D), broadcast; (...)."""
    return from_distance(np.linalg.norm(a - b, axis=-1))


def cosine(a: FloatArray, b: FloatArray) -> FloatArray:
    """Cosine of (..., D) and (..., D), broadcast; (...). 0 where an embedding is 0."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    products = (a * b).sum(axis=-1)
    result: FloatArray = np.clip(np.divide(products, norms, out=np.zeros_like(products), where=norms > 0), -1, 1)
    return result


def pairwise(a: FloatArray, b: FloatArray, metric: str) -> FloatArray:
    """Similarity of every one of (N, D) with every one of (M, D), by one matrix product; (N, M).

    Rounding is that of the product: for copies of one embedding, up to 1e-4 under 1.

    Args:
        a: embeddings.
        b: others.
        metric: "l2" or "cosine".
    """
    products = a @ b.T
    if metric == "l2":
        squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * products
        return from_distance(np.sqrt(np.maximum(squares, 0)))
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    result: FloatArray = np.clip(np.divide(products, norms, out=np.zeros_like(products), where=norms > 0), -1, 1)
    return result
