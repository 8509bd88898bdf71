"""Honest confidences: the temperature, and the confidence under which to say `uncertain`. Set on data never trained on.

Plain numpy. `fit_temperature` divides a network's logits by one number, which changes no answer and only how sure it
sounds (Guo et al., "On calibration of modern neural networks", 2017).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.evaluation.metrics import Floats
from mien.ops.softmax import softmax

TEMPERATURES = (0.05, 20.0)
"""The limits of `fit_temperature`."""

_NO_ANSWER = -1
_STEPS = 60  # halvings of the interval: far below what floats can tell apart
_ROUNDING = 1e-9


def probabilities(logits: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """Softmax of (N, C) logits divided by the temperature: (N, C) float64, rows sum to 1, without overflow."""
    return softmax(logits, temperature)


def fit_temperature(logits: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """The temperature at which the targets are most likely: it minimises the mean cross-entropy.

    The cross-entropy is convex in 1 / T, so its slope has one root, which halving an interval finds.

    Args:
        logits: (N, C) finite floats.
        targets: (N,) integer classes, -1 where there is none, or (N, C) shares; rows of zeros are left out.

    Returns:
        T in `TEMPERATURES`; a limit of it where the data ask for more (0 where every answer is right, infinity where
        the answers are worth nothing); 1 where no temperature makes a difference.

    Raises:
        DataError: no picture with a target, or logits that are not finite.
        ValueError: the arrays do not fit.
    """
    z, t = _checked(logits, targets)
    z -= z.mean(axis=1, keepdims=True)
    aim = float(np.mean(np.sum(t * z, axis=1)))

    def slope(log_temperature: float) -> float:
        """Of the cross-entropy over 1 / T: how much more the model expects of its logits than they deliver."""
        return float(np.mean(np.sum(probabilities(z, math.exp(log_temperature)) * z, axis=1))) - aim

    if np.abs(z).max() < _ROUNDING:  # a network that says the same of every class
        return 1.0
    low, high = (math.log(limit) for limit in TEMPERATURES)
    if slope(low) <= 0:
        return TEMPERATURES[0]
    if slope(high) >= 0:
        return TEMPERATURES[1]
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return math.exp((low + high) / 2)


def abstain_threshold(confidences: npt.ArrayLike, share: float = 0.1) -> float:
    """The confidence under which about this share of the answers falls, and never more.

    It lies halfway between the last answer below and the first above. Where answers of equal confidence would have to
    be torn apart, all of them stay above.

    Args:
        confidences: (N,) floats in [0, 1] of answers on data that is like what will be met.
        share: in [0, 1).

    Returns:
        The threshold; `confidence < threshold` is `uncertain`.

    Raises:
        DataError: there are no confidences, or some are not in [0, 1].
        ValueError: `share` is out of range.
    """
    values = np.sort(np.asarray(confidences, dtype=np.float64), axis=None)
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), not {share}")
    if not len(values):
        raise DataError("no threshold without confidences: there is not one picture")
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError("confidences must lie in [0, 1]; the network's answers are no probabilities")
    first = values[int(len(values) * share + _ROUNDING)]
    below = values[values < first]
    return float((below[-1] + first) / 2) if len(below) else float(first)


def _checked(logits: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Floats, Floats]:
    """(N, C) logits and (N, C) shares that sum to 1, of the pictures that have any."""
    z, t = np.array(logits, dtype=np.float64), np.asarray(targets)
    if z.ndim != 2 or t.shape not in (z.shape, z.shape[:1]):
        raise ValueError(f"logits {z.shape} must be (N, C), and targets {t.shape} (N,) or (N, C)")
    if t.ndim == 1:
        t = _one_hot(t, z.shape[1])
    held = t.sum(axis=1) > 0
    z, t = z[held], t[held].astype(np.float64)
    if not z.size:
        raise DataError("no temperature without answers: there is not one labelled picture")
    if not np.isfinite(z).all() or not np.isfinite(t).all() or (t < 0).any():
        raise DataError("logits and targets must be finite, targets not negative; look at the network's training")
    return z, t / t.sum(axis=1, keepdims=True)


def _one_hot(classes: npt.NDArray[np.generic], count: int) -> Floats:
    if len(classes) and (classes.dtype.kind not in "iu" or classes.min() < _NO_ANSWER or classes.max() >= count):
        raise ValueError(f"classes must be integers in [0, {count}), or -1")
    held = np.asarray(classes, dtype=np.int64)
    rows = np.zeros((len(held), count))
    rows[held >= 0, held[held >= 0]] = 1
    return rows
