"""Tracks: what the expression network says of one face, frame by frame, with what is true where that is known.

Temporal networks learn from these and are measured on them; pictures are not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.datasets.base import NO_ANSWER, IndexArray
from mien.datasets.sequences import Sequence as FaceSequence
from mien.errors import DataError
from mien.ops.atomic import written_whole
from mien.types import FloatArray, ImageArray

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Track:
    """One face over T frames.

    Attributes:
        times: (T,) float64 seconds, rising.
        scores: (T, C) float32, the expression network's probabilities.
        seen: (T,) bool, False where there is no face to be seen and the scores mean nothing.
        truth: (T,) int64, what the face shows, or `NO_ANSWER`.

    Raises:
        ValueError: there are not as many of each, or none.
    """

    times: Floats
    scores: FloatArray
    seen: Bools
    truth: IndexArray

    def __post_init__(self) -> None:
        n = len(self.times)
        if not n or self.scores.shape[:1] != (n,) or self.seen.shape != (n,) or self.truth.shape != (n,):
            raise ValueError(f"{n} times, scores {self.scores.shape}, seen {self.seen.shape}, truth {self.truth.shape}")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def elapsed(self) -> FloatArray:
        """(T,) float32 seconds since the frame before; 0 for the first."""
        return np.diff(self.times, prepend=self.times[:1]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class TrackSet:
    """Tracks of one origin.

    Attributes:
        name: as reports call it.
        labels: the C expressions.
        tracks: the tracks.
    """

    name: str
    labels: tuple[str, ...]
    tracks: Sequence[Track]

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def frames(self) -> int:
        """How many there are in all."""
        return sum(map(len, self.tracks))

    @property
    def digest(self) -> str:
        """SHA-256 of all that the tracks hold."""
        found = hashlib.sha256("\n".join(self.labels).encode())
        for track in self.tracks:
            for array in (track.times, track.scores, track.seen, track.truth):
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def tracks_of(sequences: Iterable[FaceSequence], classify: Callable[[ImageArray], FloatArray]) -> Iterable[Track]:
    """What a classifier of crops says of each frame of sequences.

    Args:
        sequences: of grey crops.
        classify: (N, S, S, 3) uint8 RGB crops to (N, C) probabilities.
    """
    for sequence in sequences:
        colour = np.repeat(sequence.crops[:, :, :, None], 3, axis=3)
        yield Track(sequence.times, classify(colour), sequence.seen, sequence.truth)


def save_tracks(path: Path, tracks: TrackSet) -> None:
    """Write tracks as a NumPy archive, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    joined: dict[str, Any] = {name: np.concatenate([getattr(t, name) for t in tracks.tracks]) for name in _ARRAYS}
    try:
        with written_whole(path) as temporary, temporary.open("wb") as file:
            lengths = np.array([len(track) for track in tracks.tracks])
            np.savez(file, lengths=lengths, labels=np.array(tracks.labels), name=np.array(tracks.name), **joined)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def load_tracks(path: Path) -> TrackSet:
    """Read what `save_tracks` wrote.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            ends = np.cumsum(archive["lengths"])[:-1]
            arrays = [np.split(archive[name].astype(kind), ends) for name, kind in _ARRAYS.items()]
            labels = tuple(map(str, archive["labels"]))
            name = str(archive["name"])
        tracks = [Track(*parts) for parts in zip(*arrays, strict=True)]
        if not all(track.scores.shape == (len(track), len(labels)) for track in tracks):
            raise ValueError("scores do not fit the labels")
        if not all(track.truth.min() >= NO_ANSWER and track.truth.max() < len(labels) for track in tracks):
            raise ValueError("what is true is none of the labels")
    except Exception as error:  # zip and npy files that are not trusted meet nearly every exception there is
        raise DataError(f"{path}: not a file of tracks, or damaged; remove it, and it is made again") from error
    return TrackSet(name, labels, tracks)


_ARRAYS: dict[str, type] = {"times": np.float64, "scores": np.float32, "seen": np.bool_, "truth": np.int64}
