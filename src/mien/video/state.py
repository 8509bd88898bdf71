"""What is known at a moment of a video, as arrays and text: with it, another process goes on as if nothing had been.

A state holds the looks at everybody who can still come back, so embeddings of them: whoever keeps it keeps it private.
Nothing in it is executed, and what is read is checked: files can be damaged, or forged.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mien.video.appearance import KEPT, Look, Looks
from mien.video.motion import BoxFilter
from mien.video.tracking import Past, Track, Tracker

Arrays = Mapping[str, npt.NDArray[Any]]

_TOLD = "told"
_NUMBERS = ("number", "hits", "score", "born", "last_seen", "seen")
"""Of a track, as one row of float64."""


@dataclass(frozen=True, eq=False)
class State:
    """What a `VideoAnalyzer` knows after a frame.

    Attributes:
        time: seconds, of the frame.
        told: what is text and numbers, JSON-ready.
        arrays: the rest.
    """

    time: float
    told: Mapping[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """About how much room it takes."""
        return sum(array.nbytes for array in self.arrays.values())

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As it is kept."""
        return {**self.arrays, _TOLD: np.array(json.dumps([self.time, self.told]))}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """As it was kept.

        Raises:
            ValueError, KeyError, TypeError: it was not kept by `to_arrays`.
        """
        time, told = json.loads(str(arrays[_TOLD]))
        return cls(float(time), dict(told), {name: array for name, array in arrays.items() if name != _TOLD})


def of_tracker(tracker: Tracker) -> dict[str, npt.NDArray[Any]]:
    """A tracker as arrays."""
    tracks, gone = tracker.tracks, tracker.remembered
    numbers = [[float(getattr(track, name)) for name in _NUMBERS] for track in tracks]
    return {
        "started": np.array(tracker.started),
        "tracks": np.array(numbers, dtype=np.float64).reshape(-1, len(_NUMBERS)),
        "boxes": _stacked([track.box for track in tracks], np.float32, 4),
        "landmarks": _stacked([track.landmarks for track in tracks], np.float32, 5, 2),
        "motion": _stacked([track.motion.to_array() for track in tracks], np.float64, BoxFilter.NUMBERS),
        "gone": np.array([(number, past.until) for number, past in gone.items()], dtype=np.float64).reshape(-1, 2),
        **_of_looks([*(track.looks for track in tracks), *(past.looks for past in gone.values())]),
    }


def to_tracker(tracker: Tracker, arrays: Arrays, dimensions: int) -> None:
    """Let a new tracker go on.

    Args:
        tracker: at which nothing was seen yet.
        arrays: as `of_tracker` made them.
        dimensions: of embeddings.

    Raises:
        ValueError, KeyError: they are not.
    """
    rows, gone = arrays["tracks"], arrays["gone"]
    boxes, landmarks, motion = arrays["boxes"], arrays["landmarks"], arrays["motion"]
    n = len(rows)
    shapes = [(n, len(_NUMBERS)), (n, 4), (n, 5, 2), (n, BoxFilter.NUMBERS), (len(gone), 2), ()]
    found = (rows, boxes, landmarks, motion, gone, arrays["started"])
    if [array.shape for array in found] != shapes or not all(np.isfinite(array).all() for array in found):
        raise ValueError("tracks do not fit")
    looks = _to_looks(arrays, n + len(gone), dimensions)
    for i, (number, hits, score, born, last_seen, seen) in enumerate(rows.tolist()):
        box, marks = boxes[i].astype(np.float32), landmarks[i].astype(np.float32)
        filter_ = BoxFilter.from_array(motion[i])
        made = Track(int(number), box, marks, score, filter_, next(looks), int(hits), born, last_seen, bool(seen))
        tracker.tracks.append(made)
    tracker.remembered = OrderedDict((int(number), Past(next(looks), until)) for number, until in gone.tolist())
    tracker.started = int(arrays["started"])


def _of_looks(everybody: Sequence[Looks]) -> dict[str, npt.NDArray[Any]]:
    """Looks at each of P people: a row for each, with whose it is, whether it is kept, and whether it is the latest."""
    rows: list[tuple[float, ...]] = []
    embeddings = []
    for whose, looks in enumerate(everybody):
        for look in _each(looks):
            kept = any(look is other for other in looks.kept)
            rows.append((whose, kept, look is looks.latest, look.quality, look.time))
            embeddings.append(look.embedding)
    return {
        "look": np.array(rows, dtype=np.float64).reshape(-1, 5),
        "embedding": np.stack(embeddings) if embeddings else np.zeros((0, 0), dtype=np.float32),
        "looked": np.array([looks.count for looks in everybody], dtype=np.int64),
    }


def _each(looks: Looks) -> Iterator[Look]:
    yield from looks.kept
    if looks.latest is not None and not any(looks.latest is look for look in looks.kept):
        yield looks.latest


def _to_looks(arrays: Arrays, people: int, dimensions: int) -> Iterator[Looks]:
    """Back again.

    Raises:
        ValueError: they do not fit, there are too many at one, or they are not of `dimensions`.
    """
    rows, embeddings, counts = arrays["look"], arrays["embedding"], arrays["looked"]
    shapes = [(len(rows), 5), (len(rows), dimensions if len(rows) else 0), (people,)]
    if [array.shape for array in (rows, embeddings, counts)] != shapes or not np.isfinite(embeddings).all():
        raise ValueError("looks do not fit")
    made = [Looks(count=count) for count in counts.tolist()]
    for (whose, kept, latest, quality, time), embedding in zip(rows.tolist(), embeddings, strict=True):
        if not 0 <= whose < people or (kept and len(made[int(whose)].kept) == KEPT):
            raise ValueError("looks do not fit")
        looks, look = made[int(whose)], Look(embedding.astype(np.float32), quality, time)
        if kept:
            looks.kept.append(look)
        if latest:
            looks.latest = look
    return iter(made)


def _stacked(arrays: Iterable[npt.NDArray[Any]], kind: Any, *shape: int) -> npt.NDArray[Any]:
    return np.array(list(arrays), dtype=kind).reshape(-1, *shape)
