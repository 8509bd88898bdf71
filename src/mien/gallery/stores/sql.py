"""What both stores share: the protocol of `store` in SQL that SQLite and PostgreSQL understand alike."""

# ruff: noqa: D102  (documented by the protocols)

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from mien.errors import GalleryError, GalleryKeyError
from mien.gallery.records import Changes, Event, Face, GalleryInfo, Ids, NewFace, Person, Undo
from mien.gallery.stores import rows as mapping
from mien.gallery.stores.protocol import Cipher
from mien.gallery.stores.rows import EVENT_COLUMNS, INFO_COLUMNS, PERSON_COLUMNS, UNDO_COLUMNS, Row, shown, stamp
from mien.types import FloatArray

_CHUNK = 5000
"""Rows that are read, opened or named in one statement at a time; both databases take more than that."""

_ALL = 2**62

_LARGEST_VALUE = 1e6  # of an embedding: far beyond any, and its square is finite

_PERSON = f"""SELECT {PERSON_COLUMNS}, (SELECT count(*) FROM faces WHERE faces.person = people.number)
    FROM people"""  # noqa: S608  (columns of ours)

_FACE = """SELECT faces.id, people.id, faces.created, source, source_sha256, box, landmarks, score,
    EXISTS (SELECT 1 FROM crops WHERE crops.face = faces.id)
    FROM faces LEFT JOIN people ON people.number = faces.person"""

_FACE_COLUMNS = ("id", "person", "revision", "created", "source", "source_sha256", "box", "landmarks", "score")


class Connection(Protocol):
    """One connection to a database. Statements have `?` for values. Raises GalleryError and nothing else."""

    where: str
    """The gallery, printable."""
    dimensions: str
    """SQL for how many numbers faces.vector holds."""

    def run(self, statement: str, values: Row = ()) -> int:
        """Execute, and give the number of rows it changed."""
        ...

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        """All rows."""
        ...

    def chunks(self, statement: str, values: Row = ()) -> Iterator[list[Row]]:
        """Rows of an answer that may be too large to hold, some thousands at a time."""
        ...

    def many(self, statement: str, rows: Iterable[Row]) -> None:
        """Execute once for each row of values."""
        ...

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Add many rows to a table, fast."""
        ...

    def pack(self, vectors: FloatArray) -> list[Any]:
        """(N, D) float32 to N values of faces.vector."""
        ...

    def unpack(self, values: Sequence[Any], dimension: int) -> FloatArray:
        """N values of faces.vector to (N, D) float32.

        Raises:
            ValueError: one has another length.
        """
        ...

    def unindex(self) -> None:
        """Drop the index over the vectors, if there is one: their dimension changes."""
        ...


class SqlReader:
    """`Reader` over a connection on which a transaction has begun."""

    def __init__(self, connection: Connection, cipher: Cipher | None) -> None:
        self._db = connection
        self._where = connection.where
        self._cipher = cipher
        self._column = _column_for(cipher)
        row = self._one(f"SELECT {INFO_COLUMNS}, revision, horizon FROM gallery WHERE one = 1")  # noqa: S608
        if row is None:
            raise self._damaged("it does not say what it is")
        self._info: GalleryInfo = self._mapped(mapping.to_info, [row[:-2]])[0]
        self._revision: int
        self._revision, self._horizon = self._mapped(mapping.to_count, row[-2:])
        check_key(self._info, cipher, self._where)

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
        names = {number: person for number, person in self._db.rows("SELECT number, id FROM people")}  # noqa: C416
        people: list[str | None] = []
        done = 0
        statement = f"SELECT id, person, {self._column} FROM faces {condition} ORDER BY id"  # noqa: S608
        for chunk in self._db.chunks(statement, values):
            numbers, owners, blobs = zip(*chunk, strict=True)
            part = slice(done, done := done + len(chunk))
            ids[part], vectors[part] = numbers, self._opened(numbers, blobs)
            people.extend(map(names.get, owners))
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
            face for part in _parts(wanted) for face in self._faces(f"faces.id IN ({_marks(part)})", *part, limit=None)
        ]

    def faces_from(self, source_sha256: str) -> list[Face]:
        return self._faces("source_sha256 = ?", source_sha256, limit=None)

    def vectors(self, ids: Sequence[int]) -> FloatArray:
        wanted = [int(face) for face in ids]
        found: dict[int, int] = {}  # face -> row of `matrix`
        blocks = [np.empty((0, self._info.dimension), np.float32)]
        for part in _parts(sorted(set(wanted))):
            answer = self._db.rows(f"SELECT id, {self._column} FROM faces WHERE id IN ({_marks(part)})", part)  # noqa: S608
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
            raise GalleryError(f"{self._where}: there is no person {shown(person)}")
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

    def _no_face(self, faces: Sequence[int]) -> GalleryError:
        more = f" (and {len(faces) - 1} more)" if len(faces) > 1 else ""
        return GalleryError(f"{self._where}: there is no face {faces[0]}{more}")


class SqlWriter(SqlReader):
    """`Writer` over a connection on which the one writing transaction has begun."""

    def __init__(self, connection: Connection, cipher: Cipher | None) -> None:
        super().__init__(connection, cipher)
        self._revised = False
        self._resized = False

    @property
    def cipher(self) -> Cipher | None:
        """What later transactions are to use."""
        return self._cipher

    def finish(self) -> None:
        """Check before the commit what no single call can know.

        Raises:
            GalleryError: the dimension has changed, and not every face has a vector of the new one.
        """
        if self._resized:
            self._check_dimensions()

    def add_person(self, person: Person) -> None:
        self._check_name(person)
        if self._one("SELECT 1 FROM people WHERE id = ?", (person.id,)) is not None:
            raise GalleryError(f"{self._where}: there is a person {shown(person.id)} already")
        self._revise()
        self._db.run(
            f"INSERT INTO people ({PERSON_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
            mapping.from_person(person),
        )

    def update_person(self, person: Person) -> None:
        self._check_name(person)
        number = self._number(person.id)
        self._revise()
        self._db.run(
            "UPDATE people SET name = ?, created = ?, consent = ?, consent_at = ?, expires = ? WHERE number = ?",
            (*mapping.from_person(person)[1:], number),
        )

    def remove_person(self, person: str) -> None:
        number, revision = self._number(person), self._revise()
        self._db.run("INSERT INTO removed SELECT id, ? FROM faces WHERE person = ?", (revision, number))
        self._db.run("DELETE FROM faces WHERE person = ?", (number,))
        self._db.run("DELETE FROM people WHERE number = ?", (number,))
        for undo, people in self._db.rows("SELECT id, people FROM undo"):
            [mentioned] = self._mapped(mapping.to_ids, [people])
            if person in mentioned:
                self._db.run("DELETE FROM undo WHERE id = ?", (undo,))

    def add_faces(self, faces: Sequence[NewFace]) -> Ids:
        if not faces:
            return np.empty(0, np.int64)
        owners = {face.person for face in faces}
        numbers = {owner: None if owner is None else self._number(owner) for owner in owners}
        vectors = self._checked([face.embedding for face in faces], len(faces))
        revision, created = self._revise(), stamp(datetime.now(UTC))
        first = self._take_numbers(len(faces))
        ids = range(first, first + len(faces))
        self._db.insert(
            "faces",
            (*_FACE_COLUMNS, self._column),
            (
                (face, numbers[new.person], revision, created, *_described(new), value)
                for face, new, value in zip(ids, faces, self._closed(ids, vectors), strict=True)
            ),
        )
        crops = ((face, new.crop) for face, new in zip(ids, faces, strict=True) if new.crop is not None)
        self._db.insert("crops", ("face", "picture"), ((face, self._closed_crop(face, crop)) for face, crop in crops))
        return np.arange(first, first + len(faces), dtype=np.int64)

    def move_faces(self, ids: Sequence[int], person: str | None) -> None:
        number = None if person is None else self._number(person)
        self._change(ids, "UPDATE faces SET person = ?, revision = ? WHERE id IN", number, self._revise())

    def remove_faces(self, ids: Sequence[int]) -> None:
        revision = self._revise()
        self._change(ids, "DELETE FROM faces WHERE id IN")
        self._db.insert("removed", ("face", "revision"), ((face, revision) for face in {int(face) for face in ids}))

    def replace_vectors(self, ids: Sequence[int], vectors: FloatArray) -> None:
        wanted = [int(face) for face in ids]
        if len(set(wanted)) < len(wanted):
            raise GalleryError("a face is named twice among those that get another embedding")
        self._check_faces(wanted)
        matrix = self._checked(vectors, len(wanted), resize=True)
        revision = self._revise()
        for part, block in _with_parts(wanted, matrix):
            self._db.many(
                f"UPDATE faces SET {self._column} = ?, revision = ? WHERE id = ?",  # noqa: S608
                ((value, revision, face) for face, value in zip(part, self._closed(part, block), strict=True)),
            )

    def set_info(self, info: GalleryInfo) -> None:
        if info.id != self._info.id:
            raise GalleryError(f"{self._where}: a gallery keeps its id")
        info = self._mapped(mapping.to_info, [mapping.from_info(info)])[0]
        if info.key_id != self._info.key_id:
            raise GalleryError(f"{self._where}: the key changes together with what it encrypts (`rewrap`)")
        if info.dimension != self._info.dimension:
            self._resize()
        self._write_info(info)

    def rewrap(self, cipher: Cipher | None) -> None:
        before, column = self._cipher, self._column
        self._db.unindex()
        for part in _parts([face for (face,) in self._db.rows("SELECT id FROM faces ORDER BY id")]):
            self._cipher, self._column = before, column
            vectors = self.vectors(part)
            self._cipher, self._column = cipher, _column_for(cipher)
            clear = "" if self._column == column else f", {column} = NULL"
            self._db.many(
                f"UPDATE faces SET {self._column} = ?{clear} WHERE id = ?",  # noqa: S608
                zip(self._closed(part, vectors), part, strict=True),
            )
        for (face,) in self._db.rows("SELECT face FROM crops ORDER BY face"):
            self._cipher = before
            picture = self.crop(face)
            self._cipher = cipher
            self._db.run("UPDATE crops SET picture = ? WHERE face = ?", (self._closed_crop(face, picture), face))
        self._cipher, self._column = cipher, _column_for(cipher)
        self._write_info(replace(self._info, key_id=None if cipher is None else cipher.key_id))

    def forbid(self, face: int, person: str) -> None:
        number = self._number(person)
        self._check_faces([int(face)])
        self._revise()
        self._db.run("INSERT INTO forbidden VALUES (?, ?) ON CONFLICT DO NOTHING", (int(face), number))

    def allow(self, face: int, person: str) -> None:
        number = self._number(person)
        self._revise()
        self._db.run("DELETE FROM forbidden WHERE face = ? AND person = ?", (int(face), number))

    def add_event(self, event: Event) -> None:
        self._db.run(
            f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
            mapping.from_event(event),
        )

    def push_undo(self, undo: Undo, *, keep: int = 20) -> None:
        self._db.run(f"INSERT INTO undo ({UNDO_COLUMNS}) VALUES (?, ?, ?, ?)", mapping.from_undo(undo))  # noqa: S608
        self._db.run("DELETE FROM undo WHERE id NOT IN (SELECT id FROM undo ORDER BY id DESC LIMIT ?)", (keep,))

    def pop_undo(self) -> None:
        self._db.run("DELETE FROM undo WHERE id = (SELECT max(id) FROM undo)")

    def _revise(self) -> int:
        """The revision that this transaction makes; counted up once, by its first change."""
        if not self._revised:
            [(self._revision,)] = self._db.rows("UPDATE gallery SET revision = revision + 1 RETURNING revision")
            self._revised = True
        return self._revision

    def _take_numbers(self, n: int) -> int:
        """The first of n numbers for faces that nobody had before."""
        [(behind,)] = self._db.rows("UPDATE gallery SET next_face = next_face + ? RETURNING next_face", (n,))
        first = int(*self._mapped(mapping.to_count, [behind])) - n
        if first < 1:
            raise self._damaged(f"the next face would have the number {first}")
        return first

    def _change(self, ids: Sequence[int], statement: str, *values: object) -> None:
        """Execute a statement that ends in `id IN` for faces, all of which must exist."""
        wanted = sorted({int(face) for face in ids})
        self._check_faces(wanted)
        for part in _parts(wanted):
            self._db.run(f"{statement} ({_marks(part)})", (*values, *part))

    def _check_faces(self, wanted: Sequence[int]) -> None:
        found = {
            face
            for part in _parts(wanted)
            for (face,) in self._db.rows(f"SELECT id FROM faces WHERE id IN ({_marks(part)})", part)  # noqa: S608
        }
        if missing := [face for face in wanted if face not in found]:
            raise self._no_face(missing)

    def _check_name(self, person: Person) -> None:
        if person.name is None:
            return
        if self._one("SELECT 1 FROM people WHERE name = ? AND id <> ?", (person.name, person.id)) is not None:
            raise GalleryError(f"{self._where}: there is somebody of the name {shown(person.name)} already")

    def _checked(self, vectors: Sequence[FloatArray] | FloatArray, n: int, *, resize: bool = False) -> FloatArray:
        """(N, D) float32, finite, of the dimension that the gallery has; of another where `resize`."""
        try:
            matrix = np.asarray(vectors, np.float32)
        except ValueError:
            raise GalleryError("the embeddings differ in length") from None
        if matrix.shape == (0,):
            matrix = matrix.reshape(0, self._info.dimension)
        if matrix.ndim != 2 or len(matrix) != n or not matrix.shape[1]:
            raise GalleryError(f"embeddings of shape {matrix.shape} do not fit {n} faces")
        if matrix.shape[1] != self._info.dimension:
            if not resize:
                have, want = matrix.shape[1], self._info.dimension
                raise GalleryError(f"{self._where}: an embedding has {have} numbers, this gallery keeps {want}")
            self._resize()
        if not np.isfinite(matrix).all():
            raise GalleryError("an embedding is not made of finite numbers")
        return matrix

    def _resize(self) -> None:
        if not self._resized:
            self._db.unindex()
            self._resized = True

    def _check_dimensions(self) -> None:
        [(others,)] = self._db.rows(
            f"SELECT count(*) FROM faces WHERE vector IS NOT NULL AND {self._db.dimensions} <> ?",  # noqa: S608
            (self._info.dimension,),
        )
        if self._cipher is not None:  # sealed values of one length hold vectors of one length
            lengths = self._db.rows("SELECT min(id), length(sealed) FROM faces GROUP BY length(sealed)")
            others = len(lengths) > 1 or self._sealed_dimension([face for face, _ in lengths]) != self._info.dimension
        if others:
            raise GalleryError(f"{self._where}: not every face has an embedding of {self._info.dimension} numbers")
        self._db.run("UPDATE gallery SET horizon = revision")

    def _sealed_dimension(self, faces: Sequence[int]) -> int:
        if not faces or self._cipher is None:
            return self._info.dimension
        [(sealed,)] = self._db.rows("SELECT sealed FROM faces WHERE id = ?", (faces[0],))
        return len(self._cipher.open(sealed, self._context("vector", faces[0]))) // 4

    def _closed(self, faces: Sequence[int], vectors: FloatArray) -> list[Any]:
        """What the column for vectors takes."""
        if self._cipher is None:
            return self._db.pack(vectors)
        return [
            self._cipher.seal(plain, self._context("vector", face))
            for face, plain in zip(faces, packed(vectors), strict=True)
        ]

    def _closed_crop(self, face: int, picture: bytes | None) -> bytes | None:
        if self._cipher is None or picture is None:
            return picture
        return self._cipher.seal(picture, self._context("crop", face))

    def _write_info(self, info: GalleryInfo) -> None:
        revision = self._revise()
        changes = ", ".join(f"{column} = ?" for column in INFO_COLUMNS.split(", "))
        self._db.run(f"UPDATE gallery SET {changes}", mapping.from_info(info))  # noqa: S608
        self._info, self._revision = info, revision


def check_key(info: GalleryInfo, cipher: Cipher | None, where: str) -> None:
    """Whether a cipher is the one of a gallery.

    Raises:
        GalleryKeyError: it is not.
    """
    given = None if cipher is None else cipher.key_id
    if given == info.key_id:
        return
    if given is None:
        raise GalleryKeyError(f"{where}: the gallery is encrypted; it opens with its key only")
    if info.key_id is None:
        raise GalleryKeyError(f"{where}: the gallery is not encrypted, but a key was given")
    raise GalleryKeyError(f"{where}: the gallery is encrypted with another key (the key {shown(info.key_id)})")


def packed(vectors: FloatArray) -> list[bytes]:
    """(N, D) to N times little-endian float32."""
    rows = np.ascontiguousarray(vectors, "<f4")
    width, data = 4 * rows.shape[1], rows.tobytes()
    return [data[start : start + width] for start in range(0, len(data), width)]


def unpacked(values: Sequence[bytes], dimension: int) -> FloatArray:
    """N times little-endian float32 to (N, D).

    Raises:
        ValueError: one has another length, or is no bytes at all.
    """
    wrong = next((value for value in values if not isinstance(value, bytes) or len(value) != 4 * dimension), None)
    if wrong is not None:
        what = f"{len(wrong)} bytes" if isinstance(wrong, bytes) else shown(wrong)
        raise ValueError(f"an embedding of {dimension} numbers is {what}")
    return np.frombuffer(b"".join(values), "<f4").reshape(-1, dimension).astype(np.float32, copy=False)


def _column_for(cipher: Cipher | None) -> str:
    return "vector" if cipher is None else "sealed"


def _described(face: NewFace) -> Row:
    return (
        mapping.utf8(face.source),
        face.source_sha256,
        None if face.box is None else mapping.to_json([float(x) for x in face.box]),
        None if face.landmarks is None else mapping.to_json([[float(x), float(y)] for x, y in face.landmarks]),
        None if face.score is None else float(face.score),
    )


def _limit(limit: int | None) -> int:
    return _ALL if limit is None else max(limit, 0)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _parts(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _CHUNK):
        yield list(ids[start : start + _CHUNK])


def _with_parts(ids: Sequence[int], vectors: FloatArray) -> Iterator[tuple[list[int], FloatArray]]:
    for i, part in enumerate(_parts(ids)):
        yield part, vectors[i * _CHUNK : (i + 1) * _CHUNK]
