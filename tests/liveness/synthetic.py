"""Observations made of numbers: faces that do exactly what a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mien.liveness.challenge import Action, Challenge
from mien.liveness.guards import Limits
from mien.liveness.judge import Judge, Status
from mien.liveness.observing import Look, Observation
from mien.liveness.performing import Timing
from mien.ops.pose import SHAPE

RATE = 20.0


def landmarks(yaw: float = 0.0, *, flat: bool = False, squeeze: float = 1.0) -> np.ndarray:
    """(5, 2) of the generic face, 60 pixels between the eyes, turned; `flat`: as a picture of it would be."""
    shape = SHAPE.copy()
    if flat:
        shape[:, 2] = 0.0
    a = np.radians(yaw)
    # a point nearer to the camera (z below 0) goes where the face turns to
    x = np.cos(a) * shape[:, 0] - np.sin(a) * shape[:, 2]
    return (np.stack([x * squeeze, shape[:, 1]], axis=1) * 60 + (160, 100)).astype(np.float32)


@dataclass
class Puppet:
    """A face at rest, or doing something; what it is changes between frames."""

    track: int = 1
    yaw: float = 0.0
    happiness: float = 0.03
    eyes: float = 0.97
    mouth: float = 0.03
    quality: float = 0.95
    advice: tuple[str, ...] = ()
    embedding: Any = None
    flat: bool = False
    there: bool = True
    second: float = 0.0
    scale: float = 1.0
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def at(self, time: float) -> Observation:
        points = self.scale * landmarks(self.yaw, flat=self.flat) + self.random.normal(0, 0.25, (5, 2)).astype(
            np.float32
        )
        turned = min(abs(self.yaw) / 60, 1.0)
        patch = (_PATCH * (1 - turned) + _OTHER * turned + self.random.normal(0, 0.05, (16, 16))).astype(np.float32)
        waves = np.sin(np.arange(1024) * (1 + time / 300) + time).reshape(32, 32)  # which never come again
        thumb = 128 + 10 * waves + self.random.normal(0, 0.3, (32, 32))
        look = Look(
            self.track, points, self.yaw, 0.0, 0.0, self.happiness, self.eyes, self.mouth, self.quality, self.advice,
            patch, self.embedding,
        )  # fmt: skip
        return Observation(
            time, thumb.astype(np.float32), self.random.bytes(32), look if self.there else None, self.second
        )


_PATCH = np.random.default_rng(1).normal(0, 1, (16, 16))
_OTHER = np.random.default_rng(2).normal(0, 1, (16, 16))


def do(puppet: Puppet, action: str | None, level: float) -> None:
    """Bring a puppet to some level of an action; None: at rest."""
    puppet.happiness, puppet.eyes, puppet.mouth, puppet.yaw = 0.03, 0.97, 0.03, 0.0
    if action == "smile":
        puppet.happiness = 0.03 + 0.94 * level
    elif action == "open-mouth":
        puppet.mouth = 0.03 + 0.94 * level
    elif action == "blink":
        puppet.eyes = 0.97 - 0.94 * level
    elif action == "turn-left":
        puppet.yaw = 28 * level
    elif action == "turn-right":
        puppet.yaw = -28 * level


def ramp(time: float, begin: float, rise: float = 0.3, hold: float = 0.5) -> float:
    """Up from `begin`, there for a while, and down."""
    return float(np.clip(min((time - begin) / rise, (begin + 2 * rise + hold - time) / rise), 0, 1))


Change = Callable[[Observation], Observation | None]
Play = Callable[[Puppet, Status, float], None]
"""Changes the puppet before a frame: what is asked, and the time."""


class Obedient:
    """Does what is asked, `after` seconds later."""

    def __init__(self, after: float = 0.4, instead: dict[str, str] | None = None) -> None:
        self._after, self._instead = after, instead or {}
        self._doing: str | None = None
        self._begin = 0.0
        self._answered = 0

    def __call__(self, puppet: Puppet, status: Status, time: float) -> None:
        if status.action is not None and status.step >= self._answered:
            self._answered = status.step + 1
            self._doing = self._instead.get(status.action, status.action)
            self._begin = time + self._after
        do(puppet, self._doing, ramp(time, self._begin))


def asking(*actions: Action, pause: float = 0.6) -> Challenge:
    return Challenge("0" * 32, actions, (pause,) * len(actions))


def play(
    challenge: Challenge, how: Play, *, puppet: Puppet | None = None, seconds: float = 60.0, rate: float = RATE,
    limits: Limits | None = None, timing: Timing | None = None, change: Change | None = None,
) -> tuple[Status, Judge]:  # fmt: skip
    """Let a puppet play before a judge."""
    puppet = puppet or Puppet()
    judge = Judge(challenge, lambda a, b: float(a @ b), limits=limits or Limits(alike=0.5), timing=timing)
    status = Status("baseline", 0)
    for k in range(int(seconds * rate)):
        how(puppet, status, k / rate)
        seen: Observation | None = puppet.at(k / rate)
        seen = change(seen) if change is not None and seen is not None else seen
        if seen is None:
            continue
        status = judge.see(seen)
        if status.state == "done":
            break
    return status, judge
