"""Enrolment: from faces to what is kept of them, without what is kept already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np

from mien.errors import GalleryError, GalleryModelError, NoFaceError
from mien.gallery import undoing
from mien.gallery.editing import Change, new_person, now
from mien.gallery.names import clean_name, shown
from mien.gallery.privacy import as_utc, clean_consent
from mien.gallery.records import Face, GalleryInfo, NewFace, Person
from mien.gallery.stores.protocol import Writer
from mien.ops import boxes, similarity
from mien.ops.image import picture_digest
from mien.types import Faces, FloatArray

NEAR_DUPLICATE = 0.96
"""Similarity from which two pictures of one person are taken for copies of one: scaled, or encoded
anew."""
_LARGEST_VALUE = 1e6  # in an embedding; far beyond any
_BLOCK = 256  # faces that are compared at a time
_PIECE = 4096  # and with how many
_SAME_FACE = 0.5  # intersection over union of two boxes in one picture

Source = str | os.PathLike[str]


@dataclass(frozen=True)
class Skipped:
    """A face that was not enrolled, because the gallery has it.

    Attributes:
        position: in what was given.
        face: id of the face in the gallery.
        person: id of whose it is there, or None.
        reason: "same picture": the same bytes at the same place; "near-duplicate": a copy of the picture.
    """

    position: int
    face: int
    person: str | None
    reason: Literal["same picture", "near-duplicate"]


@dataclass(frozen=True)
class Enrolment:
    """What became of an enrolment.

    Attributes:
        person: as they are now.
        faces: ids of the faces that were added.
        skipped: those that were not, as the gallery has them.
    """

    person: Person
    faces: tuple[int, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Terms:
    """On what terms somebody is enrolled; see `Gallery.enrol`."""

    consent: str | None = None
    expires: datetime | None = None

    def put_on(self, person: Person) -> Person:
        """The person with them; what they do not say stays."""
        if self.consent is not None:
            person = replace(person, consent=clean_consent(self.consent), consent_at=now())
        if self.expires is not None:
            person = replace(person, expires=as_utc(self.expires))
        return person


def as_new_faces(
    faces: FloatArray | Faces | Sequence[NewFace],
    sources: Sequence[Source | None] | None,
    crops: Sequence[bytes | None] | None,
) -> list[NewFace]:
    """What is to be kept of faces; see `Gallery.enrol`.

    Raises:
        ValueError: there are not as many sources or crops as faces, or `Faces` without embeddings.
    """
    made = _of_faces(faces) if isinstance(faces, Faces) else _of_vectors(faces)
    for name, values in (("sources", sources), ("crops", crops)):
        if values is not None and len(values) != len(made):
            raise ValueError(f"{len(values)} {name} for {len(made)} faces")
    if sources is not None:
        made = [_from(face, source) for face, source in zip(made, sources, strict=True)]
    if crops is not None:
        made = [replace(face, crop=crop) for face, crop in zip(made, crops, strict=True)]
    return made


def _from(face: NewFace, source: Source | None) -> NewFace:
    """The face with its picture as it was given and, where that is a file, how to know it again."""
    if source is None:
        return replace(face, source=None, source_sha256=None)
    return replace(face, source=os.fspath(source), source_sha256=picture_digest(source))


def _of_faces(faces: Faces) -> list[NewFace]:
    if faces.embeddings is None:
        raise ValueError("the faces have no embeddings; analyze them with `embed` among what is to be done")
    rows = zip(faces.embeddings, faces.boxes, faces.landmarks, faces.scores, strict=True)
    return [
        NewFace(
            embedding=embedding,
            box=tuple(box.tolist()),
            landmarks=tuple(tuple(point) for point in landmarks.tolist()),
            score=float(score),
        )
        for embedding, box, landmarks, score in rows
    ]


def _of_vectors(faces: FloatArray | Sequence[NewFace]) -> list[NewFace]:
    if not isinstance(faces, np.ndarray):
        return list(faces)
    if faces.ndim != 2:
        raise ValueError(f"embeddings have shape {faces.shape}, expected (N, D)")
    return [NewFace(embedding=row) for row in np.asarray(faces, dtype=np.float32)]


def check_vectors(vectors: FloatArray, info: GalleryInfo) -> FloatArray:
    """Embeddings as the gallery compares them, (N, D) float32.

    Raises:
        GalleryModelError: they have another length than those of the gallery.
        ValueError: they are no (N, D) array, or not finite.
    """
    checked = np.ascontiguousarray(vectors, dtype=np.float32)
    if checked.ndim != 2:
        raise ValueError(f"embeddings have shape {checked.shape}, expected (N, D)")
    if checked.shape[1] != info.dimension:
        raise GalleryModelError(
            f"embeddings of {checked.shape[1]} numbers do not fit this gallery of {info.embedder}, which has"
            f" {info.dimension}: use that embedder, or `mien gallery reembed` with the other one"
        )
    if not np.isfinite(checked).all():
        raise ValueError("embeddings are not finite")
    if (np.abs(checked) > _LARGEST_VALUE).any():  # its square would not be finite
        raise ValueError("embeddings hold values that none has")
    return checked


def enrol(writer: Writer, name: str, faces: Sequence[NewFace], terms: Terms) -> tuple[Change | None, Enrolment]:
    """Add faces to a person, who is made where nobody has that name; see `Gallery.enrol`.

    Returns:
        The change, None where nothing changed; and what to tell.
    """
    name = clean_name(name)
    if not faces:
        raise NoFaceError("there is no face to enrol")
    _ = check_vectors(np.stack([face.embedding for face in faces]), writer.info)
    known = writer.person_named(name)
    person = terms.put_on(known or new_person(name))
    copies = _find_copies(writer, person.id, faces)
    if known is None:
        if None not in copies:
            raise _all_known(writer, copies[0], name)
        writer.add_person(person)
    elif person != known:
        writer.update_person(person)
    added = _add(writer, person, [face for face, copy in zip(faces, copies, strict=True) if copy is None])
    if known is None:
        steps = [undoing.remove_faces(added), undoing.remove_person(person.id)]
    else:
        steps = [undoing.remove_faces(added), undoing.set_person(known)]
    person = writer.person(person.id) or person
    unchanged = not added and person == known
    change = None if unchanged else Change("enrol", person, {"faces": added}, steps)
    return change, Enrolment(person, tuple(added), tuple(_skipped(person, copies, added)))


def _add(writer: Writer, person: Person, faces: Sequence[NewFace]) -> list[int]:
    """Add faces, which are no copies; their ids."""
    keep = writer.info.keeps_crops
    kept = [replace(face, person=person.id, crop=face.crop if keep else None) for face in faces]
    ids: list[int] = writer.add_faces(kept).tolist()
    return ids


@dataclass(frozen=True)
class _Copy:
    """What a face is a copy of: a face of the gallery, or one of those that are enrolled with it, at a position."""

    reason: Literal["same picture", "near-duplicate"]
    face: Face | None = None
    position: int = -1


def _skipped(person: Person, copies: Sequence[_Copy | None], added: Sequence[int]) -> Iterator[Skipped]:
    ids = dict(zip((i for i, copy in enumerate(copies) if copy is None), added, strict=True))
    for position, copy in enumerate(copies):
        if copy is not None and copy.face is not None:
            yield Skipped(position, copy.face.id, copy.face.person, copy.reason)
        elif copy is not None:
            yield Skipped(position, ids[copy.position], person.id, copy.reason)


def _find_copies(writer: Writer, person: str, faces: Sequence[NewFace]) -> list[_Copy | None]:
    """What each face is a copy of: of anybody's where the picture is the same, else of one of this person.

    Faces can be copies of each other: the first is enrolled, and nothing is called a copy of a copy.
    """
    pictures, own = _Pictures(writer), _OwnFaces(writer, person, faces)
    copies: list[_Copy | None] = []
    for position, face in enumerate(faces):
        copy = pictures.find(face) or own.find(position)
        if copy is None:
            pictures.learn(position, face)
            own.learn(position)
        copies.append(copy)
    return copies


class _Pictures:
    """The faces that come from the same pictures as those that are to be enrolled."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._known: dict[str, list[Face]] = {}
        self._new: dict[str, list[tuple[int, NewFace]]] = {}

    def find(self, face: NewFace) -> _Copy | None:
        """The face at the same place in a picture of the same bytes."""
        digest = face.source_sha256
        if digest is None:
            return None
        if digest not in self._known:
            self._known[digest] = self._writer.faces_from(digest)
        known = next((other for other in self._known[digest] if same_place(face, other)), None)
        if known is not None:
            return _Copy("same picture", known)
        new = (position for position, other in self._new.get(digest, ()) if same_place(face, other))
        return next((_Copy("same picture", position=position) for position in new), None)

    def learn(self, position: int, face: NewFace) -> None:
        """A face is enrolled."""
        if face.source_sha256 is not None:
            self._new.setdefault(face.source_sha256, []).append((position, face))


class _OwnFaces:
    """The faces of a person, and which of new ones, asked for one after the other, is nearly one of them.

    New faces are compared a block at a time: by a product with all faces from before, and one with the block itself.
    """

    def __init__(self, writer: Writer, person: str, faces: Sequence[NewFace]) -> None:
        self._known = writer.faces(person=person)
        self._metric = writer.info.metric
        own = writer.vectors([face.id for face in self._known]).reshape(-1, writer.info.dimension)
        self._new = np.stack([face.embedding for face in faces]).astype(np.float32)
        self._vectors = np.concatenate([own, self._new])  # behind `own`, those that are enrolled, packed
        self._enrolled: list[int] = []
        self._block = slice(0, 0)

    def learn(self, position: int) -> None:
        """A face is enrolled."""
        self._vectors[len(self._known) + len(self._enrolled)] = self._new[position]
        self._enrolled.append(position)
        self._open[position - self._block.start] = True

    def find(self, position: int) -> _Copy | None:
        """The most similar face of the person, where it is as similar as copies are."""
        if position >= self._block.stop:
            self._begin(position)
        row = position - self._block.start
        alike, best = self._alike[row], int(self._best[row])
        inside = np.where(self._open[:row], self._inside[row, :row], -1)
        if row and inside.max() > alike:
            alike, best = inside.max(), -1
        if alike < NEAR_DUPLICATE:
            return None
        if best < 0:
            return _Copy("near-duplicate", position=self._block.start + int(inside.argmax()))
        if best < len(self._known):
            return _Copy("near-duplicate", self._known[best])
        return _Copy("near-duplicate", position=self._enrolled[best - len(self._known)])

    def _begin(self, position: int) -> None:
        """Compare the next block."""
        self._block = slice(position, position + _BLOCK)
        block = self._new[self._block]
        self._open = np.zeros(len(block), dtype=np.bool_)  # of the block, those that are enrolled
        self._inside = similarity.pairwise(block, block, self._metric)
        self._alike, self._best = np.full(len(block), -np.inf, dtype=np.float32), np.zeros(len(block), dtype=np.int64)
        for start in range(0, len(self._known) + len(self._enrolled), _PIECE):
            stop = min(start + _PIECE, len(self._known) + len(self._enrolled))
            alike = similarity.pairwise(block, self._vectors[start:stop], self._metric)
            nearer = alike.max(axis=1) > self._alike
            self._best = np.where(nearer, start + alike.argmax(axis=1), self._best)
            self._alike = np.maximum(self._alike, alike.max(axis=1))


def same_place(face: NewFace, other: Face | NewFace) -> bool:
    """Whether two faces of one picture are one: by their boxes, if both are known."""
    if face.box is None or other.box is None:
        return True
    one, two = (np.array([box], dtype=np.float32) for box in (face.box, other.box))
    return bool(boxes.iou(one, two)[0, 0] >= _SAME_FACE)


def _all_known(writer: Writer, copy: _Copy | None, name: str) -> GalleryError:
    """Why nobody new is made: all faces are in the gallery already."""
    assert copy is not None  # noqa: S101 - the caller has seen it
    assert copy.face is not None  # noqa: S101 - the first is a copy of none of the others
    face = copy.face
    owner = writer.person(face.person) if face.person else None
    whose = f"of {shown(owner)}" if owner else "without a name"
    return GalleryError(
        f"this face is in the gallery already, as face {face.id} {whose};"
        f" `mien gallery split` or `move` gives it to {name!r}"
    )
