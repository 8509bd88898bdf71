"""A camera in front of a simulated person who sees what is asked, or in front of what an attacker holds up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mien.liveness.judge import Status
from mien.liveness.session import Session, Trial
from tests.liveness.acting import Actor, Face, Image, Manner, Nature, Shown, act, camera

RATE = 10.0


@dataclass(frozen=True, eq=False)
class Frame:
    index: int
    time: float
    image: Image


Scene = Callable[[Status, float], Image]
"""What the camera sees, by what is asked and the time."""


class Alive:
    """A simulated person who does what is asked."""

    def __init__(self, actor: Actor, seed: int = 0, manner: Manner | None = None, reaction: float = 0.35) -> None:
        self._actor, self._manner, self._reaction = actor, manner or Manner(0.35, 0.45, 0.35), reaction
        self._random, self._nature = np.random.default_rng(seed), Nature(seed)
        self._begin, self._action, self._answered = -99.0, "smile", 0

    def __call__(self, status: Status, time: float) -> Image:
        if status.action is not None and status.step >= self._answered:
            self._begin, self._action, self._answered = time + self._reaction, status.action, status.step + 1
        doing = act(self._action, max(time - self._begin, 0.0), self._manner) if time > self._begin else Face()
        return self._actor.render(self._nature(doing, time), self._random)


class Displayed:
    """What another scene shows, on a screen held up to the camera."""

    def __init__(self, scene: Scene, shown: Shown, seed: int = 0) -> None:
        self._scene, self._shown, self._random = scene, shown, np.random.default_rng(seed)

    def __call__(self, status: Status, time: float) -> Image:
        return camera(self._shown(self._scene(status, time)), self._random)


class Tilted:
    """A print that is tilted to and fro all the time."""

    def __init__(self, actor: Actor, shown: Shown, seed: int = 0) -> None:
        self._picture, self._shown, self._random = actor.render(Face()), shown, np.random.default_rng(seed)

    def __call__(self, status: Status, time: float) -> Image:
        tilt = 45 * np.sin(max(time - 2.0, 0.0))
        return camera(self._shown(self._picture, tilt=float(tilt)), self._random)


def stage(attempt: Session | Trial, scene: Scene, *, rate: float = RATE, longest: float = 60.0) -> Status:
    """Play a scene until the attempt ends."""
    status = Status("baseline", 0)
    for k in range(int(longest * rate)):
        status = attempt.feed(Frame(k, k / rate, scene(status, k / rate)))
        if status.state == "done":
            break
    return status
