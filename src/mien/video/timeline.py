"""Timeline: who was seen in a video when, and what they showed; with what follows from it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from mien.video import exports
from mien.video.attention import FACING
from mien.video.columns import Rows
from mien.video.counting import Line
from mien.video.events import Event
from mien.video.intervals import Interval
from mien.video.people import Person
from mien.video.recording import Recorder
from mien.video.smoothing import TrackSmoother
from mien.video.story import Rules, Story
from mien.video.summary import Source, Summary

if TYPE_CHECKING:
    from mien.video.analysis import Moment

__all__ = ["Timeline"]


@dataclass(frozen=True, eq=False, repr=False)
class Timeline:
    """Faces over time, and everything that is found in it.

    Attributes:
        rows: one for each face at each moment, as a struct of arrays.
        names: by track, of those that the gallery knows.
        source: what was looked at.
        rules: by which events and presence are found.
        same: by track, the earlier track of the same person, who was recognised late.
        unclear: tracks that were never seen well enough to tell whether they are of somebody who was here before.
    """

    rows: Rows
    names: Mapping[int, str] = field(default_factory=dict)
    source: Source = field(default_factory=Source)
    rules: Rules = field(default_factory=Rules)
    same: Mapping[int, int] = field(default_factory=dict)
    unclear: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls,
        moments: Iterable[Moment],
        *,
        smoother: TrackSmoother | None = None,
        lines: Sequence[Line] = (),
        facing: float = FACING,
        name: str = "",
    ) -> Self:
        """The timeline of a video's moments, in memory. `mien video` keeps long ones on disk as it goes.

        Args:
            moments: as `VideoAnalyzer` gives them.
            smoother: makes expressions steady over time; with a moving average by default.
            lines: whose crossings are counted.
            facing: degrees of yaw and pitch within which a face is towards the camera.
            name: of the source.
        """
        held = [moment if moment.state is None else replace(moment, state=None) for moment in moments]
        said = next((m.faces.expressions for m in held if len(m.ids) and m.faces.expressions is not None), None)
        recorder = Recorder(said.labels if said is not None else (), smoother=smoother, source=Source(name))
        for moment in held:
            recorder.add(moment)
        rows = recorder.take(last=True)
        source = recorder.source
        rules = Rules(tuple(line.pixels(source.size) for line in lines), facing=facing)
        return cls(rows, recorder.names, source, rules, recorder.same, frozenset(recorder.unclear))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a timeline from Parquet, CSV or JSON lines. A CSV does not say how long its video was: as its rows.

        Raises:
            DataError: the file is missing, cut short, or no timeline.
            MienError: it is Parquet, and pyarrow is not installed.
        """
        read = exports.read(Path(path))
        return cls(read.rows, read.names, read.source, read.rules, read.same, read.unclear)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it whole, or not at all, in the format that the suffix names: .parquet, .csv, .jsonl, or .vtt.

        Raises:
            MienError: the suffix names none, or it cannot be written.
        """
        exports.write(Path(path), exports.Content(self.summary, lambda: [self.rows], self.rows.known))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Timeline({len(self.rows)} rows, {len(self.people)} people, {self.source.seconds:.1f} s)"

    def select(
        self,
        *,
        person: str | None = None,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Self:
        """A part of it.

        Args:
            person: only of this person: a name, or "person 3" as `Person.label` has it.
            track: only of this track.
            start: seconds; only moments from then on.
            end: seconds; only moments before.

        Raises:
            KeyError: nobody is called `person`.
        """
        rows = self.rows
        kept = np.ones(len(rows), dtype=np.bool_)
        if person is not None:
            kept &= np.isin(rows.track, self._tracks_of(person))
        if track is not None:
            kept &= rows.track == track
        source = self.source
        if start is not None:
            kept &= rows.time >= start
            source = replace(source, start=max(source.start, start))
        if end is not None:
            kept &= rows.time < end
            source = replace(source, end=min(source.end, end))
        chosen = rows[kept]
        there = set(chosen.track.tolist())
        names = {number: name for number, name in self.names.items() if number in there}
        return replace(self, rows=chosen, names=names, source=source)

    def _tracks_of(self, person: str) -> list[int]:
        found = next((one for one in self.people if one.label == person), None)
        if found is None:
            raise KeyError(f"{person!r} is not on this timeline")
        return [one.number for one in found.tracks]

    @cached_property
    def summary(self) -> Summary:
        """What it amounts to."""
        story = Story(self.rows.labels, self.rules)
        story.add(self.rows)
        return Summary(story, self.names, self.source, same=self.same, unclear=self.unclear)

    @property
    def people(self) -> list[Person]:
        """Everybody, in the order in which they came."""
        return self.summary.people

    def at(self, time: float) -> list[Person]:
        """Who is there at a time, in seconds."""
        return self.summary.at(time)

    @property
    def events(self) -> list[Event]:
        """What happened, in order of time: people come and go, expressions begin and end, blinks, lines crossed."""
        return self.summary.events

    @property
    def presence(self) -> dict[str, tuple[Interval, ...]]:
        """By person, when they were there: (start, end) in seconds."""
        return self.summary.presence
