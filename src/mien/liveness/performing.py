"""One action: begun after it was asked, done in time, at the speed of a human body, and none of the others instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mien.liveness.challenge import ACTIONS, TURNS, Action
from mien.liveness.reasons import Reason

__all__ = ["Performance", "Timing"]


@dataclass(frozen=True)
class Timing:
    """Seconds, unless it says otherwise.

    Attributes:
        calm: for which the face must be calm, for a baseline.
        calm_frames: frames of it, at least.
        calm_degrees: that the head may turn meanwhile.
        baseline: to find it, at most.
        reaction: from asking to the first sign of the action, at least: people need longer.
        window: from asking to the action being done, at most.
        held: for which an action must last, at least; a blink is shorter.
        shut: for which eyes must be closed: longer than people blink by themselves.
        longest_shut: after which that is no blink.
        onset: that a turn must take from a fifth of it on, at least.
        begun: level from which on an action has begun.
        other: level from which on another action is done instead.
        resting: level of all actions below which a face is at rest.
        rest: for which it must be so after an action.
        back: to come back to rest, at most.
        whole: for the whole attempt, at most.
    """

    calm: float = 0.8
    calm_frames: int = 7
    calm_degrees: float = 9.0
    baseline: float = 20.0
    reaction: float = 0.15
    window: float = 5.0
    held: float = 0.15
    shut: float = 0.4
    longest_shut: float = 2.5
    onset: float = 0.12
    begun: float = 0.35
    other: float = 1.0
    resting: float = 0.35
    rest: float = 0.2
    back: float = 4.0
    whole: float = 75.0


# What one action looks like to the networks of another: a smile narrows eyes and shows teeth, an open mouth can look
# happy, closed eyes change what the mouth is taken to show.
_LOOKS_LIKE: Mapping[Action, frozenset[Action]] = {
    "smile": frozenset({"open-mouth", "blink"}),
    "open-mouth": frozenset({"smile", "blink"}),
    "blink": frozenset({"smile", "open-mouth"}),
    "turn-left": frozenset({"smile", "open-mouth", "blink"}),
    "turn-right": frozenset({"smile", "open-mouth", "blink"}),
}
_SPONTANEOUS = 0.45  # seconds: blinks that nobody asked for are shorter
_LOW, _HIGH = 0.2, 1.0
_STILL = 0.8  # of an action that has reached 1: so much of it has to last


class Performance:
    """Watches one action.

    Args:
        action: what is asked.
        timing: how long things take.
    """

    def __init__(self, action: Action, timing: Timing) -> None:
        self._action, self._timing = action, timing
        self._asked: float | None = None
        self._begun: float | None = None
        self._reached: float | None = None
        self._low: float | None = None  # when the level was last low
        self._middle = 0  # frames between low and high
        self._since: dict[Action, tuple[float, int]] = {}  # of actions above their limit: since when, frames
        self._peak = 0.0
        self._finished: float | None = None

    @property
    def done(self) -> bool:
        """Whether the action was done."""
        return self._finished is not None

    @property
    def measures(self) -> Mapping[str, float]:
        """Reaction, duration and highest level, as far as there are any."""
        out = {"level": self._peak}
        if self._asked is not None and self._begun is not None:
            out["reaction"] = self._begun - self._asked
        if self._asked is not None and self._finished is not None:
            out["done_after"] = self._finished - self._asked
        return out

    def pause(self, time: float, levels: Mapping[Action, float]) -> Reason | None:
        """A frame before the action is asked: nothing may be done."""
        self._follow(time, levels[self._action])
        return "too-early" if self._doing(time, levels, ACTIONS) else None

    def ask(self, time: float) -> None:
        """The action is asked now."""
        self._asked = time
        self._peak = 0.0

    def see(self, time: float, levels: Mapping[Action, float]) -> Reason | None:
        """A frame after it was asked."""
        assert self._asked is not None  # noqa: S101
        level = levels[self._action]
        self._peak = max(self._peak, level)
        if (reason := self._begin(time, level)) is not None:
            return reason
        others = [a for a in ACTIONS if a != self._action and a not in _LOOKS_LIKE[self._action]]
        if self._doing(time, levels, others):
            return "another-action"
        reason = self._blink(time, level) if self._action == "blink" else self._hold(time, level)
        self._follow(time, level)
        if reason is None and not self.done and time - self._asked > self._timing.window:
            return "not-done"
        return reason

    def _begin(self, time: float, level: float) -> Reason | None:
        """When the action began; one that ends again before it is done has not begun."""
        assert self._asked is not None  # noqa: S101
        if level < self._timing.begun:
            if self._reached is None:
                self._begun = None
            return None
        if self._begun is None:
            self._begun = time
        early = level >= 1.0 and self._begun - self._asked < self._timing.reaction
        return "too-early" if early and self._action != "blink" else None  # everybody blinks now and then

    def _hold(self, time: float, level: float) -> Reason | None:
        if level < (1.0 if self._reached is None else _STILL):
            self._reached = None
            return None
        if self._reached is None:
            self._reached = time
            if self._action in TURNS and not self._went_through(time):
                return "presentation"
        elif time - self._reached >= self._timing.held:
            self._finished = time
        return None

    def _blink(self, time: float, level: float) -> Reason | None:
        """Closed long enough and open again; what was closed as it was asked does not count."""
        assert self._asked is not None  # noqa: S101
        if level >= 1.0:
            self._reached = time if self._reached is None else self._reached
            return "not-done" if time - self._reached > self._timing.longest_shut else None
        if self._reached is not None and level < self._timing.resting:
            prompted = self._reached - self._asked >= self._timing.reaction
            if prompted and time - self._reached >= self._timing.shut:
                self._finished = time
            self._reached = None
        return None

    def _follow(self, time: float, level: float) -> None:
        """Remember how the level rose."""
        if level < _LOW:
            self._low, self._middle = time, 0
        elif level < _HIGH:
            self._middle += 1

    def _went_through(self, time: float) -> bool:
        """Whether a turn came through the middle, not from one picture to another."""
        return self._low is not None and self._middle > 0 and time - self._low >= self._timing.onset

    def _doing(self, time: float, levels: Mapping[Action, float], which: tuple[Action, ...] | list[Action]) -> bool:
        """Whether one of some actions is done for long enough to be meant."""
        for action in which:
            if levels[action] < self._timing.other:
                self._since.pop(action, None)
                continue
            since, frames = self._since.get(action, (time, 0))
            self._since[action] = since, frames + 1
            least = _SPONTANEOUS if action == "blink" else self._timing.held
            if frames + 1 >= 3 and time - since >= least:
                return True
        return False
