"""What flows through mien: `Faces`, a struct of arrays, and the results of comparing them.

`Faces.to_dicts` is the one JSON schema; the command line, the server and files of results all print it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ImageArray = npt.NDArray[np.uint8]
Transforms = npt.NDArray[np.float64]
"""(N, 2, 3) from picture to crop: crop = M[:, :2] @ xy + M[:, 2]; pixel centres at integers."""

SCHEMA = 1
UNCERTAIN = "uncertain"
"""The answer of a classifier whose confidence is under its threshold."""

_DECIMALS_PIXELS = 2
_DECIMALS_SCORES = 4
_DECIMALS_EMBEDDING = 6


def _frozen(name: str, value: object, shape: tuple[int | None, ...]) -> FloatArray:
    """Copy to a read-only float32 array of `shape` (None: any length)."""
    array = np.array(value, dtype=np.float32)
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    array.flags.writeable = False
    return array


Index = int | slice | npt.NDArray[Any]
"""Selects faces: an integer, a slice, a boolean mask or an integer array."""


def _slots(index: Index, n: int) -> slice | npt.NDArray[Any]:
    """An index that keeps the axis, also where it is an integer."""
    return np.array([range(n)[index]]) if isinstance(index, (int, np.integer)) else index


@dataclass(frozen=True, eq=False, repr=False)
class Expressions:
    """What N faces show, as a struct of arrays; index it to select faces.

    Attributes:
        labels: the C expressions, in the order of the scores.
        scores: (N, C) float32, calibrated probabilities.
        threshold: confidence below which the answer is "uncertain".

    Raises:
        ValueError: there are not as many scores as labels.
    """

    labels: tuple[str, ...]
    scores: FloatArray
    threshold: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if not self.labels:
            raise ValueError("labels are empty")
        object.__setattr__(self, "scores", _frozen("expression scores", self.scores, (None, len(self.labels))))

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        shown = [f"{name} {p:.2f}" for name, p in zip(self.names[:5], self.confidence, strict=False)]
        return f"Expressions({', '.join(shown)}{', ...' if len(self) > 5 else ''})"

    def __iter__(self) -> Iterator[Self]:
        return (self[i : i + 1] for i in range(len(self)))

    def __getitem__(self, index: Index) -> Self:
        """Select faces, as `Faces` does; the result is always `Expressions`."""
        return replace(self, scores=self.scores[_slots(index, len(self))])

    @property
    def top(self) -> npt.NDArray[np.int64]:
        """(N,) int64: the most probable expression of each face, as a position in `labels`, however probable."""
        best: npt.NDArray[np.int64] = self.scores.argmax(axis=1).astype(np.int64)
        return best

    @property
    def confidence(self) -> FloatArray:
        """(N,) float32: the probability of `top`."""
        highest: FloatArray = self.scores.max(axis=1)
        return highest

    @property
    def names(self) -> list[str]:
        """The answer for each face: a label, or "uncertain" where the confidence is under the threshold."""
        pairs = zip(self.top, self.confidence, strict=True)
        return [self.labels[i] if p >= self.threshold else UNCERTAIN for i, p in pairs]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON-ready dict per face."""
        answers = zip(self.names, self.confidence, self.scores, strict=True)
        return [
            {
                "label": name,
                "confidence": round(float(confidence), _DECIMALS_SCORES),
                "scores": dict(zip(self.labels, _rounded(scores, _DECIMALS_SCORES), strict=True)),
            }
            for name, confidence, scores in answers
        ]


@dataclass(frozen=True, eq=False, repr=False)
class Faces:
    """The faces of one picture, as a struct of arrays; index it to select faces.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the displayed image (after EXIF orientation).
        scores: (N,) float32 in [0, 1].
        landmarks: (N, 5, 2) float32, xy in pixels: left eye, right eye (as seen in the picture), nose tip, left
            and right mouth corner.
        image_size: (width, height) of the picture.
        embeddings: (N, D) float32, or None where they were not asked for.
        expressions: what the N faces show, or None where it was not asked for.

    Raises:
        ValueError: an array has the wrong shape.
    """

    boxes: FloatArray
    scores: FloatArray
    landmarks: FloatArray
    image_size: tuple[int, int]
    embeddings: FloatArray | None = None
    expressions: Expressions | None = None

    def __post_init__(self) -> None:
        boxes = _frozen("boxes", self.boxes, (None, 4))
        n = len(boxes)
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", _frozen("scores", self.scores, (n,)))
        object.__setattr__(self, "landmarks", _frozen("landmarks", self.landmarks, (n, 5, 2)))
        if self.embeddings is not None:
            object.__setattr__(self, "embeddings", _frozen("embeddings", self.embeddings, (n, None)))
        if self.expressions is not None and len(self.expressions) != n:
            raise ValueError(f"expressions are of {len(self.expressions)} faces, expected {n}")

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> Self:
        """No faces."""
        none = np.zeros(0, dtype=np.float32)
        return cls(none.reshape(0, 4), none, none.reshape(0, 5, 2), image_size)

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        width, height = self.image_size
        extra = "" if self.embeddings is None else f", embeddings of {self.embeddings.shape[1]}"
        extra += "" if self.expressions is None else ", expressions"
        return f"Faces({len(self)} in {width} x {height}{extra})"

    def __iter__(self) -> Iterator[Self]:
        return (self[i : i + 1] for i in range(len(self)))

    def __getitem__(self, index: Index) -> Self:
        """Select faces by integer, slice, boolean mask or integer array; the result is always `Faces`."""
        chosen = _slots(index, len(self))
        per_face: dict[str, Any] = {
            f.name: value[chosen]
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), (np.ndarray, Expressions))
        }
        return replace(self, **per_face)

    @property
    def areas(self) -> FloatArray:
        """(N,) float32: area of each box in square pixels."""
        return (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])

    def largest(self) -> Self:
        """The face with the largest box, as `Faces` of length 1 (0 where there is none)."""
        return self[int(np.argmax(self.areas))] if len(self) else self

    def with_embeddings(self, embeddings: FloatArray) -> Self:
        """The same faces with their embeddings, (N, D)."""
        return replace(self, embeddings=embeddings)

    def with_expressions(self, expressions: Expressions) -> Self:
        """The same faces with what they show."""
        return replace(self, expressions=expressions)

    def to_dicts(self, *, embeddings: bool = True) -> list[dict[str, Any]]:
        """One JSON-ready dict per face; what was not computed is absent.

        Args:
            embeddings: whether to include the embeddings (if there are any).
        """
        out: list[dict[str, Any]] = []
        shown = None if self.expressions is None else self.expressions.to_dicts()
        for i in range(len(self)):
            face: dict[str, Any] = {
                "box": _rounded(self.boxes[i], _DECIMALS_PIXELS),
                "score": round(float(self.scores[i]), _DECIMALS_SCORES),
                "landmarks": _rounded(self.landmarks[i], _DECIMALS_PIXELS),
            }
            if embeddings and self.embeddings is not None:
                face["embedding"] = _rounded(self.embeddings[i], _DECIMALS_EMBEDDING)
            if shown is not None:
                face["expression"] = shown[i]
            out.append(face)
        return out


def _rounded(array: FloatArray, decimals: int) -> Any:
    return np.round(array.astype(np.float64), decimals).tolist()


@dataclass(frozen=True)
class Verification:
    """The answer to "are these two faces one person?".

    Attributes:
        same: whether `similarity` reaches `threshold`.
        similarity: monotone in [-1, 1]; 1 for the same picture.
        probability: calibrated probability in [0, 1] that it is one person, at even prior odds.
        threshold: similarity at which the decision was made.
        fmr: the false match rate that the threshold was set for.
        model: name of the embedder.
        mode: "fast" or "accurate".
    """

    same: bool
    similarity: float
    probability: float
    threshold: float
    fmr: float
    model: str
    mode: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "same": self.same,
            "similarity": round(self.similarity, _DECIMALS_SCORES),
            "probability": round(self.probability, _DECIMALS_SCORES),
            "threshold": round(self.threshold, _DECIMALS_SCORES),
            "fmr": self.fmr,
            "model": self.model,
            "mode": self.mode,
        }
