"""The crops of a data set, read once: in memory, or in a file that the operating system pages where they are many."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from shutil import disk_usage

import cv2
import numpy as np

from mien.datasets.base import ImageSet, IndexArray
from mien.errors import DataError, ImageError
from mien.evaluation.expression import Cut
from mien.types import FloatArray, ImageArray

IN_MEMORY = 2 << 30
"""Bytes of crops up to which they are kept in memory."""
_READERS = 2
_AHEAD = 512


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops with their targets.

    Attributes:
        labels: the C classes.
        pixels: (N, S, S) grey or (N, S, S, 3) RGB, uint8.
        targets: (N, C) float32, rows sum to 1.
        truth: (N,) int64, -1 where the protocol of the set has no answer.
        name: of the set, as reports call it.
        protocol: how `truth` was made.
        left_out: number of pictures of the set that could not be read or showed no face.
        shared: number of crops left out because another part has them, see `without`.
    """

    labels: tuple[str, ...]
    pixels: ImageArray
    targets: FloatArray
    truth: IndexArray
    name: str
    protocol: str
    left_out: int = 0
    shared: int = 0

    def __len__(self) -> int:
        return len(self.pixels)

    def as_images(self) -> ImageSet:
        """The same as a set whose pictures are these crops, in RGB."""

        def read(i: int) -> ImageArray:
            crop = self.pixels[i]
            return crop if crop.ndim == 3 else np.repeat(crop[:, :, None], 3, axis=2)

        items = [str(i) for i in range(len(self))]
        return ImageSet(self.name, self.protocol, self.labels, items, self.targets, self.truth, read)

    def without(self, others: Crops) -> Crops:
        """These, less the crops that another part has too; they lie in the same place, which gives them up."""
        known = {sha256(crop.data).digest() for crop in map(np.ascontiguousarray, others.pixels)}
        new = [sha256(np.ascontiguousarray(crop).data).digest() not in known for crop in self.pixels]
        (kept,) = np.nonzero(np.array(new, dtype=bool))
        if len(kept) == len(self):
            return self
        if not len(kept):
            raise DataError(f"{self.name}: every picture is in the validation part too; nothing is left to learn from")
        pixels = _only(self.pixels, kept)
        shared = len(self) - len(kept)
        return replace(self, pixels=pixels, targets=self.targets[kept], truth=self.truth[kept], shared=shared)

    @property
    def digest(self) -> str:
        """SHA-256 over labels, pixels and targets: what a resumed run must find again."""
        digest = sha256(repr((self.labels, self.pixels.shape)).encode())
        for start in range(0, len(self), 4096):
            digest.update(np.ascontiguousarray(self.pixels[start : start + 4096]).data)
        digest.update(np.ascontiguousarray(self.targets).data)
        return digest.hexdigest()


def read_crops(
    images: ImageSet,
    cut: Cut,
    size: int,
    *,
    colour: bool,
    spill: Path | None = None,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Crops:
    """Read every picture of a set.

    Args:
        images: the set.
        cut: from picture to crop, or None where the picture shows no face.
        size: side of the crops that `cut` gives.
        colour: RGB, or grey.
        spill: file for crops that are too many for memory; its folder must have room for them.
        skip_unreadable: leave pictures out that cannot be read, instead of refusing the set.
        progress: called with (done, total).

    Raises:
        DataError: a picture cannot be read, and may not be skipped; no picture shows a face; or the disk is full.
    """
    shape = (len(images), size, size, *((3,) if colour else ()))
    pixels = np.empty(shape, np.uint8) if spill is None or math.prod(shape) <= IN_MEMORY else _spilled(spill, shape)
    unreadable: dict[int, ImageError] = {}
    faceless: set[int] = set()

    def read(i: int) -> None:
        try:
            crop = cut(images.read(i))
        except ImageError as error:
            unreadable[i] = error
            return
        if crop is None:
            faceless.add(i)
            return
        pixels[i] = crop if colour else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)

    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(images), _AHEAD):  # in pieces, so that an interrupt is not kept waiting
            end = min(start + _AHEAD, len(images))
            list(pool.map(read, range(start, end)))
            if progress is not None:
                progress(end, len(images))
    if unreadable and not skip_unreadable:
        others = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise DataError(
            f"{unreadable[min(unreadable)]}{others}; mend or remove it,"
            " or leave such pictures out with --skip-unreadable"
        )
    lost = unreadable.keys() | faceless
    if len(lost) == len(images):
        raise DataError(
            f"{images.name}: not one of {len(images)} pictures can be used (no face found in {len(faceless)})"
        )
    kept = np.setdiff1d(np.arange(len(images)), sorted(lost))
    return Crops(
        images.labels,
        _only(pixels, kept) if lost else pixels,
        images.targets[kept],
        images.truth[kept],
        images.name,
        images.protocol,
        left_out=len(lost),
    )


def _only(pixels: ImageArray, kept: IndexArray) -> ImageArray:
    """Those crops, moved together where they lie: a copy might not fit into memory."""
    for place, i in enumerate(kept):
        pixels[place] = pixels[i]
    return pixels[: len(kept)]


def _spilled(path: Path, shape: tuple[int, ...]) -> ImageArray:
    """A file for crops; writing to it on a full disk would end the process, so room is looked for first."""
    try:
        path.unlink(missing_ok=True)
        wanted, free = math.prod(shape), disk_usage(path.parent).free
        if wanted > free:
            raise DataError(
                f"{path}: the crops of the data set take {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free here;"
                " make room, or choose another --out"
            )
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    except OSError as error:
        raise DataError(f"{path}: the crops of the data set cannot be written: {error.strerror or error}") from error
