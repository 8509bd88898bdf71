"""What models say of N faces: structs of arrays, one kind for each question; index one to select faces.

`Faces` carries them, and their `to_dicts` make its JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]
Index = int | slice | npt.NDArray[Any]
"""Selects faces: an integer, a slice, a boolean mask or an integer array."""

UNCERTAIN = "uncertain"
"""The answer of a classifier whose confidence is under its threshold."""

_DECIMALS_SCORES = 4
_DECIMALS_YEARS = 1
_EVEN = 0.5


def slots(index: Index, n: int) -> slice | npt.NDArray[Any]:
    """An index that keeps the axis, also where it is an integer."""
    return np.array([range(n)[index]]) if isinstance(index, (int, np.integer)) else index


def frozen(name: str, value: object, shape: tuple[int | None, ...]) -> _Floats:
    """Copy to a read-only float32 array of `shape` (None: any length).

    Raises:
        ValueError: it has another shape.
    """
    array = np.array(value, dtype=np.float32)
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    array.flags.writeable = False
    return array


def rounded(array: _Floats, decimals: int) -> Any:
    """JSON-ready numbers."""
    return np.round(array.astype(np.float64), decimals).tolist()


class Answers:
    """What all of them have in common: as many answers as faces, and a way to select some."""

    def __len__(self) -> int:
        return len(next(iter(self._arrays().values())))

    def __iter__(self) -> Iterator[Self]:
        return (self[i : i + 1] for i in range(len(self)))

    def __getitem__(self, index: Index) -> Self:
        """Select faces, as `Faces` does; the result is always of the same kind."""
        chosen = slots(index, len(self))
        return replace(self, **{name: array[chosen] for name, array in self._arrays().items()})  # type: ignore[type-var]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Those of several sets of faces, of the same models, as one; at least one part."""
        columns = [part._arrays() for part in parts]
        return replace(parts[0], **{name: np.concatenate([c[name] for c in columns]) for name in columns[0]})  # type: ignore[type-var]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON-ready dict per face."""
        raise NotImplementedError

    @classmethod
    def from_dicts(cls, dicts: Sequence[Mapping[str, Any]]) -> Self:
        """What `to_dicts` says, as far as its rounding goes; at least one face.

        Raises:
            KeyError, TypeError, ValueError: these are no such dicts.
        """
        raise NotImplementedError

    def _arrays(self) -> dict[str, _Floats]:
        """The fields that have a row for each face."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


@dataclass(frozen=True, eq=False, repr=False)
class Classes(Answers):
    """Which of several classes each face belongs to.

    Attributes:
        labels: the C classes, in the order of the scores.
        scores: (N, C) float32, calibrated probabilities.
        threshold: confidence below which the answer is "uncertain".

    Raises:
        ValueError: there are not as many scores as labels.
    """

    labels: tuple[str, ...]
    scores: _Floats
    threshold: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if not self.labels:
            raise ValueError("labels are empty")
        object.__setattr__(self, "scores", frozen("scores of classes", self.scores, (None, len(self.labels))))

    def __repr__(self) -> str:
        shown = [f"{name} {p:.2f}" for name, p in zip(self.names[:5], self.confidence, strict=False)]
        return f"{type(self).__name__}({', '.join(shown)}{', ...' if len(self) > 5 else ''})"

    @property
    def top(self) -> npt.NDArray[np.int64]:
        """(N,) int64: the most probable class of each face, as a position in `labels`, however probable."""
        best: npt.NDArray[np.int64] = self.scores.argmax(axis=1).astype(np.int64)
        return best

    @property
    def confidence(self) -> _Floats:
        """(N,) float32: the probability of `top`."""
        highest: _Floats = self.scores.max(axis=1)
        return highest

    @property
    def names(self) -> list[str]:
        """The answer for each face: a label, or "uncertain" where the confidence is under the threshold."""
        pairs = zip(self.top, self.confidence, strict=True)
        return [self.labels[i] if p >= self.threshold else UNCERTAIN for i, p in pairs]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON-ready dict per face: the answer, how sure it is, and all classes."""
        answers = zip(self.names, self.confidence, self.scores, strict=True)
        return [
            {
                "label": name,
                "confidence": round(float(confidence), _DECIMALS_SCORES),
                "scores": dict(zip(self.labels, rounded(scores, _DECIMALS_SCORES), strict=True)),
            }
            for name, confidence, scores in answers
        ]

    @classmethod
    def from_dicts(cls, dicts: Sequence[Mapping[str, Any]]) -> Self:
        """See `Answers.from_dicts`; the threshold, which they do not say, is the least that explains the answers."""
        labels = tuple(dicts[0]["scores"])
        scores = np.array([[said["scores"][label] for label in labels] for said in dicts], np.float32)
        unsure = scores.max(axis=1)[[said["label"] == UNCERTAIN for said in dicts]]
        return cls(labels, scores, float(np.nextafter(unsure.max(), np.float32(2))) if len(unsure) else 0.0)


class Expressions(Classes):
    """What faces show: see `Classes`."""


class Genders(Classes):
    """How faces are perceived, as the raters of the training data saw them: see `Classes`."""


@dataclass(frozen=True, eq=False, repr=False)
class Ages(Answers):
    """How old each face looks.

    Attributes:
        years: (N,) float32.
        sd: (N,) float32, standard deviation of what the model holds possible, in years.

    Raises:
        ValueError: there are not as many of both.
    """

    years: _Floats
    sd: _Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "years", frozen("years", self.years, (None,)))
        object.__setattr__(self, "sd", frozen("sd", self.sd, (len(self.years),)))

    def __repr__(self) -> str:
        shown = [f"{years:.0f} ± {sd:.0f}" for years, sd in zip(self.years[:5], self.sd, strict=False)]
        return f"Ages({', '.join(shown)}{', ...' if len(self) > 5 else ''})"

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON-ready dict per face."""
        pairs = zip(rounded(self.years, _DECIMALS_YEARS), rounded(self.sd, _DECIMALS_YEARS), strict=True)
        return [{"years": years, "sd": sd} for years, sd in pairs]

    @classmethod
    def from_dicts(cls, dicts: Sequence[Mapping[str, Any]]) -> Self:
        """See `Answers.from_dicts`."""
        return cls(_column(dicts, "years"), _column(dicts, "sd"))


@dataclass(frozen=True, eq=False, repr=False)
class Eyes(Answers):
    """Whether the eyes of each face are open.

    Attributes:
        left: (N,) float32 in [0, 1]: calibrated probability that the eye on the left of the picture is open.
        right: (N,) float32: the same of the eye on the right.

    Raises:
        ValueError: there are not as many of both.
    """

    left: _Floats
    right: _Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "left", frozen("left", self.left, (None,)))
        object.__setattr__(self, "right", frozen("right", self.right, (len(self.left),)))

    def __repr__(self) -> str:
        shown = [f"{left:.2f} {right:.2f}" for left, right in zip(self.left[:5], self.right, strict=False)]
        return f"Eyes({', '.join(shown)}{', ...' if len(self) > 5 else ''})"

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON-ready dict per face."""
        pairs = zip(self.left, self.right, strict=True)
        return [{"left": _open_or_closed(left), "right": _open_or_closed(right)} for left, right in pairs]

    @classmethod
    def from_dicts(cls, dicts: Sequence[Mapping[str, Any]]) -> Self:
        """See `Answers.from_dicts`."""
        return cls(*(np.array([_chance(said[side]) for said in dicts], np.float32) for side in ("left", "right")))


@dataclass(frozen=True, eq=False, repr=False)
class Mouths(Answers):
    """Whether the mouth of each face is open.

    Attributes:
        open: (N,) float32 in [0, 1]: calibrated probability.
    """

    open: _Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "open", frozen("open", self.open, (None,)))

    def __repr__(self) -> str:
        shown = [f"{chance:.2f}" for chance in self.open[:5]]
        return f"Mouths({', '.join(shown)}{', ...' if len(self) > 5 else ''})"

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON-ready dict per face."""
        return [_open_or_closed(chance) for chance in self.open]

    @classmethod
    def from_dicts(cls, dicts: Sequence[Mapping[str, Any]]) -> Self:
        """See `Answers.from_dicts`."""
        return cls(np.array([_chance(said) for said in dicts], np.float32))


def _open_or_closed(chance: float) -> dict[str, Any]:
    """The likelier answer, and its probability."""
    return {"open": bool(chance >= _EVEN), "confidence": round(float(max(chance, 1 - chance)), _DECIMALS_SCORES)}


def _chance(said: Mapping[str, Any]) -> float:
    """That it is open."""
    return float(said["confidence"]) if said["open"] else 1 - float(said["confidence"])


def _column(dicts: Sequence[Mapping[str, Any]], name: str) -> _Floats:
    return np.array([said[name] for said in dicts], np.float32)


@dataclass(frozen=True, eq=False, repr=False)
class Poses(Answers):
    """How heads are turned, in degrees.

    Attributes:
        yaw: (N,) float32, above 0 where the face looks to the right of the picture.
        pitch: (N,) float32, above 0 where it looks up.
        roll: (N,) float32, above 0 where it is tilted clockwise as seen.

    Raises:
        ValueError: there are not as many of each.
    """

    yaw: _Floats
    pitch: _Floats
    roll: _Floats

    def __post_init__(self) -> None:
        n = len(np.atleast_1d(self.yaw))
        for name in ("yaw", "pitch", "roll"):
            object.__setattr__(self, name, frozen(name, getattr(self, name), (n,)))

    def __repr__(self) -> str:
        shown = [f"{y:.0f} {p:.0f} {r:.0f}" for y, p, r in zip(self.yaw[:5], self.pitch, self.roll, strict=False)]
        return f"Poses({', '.join(shown)}{', ...' if len(self) > 5 else ''})"

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON-ready dict per face."""
        rows = zip(*(rounded(array, 1) for array in (self.yaw, self.pitch, self.roll)), strict=True)
        return [{"yaw": yaw, "pitch": pitch, "roll": roll} for yaw, pitch, roll in rows]

    @classmethod
    def from_dicts(cls, dicts: Sequence[Mapping[str, Any]]) -> Self:
        """See `Answers.from_dicts`."""
        return cls(*(_column(dicts, name) for name in ("yaw", "pitch", "roll")))


@dataclass(frozen=True, eq=False, repr=False)
class Qualities(Answers):
    """How well faces serve to recognise somebody by.

    Attributes:
        score: (N,) float32 in [0, 1]: the chance of a match with another picture of the person, at a false match rate
            of 1e-3 (`mien.models.quality`).
        sharpness: (N,) float32, variance of the Laplacian over the aligned face, in squared grey levels.
        detail: (N,) float32, the same of the slightly blurred face beside its contrast: no matter of light.
        brightness: (N,) float32, mean grey level of the face, 0 to 255.
        contrast: (N,) float32, standard deviation of its grey levels.
        dark: (N,) float32, share of it that is nearly black.
        bright: (N,) float32, share of it that is nearly white.
        side_light: (N,) float32, -1 to 1: above 0 where its right half, as seen, is brighter.
        eyes: (N,) float32, distance between the eyes in pixels of the picture.
        inside: (N,) float32, share of the face inside the picture.
        occlusion: (N,) float32, about how much of it is covered, 0 to 1.
        codes: the A pieces of advice that there are.
        advised: (N, A) bool, which of them each face gets.

    Raises:
        ValueError: there are not as many of each.
    """

    score: _Floats
    sharpness: _Floats
    detail: _Floats
    brightness: _Floats
    contrast: _Floats
    dark: _Floats
    bright: _Floats
    side_light: _Floats
    eyes: _Floats
    inside: _Floats
    occlusion: _Floats
    codes: tuple[str, ...]
    advised: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(np.atleast_1d(self.score))
        for name in self.measures():
            object.__setattr__(self, name, frozen(name, getattr(self, name), (n,)))
        advised = np.array(self.advised, dtype=np.bool_)
        if advised.shape != (n, len(self.codes)):
            raise ValueError(f"advised has shape {advised.shape}, expected {(n, len(self.codes))}")
        advised.flags.writeable = False
        object.__setattr__(self, "advised", advised)

    def __repr__(self) -> str:
        shown = [f"{score:.2f}" for score in self.score[:5]]
        return f"Qualities({', '.join(shown)}{', ...' if len(self) > 5 else ''})"

    @classmethod
    def measures(cls) -> tuple[str, ...]:
        """The names of the numbers, the score first."""
        return tuple(f.name for f in fields(cls) if f.name not in ("codes", "advised"))

    @property
    def advice(self) -> list[list[str]]:
        """For each face the codes of what should be done about it; empty where it is fit for use."""
        return [[code for code, on in zip(self.codes, row, strict=True) if on] for row in self.advised]

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: whether there is nothing to be done."""
        nothing: npt.NDArray[np.bool_] = np.logical_not(self.advised.any(axis=1))
        return nothing

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON-ready dict per face."""
        columns = {name: rounded(getattr(self, name), _DECIMALS_SCORES) for name in self.measures()}
        return [
            {
                **{name: values[i] for name, values in columns.items()},
                "usable": not codes,
                "advice": codes,
            }
            for i, codes in enumerate(self.advice)
        ]

    @classmethod
    def from_dicts(cls, dicts: Sequence[Mapping[str, Any]]) -> Self:
        """See `Answers.from_dicts`; `codes` are those that are given to any of these faces."""
        codes = tuple(dict.fromkeys(code for said in dicts for code in said["advice"]))
        advised = np.array([[code in said["advice"] for code in codes] for said in dicts], np.bool_)
        columns = {name: _column(dicts, name) for name in cls.measures()}
        return cls(**columns, codes=codes, advised=advised.reshape(len(dicts), len(codes)))
