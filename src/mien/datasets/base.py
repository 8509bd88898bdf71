"""`ImageSet`: labelled pictures that are read one by one, whatever layout they lie in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from mien.errors import DataError, ImageError
from mien.types import FloatArray, ImageArray

IndexArray = npt.NDArray[np.int64]
Split: TypeAlias = Literal["train", "validation", "test"]
_Part = TypeVar("_Part")

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
        return replace(
            self,
            name=name or self.name,
            items=[self.items[i] for i in chosen],
            targets=self.targets[chosen],
            truth=self.truth[chosen],
            read=_Chosen(self.read, chosen),
        )

    def for_training(self) -> ImageSet:
        """The pictures that have a target."""
        return self.subset(np.flatnonzero(self.targets.any(axis=1)))

    def for_measuring(self) -> ImageSet:
        """The pictures that have an answer under the protocol."""
        return self.subset(np.flatnonzero(self.truth != NO_ANSWER))

    def split(self, fraction: float) -> tuple[ImageSet, ImageSet]:
        """Set a part of every class aside, chosen by the pictures' own pixels.

        Needs no seed, does not depend on order or names, and equal pictures (data sets hold many) stay together.

        A picture that cannot be read is not set aside: whoever reads the rest meets it there.

        Args:
            fraction: of each class that is set aside, about: at least one picture of those with two or more.

        Returns:
            The rest, and the part set aside.
        """
        positions = np.array([self._position(i) for i in range(len(self))])
        main = np.where(self.targets.any(axis=1), self.targets.argmax(axis=1), len(self.labels))
        aside = np.zeros(len(self), dtype=bool)
        for label in np.unique(main):
            (of_class,) = np.nonzero(main == label)
            aside[of_class] = _first(positions[of_class], fraction)
        return self.subset(np.flatnonzero(~aside)), self.subset(np.flatnonzero(aside))

    def _position(self, i: int) -> float:
        """Where in [0, 1) picture i falls, by the hash of its pixels; 1 where it cannot be read."""
        try:
            pixels = self.read(i)
        except ImageError:
            return 1.0
        return int.from_bytes(sha256(pixels.tobytes()).digest()[:8], "big") / 2**64


def _first(positions: npt.NDArray[np.float64], fraction: float) -> npt.NDArray[np.bool_]:
    """(N,) bool: the first `fraction`, equal ones together; neither none nor all, where that can be."""
    places = np.unique(positions[positions < 1])
    ranks = np.searchsorted(np.sort(positions), places, side="right")  # how many come with each place
    wanted = max(round(fraction * len(positions)), 1)
    possible = places[ranks < len(positions)]
    if not len(possible):
        return np.zeros(len(positions), dtype=bool)
    last = possible[np.abs(ranks[: len(possible)] - wanted).argmin()]
    chosen: npt.NDArray[np.bool_] = positions <= last
    return chosen


@dataclass(frozen=True, eq=False)
class _Chosen:
    """`read` of a subset; a class rather than a function in a function, so that worker processes can be sent it."""

    read: Callable[[int], ImageArray]
    indices: IndexArray

    def __call__(self, i: int) -> ImageArray:
        return self.read(int(self.indices[i]))


def one_hot(truth: IndexArray, classes: int) -> FloatArray:
    """(N, `classes`) float32 targets of pictures that each have one answer; zeros where it is `NO_ANSWER`."""
    targets = np.zeros((len(truth), classes), dtype=np.float32)
    (answered,) = np.nonzero(truth != NO_ANSWER)
    targets[answered, truth[answered]] = 1
    return targets


def choose_part(name: str, parts: Mapping[Split | None, _Part], split: Split | None) -> _Part:
    """The part of a data set that is asked for.

    Args:
        name: of the data set, for the message.
        parts: what there is, one or more; the key None stands for a data set that is not split.
        split: None means the only part there is; "train" also gives a data set that is not split.

    Raises:
        DataError: there is no such part, or several and none was asked for.
    """
    if split in parts:
        return parts[split]
    if split is None and len(parts) == 1:
        return next(iter(parts.values()))
    if split == "train" and None in parts:
        return parts[None]
    have = ", ".join(part or "one without a name" for part in parts)
    if split is None:
        raise DataError(f"{name}: it has several parts ({have}); say which one")
    raise DataError(f"{name}: it has no {split} part (it has: {have})")
