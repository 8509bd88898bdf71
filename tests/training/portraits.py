"""Small real sets: crops of two public-domain portraits, shifted, turned and lit in many ways."""

from __future__ import annotations

import cv2
import numpy as np

from mien.datasets.base import ImageSet
from mien.ops.image import load_image
from tests.conftest import PHOTOS

FACES = {"Collins": ("astronaut.jpg", (224, 118), 62), "Hopper": ("grace_hopper.jpg", (266, 190), 130)}
"""Person -> picture, centre of the face, half of its side, in pixels."""


def variants(person: str, count: int, size: int = 48, seed: int = 0) -> list[np.ndarray]:
    """`count` crops (size, size, 3) uint8 of a person's face; the first `n` are the same for every count."""
    file, (x, y), half = FACES[person]
    photo = load_image(PHOTOS / file)
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        centre = (x + rng.normal() * half * 0.05, y + rng.normal() * half * 0.05)
        scale = size / (2 * half) * rng.uniform(0.9, 1.1)
        matrix = cv2.getRotationMatrix2D(centre, rng.normal() * 6, scale)
        matrix[:, 2] += size / 2 - np.array(centre)
        crop = cv2.warpAffine(photo, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        made.append(np.clip(crop * rng.uniform(0.7, 1.2) + rng.normal(0, 6, crop.shape), 0, 255).astype(np.uint8))
    return made


def mirrored_people(count: int, *, size: int = 48, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Four classes of two people: each as they are, and upside down."""
    people = {person: variants(person, count, size, seed) for person in FACES}
    upside_down = {f"{person} reversed": [crop[::-1].copy() for crop in crops] for person, crops in people.items()}
    return people | upside_down


def as_set(classes: dict[str, list[np.ndarray]], name: str = "portraits") -> ImageSet:
    pictures = [crop for crops in classes.values() for crop in crops]
    truth = np.repeat(np.arange(len(classes)), [len(crops) for crops in classes.values()]).astype(np.int64)
    return ImageSet(
        name=name,
        protocol="one folder per class",
        labels=tuple(classes),
        items=[f"{name}/{i}" for i in range(len(pictures))],
        targets=np.eye(len(classes), dtype=np.float32)[truth],
        truth=truth,
        read=pictures.__getitem__,
    )
