"""The judge of one attempt: what is asked when, and whether it is done, frame by frame.

    baseline  until the face has been calm, frontal and clear for a while; advice says what is missing
    rest      a random pause, at rest
    asked     the action must begin after a human reaction time and be done within its window
    back      to rest again; then `rest` for the next action
    closing   a moment at rest after the last one
    done      accepted, or refused for one reason

Time is that of the frames, never a clock of our own: so an attempt can be judged again from its observations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mien.liveness.challenge import Action, Challenge
from mien.liveness.guards import Alike, Continuity, Flow, Guard, Limits, Motion, Passive, Repeats
from mien.liveness.levels import Baseline, baseline_of, levels, turn_degrees
from mien.liveness.loops import Loops
from mien.liveness.observing import Look, Observation
from mien.liveness.performing import Performance, Timing
from mien.liveness.reasons import Reason

__all__ = ["Judge", "State", "Status"]

State = Literal["baseline", "rest", "asked", "back", "closing", "done"]


@dataclass(frozen=True)
class Status:
    """Where an attempt stands after a frame.

    Attributes:
        state: see above.
        step: how many actions are done.
        action: what is asked now, or None.
        advice: codes of `mien.liveness.reasons.ADVICE`, while there is no baseline.
        reason: why it ended, or None while it goes on.
    """

    state: State
    step: int
    action: Action | None = None
    advice: tuple[str, ...] = ()
    reason: Reason | None = None


class Judge:
    """Judges the observations of one attempt.

    Args:
        challenge: what is asked.
        alike: similarity of two embeddings.
        limits: of the guards.
        timing: of the actions.
        mirrored: whether the camera gives mirrored pictures.
        more: guards beside those that are always there.
    """

    def __init__(
        self,
        challenge: Challenge,
        alike: Alike,
        *,
        limits: Limits | None = None,
        timing: Timing | None = None,
        mirrored: bool = False,
        more: Sequence[Guard] = (),
    ) -> None:
        self._challenge = challenge
        self._timing = timing or Timing()
        self._mirrored = mirrored
        chosen = limits or Limits()
        self._guards: tuple[Guard, ...] = (
            Flow(chosen),
            Repeats(chosen),
            Continuity(chosen, alike),
            Motion(chosen),
            Passive(chosen),
            *more,
        )
        self._loops = Loops(chosen)
        self._resting = True  # at the frame before
        self._state: State = "baseline"
        self._reason: Reason | None = None
        self._step = 0
        self._calm: list[tuple[float, Look]] = []
        self._rest: Baseline | None = None
        self._performance: Performance | None = None
        self._started: float | None = None
        self._entered = 0.0  # when this state began
        self._rested: float | None = None  # since when the face is at rest
        self._measures: dict[str, float] = {}

    @property
    def measures(self) -> Mapping[str, float]:
        """What was measured so far, for the report."""
        guarded = {name: value for guard in self._guards for name, value in guard.measures.items()}
        return {**guarded, **self._loops.measures, **self._measures}

    def see(self, observation: Observation) -> Status:
        """Judge the next frame; after the end nothing changes any more."""
        if self._state == "done":
            return self._status()
        if (reason := self._guard(observation)) is not None:
            return self._end(reason)
        time = observation.time
        if self._started is None:
            self._started = self._entered = time
        if time - self._started > self._timing.whole:
            return self._end("too-long")
        if self._rest is None:
            return self._status(self._look_for_calm(observation))
        if observation.look is not None:
            self._go_on(time, observation.look, self._rest)
        return self._status()

    def _guard(self, observation: Observation) -> Reason | None:
        for guard in self._guards:
            if (reason := guard.see(observation)) is not None:
                return reason
        return self._loops.see(observation, resting=self._resting)

    # Before the first action

    def _look_for_calm(self, observation: Observation) -> tuple[str, ...]:
        """Collect frames of a calm face; the advice where this one is none."""
        time, timing = observation.time, self._timing
        wrong = _unfit(observation)
        self._calm = [] if wrong else self._calm
        if observation.look is not None and not wrong:
            self._calm.append((time, observation.look))
        if len(self._calm) >= timing.calm_frames and time - self._calm[0][0] >= timing.calm:
            rest = baseline_of([look for _, look in self._calm])
            turns = [abs(turn_degrees(look, rest)) for _, look in self._calm]
            if max(turns) < timing.calm_degrees:
                self._rest = rest
                self._enter("rest", time)
                self._rested = time
                self._measures["baseline_yaw"] = rest.yaw
                return ()
            self._calm = self._calm[len(self._calm) // 2 :]
            wrong = ("hold_still",)
        if time - self._entered > timing.baseline:
            self._end("no-baseline")
        return wrong

    # The actions

    def _go_on(self, time: float, look: Look, rest: Baseline) -> None:
        now = levels(look, rest, mirrored=self._mirrored)
        self._resting = not self._acting(now)
        if self._state == "rest":
            self._pause(time, now)
        elif self._state == "asked":
            self._ask(time, now)
        elif self._state in ("back", "closing"):
            self._return(time, now)

    def _pause(self, time: float, now: Mapping[Action, float]) -> None:
        assert self._performance is not None  # noqa: S101
        if (reason := self._performance.pause(time, now)) is not None:
            self._end(reason)
        elif time >= self._ask_at():
            self._performance.ask(time)
            self._enter("asked", time)

    def _ask(self, time: float, now: Mapping[Action, float]) -> None:
        assert self._performance is not None  # noqa: S101
        reason = self._performance.see(time, now)
        if reason is not None:
            self._end(reason)
        elif self._performance.done:
            self._step += 1
            self._enter("back", time)

    def _return(self, time: float, now: Mapping[Action, float]) -> None:
        # below 0 is not an action: a mouth more surely closed than before; turns have a level for each side
        resting = max(now.values()) < self._timing.resting
        self._rested = (time if self._rested is None else self._rested) if resting else None
        if self._rested is not None and time - self._rested >= self._timing.rest:
            if self._state == "closing":
                self._end("accepted")
            elif self._step == len(self._challenge.actions):
                self._enter("closing", time)
            else:
                self._enter("rest", time)
        elif time - self._entered > self._timing.back:
            self._end("no-rest")

    def _acting(self, now: Mapping[Action, float]) -> bool:
        """Whether what was asked is being done, or undone."""
        asked = self._state == "asked" and abs(now[self._challenge.actions[self._step]]) >= self._timing.begun
        return asked or self._state == "back"

    def _ask_at(self) -> float:
        if self._challenge.asked is not None:
            return self._challenge.asked[self._step]
        return self._entered + self._challenge.pauses[self._step]

    def _enter(self, state: State, time: float) -> None:
        if self._performance is not None and state == "back":
            self._note(self._performance)
        self._state, self._entered = state, time
        if state in ("back", "closing"):
            self._rested = None
        if state == "rest":
            self._performance = Performance(self._challenge.actions[self._step], self._timing)

    def _note(self, performance: Performance) -> None:
        for name, value in performance.measures.items():
            self._measures[f"{self._step}_{name}"] = value

    def _end(self, reason: Reason) -> Status:
        if self._performance is not None and self._state == "asked":
            self._step += 1
            self._note(self._performance)
            self._step -= 1
        self._state, self._reason = "done", reason
        return self._status()

    def _status(self, advice: Sequence[str] = ()) -> Status:
        action = self._challenge.actions[self._step] if self._state == "asked" else None
        return Status(self._state, self._step, action, tuple(advice), self._reason)


_STRAIGHT = 15.0  # degrees of yaw at rest: who is turned already cannot show a turn
_TILTED = 25.0
_LEAST_EYES = 24.0  # pixels between them: below, landmarks and lids are too coarse to be judged
_SMILING, _GAPING, _OPEN = 0.5, 0.5, 0.5
_NOT_HERE = ("turn_to_camera", "again")  # judged anew: stricter, or by the score alone


def _unfit(observation: Observation) -> tuple[str, ...]:
    """What is wrong with a frame of the baseline."""
    look = observation.look
    if look is None:
        return ("no_face",)
    found = [code for code in look.advice if code not in _NOT_HERE]
    if look.eye_distance < _LEAST_EYES and "closer" not in found:
        found.append("closer")
    if abs(look.yaw) > _STRAIGHT or "turn_to_camera" in look.advice:
        found.append("turn_to_camera")
    if abs(look.roll) > _TILTED and "upright" not in found:
        found.append("upright")
    if look.happiness > _SMILING or look.mouth > _GAPING:
        found.append("neutral")
    if look.eyes < _OPEN:
        found.append("open_eyes")
    if not np.isfinite(look.landmarks).all():
        found.append("again")
    if not found and "again" in look.advice:
        found.append("again")
    return tuple(found)
