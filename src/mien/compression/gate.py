"""The gate: a network before and after, on the user's own data; what loses too much is not written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mien.errors import GateError
from mien.models.base import RuntimeOptions
from mien.models.quantized import probe
from mien.models.runtime import Session

_TIMED_BATCH = 8
_TIMED_SECONDS = 2.0
_TIMED_ROUNDS = (3, 30)  # at least, at most


@dataclass(frozen=True)
class Score:
    """What a network is worth on the evaluation data.

    Attributes:
        metric: what was measured, in a few words.
        value: in [0, 1], higher is better.
        n: number of answers that it is measured on.
        more: further figures, by name.
    """

    metric: str
    value: float
    n: int
    more: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"value": round(self.value, 6), **{name: round(value, 6) for name, value in self.more.items()}}


@dataclass(frozen=True)
class Side:
    """A network before, or after.

    Attributes:
        score: of the network.
        size: of its file, in bytes.
        ms: processor time of one crop or picture, one thread, in milliseconds.
        multiply_adds: of one crop, where they were counted.
    """

    score: Score
    size: int
    ms: float
    multiply_adds: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what was not measured is absent."""
        out: dict[str, Any] = {"score": self.score.to_dict(), "bytes": self.size, "ms": round(self.ms, 4)}
        return out if self.multiply_adds is None else {**out, "multiply_adds": self.multiply_adds}


@dataclass(frozen=True)
class Comparison:
    """Both sides, and what was done.

    Attributes:
        model: name of the network.
        before: as it was.
        after: as it is now.
        max_loss: what it may lose, in parts of 1.
        notes: what else there is to say, by name.
    """

    model: str
    before: Side
    after: Side
    max_loss: float
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """What the score has lost, in parts of 1; below 0 where it has gained."""
        return self.before.score.value - self.after.score.value

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the one schema of `mien optimize`."""
        score = self.before.score
        return {
            "model": self.model,
            "metric": score.metric,
            "n": score.n,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "loss": round(self.loss, 6),
            "max_loss": self.max_loss,
            **self.notes,
        }


def holds(before: Score, after: Score, max_loss: float) -> bool:
    """Whether the gate lets this pass; float rounding is no loss."""
    return before.value - after.value <= max_loss + 1e-9


def refusal(what: str, before: Score, after: Score, max_loss: float, advice: str) -> GateError:
    """The one line for a network that loses too much."""
    loss = 100 * (before.value - after.value)
    return GateError(
        f"{what} loses {loss:.2f} points of {before.metric} ({100 * before.value:.2f} to {100 * after.value:.2f} % of"
        f" {before.n:,}), allowed are {100 * max_loss:g}: nothing was written; {advice}"
    )


def milliseconds(*networks: bytes) -> list[float]:
    """Processor time of one crop (of eight) or picture for each network, one thread: the least of several, in turns.

    Raises:
        WeightsError: onnxruntime cannot load one of them.
        ModelError: it cannot run one of them.
    """
    sessions = [Session(network, RuntimeOptions(threads=1)) for network in networks]
    fixed = isinstance(sessions[0].inputs[0].shape[1], int)
    pictures = probe(sessions[0], _TIMED_BATCH if fixed else 1)
    best = [float("inf")] * len(sessions)
    began = time.perf_counter()
    for done in range(_TIMED_ROUNDS[1]):
        for i, session in enumerate(sessions):
            start = time.thread_time()
            session(pictures)
            best[i] = min(best[i], time.thread_time() - start)
        if done >= _TIMED_ROUNDS[0] and time.perf_counter() - began > _TIMED_SECONDS:
            break
    return [max(1e3 * seconds / len(pictures), 1e-6) for seconds in best]
