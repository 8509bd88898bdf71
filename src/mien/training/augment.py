"""Augmentation: a crop of a face as another camera, light or detector might have given it.

What `mien evaluate robustness` measures is part of it: each kind of damage up to where most faces can still be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mien.ops.degrade import degrade
from mien.training.framing import Framing, face_template
from mien.types import FloatArray, ImageArray

Affine = npt.NDArray[np.float64]
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_DAMAGE: Mapping[str, tuple[float, float]] = {
    "mask": (0.5, 1),
    "glasses": (0.4, 1),
    "hat": (0.5, 1),
    "dark": (1, 5),
    "bright": (0.5, 2.5),
    "blur": (0.05, 0.13),
    "motion": (0.1, 0.45),
    "noise": (5, 30),
    "jpeg": (6, 50),
}
"""By its name in `mien.ops.degrade`: from which strength to which."""
_WORN = ("mask", "glasses", "hat")


@dataclass(frozen=True)
class Augmentation:
    """Random changes, each with its own chance; `strength` scales how far geometry and light go, how often the rest.

    Attributes:
        strength: 0 changes nothing; 1 suits faces of 48 pixels.
        shift: largest shift, in parts of the side.
        scale: largest change of scale and (half of it) of aspect ratio, as a logarithm.
        rotation: standard deviation in degrees.
        flip: chance of mirroring.
        blur: chance of a Gaussian blur, or of a picture shown at a lower resolution.
        light: chance of another gamma, contrast and brightness.
        gradient: chance of light from one side.
        noise: chance of a sensor's noise.
        occlusion: chance of a hidden rectangle (random erasing, Zhong et al. 2017).
        grey: chance that a colour crop loses its colour.
        damage: chance of one more kind of damage: something worn (of any lightness), bad light, blur, noise, JPEG.
        framing: by the side of a crop, where a face's landmarks lie in it: where things are worn.
    """

    strength: float = 1.0
    shift: float = 0.07
    scale: float = 0.18
    rotation: float = 8.0
    flip: float = 0.5
    blur: float = 0.15
    light: float = 0.8
    gradient: float = 0.2
    noise: float = 0.15
    occlusion: float = 0.25
    grey: float = 0.3
    damage: float = 0.3
    framing: Framing = face_template

    def __call__(self, crop: ImageArray, size: int, rng: np.random.Generator) -> FloatArray:
        """Change a crop, and bring it to the network's size in the same interpolation.

        Args:
            crop: (S, S) grey or (S, S, 3) RGB, uint8.
            size: side of the result.
            rng: all that is random comes from it.

        Returns:
            (size, size) or (size, size, 3) float32 in [0, 255].
        """
        if self.strength <= 0:
            return enlarge(crop, size).astype(np.float32)
        if rng.random() < self.damage * self.strength:
            crop = _damaged(crop, np.array(self.framing(len(crop)), np.float32), rng)
        warped = _warp(crop, self._geometry(crop.shape[0], size, rng), size)
        pixels = self._blurred(warped, rng).astype(np.float32)
        if crop.ndim == 3 and rng.random() < self.grey * self.strength:
            pixels[:] = (pixels @ _LUMA)[:, :, None]
        self._relight(pixels, rng)
        if rng.random() < self.noise * self.strength:
            pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * rng.uniform(2, 10)
        np.clip(pixels, 0, 255, out=pixels)
        if rng.random() < self.occlusion * self.strength:
            height, width = (rng.uniform(0.1, 0.35, 2) * size).astype(int)
            y, x = rng.integers(0, size - height), rng.integers(0, size - width)
            pixels[y : y + height, x : x + width] = rng.uniform(0, 255)
        return pixels

    def _geometry(self, source: int, size: int, rng: np.random.Generator) -> Affine:
        """(2, 3) from crop to network input: scaled, turned, squeezed, mirrored, shifted about the centre."""
        s = min(self.strength, 2.0)
        zoom = np.exp(rng.uniform(-self.scale, self.scale) * s)
        aspect = np.exp(rng.uniform(-self.scale, self.scale) * s * 0.4)
        angle = np.deg2rad(rng.normal() * self.rotation * s)
        mirrored = -1.0 if rng.random() < self.flip else 1.0
        shift = rng.uniform(-self.shift, self.shift, 2) * s * size
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = size / source * zoom * turn @ np.diag([aspect * mirrored, 1.0])
        return np.column_stack([linear, (size - 1) / 2 + shift - linear @ ([(source - 1) / 2] * 2)])

    def _blurred(self, pixels: ImageArray, rng: np.random.Generator) -> ImageArray:
        if rng.random() >= self.blur * self.strength:
            return pixels
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.6, 2.2)), dtype=np.uint8)

    def _relight(self, pixels: FloatArray, rng: np.random.Generator) -> None:
        """Another gamma, contrast and brightness, and light from one side; in place, may leave [0, 255]."""
        s = min(self.strength, 2.0)
        if rng.random() < self.light:
            gamma, contrast = np.exp(rng.uniform(-0.4, 0.4) * s), np.exp(rng.uniform(-0.35, 0.35) * s)
            np.power(pixels / 255, np.float32(gamma), out=pixels)
            pixels *= 255
            mean = pixels.mean()
            pixels -= mean
            pixels *= np.float32(contrast)
            pixels += mean + np.float32(rng.uniform(-25, 25) * s)
        if rng.random() < self.gradient * s:
            angle, depth = rng.uniform(0, 2 * np.pi), np.float32(rng.uniform(10, 50))
            across = np.linspace(-1, 1, pixels.shape[0], dtype=np.float32)
            light = depth * (np.float32(np.cos(angle)) * across + np.float32(np.sin(angle)) * across[:, None])
            pixels += light if pixels.ndim == 2 else light[:, :, None]


def enlarge(crop: ImageArray, size: int) -> ImageArray:
    """Bring a crop to the network's size as the exported graph does: bilinear, pixel centres at half integers.

    Args:
        crop: (S, S) or (S, S, 3) uint8.
        size: side of the result.
    """
    if crop.shape[0] == size:
        return np.ascontiguousarray(crop)
    return np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _damaged(crop: ImageArray, landmarks: FloatArray, rng: np.random.Generator) -> ImageArray:
    """One kind of damage to a crop of either shape; `landmarks` (5, 2) are where its face is taken to be."""
    kind = str(rng.choice(list(_DAMAGE)))
    colour = crop if crop.ndim == 3 else np.repeat(crop[:, :, None], 3, axis=2)
    worse = degrade(colour, landmarks, kind, rng.uniform(*_DAMAGE[kind]))
    if kind in _WORN:  # people wear more than one colour
        worn = (worse != colour).any(axis=2, keepdims=True)
        shift = rng.integers(-160, 161) if crop.ndim == 2 else rng.integers(-160, 161, 3)
        worse = np.where(worn, np.clip(worse.astype(np.int16) + shift, 0, 255), worse).astype(np.uint8)
    return worse if crop.ndim == 3 else worse[:, :, 0]


def _warp(crop: ImageArray, transform: Affine, size: int) -> ImageArray:
    warped = cv2.warpAffine(crop, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)
