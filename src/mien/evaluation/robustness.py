"""Robustness: how verification and expression fare as pictures get worse, step by step, in ways of known strength.

What is decided here, once:

- Of a pair, the second picture is made worse and the first stays: a probe against a good picture in a gallery. So each
  clean picture is embedded once, and only probes are described again.
- Thresholds stay where they were for clean pictures. A threshold chosen again for each strength would flatter: nobody
  who checks a face knows how bad its picture is.
- A picture in which no face is found any more is *missed*: its genuine pairs do not match and all its pairs are errors
  in `accuracy`, as in `evaluation.verification`.
- What is done to a picture goes by the landmarks of the clean one. A picture without a face when it is clean stays as
  it is, and missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.datasets.base import ImageSet
from mien.errors import DataError, ModelError
from mien.evaluation import metrics
from mien.evaluation.classification import Classifier
from mien.evaluation.describe import Analyzer, Load, loaded, read_picture, subject
from mien.evaluation.expression import Cut, Finder, Measured, Unreadable, measure_expression
from mien.evaluation.kept_figures import KeptFigures
from mien.evaluation.metrics import Bools, Floats
from mien.evaluation.pairs import Pairs
from mien.evaluation.prefetch import prefetched
from mien.evaluation.verification import Progress
from mien.models.base import Calibration, CropSpec
from mien.ops.degrade import KINDS, degrade
from mien.types import FloatArray, ImageArray

Figures = Mapping[str, float]
Find = Callable[[ImageArray], FloatArray | None]
"""From a picture (H, W, 3) to the landmarks (5, 2) of the face that it is of, or None where no face is found."""

WITHIN = 0.01
"""How far the headline may fall before a strength counts as too harsh."""
_BATCH = 32
_DECIMALS = 6


@dataclass(frozen=True)
class Point:
    """What is measured at one strength.

    Attributes:
        strength: in the kind's unit.
        figures: by name.
    """

    strength: float
    figures: Figures


@dataclass(frozen=True, eq=False)
class RobustnessReport:
    """How one task fares as pictures get worse.

    Attributes:
        task: "verification" or "expression".
        protocol: what was made worse and which thresholds hold, in words.
        model: name of the embedder or the classifier.
        data: what was measured on.
        n: number of pairs or pictures.
        headline: the figure that counts, with its number of trials: the width of its interval follows from it.
        trials: how many pairs or pictures the headline is a share of.
        measures: name of each figure -> what it is, in words; all are shares in [0, 1].
        clean: the figures of the pictures as they are.
        curves: by kind, from mild to harsh.
        setup: what else the figures depend on, by name.
        unreadable: the pictures that could not be read; not measured.
        notes: what a reader must know.
    """

    task: str
    protocol: str
    model: str
    data: str
    n: int
    headline: str
    trials: int
    measures: Mapping[str, str]
    clean: Figures
    curves: Mapping[str, tuple[Point, ...]]
    setup: Mapping[str, str | int] = field(default_factory=dict)
    unreadable: tuple[Unreadable, ...] = ()
    notes: tuple[str, ...] = ()

    def limit(self, kind: str, within: float = WITHIN) -> float | None:
        """The harshest strength up to which the headline stays within so much of clean; None where none does."""
        last = None
        for point in self.curves[kind]:
            if point.figures[self.headline] < self.clean[self.headline] - within - 1e-9:
                break
            last = point.strength
        return last

    def interval(self, figures: Figures) -> tuple[float, float]:
        """The 95 % interval (Wilson) of the headline among these figures."""
        return metrics.wilson_interval(round(figures[self.headline] * self.trials), self.trials)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the one schema of `mien evaluate robustness`; what was not measured is absent."""
        out: dict[str, Any] = {"protocol": self.protocol, "task": self.task, "n": self.n, "model": self.model}
        out |= {"data": self.data, **self.setup, "headline": self.headline, "within": WITHIN}
        out["clean"] = self._rounded(self.clean)
        out["kinds"] = {kind: self._curve(kind) for kind in self.curves}
        out["unreadable"] = [{"path": bad.item, "error": bad.reason} for bad in self.unreadable]
        return out | {"notes": list(self.notes)}

    def _curve(self, kind: str) -> dict[str, Any]:
        limit = self.limit(kind)
        points = [{"strength": point.strength, **self._rounded(point.figures)} for point in self.curves[kind]]
        return {"unit": KINDS[kind].unit, **({} if limit is None else {"holds_to": limit}), "points": points}

    def _rounded(self, figures: Figures) -> dict[str, Any]:
        out: dict[str, Any] = {name: round(value, _DECIMALS) for name, value in figures.items()}
        return out | {f"{self.headline}_interval": [round(end, _DECIMALS) for end in self.interval(figures)]}


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds that are asked for, each once; all of `KINDS` where none is.

    Raises:
        DataError: there is no such kind.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise DataError(f"no such kind of degradation: {', '.join(unknown)}; choose from {', '.join(KINDS)}")
    return tuple(dict.fromkeys(kinds)) or tuple(KINDS)


# Verification


def evaluate_verification_robustness(
    pairs: Pairs,
    analyzer: Analyzer,
    load: Load,
    *,
    mode: str = "fast",
    fmr: float = 1e-3,
    kinds: Sequence[str] = (),
    setup: Mapping[str, str | int] | None = None,
    keep: Path | None = None,
    progress: Progress | None = None,
) -> RobustnessReport:
    """Make the second picture of every pair worse, and verify.

    Args:
        pairs: from `mien.evaluation.pairs.read_pairs`, or some of them (`sample_pairs`).
        analyzer: finds and embeds faces.
        load: reads a picture as RGB uint8 (H, W, 3).
        mode: "fast" or "accurate", as the analyzer was made; picks the record's calibration.
        fmr: which of the record's thresholds decides; without a calibration the best one on clean pictures does.
        kinds: of degradation; all by default.
        setup: what else the figures depend on, for the report.
        keep: figures are kept in this file as they are measured, and those that it holds are not measured again.
        progress: called with (pictures done, pictures in all).

    Returns:
        The report: `tar`, `fmr`, `accuracy` and `missed` at each strength.

    Raises:
        DataError: a picture cannot be read, not one pair of each kind can be compared, or there is no such kind.
        ModelError: the record has no threshold for that rate.
        MienError: `keep` holds figures of another run, or cannot be written.
    """
    kinds = check_kinds(kinds)
    if not pairs.same.any() or pairs.same.all():
        lacking = "of two people" if pairs.same.any() else "of one person"
        raise DataError(f"{pairs.source}: no pair {lacking}; verification needs both kinds")
    record = analyzer.embedder.record
    at = _record_threshold(record.calibrations.get(mode), record.name, fmr)
    setup = {"detector": analyzer.detector.record.name, "mode": mode, **(setup or {})}
    about = {"task": "verification", "model": record.name, "setup": setup, "fmr": fmr, "at": at}
    about |= {"pairs": [[str(pairs.paths[i]) for i in side] for side in (pairs.first, pairs.second)]}
    kept = None if keep is None else KeptFigures(keep, about | {"same": pairs.same.tolist()})
    ticks = _Ticks(progress, len(pairs.paths), len(np.unique(pairs.second)), kinds)
    run = _Verification(pairs, analyzer, load, at, ticks)
    protocol = (
        f"the second picture of each pair made worse, the first as it is; matched at {run.threshold_in_words(fmr)}"
    )
    return RobustnessReport(
        task="verification",
        protocol=f"{protocol}; accuracy at the threshold that is best for the clean pairs",
        model=record.name,
        data=pairs.source,
        n=len(pairs),
        headline="tar",
        trials=int(pairs.same.sum()),
        measures={
            "tar": "true matches (TAR)",
            "fmr": "false matches (FMR)",
            "accuracy": "accuracy",
            "missed": "no face found",
        },
        clean=run.clean,
        curves=_curves(kinds, run.at, kept, ticks),
        setup=setup,
    )


def sample_pairs(pairs: Pairs, most: int) -> Pairs:
    """At most so many pairs, evenly spaced over the list, half of each kind where there are enough.

    Args:
        pairs: the list.
        most: at least 2.
    """
    genuine, impostor = np.flatnonzero(pairs.same), np.flatnonzero(~pairs.same)
    of_genuine = min(len(genuine), max(most - most // 2, most - len(impostor)))
    chosen = np.sort(np.concatenate([_evenly(genuine, of_genuine), _evenly(impostor, most - of_genuine)]))
    used, again = np.unique(np.concatenate([pairs.first[chosen], pairs.second[chosen]]), return_inverse=True)
    return replace(
        pairs,
        paths=tuple(pairs.paths[i] for i in used),
        first=again[: len(chosen)],
        second=again[len(chosen) :],
        same=pairs.same[chosen],
        fold=pairs.fold[chosen],
    )


def _evenly(positions: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """At most so many of them, evenly spaced."""
    if most >= len(positions):
        return positions
    return positions[np.arange(most) * len(positions) // max(most, 1)]


def _record_threshold(calibration: Calibration | None, name: str, fmr: float) -> float | None:
    if calibration is None:
        return None
    rates = {float(rate): threshold for rate, threshold in calibration.thresholds.items()}
    if fmr not in rates:
        known = ", ".join(calibration.thresholds)
        raise ModelError(f"model {name!r} has no threshold for a false match rate of {fmr:g}; choose one of {known}")
    return rates[fmr]


class _Ticks:
    """Progress over the clean pass and every strength after it."""

    def __init__(self, progress: Progress | None, clean: int, worse: int, kinds: Sequence[str]) -> None:
        self._progress = progress
        self._worse = worse
        self._total = clean + worse * sum(len(KINDS[kind].strengths) for kind in kinds)
        self.done = 0
        """Pictures."""

    def at(self, done: int) -> None:
        """So many pictures are done."""
        self.done = done
        if self._progress is not None:
            self._progress(done, self._total)

    def skip(self) -> None:
        """A whole strength need not be measured."""
        self.at(self.done + self._worse)


def _curves(
    kinds: Sequence[str], measure: Callable[[str, float], Figures], kept: KeptFigures | None, ticks: _Ticks
) -> dict[str, tuple[Point, ...]]:
    """Measure every strength of every kind, but those that are kept."""

    def point(kind: str, strength: float) -> Point:
        name = f"{kind} {strength:g}"
        if kept is not None and (before := kept.get(name)) is not None:
            ticks.skip()
            return Point(strength, before)
        figures = measure(kind, strength)
        if kept is not None:
            kept.add(name, figures)
        return Point(strength, figures)

    return {kind: tuple(point(kind, strength) for strength in KINDS[kind].strengths) for kind in kinds}


class _Verification:
    """The clean pairs, described once, and what becomes of them when probes get worse."""

    def __init__(self, pairs: Pairs, analyzer: Analyzer, load: Load, threshold: float | None, ticks: _Ticks) -> None:
        self._pairs, self._analyzer, self._load, self._ticks = pairs, analyzer, load, ticks
        self._probes, self._probe_of = np.unique(pairs.second, return_inverse=True)
        described = self._describe(loaded(pairs.paths, load, ahead=2 * _BATCH))
        self._clean = [embedding for embedding, _ in described]
        self._landmarks = [described[i][1] for i in self._probes]
        similarities = self._similarities([self._clean[i] for i in self._probes])
        compared = similarities > -np.inf
        if not (compared & pairs.same).any() or not (compared & ~pairs.same).any():
            missed = sum(embedding is None for embedding in self._clean)
            raise DataError(
                f"{pairs.source}: no face found in {missed} of {len(pairs.paths)} pictures;"
                " not one pair of each kind could be compared"
            )
        self._best = metrics.best_threshold(similarities[compared], pairs.same[compared])
        self._of_record = threshold is not None
        self._threshold = self._best if threshold is None else threshold
        self.clean = self._figures(similarities)

    def threshold_in_words(self, fmr: float) -> str:
        """Where matches are decided, and why there."""
        which = (
            f"the record's threshold for FMR {fmr:g}" if self._of_record else "the threshold that is best when clean"
        )
        return f"{which} ({self._threshold:.4f})"

    def at(self, kind: str, strength: float) -> Figures:
        """The figures with every probe made worse."""
        worse = prefetched(range(len(self._probes)), partial(self._worse, kind, strength), ahead=2 * _BATCH)
        return self._figures(self._similarities([embedding for embedding, _ in self._describe(worse)]))

    def _worse(self, kind: str, strength: float, probe: int) -> ImageArray:
        image = read_picture(self._pairs.paths[self._probes[probe]], self._load)
        landmarks = self._landmarks[probe]
        return image if landmarks is None else degrade(image, landmarks, kind, strength)

    def _describe(self, images: Iterator[ImageArray]) -> list[tuple[FloatArray | None, FloatArray | None]]:
        """The embedding and the landmarks of the subject of each picture; None where no face is found."""
        out: list[tuple[FloatArray | None, FloatArray | None]] = []
        while batch := list(islice(images, _BATCH)):
            for faces in self._analyzer(batch):
                which = subject(faces)
                if which is None or faces.embeddings is None:
                    out.append((None, None))
                else:
                    out.append((faces.embeddings[which], faces.landmarks[which]))
            self._ticks.at(self._ticks.done + len(batch))
        return out

    def _similarities(self, probes: Sequence[FloatArray | None]) -> Floats:
        """(N,) float64, -inf for pairs with a missed picture."""
        out = np.full(len(self._pairs), -np.inf)
        for i, (first, probe) in enumerate(zip(self._pairs.first, self._probe_of, strict=True)):
            a, b = self._clean[first], probes[probe]
            if a is not None and b is not None:
                out[i] = float(self._analyzer.similarity(a[None], b[None])[0])
        return out

    def _figures(self, similarities: Floats) -> Figures:
        same, compared = self._pairs.same, similarities > -np.inf
        match = compared & (similarities >= self._threshold)
        figures = {"tar": float(match[same].mean())}
        if (compared & ~same).any():
            figures["fmr"] = float(match[compared & ~same].mean())
        right: Bools = compared & ((similarities >= self._best) == same)
        return figures | {"accuracy": float(right.mean()), "missed": float((~compared).mean())}


# Expression


def evaluate_expression_robustness(
    images: ImageSet,
    classifier: Classifier,
    *,
    find: Find,
    cut: Cut | None = None,
    kinds: Sequence[str] = (),
    setup: Mapping[str, str | int] | None = None,
    keep: Path | None = None,
    progress: Progress | None = None,
) -> RobustnessReport:
    """Make every picture worse, and name its expression.

    Args:
        images: the pictures; any labels do, not only expressions.
        classifier: the model.
        find: the landmarks of a clean picture: `subject_landmarks`, or `landmarks_in_square` of what is cut already.
        cut: finds the face of a picture and cuts it; by default pictures are taken for cut faces.
        kinds: of degradation; all by default.
        setup: what else the figures depend on, for the report.
        keep: figures are kept in this file as they are measured, and those that it holds are not measured again.
        progress: called with (pictures done, pictures in all).

    Returns:
        The report: `accuracy`, `uncertain`, `accuracy_on_rest` and (with `cut`) `missed` at each strength.

    Raises:
        DataError: there are pictures of one class only, or none that can be measured, or there is no such kind.
        ModelError: the classifier's answers are not probabilities.
        MienError: `keep` holds figures of another run, or cannot be written.
    """
    kinds = check_kinds(kinds)
    images = images.for_measuring()
    if len(np.unique(images.truth)) == 1:
        only = images.labels[images.truth[0]]
        raise DataError(f"{images.name}: every picture is of one class ({only}); any answer would do: add others")
    setup = dict(setup or {})
    about = {"task": "expression", "model": classifier.name, "setup": setup, "items": list(images.items)}
    kept = None if keep is None else KeptFigures(keep, about | {"truth": images.truth.tolist(), "cut": cut is not None})
    ticks = _Ticks(progress, len(images), len(images), kinds)
    run = _Expression(images, classifier, cut, find, ticks)
    return RobustnessReport(
        task="expression",
        protocol=f"{images.protocol}; every picture made worse",
        model=classifier.name,
        data=images.name,
        n=run.clean.figures.n,
        headline="accuracy",
        trials=run.clean.figures.n,
        measures={
            "accuracy": "accuracy",
            "uncertain": "answered uncertain",
            "accuracy_on_rest": "accuracy of the other answers",
            **({} if cut is None else {"missed": "no face found"}),
        },
        clean=run.figures(run.clean),
        curves=_curves(kinds, run.at, kept, ticks),
        setup=setup,
        unreadable=run.clean.unreadable,
        notes=run.clean.notes,
    )


def sample_images(images: ImageSet, most: int) -> ImageSet:
    """At most so many of the pictures that have an answer, evenly spaced over the set."""
    images = images.for_measuring()
    return images.subset(_evenly(np.arange(len(images)), most))


class _Expression:
    """The clean pictures, measured once, and what becomes of them when they get worse."""

    def __init__(self, images: ImageSet, classifier: Classifier, cut: Cut | None, find: Find, ticks: _Ticks) -> None:
        self._images, self._classifier, self._cut, self._find, self._ticks = images, classifier, cut, find, ticks
        self._landmarks: dict[int, FloatArray | None] = {}
        self.clean = self._measured(images)

    def at(self, kind: str, strength: float) -> Figures:
        """The figures with every picture made worse."""

        def read(i: int) -> ImageArray:
            image = self._images.read(i)
            if i not in self._landmarks:
                self._landmarks[i] = self._find(image)
            landmarks = self._landmarks[i]
            return image if landmarks is None else degrade(image, landmarks, kind, strength)

        return self.figures(self._measured(replace(self._images, read=read)))

    def figures(self, measured: Measured) -> Figures:
        """What the report shows."""
        of = measured.figures
        figures = {"accuracy": of.accuracy, "uncertain": of.uncertain}
        if not math.isnan(of.accuracy_on_rest):
            figures["accuracy_on_rest"] = of.accuracy_on_rest
        return figures if self._cut is None else figures | {"missed": measured.missed / of.n}

    def _measured(self, images: ImageSet) -> Measured:
        before = self._ticks.done
        return measure_expression(
            images, self._classifier, cut=self._cut, progress=lambda done, _: self._ticks.at(before + done)
        )


def landmarks_in_square(crop: CropSpec, image: ImageArray) -> FloatArray:
    """The landmarks (5, 2) of a picture that is a cut face: its central square is the classifier's crop."""
    height, width = image.shape[:2]
    side = min(height, width)
    corner = np.array([(width - side) // 2, (height - side) // 2], dtype=np.float32)
    landmarks: FloatArray = (crop.template_array() + 0.5) * np.float32(side / crop.size) - 0.5 + corner
    return landmarks


def subject_landmarks(detector: Finder, image: ImageArray) -> FloatArray | None:
    """The landmarks (5, 2) of the face that a picture is of (`describe.subject`), or None where none is found."""
    faces = detector([image])[0]
    which = subject(faces)
    return None if which is None else np.asarray(faces.landmarks[which], dtype=np.float32)
