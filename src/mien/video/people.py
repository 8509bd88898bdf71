"""Tracks that are one person: those with one name are; a track that nobody has named stands for itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.video.attention import Attention
from mien.video.columns import UNCERTAIN
from mien.video.intervals import Interval, joined, total
from mien.video.story import Band, Story, Track

FLEETING = 0.5
"""Seconds; an unnamed track that was seen for less is not counted as a person."""


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody, with all tracks of theirs.

    Attributes:
        name: from the gallery, or None.
        tracks: theirs, in order.
        presence: when they were there.
        clear: whether they were seen well enough to tell that they are nobody else of these people.
    """

    name: str | None
    tracks: tuple[Track, ...]
    presence: tuple[Interval, ...]
    clear: bool = True

    @property
    def label(self) -> str:
        """The name, or "person 3" by the number of the track."""
        return self.name if self.name is not None else f"person {self.tracks[0].number}"

    @property
    def seconds(self) -> float:
        """For how long they were there."""
        return total(self.presence)

    @property
    def bands(self) -> list[Band]:
        """What they showed, in order."""
        return sorted((band for track in self.tracks for band in track.bands), key=lambda band: band.start)

    @property
    def blinks(self) -> list[float]:
        """When they blinked, in order."""
        return sorted(time for track in self.tracks for time in track.blinks)

    @property
    def attention(self) -> Attention:
        """Seconds towards the camera, and with open eyes."""
        out = Attention(self.tracks[0].attention.degrees)
        for track in self.tracks:
            out = out.plus(track.attention)
        return out

    def time_in(self, state: int) -> float:
        """Seconds in which they were seen in a state."""
        return sum(track.time_in.get(state, 0.0) for track in self.tracks)

    def transitions(self, labels: int) -> npt.NDArray[np.int64]:
        """(C, C) int64: how often one expression was followed by another, without leaving between them.

        Moments in which nothing was clear are passed over.
        """
        counts = np.zeros((labels, labels), dtype=np.int64)
        for track in self.tracks:
            before, end = UNCERTAIN, 0.0
            for band in track.bands:
                if band.start > end:  # was away
                    before = UNCERTAIN
                if band.state >= 0:
                    if before not in (UNCERTAIN, band.state):
                        counts[before, band.state] += 1
                    before = band.state
                end = band.end
        return counts


def people(
    story: Story,
    names: Mapping[int, str],
    same: Mapping[int, int] | None = None,
    unclear: Collection[int] = (),
    *,
    least: float = FLEETING,
) -> list[Person]:
    """Everybody, in the order in which they came, and of their tracks.

    Args:
        story: of all tracks.
        names: by track.
        same: by track, the earlier track of the same person.
        unclear: tracks that were never seen well enough to tell whose they are.
        least: seconds for which an unnamed track must have been seen to count. A video that is shorter has nobody else,
            so there the longest track always counts.
    """
    tracks = [track for track in story.tracks.values() if track.presence]
    longest = max((track.seconds for track in tracks), default=0.0)
    groups: dict[str | int, list[Track]] = {}
    for track in sorted(tracks, key=lambda track: (track.presence[0][0], track.number)):
        groups.setdefault(_who(track.number, names, same or {}), []).append(track)
    return [
        Person(
            who if isinstance(who, str) else None,
            tuple(theirs),
            _presence(theirs, story.rules.gap),
            clear=isinstance(who, str) or any(track.number not in unclear for track in theirs),
        )
        for who, theirs in groups.items()
        if isinstance(who, str) or sum(track.seconds for track in theirs) >= min(least, longest)
    ]


def _who(track: int, names: Mapping[int, str], same: Mapping[int, int]) -> str | int:
    """The name of a track, or the first number of whoever it shows."""
    numbers = [track]
    while (earlier := same.get(numbers[-1])) is not None and earlier not in numbers:
        numbers.append(earlier)
    return next((names[number] for number in numbers if number in names), numbers[-1])


def fleeting(story: Story, everybody: Sequence[Person]) -> int:
    """How many tracks are too short to count as somebody."""
    return len([t for t in story.tracks.values() if t.presence]) - sum(len(person.tracks) for person in everybody)


def _presence(tracks: Iterable[Track], gap: float) -> tuple[Interval, ...]:
    return tuple(joined((interval for track in tracks for interval in track.presence), gap))
