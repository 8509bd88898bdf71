"""Identification: who of many people is on a picture, or none of them? ISO/IEC 19795-1, closed and open set.

A folder with one subfolder for each person is split once: of everybody who has more than E pictures, E random ones are
enrolled and the others are *probes*. *Strangers* are people who are not enrolled: those with E pictures or fewer, or,
where there are none, a quarter of all.

- closed set: the share of probes whose own person is among the k most similar people (rank k; all k: the CMC).
- open set: FPIR, the share of strangers' pictures that get some name; FNIR, the share of probes that do not get their
  own. Both at every threshold make the DET curve. A probe that gets somebody else's name is a false negative too.

A picture in which no face is found is never dropped to a model's advantage: a probe is an error at every rank and
threshold; where none of a person's enrolled pictures shows a face, so are all of that person's probes. A stranger's
picture without a face is left out, as it can never be given a name.

Intervals are 95 % of bootstrap samples over people: pictures of one person fail together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mien.errors import DataError
from mien.evaluation import metrics
from mien.evaluation.metrics import Bools, Floats, Ints
from mien.evaluation.people import People
from mien.evaluation.verification import Describer, Progress
from mien.gallery.decision import NOBODY, Rule, match, rank_people
from mien.types import FloatArray

RATES: Mapping[str, float] = {"1e-2": 1e-2, "1e-1": 1e-1}
RANKS = (1, 5, 10)

_SAMPLES = 1000  # of the bootstrap
_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Split:
    """Who is enrolled with what, and who is searched for; positions of pictures in `People`.

    Attributes:
        enrolled: (E,) int64.
        probes: (Q,) int64, of enrolled people.
        strangers: (S,) int64, of people who are not enrolled.
    """

    enrolled: Ints
    probes: Ints
    strangers: Ints


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "value": round(self.value, _DECIMALS),
            "interval": [round(end, _DECIMALS) for end in (self.low, self.high)],
        }


@dataclass(frozen=True)
class AtThreshold:
    """Both error rates at one threshold.

    Attributes:
        threshold: similarity at or above which a probe gets the name of the most similar person.
        fpir: the share of strangers' pictures that get a name.
        fnir: the share of probes that do not get their own.
    """

    threshold: float
    fpir: Rate
    fnir: Rate

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rates = {"fpir": self.fpir.to_dict(), "fnir": self.fnir.to_dict()}
        return {"threshold": round(self.threshold, _DECIMALS), **rates}


@dataclass(frozen=True, eq=False)
class IdentificationReport:
    """The figures of one model on one folder.

    Attributes:
        protocol: the split, in words.
        model: name of the embedder.
        setup: what else the figures depend on: detector, mode.
        people: how many were enrolled.
        enrolled: with how many pictures.
        probes: how many pictures of them were searched for.
        strangers: how many pictures of others were, and showed a face.
        missed: number of pictures in which no face was found, of all kinds.
        rank: by k: the share of probes whose person is among the k most similar.
        measured: by name of the FPIR: the lowest threshold that keeps to it on these strangers. Without those that so
            few strangers cannot measure.
        shipped: by name of the FPIR: what the threshold does that mien sets by itself; empty without a rule.
        recommended: for the FPIR that was asked for; None where there are too few strangers to measure it.
        target_fpir: that rate.
        fixed: what a threshold does that was given.
        brier: Brier score of the first candidate's probability, strangers and probes weighing one half each.
        ece: expected calibration error of the same.
        notes: what to know about these figures, in words.
        positions: (Q,) int64: at which rank (from 1) each probe's person came; 0 where it was not found at all.
        scores: (Q,) float64 similarity of the first candidate of each probe; -inf without a face.
        far: (S,) float64 the same of each stranger's picture.
    """

    protocol: str
    model: str
    setup: Mapping[str, str]
    people: int
    enrolled: int
    probes: int
    strangers: int
    missed: int
    rank: Mapping[int, Rate]
    measured: Mapping[str, AtThreshold]
    shipped: Mapping[str, AtThreshold] = field(default_factory=dict)
    recommended: AtThreshold | None = None
    target_fpir: float = 0.01
    fixed: AtThreshold | None = None
    brier: float | None = None
    ece: float | None = None
    notes: tuple[str, ...] = ()
    positions: Ints = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    scores: Floats = field(default_factory=lambda: np.zeros(0), repr=False)
    far: Floats = field(default_factory=lambda: np.zeros(0), repr=False)

    @property
    def n(self) -> int:
        """How many pictures were searched for."""
        return self.probes + self.strangers

    @property
    def cmc(self) -> Floats:
        """(P,) float64: the share of probes found among the first k, k from 1 on."""
        found = np.bincount(self.positions, minlength=self.people + 1)[1:]
        shares: Floats = found.cumsum() / max(len(self.positions), 1)
        return shares

    @property
    def det(self) -> tuple[Floats, Floats]:
        """FPIR, ascending, and FNIR at every threshold that strangers' pictures tell apart."""
        thresholds = np.unique(self.far)[::-1]
        right = np.sort(np.where(self.positions == 1, self.scores, -np.inf))
        fpir = 1 - np.searchsorted(np.sort(self.far), thresholds) / len(self.far)
        fnir = np.searchsorted(right, thresholds) / len(right)
        return fpir, fnir

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the one schema of `mien evaluate identification`; what was not measured is absent."""
        out: dict[str, Any] = {"protocol": self.protocol, "n": self.n, "model": self.model, **self.setup}
        out |= {name: getattr(self, name) for name in ("people", "enrolled", "probes", "strangers", "missed")}
        out["rank"] = {str(k): rate.to_dict() for k, rate in self.rank.items()}
        out["at_fpir"] = {name: at.to_dict() for name, at in self.measured.items()}
        if self.shipped:
            out["at_shipped_thresholds"] = {name: at.to_dict() for name, at in self.shipped.items()}
        if self.recommended is not None:
            out["recommended"] = {"target_fpir": self.target_fpir, **self.recommended.to_dict()}
        if self.fixed is not None:
            out["at_threshold"] = self.fixed.to_dict()
        if self.brier is not None and self.ece is not None:
            out["probability"] = {"brier": round(self.brier, _DECIMALS), "ece": round(self.ece, _DECIMALS)}
        return out | {"notes": list(self.notes)}


def split_people(people: People, *, enrol: int = 1, strangers: int | None = None, seed: int = 0) -> Split:
    """Choose who is enrolled with which pictures, and who is a stranger.

    Args:
        people: everybody.
        enrol: how many pictures of each person are enrolled.
        strangers: how many people are strangers at most; all that can be by default.
        seed: of every choice.

    Raises:
        DataError: nobody has more than `enrol` pictures.
    """
    rng = np.random.default_rng(seed)
    count = np.bincount(people.person)
    outside = np.flatnonzero(count <= enrol)
    if not len(outside):
        outside = rng.permutation(len(count))[: max(1, len(count) // 4)]
    known = np.setdiff1d(np.flatnonzero(count > enrol), outside)
    if not len(known):
        raise DataError(f"{people.source}: nobody has more than {enrol} pictures: one to enrol and one to search for")
    outside = np.sort(rng.permutation(outside)[:strangers])
    own = [rng.permutation(np.flatnonzero(people.person == p)) for p in known]
    return Split(
        enrolled=np.concatenate([pictures[:enrol] for pictures in own]),
        probes=np.concatenate([pictures[enrol:] for pictures in own]),
        strangers=np.flatnonzero(np.isin(people.person, outside)),
    )


def evaluate_identification(
    people: People,
    describe: Describer,
    *,
    rule: Rule | None = None,
    enrol: int = 1,
    strangers: int | None = None,
    seed: int = 0,
    target_fpir: float = 0.01,
    threshold: float | None = None,
    progress: Progress | None = None,
) -> IdentificationReport:
    """Enrol some pictures and search for the others.

    Args:
        people: from `read_people`.
        describe: the model; called once, with every picture that is used.
        rule: how the gallery compares and decides (`mien.gallery.rules.rule_for`); without one, the similarity of the
            best face is what counts, and no threshold is known ahead.
        enrol: how many pictures of each person are enrolled.
        strangers: how many people are strangers at most.
        seed: of every choice.
        target_fpir: for the recommended threshold.
        threshold: one more to measure.
        progress: called with (pictures done, pictures in all).

    Raises:
        DataError: nobody has enough pictures, or no face is found in what would be enrolled.
    """
    split = split_people(people, enrol=enrol, strangers=strangers, seed=seed)
    searched = _search(people, split, describe, rule, progress)
    trial = searched.trial
    near, far = trial.right_scores, trial.far
    names = {**RATES, f"{target_fpir:g}": target_fpir}
    measured = {
        name: trial.at(metrics.threshold_at_fmr(far.astype(np.float32), rate))  # told apart in float32 too
        for name, rate in names.items()
        if metrics.measurable(len(far), rate)
    }
    shipped = (
        {}
        if rule is None or not len(far)
        else {n: trial.at(rule.threshold(searched.faces, r)) for n, r in RATES.items()}
    )
    return IdentificationReport(
        protocol=f"{enrol} of the pictures of each person enrolled, the others searched for, seed {seed}",
        model=describe.model,
        setup=dict(describe.setup),
        people=len(np.unique(people.person[split.enrolled])),
        enrolled=len(split.enrolled),
        probes=len(near),
        strangers=len(far),
        missed=searched.missed,
        rank={k: trial.rate((trial.positions >= 1) & (trial.positions <= k)) for k in RANKS},
        measured={name: measured[name] for name in RATES if name in measured},
        shipped=shipped,
        recommended=measured.get(f"{target_fpir:g}"),
        target_fpir=target_fpir,
        fixed=None if threshold is None or not len(far) else trial.at(threshold),
        notes=_notes(names, len(far), rule),
        positions=trial.positions,
        scores=trial.scores,
        far=far,
        **searched.honesty(rule),
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    """What searches gave: positions and scores of probes (`IdentificationReport`), and who each picture shows."""

    positions: Ints
    scores: Floats
    probe_person: Ints
    far: Floats
    far_person: Ints

    @property
    def right_scores(self) -> Floats:
        """Of the right answers; -inf for what is wrong at every threshold."""
        return np.where(self.positions == 1, self.scores, -np.inf)

    def rate(self, hit: Bools) -> Rate:
        """The share of probes."""
        return _bootstrapped(hit, self.probe_person)

    def at(self, threshold: float) -> AtThreshold:
        """Both rates."""
        named = _bootstrapped(self.far >= threshold, self.far_person)
        return AtThreshold(float(threshold), named, self.rate(self.right_scores < threshold))


@dataclass(frozen=True, eq=False)
class _Searched:
    """A trial, and what a probability needs: candidates' similarities and numbers of faces, probes before strangers."""

    trial: _Trial
    faces: Ints
    missed: int
    candidates: Ints
    similarities: FloatArray
    right: Bools

    def honesty(self, rule: Rule | None) -> dict[str, float]:
        """Brier score and calibration error of the first candidate's probability."""
        if rule is None or not len(self.trial.far) or not self.right.any():
            return {}
        held = self.candidates[:, 0] != NOBODY
        theirs = np.append(self.faces, 1)[self.candidates[held]]
        p = rule.probabilities(self.similarities[held], theirs, len(self.faces))[:, 0]
        probe = np.arange(len(held))[held] < len(self.trial.positions)
        weight = metrics.even_weights(probe)
        right = self.right[held]
        ece = metrics.reliability(p, right, weights=weight).ece
        return {"brier": float((weight * (p - right) ** 2).sum()), "ece": ece}


def _search(
    people: People, split: Split, describe: Describer, rule: Rule | None, progress: Progress | None
) -> _Searched:
    """Describe all pictures, enrol and search."""
    used = np.concatenate([split.enrolled, split.probes, split.strangers])
    described = describe([people.paths[i] for i in used], progress=progress)
    known = {int(i): e for i, e in zip(used, described, strict=True) if e is not None}
    enrolled = np.array([i for i in split.enrolled if int(i) in known], dtype=np.int64)
    if not len(enrolled):
        raise DataError(f"{people.source}: no face found in any of the {len(split.enrolled)} pictures to enrol")
    names, owners = np.unique(people.person[enrolled], return_inverse=True)
    gallery = np.stack([known[int(i)] for i in enrolled])
    asked = np.concatenate([split.probes, split.strangers])
    seen = np.array([int(i) in known for i in asked], dtype=np.bool_)
    candidates = np.full((len(asked), len(names)), NOBODY, dtype=np.int64)
    similarities = np.full(candidates.shape, -np.inf, dtype=np.float32)
    if seen.any():
        probes = np.stack([known[int(i)] for i in asked[seen]])
        candidates[seen], similarities[seen] = _ranked(describe, rule, probes, gallery, owners)
    person = people.person[asked]
    hits = np.append(names, -1)[candidates] == person[:, None]
    positions = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
    mated = np.arange(len(asked)) < len(split.probes)
    stranger = ~mated & seen
    best = similarities[:, 0].astype(np.float64)
    trial = _Trial(positions[mated], best[mated], person[mated], best[stranger], person[stranger])
    missed = len(used) - len(known)
    return _Searched(trial, np.bincount(owners), missed, candidates, similarities, positions == 1)


def _ranked(
    describe: Describer, rule: Rule | None, probes: FloatArray, gallery: FloatArray, owners: Ints
) -> tuple[Ints, FloatArray]:
    """Everybody in order of similarity to each probe."""
    k = int(owners.max()) + 1
    if rule is not None:
        return match(rule, probes, gallery, owners, k)
    rows = [describe.similarity(np.broadcast_to(probe, gallery.shape), gallery) for probe in probes]
    return rank_people(np.stack(rows), owners, k)


def _bootstrapped(hit: Bools, person: Ints) -> Rate:
    """The share of pictures, and its interval when people are drawn anew."""
    _, which = np.unique(person, return_inverse=True)
    pictures = np.bincount(which).astype(np.float64)
    hits = np.bincount(which, weights=hit)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(pictures), np.full(len(pictures), 1 / len(pictures)), size=_SAMPLES)
    low, high = np.percentile((drawn @ hits) / (drawn @ pictures), (2.5, 97.5))
    return Rate(float(hit.mean()), float(low), float(high))


def _notes(rates: Mapping[str, float], strangers: int, rule: Rule | None) -> tuple[str, ...]:
    few = [name for name, rate in rates.items() if not metrics.measurable(strangers, rate)]
    notes = []
    if few:
        notes.append(f"{strangers:,} pictures of strangers cannot measure FPIR {' and '.join(few)}")
    if rule is None:
        notes.append("nobody has measured this model for galleries, so no threshold of its own is held against these")
    return tuple(notes)
