"""What a video amounts to: for each person the time present and what they showed; counts; lines crossed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.video.columns import UNCERTAIN
from mien.video.events import NEUTRAL, SMILE, Event, events
from mien.video.intervals import Interval, most_at_once
from mien.video.people import Person, fleeting, people
from mien.video.story import Story, name_of

SCHEMA = 1
_NAMED = 10  # people that a sentence lists at most


@dataclass(frozen=True)
class Source:
    """What was looked at.

    Attributes:
        name: of the file, camera or address.
        size: (width, height) in pixels; (0, 0) where nothing was looked at.
        start: seconds, the first moment.
        end: seconds, the end of the last moment.
        moments: how many.
    """

    name: str = ""
    size: tuple[int, int] = (0, 0)
    start: float = 0.0
    end: float = 0.0
    moments: int = 0

    @property
    def seconds(self) -> float:
        """How long that is."""
        return max(self.end - self.start, 0.0)


class Summary:
    """Everybody and everything of a story.

    Args:
        story: of the tracks.
        names: of the gallery, by track.
        source: what was looked at.
        same: by track, the earlier track of the same person.
        unclear: tracks that were never seen well enough to tell whether they are of somebody who was here before.
    """

    def __init__(
        self,
        story: Story,
        names: Mapping[int, str],
        source: Source,
        *,
        same: Mapping[int, int] | None = None,
        unclear: Collection[int] = (),
    ) -> None:
        self.story = story
        self.names = dict(names)
        self.same = dict(same or {})
        self.unclear = frozenset(unclear)
        self.source = source

    @cached_property
    def people(self) -> list[Person]:
        """Everybody, in the order in which they came."""
        return people(self.story, self.names, self.same, self.unclear)

    @cached_property
    def events(self) -> list[Event]:
        """Everything that happened, in order of time."""
        return events(self.story, self.people, end=self.source.end)

    @property
    def presence(self) -> dict[str, tuple[Interval, ...]]:
        """By person, when they were there."""
        return {person.label: person.presence for person in self.people}

    def at(self, time: float) -> list[Person]:
        """Who is there at a time, in seconds."""
        return [person for person in self.people if any(start <= time < end for start, end in person.presence)]

    @property
    def at_least(self) -> int:
        """How many people there were, if none of those who were seen well came back unrecognised.

        Those who were not seen well could each be one of the others, but for as many as were there at once.
        """
        return max(sum(person.clear for person in self.people), self.most_at_once)

    @property
    def how_many(self) -> str:
        """The number of people in words: "1 person", "7 to 11 people"."""
        least, most = self.at_least, len(self.people)
        if least == most:
            return "1 person" if most == 1 else f"{most:,} people"
        return f"{least:,} to {most:,} people"

    @property
    def doubt(self) -> str:
        """Why the number of people is a range, in words; empty where it is none."""
        if self.at_least == len(self.people):
            return ""
        unclear = [person.label for person in self.people if not person.clear]
        if len(unclear) == len(self.people):
            return "nobody was seen well enough to be told from the others, or embeddings were not asked for"
        more = f" and {len(unclear) - _NAMED:,} more" if len(unclear) > _NAMED else ""
        return f"never seen well enough to tell whether they are one of the others: {', '.join(unclear[:_NAMED])}{more}"

    @cached_property
    def most_at_once(self) -> int:
        """How many people were there at one time, at most."""
        return most_at_once(interval for person in self.people for interval in person.presence)

    @cached_property
    def transitions(self) -> npt.NDArray[np.int64]:
        """(C, C) int64: how often an expression (row) was followed by another (column), of all people."""
        size = len(self.story.labels)
        return sum((p.transitions(size) for p in self.people), np.zeros((size, size), dtype=np.int64))

    def shares(self, person: Person) -> dict[str, float]:
        """By expression, and `uncertain`: the share of the time in which the person's was known; {} if it never was."""
        states = [*range(len(self.story.labels)), UNCERTAIN]
        seconds = {name_of(state, self.story.labels) or "": person.time_in(state) for state in states}
        known = sum(seconds.values())
        return {name: value / known for name, value in seconds.items()} if known > 0 else {}

    def main(self, person: Person) -> str | None:
        """The expression that a person showed for the longest time; None if none was ever known."""
        shares = self.shares(person)
        return max(shares, key=shares.__getitem__) if shares else None

    def smiles(self, person: Person) -> list[Event]:
        """Each time the person began to smile."""
        return [e for e in self.of(person) if e.label == SMILE and e.kind == "expression"]

    def of(self, person: Person) -> list[Event]:
        """What happened to a person; somebody of the gallery can be called "person 3", too."""
        return [e for e in self.events if (e.person, e.named) == (person.label, person.name is not None)]

    @property
    def knows_expressions(self) -> bool:
        """Whether expressions were asked for."""
        return bool(self.story.labels)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `mien video --json` prints."""
        source = self.source
        out: dict[str, Any] = {
            "schema": SCHEMA,
            "video": {
                "source": source.name,
                "width": source.size[0],
                "height": source.size[1],
                "start": round(source.start, 3),
                "end": round(source.end, 3),
                "moments": source.moments,
            },
            "counts": {
                "people": len(self.people),
                "at_least": self.at_least,
                "named": len({person.name for person in self.people if person.name is not None}),
                "at_once": self.most_at_once,
                "fleeting_tracks": fleeting(self.story, self.people),
            },
            "people": [self._person(person) for person in self.people],
            "events": [event.to_dict() for event in self.events],
        }
        if self.story.rules.lines:
            out["lines"] = self.lines()
        if self.knows_expressions:
            out["transitions"] = self._transitions()
        return out

    def lines(self) -> list[dict[str, Any]]:
        """For each line its ends in pixels, and how often it was crossed either way by somebody who counts."""
        crossed = [e for e in self.events if e.kind == "crosses"]
        return [
            {
                "line": [round(value, 1) for value in (*line.start, *line.end)],
                **{way: sum(e.line == number and e.label == way for e in crossed) for way in ("in", "out")},
            }
            for number, line in enumerate(self.story.rules.lines, 1)
        ]

    def _person(self, person: Person) -> dict[str, Any]:
        out: dict[str, Any] = {"who": person.label}
        if person.name is not None:
            out["person"] = person.name
        if not person.clear:
            out["unclear"] = True
        out |= {
            "tracks": [track.number for track in person.tracks],
            "seconds": round(person.seconds, 2),
            "presence": [[round(start, 3), round(end, 3)] for start, end in person.presence],
        }
        if shares := self.shares(person):
            out["expression"] = {"main": self.main(person), "shares": {k: round(v, 4) for k, v in shares.items()}}
            smiles = self.smiles(person)
            out["smiles"] = {"count": len(smiles), "seconds": round(sum(e.end - e.time for e in smiles), 2)}
        out |= person.attention.to_dict()
        if "eyes_open" in out:
            out["blinks"] = len(person.blinks)
        return out

    def _transitions(self) -> list[dict[str, Any]]:
        """The pairs that happened, most often first."""
        labels = self.story.labels
        found = [
            {"from": labels[i], "to": labels[j], "count": int(n)} for (i, j), n in np.ndenumerate(self.transitions) if n
        ]
        return sorted(found, key=lambda pair: -int(str(pair["count"])))


def shown_labels(labels: Sequence[str]) -> list[str]:
    """The expressions with `uncertain`, neutral first, as legends list them."""
    return [*sorted(labels, key=lambda label: label != NEUTRAL), "uncertain"]
