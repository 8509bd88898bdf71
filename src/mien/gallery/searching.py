"""Search: who of a gallery is most like each probe, without those whom somebody said it is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from mien.gallery.decision import NOBODY, Ints
from mien.gallery.index import catch_up, open_index
from mien.gallery.privacy import everybody
from mien.gallery.records import GalleryInfo
from mien.gallery.store import Reader
from mien.ops import similarity
from mien.types import FloatArray

_SPARE = 32  # people who are looked at beyond those asked for, where some may be left out
_TIE = 1e-4  # similarities that differ less are equal: they are computed in two ways


@dataclass(frozen=True)
class Roster:
    """Who is in a gallery, at one revision.

    Attributes:
        revision: of the gallery.
        people: (id, name) of everybody who has a face.
        place: position in `people`, by id.
        faces: how many faces they have in all.
        forbidden: faces, by the position of the person whom they do not show.
    """

    revision: int
    people: list[tuple[str, str | None]]
    place: dict[str, int]
    faces: int
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
        return cls(reader.revision(), people, place, sum(person.faces for person in shown), forbidden)


class Searcher:
    """Keeps an index in step with a gallery. May be shared by threads.

    Args:
        info: of the gallery.
        cache: where the index may keep vectors between processes, or None.
    """

    def __init__(self, info: GalleryInfo, cache: Path | None = None) -> None:
        self._l2 = info.metric == "l2"
        self._index = open_index(info.dimension, info.metric, cache=cache, gallery_id=info.id)
        self._roster: Roster | None = None
        self._lock = Lock()

    def rank(self, reader: Reader, probes: FloatArray, k: int) -> tuple[tuple[Ints, FloatArray], Roster]:
        """The people most like each probe, each by the most similar of their faces.

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
            wanted = k + min(len(roster.forbidden), _SPARE)
            distances, people = self._index.top_people(probes, wanted)
        distances = np.where(np.isfinite(distances), distances, 0)  # in places that stay empty; -inf below
        values = similarity.from_distance(distances) if self._l2 else 1 - distances
        owners = np.full(values.shape, NOBODY, dtype=np.int64)
        for i, row in enumerate(people):
            owners[i, : len(row)] = [roster.place[person] for person in row]
        values = np.where(owners == NOBODY, -np.inf, values).astype(np.float32)
        if roster.forbidden and self._leave_out(reader, roster, probes, values, owners):
            order = np.argsort(-values, axis=1, kind="stable")
            values, owners = np.take_along_axis(values, order, 1), np.take_along_axis(owners, order, 1)
        return (owners[:, :k], values[:, :k]), roster

    def _caught_up(self, reader: Reader) -> Roster:
        """Learn what has changed."""
        if self._roster is None or self._roster.revision != reader.revision():
            self._roster = Roster.of(reader)
        catch_up(self._index, reader.changes)
        return self._roster

    def _leave_out(self, reader: Reader, roster: Roster, probes: FloatArray, values: FloatArray, owners: Ints) -> bool:
        """Take people away from (Q, k) candidates, in place; whether any were."""
        compare = similarity.l2 if self._l2 else similarity.cosine
        changed = False
        for person in np.intersect1d(owners, list(roster.forbidden)).tolist():
            vectors = reader.vectors(roster.forbidden[person])
            against = compare(probes[:, None], vectors[None]).max(axis=1)  # (Q,)
            out = (owners == person) & (against[:, None] > values + _TIE)
            values[out], owners[out] = -np.inf, NOBODY
            changed |= bool(out.any())
        return changed
