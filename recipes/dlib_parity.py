"""Makes tests/fixtures/dlib_reference.npz: chips of the public-domain photographs, and dlib's own embeddings of them.

Needs `pip install dlib-bin` (development only). Run from the project's root: python recipes/dlib_parity.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import dlib
import numpy as np

from mien import FaceAnalyzer, WeightsStore, load_image
from mien.models import registry
from mien.models.base import RuntimeOptions
from mien.models.dlib_resnet import RECORD
from mien.ops import align

PHOTOS = ("tests/photos/grace_hopper.jpg", "tests/photos/astronaut.jpg")
TARGET = Path("tests/fixtures/dlib_reference.npz")


def main() -> None:
    """Write the fixture, and say how far mien is from it."""
    detector = FaceAnalyzer(only=("detect",))
    chips = []
    for photo in PHOTOS:
        image = load_image(photo)
        faces = detector(image).largest()
        crop = RECORD.crop
        assert crop is not None
        transforms = align.crop_transforms(faces, crop.template_array(), crop.size)
        chip = align.extract_crops(image, transforms, crop.size)[0]
        chips += [chip, np.ascontiguousarray(chip[:, ::-1])]
    batch = np.stack(chips)
    store = WeightsStore()
    reference = dlib.face_recognition_model_v1(str(store.path(RECORD.weights)))
    expected = np.stack([np.array(reference.compute_face_descriptor(chip)) for chip in batch]).astype(np.float32)
    mine = registry.load(registry.entry("dlib-resnet"), store, RuntimeOptions())(batch)
    sys.stdout.write(f"largest L2 distance to dlib: {np.linalg.norm(mine - expected, axis=1).max():.2e}\n")
    np.savez_compressed(TARGET, chips=batch, embeddings=expected)


if __name__ == "__main__":
    main()
