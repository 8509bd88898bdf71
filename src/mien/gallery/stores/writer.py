"""Writing to a gallery in SQL that SQLite and PostgreSQL understand alike."""

# ruff: noqa: D102  (documented by the protocols)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mien.errors import GalleryError
from mien.gallery.records import Event, GalleryInfo, Ids, NewFace, Person, Undo
from mien.gallery.stores import rows as mapping
from mien.gallery.stores.protocol import Cipher
from mien.gallery.stores.reader import SqlReader
from mien.gallery.stores.rows import EVENT_COLUMNS, INFO_COLUMNS, PERSON_COLUMNS, UNDO_COLUMNS, Row, shown, stamp
from mien.gallery.stores.sql import CHUNK, Connection, column_for, marks, packed, parts
from mien.types import FloatArray

_FACE_COLUMNS = ("id", "person", "revision", "created", "source", "source_sha256", "box", "landmarks", "score")


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
        for part in parts([face for (face,) in self._db.rows("SELECT id FROM faces ORDER BY id")]):
            self._cipher, self._column = before, column
            vectors = self.vectors(part)
            self._cipher, self._column = cipher, column_for(cipher)
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
        self._cipher, self._column = cipher, column_for(cipher)
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
        for part in parts(wanted):
            self._db.run(f"{statement} ({marks(part)})", (*values, *part))

    def _check_faces(self, wanted: Sequence[int]) -> None:
        found = {
            face
            for part in parts(wanted)
            for (face,) in self._db.rows(f"SELECT id FROM faces WHERE id IN ({marks(part)})", part)  # noqa: S608
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


def _described(face: NewFace) -> Row:
    return (
        mapping.utf8(face.source),
        face.source_sha256,
        None if face.box is None else mapping.to_json([float(x) for x in face.box]),
        None if face.landmarks is None else mapping.to_json([[float(x), float(y)] for x, y in face.landmarks]),
        None if face.score is None else float(face.score),
    )


def _with_parts(ids: Sequence[int], vectors: FloatArray) -> Iterator[tuple[list[int], FloatArray]]:
    for i, part in enumerate(parts(ids)):
        yield part, vectors[i * CHUNK : (i + 1) * CHUNK]
