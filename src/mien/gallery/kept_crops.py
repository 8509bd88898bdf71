"""Kept crops: a piece of the picture around a face, from which every embedder can align and embed it again.

A kept crop is a JPEG that also says, in its comment, where the face is in it: it needs no other record to be used. It
is cut straight out of the picture, upright as it was, with a margin that leaves the crops of all registered embedders
whole at any angle of the head, and reduced only where it would be larger than `MAX_SIDE`. An embedding from it is 0.02
(median, and 0.05 at most) from that of the picture, where two pictures of a person are 0.43 apart (dlib-resnet, 52
photographs).
"""

from __future__ import annotations

import io
import json
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin

from mien.errors import GalleryError, ImageError
from mien.models.arcface import CROP
from mien.ops import align
from mien.ops.image import load_image
from mien.types import Faces, ImageArray

MAX_SIDE = 512
"""Of a kept crop, in pixels; a face of about 200 pixels' width is kept as it is."""
MAX_BYTES = 2 * 1024 * 1024
_FORMAT = 1
_MARGIN = 0.25  # of the side of ArcFace's crop, the widest of the registered embedders', at each side
_QUALITY = 95
_DECIMALS = 3


def make_crop(image: ImageArray, face: Faces) -> bytes:
    """Cut a face out of its picture, to be kept.

    Args:
        image: (H, W, 3) RGB uint8.
        face: `Faces` of length 1, with landmarks in that picture.

    Returns:
        A JPEG of at most 512 pixels a side (10 to 100 KB), which `read_crop` reads.

    Raises:
        ValueError: not one face.
    """
    if len(face) != 1:
        raise ValueError(f"one face makes a crop, not {len(face)}")
    x1, y1, x2, y2 = _region(image, face)
    piece = image[y1:y2, x1:x2]
    scale = min(1.0, MAX_SIDE / max(piece.shape[:2]))
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in (x2 - x1, y2 - y1))
        piece = np.asarray(cv2.resize(piece, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    # pixel centres are at integers: the centre of the corner pixel stays half a pixel from the corner
    sizes = np.array([piece.shape[1] / (x2 - x1), piece.shape[0] / (y2 - y1)])
    shift = np.array([x1, y1])
    moved = {
        "landmarks": (face.landmarks[0] + 0.5 - shift) * sizes - 0.5,
        "box": ((face.boxes[0].reshape(2, 2) + 0.5 - shift) * sizes - 0.5).ravel(),
    }
    record = {name: np.round(values.astype(np.float64), _DECIMALS).tolist() for name, values in moved.items()}
    comment = json.dumps({"mien-face": _FORMAT, **record, "score": round(float(face.scores[0]), 4)})
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(piece)).save(
        file, "JPEG", quality=_QUALITY, subsampling=0, comment=comment.encode()
    )
    return file.getvalue()


def read_crop(data: bytes) -> tuple[ImageArray, Faces]:
    """Read a kept crop; nothing in it is trusted.

    Returns:
        (H, W, 3) RGB uint8, and the one face in it, with landmarks in its pixels.

    Raises:
        GalleryError: it is damaged, or was not made by `make_crop`.
    """
    try:
        image = load_image(data, max_pixels=MAX_SIDE * MAX_SIDE, max_bytes=MAX_BYTES)
        record = json.loads(_comment(data))
        if not isinstance(record, dict) or record.get("mien-face") != _FORMAT:
            raise ValueError("it does not say where the face is")
        face = Faces(
            boxes=_numbers(record["box"], (1, 4)),
            scores=_numbers(record["score"], (1,)),
            landmarks=_numbers(record["landmarks"], (1, 5, 2)),
            image_size=(image.shape[1], image.shape[0]),
        )
    except (ImageError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise GalleryError(f"a kept crop cannot be used: {error}") from error
    return image, face


def _region(image: ImageArray, face: Faces) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of the part of the picture to keep: around the widest crop, turned as the head is."""
    height, width = image.shape[:2]
    to_crop = align.crop_transforms(face, CROP.template_array(), CROP.size)
    low, high = -_MARGIN * CROP.size, (1 + _MARGIN) * CROP.size
    corners = np.array([[[low, low], [high, low], [high, high], [low, high]]])
    outline = align.apply(align.invert(to_crop), corners)[0]
    x1, y1 = np.clip(np.floor(outline.min(axis=0)), 0, [width - 1, height - 1]).astype(int)
    x2, y2 = np.clip(np.ceil(outline.max(axis=0)) + 1, [x1 + 1, y1 + 1], [width, height]).astype(int)
    return int(x1), int(y1), int(x2), int(y2)


def _comment(data: bytes) -> bytes:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        comment = image.info.get("comment", b"")
    return bytes(comment)


def _numbers(value: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """A finite array of that shape.

    Raises:
        ValueError: it is not.
    """
    array = np.asarray(value, dtype=np.float32).reshape(shape)
    if not (np.abs(array) < 1e6).all():  # false for NaN
        raise ValueError("it says that the face is nowhere")
    return array
