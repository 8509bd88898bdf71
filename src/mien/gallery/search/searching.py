"""Search: who of a gallery is most like each probe, without those whom somebody said it is not."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import overload

import numpy as np

from mien.errors import GalleryError
from mien.gallery.decision import NOBODY, Ints, Rule, rank_people, with_templates
from mien.gallery.privacy import everybody
from mien.gallery.records import Changes, GalleryInfo
from mien.gallery.search.exact import NOWHERE
from mien.gallery.search.index import ExactIndex, Index, catch_up, open_index, over_graph
from mien.gallery.stores.protocol import Reader, Store
from mien.ops import similarity
from mien.types import FloatArray

_log = logging.getLogger(__name__)

APPROXIMATE_ABOVE = 1_000_000
"""Faces that are compared with every one, unless somebody chooses otherwise; above, search is approximate."""
_SPARE = 16  # people who are looked at beyond those asked for: templates change the order, and some may be left out
_ASKED_FOR = 256
"""Faces that a store is asked for: by embeddings as they are, not as they are compared. Among 3,937 faces of lfw_dev,
the face that is most alike by the comparison is always one of the 29 nearest of the others, the five most alike are
among the 128 nearest in 99.97 % of searches."""
_LOOKED_BACK = 16  # revisions, and
_LOOKED_AT = 64  # faces, by which another past of a gallery is noticed
_SAME = 1e-3  # distance of an embedding from itself, as it is computed twice
_KEPT = 4096  # people whose faces are kept at hand
_TIE = 1e-4  # similarities that differ less are equal: they are computed in two ways


@dataclass(frozen=True)
class Roster:
    """Who is in a gallery, at one revision.

    Attributes:
        revision: of the gallery.
        people: (id, name) of everybody who has a face; names are those of whom `Searcher.rank` has answered.
        faces: how many faces each has.
        place: position in `people`, by id.
        forbidden: faces, by the position of the person whom they do not show.
    """

    revision: int
    people: People
    faces: Ints
    place: dict[str, int]
    forbidden: dict[int, list[int]]

    @classmethod
    def of(cls, reader: Reader, index: Index | None) -> Roster:
        """As it is now: from the index if that is as far, as reading hundreds of thousands of people takes seconds."""
        revision, people, faces = (0, [], np.empty(0, dtype=np.int64)) if index is None else index.owners()
        if revision != reader.revision():
            shown = [(person.id, person.faces) for person in everybody(reader) if person.faces]
            people, faces = [person for person, _ in shown], np.array([n for _, n in shown], dtype=np.int64)
        place = {person: i for i, person in enumerate(people)}
        forbidden: dict[int, list[int]] = {}
        for face, who in reader.forbidden():
            if who in place:
                forbidden.setdefault(place[who], []).append(face)
        return cls(reader.revision(), People(people), faces, place, forbidden)


class People(Sequence[tuple[str, str | None]]):
    """(id, name) of people; the names of those only who were looked up: few are answers."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids
        self._names: dict[int, str | None] = {}

    def __len__(self) -> int:
        """How many people there are."""
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> tuple[str, str | None]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[str, str | None]]: ...
    def __getitem__(self, place: int | slice) -> tuple[str, str | None] | list[tuple[str, str | None]]:
        """The person in a place, or several.

        Raises:
            KeyError: nobody has looked up the name.
        """
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return self.ids[place], self._names[int(place)]

    def look_up(self, reader: Reader, places: Iterable[int]) -> None:
        """Learn the names of the people in these places."""
        for place in set(places) - self._names.keys():
            person = reader.person(self.ids[place])
            self._names[place] = person.name if person else None


class Searcher:
    """Keeps an index in step with a gallery. May be shared by threads.

    The index holds embeddings as they are compared (`Rule.prepare`) and finds the people whose faces are nearest; they
    are then compared by all of their faces (`match`).

    Args:
        store: of the gallery.
        info: of the gallery.
        rule: of its embedder.
        cache: where the index may keep vectors between processes, or None.
        approximate: ask the store, if it can search by itself, or else an approximate index, for the nearest faces.
            None: from more than `APPROXIMATE_ABOVE` faces on, if what that needs is installed.

    Raises:
        GalleryError: approximate search needs what is not installed.
    """

    def __init__(
        self,
        store: Store,
        info: GalleryInfo,
        rule: Rule,
        *,
        cache: Path | None = None,
        approximate: bool | None = None,
    ) -> None:
        self._store = store
        self._rule = rule
        self._cache = cache
        self._gallery = info.id
        self._grows = approximate is None
        self._index: Index | None = open_index(info.dimension, info.metric, cache=cache, gallery_id=info.id)
        if approximate:
            self._approximate()
        self._roster: Roster | None = None
        self._faces: dict[int, FloatArray] = {}
        self._checked = False
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
            prepared = self._rule.prepare(probes)
            nearest = self._nearest_people(reader, probes, prepared, k + _SPARE)
            rows = [
                self._compared(reader, roster, row[None], people) for row, people in zip(prepared, nearest, strict=True)
            ]
            roster.people.look_up(reader, [place for who, _ in rows for place in who[:k].tolist()])
        owners = np.full((len(probes), k), NOBODY, dtype=np.int64)
        values = np.full((len(probes), k), -np.inf, dtype=np.float32)
        for i, (who, alike) in enumerate(rows):
            owners[i, : len(who)], values[i, : len(who)] = who[:k], alike[:k]
        return (owners, values), roster

    def people_near(
        self, reader: Reader, probes: FloatArray, k: int, within: float, *, follow: bool = True
    ) -> list[list[str]]:
        """The people nearest to each probe, by the nearest of their faces; nothing is read of anybody else.

        Args:
            reader: one consistent view of the gallery.
            probes: (Q, D) float32.
            k: how many people.
            within: distance as embeddings are compared, beyond which nobody has to be listed.
            follow: whether to bring the index to where the gallery is before.

        Returns:
            For each probe up to k ids, nearest first; one may be of somebody who is gone.
        """
        with self._lock:
            if follow:
                self._follow(reader)
            prepared = self._rule.prepare(probes)
            if self._index is None:
                return self._nearest_people(reader, probes, prepared, k)
            distances, people = self._index.top_people(prepared, k)
        return [who[: int((row <= within).sum())] for who, row in zip(people, distances, strict=True)]

    def _caught_up(self, reader: Reader) -> Roster:
        """Learn what has changed."""
        if self._roster is None or self._roster.revision != reader.revision():
            self._follow(reader)
            self._roster, self._faces = Roster.of(reader, self._index), {}
        return self._roster

    def follow(self, reader: Reader) -> None:
        """Bring the index, and the file that it lies in, to where the gallery is."""
        with self._lock:
            self._follow(reader)

    def _approximate(self) -> None:
        """Search approximately from now on.

        Raises:
            GalleryError: that needs what is not installed.
        """
        if searches_itself(self._store):
            self._index = None
        elif isinstance(self._index, ExactIndex):
            self._index = over_graph(self._index, self._cache, self._gallery)

    def _follow(self, reader: Reader) -> None:
        if self._grows and (faces := reader.count()[1]) > APPROXIMATE_ABOVE:
            self._grows = False
            try:
                self._approximate()
            except GalleryError as error:
                _log.warning("%d faces are compared with every one: %s", faces, error)
        index = self._index
        if index is None:
            return
        if index.revision > reader.revision() and self._newest() >= index.revision:
            return  # another thread or process has brought it farther than what this reader sees
        catch_up(index, lambda since: self._prepared(reader.changes(since)))
        if not self._checked and index.revision == reader.revision() and not self._holds_the_newest(index, reader):
            index.apply(self._prepared(reader.changes(0)))
        self._checked = True

    def _holds_the_newest(self, index: Index, reader: Reader) -> bool:
        """False where the file knows another past of a gallery, which was brought back from a copy meanwhile."""
        if len(index) != reader.count()[1]:
            return False
        news = reader.changes(max(1, reader.revision() - _LOOKED_BACK))
        if news.complete or not len(news.ids):
            return True
        distances, _ = index.search(self._rule.prepare(news.vectors[-_LOOKED_AT:]), 1)
        return bool((distances <= _SAME).all())

    def _newest(self) -> int:
        """The revision of the gallery now, which a reader of before does not see."""
        with self._store.read() as reader:
            return reader.revision()

    def _nearest_people(self, reader: Reader, probes: FloatArray, prepared: FloatArray, k: int) -> list[list[str]]:
        """For each probe up to k people, by the nearest of their faces."""
        if self._index is not None:
            return self._index.top_people(prepared, k)[1]
        return [_first_people(self._store, reader, probe[None], k) for probe in probes]

    def _prepared(self, changes: Changes) -> Changes:
        return replace(changes, vectors=self._rule.prepare(changes.vectors))

    def _compared(
        self, reader: Reader, roster: Roster, probe: FloatArray, people: list[str]
    ) -> tuple[Ints, FloatArray]:
        """Those of the people whom a prepared probe (1, D) may show, most similar first, and their similarities."""
        places = [roster.place[person] for person in people if person in roster.place]  # the index may be ahead
        if not places:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        faces = self._faces_of(reader, roster, places)
        owners = np.repeat(places, [len(theirs) for theirs in faces])
        everyone, owners = with_templates(np.concatenate(faces), owners)
        near = similarity.pairwise(probe, everyone, self._rule.metric)
        ranked, alike = (row[0] for row in rank_people(near, owners, len(places)))
        held = [self._may_be(reader, roster, probe, *one) for one in zip(ranked.tolist(), alike.tolist(), strict=True)]
        return ranked[held], alike[held]

    def _faces_of(self, reader: Reader, roster: Roster, places: list[int]) -> list[FloatArray]:
        """(N, D) for each of some people: the embeddings of their faces as they are compared."""
        if len(self._faces) >= _KEPT:
            self._faces.clear()
        new = [place for place in places if place not in self._faces]
        ids = [[face.id for face in reader.faces(person=roster.people.ids[place])] for place in new]
        prepared = self._rule.prepare(reader.vectors([face for theirs in ids for face in theirs]))
        ends = np.cumsum([len(theirs) for theirs in ids])
        self._faces.update(zip(new, np.split(prepared, ends[:-1]), strict=False))
        return [self._faces[place] for place in places]

    def _may_be(self, reader: Reader, roster: Roster, probe: FloatArray, place: int, alike: float) -> bool:
        """Whether a probe is no more like a face that was said not to be a person's than it is like them."""
        if place not in roster.forbidden:
            return True
        against = self._rule.prepare(reader.vectors(roster.forbidden[place]))
        compare = similarity.l2 if self._rule.metric == "l2" else similarity.cosine
        return float(compare(probe, against).max()) <= alike + _TIE


def searches_itself(store: Store) -> bool:
    """Whether a store has a search of its own for the embeddings that it keeps."""
    with store.read() as reader:
        dimension = reader.info.dimension
    return store.nearest(np.empty((0, dimension), np.float32), 1) is not None


def _first_people(store: Store, reader: Reader, probe: FloatArray, k: int) -> list[str]:
    """Up to k people in order of their nearest face to a probe (1, D), as the store finds them.

    As many faces are asked for as it takes: those of one person, or of nobody, may be thousands.
    """
    total, asked = reader.count()[1], max(_ASKED_FOR, 4 * k)
    while True:
        found = store.nearest(probe, asked)
        ids = [] if found is None else [face for face in found[1][0].tolist() if face != NOWHERE]
        owners = {face.id: face.person for face in reader.faces_by_id(ids)}
        people = list(dict.fromkeys(person for face in ids if (person := owners.get(face)) is not None))
        if len(people) >= k or asked >= total:
            return people[:k]
        asked *= 8
