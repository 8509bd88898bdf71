"""What flows through mien: `Faces`, a struct of arrays, and the results of comparing them.

`Faces.to_dicts` is the one JSON schema; the command line, the server and files of results all print it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mien.answers import (
    Ages,
    Answers,
    Expressions,
    Eyes,
    Genders,
    Index,
    Mouths,
    Poses,
    Qualities,
    frozen,
    rounded,
    slots,
)

FloatArray = npt.NDArray[np.float32]
ImageArray = npt.NDArray[np.uint8]
Transforms = npt.NDArray[np.float64]
"""(N, 2, 3) from picture to crop: crop = M[:, :2] @ xy + M[:, 2]; pixel centres at integers."""

SCHEMA = 1
_DECIMALS_PIXELS = 2
_DECIMALS_SCORES = 4
_DECIMALS_EMBEDDING = 6

_DESCRIBED: Mapping[str, tuple[str, type[Answers]]] = {
    "quality": ("qualities", Qualities),
    "pose": ("poses", Poses),
    "expression": ("expressions", Expressions),
    "age": ("ages", Ages),
    "gender": ("genders", Genders),
    "eyes": ("eyes", Eyes),
    "mouth": ("mouths", Mouths),
}
"""By its key in the JSON: the field of `Faces` that holds what a model said, and what that is."""
_ARRAYS = {"box": "boxes", "score": "scores", "landmarks": "landmarks", "embedding": "embeddings"}


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
        spreads: (N,) float32, mean distance of the embeddings of a face's views from their mean, which `embeddings`
            holds: views of a poor picture disagree. None where there are no embeddings, or nobody knows.
        expressions: what the N faces show, or None where it was not asked for.
        ages: how old they look, likewise.
        genders: how they are perceived, likewise.
        eyes: whether their eyes are open, likewise.
        mouths: whether their mouths are open, likewise.
        qualities: how well they serve to recognise somebody by, likewise.
        poses: how heads are turned, likewise.

    Raises:
        ValueError: an array has the wrong shape.
    """

    boxes: FloatArray
    scores: FloatArray
    landmarks: FloatArray
    image_size: tuple[int, int]
    embeddings: FloatArray | None = None
    spreads: FloatArray | None = None
    expressions: Expressions | None = None
    ages: Ages | None = None
    genders: Genders | None = None
    eyes: Eyes | None = None
    mouths: Mouths | None = None
    qualities: Qualities | None = None
    poses: Poses | None = None

    def __post_init__(self) -> None:
        boxes = frozen("boxes", self.boxes, (None, 4))
        n = len(boxes)
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", frozen("scores", self.scores, (n,)))
        object.__setattr__(self, "landmarks", frozen("landmarks", self.landmarks, (n, 5, 2)))
        if self.embeddings is not None:
            object.__setattr__(self, "embeddings", frozen("embeddings", self.embeddings, (n, None)))
        if self.spreads is not None:
            object.__setattr__(self, "spreads", frozen("spreads", self.spreads, (n,)))
        for name, answers in self._answers().items():
            if len(answers) != n:
                raise ValueError(f"{name} are of {len(answers)} faces, expected {n}")

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
        extra += "".join(f", {name}" for name in self._answers())
        return f"Faces({len(self)} in {width} x {height}{extra})"

    def __iter__(self) -> Iterator[Self]:
        return (self[i : i + 1] for i in range(len(self)))

    def __getitem__(self, index: Index) -> Self:
        """Select faces by integer, slice, boolean mask or integer array; the result is always `Faces`."""
        chosen = slots(index, len(self))
        per_face: dict[str, Any] = {
            f.name: value[chosen]
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), (np.ndarray, Answers))
        }
        return replace(self, **per_face)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The faces of several sets of one picture, of the same models, as one; at least one part."""
        first = parts[0]
        columns: dict[str, Any] = {}
        for f in fields(cls):
            values = [getattr(part, f.name) for part in parts]
            if isinstance(values[0], np.ndarray):
                columns[f.name] = np.concatenate(values)
            elif isinstance(values[0], Answers):
                columns[f.name] = type(values[0]).joined(values)
        return replace(first, **columns)

    @property
    def areas(self) -> FloatArray:
        """(N,) float32: area of each box in square pixels."""
        return (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])

    def largest(self) -> Self:
        """The face with the largest box, as `Faces` of length 1 (0 where there is none)."""
        return self[int(np.argmax(self.areas))] if len(self) else self

    def with_embeddings(self, embeddings: FloatArray, spreads: FloatArray | None = None) -> Self:
        """The same faces with their embeddings, (N, D), and how far their views lie apart, (N,)."""
        return replace(self, embeddings=embeddings, spreads=spreads)

    def with_answers(self, **answers: Any) -> Self:
        """The same faces with what models say of them, by the names of the fields: expressions, ages, ..."""
        return replace(self, **answers)

    def _answers(self) -> dict[str, Answers]:
        """What was asked for, by the name of its field."""
        found = {name: getattr(self, name) for name, _ in _DESCRIBED.values()}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_dicts(cls, dicts: Sequence[Mapping[str, Any]], image_size: tuple[int, int]) -> Self:
        """The faces that `to_dicts` made these of, as far as its rounding goes.

        Raises:
            ValueError: these are no such dicts.
        """
        if not dicts:
            return cls.empty(image_size)
        try:
            arrays = {name: [face[key] for face in dicts] for key, name in _ARRAYS.items() if key in dicts[0]}
            said = {
                name: kind.from_dicts([face[key] for face in dicts])
                for key, (name, kind) in _DESCRIBED.items()
                if key in dicts[0]
            }
            return cls(**arrays, **said, image_size=image_size)  # type: ignore[arg-type]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"these are no faces: {error!r}") from error

    def to_dicts(self, *, embeddings: bool = True) -> list[dict[str, Any]]:
        """One JSON-ready dict per face; what was not computed is absent.

        Args:
            embeddings: whether to include the embeddings (if there are any).
        """
        out: list[dict[str, Any]] = []
        answers = self._answers()
        said = {key: answers[name].to_dicts() for key, (name, _) in _DESCRIBED.items() if name in answers}
        for i in range(len(self)):
            face: dict[str, Any] = {
                "box": rounded(self.boxes[i], _DECIMALS_PIXELS),
                "score": round(float(self.scores[i]), _DECIMALS_SCORES),
                "landmarks": rounded(self.landmarks[i], _DECIMALS_PIXELS),
            }
            if embeddings and self.embeddings is not None:
                face["embedding"] = rounded(self.embeddings[i], _DECIMALS_EMBEDDING)
            out.append(face | {key: dicts[i] for key, dicts in said.items()})
        return out


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
