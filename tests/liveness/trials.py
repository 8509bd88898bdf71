"""Attempts put together from clips, as the judge asks for them: genuine ones, and one script for each kind of attack.

A clip is what the real networks saw in a film, frame by frame (`filming`), so that a trial costs milliseconds. Whoever
plays a script sees what a person in front of the camera sees: what is asked now, and how many actions are done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mien.gallery.rules import rule_for
from mien.liveness.challenge import ACTIONS, PAUSES, Challenge, sequences
from mien.liveness.guards import Limits
from mien.liveness.judge import Judge, Status
from mien.liveness.observing import Observation
from mien.liveness.verifying import FMR, Probe, best_probes, likeness, probe_of
from mien.models import registry
from mien.ops import similarity
from tests.liveness.filming import RATE, from_arrays

Clip = list[Observation]
Script = Callable[[Status], Observation | None]
"""What the camera sees next; None: no frame comes."""

_LONGEST = int(80 * RATE)


class Person:
    """The clips of one person, and what a gallery has of them."""

    def __init__(self, root: Path, name: str) -> None:
        self._folder = root / "clips" / name
        self._kept = root / "people" / f"{name}.npz"
        self._clips: dict[str, Clip] = {}

    @cached_property
    def enrolled(self) -> Any:
        """(N, D) embeddings of other photographs."""
        with np.load(self._kept) as kept:
            return kept["others"]

    def clip(self, name: str) -> Clip:
        if name not in self._clips:
            with np.load(self._folder / f"{name}.npz") as kept:
                self._clips[name] = from_arrays(dict(kept))
        return self._clips[name]

    def has(self, name: str) -> bool:
        return (self._folder / f"{name}.npz").exists()

    @property
    def alone(self) -> bool:
        """Whether nobody else is in the photograph."""
        return max(seen.second for seen in self.clip("idle")) < CHOSEN.second / 2

    def live(self, prefix: str = "") -> dict[str, Clip]:
        return {action: self.clip(prefix + action) for action in ACTIONS}


class Idle:
    """Goes to and fro in a clip, from some place on; or round and round."""

    def __init__(self, clip: Clip, random: np.random.Generator, *, loop: bool = False) -> None:
        self._clip, self._loop = clip, loop
        self._k = int(random.integers(len(clip)))
        self._step = 1

    def __call__(self) -> Observation:
        n = len(self._clip)
        if self._loop:
            self._k = (self._k + 1) % n
            return self._clip[self._k]
        if not 0 <= self._k + self._step < n:
            self._step = -self._step
        self._k += self._step
        return self._clip[self._k]


class Reacting:
    """Does what is asked, after a while, as far as there is a clip of it."""

    def __init__(self, idle: Idle, actions: Mapping[str, Clip], random: np.random.Generator) -> None:
        self._idle, self._actions, self._random = idle, actions, random
        self._queue: list[Observation] = []
        self._answered = 0

    def __call__(self, status: Status) -> Observation:
        if status.action is not None and status.step >= self._answered and not self._queue:
            self._answered = status.step + 1
            wait = int(self._random.uniform(0.25, 0.8) * RATE)
            self._queue = [self._idle() for _ in range(wait)] + list(self._actions.get(status.action, ()))
        return self._queue.pop(0) if self._queue else self._idle()


class Tape:
    """Plays on, whatever is asked."""

    def __init__(self, frames: Sequence[Observation], idle: Idle) -> None:
        self._frames, self._idle = list(frames), idle

    def __call__(self, status: Status) -> Observation:
        return self._frames.pop(0) if self._frames else self._idle()


@dataclass
class Frozen:
    """A stream that stands still for a while, some time in."""

    of: Script
    begin: float
    seconds: float
    k: int = 0
    held: Observation | None = None

    def __call__(self, status: Status) -> Observation | None:
        time = self.k / RATE
        self.k += 1
        if self.held is None or not self.begin <= time < self.begin + self.seconds:
            self.held = self.of(status)
        return self.held


@dataclass
class Dropping:
    """A stream of which frames are missing: a piece, or two of three all the time."""

    of: Script
    begin: float
    seconds: float
    k: int = 0

    def __call__(self, status: Status) -> Observation | None:
        time = self.k / RATE
        self.k += 1
        seen = self.of(status)
        missing = self.begin <= time < self.begin + self.seconds if self.seconds else self.k % 3 != 0
        return None if missing else seen


@dataclass
class Handed:
    """Another script goes on from some step on."""

    first: Script
    then: Script
    step: int

    def __call__(self, status: Status) -> Observation | None:
        return (self.then if status.step >= self.step else self.first)(status)


def _genuine(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    return Reacting(Idle(person.clip("idle"), random), person.live(), random)


def _printed(*held: str) -> Callable[..., Script]:
    """Pictures on paper; `held`: kinds of clips that pass for actions; where there is none the print is moved."""

    def script(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
        actions = {} if held == ("still",) else dict.fromkeys(ACTIONS, person.clip("print/moved"))
        for kind in held:
            actions.update({a: person.clip(f"{kind}/{a}") for a in ACTIONS if person.has(f"{kind}/{a}")})
        if held == ("zoomed",):
            actions = dict.fromkeys(ACTIONS, person.clip("print/zoomed"))
        return Reacting(Idle(person.clip("print/idle"), random), actions, random)

    return script


def _replayed(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    """The film of an earlier attempt, which asked something else."""
    others = [s for s in sequences(ACTIONS, len(asked.actions)) if s != asked.actions]
    return _tape(person, others[int(random.integers(len(others)))], random)


def _tape(person: Person, order: Sequence[str], random: np.random.Generator) -> Script:
    idle = Idle(person.clip("screen/idle"), random)
    frames = [idle() for _ in range(int(random.uniform(1.5, 3.5) * RATE))]
    for action in order:
        frames += person.clip(f"screen/{action}")
        frames += [idle() for _ in range(int(random.uniform(1.0, 2.4) * RATE))]
    return Tape(frames, idle)


def _repeated(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    """The film of an earlier attempt that happened to ask the same, at its own pace."""
    return _tape(person, asked.actions, random)


def _guessed(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    """A replay that has the first action right, in time, and then goes on in another order."""
    others = [s for s in sequences(ACTIONS, len(asked.actions)) if s != asked.actions and s[0] == asked.actions[0]]
    order = others[int(random.integers(len(others)))]
    wrong: dict[str, Clip] = {}
    idle = Idle(person.clip("screen/idle"), random)

    def play(status: Status) -> Observation:
        # what the film does when this is asked
        for given, meant in zip(order, asked.actions, strict=True):
            wrong[meant] = person.clip(f"screen/{given}")
        return reacting(status)

    reacting = Reacting(idle, wrong, random)
    return play


def _library(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    """A film of every action of the person on a screen, chosen as it is asked."""
    return Reacting(Idle(person.clip("screen/idle"), random), person.live("screen/"), random)


def _frozen(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    return Frozen(_genuine(person, other, random, asked), random.uniform(0.5, 5.0), random.uniform(0.6, 2.0))


def _dropped(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    seconds = random.uniform(0.6, 1.5) if random.random() < 0.5 else 0.0
    return Dropping(_genuine(person, other, random, asked), random.uniform(0.5, 5.0), seconds)


def _looped(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    """A short film of rest in a loop until something is asked, and then the person."""
    length, start = int(random.integers(9, 16)), int(random.integers(60))
    idle = Idle(person.clip("idle")[start : start + length], random, loop=True)
    return Reacting(idle, person.live(), random)


def _noisy_loop(*names: str) -> Callable[..., Script]:
    """The same in copies that all differ; the person does what is asked."""

    def script(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
        clip = person.clip(f"loop/{names[int(random.integers(len(names)))]}")
        return Reacting(Idle(clip, random, loop=True), person.live(), random)

    return script


def _taken_over(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    """Somebody else does the challenge, and the person (their print, or they themselves) appears on the way."""
    then = _genuine if random.random() < 0.5 else _printed("still")
    step = int(random.integers(1, len(asked.actions) + 1))
    return Handed(_genuine(other, person, random, asked), then(person, other, random, asked), step)


def _somebody_else(person: Person, other: Person, random: np.random.Generator, asked: Challenge) -> Script:
    return _genuine(other, person, random, asked)


ATTACKS: Mapping[str, Callable[..., Script]] = {
    "print held still": _printed("still"),
    "print moved": _printed("moved"),
    "print zoomed": _printed("zoomed"),
    "print tilted": _printed("tilted"),
    "print bent": _printed("bent"),
    "picture squeezed": _printed("squeezed"),
    "picture mirrored": _printed("mirrored"),
    "cut-out eyes": _printed("eyes", "tilted"),
    "cut-out mouth": _printed("mouth", "bent"),
    "two pictures swapped": _printed("swap", "tilted"),
    "two pictures faded": _printed("fade", "bent"),
    "replay, other order": _replayed,
    "replay, first right": _guessed,
    "frozen frames": _frozen,
    "looped frames": _looped,
    "dropped frames": _dropped,
    "taken over": _taken_over,
    "somebody else": _somebody_else,
}
"""Those that must be refused."""
HARD: Mapping[str, Callable[..., Script]] = {
    "album swapped": _printed("album-swap"),
    "album faded": _printed("album-fade"),
    "replay, same order": _repeated,
    "screen, every action": _library,
    "loop, noise on each frame": _noisy_loop("noise-short", "noise-long"),
    "loop, each frame compressed": _noisy_loop("jpeg-short", "jpeg-long"),
    "loop on a screen that stands": _noisy_loop("screen"),
    "loop on a screen in a hand": _noisy_loop("hand"),
}
"""Those that are not all refused: an attacker has a picture or a film of the person doing whatever is asked, or puts a
loop before it in which no frame is like another."""


@cache
def _rule() -> Any:
    return rule_for(registry.records()["dlib-resnet"], "fast")


def same_person(probes: Sequence[Probe], enrolled: Any) -> bool:
    """As `verifying.verify`, without a gallery."""
    if not probes:
        return False
    return likeness(_rule(), probes, enrolled) >= _rule().threshold([len(enrolled)], FMR)


def alike(a: Any, b: Any) -> float:
    return float(similarity.pairwise(a[None], b[None], "l2")[0, 0])


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: the judge's reason, whether it was the person, and what was measured."""

    reason: str
    same: bool
    step: int
    measures: Mapping[str, float]

    @property
    def accepted(self) -> bool:
        return self.reason == "accepted" and self.same

    @property
    def why(self) -> str:
        return "not-recognised" if self.reason == "accepted" and not self.same else self.reason


def random_challenge(random: np.random.Generator) -> Challenge:
    """As `challenge.draw`, but from a seed, so that trials can be done again."""
    possible = sequences(ACTIONS, 3)
    actions = possible[int(random.integers(len(possible)))]
    return Challenge("0" * 32, actions, tuple(random.uniform(*PAUSES) for _ in actions))


def attempt(script: Script, challenge: Challenge, enrolled: Any, limits: Limits) -> Outcome:
    """Judge one script."""
    judge = Judge(challenge, alike, limits=limits)
    status, probes = Status("baseline", 0), []
    for k in range(_LONGEST):
        seen = script(status)
        if seen is None:
            continue
        time = k / RATE
        if seen.look is not None and (probe := probe_of(time, seen.look)) is not None:
            probes.append(probe)
        status = judge.see(replace(seen, time=time))
        if status.state == "done":
            break
    reason = status.reason or "endless"
    return Outcome(reason, same_person(best_probes(probes), enrolled), status.step, judge.measures)


def run(root: Path, kind: str, *, n: int, skip: int = 0, limits: Limits) -> dict[str, Any]:
    """`n` attempts of one kind by all people but the first `skip`: how many were accepted, and why others were not."""
    people = [Person(root, path.stem) for path in sorted((root / "people").glob("*.npz"))][skip:]
    filmed = [person for person in people if all(person.has(a) for a in ("idle", *ACTIONS)) and person.alone]
    attacked = [person for person in filmed if all(person.has(clip) for clip in (*SCREENS, "album-fade/turn-right"))]
    kinds: dict[str, Callable[..., Script]] = {"genuine": _genuine, **ATTACKS, **HARD}
    random = np.random.default_rng(list(kinds).index(kind))
    chosen = filmed if kind == "genuine" else attacked
    if kind not in ("genuine", "looped frames"):  # clips of attacks repeat where longer films would not
        limits = replace(limits, repeats=10_000, loop=limits.loop if "loop" in kind else -np.inf)
    outcomes = []
    for i in range(n):
        person = chosen[i % len(chosen)]
        other = _somebody([one for one in filmed if one is not person], random)
        asked = random_challenge(random)
        outcomes.append(attempt(kinds[kind](person, other, random, asked), asked, person.enrolled, limits))
    return {"people": len(chosen), **_row(outcomes)}


def _somebody(people: Sequence[Person], random: np.random.Generator) -> Person:
    return people[int(random.integers(len(people)))]


SCREENS = tuple(f"screen/{clip}" for clip in ("idle", *ACTIONS))
CHOSEN = Limits(alike=0.3)


def _row(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    reasons = Counter(outcome.why for outcome in outcomes)
    names = ("largest_jump", "least_alike", "nearest_repeat", "loop", "moire_peak", "rim")
    spread = {
        name: [
            round(float(q), 3)
            for q in np.quantile([o.measures.get(name, 0.0) for o in outcomes], (0, 0.05, 0.5, 0.95, 1))
        ]
        for name in names
    }
    return {
        "n": len(outcomes),
        "accepted": sum(outcome.accepted for outcome in outcomes),
        "live": sum(outcome.reason == "accepted" for outcome in outcomes),
        "reasons": dict(reasons.most_common()),
        "measures": spread,
    }
