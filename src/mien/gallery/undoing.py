"""How changes are taken back: each leaves steps, JSON-ready, that lead to where the gallery was before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from mien.errors import GalleryError
from mien.gallery.records import Person, Undo, jsonable
from mien.gallery.stores.protocol import Writer

Step = dict[str, Any]


def set_person(person: Person) -> Step:
    """Make a person what they were."""
    return {"do": "set_person", "person": _packed(person)}


def add_person(person: Person) -> Step:
    """Bring a person back, without faces."""
    return {"do": "add_person", "person": _packed(person)}


def remove_person(person: str) -> Step:
    """Remove a person, if they have no faces."""
    return {"do": "remove_person", "person": person}


def move(faces: Sequence[int], person: str | None) -> Step:
    """Give faces back."""
    return {"do": "move", "faces": list(faces), "person": person}


def remove_faces(faces: Sequence[int]) -> Step:
    """Remove faces."""
    return {"do": "remove_faces", "faces": list(faces)}


def forbid(face: int, person: str) -> Step:
    """Note again that a face does not show a person."""
    return {"do": "forbid", "face": face, "person": person}


def allow(face: int, person: str) -> Step:
    """Take that back."""
    return {"do": "allow", "face": face, "person": person}


def people_of(steps: Sequence[Step]) -> tuple[str, ...]:
    """Ids of the people that steps mention, each once."""
    people = (step.get("person") for step in steps)
    ids = (person["id"] if isinstance(person, dict) else person for person in people)
    return tuple(dict.fromkeys(person for person in ids if person is not None))


def take_back(writer: Writer) -> tuple[Undo, bool]:
    """Take back the last change.

    Returns:
        The record of it, and whether faces were removed.

    Raises:
        GalleryError: there is none, it removed something for good, what it changed has changed since, or the note of
            how to take it back is damaged.
    """
    last = writer.last_undo()
    if last is None:
        raise GalleryError("nothing to undo")
    if not last.steps:
        when = f"{last.at:%Y-%m-%d %H:%M} UTC"
        raise GalleryError(f"the last change ({last.action}, {when}) was a removal: what is removed is gone for good")
    writer.pop_undo()  # first: a step that removes somebody removes the records that mention them
    try:
        for step in last.steps:
            _STEPS[step["do"]](writer, step)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise GalleryError(
            "the last change cannot be undone: the note of how was damaged or tampered with; restore the gallery from a"
            " copy, or correct the change by hand"
        ) from error
    return last, any(step["do"] == "remove_faces" for step in last.steps)


@contextmanager
def keeping_notes(writer: Writer) -> Iterator[None]:
    """For a change that removes somebody whom undo brings back: what was done to them before stays known.

    A store removes the notes with the person. Without them undo would go on to older changes, and meet a gallery in
    which those cannot be taken back: a name may have been given to somebody else meanwhile.
    """
    notes: list[Undo] = []
    while (last := writer.last_undo()) is not None:
        notes.append(last)
        writer.pop_undo()
    yield
    for one in reversed(notes):
        writer.push_undo(one)


def forget(writer: Writer, action: str, at: datetime) -> None:
    """After a removal: nothing before it can be undone, and nothing of it is kept."""
    while writer.last_undo() is not None:
        writer.pop_undo()
    writer.push_undo(Undo(action, at, []))


def _packed(person: Person) -> dict[str, Any]:
    return jsonable(asdict(replace(person, faces=0)))


def _unpacked(fields: dict[str, Any]) -> Person:
    times = {key: datetime.fromisoformat(fields[key]) for key in ("created", "consent_at", "expires") if fields[key]}
    return Person(**(fields | times))


def _existing(writer: Writer, step: Step) -> str:
    """The person of a step.

    Raises:
        GalleryError: they are gone.
    """
    person: str = step["person"]
    if writer.person(person) is None:
        raise GalleryError("the last change cannot be undone: the person it was about is gone")
    return person


def _move(writer: Writer, step: Step) -> None:
    to = None if step["person"] is None else _existing(writer, step)
    writer.move_faces([face.id for face in writer.faces_by_id(step["faces"])], to)


def _remove_person(writer: Writer, step: Step) -> None:
    person = writer.person(step["person"])
    if person is not None and person.faces == 0:  # else somebody else has given them faces since
        writer.remove_person(person.id)


def _remove_faces(writer: Writer, step: Step) -> None:
    writer.remove_faces([face.id for face in writer.faces_by_id(step["faces"])])


_STEPS: dict[str, Callable[[Writer, Step], None]] = {
    "set_person": lambda writer, step: writer.update_person(_unpacked(step["person"])),
    "add_person": lambda writer, step: writer.add_person(_unpacked(step["person"])),
    "remove_person": _remove_person,
    "move": _move,
    "remove_faces": _remove_faces,
    "forbid": lambda writer, step: writer.forbid(step["face"], _existing(writer, step)),
    "allow": lambda writer, step: writer.allow(step["face"], step["person"]),
}
