"""Enrolment: from faces to what is kept of them, without what is kept already."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    own = _OwnFaces(writer, person.id)
    if known is None:
        if all(own.find_copy(face) for face in faces):
            raise _all_known(writer, own.find_copy(faces[0]), name)
        writer.add_person(person)
    elif person != known:
        writer.update_person(person)
    added, skipped = _add(writer, own, person, faces)
    if known is None:
        steps = [undoing.remove_faces(added), undoing.remove_person(person.id)]
    else:
        steps = [undoing.remove_faces(added), undoing.set_person(known)]
    person = writer.person(person.id) or person
    unchanged = not added and person == known
    change = None if unchanged else Change("enrol", person, {"faces": added}, steps)
    return change, Enrolment(person, tuple(added), tuple(skipped))


def _add(writer: Writer, own: _OwnFaces, person: Person, faces: Sequence[NewFace]) -> tuple[list[int], list[Skipped]]:
    """Add the faces that are not there, one by one: they can be copies of each other."""
    added: list[int] = []
    skipped: list[Skipped] = []
    for position, face in enumerate(faces):
        copy = own.find_copy(face)
        if copy is None:
            kept = replace(face, person=person.id, crop=face.crop if writer.info.keeps_crops else None)
            number = int(writer.add_faces([kept])[0])
            own.learn(number, face.embedding)
            added.append(number)
        else:
            reason, other = copy
            skipped.append(Skipped(position, other.id, other.person, reason))
    return added, skipped


class _OwnFaces:
    """The faces of a person, and whether another one is a copy of one of them."""

    def __init__(self, writer: Writer, person: str) -> None:
        self._writer = writer
        self._ids = [face.id for face in writer.faces(person=person)]
        self._vectors = writer.vectors(self._ids).reshape(-1, writer.info.dimension)
        self._similarity = similarity.l2 if writer.info.metric == "l2" else similarity.cosine

    def learn(self, number: int, embedding: FloatArray) -> None:
        """A face was added."""
        self._ids.append(number)
        self._vectors = np.vstack([self._vectors, embedding])

    def find_copy(self, face: NewFace) -> tuple[Literal["same picture", "near-duplicate"], Face] | None:
        """The face of the gallery that this is a copy of: of anybody where the picture is the same, else of theirs."""
        if face.source_sha256 is not None:
            for other in self._writer.faces_from(face.source_sha256):
                if _same_place(face, other):
                    return "same picture", other
        if len(self._ids):
            alike = self._similarity(self._vectors, face.embedding[None])
            best = int(alike.argmax())
            if alike[best] >= NEAR_DUPLICATE:
                return "near-duplicate", self._writer.faces_by_id([self._ids[best]])[0]
        return None


def _same_place(face: NewFace, other: Face) -> bool:
    """Whether two faces of one picture are one: by their boxes, if both are known."""
    if face.box is None or other.box is None:
        return True
    one, two = (np.array([box], dtype=np.float32) for box in (face.box, other.box))
    return bool(boxes.iou(one, two)[0, 0] >= _SAME_FACE)


def _all_known(writer: Writer, copy: tuple[str, Face] | None, name: str) -> GalleryError:
    """Why nobody new is made: all faces are in the gallery already."""
    assert copy is not None  # noqa: S101 - the caller has seen it
    face = copy[1]
    owner = writer.person(face.person) if face.person else None
    whose = f"of {shown(owner)}" if owner else "without a name"
    return GalleryError(
        f"this face is in the gallery already, as face {face.id} {whose};"
        f" `mien gallery split` or `move` gives it to {name!r}"
    )
