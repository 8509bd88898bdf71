"""Small pictures of parts of faces, open or closed: a table of numpy arrays, or a folder for each class."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from mien.datasets.base import ImageSet, one_hot
from mien.datasets.opening import open_image_set
from mien.errors import DataError
from mien.ops.files import printable
from mien.types import ImageArray

LABELS = ("closed", "open")
_PIXELS, _OPEN = "images", "open"
_KIND = f"a .npz with {_PIXELS!r} (N, H, W) uint8 and {_OPEN!r} (N,)"


def open_patches(path: str | os.PathLike[str]) -> ImageSet:
    """Open labelled pictures of eyes or of mouths.

    Args:
        path: a .npz with `images`, (N, H, W) grey or (N, H, W, 3) RGB uint8, and `open`, (N,) of 0 and 1; or a folder
            with the folders `closed` and `open`.

    Returns:
        The pictures, with the labels "closed" and "open".

    Raises:
        DataError: it is neither, or shows only one of both.
    """
    location = Path(path)
    if location.suffix.lower() == ".npz":
        return _from_arrays(location)
    images = open_image_set(location)
    if set(images.labels) != set(LABELS):
        found = ", ".join(map(printable, images.labels))
        raise DataError(f"{printable(location)}: has the folders {found}; 'closed' and 'open' are needed, or {_KIND}")
    order = [images.labels.index(label) for label in LABELS]
    truth = np.argsort(order)[images.truth]
    return replace(images, labels=LABELS, targets=images.targets[:, order], truth=truth)


def _from_arrays(path: Path) -> ImageSet:
    pixels, is_open = _read_arrays(path)
    name = printable(path)
    if pixels.dtype != np.uint8 or not _are_pictures(pixels.shape):
        raise DataError(f"{name}: {_PIXELS!r} are {pixels.shape} {pixels.dtype}; {_KIND} is needed")
    if is_open.shape != pixels.shape[:1] or is_open.dtype.kind not in "biuf" or not np.isin(is_open, (0, 1)).all():
        raise DataError(f"{name}: {_OPEN!r} is not a 0 or 1 for each of the {len(pixels)} pictures")
    truth = is_open.astype(np.int64)
    if len(set(truth)) < len(LABELS):
        raise DataError(f"{name}: shows no picture that is {LABELS[1 - truth[0]] if len(truth) else 'open or closed'}")

    def read(i: int) -> ImageArray:
        patch: ImageArray = pixels[i]
        return patch if patch.ndim == 3 else np.repeat(patch[:, :, None], 3, axis=2)

    items = [f"{name}[{i}]" for i in range(len(pixels))]
    return ImageSet(path.stem, "as labelled", LABELS, items, one_hot(truth, len(LABELS)), truth, read)


def _are_pictures(shape: tuple[int, ...]) -> bool:
    return min(shape, default=0) > 0 and (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3))


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays[_PIXELS], arrays[_OPEN]
    except KeyError as error:
        raise DataError(f"{printable(path)}: an array is missing; {_KIND} is needed") from error
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror or 'not a .npz file'})") from error
    except (ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{printable(path)}: not a .npz file of plain arrays; {_KIND} is needed") from error


def squared(patch: ImageArray, size: int) -> ImageArray:
    """Bring a picture of any shape to a square crop, whole: the edges of its shorter side are repeated.

    Args:
        patch: (H, W, 3) uint8.
        size: side of the crop.

    Returns:
        (size, size, 3) uint8; by area where the picture is larger, bilinear where it is smaller.
    """
    height, width = patch.shape[:2]
    side = max(height, width)
    above, before = (side - height) // 2, (side - width) // 2
    square = cv2.copyMakeBorder(
        patch, above, side - height - above, before, side - width - before, cv2.BORDER_REPLICATE
    )
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=how), dtype=np.uint8)
