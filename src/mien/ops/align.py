"""Alignment: from five landmarks to the crop a model was made for, and back.

Pixel centres are at integer coordinates throughout. A transform is a (2, 3) float64 matrix [s*R | t] that maps
picture coordinates to crop coordinates: crop = M[:, :2] @ xy + M[:, 2].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mien.types import Faces, FloatArray, ImageArray, Transforms

_SMALLEST_SPREAD = 1e-3  # of landmarks, as a part of the box; below it they say nothing about scale or angle


def similarity_transforms(landmarks: FloatArray, template: FloatArray) -> Transforms:
    """The least-squares similarity (scale, rotation, shift) that maps landmarks onto a template.

    Closed form of Umeyama (1991) for two dimensions, without reflection.

    Args:
        landmarks: (N, K, 2), xy in picture pixels.
        template: (K, 2), xy in crop pixels.

    Returns:
        (N, 2, 3) float64. NaN where all landmarks of a face coincide or one is not finite.
    """
    source = landmarks.astype(np.float64)
    target = template.astype(np.float64)
    target_mean = target.mean(axis=0)
    u, v = (target - target_mean).T
    with np.errstate(divide="ignore", invalid="ignore"):
        source_mean = source.mean(axis=1, keepdims=True)
        x, y = np.moveaxis(source - source_mean, -1, 0)
        spread = (x * x + y * y).sum(axis=1)
        a = (x * u + y * v).sum(axis=1) / spread  # scale * cos
        b = (x * v - y * u).sum(axis=1) / spread  # scale * sin
        linear = np.stack([np.stack([a, -b], -1), np.stack([b, a], -1)], axis=1)
        shift = target_mean - np.einsum("nij,nj->ni", linear, source_mean[:, 0])
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def crop_transforms(faces: Faces, template: FloatArray, size: int) -> Transforms:
    """The transform from picture to crop of every face.

    Where landmarks are degenerate (they coincide, or are not finite) the box stands in for them: the face is cut
    upright, so that it still gets an answer.

    Args:
        faces: N faces.
        template: (5, 2), xy in crop pixels.
        size: side of the crop.

    Returns:
        (N, 2, 3) float64, always finite.
    """
    return usable_transforms(similarity_transforms(faces.landmarks, template), faces, template, size)


def usable_transforms(transforms: Transforms, faces: Faces, template: FloatArray, size: int) -> Transforms:
    """Replace transforms that cannot be used by upright crops of the faces' boxes; see `crop_transforms`."""
    transforms = transforms.copy()
    sides = np.maximum(np.max(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1, initial=0), 1.0)
    landmarks = faces.landmarks.astype(np.float64)  # whose squares cannot overflow
    with np.errstate(invalid="ignore"):
        spread = np.linalg.norm(landmarks - landmarks.mean(axis=1, keepdims=True), axis=(1, 2))
        bad = ~(np.isfinite(transforms).all(axis=(1, 2)) & (spread > _SMALLEST_SPREAD * sides))
        # the scale can also vanish with landmarks spread out, when they match the template at no angle
        bad |= ~(np.hypot(transforms[:, 0, 0], transforms[:, 1, 0]) * sides > 1.0)
    for i in np.flatnonzero(bad):
        transforms[i] = _box_transform(faces.boxes[i], template, size)
    return transforms


def _box_transform(box: FloatArray, template: FloatArray, size: int) -> Transforms:
    """Upright crop of a box: its centre at the template's, its longer side about as a face box lies in a crop."""
    x1, y1, x2, y2 = (float(value) for value in box)
    scale = 0.75 * size / max(x2 - x1, y2 - y1, 1.0)
    cx, cy = template.mean(axis=0)
    return np.array([[scale, 0, cx - scale * (x1 + x2) / 2], [0, scale, cy - scale * (y1 + y2) / 2]])


def invert(transforms: Transforms) -> Transforms:
    """(N, 2, 3) transforms from crop back to picture; exact up to rounding."""
    linear = np.linalg.inv(transforms[:, :, :2])
    shift = -np.einsum("nij,nj->ni", linear, transforms[:, :, 2])
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def apply(transforms: Transforms, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Map (N, K, 2) points by (N, 2, 3) transforms."""
    mapped: npt.NDArray[np.float64] = np.einsum("nij,nkj->nki", transforms[:, :, :2], points.astype(np.float64))
    return mapped + transforms[:, None, :, 2]


def extract_crops(image: ImageArray, transforms: Transforms | Sequence[Transforms], size: int) -> ImageArray:
    """Cut aligned crops; what lies outside the picture is black.

    Bilinear; a face that is at least twice as large as its crop is first reduced by averaging whole pixels (as an
    image pyramid would), so that fine texture does not alias.

    Args:
        image: (H, W, 3) uint8.
        transforms: (N, 2, 3) from picture to crop, as `crop_transforms` makes them: finite, scale above 0.
        size: side of the crops.

    Returns:
        (N, size, size, 3) uint8.
    """
    crops = np.empty((len(transforms), size, size, 3), dtype=np.uint8)
    for crop, transform in zip(crops, transforms, strict=True):
        region, to_crop = _region(image, transform, size)
        cv2.warpAffine(region, to_crop, (size, size), dst=crop, flags=cv2.INTER_LINEAR)
    return crops


def _region(image: ImageArray, transform: Transforms, size: int) -> tuple[ImageArray, Transforms]:
    """The part of the picture that a crop needs, reduced if the crop is much smaller, and its transform.

    Cut out even where nothing is reduced: OpenCV 4 warps no picture of 32,768 pixels or more a side.
    """
    (a, b, c), (d, e, f) = transform.tolist()  # plain numbers: arrays of a few take ten times as long
    factor = max(int(1.0 / math.hypot(a, d)), 1)  # picture pixels per crop pixel
    height, width = image.shape[:2]
    corners = [(u - c, v - f) for u in (0, size) for v in (0, size)]
    xs, ys = ([(p * u + q * v) / (a * e - b * d) for u, v in corners] for p, q in ((e, -b), (-d, a)))
    margin = 2 * factor  # one reduced pixel to interpolate with, one that whole blocks may leave over
    x1, x2 = _within(min(xs) - margin, max(xs) + margin, width)
    y1, y2 = _within(min(ys) - margin, max(ys) + margin, height)
    columns, rows = max((x2 - x1) // factor, 1), max((y2 - y1) // factor, 1)
    region = image[y1 : min(y1 + rows * factor, height), x1 : min(x1 + columns * factor, width)]
    step_x, step_y = region.shape[1] / columns, region.shape[0] / rows
    # picture = step * reduced + (step - 1) / 2 + corner: pixel centres at integers in both
    x, y = (step_x - 1) / 2 + x1, (step_y - 1) / 2 + y1
    to_crop = np.array([[a * step_x, b * step_y, a * x + b * y + c], [d * step_x, e * step_y, d * x + e * y + f]])
    if factor > 1:
        region = np.asarray(cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return region, to_crop


def _within(low: float, high: float, length: int) -> tuple[int, int]:
    """Whole pixels from `low` to `high`, at least one of them, all inside a side of the picture."""
    return int(min(max(math.floor(low), 0), length - 1)), int(min(max(math.ceil(high), 1), length))
