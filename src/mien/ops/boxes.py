"""Pure functions on boxes: (N, 4) float32, x1 y1 x2 y2 in pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.types import FloatArray


def area(boxes: FloatArray) -> FloatArray:
    """(N,) areas; 0 for an inverted box."""
    sides: FloatArray = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """(N, M) intersection over union of every box of `a` with every box of `b`; 0 where both are empty."""
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    sides = np.maximum(np.minimum(a[:, None, 2:], b[None, :, 2:]) - corner, 0)
    overlap = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - overlap
    result: FloatArray = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return result


def nms(boxes: FloatArray, scores: FloatArray, threshold: float) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4).
        scores: (N,).
        threshold: a box is dropped when its IoU with a better one is above this.

    Returns:
        (K,) indices of the boxes to keep, best score first; equal scores keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[iou(boxes[best : best + 1], boxes[rest])[0] <= threshold]
    return np.array(kept, dtype=np.intp)


def clip(boxes: FloatArray, width: int, height: int) -> FloatArray:
    """The part of each box that lies inside a picture."""
    return np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float32)).astype(np.float32)
