"""`ImageSet`: labelled pictures that are read one by one, whatever layout they lie in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from mien.types import FloatArray, ImageArray

IndexArray = npt.NDArray[np.int64]
NO_ANSWER = -1
"""In `ImageSet.truth`: the protocol gives no answer for this picture, and nothing is measured on it."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N labelled pictures. Holds their labels; the pictures stay where they are until `read`.

    Attributes:
        name: as reports call it, such as "FER+ validation".
        protocol: how `truth` was made, in a few words.
        labels: the C classes.
        items: N names of pictures, as messages show them.
        targets: (N, C) float32, the shares of the classes that a network is trained towards: rows sum to 1 (one 1, or
            the shares of several raters' votes); a row of zeros is not for training.
        truth: (N,) int64, the class that counts when a model is measured, or `NO_ANSWER`.
        read: gives picture i as (H, W, 3) uint8 RGB; may be called by several threads at once; raises ImageError
            (with the picture's name) where it cannot.
    """

    name: str
    protocol: str
    labels: tuple[str, ...]
    items: Sequence[str]
    targets: FloatArray
    truth: IndexArray
    read: Callable[[int], ImageArray]

    def __post_init__(self) -> None:
        n, c = len(self.items), len(self.labels)
        if self.targets.shape != (n, c) or self.truth.shape != (n,):
            raise ValueError(f"{n} items of {c} labels, but targets {self.targets.shape}, truth {self.truth.shape}")

    def __len__(self) -> int:
        return len(self.items)

    def subset(self, indices: npt.NDArray[np.integer] | Sequence[int], *, name: str | None = None) -> ImageSet:
        """The pictures at these positions, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        read = self.read
        return replace(
            self,
            name=name or self.name,
            items=[self.items[i] for i in chosen],
            targets=self.targets[chosen],
            truth=self.truth[chosen],
            read=lambda i: read(int(chosen[i])),
        )

    def for_training(self) -> ImageSet:
        """The pictures that have a target."""
        return self.subset(np.flatnonzero(self.targets.any(axis=1)))

    def for_measuring(self) -> ImageSet:
        """The pictures that have an answer under the protocol."""
        return self.subset(np.flatnonzero(self.truth != NO_ANSWER))

    def split(self, fraction: float) -> tuple[ImageSet, ImageSet]:
        """Set a part aside, chosen by the pictures' own pixels.

        Needs no seed, does not depend on order or names, and equal pictures (data sets hold many) stay together.

        Args:
            fraction: of the pictures that is set aside, about.

        Returns:
            The rest, and the part set aside.
        """
        aside = np.array([_position(self.read(i)) < fraction for i in range(len(self))], dtype=bool)
        return self.subset(np.flatnonzero(~aside)), self.subset(np.flatnonzero(aside))


def _position(picture: ImageArray) -> float:
    """Where in [0, 1) a picture falls, by the hash of its pixels."""
    return int.from_bytes(sha256(picture.tobytes()).digest()[:8], "big") / 2**64
