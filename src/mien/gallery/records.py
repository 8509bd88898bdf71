"""What a gallery keeps: people, their faces, what was forbidden, and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.types import FloatArray

Ids = npt.NDArray[np.int64]
"""(N,) int64: numbers of faces."""


@dataclass(frozen=True)
class GalleryInfo:
    """What a gallery is, written when it is made.

    Attributes:
        id: 32 hex digits, random; also what ties encrypted values to this gallery.
        embedder: name of the model that its embeddings come from.
        embedder_sha256: of that model's weights file, in hex.
        mode: "fast" or "accurate", see `FaceAnalyzer`.
        dimension: of an embedding.
        metric: "l2" or "cosine".
        created: when, in UTC.
        key_id: names the key that vectors and crops are encrypted with (a digest that does not give it away), or None
            where they are not encrypted.
        keeps_crops: whether enrolment keeps a crop of each face, from which it can be embedded again.
    """

    id: str
    embedder: str
    embedder_sha256: str
    mode: str
    dimension: int
    metric: str
    created: datetime
    key_id: str | None = None
    keeps_crops: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        fields = jsonable(asdict(self))
        del fields["key_id"]
        return {**fields, "encrypted": self.key_id is not None}


@dataclass(frozen=True)
class Person:
    """Somebody the gallery knows.

    Attributes:
        id: 32 hex digits, random; stays when the name changes.
        name: as shown, NFC; unique in the gallery; None for a group of faces that nobody has named yet.
        created: when, in UTC.
        consent: what the person agreed to, in the words of whoever enrolled them, or None where nothing was noted.
        consent_at: when, in UTC; where `consent` is None, when it was withdrawn (or refused).
        expires: when all that is known of them is to be removed (`purge`), in UTC, or None.
        faces: how many faces of theirs the gallery has.
    """

    id: str
    name: str | None
    created: datetime
    consent: str | None = None
    consent_at: datetime | None = None
    expires: datetime | None = None
    faces: int = 0

    @property
    def withdrawn_at(self) -> datetime | None:
        """When they withdrew their consent (or refused it); None where they never did, or have agreed since."""
        return self.consent_at if self.consent is None else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        given_at = None if self.consent is None else self.consent_at
        return jsonable(asdict(self) | {"consent_at": given_at, "withdrawn_at": self.withdrawn_at})


@dataclass(frozen=True)
class Face:
    """One enrolled face, without its embedding.

    Attributes:
        id: a number that is never used again, also after the face is removed.
        person: id of the person, or None for a face that belongs to nobody yet.
        created: when it was enrolled, in UTC.
        source: path or URL of the picture as it was given, or None.
        source_sha256: of the picture's bytes, in hex, or None.
        box: x1, y1, x2, y2 in pixels of that picture, or None.
        landmarks: five (x, y) in pixels of that picture, from which it can be cut again, or None.
        score: of the detector, or None.
        has_crop: whether a crop of it is kept.
    """

    id: int
    person: str | None
    created: datetime
    source: str | None = None
    source_sha256: str | None = None
    box: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    score: float | None = None
    has_crop: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return jsonable(asdict(self))


@dataclass(frozen=True, eq=False)
class NewFace:
    """A face to be enrolled; see `Face`.

    Attributes:
        embedding: (D,) float32.
        crop: the face as an encoded picture (PNG or JPEG), from which it can be embedded again, or None.
    """

    embedding: FloatArray
    person: str | None = None
    source: str | None = None
    source_sha256: str | None = None
    box: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    score: float | None = None
    crop: bytes | None = None


@dataclass(frozen=True)
class Event:
    """A line of the audit trail. It names people by id only: what is removed leaves no name behind.

    Attributes:
        at: when, in UTC.
        action: "enrol", "identify", "remove", "rename", ...
        actor: who did it: the user of the operating system, or what the program says.
        person: id of the person it was about, or None.
        details: JSON-ready, nothing personal: ids and numbers.
        id: its position in the trail; 0 before it is written.
    """

    at: datetime
    action: str
    actor: str
    person: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return jsonable({**self.__dict__, "details": dict(self.details)})


@dataclass(frozen=True)
class Undo:
    """How to take back one change.

    Attributes:
        action: what was done, for people to read: "rename", "merge", ...
        at: when, in UTC.
        steps: JSON-ready instructions that `Gallery.undo` follows.
        people: ids of the people that the steps mention: when one of them is removed, so is this record.
        id: its position; 0 before it is written.
    """

    action: str
    at: datetime
    steps: list[dict[str, Any]]
    people: tuple[str, ...] = ()
    id: int = 0


@dataclass(frozen=True, eq=False)
class Changes:
    """What happened to the faces since a revision: all that a search index has to learn.

    Attributes:
        revision: of the gallery after these changes.
        ids: (N,) int64, faces that were added, moved to another person, or given another embedding.
        people: N ids of their people, or None.
        vectors: (N, D) float32.
        removed: (M,) int64, faces that are gone.
        complete: True where this is the whole gallery rather than a difference: forget all that was known before.
    """

    revision: int
    ids: Ids
    people: list[str | None]
    vectors: FloatArray
    removed: Ids
    complete: bool = False


def jsonable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record with its times as text, ISO 8601."""
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in fields.items()}
