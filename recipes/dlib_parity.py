"""Makes tests/fixtures/dlib_reference.npz: what dlib itself answers on the public-domain photographs.

Chips with dlib's embeddings of them, and boxes with dlib's five points in them (dlib rounds them to whole pixels).

Needs `pip install dlib-bin` (development only). Run from the project's root: python recipes/dlib_parity.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import dlib
import numpy as np
import numpy.typing as npt

from mien import FaceAnalyzer, WeightsStore, load_image
from mien.models import dlib_landmarks, dlib_resnet, registry
from mien.models.base import RuntimeOptions
from mien.ops import align

PHOTOS = ("tests/photos/grace_hopper.jpg", "tests/photos/astronaut.jpg")
TARGET = Path("tests/fixtures/dlib_reference.npz")
SHIFTS = (-9, 0, 13)  # of the box, in pixels: three for each face


def chips_of(analyzer: FaceAnalyzer) -> npt.NDArray[np.uint8]:
    """(4, 150, 150, 3): the face of each photograph, and its mirror image."""
    chips = []
    for photo in PHOTOS:
        image = load_image(photo)
        template = np.array(dlib_landmarks.CENTERFACE_TEMPLATE, dtype=np.float32)
        transforms = align.crop_transforms(analyzer(image).largest(), template, dlib_landmarks.CHIP_SIZE)
        chip = align.extract_crops(image, transforms, dlib_landmarks.CHIP_SIZE)[0]
        chips += [chip, chip[:, ::-1]]
    return np.stack(chips)


def boxes_of(analyzer: FaceAnalyzer, photo: str) -> npt.NDArray[np.int64]:
    """(3, 4) whole-pixel boxes around a photograph's face."""
    box = dlib_landmarks.dlib_boxes(analyzer(load_image(photo)).largest().landmarks)[0]
    return np.stack([np.rint(box).astype(np.int64) + shift for shift in SHIFTS])


def points_in(predictor: dlib.shape_predictor, photo: str, boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N, 5, 2) dlib's own."""
    image = load_image(photo)
    shapes = [predictor(image, dlib.rectangle(*(int(v) for v in box))) for box in boxes]
    return np.array([[(p.x, p.y) for p in shape.parts()] for shape in shapes])


def main() -> None:
    """Write the fixture, and say how far mien is from it."""
    analyzer, store = FaceAnalyzer(only=("detect",)), WeightsStore()
    chips = chips_of(analyzer)
    network = dlib.face_recognition_model_v1(str(store.path(dlib_resnet.RECORD.weights)))
    expected = np.stack([np.array(network.compute_face_descriptor(chip)) for chip in chips]).astype(np.float32)
    mine = registry.load(registry.entry("dlib-resnet"), store, RuntimeOptions(precision="float32"))(chips)
    sys.stdout.write(f"embeddings: largest L2 distance to dlib {np.linalg.norm(mine - expected, axis=1).max():.2e}\n")
    predictor = dlib.shape_predictor(str(store.path(dlib_landmarks.RECORD.weights)))
    boxes = np.stack([boxes_of(analyzer, photo) for photo in PHOTOS])
    points = np.stack([points_in(predictor, photo, b) for photo, b in zip(PHOTOS, boxes, strict=True)])
    np.savez_compressed(TARGET, chips=chips, embeddings=expected, boxes=boxes, points=points)


if __name__ == "__main__":
    main()
