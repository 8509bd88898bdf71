"""Between records and rows. What a row says is not trusted: a gallery file may come from anywhere.

Whatever reads a row raises ValueError where it cannot be: `SqlReader` makes one line of that.
"""

# ruff: noqa: D103  (what their types say)

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from mien.gallery.records import Event, Face, GalleryInfo, Person, Undo

Row = Sequence[Any]
T = TypeVar("T")

INFO_COLUMNS = "id, embedder, embedder_sha256, mode, dimension, metric, created, key_id, keeps_crops"
PERSON_COLUMNS = "id, name, created, consent, consent_at, expires"
EVENT_COLUMNS = "at, action, actor, person, details"
UNDO_COLUMNS = "action, at, steps, people"

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)

_MOST_COUNTED = 2**62
MAX_DIMENSION = 16_000
"""Numbers in an embedding that both stores can keep."""


def from_info(info: GalleryInfo) -> Row:
    return (
        info.id,
        info.embedder,
        info.embedder_sha256,
        info.mode,
        info.dimension,
        info.metric,
        stamp(info.created),
        info.key_id,
        int(info.keeps_crops),
    )


def to_info(row: Row) -> GalleryInfo:
    identity, embedder, sha256, mode, dimension, metric, created, key_id, keeps_crops = row
    if metric not in ("l2", "cosine"):
        raise ValueError(f"the metric is {shown(metric)}")
    if not 1 <= _integer(dimension) <= MAX_DIMENSION:
        raise ValueError(f"the dimension is {dimension}")
    return GalleryInfo(
        id=_text(identity),
        embedder=_text(embedder),
        embedder_sha256=_text(sha256),
        mode=_text(mode),
        dimension=dimension,
        metric=metric,
        created=_moment(created),
        key_id=_text_or_none(key_id),
        keeps_crops=bool(_integer(keeps_crops)),
    )


def from_person(person: Person) -> Row:
    return (
        person.id,
        person.name,
        stamp(person.created),
        person.consent,
        stamp_or_none(person.consent_at),
        stamp_or_none(person.expires),
    )


def to_person(row: Row) -> Person:
    identity, name, created, consent, consent_at, expires, faces = row
    return Person(
        id=_text(identity),
        name=_text_or_none(name),
        created=_moment(created),
        consent=_text_or_none(consent),
        consent_at=_moment_or_none(consent_at),
        expires=_moment_or_none(expires),
        faces=_integer(faces),
    )


def to_face(row: Row) -> Face:
    number, person, created, source, source_sha256, box, landmarks, score, has_crop = row
    return Face(
        id=_integer(number),
        person=_text_or_none(person),
        created=_moment(created),
        source=_text_or_none(source),
        source_sha256=_text_or_none(source_sha256),
        box=_box(box),
        landmarks=_landmarks(landmarks),
        score=None if score is None else _real(score),
        has_crop=bool(has_crop),
    )


def from_event(event: Event) -> Row:
    return stamp(event.at), event.action, utf8(event.actor), event.person, to_json(dict(event.details))


def to_event(row: Row) -> Event:
    number, at, action, actor, person, details = row
    return Event(
        at=_moment(at),
        action=_text(action),
        actor=_text(actor),
        person=_text_or_none(person),
        details=_json(details, dict),
        id=_integer(number),
    )


def from_undo(undo: Undo) -> Row:
    return undo.action, stamp(undo.at), to_json(undo.steps), to_json(list(undo.people))


def to_undo(row: Row) -> Undo:
    number, action, at, steps, people = row
    return Undo(
        action=_text(action),
        at=_moment(at),
        steps=[_kind(step, dict) for step in _json(steps, list)],
        people=to_ids(people),
        id=_integer(number),
    )


def to_ids(people: object) -> tuple[str, ...]:
    return tuple(_text(person) for person in _json(people, list))


def to_count(value: object) -> int:
    """A number of a row, or how often something has happened: what can still be counted up."""
    if not 0 <= _integer(value) < _MOST_COUNTED:
        raise ValueError(f"{shown(value)} stands where a count should")
    return _integer(value)


def to_link(row: Row) -> tuple[int, str]:
    """Of a face and a person."""
    face, person = row
    return _integer(face), _text(person)


def stamp(at: datetime) -> str:
    """A time as text, always of the same length, in UTC."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def stamp_or_none(at: datetime | None) -> str | None:
    return None if at is None else stamp(at)


def to_json(value: object) -> str:
    return _JSON.encode(value)


def utf8(text: str | None) -> str | None:
    """Text that a database takes: what UTF-8 cannot hold (undecodable bytes of a path) is escaped."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def shown(value: object) -> str:
    """A value of unknown length for a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _kind(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"{shown(value)} stands where {kind.__name__} should")
    return value


def _text(value: object) -> str:
    return _kind(value, str)


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _integer(value: object) -> int:
    return _kind(value, int)


def _real(value: object) -> float:
    wrong = ValueError(f"{shown(value)} stands where a number should")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong
    try:
        number = float(value)
    except OverflowError:
        raise wrong from None
    if not math.isfinite(number):
        raise wrong
    return number


def _moment(value: object) -> datetime:
    try:
        at = datetime.fromisoformat(_text(value))
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(value)} is no time") from None
    raise ValueError(f"{shown(value)} has no time zone")


def _moment_or_none(value: object) -> datetime | None:
    return None if value is None else _moment(value)


def _json(value: object, kind: type[T]) -> T:
    try:
        return _kind(json.loads(_text(value)), kind)
    except (ValueError, RecursionError):
        raise ValueError(f"{shown(value)} is not the JSON that should stand there") from None


def _numbers(values: object, n: int) -> tuple[float, ...]:
    numbers = tuple(_real(value) for value in _kind(values, list))
    if len(numbers) != n:
        raise ValueError(f"{len(numbers)} numbers stand where {n} should")
    return numbers


def _box(value: object) -> tuple[float, float, float, float] | None:
    if value is None:
        return None
    x1, y1, x2, y2 = _numbers(_json(value, list), 4)
    return x1, y1, x2, y2


def _landmarks(value: object) -> tuple[tuple[float, float], ...] | None:
    if value is None:
        return None
    points = [_numbers(point, 2) for point in _json(value, list)]
    return tuple((x, y) for x, y in points)
