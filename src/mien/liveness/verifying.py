"""Is it them? One to one, against the faces that the gallery has of one person, at a strict false match rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien.errors import LivenessError
from mien.gallery.decision import Rule, match
from mien.gallery.gallery import Gallery
from mien.liveness.observing import Look
from mien.types import FloatArray

__all__ = ["FMR", "Probe", "Verdict", "best_probes", "likeness", "probe_of", "verify"]

FMR = 1e-4
"""The share of other people who would be taken for the person."""
PROBES = 10  # with five, a few poor frames decide: of 200 simulated attempts 163 reach the threshold instead of 178
_EITHER = 0.5
_FRONTAL = 15.0  # degrees of yaw
_LEAST_QUALITY = 0.5
_STRICTEST = 1e-6


@dataclass(frozen=True, eq=False)
class Probe:
    """An embedding of the attempt.

    Attributes:
        time: of its frame, in seconds.
        quality: of the face, in [0, 1].
        embedding: (D,) float32.
    """

    time: float
    quality: float
    embedding: FloatArray


@dataclass(frozen=True)
class Verdict:
    """Whether it is the person.

    Attributes:
        same: the answer.
        similarity: see `likeness`.
        threshold: that it had to reach.
        fmr: the false match rate that the threshold stands for.
        probes: how many frames were compared.
    """

    same: bool
    similarity: float
    threshold: float
    fmr: float
    probes: int


def probe_of(time: float, look: Look) -> Probe | None:
    """The probe that a look is, where it was embedded, looks this way and is at rest: actions change a face."""
    at_rest = look.happiness < _EITHER and look.mouth < _EITHER and look.eyes > _EITHER
    if look.embedding is None or abs(look.yaw) > _FRONTAL or look.quality < _LEAST_QUALITY or not at_rest:
        return None
    return Probe(time, look.quality, look.embedding)


def best_probes(probes: Sequence[Probe], most: int = PROBES) -> list[Probe]:
    """The best of an attempt: of its first half and of its second in turns, so that both ends are compared."""
    if not probes:
        return []
    middle = (probes[0].time + probes[-1].time) / 2
    early, late = ([p for p in probes if (p.time <= middle) is first] for first in (True, False))
    halves = [sorted(half, key=lambda p: -p.quality) for half in (early, late)]
    chosen: list[Probe] = []
    while len(chosen) < most and any(halves):
        chosen += [half.pop(0) for half in halves if half]
    return chosen[:most]


def likeness(rule: Rule, probes: Sequence[Probe], enrolled: FloatArray) -> float:
    """The median similarity to a person, of the early probes or of the late ones: whichever is lower.

    Somebody who changes places with another on the way is found at one of both ends.

    Args:
        rule: of the embedder.
        probes: at least one.
        enrolled: (N, D) float32, the person's faces.
    """
    embeddings = np.stack([probe.embedding for probe in probes])
    _, found = match(rule, embeddings, enrolled, np.zeros(len(enrolled), np.int64), 1)
    times = np.array([probe.time for probe in probes])
    early = times <= (times.min() + times.max()) / 2
    sides = (found[side, 0] for side in (early, ~early) if side.any())
    return min(float(np.quantile(values, 0.5, method="lower")) for values in sides)


def verify(gallery: Gallery, person: str, probes: Sequence[Probe], *, fmr: float = FMR) -> Verdict:
    """Compare an attempt with one person.

    `likeness` has to reach the threshold, and most of the probes must not be answered somebody else's name by the
    gallery: whoever was said not to be this person (`Gallery.forbid`) is not.

    Args:
        gallery: has the person.
        person: id.
        probes: of the attempt.
        fmr: the false match rate at which to decide, up to 1e-2.

    Raises:
        GalleryError: there is no such person, or the gallery cannot be read.
        LivenessError: the person has no face in the gallery.
        ModelError: nobody has measured the gallery's embedder.
        ValueError: `fmr` is out of range.
    """
    if not _STRICTEST <= fmr <= 1e-2:
        raise ValueError(f"a false match rate of {fmr:g}; it lies between {_STRICTEST:g} and 0.01 here")
    rule = gallery.rule()
    enrolled = [face.id for face in gallery.faces(person)]
    if not enrolled:
        raise LivenessError("this person has no face in the gallery; enrol one first (`mien gallery enrol`)")
    threshold = rule.threshold([len(enrolled)], fmr)
    if not probes:
        return Verdict(False, -1.0, threshold, fmr, 0)
    embeddings = np.stack([probe.embedding for probe in probes])
    similarity = likeness(rule, probes, gallery.vectors(enrolled))
    same = similarity >= threshold
    if same:  # strangers are not looked up: their attempt leaves no search in the gallery's audit trail
        answers = gallery.identify(embeddings, k=1, threshold=threshold)
        same = sum(answer.person == person for answer in answers) * 2 > len(answers)
    return Verdict(same, similarity, threshold, fmr, len(probes))
