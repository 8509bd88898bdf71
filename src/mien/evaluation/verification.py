"""Verification: are two pictures of one person? LFW's View 2 protocol, and how mien's own thresholds fare.

Two questions are answered side by side. *How good is the model?* LFW's protocol (Huang et al. 2007): for each
fold the threshold is the best one on the other folds; accuracy is the mean over folds with its standard
error. *What do users get?* The error rates at the thresholds in the model's record, which saw none of these
pairs, and how honest its probability is.

A picture in which no face is found is *missed*, and so is each pair that it is in. Missed pairs are never
dropped from the headline:

- accuracy: a missed pair is answered "different" at every threshold, and counts as an error even where two
people are
  shown: the answer was not earned, and otherwise finding no face would be right half of the time.
- TMR, FNMR, AUC, EER: a missed genuine pair matches at no threshold, so it lowers TMR everywhere.
- FMR: a missed impostor pair is left out. It can never match, so keeping it would flatter every rate.
- the choice of thresholds and the probability look only at pairs that were compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.evaluation import metrics
from mien.evaluation.metrics import Bools, Floats, Ints
from mien.evaluation.pairs import Pairs
from mien.models.base import Calibration
from mien.types import FloatArray

Progress = Callable[[int, int], None]

# A single fold is cut into this many parts, as many as View 2 has folds.
_PARTS = 10

_DECIMALS = 6


class Describer(Protocol):
    """What is evaluated: turns pictures into embeddings and compares them."""

    @property
    def model(self) -> str:
        """Name of the embedder, for the report."""
        ...

    @property
    def setup(self) -> Mapping[str, str]:
        """What else the figures depend on, by name: detector, mode."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """The record's thresholds and probability for this setup, if it has them."""
        ...

    def __call__(self, paths: Sequence[Any], *, progress: Progress | None = None) -> Sequence[FloatArray | None]:
        """Describe pictures.

        Args:
            paths: the pictures, each once.
            progress: called with (done, total) as it goes.

        Returns:
            For each, a (D,) embedding, or None where no face was found.
        """
        ...

    def similarity(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """(N, D) and (N, D) to (N,): the similarity of each row of `a` with the same row of `b`."""
        ...


@dataclass(frozen=True)
class FixedThreshold:
    """What one of the record's thresholds does on these pairs.

    Attributes:
        threshold: similarity at or above which a pair matches.
        accuracy: share of all pairs answered right; missed ones are errors.
        fmr: false match rate over the impostor pairs that were compared.
        fmr_interval: its 95 % interval (Wilson).
        fnmr: false non-match rate over all genuine pairs; missed ones are errors.
    """

    threshold: float
    accuracy: float
    fmr: float
    fmr_interval: tuple[float, float]
    fnmr: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "threshold": round(self.threshold, _DECIMALS),
            "accuracy": round(self.accuracy, _DECIMALS),
            "fmr": round(self.fmr, _DECIMALS),
            "fmr_interval": [round(end, _DECIMALS) for end in self.fmr_interval],
            "fnmr": round(self.fnmr, _DECIMALS),
        }


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """The figures of one model on one list of pairs.

    Attributes:
        protocol: how the thresholds of `accuracy` were chosen, in words.
        model: name of the embedder.
        setup: what else the figures depend on: detector, mode.
        n: number of pairs.
        pictures: number of different pictures.
        missed: number of pictures in which no face was found.
        missed_pairs: number of pairs with such a picture; each is an error in `accuracy`.
        accuracy: mean over folds, in [0, 1].
        accuracy_se: its standard error over folds.
        fold_accuracies: one per fold.
        fold_thresholds: one per fold, chosen on the other folds.
        impostors: number of pairs of different people in which both faces were found. Fewer than 1 / rate cannot
            measure a rate: `tar_at_far` then equals `tar_at_zero`.
        tar_at_far: by name ("1e-3").
        tar_at_zero: TMR at the laxest threshold without any false match.
        auc: area under the ROC.
        eer: equal error rate.
        fixed: what the record's thresholds do, by the FMR they were set for; empty without a calibration.
        brier: Brier score of the record's probability; None without a calibration.
        ece: expected calibration error of the record's probability; None without a calibration.
        similarities: (N,) float64, -inf for missed pairs.
        same: (N,) bool.
    """

    protocol: str
    model: str
    setup: Mapping[str, str]
    n: int
    pictures: int
    missed: int
    missed_pairs: int
    accuracy: float
    accuracy_se: float
    fold_accuracies: tuple[float, ...]
    fold_thresholds: tuple[float, ...]
    impostors: int
    tar_at_far: Mapping[str, float]
    tar_at_zero: float
    auc: float
    eer: float
    fixed: Mapping[str, FixedThreshold] = field(default_factory=dict)
    brier: float | None = None
    ece: float | None = None
    similarities: Floats = field(default_factory=lambda: np.zeros(0), repr=False)
    same: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_), repr=False)

    @property
    def roc(self) -> metrics.Roc:
        """The curve behind the rates: every pair but the missed impostor pairs."""
        return _curve(self.similarities, self.same)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the one schema of `mien evaluate verification`; what was not measured is absent."""
        out: dict[str, Any] = {"protocol": self.protocol, "n": self.n, "model": self.model, **self.setup}
        out["accuracy"] = {
            "mean": round(self.accuracy, _DECIMALS),
            "se": round(self.accuracy_se, _DECIMALS),
            "folds": [round(value, _DECIMALS) for value in self.fold_accuracies],
            "thresholds": [round(value, _DECIMALS) for value in self.fold_thresholds],
        }
        out["tar_at_far"] = {name: round(value, _DECIMALS) for name, value in self.tar_at_far.items()}
        for name in ("tar_at_zero", "auc", "eer"):
            out[name] = round(getattr(self, name), _DECIMALS)
        out |= {"missed": self.missed, "missed_pairs": self.missed_pairs}
        out |= {"pictures": self.pictures, "impostors": self.impostors}
        if self.fixed:
            out["at_thresholds"] = {name: fixed.to_dict() for name, fixed in self.fixed.items()}
        if self.brier is not None and self.ece is not None:
            out["probability"] = {"brier": round(self.brier, _DECIMALS), "ece": round(self.ece, _DECIMALS)}
        return out


def evaluate_verification(pairs: Pairs, describe: Describer, *, progress: Progress | None = None) -> VerificationReport:
    """Run LFW's View 2 protocol over `pairs`, and measure the record's thresholds and probability on them.

    One single fold has no others to choose its threshold on. It is then cut into ten parts, which take the
    role of folds, and the report's `protocol` says so. The parts are runs of the list rather than a shuffle:
    lists sorted by name, as LFW's are, so keep the pairs of one person in one part.

    Args:
        pairs: from `mien.evaluation.pairs.read_pairs`.
        describe: the model; called once, with every picture once.
        progress: called with (pictures done, pictures in all).

    Returns:
        The report.

    Raises:
        DataError: too few pairs, or too few with a face in both pictures, to choose a threshold.
    """
    similarities, missed = score_pairs(pairs, describe, progress=progress)
    compared = similarities > -np.inf
    if not (compared & pairs.same).any() or not (compared & ~pairs.same).any():
        raise DataError(
            f"{pairs.source}: no face found in {missed} of {len(pairs.paths)} pictures; "
            "not one pair of each kind could be compared"
        )
    protocol, fold = _folds(pairs)
    accuracies, thresholds = _cross_validated(similarities, pairs.same, fold, pairs.source)
    curve = _curve(similarities, pairs.same)
    return VerificationReport(
        protocol=protocol,
        model=describe.model,
        setup=dict(describe.setup),
        n=len(pairs),
        pictures=len(pairs.paths),
        missed=missed,
        missed_pairs=int((~compared).sum()),
        accuracy=float(np.mean(accuracies)),
        accuracy_se=metrics.standard_error(accuracies),
        fold_accuracies=tuple(accuracies),
        fold_thresholds=tuple(thresholds),
        impostors=curve.impostors,
        tar_at_far=metrics.tar_at_far(curve),
        tar_at_zero=metrics.tar_at_zero(curve),
        auc=metrics.auc(curve),
        eer=metrics.eer(curve),
        similarities=similarities,
        same=pairs.same,
        **_as_shipped(similarities, pairs.same, describe.calibration),
    )


def score_pairs(pairs: Pairs, describe: Describer, *, progress: Progress | None = None) -> tuple[Floats, int]:
    """Compare every pair.

    Args:
        pairs: the pairs.
        describe: the model.
        progress: called with (pictures done, pictures in all).

    Returns:
        (N,) float64 similarities, -inf for missed pairs; and the number of missed pictures.

    Raises:
        ValueError: `describe` breaks its contract.
    """
    described = describe(pairs.paths, progress=progress)
    if len(described) != len(pairs.paths):
        raise ValueError(f"{len(pairs.paths)} pictures gave {len(described)} embeddings")
    seen = np.array([embedding is not None for embedding in described], dtype=np.bool_)
    similarities = np.full(len(pairs), -np.inf)
    compared = seen[pairs.first] & seen[pairs.second]
    if compared.any():
        embeddings = np.stack([embedding for embedding in described if embedding is not None])
        row = np.cumsum(seen) - 1  # picture -> row of `embeddings`
        found = describe.similarity(embeddings[row[pairs.first[compared]]], embeddings[row[pairs.second[compared]]])
        if found.shape != (compared.sum(),) or not np.isfinite(found).all():
            raise ValueError("similarities must be finite and one for each pair")
        similarities[compared] = found
    return similarities, int((~seen).sum())


def _folds(pairs: Pairs) -> tuple[str, Ints]:
    """The protocol in words, and the (N,) fold of each pair."""
    count = len(np.unique(pairs.fold))
    if count > 1:
        return f"{count} folds, the threshold of each chosen on the others (LFW View 2)", pairs.fold
    parts = min(_PARTS, int(pairs.same.sum()), int((~pairs.same).sum()))
    if parts < 2:
        raise DataError(f"{pairs.source}: one fold needs at least two pairs of each kind")
    fold = np.empty(len(pairs), dtype=np.int64)
    for kind in (pairs.same, ~pairs.same):
        fold[kind] = np.arange(kind.sum()) * parts // kind.sum()
    words = f"one fold, threshold by {parts}-fold cross-validation inside it (its parts may share people)"
    return words, fold


def _cross_validated(similarities: Floats, same: Bools, fold: Ints, source: str) -> tuple[list[float], list[float]]:
    """(accuracy, threshold) of each fold, the threshold being the best one on the other folds."""
    compared = similarities > -np.inf
    accuracies, thresholds = [], []
    for k in np.unique(fold):
        inside, others = fold == k, (fold != k) & compared
        if not (same & others).any() or not (~same & others).any():
            raise DataError(f"{source}: the folds other than {k} hold too few pairs to choose a threshold")
        threshold = metrics.best_threshold(similarities[others], same[others])
        accuracies.append(float(_right(similarities, same, threshold)[inside].mean()))
        thresholds.append(threshold)
    return accuracies, thresholds


def _right(similarities: Floats, same: Bools, threshold: float) -> Bools:
    """(N,) bool: which pairs are answered right; missed ones never are."""
    right: npt.NDArray[np.bool_] = ((similarities >= threshold) == same) & (similarities > -np.inf)
    return right


def _curve(similarities: Floats, same: Bools) -> metrics.Roc:
    """The ROC without the missed impostor pairs."""
    kept = same | (similarities > -np.inf)
    return metrics.roc(similarities[kept], same[kept])


def _as_shipped(similarities: Floats, same: Bools, calibration: Calibration | None) -> dict[str, Any]:
    """The report's `fixed`, `brier` and `ece`; nothing without a calibration."""
    if calibration is None:
        return {}
    fixed = {name: _at_threshold(similarities, same, threshold) for name, threshold in calibration.thresholds.items()}
    compared = similarities > -np.inf
    probability = metrics.logistic(similarities[compared], *calibration.logistic)
    return {
        "fixed": fixed,
        "brier": metrics.brier(probability, same[compared]),
        "ece": metrics.expected_calibration_error(probability, same[compared]),
    }


def _at_threshold(similarities: Floats, same: Bools, threshold: float) -> FixedThreshold:
    kept = same | (similarities > -np.inf)
    fmr, fnmr = metrics.error_rates(similarities[kept], same[kept], threshold)
    impostors = int((kept & ~same).sum())
    return FixedThreshold(
        threshold=float(threshold),
        accuracy=float(_right(similarities, same, threshold).mean()),
        fmr=fmr,
        fmr_interval=metrics.wilson_interval(round(fmr * impostors), impostors),
        fnmr=fnmr,
    )
