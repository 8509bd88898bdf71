"""How small, and how far turned, a face may be for the default detector: 400 pictures of lfw_dev, shrunk and rotated.

    python recipes/detector_limits.py --data ../shared/data

Prints the part of pictures whose central face is found (centre within half of its width).
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np

from mien import FaceAnalyzer, Faces, load_image
from mien.types import ImageArray

WIDTHS = (8, 10, 12, 16, 24, 40)
ANGLES = (0, 15, 30, 45, 60, 75, 90, 180)


def moved(image: ImageArray, scale: float, angle: float) -> ImageArray:
    """The picture shrunk and rotated about its centre, on 256 x 256."""
    centre = (image.shape[1] / 2, image.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(centre, angle, 1.0)
    turned = cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR)
    small = cv2.resize(turned, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((256, 256, 3), 127, np.uint8)
    y, x = (256 - small.shape[0]) // 2, (256 - small.shape[1]) // 2
    canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    return canvas


def found(faces: Faces, centre: np.ndarray, width: float) -> bool:
    """Whether a face is where it should be."""
    middles = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    return bool((np.linalg.norm(middles - centre, axis=1) < width / 2).any())


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    detect = FaceAnalyzer(only=("detect",)).load()
    with zipfile.ZipFile(data / "lfw_dev.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".jpg"))[::10][:400]
        images = [load_image(archive.read(name)) for name in names]
    subjects = [faces.largest() for faces in detect(images)]
    widths = [float(f.boxes[0, 2] - f.boxes[0, 0]) for f in subjects]
    middles = [(f.boxes[0, :2] + f.boxes[0, 2:]) / 2 - 125 for f in subjects]
    rows = list(zip(images, widths, middles, strict=True))
    for target in WIDTHS:
        hits = [
            found(detect(moved(image, target / w, 0)), middle * target / w + 128, target) for image, w, middle in rows
        ]
        sys.stdout.write(f"face {target} pixels wide: {np.mean(hits):.3f}\n")
    for angle in ANGLES:
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        turn = np.array([[cos, sin], [-sin, cos]])
        hits = [found(detect(moved(image, 1.0, angle)), turn @ middle + 128, w) for image, w, middle in rows]
        sys.stdout.write(f"rotated {angle} degrees: {np.mean(hits):.3f}\n")


if __name__ == "__main__":
    main()
