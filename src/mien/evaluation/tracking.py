"""How well faces were followed: CLEAR MOT counts (Bernardin and Stiefelhagen 2008) and IDF1 (Ristani et al. 2016)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.ops import boxes as box_ops
from mien.types import FloatArray
from mien.video.assignment import assign

OVERLAP = 0.4
"""IoU from which a box is where a labelled face is."""


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """One frame, as it is or as it was found.

    Attributes:
        who: N people, or track numbers; none twice.
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        unsure: (M, 4), places where faces that are found count neither for nor against.

    Raises:
        ValueError: there are not as many boxes as people, or somebody is there twice.
    """

    who: tuple[Hashable, ...]
    boxes: FloatArray
    unsure: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.who), 4):
            raise ValueError(f"boxes have shape {self.boxes.shape}, expected {(len(self.who), 4)}")
        if len(set(self.who)) != len(self.who):
            raise ValueError(f"somebody is in one frame twice: {self.who}")


@dataclass(frozen=True)
class TrackingScores:
    """What was counted over labelled frames.

    Attributes:
        faces: that were labelled.
        people: who were labelled.
        tracks: numbers on labelled faces.
        missed: labelled faces that were not found.
        invented: faces that were found where there are none.
        switches: times that a person has another number than when they were found last.
        idf1: F1 of faces that have the number which fits their person best over the whole video, in [0, 1].
        mota: 1 - (missed + invented + switches) / faces.
    """

    faces: int
    people: int
    tracks: int
    missed: int
    invented: int
    switches: int
    idf1: float
    mota: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def score_tracks(pairs: Iterable[tuple[LabelledFrame, LabelledFrame]], *, overlap: float = OVERLAP) -> TrackingScores:
    """Compare what was found with what there is.

    Args:
        pairs: (what there is, what was found) of each labelled frame, in order.
        overlap: IoU from which both are the same face.

    Raises:
        ValueError: there are no labelled faces.
    """
    together: dict[tuple[Hashable, Hashable], int] = {}
    last: dict[Hashable, Hashable] = {}
    people: set[Hashable] = set()
    faces = found = missed = invented = switches = 0
    for truth, answer in pairs:
        chosen = _matched(truth, answer, last, overlap)
        ignored = _ignored(truth, answer, set(chosen.values()), overlap)
        faces += len(truth.who)
        people |= set(truth.who)
        found += len(answer.who) - ignored
        missed += len(truth.who) - len(chosen)
        invented += len(answer.who) - ignored - len(chosen)
        for i, j in chosen.items():
            person, number = truth.who[i], answer.who[j]
            switches += person in last and last[person] != number
            last[person] = number
            together[person, number] = together.get((person, number), 0) + 1
    if not faces:
        raise ValueError("no face is labelled")
    right = _rightly_named(together)
    return TrackingScores(
        faces=faces,
        people=len(people),
        tracks=len({number for _, number in together}),
        missed=missed,
        invented=invented,
        switches=switches,
        idf1=2 * right / (faces + found),
        mota=1 - (missed + invented + switches) / faces,
    )


def _matched(
    truth: LabelledFrame, answer: LabelledFrame, last: dict[Hashable, Hashable], overlap: float
) -> dict[int, int]:
    """Positions of labelled faces to those of found ones: who goes on as before first, then the best overlaps."""
    if not truth.who or not answer.who:
        return {}
    overlaps = box_ops.iou(truth.boxes, answer.boxes).astype(np.float64)
    continued = np.array([[last.get(person) == number for number in answer.who] for person in truth.who])
    return dict(assign(np.where(overlaps >= overlap, -overlaps - 2.0 * continued, np.inf)))


def _ignored(truth: LabelledFrame, answer: LabelledFrame, taken: set[int], overlap: float) -> int:
    """How many of the found faces, but those that were matched, lie where nobody is sure."""
    if truth.unsure is None or not len(truth.unsure) or not answer.who:
        return 0
    near = np.flatnonzero(box_ops.iou(answer.boxes, truth.unsure).max(axis=1) >= overlap)
    return len(set(near.tolist()) - taken)


def _rightly_named(together: dict[tuple[Hashable, Hashable], int]) -> int:
    """The most faces that can have their person's number, where each person has one and each number one person."""
    people = list(dict.fromkeys(person for person, _ in together))
    numbers = list(dict.fromkeys(number for _, number in together))
    counts: npt.NDArray[np.float64] = np.zeros((len(people), len(numbers)))
    for (person, number), count in together.items():
        counts[people.index(person), numbers.index(number)] = count
    return int(sum(counts[i, j] for i, j in assign(-counts)))
