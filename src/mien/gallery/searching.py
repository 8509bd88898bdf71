"""Search: who of a gallery is most like each probe, without those whom somebody said it is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np

from mien.gallery.decision import NOBODY, Ints, Rule, match
from mien.gallery.index import catch_up, open_index
from mien.gallery.privacy import everybody
from mien.gallery.records import Changes, GalleryInfo
from mien.gallery.store import Reader
from mien.ops import similarity
from mien.types import FloatArray

_SPARE = 16  # people who are looked at beyond those asked for: templates change the order, and some may be left out
_KEPT = 4096  # people whose faces are kept at hand
_TIE = 1e-4  # similarities that differ less are equal: they are computed in two ways


@dataclass(frozen=True)
class Roster:
    """Who is in a gallery, at one revision.

    Attributes:
        revision: of the gallery.
        people: (id, name) of everybody who has a face.
        faces: how many faces each has.
        place: position in `people`, by id.
        forbidden: faces, by the position of the person whom they do not show.
    """

    revision: int
    people: list[tuple[str, str | None]]
    faces: list[int]
    place: dict[str, int]
    forbidden: dict[int, list[int]]

    @classmethod
    def of(cls, reader: Reader) -> Roster:
        """As it is now."""
        shown = [person for person in everybody(reader) if person.faces]
        place = {person.id: i for i, person in enumerate(shown)}
        forbidden: dict[int, list[int]] = {}
        for face, who in reader.forbidden():
            if who in place:
                forbidden.setdefault(place[who], []).append(face)
        people = [(person.id, person.name) for person in shown]
        return cls(reader.revision(), people, [person.faces for person in shown], place, forbidden)


class Searcher:
    """Keeps an index in step with a gallery. May be shared by threads.

    The index holds embeddings as they are compared (`Rule.prepare`) and finds the people whose faces are nearest; they
    are then compared by all of their faces (`match`).

    Args:
        info: of the gallery.
        rule: of its embedder.
        cache: where the index may keep vectors between processes, or None.
    """

    def __init__(self, info: GalleryInfo, rule: Rule, cache: Path | None = None) -> None:
        self._rule = rule
        self._index = open_index(info.dimension, info.metric, cache=cache, gallery_id=info.id)
        self._roster: Roster | None = None
        self._faces: dict[int, FloatArray] = {}
        self._lock = Lock()

    def rank(self, reader: Reader, probes: FloatArray, k: int) -> tuple[tuple[Ints, FloatArray], Roster]:
        """The people most like each probe.

        Somebody is left out where the probe is more like a face that was said not to be theirs than like any that is.

        Args:
            reader: one consistent view of the gallery.
            probes: (Q, D) float32.
            k: how many people.

        Returns:
            (Q, k) positions in the roster, most similar first, NOBODY where there are fewer; (Q, k) float32
            similarities, -inf there; and the roster.
        """
        with self._lock:
            roster = self._caught_up(reader)
            _, nearest = self._index.top_people(self._rule.prepare(probes), k + _SPARE)
            rows = [
                self._compared(reader, roster, row[None], people) for row, people in zip(probes, nearest, strict=True)
            ]
        owners = np.full((len(probes), k), NOBODY, dtype=np.int64)
        values = np.full((len(probes), k), -np.inf, dtype=np.float32)
        for i, (who, alike) in enumerate(rows):
            owners[i, : len(who)], values[i, : len(who)] = who[:k], alike[:k]
        return (owners, values), roster

    def _caught_up(self, reader: Reader) -> Roster:
        """Learn what has changed."""
        if self._roster is None or self._roster.revision != reader.revision():
            self._roster, self._faces = Roster.of(reader), {}
        catch_up(self._index, lambda since: self._prepared(reader.changes(since)))
        return self._roster

    def _prepared(self, changes: Changes) -> Changes:
        return replace(changes, vectors=self._rule.prepare(changes.vectors))

    def _compared(
        self, reader: Reader, roster: Roster, probe: FloatArray, people: list[str]
    ) -> tuple[Ints, FloatArray]:
        """Those of the people whom a probe (1, D) may show, most similar first, and their similarities."""
        places = [roster.place[person] for person in people]
        if not places:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        faces = [self._faces_of(reader, roster, place) for place in places]
        owners = np.repeat(places, [len(theirs) for theirs in faces])
        ranked, alike = (row[0] for row in match(self._rule, probe, np.concatenate(faces), owners, len(places)))
        held = [self._may_be(reader, roster, probe, *one) for one in zip(ranked.tolist(), alike.tolist(), strict=True)]
        return ranked[held], alike[held]

    def _faces_of(self, reader: Reader, roster: Roster, place: int) -> FloatArray:
        """(N, D): the embeddings of a person's faces."""
        if place not in self._faces:
            if len(self._faces) >= _KEPT:
                self._faces.clear()
            ids = [face.id for face in reader.faces(person=roster.people[place][0])]
            self._faces[place] = reader.vectors(ids)
        return self._faces[place]

    def _may_be(self, reader: Reader, roster: Roster, probe: FloatArray, place: int, alike: float) -> bool:
        """Whether a probe is no more like a face that was said not to be a person's than it is like them."""
        if place not in roster.forbidden:
            return True
        against = self._rule.prepare(reader.vectors(roster.forbidden[place]))
        compare = similarity.l2 if self._rule.metric == "l2" else similarity.cosine
        return float(compare(self._rule.prepare(probe), against).max()) <= alike + _TIE
