"""How good a classifier's answers are: accuracy, what each class costs, and whether its confidences can be believed.

Plain numpy. A picture that got no answer at all (no face was found in it) is an error: it counts in `n`, in accuracy
and in its class's recall, but in no class's precision and in nothing that looks at probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.evaluation.metrics import Floats, Ints, Reliability, reliability, wilson_interval
from mien.types import FloatArray, ImageArray

ECE_BINS = 15
"""As in Guo et al., "On calibration of modern neural networks", 2017."""
COVERAGES: Mapping[str, float] = MappingProxyType({"0.8": 0.8, "0.9": 0.9, "0.95": 0.95})
"""Shares of the answers, the most confident first, whose accuracy reports give."""

_DECIMALS = 6
_SUM_TOLERANCE = 1e-3  # float16 networks sum to 1 only so far
_ROUNDING = 1e-9  # shares are quotients of counts; a count may miss its bound by rounding only


class Classifier(Protocol):
    """What is measured: says how likely each class is for a crop."""

    @property
    def name(self) -> str:
        """As reports call it."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The C classes."""
        ...

    @property
    def size(self) -> int:
        """Side of its square crops in pixels."""
        ...

    @property
    def threshold(self) -> float:
        """Confidence in [0, 1] under which its answer is `uncertain`; 0 where it always answers."""
        ...

    def __call__(self, crops: ImageArray) -> FloatArray:
        """Classify (N, S, S, 3) uint8 RGB crops; returns (N, C) float32 probabilities, rows sum to 1."""
        ...


@dataclass(frozen=True)
class ClassFigures:
    """How one class fares.

    Attributes:
        precision: of the pictures that were given this label, the share that deserves it; 0 where none was.
        recall: of the pictures of this class, the share that was given its label; NaN without support.
        f1: harmonic mean of the two; NaN without support.
        support: number of pictures of this class.
    """

    precision: float
    recall: float
    f1: float
    support: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what cannot be measured without support is absent."""
        known = ("precision", "recall", "f1") if self.support else ("precision",)
        return {name: round(getattr(self, name), _DECIMALS) for name in known} | {"support": self.support}


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What is gained by answering only where one is sure.

    Attributes:
        thresholds: (K,) float64, descending: every confidence that occurs, once.
        coverage: (K,) float64, ascending to 1: the share of the answers at or above each.
        accuracy: (K,) float64: how many of those are right.
    """

    thresholds: Floats
    coverage: Floats
    accuracy: Floats

    def accuracy_at(self, coverage: float) -> float:
        """Accuracy of the most confident answers, at the highest coverage that does not exceed `coverage`.

        No interpolation; answers of equal confidence are taken together. NaN where even the most confident ones are
        more than that.
        """
        within = self.accuracy[self.coverage <= coverage + _ROUNDING]
        return float(within[-1]) if len(within) else float("nan")


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """The figures of one classifier on N labelled pictures.

    Attributes:
        labels: the C classes.
        n: number of pictures.
        unanswered: number of pictures without any answer; errors.
        accuracy: share of the N that is right.
        accuracy_interval: its 95 % interval (Wilson).
        per_class: the figures of each class, in the order of `labels`.
        macro_f1: mean F1 over the classes that have support.
        balanced_accuracy: mean recall over the classes that have support.
        confusion: (C, C) int64 counts, a row for each true class, a column for each answer; a row sums to its class's
            support less its unanswered pictures.
        reliability: confidence in the answer beside its accuracy, in 15 bins.
        brier: mean over the answered of the squared error of all C probabilities, in [0, 2].
        nll: mean negative logarithm of the true class's probability, in nats (of at least 1.2e-7).
        threshold: confidence under which the model says `uncertain`.
        uncertain: share of the answered that falls under it.
        accuracy_on_rest: accuracy of the other answered; NaN where there are none.
        risk_coverage: the same for every threshold.
    """

    labels: tuple[str, ...]
    n: int
    unanswered: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    per_class: Mapping[str, ClassFigures]
    macro_f1: float
    balanced_accuracy: float
    confusion: Ints
    reliability: Reliability
    brier: float
    nll: float
    threshold: float
    uncertain: float
    accuracy_on_rest: float
    risk_coverage: RiskCoverage

    @property
    def ece(self) -> float:
        """Expected calibration error of the confidence in the answer."""
        return self.reliability.ece

    @property
    def lacking(self) -> tuple[str, ...]:
        """The classes of which there is no picture: `macro_f1` and `balanced_accuracy` say nothing about them."""
        return tuple(label for label, figures in self.per_class.items() if not figures.support)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what was not measured is absent."""
        uncertain = {"threshold": self.threshold, "share": self.uncertain, "accuracy_on_rest": self.accuracy_on_rest}
        at_coverage = {name: self.risk_coverage.accuracy_at(share) for name, share in COVERAGES.items()}
        return {
            "accuracy": round(self.accuracy, _DECIMALS),
            "accuracy_interval": [round(end, _DECIMALS) for end in self.accuracy_interval],
            "macro_f1": round(self.macro_f1, _DECIMALS),
            "balanced_accuracy": round(self.balanced_accuracy, _DECIMALS),
            "labels": list(self.labels),
            "per_class": {label: figures.to_dict() for label, figures in self.per_class.items()},
            "confusion": self.confusion.tolist(),
            "ece": round(self.ece, _DECIMALS),
            "brier": round(self.brier, _DECIMALS),
            "nll": round(self.nll, _DECIMALS),
            "uncertain": _rounded(uncertain) | {"accuracy_at_coverage": _rounded(at_coverage)},
            "reliability": self._bins(),
        }

    def _bins(self) -> list[dict[str, float]]:
        bins = self.reliability
        columns = zip(bins.edges[:-1], bins.weight, bins.said, bins.true, strict=True)
        names = ("from", "share", "confidence", "right")
        return [_rounded(dict(zip(names, column, strict=True))) for column in columns if column[1]]


def classification_report(
    probabilities: npt.ArrayLike,
    truth: npt.ArrayLike,
    labels: Sequence[str],
    threshold: float = 0.0,
    *,
    unanswered: npt.ArrayLike = (),
) -> ClassificationReport:
    """Measure a classifier's answers. The answer is the most probable class, its confidence that probability.

    Args:
        probabilities: (N, C) floats in [0, 1], rows sum to 1.
        truth: (N,) integers in [0, C).
        labels: the C classes.
        threshold: confidence under which the answer is `uncertain`.
        unanswered: (M,) integers in [0, C): the true classes of pictures that got no answer.

    Raises:
        DataError: there is no answer to measure.
        ValueError: the arrays do not fit, or are not probabilities and classes.
    """
    p, true, lost, labels = _checked(probabilities, truth, unanswered, labels)
    rows = np.arange(len(p))
    answer, confidence = p.argmax(axis=1), p.max(axis=1)
    right = answer == true
    n, correct = len(p) + len(lost), int(right.sum())
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (true, answer), 1)
    per_class = _per_class(confusion, np.bincount(lost, minlength=len(labels)), labels)
    measured = [figures for figures in per_class.values() if figures.support]
    sure = confidence >= threshold
    errors = p.copy()
    errors[rows, true] -= 1
    return ClassificationReport(
        labels=labels,
        n=n,
        unanswered=len(lost),
        accuracy=correct / n,
        accuracy_interval=wilson_interval(correct, n),
        per_class=MappingProxyType(per_class),
        macro_f1=float(np.mean([figures.f1 for figures in measured])),
        balanced_accuracy=float(np.mean([figures.recall for figures in measured])),
        confusion=confusion,
        reliability=reliability(np.minimum(confidence, 1.0), right, bins=ECE_BINS),
        brier=float(np.mean(np.sum(errors**2, axis=1))),
        nll=float(-np.mean(np.log(np.maximum(p[rows, true], np.finfo(np.float32).eps)))),
        threshold=float(threshold),
        uncertain=float(1 - sure.mean()),
        accuracy_on_rest=float(right[sure].mean()) if sure.any() else float("nan"),
        risk_coverage=risk_coverage(confidence, right),
    )


def risk_coverage(confidences: npt.ArrayLike, right: npt.ArrayLike) -> RiskCoverage:
    """Accuracy of the most confident answers, for every number of them that a threshold can choose.

    Args:
        confidences: (N,) finite floats, N >= 1.
        right: (N,) bool.
    """
    values, inverse = np.unique(np.asarray(confidences, dtype=np.float64), return_inverse=True)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("confidences must be finite, and at least one")
    held = np.bincount(inverse, minlength=len(values))[::-1].cumsum()
    correct = np.bincount(inverse, np.asarray(right, dtype=np.float64), minlength=len(values))[::-1].cumsum()
    return RiskCoverage(values[::-1], held / held[-1], correct / held)


def _per_class(confusion: Ints, lost: Ints, labels: Sequence[str]) -> dict[str, ClassFigures]:
    hits, answers = np.diag(confusion), confusion.sum(axis=0)
    support = confusion.sum(axis=1) + lost
    out = {}
    for label, hit, given, held in zip(labels, hits.tolist(), answers.tolist(), support.tolist(), strict=True):
        precision = hit / given if given else 0.0
        recall = hit / held if held else float("nan")
        f1 = 2 * hit / (given + held) if held else float("nan")
        out[label] = ClassFigures(precision, recall, f1, held)
    return out


def _checked(
    probabilities: npt.ArrayLike, truth: npt.ArrayLike, unanswered: npt.ArrayLike, labels: Sequence[str]
) -> tuple[Floats, Ints, Ints, tuple[str, ...]]:
    """All as arrays that fit, or an error."""
    p, true, lost = np.asarray(probabilities, dtype=np.float64), _integers(truth), _integers(unanswered)
    if len(set(labels)) != len(labels):
        raise ValueError(f"labels must differ: {list(labels)}")
    if p.size == 0:
        raise DataError("there is nothing to measure: not one picture got an answer")
    if p.shape != (len(true), len(labels)):
        raise ValueError(f"probabilities {p.shape} must be ({len(true)}, {len(labels)}): pictures by labels")
    if not ((p >= -_ROUNDING) & (p <= 1 + _SUM_TOLERANCE)).all() or np.abs(p.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        raise ValueError("probabilities must lie in [0, 1] and sum to 1 in each row")
    for classes in (true, lost):
        if ((classes < 0) | (classes >= len(labels))).any():
            raise ValueError(f"true classes must lie in [0, {len(labels)})")
    return p, true, lost, tuple(labels)


def _integers(values: npt.ArrayLike) -> Ints:
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise ValueError(f"true classes must be (N,) integers, not {array.dtype} {array.shape}")
    return array.astype(np.int64)


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is NaN."""
    return {name: round(float(value), _DECIMALS) for name, value in values.items() if not np.isnan(value)}
