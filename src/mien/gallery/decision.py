"""How a gallery decides: from similarities to a name, to "unknown", and to how sure that is.

Pure functions over many probes at once; nothing here knows a store or a picture. What a similarity means comes from a
`Rule`, one for each embedder and mode.

- *Identification at a false positive identification rate* (FPIR, ISO/IEC 19795-1): the share of strangers who get some
  name. A stranger is compared with everybody, so the threshold rises with the number of people and of their faces.
- *Probability*: Bayes' rule over "this is person j" for every j and "nobody of these". With (prior / people) on each
  person, and a likelihood ratio LR from the similarity alone: p_j = w_j / (1 - prior + sum of all w), w_j = prior /
  people * LR_j. Two people who are equally like the probe share the probability between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mien.errors import ModelError
from mien.models.base import Calibration
from mien.types import FloatArray

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Template = Literal["best", "mean", "robust"]

NOBODY = -1
"""The owner of faces that belong to nobody, and of empty places in lists of neighbours."""

FPIR = 0.01
PRIOR = 0.5
"""How likely a probe shows somebody of the gallery, before it is looked at."""

_DECIMALS = 4


@dataclass(frozen=True)
class Candidate:
    """Somebody of the gallery whom a probe may show.

    Attributes:
        person: id.
        name: as shown; None for a group that nobody has named yet.
        similarity: in [-1, 1].
        probability: in [0, 1], that the probe shows this person.
    """

    person: str
    name: str | None
    similarity: float
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "person": self.name,
            "id": self.person,
            "similarity": round(self.similarity, _DECIMALS),
            "probability": round(self.probability, _DECIMALS),
        }


@dataclass(frozen=True)
class Identification:
    """The answer to "who is this?".

    Attributes:
        candidates: whom it may show, most similar first; empty where the gallery has nobody to compare with.
        threshold: similarity that the first candidate must reach to be the answer.
        fpir: the share of strangers who get a name, for which that threshold was set; None where it was set by hand.
        people: how many the gallery has.
    """

    candidates: tuple[Candidate, ...]
    threshold: float
    fpir: float | None
    people: int

    @property
    def answer(self) -> Candidate | None:
        """Who it is, or None: unknown."""
        best = self.candidates[0] if self.candidates else None
        return best if best is not None and best.similarity >= self.threshold else None

    @property
    def known(self) -> bool:
        """Whether somebody of the gallery is the answer."""
        return self.answer is not None

    @property
    def person(self) -> str | None:
        """Id of the answer; None: unknown."""
        return self.answer.person if self.answer else None

    @property
    def name(self) -> str | None:
        """Name of the answer; None: unknown, or a group without a name (see `known`)."""
        return self.answer.name if self.answer else None

    @property
    def similarity(self) -> float | None:
        """Of the first candidate, whether or not it is the answer; None without any."""
        return self.candidates[0].similarity if self.candidates else None

    @property
    def probability(self) -> float:
        """That the answer is right; for "unknown", that the probe shows nobody of the gallery."""
        if self.answer is not None:
            return self.answer.probability
        return max(0.0, 1.0 - sum(candidate.probability for candidate in self.candidates))

    def to_dict(self, *, candidates: bool = False) -> dict[str, Any]:
        """JSON-ready; `"person": null` without an id is "unknown".

        Args:
            candidates: whether to list them, and the threshold that they were held against.
        """
        answer = self.answer
        out: dict[str, Any] = {"person": None} if answer is None else {"person": answer.name, "id": answer.person}
        if self.similarity is not None:
            out["similarity"] = round(self.similarity, _DECIMALS)
        out["probability"] = round(self.probability, _DECIMALS)
        if candidates:
            out |= {"threshold": round(self.threshold, _DECIMALS), "people": self.people}
            out |= {} if self.fpir is None else {"fpir": self.fpir}
            out["candidates"] = [candidate.to_dict() for candidate in self.candidates]
        return out


@dataclass(frozen=True)
class Rule:
    """What similarities of one embedder mean in a gallery.

    Attributes:
        tail: (similarity, false match rate) of two faces of different people, from low similarities to high ones, at
            least two points; log-linear between and beyond them.
        logistic: (slope, intercept) of the log of the likelihood ratio of a similarity: how much likelier it is of two
            faces of one person than of two people.
        people_power: a stranger meets as many independent chances of a false match as the gallery has people, to this
            power: faces cluster, so that it may lie under 1.
        faces_power: the same for the mean number of faces of a person.
        template: how the faces of a person make one similarity.
    """

    tail: tuple[tuple[float, float], ...]
    logistic: tuple[float, float]
    people_power: float = 1.0
    faces_power: float = 1.0
    template: Template = "best"

    @classmethod
    def of(cls, calibration: Calibration) -> Rule:
        """The rule of an embedder of which no more is known than its calibration for pairs.

        Raises:
            ModelError: the calibration has fewer than two thresholds.
        """
        tail = sorted((threshold, float(rate)) for rate, threshold in calibration.thresholds.items())
        if len(tail) < 2:
            raise ModelError("this embedder has fewer than two thresholds; measure it, or set a threshold by hand")
        return cls(tuple(tail), calibration.logistic)

    def chances(self, people: int, faces: int) -> float:
        """How many independent comparisons one search is worth."""
        if people < 1:
            return 0.0
        return float(people**self.people_power * (max(faces, people) / people) ** self.faces_power)

    def threshold(self, people: int, faces: int, fpir: float = FPIR) -> float:
        """The similarity that strangers reach with somebody of the gallery at a rate of `fpir`.

        Args:
            people: in the gallery.
            faces: of them in all.
            fpir: in (0, 1).

        Raises:
            ValueError: `fpir` is out of range.
        """
        if not 0 < fpir < 1:
            raise ValueError(f"a false positive identification rate lies between 0 and 1, not at {fpir}")
        fmr = -math.expm1(math.log1p(-fpir) / max(self.chances(people, faces), 1.0))
        return float(_line(math.log(fmr), *zip(*((math.log(rate), s) for s, rate in reversed(self.tail)), strict=True)))

    def fpir(self, similarities: npt.ArrayLike, people: int, faces: int) -> Floats:
        """The share of strangers who reach a similarity with somebody of the gallery: inverse of `threshold`."""
        at, rates = zip(*self.tail, strict=True)
        log_fmr = np.minimum(_line(np.asarray(similarities, np.float64), at, np.log(rates)), -1e-12)
        rate: Floats = -np.expm1(self.chances(people, faces) * np.log1p(-np.exp(log_fmr)))
        return rate

    def probabilities(self, similarities: npt.ArrayLike, people: int, faces: int, prior: float = PRIOR) -> Floats:
        """How likely each candidate is whom the probe shows.

        Args:
            similarities: (Q, K) of the K most similar people; -inf for empty places.
            people: in the gallery, K or more.
            faces: of them in all.
            prior: how likely a probe shows somebody of the gallery at all, in (0, 1).

        Returns:
            (Q, K) float64; rows sum to less than 1, what is left is "unknown".

        Raises:
            ValueError: `prior` is out of range.
        """
        if not 0 < prior < 1:
            raise ValueError(f"the prior lies between 0 and 1, not at {prior}")
        slope, intercept = self.logistic
        each = math.log(prior / (1 - prior)) - math.log(max(self.chances(people, faces), 1.0))
        evidence = slope * np.asarray(similarities, dtype=np.float64) + intercept + each
        # "nobody" weighs exp(0); the largest is taken out so that nothing overflows
        most = np.maximum(evidence.max(axis=1, initial=0.0), 0.0)[:, None]
        weights = np.exp(evidence - most)
        share: Floats = weights / (weights.sum(axis=1, keepdims=True) + np.exp(-most))
        return share


def rank_people(similarities: FloatArray, owners: Ints, k: int, template: Template = "best") -> tuple[Ints, FloatArray]:
    """From the faces most like each probe to the people most like it.

    Args:
        similarities: (Q, F) of each probe to F faces: all of the gallery, or its neighbours.
        owners: (Q, F), or (F,) for all probes alike: whose each face is, an integer from 0 on; NOBODY is left out.
        k: how many people.
        template: how the faces of a person make one similarity: that of the best, the mean, or "robust", the mean of
            the two best. Of faces that are not among the F it cannot know.

    Returns:
        (Q, k) owners, most similar first, NOBODY where there are fewer; and (Q, k) float32 their similarities, -inf
        there.
    """
    values = np.asarray(similarities, dtype=np.float32)
    rows, columns = values.shape
    people, best = np.full((rows, k), NOBODY, dtype=np.int64), np.full((rows, k), -np.inf, dtype=np.float32)
    owner = np.broadcast_to(owners, values.shape).ravel()
    row, flat = np.repeat(np.arange(rows), columns), values.ravel()
    held = (owner != NOBODY) & (flat > -np.inf)
    row, owner, flat = row[held], owner[held], flat[held]
    if not len(flat) or k < 1:
        return people, best
    order = np.lexsort((-flat, owner, row))
    row, owner, flat = row[order], owner[order], flat[order]
    start = np.flatnonzero(np.concatenate([[True], (owner[1:] != owner[:-1]) | (row[1:] != row[:-1])]))
    score = _of_groups(flat, start, template)
    row, owner = row[start], owner[start]
    order = np.lexsort((-score, row))
    place = np.arange(len(order)) - np.searchsorted(row[order], row[order])
    kept, place = order[place < k], place[place < k]
    people[row[kept], place], best[row[kept], place] = owner[kept], score[kept]
    return people, best


def decide(
    rule: Rule,
    ranked: tuple[Ints, FloatArray],
    named: Sequence[tuple[str, str | None]],
    *,
    faces: int,
    fpir: float | None = FPIR,
    threshold: float | None = None,
    prior: float = PRIOR,
) -> list[Identification]:
    """Answer for each probe.

    Args:
        rule: of the embedder.
        ranked: from `rank_people`; owners are positions in `named`.
        named: (id, name) of everybody in the gallery who has a face.
        faces: how many they have in all.
        fpir: the share of strangers who may get a name; not used where a threshold is given.
        threshold: similarity to reach, set by hand.
        prior: how likely a probe shows somebody of the gallery at all.

    Raises:
        ValueError: a rate is out of range, or there is neither a rate nor a threshold.
    """
    if threshold is None and fpir is None:
        raise ValueError("either a false positive identification rate or a threshold is needed")
    owners, similarities = ranked
    at = threshold if threshold is not None else rule.threshold(len(named), faces, fpir or 0.0)
    chosen = None if threshold is not None else fpir
    probabilities = rule.probabilities(similarities, len(named), faces, prior)
    return [
        Identification(
            candidates=tuple(
                Candidate(named[owner][0], named[owner][1], float(s), float(p))
                for owner, s, p in zip(*columns, strict=True)
                if owner != NOBODY
            ),
            threshold=at,
            fpir=chosen,
            people=len(named),
        )
        for columns in zip(owners, similarities, probabilities, strict=True)
    ]


def _of_groups(values: FloatArray, start: Ints, template: Template) -> FloatArray:
    """One similarity for each run of `values`, which are sorted, highest first, within each run."""
    if template == "best":
        return values[start]
    size = np.diff(np.append(start, len(values)))
    if template == "mean":
        mean: FloatArray = (np.add.reduceat(values, start) / size).astype(np.float32)
        return mean
    second = np.where(size > 1, start + 1, start)
    pair: FloatArray = (values[start] + values[second]) / np.float32(2)
    return pair


def _line(x: npt.ArrayLike, at: Sequence[float], values: npt.ArrayLike) -> Floats:
    """Piecewise linear through (at, values), `at` ascending, and straight on beyond both ends."""
    knots, y, points = np.asarray(at, np.float64), np.asarray(values, np.float64), np.asarray(x, np.float64)
    i = np.clip(np.searchsorted(knots, points) - 1, 0, len(knots) - 2)
    slope = (y[i + 1] - y[i]) / (knots[i + 1] - knots[i])
    line: Floats = y[i] + slope * (points - knots[i])
    return line
