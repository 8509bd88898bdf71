"""The rules of editing: each function is one change within a transaction, and says how to take it back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from mien.errors import GalleryError, NotInGalleryError
from mien.gallery import undoing
from mien.gallery.names import clean_name, find, shown
from mien.gallery.records import Event, Face, Person, Undo
from mien.gallery.stores.protocol import Writer


@dataclass(frozen=True)
class Change:
    """What a transaction did.

    Attributes:
        action: for the audit trail and for undo.
        person: whom it was about, as they are now (as they were, if removed), or None.
        details: ids and numbers for the audit trail, nothing personal.
        steps: how to take it back; None where nothing does (a removal).
    """

    action: str
    person: Person | None
    details: dict[str, Any] = field(default_factory=dict)
    steps: list[undoing.Step] | None = None


def now() -> datetime:
    """In UTC."""
    return datetime.now(UTC)


def note(writer: Writer, change: Change, actor: str) -> None:
    """Add a change to the audit trail, and note how to take it back."""
    at = now()
    person = change.person.id if change.person else None
    writer.add_event(Event(at, change.action, actor, person, change.details))
    if change.steps is None:
        undoing.forget(writer, change.action, at)
    else:
        writer.push_undo(Undo(change.action, at, change.steps, undoing.people_of(change.steps)))


def new_person(name: str | None) -> Person:
    """Somebody who is not in the gallery yet."""
    return Person(uuid.uuid4().hex, None if name is None else clean_name(name), now())


def refuse_taken(writer: Writer, name: str, *, by: str | None = None) -> None:
    """Refuse a name that somebody other than the person of id `by` has.

    Raises:
        GalleryError: it is taken.
    """
    other = writer.person_named(name)
    if other is not None and other.id != by:
        raise GalleryError(f"the name {name!r} is taken; choose another, or make the two one by `mien gallery merge`")


def rename(writer: Writer, who: str, name: str) -> Change:
    """Give a person (or an unnamed group) another name; see `Gallery.rename`."""
    person, name = find(writer, who), clean_name(name)
    refuse_taken(writer, name, by=person.id)
    writer.update_person(replace(person, name=name))
    return Change("rename", _now(writer, person), steps=[undoing.set_person(person)])


def merge(writer: Writer, who: str, into: str) -> Change:
    """Make two people one; see `Gallery.merge`."""
    person, target = find(writer, who), find(writer, into)
    if person.id == target.id:
        raise GalleryError(f"{shown(person)} and {shown(target)} are one person already")
    faces = [face.id for face in writer.faces(person=person.id)]
    links = _links_to_carry(writer, person, target, faces)
    steps = [undoing.set_person(target), undoing.add_person(person), undoing.move(faces, person.id)]
    steps += [undoing.forbid(face, person.id) for face, _ in links]
    steps += [undoing.allow(face, target.id) for face, known in links if not known]
    writer.move_faces(faces, target.id)
    with undoing.keeping_notes(writer):
        writer.remove_person(person.id)
    writer.update_person(_united(target, person))
    for face, _ in links:
        writer.forbid(face, target.id)
    details = {"merged": person.id, "faces": faces}
    return Change("merge", _now(writer, target), details, steps)


def _links_to_carry(writer: Writer, person: Person, target: Person, faces: list[int]) -> list[tuple[int, bool]]:
    """Faces that are said not to be `person`, each with whether they are also said not to be `target`.

    Raises:
        GalleryError: the two were said not to be one person.
    """
    forbidden = writer.forbidden()
    not_target = {face for face, who in forbidden if who == target.id}
    not_person = [face for face, who in forbidden if who == person.id]
    own = {face.id for face in writer.faces(person=target.id)}
    against = sorted((not_target & set(faces)) | (own & set(not_person)))
    if against:
        raise GalleryError(
            f"{shown(person)} and {shown(target)} cannot be one person: face {against[0]} of the one was said not to"
            " be the other; if that was wrong, `mien gallery move` that face first"
        )
    return [(face, face in not_target) for face in not_person]


def _united(target: Person, person: Person) -> Person:
    """`target` with what `person` adds: a name and a consent where it has none; the earlier expiry.

    Where one of the two withdrew their consent, what was said last holds.
    """
    expiries = [when for when in (target.expires, person.expires) if when is not None]
    consent = target if target.consent_at is not None else person
    if target.withdrawn_at or person.withdrawn_at:
        consent = max((target, person), key=lambda one: one.consent_at or datetime.min.replace(tzinfo=UTC))
    return replace(
        target,
        name=target.name or person.name,
        consent=consent.consent,
        consent_at=consent.consent_at,
        expires=min(expiries, default=None),
    )


def split(writer: Writer, who: str, faces: Sequence[int], name: str | None) -> Change:
    """Make faces of a person another person; see `Gallery.split`."""
    person = find(writer, who)
    chosen = existing_faces(writer, faces)
    foreign = [face.id for face in chosen if face.person != person.id]
    if foreign:
        raise GalleryError(f"face {foreign[0]} is not of {shown(person)}; `mien gallery show` lists their faces")
    other = replace(new_person(name), consent=person.consent, consent_at=person.consent_at, expires=person.expires)
    if other.name is not None:
        refuse_taken(writer, other.name)
    writer.add_person(other)
    ids = [face.id for face in chosen]
    writer.move_faces(ids, other.id)
    steps = [undoing.move(ids, person.id), undoing.remove_person(other.id)]
    return Change("split", _now(writer, other), {"from": person.id, "faces": ids}, steps)


def move(writer: Writer, faces: Sequence[int], to: str | None) -> Change:
    """Give faces to a person, or to nobody; see `Gallery.move`."""
    target = None if to is None else find(writer, to)
    chosen = existing_faces(writer, faces)
    steps = _back(chosen)
    if target is not None:
        said = {face for face, who in writer.forbidden() if who == target.id}
        for face in chosen:
            if face.id in said:  # whoever moves it says otherwise
                writer.allow(face.id, target.id)
                steps.append(undoing.forbid(face.id, target.id))
    ids = [face.id for face in chosen]
    writer.move_faces(ids, target.id if target else None)
    return Change("move", _now(writer, target) if target else None, {"faces": ids}, steps)


def forbid(writer: Writer, face: int, who: str) -> Change:
    """Note that a face does not show a person; see `Gallery.forbid`."""
    person = find(writer, who)
    (chosen,) = existing_faces(writer, [face])
    if (face, person.id) in writer.forbidden():
        raise GalleryError(f"face {face} is said not to be {shown(person)} already")
    steps = [undoing.allow(face, person.id)]
    if chosen.person == person.id:
        steps += _back([chosen])
        writer.move_faces([face], None)
    writer.forbid(face, person.id)
    return Change("forbid", _now(writer, person), {"face": face}, steps)


def remove_faces(writer: Writer, faces: Sequence[int]) -> Change:
    """Remove faces for good; see `Gallery.remove_face`."""
    chosen = existing_faces(writer, faces)
    owners = {face.person for face in chosen}
    owner = owners.pop() if len(owners) == 1 else None
    ids = [face.id for face in chosen]
    writer.remove_faces(ids)
    return Change("remove_face", writer.person(owner) if owner else None, {"faces": ids})


def remove(writer: Writer, who: str) -> Change:
    """Remove a person for good; see `Gallery.remove`."""
    person = find(writer, who)
    writer.remove_person(person.id)
    return Change("remove", person, {"faces": person.faces})


def existing_faces(writer: Writer, faces: Sequence[int]) -> list[Face]:
    """The faces of those ids.

    Raises:
        NotInGalleryError: none is asked for, or one does not exist.
    """
    wanted = set(faces)
    found = writer.faces_by_id(sorted(wanted))
    missing = sorted(wanted - {face.id for face in found})
    if missing or not wanted:
        what = f"no face {missing[0]} in the gallery" if missing else "no face is named"
        raise NotInGalleryError(f"{what}; `mien gallery show NAME` lists the faces of a person")
    return found


def _back(faces: Sequence[Face]) -> list[undoing.Step]:
    """Steps that give faces back to those who have them."""
    owners = dict.fromkeys(face.person for face in faces)
    return [undoing.move([face.id for face in faces if face.person == owner], owner) for owner in owners]


def _now(writer: Writer, person: Person) -> Person:
    """The person as the transaction left them."""
    current = writer.person(person.id)
    assert current is not None  # noqa: S101 - it was just written
    return current
