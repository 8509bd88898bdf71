"""Search: who of a gallery is most like each probe, without those whom somebody said it is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from mien.gallery.decision import NOBODY, Ints, Rule, rank_people
from mien.gallery.index import open_index
from mien.gallery.privacy import everybody
from mien.gallery.records import GalleryInfo, Ids
from mien.gallery.store import Reader
from mien.ops import similarity
from mien.types import FloatArray

_FIRST = 64  # neighbours that are looked at first
_MORE = 16  # times as many, where those show too few people
_TIE = 1e-4  # similarities that differ less are equal: they are computed in two ways


@dataclass(frozen=True)
class Roster:
    """Who is in a gallery, at one revision.

    Attributes:
        revision: of the gallery.
        people: (id, name) of everybody who has a face.
        faces: how many faces they have in all.
        total: how many faces there are, with those of nobody.
        forbidden: pairs of a face and a position in `people`: whom the face does not show.
    """

    revision: int
    people: list[tuple[str, str | None]]
    faces: int
    total: int
    forbidden: list[tuple[int, int]]

    @classmethod
    def of(cls, reader: Reader) -> Roster:
        """As it is now."""
        shown = [person for person in everybody(reader) if person.faces]
        place = {person.id: i for i, person in enumerate(shown)}
        forbidden = [(face, place[who]) for face, who in reader.forbidden() if who in place]
        people = [(person.id, person.name) for person in shown]
        return cls(reader.revision(), people, sum(person.faces for person in shown), reader.count()[1], forbidden)


class Searcher:
    """Keeps an index in step with a gallery. May be shared by threads.

    Args:
        info: of the gallery.
        cache: where the index may keep vectors between processes, or None.
    """

    def __init__(self, info: GalleryInfo, cache: Path | None) -> None:
        self._metric = info.metric
        self._index = open_index(info.dimension, info.metric, cache=cache)
        self._roster: Roster | None = None
        self._lock = Lock()

    def rank(self, reader: Reader, probes: FloatArray, k: int, rule: Rule) -> tuple[tuple[Ints, FloatArray], Roster]:
        """The people most like each probe.

        Args:
            reader: one consistent view of the gallery.
            probes: (Q, D) float32.
            k: how many people.
            rule: of the embedder.

        Returns:
            What `rank_people` gives, its owners as positions in the roster; and the roster.
        """
        with self._lock:
            roster = self._caught_up(reader)
            neighbours, wanted = min(_FIRST, roster.total), min(k, len(roster.people))
            while True:
                values, owners = self._neighbours(reader, roster, probes, neighbours)
                ranked = rank_people(values, owners, k, rule.template)
                if neighbours >= roster.total or ((ranked[0] != NOBODY).sum(axis=1) >= wanted).all():
                    break
                neighbours = min(neighbours * _MORE, roster.total)
        if roster.forbidden and self._leave_out(reader, roster, probes, values, owners):
            ranked = rank_people(values, owners, k, rule.template)
        return ranked, roster

    def _caught_up(self, reader: Reader) -> Roster:
        """Learn what has changed."""
        revision = reader.revision()
        if self._index.revision != revision:
            self._index.apply(reader.changes(self._index.revision))
        if self._roster is None or self._roster.revision != revision:
            self._roster = Roster.of(reader)
        return self._roster

    def _neighbours(self, reader: Reader, roster: Roster, probes: FloatArray, n: int) -> tuple[FloatArray, Ints]:
        """(Q, n) similarities of the faces nearest to each probe, and whose they are, as positions in the roster."""
        if n == 0:
            return np.empty((len(probes), 0), np.float32), np.empty((len(probes), 0), np.int64)
        distances, ids = self._index.search(probes, n)
        values = similarity.from_distance(distances) if self._metric == "l2" else 1 - distances
        values = np.where(ids < 0, -np.inf, values).astype(np.float32)
        return values, _owners(reader, roster, ids)

    def _leave_out(self, reader: Reader, roster: Roster, probes: FloatArray, values: FloatArray, owners: Ints) -> bool:
        """Take away the faces of people where the probe is nearer to a face that was said not to be theirs.

        Returns:
            Whether any were; `owners` is changed in place.
        """
        faces = sorted({face for face, _ in roster.forbidden})
        compare = similarity.l2 if self._metric == "l2" else similarity.cosine
        alike = compare(probes[:, None], reader.vectors(faces)[None])  # (Q, F)
        column = {face: i for i, face in enumerate(faces)}
        changed = False
        for face, person in roster.forbidden:
            theirs = owners == person
            best = np.where(theirs, values, -np.inf).max(axis=1, initial=-np.inf)
            against = (best > -np.inf) & (alike[:, column[face]] > best + _TIE)
            owners[theirs & against[:, None]] = NOBODY
            changed |= bool(against.any())
        return changed


def _owners(reader: Reader, roster: Roster, ids: Ids) -> Ints:
    """Whose faces are, as positions in the roster; NOBODY for those of nobody, and for empty places."""
    place = {person: i for i, (person, _) in enumerate(roster.people)}
    faces = reader.faces_by_id(np.unique(ids[ids >= 0]).tolist())
    owner = {face.id: place.get(face.person or "", NOBODY) for face in faces}
    flat = [owner.get(number, NOBODY) for number in ids.ravel().tolist()]
    return np.array(flat, dtype=np.int64).reshape(ids.shape)
