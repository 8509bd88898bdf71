"""Measures of how well a face is pictured: sharpness, light, and what is seen of it.

All look at crops of `SIDE` pixels in which the eyes are 55 pixels apart, at about the scale that embedders see, so that
a measure means the same for a small face and a large one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mien.types import ImageArray, Transforms

Floats = npt.NDArray[np.float64]

SIDE = 150
"""Pixels: the side of the crops."""
EYES_APART = 55.48
"""Pixels between the eyes in such a crop, where both are level."""
THUMB = 16
"""Pixels: the side of the thumbnails."""
_FACE = (slice(20, 130), slice(25, 125))  # without what is around it
_WIDER = (slice(10, 140), slice(15, 135))
_DARK, _BRIGHT = 30, 240


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of N faces, each (N,) float64.

    Attributes:
        sharpness: variance of the Laplacian (Pech-Pacheco et al. 2000) over the face, in squared grey levels.
        detail: the same of the slightly blurred face beside its contrast: low where a picture is soft though not noisy.
        brightness: mean grey level, 0 to 255.
        contrast: standard deviation of the grey levels.
        dark: share of pixels under 30.
        bright: share of pixels above 240.
        side_light: how much brighter the right half of the picture of the face is, -1 to 1: (right - left) / their sum.
        top_light: how much brighter the lower half is, likewise.
        asymmetry: mean difference between the thumbnail and its mirror image, in its standard deviations.
        inside: share of the face that lies inside the picture, 0 to 1.
        eyes: distance between the eyes in pixels of the picture, as a face that looks at the camera would have it.
        thumbs: (N, 16, 16): the grey face, with mean 0 and standard deviation 1.
    """

    sharpness: Floats
    detail: Floats
    brightness: Floats
    contrast: Floats
    dark: Floats
    bright: Floats
    side_light: Floats
    top_light: Floats
    asymmetry: Floats
    inside: Floats
    eyes: Floats
    thumbs: Floats


def measure(crops: ImageArray, transforms: Transforms, image_size: tuple[int, int]) -> Measures:
    """Measure the faces of one picture.

    Args:
        crops: (N, 150, 150, 3) uint8 RGB, aligned by the landmarks.
        transforms: (N, 2, 3) from picture to crop.
        image_size: (width, height) of the picture.
    """
    grey = np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]) if len(crops) else crops[..., 0]
    face = grey[:, *_FACE]
    sharp = [_laplacian_variance(one) for one in face]
    soft = [_laplacian_variance(cv2.GaussianBlur(one.astype(np.float32), (0, 0), 1.0)) for one in face]
    contrast = face.std(axis=(1, 2), dtype=np.float64)
    middle, centre = face.shape[2] // 2, face.shape[1] // 2
    thumbs = thumbnails(grey)
    return Measures(
        sharpness=np.array(sharp, dtype=np.float64),
        detail=np.array(soft, dtype=np.float64) / (contrast**2 + 1.0),
        brightness=face.mean(axis=(1, 2), dtype=np.float64),
        contrast=contrast,
        dark=(face < _DARK).mean(axis=(1, 2)),
        bright=(face > _BRIGHT).mean(axis=(1, 2)),
        side_light=_balance(face[:, :, :middle], face[:, :, middle:]),
        top_light=_balance(face[:, :centre], face[:, centre:]),
        asymmetry=np.abs(thumbs - thumbs[:, :, ::-1]).mean(axis=(1, 2)),
        inside=inside(transforms, image_size),
        eyes=EYES_APART / np.hypot(transforms[:, 0, 0], transforms[:, 1, 0]),
        thumbs=thumbs,
    )


def inside(transforms: Transforms, image_size: tuple[int, int]) -> Floats:
    """(N,): the share of each face that lies inside the picture, by 12 x 12 places of it."""
    rows, columns = (np.linspace(part.start, part.stop - 1, 12) for part in _FACE)
    places = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    back = np.linalg.inv(transforms[:, :, :2])
    seen = np.einsum("nij,npj->npi", back, places[None] - transforms[:, None, :, 2])
    width, height = image_size
    within = (seen >= -0.5).all(axis=2) & (seen[..., 0] <= width - 0.5) & (seen[..., 1] <= height - 0.5)
    share: Floats = within.mean(axis=1)
    return share


def _laplacian_variance(face: npt.NDArray[np.generic]) -> float:
    return float(cv2.Laplacian(np.asarray(face), cv2.CV_32F).var(dtype=np.float64))


def _balance(one: ImageArray, other: ImageArray) -> Floats:
    """(N,): (other - one) / (one + other) of the mean grey levels."""
    a, b = (part.mean(axis=(1, 2), dtype=np.float64) for part in (one, other))
    result: Floats = (b - a) / np.maximum(a + b, 1.0)
    return result


def thumbnails(grey: ImageArray) -> Floats:
    """(N, 150, 150) grey crops to (N, 16, 16) with mean 0 and standard deviation 1; flat ones are 0."""
    small = [cv2.resize(one[_WIDER], (THUMB, THUMB), interpolation=cv2.INTER_AREA) for one in grey]
    thumbs = np.array(small, dtype=np.float64).reshape(-1, THUMB, THUMB)
    thumbs -= thumbs.mean(axis=(1, 2), keepdims=True)
    thumbs /= thumbs.std(axis=(1, 2), keepdims=True) + 4.0
    return thumbs
