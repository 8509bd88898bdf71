"""How a gallery decides: from similarities to a name, to "unknown", and to how sure that is.

Pure functions over many probes at once; nothing here knows a store or a picture. What a similarity means comes from a
`Rule`, one for each embedder and mode.

- *Preparation*: where the embedder has a fitted `DensityScale`, embeddings are moved by it before they are compared. It
  makes false matches as rare in crowded parts of the space as elsewhere, and comparisons with N people as good as
  independent. Raw embeddings are what is kept.
- *Template*: the mean of a person's prepared embeddings counts as one more face of theirs, and the best face decides.
- *Threshold*: set for a false positive identification rate (FPIR, ISO/IEC 19795-1), the share of strangers who get some
  name. A stranger is compared with everybody, so it rises with the number of people and of their faces.
- *Probability*: Bayes' rule over "this is person j" for every j and "nobody of these". With (prior / people) on each
  person, and a likelihood ratio LR from the similarity alone: p_j = w_j / (1 - prior + sum of all w), w_j = prior /
  people * LR_j. Two people who are equally like the probe share the probability between them.

What was measured on the way: recipes/LOG.md, "Identification".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import ModelError
from mien.models.base import Calibration, Metric
from mien.models.density import DensityScale
from mien.ops import similarity
from mien.types import FloatArray

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

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
        probability: in [0, 1], that the probe shows this person; None where nobody has measured the embedder.
    """

    person: str
    name: str | None
    similarity: float
    probability: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        out = {"person": self.name, "id": self.person, "similarity": round(self.similarity, _DECIMALS)}
        return out if self.probability is None else out | {"probability": round(self.probability, _DECIMALS)}


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
    def probability(self) -> float | None:
        """That the answer is right; for "unknown", that the probe shows nobody of the gallery.

        None where nobody has measured the embedder, and there is somebody to compare with.
        """
        if self.answer is not None:
            return self.answer.probability
        known = [candidate.probability for candidate in self.candidates if candidate.probability is not None]
        return max(0.0, 1.0 - sum(known)) if len(known) == len(self.candidates) else None

    def to_dict(self, *, candidates: bool = False) -> dict[str, Any]:
        """JSON-ready; `"person": null` without an id is "unknown".

        Args:
            candidates: whether to list them, and the threshold that they were held against.
        """
        answer = self.answer
        out: dict[str, Any] = {"person": None} if answer is None else {"person": answer.name, "id": answer.person}
        if self.similarity is not None:
            out["similarity"] = round(self.similarity, _DECIMALS)
        if self.probability is not None:
            out["probability"] = round(self.probability, _DECIMALS)
        if candidates:
            out |= {"threshold": round(self.threshold, _DECIMALS), "people": self.people}
            out |= {} if self.fpir is None else {"fpir": self.fpir}
            out["candidates"] = [candidate.to_dict() for candidate in self.candidates]
        return out


@dataclass(frozen=True)
class Rule:
    """What similarities of one embedder mean in a gallery; `mien.gallery.rules.rule_for` finds it.

    Attributes:
        tail: (similarity, false match rate) of two faces of different people, from low similarities to high ones, at
            least two points; log-linear between and beyond them.
        logistic: (slope, intercept) of the log of the likelihood ratio of a similarity: how much likelier it is of two
            faces of one person than of two people; None where nobody has measured that (`Rule.unmeasured`).
        faces_gain: somebody with m faces is exp(faces_gain * (1 - 1 / m)) times as easily mistaken for a stranger as
            somebody with one: the mean of m faces lies nearer to everybody, by a share 1 - 1 / m of what one face
            scatters.
        scale: what embeddings are moved by before they are compared, or None.
        metric: "l2" or "cosine", of the embedder.
    """

    tail: tuple[tuple[float, float], ...]
    logistic: tuple[float, float] | None
    faces_gain: float = 2.6
    scale: DensityScale | None = None
    metric: Metric = "l2"

    @classmethod
    def of(cls, calibration: Calibration, metric: Metric = "l2") -> Rule:
        """The rule of an embedder of which no more is known than its calibration for pairs.

        Raises:
            ModelError: the calibration has fewer than two thresholds.
        """
        tail = sorted((threshold, float(rate)) for rate, threshold in calibration.thresholds.items())
        if len(tail) < 2:
            raise ModelError("this embedder has fewer than two thresholds; measure it, or set a threshold by hand")
        return cls(tuple(tail), calibration.logistic, metric=metric)

    @classmethod
    def unmeasured(cls, metric: Metric = "l2") -> Rule:
        """The rule of an embedder of which nothing is known: it compares; what it finds is not judged."""
        return cls((), None, metric=metric)

    def prepare(self, embeddings: FloatArray) -> FloatArray:
        """(N, D) float32 as they are compared, from (N, D) as the embedder gives them."""
        return embeddings if self.scale is None else self.scale(embeddings)

    def chances(self, faces: npt.ArrayLike) -> Floats:
        """How many comparisons with one face each person is worth to a stranger.

        Args:
            faces: (...) how many faces each has.

        Returns:
            (...) float64; 1 for one face, 0 for none.
        """
        m = np.asarray(faces, dtype=np.float64)
        worth: Floats = np.where(m > 0, np.exp(self.faces_gain * (1 - 1 / np.maximum(m, 1))), 0.0)
        return worth

    def threshold(self, faces: npt.ArrayLike, fpir: float = FPIR) -> float:
        """The similarity that strangers reach with somebody of the gallery at a rate of `fpir`.

        Args:
            faces: (P,) how many faces each of its people has.
            fpir: in (0, 1).

        Raises:
            ValueError: `fpir` is out of range.
            ModelError: nobody has measured the embedder.
        """
        if not 0 < fpir < 1:
            raise ValueError(f"a false positive identification rate lies between 0 and 1, not at {fpir}")
        if not self.tail:
            raise ModelError("nobody has measured what similarities of this embedder mean; set a threshold by hand")
        fmr = -math.expm1(math.log1p(-fpir) / max(float(self.chances(faces).sum()), 1.0))
        at, rates = zip(*reversed(self.tail), strict=True)
        return float(_line(math.log(fmr), np.log(rates), at))

    def fpir(self, similarities: npt.ArrayLike, faces: npt.ArrayLike) -> Floats:
        """The share of strangers who reach a similarity with somebody of the gallery: inverse of `threshold`."""
        at, rates = zip(*self.tail, strict=True)
        log_fmr = np.minimum(_line(similarities, at, np.log(rates)), -1e-12)
        rate: Floats = -np.expm1(self.chances(faces).sum() * np.log1p(-np.exp(log_fmr)))
        return rate

    def probabilities(
        self, similarities: npt.ArrayLike, faces: npt.ArrayLike, people: int, prior: float = PRIOR
    ) -> Floats:
        """How likely each candidate is whom the probe shows.

        Args:
            similarities: (Q, K) of the K most similar people; -inf for empty places.
            faces: (Q, K), or what broadcasts to it: how many faces each of these has; at least 1.
            people: in the gallery, K or more.
            prior: how likely a probe shows somebody of the gallery at all, in (0, 1).

        Returns:
            (Q, K) float64; rows sum to less than 1, what is left is "unknown".

        Raises:
            ValueError: `prior` is out of range.
            ModelError: nobody has measured the embedder.
        """
        if not 0 < prior < 1:
            raise ValueError(f"the prior lies between 0 and 1, not at {prior}")
        if self.logistic is None:
            raise ModelError("nobody has measured how probable similarities of this embedder are")
        slope, intercept = self.logistic
        each = math.log(prior / (1 - prior)) - math.log(max(people, 1)) - np.log(self.chances(faces))
        evidence = slope * np.asarray(similarities, dtype=np.float64) + intercept + each
        # "nobody" weighs exp(0); the largest is taken out so that nothing overflows
        most = evidence.max(axis=1, initial=0.0)[:, None]
        weights = np.exp(evidence - most)
        share: Floats = weights / (weights.sum(axis=1, keepdims=True) + np.exp(-most))
        return share


def with_templates(prepared: FloatArray, owners: Ints) -> tuple[FloatArray, Ints]:
    """Add the mean of each person's faces as one more face of theirs, where they have several.

    Args:
        prepared: (F, D) float32 embeddings, from `Rule.prepare`.
        owners: (F,) whose each is, an integer from 0 on, or NOBODY.

    Returns:
        (F + T, D) and (F + T,): the same, and the means after them.
    """
    held = owners != NOBODY
    people, person, count = np.unique(owners[held], return_inverse=True, return_counts=True)
    sums = np.zeros((len(people), prepared.shape[1]))
    np.add.at(sums, person, prepared[held])
    several = count > 1
    means = (sums[several] / count[several, None]).astype(np.float32)
    return np.concatenate([prepared, means]), np.concatenate([owners, people[several]])


def match(rule: Rule, probes: FloatArray, embeddings: FloatArray, owners: Ints, k: int) -> tuple[Ints, FloatArray]:
    """The people most like each probe, by all of their faces.

    For large galleries: first search for the nearest faces, then call this with all faces of the people they are of.

    Args:
        rule: of the embedder.
        probes: (Q, D) float32 as the embedder gives them.
        embeddings: (F, D) float32, the faces.
        owners: (F,) whose each is, an integer from 0 on, or NOBODY.
        k: how many people.

    Returns:
        As `rank_people`.
    """
    faces, owners = with_templates(rule.prepare(embeddings), owners)
    return rank_people(similarity.pairwise(rule.prepare(probes), faces, rule.metric), owners, k)


def rank_people(similarities: FloatArray, owners: Ints, k: int) -> tuple[Ints, FloatArray]:
    """From the faces most like each probe to the people most like it: by the best face of each.

    Args:
        similarities: (Q, F) of each probe to F faces: all of the gallery, or its neighbours.
        owners: (Q, F), or (F,) for all probes alike: whose each face is, an integer from 0 on; NOBODY is left out.
        k: how many people.

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
    order = np.lexsort((-flat, owner, row))  # the best face of a person in a row comes first
    row, owner, flat = row[order], owner[order], flat[order]
    first = np.ones(len(row), dtype=np.bool_)
    first[1:] = (owner[1:] != owner[:-1]) | (row[1:] != row[:-1])
    row, owner, flat = row[first], owner[first], flat[first]
    order = np.lexsort((-flat, row))
    row, owner, flat = row[order], owner[order], flat[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < k
    people[row[kept], place[kept]], best[row[kept], place[kept]] = owner[kept], flat[kept]
    return people, best


def decide(
    rule: Rule,
    ranked: tuple[Ints, FloatArray],
    named: Sequence[tuple[str, str | None]],
    *,
    faces: npt.ArrayLike,
    fpir: float | None = FPIR,
    threshold: float | None = None,
    prior: float = PRIOR,
) -> list[Identification]:
    """Answer for each probe.

    Args:
        rule: of the embedder.
        ranked: from `match` or `rank_people`; owners are positions in `named`.
        named: (id, name) of everybody in the gallery who has a face.
        faces: (P,) how many faces each of them has.
        fpir: the share of strangers who may get a name; not used where a threshold is given.
        threshold: similarity to reach, set by hand.
        prior: how likely a probe shows somebody of the gallery at all.

    Raises:
        ValueError: a rate is out of range, there is neither a rate nor a threshold, or `faces` does not fit `named`.
    """
    counts = np.asarray(faces, dtype=np.int64)
    if counts.shape != (len(named),):
        raise ValueError(f"{len(named)} people, and numbers of faces of {counts.shape}")
    if threshold is None and fpir is None:
        raise ValueError("either a false positive identification rate or a threshold is needed")
    owners, similarities = ranked
    at = threshold if threshold is not None else rule.threshold(counts, fpir or 0.0)
    theirs = np.append(counts, 1)[owners]  # NOBODY is the last
    nothing = np.full(similarities.shape, None)
    probable = nothing if rule.logistic is None else rule.probabilities(similarities, theirs, len(named), prior)
    return [
        Identification(
            candidates=tuple(
                Candidate(named[owner][0], named[owner][1], float(s), None if p is None else float(p))
                for owner, s, p in zip(*columns, strict=True)
                if owner != NOBODY
            ),
            threshold=at,
            fpir=fpir if threshold is None else None,
            people=len(named),
        )
        for columns in zip(owners, similarities, probable, strict=True)
    ]


def _line(x: npt.ArrayLike, at: npt.ArrayLike, values: npt.ArrayLike) -> Floats:
    """Piecewise linear through (at, values), `at` ascending, and straight on beyond both ends."""
    points, knots, y = (np.asarray(array, dtype=np.float64) for array in (x, at, values))
    i = np.clip(np.searchsorted(knots, points) - 1, 0, len(knots) - 2)
    slope = (y[i + 1] - y[i]) / (knots[i + 1] - knots[i])
    line: Floats = y[i] + slope * (points - knots[i])
    return line
