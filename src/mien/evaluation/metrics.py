"""How good similarities are: error rates, thresholds and calibrated probabilities, in plain numpy.

Two faces count as one person when their similarity is at or above a threshold. The vocabulary is that of
ISO/IEC 19795-1: a *genuine* pair shows one person, an *impostor* pair two; FMR is the share of impostor pairs
that match, FNMR the share of genuine pairs that do not, TMR = 1 - FNMR. "TAR at FAR" is the literature's name
for TMR at a given FMR. Every function takes similarities as (N,) floats in which higher means more alike;
-inf stands for a pair that could not be compared and therefore never matches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

FALSE_MATCH_RATES: Mapping[str, float] = MappingProxyType({"1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4})

# Rates are quotients of counts; a count may miss its bound by rounding only.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Roc:
    """A receiver operating characteristic, from the strictest threshold to the laxest.

    Attributes:
        thresholds: (K + 1,) float64, descending: +inf, then every similarity that occurs, once.
        fmr: (K + 1,) float64, ascending in [0, 1]: share of impostor pairs at or above each threshold.
        tmr: (K + 1,) float64, ascending in [0, 1]: share of genuine pairs at or above each threshold.
        genuine: number of genuine pairs.
        impostors: number of impostor pairs.
    """

    thresholds: Floats
    fmr: Floats
    tmr: Floats
    genuine: int
    impostors: int


def roc(similarities: npt.ArrayLike, same: npt.ArrayLike) -> Roc:
    """Trace both error rates over all thresholds.

    Pairs of equal similarity are accepted together, as any threshold would: the curve has one point for each
    similarity that occurs, not one for each pair.

    Args:
        similarities: (N,) floats; -inf never matches (only the curve's formal last point, (1, 1), accepts
            it).
        same: (N,) bool, True for genuine pairs.

    Returns:
        The curve.

    Raises:
        ValueError: the arrays do not fit, hold NaN, or one of the two kinds of pairs is absent.
    """
    values, genuine, impostor = _accepted(*_checked(similarities, same))
    return Roc(
        thresholds=np.concatenate([[np.inf], values]),
        fmr=impostor / impostor[-1],
        tmr=genuine / genuine[-1],
        genuine=int(genuine[-1]),
        impostors=int(impostor[-1]),
    )


def measurable(count: int, rate: float) -> bool:
    """Whether `count` trials can measure `rate`: whether they are expected to show it at least once."""
    return count * rate >= 1 - _ROUNDING


def tar_at_far(curve: Roc, rates: Mapping[str, float] = FALSE_MATCH_RATES) -> dict[str, float]:
    """True match rate at each false match rate.

    With fewer than 1 / rate impostor pairs (see `measurable`) it only says "with no false match among them", the same
    as `tar_at_zero`: at a threshold whose true FMR may well be higher. Who shows it must say so.

    Args:
        curve: from `roc`.
        rates: name -> false match rate.

    Returns:
        By name, the highest TMR whose measured FMR does not exceed the rate. No interpolation: a threshold
        exists that has exactly these error rates on these pairs.
    """
    return {name: float(curve.tmr[curve.fmr <= rate * (1 + _ROUNDING)][-1]) for name, rate in rates.items()}


def tar_at_zero(curve: Roc) -> float:
    """True match rate at the laxest threshold that lets no impostor pair match."""
    return float(curve.tmr[curve.fmr == 0][-1])


def auc(curve: Roc) -> float:
    """Area under the curve: the chance that a genuine pair beats an impostor pair, ties counting half."""
    return float(np.sum(np.diff(curve.fmr) * (curve.tmr[1:] + curve.tmr[:-1]) / 2))


def eer(curve: Roc) -> float:
    """Equal error rate: where FMR and FNMR meet, on the straight line between the two points around it."""
    gap = 1 - curve.tmr - curve.fmr  # falls from 1 to -1 along the curve
    after = int(np.argmax(gap <= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(curve.fmr[after - 1] + share * (curve.fmr[after] - curve.fmr[after - 1]))


def best_threshold(similarities: npt.ArrayLike, same: npt.ArrayLike) -> float:
    """The threshold with the highest accuracy.

    Among equally good ones it lies in the middle of the widest gap between two neighbouring similarities: the
    choice that other pairs are least likely to upset. Where accepting all or none is best, it lies at that
    end.

    Args:
        similarities: (N,) finite floats.
        same: (N,) bool, both kinds present.

    Returns:
        A threshold; `similarity >= threshold` is the decision.
    """
    values, genuine, impostor = _accepted(*_checked(similarities, same, finite=True))
    correct = genuine - impostor  # up to a constant, for each number of distinct similarities accepted
    width = np.concatenate([[0.0], values[:-1] - values[1:], [0.0]])
    accepted = int(np.argmax(np.where(correct == correct.max(), width, -1.0)))
    if accepted == 0:
        return float(np.nextafter(values[0], np.inf))
    if accepted == len(values):
        return float(values[-1])
    above, below = float(values[accepted - 1]), float(values[accepted])
    middle = below + (above - below) / 2
    return middle if middle > below else above


def threshold_at_fmr(impostor_similarities: npt.ArrayLike, fmr: float) -> float:
    """The lowest threshold whose measured false match rate does not exceed `fmr`.

    Conservative with ties: where accepting all pairs of one similarity would exceed the rate, none of them is
    accepted, and the threshold lies just above them.

    Args:
        impostor_similarities: (N,) finite floats; float32 gives a threshold that float32 can tell from the
            similarity below it.
        fmr: in (0, 1).

    Returns:
        A threshold; `similarity >= threshold` is the decision.

    Raises:
        ValueError: fewer than 1 / fmr similarities, which cannot measure the rate, or non-finite ones.
    """
    scores = np.asarray(impostor_similarities)
    if scores.dtype != np.float32:
        scores = scores.astype(np.float64)
    if not np.isfinite(scores).all() or not 0 < fmr < 1:
        raise ValueError("similarities must be finite and the false match rate between 0 and 1")
    if not measurable(len(scores), fmr):
        raise ValueError(f"{len(scores)} impostor pairs cannot measure a false match rate of {fmr:g}")
    allowed = int(len(scores) * fmr + _ROUNDING)
    first_refused = np.sort(scores)[::-1][allowed]
    return float(np.nextafter(first_refused, np.asarray(np.inf, scores.dtype)))


def error_rates(similarities: npt.ArrayLike, same: npt.ArrayLike, threshold: float) -> tuple[float, float]:
    """(FMR, FNMR) at one threshold.

    Args:
        similarities: (N,) floats; -inf never matches.
        same: (N,) bool, both kinds present.
        threshold: similarity at or above which a pair matches.
    """
    scores, labels = _checked(similarities, same)
    match = (scores >= threshold) & (scores > -np.inf)
    return float(match[~labels].mean()), float((~match)[labels].mean())


def standard_error(values: npt.ArrayLike) -> float:
    """Standard error of the mean of (K,) values, one a fold: their standard deviation (n - 1) / sqrt(K).

    Huang et al., "Labeled Faces in the Wild", 2007, section 4 (their S_E). NaN for one value only.
    """
    folds = np.asarray(values, dtype=np.float64)
    return float(folds.std(ddof=1) / math.sqrt(len(folds))) if len(folds) > 1 else math.nan


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a rate, by Wilson's score method (1927): sound for few trials and at 0 or 1.

    Args:
        successes: in [0, trials].
        trials: at least 1.
        confidence: in (0, 1).

    Returns:
        (low, high) in [0, 1].
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials} is not a rate")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def fit_logistic(similarities: npt.ArrayLike, same: npt.ArrayLike) -> tuple[float, float]:
    """Slope and intercept of the probability that a pair is genuine, at even prior odds.

    Platt scaling (Platt 1999) by Newton's method with backtracking (Lin, Lin and Weng 2007). Platt's targets,
    which stop a little short of 0 and 1, keep the slope finite where the kinds do not overlap. Each kind
    weighs one half in all, so the share of genuine pairs in the data does not leak into the probability.

    Args:
        similarities: (N,) finite floats.
        same: (N,) bool, both kinds present.

    Returns:
        (slope, intercept) for `logistic`.
    """
    scores, labels = _checked(similarities, same, finite=True)
    genuine, impostors = int(labels.sum()), int((~labels).sum())
    target = np.where(labels, (genuine + 1) / (genuine + 2), 1 / (impostors + 2))
    # Newton works on standardised similarities: those of a good model span a tenth of the range, far from
    # zero.
    centre, scale = float(scores.mean()), float(scores.std()) or 1.0
    design = np.stack([(scores - centre) / scale, np.ones_like(scores)], axis=1)
    slope, intercept = _newton(design, target, even_weights(labels))
    return slope / scale, intercept - slope * centre / scale


def _newton(design: Floats, target: Floats, weights: Floats, steps: int = 100) -> tuple[float, float]:
    """Minimise the weighted cross-entropy of a logistic model; `design` is (N, 2)."""
    x = np.zeros(2)
    loss = _cross_entropy(design @ x, target, weights)
    for _ in range(steps):
        p = _sigmoid(design @ x)
        gradient = design.T @ (weights * (p - target))
        if np.abs(gradient).max() < 1e-12:
            break
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10 and _cross_entropy(design @ (x - size * step), target, weights) > loss:
            size /= 2
        x = x - size * step
        loss = _cross_entropy(design @ x, target, weights)
    return float(x[0]), float(x[1])


def _cross_entropy(logits: Floats, target: Floats, weights: Floats) -> float:
    return float(np.sum(weights * (np.logaddexp(0.0, logits) - target * logits)))


def _sigmoid(logits: Floats) -> Floats:
    p: Floats = np.exp(-np.logaddexp(0.0, -logits))
    return p


def logistic(similarities: npt.ArrayLike, slope: float, intercept: float) -> Floats:
    """1 / (1 + exp(-(slope * similarity + intercept))), (N,) float64, without overflow."""
    return _sigmoid(slope * np.asarray(similarities, dtype=np.float64) + intercept)


def even_weights(same: npt.ArrayLike) -> Floats:
    """(N,) float64 weights that sum to 1, half of it over each kind of pair: even prior odds."""
    labels = np.asarray(same, dtype=np.bool_)
    weights: Floats = np.where(labels, 0.5 / max(1, labels.sum()), 0.5 / max(1, (~labels).sum()))
    return weights


def brier(probabilities: npt.ArrayLike, same: npt.ArrayLike) -> float:
    """Mean squared error of the probability (Brier 1950), at even prior odds; 0.25 for saying one half.

    Args:
        probabilities: (N,) floats in [0, 1] that each pair is genuine.
        same: (N,) bool, both kinds present.
    """
    p, labels = _checked(probabilities, same, finite=True)
    return float(np.sum(even_weights(labels) * (p - labels) ** 2))


def expected_calibration_error(probabilities: npt.ArrayLike, same: npt.ArrayLike, bins: int = 10) -> float:
    """Mean gap between what the probability says and what is true, at even prior odds.

    Pairs are put in `bins` equal-width bins of probability; each bin adds the gap between its mean
    probability and its share of genuine pairs, by its weight (Naeini, Cooper and Hauskrecht 2015; here on
    P(same) rather than on the confidence in the answer, so that over- and under-confidence on either side
    cannot cancel).

    Args:
        probabilities: (N,) floats in [0, 1] that each pair is genuine.
        same: (N,) bool, both kinds present.
        bins: number of bins.
    """
    p, labels = _checked(probabilities, same, finite=True)
    return reliability(p, labels, bins=bins, weights=even_weights(labels)).ece


@dataclass(frozen=True, eq=False)
class Reliability:
    """What a probability says beside what is true, in B bins of equal width over [0, 1].

    Attributes:
        weight: (B,) float64, the share of all answers that falls in each bin; sums to 1.
        said: (B,) float64, the mean probability in each bin; NaN where it is empty.
        true: (B,) float64, how often that came true; NaN where it is empty.
    """

    weight: Floats
    said: Floats
    true: Floats

    @property
    def edges(self) -> Floats:
        """(B + 1,) float64: the bins' bounds; each holds its lower one, the last both."""
        return np.linspace(0.0, 1.0, len(self.weight) + 1)

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap between `said` and `true`, by weight."""
        held = self.weight > 0
        return float(np.sum(self.weight[held] * np.abs(self.said[held] - self.true[held])))


def reliability(
    probabilities: npt.ArrayLike, right: npt.ArrayLike, *, bins: int = 15, weights: Floats | None = None
) -> Reliability:
    """Sort answers into bins of equal width by the probability they were given.

    Args:
        probabilities: (N,) floats in [0, 1], N >= 1, that each answer is right.
        right: (N,) bool, whether it is.
        bins: number of bins.
        weights: (N,) float64 that sum to 1; equal ones by default.

    Raises:
        ValueError: the arrays do not fit, are empty, or a probability lies outside [0, 1].
    """
    p, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    if p.ndim != 1 or p.shape != truth.shape or not len(p):
        raise ValueError(f"probabilities {p.shape} and right {truth.shape} must both be (N,), N at least 1")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]")
    share = np.full(len(p), 1 / len(p)) if weights is None else weights
    which = np.minimum((p * bins).astype(np.int64), bins - 1)
    weight, said, true = np.zeros(bins), np.zeros(bins), np.zeros(bins)
    for total, values in ((weight, np.ones_like(p)), (said, p), (true, truth)):
        np.add.at(total, which, share * values)
    with np.errstate(invalid="ignore"):
        return Reliability(weight, said / weight, true / weight)


def _checked(similarities: npt.ArrayLike, same: npt.ArrayLike, *, finite: bool = False) -> tuple[Floats, Bools]:
    """Both as arrays of one length with both kinds of pairs, or a ValueError."""
    scores, labels = np.asarray(similarities, dtype=np.float64), np.asarray(same, dtype=np.bool_)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"similarities {scores.shape} and same {labels.shape} must both be (N,)")
    if np.isnan(scores).any() or (finite and not np.isfinite(scores).all()):
        raise ValueError("similarities must be finite" if finite else "similarities must not be NaN")
    if labels.all() or not labels.any():
        raise ValueError("both genuine and impostor pairs are needed")
    return scores, labels


def _accepted(scores: Floats, labels: Bools) -> tuple[Floats, Ints, Ints]:
    """Distinct similarities, descending (K,); genuine and impostor pairs the k highest accept, (K + 1,)."""
    values, inverse = np.unique(scores, return_inverse=True)
    per_value = np.zeros((2, len(values) + 1), dtype=np.int64)
    np.add.at(per_value, (labels.astype(np.int64), len(values) - inverse), 1)
    impostor, genuine = per_value.cumsum(axis=1)
    return values[::-1], genuine, impostor
