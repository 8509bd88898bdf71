"""Who tracks are: votes of looks, counted over the track, so that no name flickers, or comes of one lucky frame."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mien.gallery.decision import FPIR, Identification
from mien.gallery.gallery import Gallery
from mien.video.appearance import Look

VOTES = 16
"""The last votes of a track that count."""
REMEMBERED = 1000
"""Tracks whose votes are kept; those that were asked for longest ago are forgotten."""

_FULL = (
    0.15  # of what is left above the threshold: a similarity so far above it is a full vote for, as far below against
)
_GIVEN = 0.8  # votes (of quality 1) that it takes to give a name
_TAKEN = -0.5  # to which they must fall before it is taken back
_AHEAD = 1.0  # by which somebody must lead the next one to be named
_CHANGED = 2.5  # by which another must lead the name that there is, or another track claim it
_SETTLED = 3.0  # from which it takes no more votes


@dataclass(eq=False)
class _Ballot:
    """The votes of one track: for each look, what it says of each candidate, and its weight."""

    votes: deque[tuple[float, dict[str, float]]] = field(default_factory=lambda: deque(maxlen=VOTES))
    person: str | None = None

    def totals(self) -> dict[str, float]:
        """Votes by person; a look that does not list somebody speaks against them."""
        people = {person for _, said in self.votes for person in said}
        return {person: sum(weight * said.get(person, -1.0) for weight, said in self.votes) for person in people}

    def decide(self, totals: dict[str, float]) -> None:
        """Give, keep, change or take back the name."""
        ranked = sorted(totals, key=lambda person: (-totals[person], person))
        best, lead = (ranked[0], totals[ranked[0]]) if ranked else (None, -np.inf)
        second = totals[ranked[1]] if len(ranked) > 1 else -np.inf
        mine = totals.get(self.person, -np.inf) if self.person is not None else -np.inf
        given = lead >= _GIVEN and lead - second >= _AHEAD
        if self.person is not None and best != self.person and given and lead - mine >= _CHANGED:
            self.person = best
        elif self.person is not None and mine <= _TAKEN:
            self.person = best if given else None
        elif self.person is None and given:
            self.person = best


class Names:
    """Names tracks from a gallery.

    A look votes for the people of the gallery by how far its similarity is above or below the gallery's threshold,
    weighed by its quality; the last `VOTES` of a track count. Someone is named from 0.8 full votes on, if nobody else
    is near, and the name changes only when another leads by 2.5. Of tracks that are there at once, one carries a name:
    the one with more votes.

    Args:
        gallery: of people.
        fpir: the share of strangers who may be given a name by one look, see `Gallery.identify`.
        threshold: similarity to reach, set by hand, instead.
    """

    def __init__(self, gallery: Gallery, *, fpir: float | None = None, threshold: float | None = None) -> None:
        self._gallery = gallery
        self._fpir = FPIR if fpir is None else fpir
        self._threshold = threshold
        self._ballots: OrderedDict[int, _Ballot] = OrderedDict()
        self._shown: dict[str, str] = {}
        self._holders: dict[str, int] = {}

    def settled(self, track: int) -> bool:
        """Whether a track has its name, and needs no more looks to be sure of it."""
        ballot = self._ballots.get(track)
        return ballot is not None and ballot.person is not None and ballot.totals()[ballot.person] >= _SETTLED

    def vote(self, looks: Sequence[tuple[int, Look]]) -> None:
        """Ask the gallery about new looks at tracks, all at once.

        Args:
            looks: (track, look).

        Raises:
            GalleryError, ModelError: as `Gallery.identify`.
        """
        if not looks:
            return
        answers = self._gallery.identify(
            np.stack([look.embedding for _, look in looks]), fpir=self._fpir, threshold=self._threshold
        )
        for (track, look), answer in zip(looks, answers, strict=True):
            ballot = self._ballots.setdefault(track, _Ballot())
            self._ballots.move_to_end(track)
            ballot.votes.append((look.quality, self._said(answer)))
            ballot.decide(ballot.totals())
        while len(self._ballots) > REMEMBERED:
            self._ballots.popitem(last=False)

    def _said(self, answer: Identification) -> dict[str, float]:
        """What one look says of each candidate who has a name: -1 to 1."""
        full = max(_FULL * (1 - answer.threshold), 1e-3)
        said = {}
        for candidate in answer.candidates:
            if candidate.name is not None:
                self._shown[candidate.person] = candidate.name
                said[candidate.person] = float(np.clip((candidate.similarity - answer.threshold) / full, -1.0, 1.0))
        return said

    def merge(self, track: int, before: int) -> None:
        """A track turned out to be of the person of an earlier one: the votes are of one."""
        earlier = self._ballots.pop(before, None)
        if earlier is None:
            return
        ballot = self._ballots.setdefault(track, _Ballot())
        earlier.votes.extend(ballot.votes)
        ballot.votes = earlier.votes
        ballot.person = ballot.person or earlier.person
        ballot.decide(ballot.totals())

    def renumber(self, track: int, number: int) -> None:
        """A track gets another number, which no track has."""
        if (ballot := self._ballots.pop(track, None)) is not None:
            self._ballots[number] = ballot

    def to_dict(self) -> dict[str, Any]:
        """All votes, JSON-ready: with `restore`, another one goes on."""
        ballots = [
            [track, ballot.person, [[weight, dict(said)] for weight, said in ballot.votes]]
            for track, ballot in self._ballots.items()
        ]
        return {"ballots": ballots, "shown": dict(self._shown), "holders": dict(self._holders)}

    def restore(self, told: Mapping[str, Any]) -> None:
        """Go on with the votes that another one counted.

        Raises:
            ValueError, KeyError, TypeError: they are not what `to_dict` gives.
        """
        for track, person, votes in told["ballots"]:
            ballot = self._ballots[int(track)] = _Ballot(person=None if person is None else str(person))
            ballot.votes.extend((float(w), {str(p): float(v) for p, v in said.items()}) for w, said in votes)
        self._shown = {str(person): str(name) for person, name in told["shown"].items()}
        self._holders = {str(person): int(track) for person, track in told["holders"].items()}

    def of(self, tracks: Sequence[int], seen: Sequence[bool]) -> tuple[str | None, ...]:
        """The names of tracks that are there at once, None for whom nobody knows.

        Args:
            tracks: N numbers.
            seen: whether each is seen now; those that are come before those whose place is a guess.
        """
        claims: dict[str, list[tuple[bool, float, int]]] = {}
        for track, visible in zip(tracks, seen, strict=True):
            ballot = self._ballots.get(track)
            if ballot is not None and ballot.person is not None:
                ahead = _CHANGED if self._holders.get(ballot.person) == track else 0.0  # whoever has it keeps it
                votes = ballot.totals()[ballot.person] + ahead
                claims.setdefault(ballot.person, []).append((visible, votes, -track))
        held = {person: -max(claim)[2] for person, claim in claims.items()}
        self._holders |= held
        named = {track: self._shown[person] for person, track in held.items()}
        return tuple(named.get(track) for track in tracks)
