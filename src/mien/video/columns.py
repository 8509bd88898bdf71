"""Faces over time as columns: one row for each face at each moment, each column an array.

What is not known is NaN, or one of the two states below. A block of rows is checked when it is made: files that others
wrote become blocks, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from mien.answers import Index, slots
from mien.types import FloatArray

UNCERTAIN = -1
"""The state of a face that shows nothing clearly."""
UNKNOWN = -2
"""The state of a face whose expression nobody asked for, or nobody could see."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_DTYPES: Mapping[str, type[np.generic]] = {
    "time": np.float64, "seconds": np.float32, "frame": np.int64, "scene": np.int64, "track": np.int64,
    "seen": np.bool_, "boxes": np.float32, "scores": np.float32, "quality": np.float32, "pose": np.float32,
    "eyes": np.float32, "mouth": np.float32, "raw": np.float32, "smoothed": np.float32, "state": np.int8,
}  # fmt: skip
COLUMNS = tuple(_DTYPES)
_WIDTHS = {"boxes": 4, "pose": 3, "eyes": 2}
_LATEST = 1e10  # seconds
_PER_LABEL = ("raw", "smoothed")
OPTIONAL = ("quality", "pose", "eyes", "mouth", "raw", "smoothed")
"""Columns that are NaN throughout where they were not asked for."""


class Row(NamedTuple):
    """One face at one moment, as what is found over time looks at it.

    Attributes:
        time: seconds from the start of the source.
        end: until when it stands for the face, in seconds.
        track: number of the track.
        seen: whether it was seen, and not only expected there.
        state: position among the labels, `UNCERTAIN` or `UNKNOWN`.
        chance: the smoothed probability of the state; 0 where there is none.
        box: x1, y1, x2, y2 in pixels.
        yaw: degrees; NaN where unknown, as are the following.
        pitch: degrees.
        left: probability that the left eye is open.
        right: that the right one is.
        scene: number of the scene.
    """

    time: float
    end: float
    track: int
    seen: bool
    state: int
    chance: float
    box: tuple[float, float, float, float]
    yaw: float
    pitch: float
    left: float
    right: float
    scene: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """N rows, in order of time; index them to select some.

    Attributes:
        labels: the C expressions, in the order of the probabilities; empty where they were not asked for.
        time: (N,) float64, seconds from the start of the source.
        seconds: (N,) float32, for how long the row stands: until the next moment.
        frame: (N,) int64, number of the picture.
        scene: (N,) int64, number of the scene, from 0: another one begins with each cut.
        track: (N,) int64, from 1.
        seen: (N,) bool; False where a track was only expected there, through an occlusion.
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        scores: (N,) float32 in [0, 1], of the detector.
        quality: (N,) float32 in [0, 1].
        pose: (N, 3) float32, yaw, pitch and roll in degrees.
        eyes: (N, 2) float32, probability that the left and the right eye (as seen) are open.
        mouth: (N,) float32, probability that the mouth is open.
        raw: (N, C) float32, probabilities of the expressions, moment by moment.
        smoothed: (N, C) float32, the same over time.
        state: (N,) int8, what is shown: a position in `labels`, `UNCERTAIN` or `UNKNOWN`.

    Raises:
        ValueError: a column has another length or shape, a time is not finite or lies before the one above it, a track
            is not positive, or a state is no label.
    """

    labels: tuple[str, ...]
    time: Floats
    seconds: FloatArray
    frame: Ints
    scene: Ints
    track: Ints
    seen: npt.NDArray[np.bool_]
    boxes: FloatArray
    scores: FloatArray
    quality: FloatArray
    pose: FloatArray
    eyes: FloatArray
    mouth: FloatArray
    raw: FloatArray
    smoothed: FloatArray
    state: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        n = len(np.atleast_1d(self.time))
        for name, shape in _shapes(n, len(self.labels)).items():
            array = np.array(getattr(self, name), dtype=_DTYPES[name])
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if not (np.abs(self.time) < _LATEST).all() or (np.diff(self.time) < 0).any():
            raise ValueError("times are not in order, or no times")
        if not (np.isfinite(self.seconds).all() and (self.seconds >= 0).all()):
            raise ValueError("seconds are not above 0")
        if (self.track < 1).any():
            raise ValueError("tracks are not numbered from 1")
        if ((self.state < UNKNOWN) | (self.state >= len(self.labels))).any():
            raise ValueError(f"a state is none of the {len(self.labels)} expressions")

    @classmethod
    def of(cls, labels: Sequence[str], n: int, **columns: Any) -> Self:
        """N rows of which some columns are known; the others are unknown."""
        unknown = {name: np.full(shape, np.nan) for name, shape in _shapes(n, len(labels)).items() if name in OPTIONAL}
        state = np.full(n, UNKNOWN, dtype=np.int8)
        known = {"seconds": np.zeros(n), "scene": np.zeros(n), "state": state}
        return cls(tuple(labels), **{**unknown, **known, **columns})

    @classmethod
    def empty(cls, labels: Sequence[str] = ()) -> Self:
        """No rows."""
        shapes = _shapes(0, len(labels))
        return cls(tuple(labels), **{name: np.zeros(shape, dtype=_DTYPES[name]) for name, shape in shapes.items()})

    @classmethod
    def joined(cls, blocks: Iterable[Rows], labels: Sequence[str] = ()) -> Rows:
        """Blocks one after the other; without a block, no rows with these labels.

        Raises:
            ValueError: they have different labels, or are not in order.
        """
        held = list(blocks)
        if not held:
            return cls.empty(labels)
        if len({block.labels for block in held}) > 1:
            raise ValueError("blocks have different labels")
        return cls(
            held[0].labels, **{name: np.concatenate([getattr(block, name) for block in held]) for name in COLUMNS}
        )

    def __len__(self) -> int:
        return len(self.time)

    def __repr__(self) -> str:
        if not len(self):
            return "Rows(none)"
        tracks = len(np.unique(self.track))
        return f"Rows({len(self)}, {tracks} tracks, {self.time[0]:.2f} to {self.time[-1]:.2f} s)"

    def __getitem__(self, index: Index) -> Self:
        """Select rows by integer, slice, boolean mask or integer array in order of time; always `Rows`."""
        chosen = slots(index, len(self))
        return replace(self, **{name: getattr(self, name)[chosen] for name in COLUMNS})

    @property
    def known(self) -> frozenset[str]:
        """Those of `OPTIONAL` of which anything is known."""
        return frozenset(name for name in OPTIONAL if np.isfinite(getattr(self, name)).any())

    def moments(self) -> Iterator[Self]:
        """The rows of one moment after the other."""
        edges = [*np.flatnonzero(np.diff(self.time, prepend=-np.inf)).tolist(), len(self)]
        for start, end in pairwise(edges):
            yield self[start:end]

    def walk(self) -> Iterator[Row]:
        """Row by row."""
        inside = np.arange(len(self)), np.maximum(self.state, 0)
        chance = self.smoothed[inside] if self.labels else np.zeros(len(self))
        chance = np.where(self.state >= 0, np.nan_to_num(chance), 0.0)
        columns = (self.time, self.time + self.seconds, self.track, self.seen, self.state, chance, self.boxes)
        turned = (*self.pose.T[:2], *self.eyes.T, self.scene)
        for row in zip(*(column.tolist() for column in (*columns, *turned)), strict=True):
            yield Row(*row)


def _shapes(n: int, labels: int) -> dict[str, tuple[int, ...]]:
    """The shape of each column of N rows."""
    widths = {**_WIDTHS, **dict.fromkeys(_PER_LABEL, labels)}
    return {name: (n, widths[name]) if name in widths else (n,) for name in COLUMNS}


assert [f.name for f in fields(Rows)][1:] == list(COLUMNS)  # noqa: S101 - the two lists are one
