"""What people agreed to, how long they are kept, and all that is known about one of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import GalleryError
from mien.gallery import undoing
from mien.gallery.editing import Change, now, remove
from mien.gallery.names import find
from mien.gallery.records import Event, Person
from mien.gallery.stores.protocol import Reader, Writer
from mien.ops.atomic import folder_written_whole, new_file
from mien.ops.files import printable
from mien.types import FloatArray

_PAGE = 1000
MAX_CONSENT = 2000
_MAX_DAYS = 36_500


def as_utc(when: datetime) -> datetime:
    """The same moment in UTC.

    Raises:
        ValueError: it does not say its time zone.
    """
    if when.tzinfo is None:
        raise ValueError("a time needs its time zone, such as datetime.UTC")
    return when.astimezone(UTC)


def moment_of(text: str) -> datetime:
    """When a text says: a date (its first minute) or a time in ISO 8601, in UTC where it names no zone.

    Returns:
        In UTC.

    Raises:
        ValueError: it is neither.
    """
    when = datetime.fromisoformat(text)
    try:
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of range") from error


def expiry_of(text: str) -> datetime | None:
    """When somebody is to be removed: as `moment_of`, days from now ("30d"), or "never", which is None.

    Raises:
        ValueError: none of them.
    """
    if text == "never":
        return None
    if text.endswith("d") and text[:-1].isdecimal() and len(text) <= 6 and int(text[:-1]) <= _MAX_DAYS:
        return now() + timedelta(days=int(text[:-1]))
    try:
        return moment_of(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date like 2030-12-31, no number of days like 30d, and not never") from error


def clean_consent(text: str) -> str:
    """The words of a consent as they are kept.

    Raises:
        GalleryError: there are none, or too many, or they are no text.
    """
    text = text.strip()
    if any(c == "\0" or unicodedata.category(c) == "Cs" for c in text):  # bytes that are no UTF-8 come as surrogates
        raise GalleryError("a consent is noted in words; this one holds bytes that are no text: type it anew")
    if not 0 < len(text) <= MAX_CONSENT:
        raise GalleryError(f"a consent is noted in 1 to {MAX_CONSENT:,} characters; this one has {len(text):,}")
    return text


def consent(writer: Writer, who: str, text: str | None, at: datetime | None) -> Change:
    """Note what a person agreed to; see `Gallery.consent`."""
    person = find(writer, who)
    said = None if text is None else clean_consent(text)
    changed = replace(person, consent=said, consent_at=as_utc(at or now()))
    writer.update_person(changed)
    return Change("consent", changed, {"given": said is not None}, [undoing.set_person(person)])


def expire(writer: Writer, who: str, when: datetime | None) -> Change:
    """Set when a person is to be removed; see `Gallery.expire`."""
    person = find(writer, who)
    changed = replace(person, expires=None if when is None else as_utc(when))
    writer.update_person(changed)
    details = {"expires": changed.expires.isoformat() if changed.expires else None}
    return Change("expire", changed, details, [undoing.set_person(person)])


def expired(reader: Reader, at: datetime) -> list[Person]:
    """Who is to be removed by then."""
    return [person for person in everybody(reader) if person.expires is not None and person.expires <= at]


def purge(writer: Writer, at: datetime) -> list[Change]:
    """Remove who is to be removed by then; see `Gallery.purge`."""
    return [replace(remove(writer, person.id), action="purge") for person in expired(writer, at)]


def everybody(reader: Reader) -> Iterator[Person]:
    """All people, a page at a time."""
    page = reader.people(limit=_PAGE)
    while page:
        yield from page
        page = reader.people(after=page[-1].id, limit=_PAGE)


def events_about(reader: Reader, person: str) -> Iterator[Event]:
    """The audit trail of one person: what was done to them, and where they were an answer."""
    page = reader.events(limit=_PAGE)
    while page:
        for event in page:
            if event.person == person or person in _mentioned(event):
                yield event
        page = reader.events(after=page[-1].id, limit=_PAGE)


def _mentioned(event: Event) -> Iterator[object]:
    """What the details of an event hold."""
    for value in event.details.values():
        yield from value if isinstance(value, (list, tuple)) else (value,)


def known(reader: Reader, person: Person) -> tuple[dict[str, Any], FloatArray, dict[int, bytes]]:
    """All that a gallery keeps about one person.

    Returns:
        A JSON-ready dict, the (N, D) embeddings of the faces in its order, and the kept crops by face.
    """
    faces = reader.faces(person=person.id)
    ids = [face.id for face in faces]
    crops = {face.id: crop for face in faces if (crop := reader.crop(face.id)) is not None}
    record = {
        "schema": 1,
        "person": person.to_dict(),
        "faces": [face.to_dict() for face in faces],
        "not_this_person": [face for face, who in reader.forbidden() if who == person.id],
        "not_others": [[face, who] for face, who in reader.forbidden() if face in set(ids)],
        "embedder": reader.info.embedder,
        "events": [event.to_dict() for event in events_about(reader, person.id)],
    }
    return record, reader.vectors(ids), crops


def write_known(folder: Path, record: dict[str, Any], vectors: FloatArray, crops: dict[int, bytes]) -> None:
    """Write person.json, vectors.npy and face-ID.png (or .jpg) into a new folder, whole or not at all.

    Raises:
        GalleryError: it cannot be written, or holds something.
    """
    import json

    try:
        with folder_written_whole(folder, private=True) as made:  # nobody else's business
            for face, crop in crops.items():
                with new_file(made / f"face-{face}{_extension(crop)}", private=True) as file:
                    file.write(crop)
            with new_file(made / "vectors.npy", private=True) as file:
                np.save(file, vectors, allow_pickle=False)
            with new_file(made / "person.json", private=True) as file:
                file.write(f"{json.dumps(record, indent=2, ensure_ascii=False)}\n".encode())
    except OSError as error:
        there = "; name a new folder" if folder.exists() else ""
        raise GalleryError(f"{printable(folder)}: cannot be written ({error.strerror or error}){there}") from error


def _extension(crop: bytes) -> str:
    return ".png" if crop.startswith(b"\x89PNG") else ".jpg"
