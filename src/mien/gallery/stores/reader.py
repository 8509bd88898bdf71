"""Reading a gallery in SQL that SQLite and PostgreSQL understand alike."""

# ruff: noqa: D102  (documented by the protocols)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mien.errors import GalleryError, GalleryKeyError, NotInGalleryError
from mien.gallery.records import Changes, Event, Face, GalleryInfo, Person, Undo
from mien.gallery.stores import rows as mapping
from mien.gallery.stores.protocol import Cipher
from mien.gallery.stores.rows import EVENT_COLUMNS, INFO_COLUMNS, PERSON_COLUMNS, UNDO_COLUMNS, Row, shown
from mien.gallery.stores.sql import Connection, column_for, marks, parts, unpacked
from mien.types import FloatArray

_ALL = 2**62

_LARGEST_VALUE = 1e6  # of an embedding: far beyond any, and its square is finite

_PERSON = f"""SELECT {PERSON_COLUMNS}, (SELECT count(*) FROM faces WHERE faces.person = people.number)
    FROM people"""  # noqa: S608  (columns of ours)

_SEALED = ", ".join(
    f"(SELECT sealed IS NOT NULL FROM faces ORDER BY id {order} LIMIT 1)"  # noqa: S608  (orders of ours)
    for order in ("ASC", "DESC")
)

_FACE = """SELECT faces.id, people.id, faces.created, source, source_sha256, box, landmarks, score,
    EXISTS (SELECT 1 FROM crops WHERE crops.face = faces.id)
    FROM faces LEFT JOIN people ON people.number = faces.person"""


class SqlReader:
    """`Reader` over a connection on which a transaction has begun."""

    def __init__(self, connection: Connection, cipher: Cipher | None) -> None:
        self._db = connection
        self._where = connection.where
        self._cipher = cipher
        self._column = column_for(cipher)
        row = self._one(f"SELECT {INFO_COLUMNS}, revision, horizon, {_SEALED} FROM gallery WHERE one = 1")  # noqa: S608
        if row is None:
            raise self._damaged("it does not say what it is")
        self._info: GalleryInfo = self._mapped(mapping.to_info, [row[:-4]])[0]
        self._revision: int
        self._revision, self._horizon = self._mapped(mapping.to_count, row[-4:-2])
        self._check_sealed(row[-2:])
        check_key(self._info, cipher, self._where)

    def _check_sealed(self, ends: Row) -> None:
        """Whether embeddings are encrypted as the gallery says: whoever deletes its `key_id` makes nothing plain of it.

        The first and the last are looked at; one between them is refused when it is read.
        """
        encrypted = self._info.key_id is not None
        if any(sealed is not None and bool(sealed) != encrypted for sealed in ends):
            says, is_ = ("encrypted", "are not") if encrypted else ("not encrypted", "are")
            raise self._damaged(f"it says that it is {says}, but its embeddings {is_}; restore it from a copy")

    @property
    def info(self) -> GalleryInfo:
        return self._info

    def revision(self) -> int:
        return self._revision

    def count(self) -> tuple[int, int]:
        [(people, faces)] = self._db.rows("SELECT (SELECT count(*) FROM people), (SELECT count(*) FROM faces)")
        return people, faces

    def changes(self, since: int) -> Changes:
        complete = since <= 0 or since < self._horizon or since > self._revision
        condition, values = ("", ()) if complete else ("WHERE revision > ?", (since,))
        [(n,)] = self._db.rows(f"SELECT count(*) FROM faces {condition}", values)  # noqa: S608
        ids, vectors = np.empty(n, np.int64), np.empty((n, self._info.dimension), np.float32)
        owners_only = "" if complete else f"WHERE number IN (SELECT person FROM faces {condition})"  # noqa: S608
        named = self._db.rows(f"SELECT number, id FROM people {owners_only}", values)  # noqa: S608
        names = {number: person for number, person in named}  # noqa: C416
        people: list[str | None] = []
        done = 0
        statement = f"SELECT id, person, {self._column} FROM faces {condition} ORDER BY id"  # noqa: S608
        for chunk in self._db.chunks(statement, values):
            numbers, owners, blobs = zip(*chunk, strict=True)
            part = slice(done, done := done + len(chunk))
            if done > n:
                break
            ids[part], vectors[part] = numbers, self._opened(numbers, blobs)
            people.extend(map(names.get, owners))
        if done != n:
            raise self._damaged("its indices contradict its tables; restore it from a copy")
        gone = [] if complete else self._db.rows("SELECT face FROM removed WHERE revision > ? ORDER BY face", (since,))
        removed = np.array([face for (face,) in gone], np.int64)
        return Changes(self._revision, ids, people, vectors, removed, complete)

    def person(self, person: str) -> Person | None:
        return self._first_person("id = ?", person)

    def person_named(self, name: str) -> Person | None:
        return self._first_person("name = ?", name)

    def people(self, *, after: str | None = None, limit: int | None = None) -> list[Person]:
        behind = 0 if after is None else self._number(after)
        return self._mapped(
            mapping.to_person,
            self._db.rows(f"{_PERSON} WHERE number > ? ORDER BY number LIMIT ?", (behind, _limit(limit))),
        )

    def faces(
        self, *, person: str | None = None, unassigned: bool = False, after: int = 0, limit: int | None = None
    ) -> list[Face]:
        if unassigned:
            return self._faces("faces.person IS NULL AND faces.id > ?", after, limit=limit)
        if person is not None:
            return self._faces("people.id = ? AND faces.id > ?", person, after, limit=limit)
        return self._faces("faces.id > ?", after, limit=limit)

    def faces_by_id(self, ids: Sequence[int]) -> list[Face]:
        wanted = sorted({int(face) for face in ids if 0 <= face < _ALL})  # a database takes no larger numbers
        return [
            face for part in parts(wanted) for face in self._faces(f"faces.id IN ({marks(part)})", *part, limit=None)
        ]

    def faces_from(self, source_sha256: str) -> list[Face]:
        return self._faces("source_sha256 = ?", source_sha256, limit=None)

    def vectors(self, ids: Sequence[int]) -> FloatArray:
        wanted = [int(face) for face in ids]
        found: dict[int, int] = {}  # face -> row of `matrix`
        blocks = [np.empty((0, self._info.dimension), np.float32)]
        for part in parts(sorted(set(wanted))):
            answer = self._db.rows(f"SELECT id, {self._column} FROM faces WHERE id IN ({marks(part)})", part)  # noqa: S608
            numbers, values = [row[0] for row in answer], [row[1] for row in answer]
            found.update(zip(numbers, range(len(found), len(found) + len(numbers)), strict=True))
            blocks.append(self._opened(numbers, values))
        matrix = np.concatenate(blocks)
        if missing := [face for face in wanted if face not in found]:
            raise self._no_face(missing)
        return matrix[[found[face] for face in wanted]]

    def crop(self, face: int) -> bytes | None:
        row = self._one("SELECT picture FROM crops WHERE face = ?", (int(face),))
        if row is None:
            return None
        if not isinstance(row[0], bytes):
            raise self._damaged(f"the crop of face {face} is {shown(row[0])}")
        return row[0] if self._cipher is None else self._cipher.open(row[0], self._context("crop", face))

    def forbidden(self) -> list[tuple[int, str]]:
        return self._mapped(
            mapping.to_link,
            self._db.rows(
                "SELECT face, people.id FROM forbidden JOIN people ON people.number = forbidden.person"
                " ORDER BY face, people.number"
            ),
        )

    def events(self, *, person: str | None = None, after: int = 0, limit: int | None = None) -> list[Event]:
        of_person, values = ("", ()) if person is None else ("person = ? AND", (person,))
        statement = f"SELECT id, {EVENT_COLUMNS} FROM events WHERE {of_person} id > ? ORDER BY id LIMIT ?"  # noqa: S608
        return self._mapped(mapping.to_event, self._db.rows(statement, (*values, after, _limit(limit))))

    def last_undo(self) -> Undo | None:
        found = self._db.rows(f"SELECT id, {UNDO_COLUMNS} FROM undo ORDER BY id DESC LIMIT 1")  # noqa: S608
        return next(iter(self._mapped(mapping.to_undo, found)), None)

    def _opened(self, faces: Sequence[int], values: Sequence[Any]) -> FloatArray:
        """(N, D): the vectors of faces from what their column holds."""
        if not values:
            return np.empty((0, self._info.dimension), np.float32)
        try:
            if self._cipher is None:
                vectors = self._db.unpack(values, self._info.dimension)
            else:
                opened = [
                    self._cipher.open(value, self._context("vector", face))
                    for face, value in zip(faces, values, strict=True)
                ]
                vectors = unpacked(opened, self._info.dimension)
        except (ValueError, TypeError) as error:
            raise self._damaged(f"among the faces {faces[0]} to {faces[-1]}, {error}") from error
        if not np.isfinite(vectors).all():
            wrong = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise self._damaged(f"the embedding of face {faces[wrong]} is not made of finite numbers")
        if (np.abs(vectors) > _LARGEST_VALUE).any():
            raise self._damaged(f"among the faces {faces[0]} to {faces[-1]}, an embedding holds values that none has")
        return vectors

    def _context(self, kind: str, face: int) -> bytes:
        return f"{self._info.id}/{kind}/{face}".encode()

    def _faces(self, condition: str, *values: object, limit: int | None) -> list[Face]:
        statement = f"{_FACE} WHERE {condition} ORDER BY faces.id LIMIT ?"
        return self._mapped(mapping.to_face, self._db.rows(statement, (*values, _limit(limit))))

    def _first_person(self, condition: str, value: str) -> Person | None:
        return next(
            iter(self._mapped(mapping.to_person, self._db.rows(f"{_PERSON} WHERE {condition}", (value,)))), None
        )

    def _number(self, person: str) -> int:
        """The number that stands for a person inside the database."""
        row = self._one("SELECT number FROM people WHERE id = ?", (person,))
        if row is None:
            raise NotInGalleryError(f"{self._where}: there is no person {shown(person)}")
        return int(row[0])

    def _one(self, statement: str, values: Row = ()) -> Row | None:
        return next(iter(self._db.rows(statement, values)), None)

    def _mapped(self, record: Any, found: Iterable[Row]) -> list[Any]:
        try:
            return [record(row) for row in found]
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> GalleryError:
        return GalleryError(f"{self._where}: damaged or tampered with: {what}")

    def _no_face(self, faces: Sequence[int]) -> NotInGalleryError:
        more = f" (and {len(faces) - 1} more)" if len(faces) > 1 else ""
        return NotInGalleryError(f"{self._where}: there is no face {faces[0]}{more}")


def check_key(info: GalleryInfo, cipher: Cipher | None, where: str) -> None:
    """Whether a cipher is the one of a gallery.

    Raises:
        GalleryKeyError: it is not.
    """
    given = None if cipher is None else cipher.key_id
    if given == info.key_id:
        return
    if given is None:
        raise GalleryKeyError(f"{where}: the gallery is encrypted: name its key (--key, or MIEN_GALLERY_KEY)")
    if info.key_id is None:
        raise GalleryKeyError(f"{where}: the gallery is not encrypted, but a key was given: leave it out")
    raise GalleryKeyError(f"{where}: the gallery is encrypted with another key (the key {shown(info.key_id)})")


def _limit(limit: int | None) -> int:
    return _ALL if limit is None else max(limit, 0)
