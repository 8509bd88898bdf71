"""Expressions over time by a network that remembers: streaming, frame by frame, in constant memory.

The ONNX file takes one frame of N tracks - `scores` (N, C), what the expression network says of each face; `elapsed`
(N,), seconds since the track's frame before; `seen` (N,), 1 where there is a face and 0 where it is hidden; and
`states` (N, S), what was remembered - and gives `logits` (N, C) and `next_states` (N, S), all float32. States of zeros
are those of tracks that begin. So any frame rate will do, also an uneven one.

Networks are trained by `mien train temporal` (recipes/temporal.md has the commands of the one that ships).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, get_args

import numpy as np
import numpy.typing as npt

from mien.answers import Expressions
from mien.errors import ModelError
from mien.models import _onnx, trained
from mien.models.base import ModelEntry, Record, RuntimeOptions, Task, WeightsFile
from mien.models.card_network import CardNetwork, fits, told
from mien.models.cards import Card, Check, check_labels, check_temperature, check_threshold, is_count, is_number, refuse
from mien.models.smoothing import Kind, MovingAverage, checked
from mien.ops.softmax import softmax
from mien.types import FloatArray

TASK: Task = "temporal"
SHIPPED = "mien-t"
"""Name of the network that comes with mien."""

_LARGEST_STATE = 1 << 20
_TAKES = ("scores", "elapsed", "seen", "states")
_GIVES = ("logits", "next_states")


def _check_state(name: str, value: object) -> None:
    if not is_count(value) or not 1 <= int(value) <= _LARGEST_STATE:  # type: ignore[call-overload]
        refuse(name, f"is not a whole number from 1 to {_LARGEST_STATE:,}")


def _check_seconds(name: str, value: object) -> None:
    if not is_number(value) or not 0 < float(value) <= 3600:  # type: ignore[arg-type]
        refuse(name, "is not a number of seconds above 0, an hour at most")


def _check_kind(name: str, value: object) -> None:
    if value not in get_args(Kind):
        refuse(name, f"is none of {', '.join(get_args(Kind))}")


@dataclass(frozen=True, kw_only=True)
class TemporalCard(Card):
    """What a network for expressions over time says about itself.

    Attributes:
        labels: the C expressions, as the network whose scores it takes has them.
        temperature: logits are divided by it before the softmax, so that confidences are honest.
        threshold: confidence below which its answer is "uncertain".
        margin: by how much another expression must be more probable before a track is said to show it.
        state: S, numbers that it remembers of each track.
        reset_after: seconds after which a track begins anew.
        average_kind: of the moving average that was tuned on the same tracks ("box" or "exponential"), to compare with.
        average_window: its seconds.
        average_margin: its margin.

    Raises:
        ModelError: a value is none that a card can have.
    """

    CHECKS: ClassVar[Mapping[str, Check]] = MappingProxyType(
        {
            **Card.CHECKS,
            "labels": check_labels,
            "temperature": check_temperature,
            "threshold": check_threshold,
            "margin": check_threshold,
            "state": _check_state,
            "reset_after": _check_seconds,
            "average_kind": _check_kind,
            "average_window": _check_seconds,
            "average_margin": check_threshold,
        }
    )

    labels: tuple[str, ...]
    temperature: float
    threshold: float
    margin: float
    state: int
    reset_after: float
    average_kind: Kind
    average_window: float
    average_margin: float

    def moving_average(self) -> MovingAverage:
        """The one that was tuned on the tracks that the network learnt from and was chosen by."""
        return MovingAverage(
            self.labels,
            self.average_window,
            kind=self.average_kind,
            margin=self.average_margin,
            reset_after=self.reset_after,
        )


class TemporalNetwork(CardNetwork[TemporalCard]):
    """A trained network for expressions over time; see `CardNetwork` for what it takes and raises."""

    CARD = TemporalCard
    WHAT = "network for expressions over time"

    def check(self, where: str) -> None:
        """See `CardNetwork`."""
        card = self.card
        takes = {"scores": (len(card.labels),), "elapsed": (), "seen": (), "states": (card.state,)}
        gives = {"logits": (len(card.labels),), "next_states": (card.state,)}
        for ports, wanted, does in ((self._session.inputs, takes, "take"), (self._session.outputs, gives, "give")):
            by_name = {port.name: port for port in ports}
            whole = by_name.keys() == wanted.keys() and all(
                fits(by_name[name], name, "tensor(float)", shape) for name, shape in wanted.items()
            )
            if not whole:
                shapes = ", ".join(f"{name} (N{''.join(f', {n}' for n in shape)})" for name, shape in wanted.items())
                raise ModelError(f"{where} should {does} {shapes} float32, and {does}s {told(ports)}")

    def try_out(self) -> None:
        """See `CardNetwork`."""
        one = np.ones(1, np.float32)
        scores = np.full((1, len(self.card.labels)), 1 / len(self.card.labels), np.float32)
        self.step(np.zeros((1, self.card.state), np.float32), scores, 0 * one, one)

    def step(
        self, states: FloatArray, scores: FloatArray, elapsed: FloatArray, seen: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """One frame of N tracks, as the graph takes and gives it.

        Returns:
            (N, C) float32 logits and (N, S) float32 states, all finite.

        Raises:
            ModelError: the network fails, or gives what are no logits and states.
        """
        given = dict(zip(_TAKES, (scores, elapsed, seen, states), strict=True))
        logits, kept = self._session.run({name: array.astype(np.float32) for name, array in given.items()}, _GIVES)
        if logits.shape != scores.shape or kept.shape != states.shape:
            raise ModelError(f"model {self.name!r} gives {logits.shape} and {kept.shape} for {len(scores)} tracks")
        if not (np.isfinite(logits).all() and np.isfinite(kept).all()):
            raise ModelError(f"model {self.name!r} gives scores that are not finite: its weights are damaged")
        return logits, kept


class TemporalExpression:
    """What tracks show over time; a `mien.models.smoothing.Smoother`.

    Args:
        record: of the network.
        network: the network.

    Raises:
        ModelError: the network is for something else.
    """

    def __init__(self, record: Record, network: TemporalNetwork) -> None:
        if network.card.task != TASK:
            raise ModelError(f"model {record.name!r} is for {network.card.task!r}, not for {TASK!r}")
        self.record = record
        self.network = network

    @property
    def labels(self) -> tuple[str, ...]:
        """The C expressions, in the order of scores and probabilities."""
        return self.network.card.labels

    @property
    def margin(self) -> float:
        """By how much another expression must be more probable before a track is said to show it (`steadied`)."""
        return self.network.card.margin

    @property
    def reset_after(self) -> float:
        """Seconds after which a track begins anew."""
        return self.network.card.reset_after

    def begin(self, n: int = 1) -> FloatArray:
        """(n, S) float32: the states of tracks that begin."""
        return np.zeros((n, self.network.card.state), np.float32)

    def step(
        self,
        states: FloatArray,
        scores: FloatArray,
        elapsed: npt.ArrayLike,
        seen: npt.ArrayLike | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Take in one frame of N tracks; see `Smoother.step`.

        Raises:
            ModelError: the network fails.
            ValueError: the arrays do not fit, or the time or the scores of faces that are seen are not finite.
        """
        card = self.network.card
        scores, waited, there = checked(scores, elapsed, seen, len(card.labels))
        states = np.asarray(states, dtype=np.float32)
        if states.shape != (len(scores), card.state):
            raise ValueError(f"states {states.shape} are not ({len(scores)}, {card.state})")
        if not len(scores):
            return scores, states
        anew = waited > card.reset_after
        states = np.where(anew[:, None], np.float32(0), states)
        waited = np.where(anew, np.float32(0), waited)
        logits, kept = self.network.step(states, scores, waited, there.astype(np.float32))
        return softmax(logits, card.temperature).astype(np.float32), kept

    def answers(self, probabilities: FloatArray) -> Expressions:
        """Probabilities, (N, C), as answers that `Faces` carry."""
        return Expressions(self.labels, probabilities, self.network.card.threshold)


def opened(model: str | Path | bytes, options: RuntimeOptions | None = None) -> TemporalExpression:
    """A network of the user's own, or one that was just trained; see `CardNetwork` for what it raises."""
    network = TemporalNetwork(model, options)
    data = model if isinstance(model, bytes) else _onnx.read_own(model)[1]
    weights = WeightsFile(f"{network.name}.onnx", hashlib.sha256(data).hexdigest(), len(data), ())
    return TemporalExpression(_record(network.card, weights), network)


def bundled(folder: Path = trained.WEIGHTS) -> ModelEntry:
    """The entry of the network that comes with mien; see `trained.bundled`."""
    return trained.bundled(SHIPPED, TASK, TemporalNetwork, _record, folder)


def entry_from_file(path: str | Path) -> ModelEntry:
    """The entry of a network of the user's own; see `trained.entry_from_file`."""
    return trained.entry_from_file(path, TASK, TemporalNetwork, _record)


def _record(card: TemporalCard, weights: WeightsFile) -> Record:
    """The record that a card makes."""
    return trained.record_of(
        card,
        weights,
        TASK,
        summary=f"what a track shows over time, in {len(card.labels)} expressions",
        threshold=card.threshold,
        labels=card.labels,
        temperature=card.temperature,
        input_notes="float32: probabilities of one frame of N tracks, seconds since the last, face or none, states",
    )
