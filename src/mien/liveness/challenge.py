"""What is asked: a random sequence of actions, with random pauses before each, and a nonce that names the attempt."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import Literal, get_args

from mien.ops.advice import Language

__all__ = ["ACTIONS", "TEXTS", "Action", "Challenge", "draw", "sequences"]

Action = Literal["smile", "open-mouth", "blink", "turn-left", "turn-right"]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""All that can be asked. Raised eyebrows are not among them: five landmarks do not show eyebrows."""

TEXTS: Mapping[Action, Mapping[Language, str]] = {
    "smile": {"en": "Smile", "zh": "请微笑"},
    "open-mouth": {"en": "Open your mouth", "zh": "请张嘴"},
    "blink": {"en": "Close both eyes for a second", "zh": "请闭眼一秒"},
    "turn-left": {"en": "Turn your head to your left", "zh": "请向左转头"},
    "turn-right": {"en": "Turn your head to your right", "zh": "请向右转头"},
}
NEUTRAL: Mapping[Language, str] = {"en": "Look at the camera, at rest", "zh": "请自然地看着镜头"}
"""What is asked between actions."""

TURNS: frozenset[Action] = frozenset({"turn-left", "turn-right"})
LEAST_ACTIONS = 3
"""How many kinds of action are asked at least, and how many must remain when some are left out."""
MOST_LENGTH = 8
GUESSES = 36
"""Sequences grow until at least so many are equally likely."""
PAUSES = (0.5, 1.6)
"""Seconds of rest before an action is asked: the shortest and the longest."""
_TICKS = 1000


@dataclass(frozen=True)
class Challenge:
    """What one attempt asks.

    Attributes:
        nonce: 32 hex digits, never used before; the report carries it.
        actions: in the order in which they are asked.
        pauses: seconds of rest before each is asked.
        asked: for recordings, when each was asked, in seconds since the start; None: as the pauses say.

    Raises:
        ValueError: no actions, an action that there is not, not as many pauses or times, or times that do not rise.
    """

    nonce: str
    actions: tuple[Action, ...]
    pauses: tuple[float, ...]
    asked: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.actions:
            raise ValueError("a challenge asks at least one action")
        if unknown := [action for action in self.actions if action not in ACTIONS]:
            raise ValueError(f"{unknown[0]!r} is no action; choose from {', '.join(ACTIONS)}")
        if len(self.pauses) != len(self.actions) or not all(0 <= pause < 60 for pause in self.pauses):
            raise ValueError(f"{len(self.actions)} actions, and pauses of {self.pauses}")
        if self.asked is not None and not _rises(self.asked, len(self.actions)):
            raise ValueError(f"{len(self.actions)} actions, asked at {self.asked}: one time each, rising")


def draw(*, without: Collection[Action] = (), length: int | None = None) -> Challenge:
    """A new challenge by the operating system's secure random numbers.

    Args:
        without: actions that this person cannot do.
        length: actions in all; None: the fewest that leave `GUESSES` possibilities (3, or more where actions
            are left out).

    Raises:
        ValueError: fewer than three kinds of action remain, or the length is out of range.
    """
    allowed = _allowed(without)
    if length is None:
        length = next(n for n in range(LEAST_ACTIONS, MOST_LENGTH + 1) if len(sequences(allowed, n)) >= GUESSES)
    if not LEAST_ACTIONS <= length <= MOST_LENGTH:
        raise ValueError(f"a length of {length}; a challenge has {LEAST_ACTIONS} to {MOST_LENGTH} actions")
    actions = secrets.choice(sequences(allowed, length))
    return Challenge(secrets.token_hex(16), actions, tuple(_pause() for _ in actions))


def recorded(actions: Sequence[Action], asked: Sequence[float] | None = None) -> Challenge:
    """The challenge of a recording, for rehearsals and evaluations; it unlocks nothing.

    Args:
        actions: as they were asked.
        asked: when, in seconds since the start of the recording; None: each after the shortest pause.

    Raises:
        ValueError: as `Challenge`.
    """
    times = None if asked is None else tuple(float(time) for time in asked)
    return Challenge(secrets.token_hex(16), tuple(actions), (PAUSES[0],) * len(actions), times)


@cache
def sequences(allowed: tuple[Action, ...], length: int) -> tuple[tuple[Action, ...], ...]:
    """Every sequence that may be asked.

    Nothing twice in a row, at least three kinds of action, and where they are allowed a turn (which needs a head
    that has depth) and two actions of the face (which a mask or a turned picture does not do): a print bent into a
    depth of its own, with a hole for the mouth, can do turns and one of them.
    """
    return tuple(_sequences(allowed, length))


def _sequences(allowed: tuple[Action, ...], length: int) -> Iterator[tuple[Action, ...]]:
    turns = TURNS & set(allowed)
    others = set(allowed) - TURNS
    for actions in product(allowed, repeat=length):
        kinds = set(actions)
        varied = len(kinds) >= LEAST_ACTIONS and all(a != b for a, b in pairwise(actions))
        if varied and (not turns or kinds & turns) and len(kinds & others) >= min(2, len(others)):
            yield actions


def _allowed(without: Collection[Action]) -> tuple[Action, ...]:
    if unknown := set(without) - set(ACTIONS):
        raise ValueError(f"{sorted(unknown)[0]!r} is no action; choose from {', '.join(ACTIONS)}")
    allowed = tuple(action for action in ACTIONS if action not in without)
    if len(allowed) < LEAST_ACTIONS:
        raise ValueError(f"only {', '.join(allowed) or 'nothing'} remains to be asked; leave out two actions at most")
    return allowed


def _pause() -> float:
    shortest, longest = PAUSES
    return shortest + (longest - shortest) * secrets.randbelow(_TICKS + 1) / _TICKS


def _rises(times: Sequence[float], n: int) -> bool:
    return len(times) == n and all(0 <= time < 1e6 for time in times) and all(a < b for a, b in pairwise(times))
