"""What happens in a video, in order of time: people come and go, expressions begin and end, blinks, lines crossed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from mien.video.people import Person
from mien.video.story import Story, steady

Kind: TypeAlias = Literal["enters", "leaves", "expression", "blink", "crosses"]

LEAST = 0.3
"""Seconds; an expression that is shorter is no event."""
NEUTRAL = "neutral"
SMILE = "happiness"
_DECIMALS = 3
_SAME = 1e-3  # seconds; how long a moment stands is kept in single precision


@dataclass(frozen=True)
class Event:
    """Something that happens.

    Attributes:
        kind: what.
        time: seconds, when it begins.
        person: the label of who: a name, or "person 3".
        named: whether that is a name of the gallery.
        end: seconds, when it ends; that of what has no length is its time.
        label: of an expression: which; of a crossing: in or out.
        peak: of an expression: its highest smoothed probability.
        peak_time: when that was.
        line: of a crossing: the number of the line, from 1.
    """

    kind: Kind
    time: float
    person: str
    named: bool
    end: float
    label: str | None = None
    peak: float | None = None
    peak_time: float | None = None
    line: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what does not apply is absent."""
        out: dict[str, Any] = {"event": self.kind, "time": round(self.time, _DECIMALS), "who": self.person}
        if self.end > self.time:
            out["end"] = round(self.end, _DECIMALS)
        if self.label is not None:
            out["label"] = self.label
        if self.peak is not None and self.peak_time is not None:
            out |= {"peak": round(self.peak, 4), "peak_time": round(self.peak_time, _DECIMALS)}
        if self.line is not None:
            out["line"] = self.line
        return out


def events(story: Story, everybody: Sequence[Person], *, end: float = math.inf, least: float = LEAST) -> list[Event]:
    """Everything that happens to these people, in order of time.

    Args:
        story: of which they are.
        everybody: as `people.people` groups them.
        end: seconds, where the video ends: whoever is there then does not leave.
        least: seconds; an expression that is shorter is none. Neutral is none, either.
    """
    found = [event for person in everybody for event in _of(person, story.labels, end, least)]
    found += _crossings(story, everybody)
    return sorted(found, key=lambda event: (event.time, event.end))


def _of(person: Person, labels: Sequence[str], last: float, least: float) -> Iterator[Event]:
    who = (person.label, person.name is not None)
    for start, end in person.presence:
        yield Event("enters", start, *who, start)
        if end < last - _SAME:
            yield Event("leaves", end, *who, end)
    for track in person.tracks:
        for band in steady(track.bands, least):
            if band.state >= 0 and labels[band.state] != NEUTRAL and band.end - band.start >= least:
                label = labels[band.state]
                yield Event("expression", band.start, *who, band.end, label, band.peak, band.peak_time)
    for time in person.blinks:
        yield Event("blink", time, *who, time)


def _crossings(story: Story, everybody: Sequence[Person]) -> Iterator[Event]:
    whose = {track.number: person for person in everybody for track in person.tracks}
    for crossing in story.crossings:
        if person := whose.get(crossing.track):
            named = person.name is not None
            yield Event(
                "crosses",
                crossing.time,
                person.label,
                named,
                crossing.time,
                label=crossing.direction,
                line=crossing.line + 1,
            )
