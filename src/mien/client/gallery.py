"""`RemoteGallery`: the people that a server knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from mien.client.transport import Transport, parts
from mien.gallery.enrolment import Enrolment, Skipped
from mien.gallery.records import Face, Person
from mien.ops.image import ImageSource

_PAGE = 100


class RemoteGallery:
    """What `Gallery` does, done by a server. People are named by their name or their id.

    Args:
        transport: to the server.

    Raises:
        GalleryError: by every method: there is no such person, or the server has no gallery.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def info(self) -> dict[str, Any]:
        """What it is, and how many people and faces it has."""
        return self._transport.json("GET", "/v1/gallery")

    def people(self, *, name: str | None = None) -> Iterator[Person]:
        """All people in order of creation, a page at a time.

        Args:
            name: only those whose names contain this.
        """
        after: str | None = None
        while True:
            params = {"after": after, "limit": _PAGE, "name": name}
            answer = self._transport.json("GET", "/v1/gallery/people", params=params)
            yield from (_person(said) for said in answer["people"])
            if (after := answer.get("next")) is None:
                return

    def person(self, who: str) -> Person:
        """One person."""
        return _person(self._transport.json("GET", _path(who))["person"])

    def faces(self, who: str) -> list[Face]:
        """The faces of a person."""
        return [_face(said) for said in self._transport.json("GET", _path(who))["faces"]]

    def enrol(
        self,
        name: str,
        images: Sequence[ImageSource],
        *,
        largest: bool = False,
        consent: str | None = None,
        expires: datetime | None = None,
    ) -> Enrolment:
        """Add the faces of a person, who is made where nobody has that name.

        Args:
            name: of the person.
            images: pictures of this person, each with one face.
            largest: of a picture with several faces take the largest.
            consent: what the person agreed to, in your words.
            expires: when they are to be removed, with time zone.

        Raises:
            GalleryError, ImageError, NoFaceError: no picture can be used; see `refused` of the server's answer.
        """
        form = {"name": name, "consent": consent, "expires": None if expires is None else expires.isoformat()}
        data = {field: value for field, value in form.items() if value is not None}
        answer = self._transport.json(
            "POST", "/v1/gallery/people", params={"largest": largest}, data=data, files=parts("image", images)
        )
        skipped = tuple(
            Skipped(i, one["face"], one["person"], one["reason"]) for i, one in enumerate(answer["skipped"])
        )
        return Enrolment(_person(answer["person"]), tuple(one["face"] for one in answer["enrolled"]), skipped)

    def rename(self, who: str, name: str) -> Person:
        """Give a person another name."""
        return self._edited(who, {"name": name})

    def consent(self, who: str, text: str | None) -> Person:
        """Note what a person agreed to; None: that they withdrew it."""
        return self._edited(who, {"consent": text})

    def expire(self, who: str, when: datetime | None) -> Person:
        """Set when a person is to be removed; None: never."""
        return self._edited(who, {"expires": None if when is None else when.isoformat()})

    def _edited(self, who: str, fields: Mapping[str, Any]) -> Person:
        return _person(self._transport.json("PATCH", _path(who), json=fields)["person"])

    def merge(self, who: str, into: str) -> Person:
        """Say that two are one: the faces of the first go to the other, who stays."""
        return _person(self._transport.json("POST", _path(who, "merge"), json={"into": into})["person"])

    def split(self, who: str, faces: Sequence[int], name: str | None = None) -> Person:
        """Say that some faces are of somebody else."""
        asked = {"faces": list(faces)} | ({} if name is None else {"name": name})
        return _person(self._transport.json("POST", _path(who, "split"), json=asked)["person"])

    def forbid(self, face: int, who: str) -> None:
        """Say that a face is not of this person."""
        self._transport.json("POST", _path(who, "forbid"), json={"face": face})

    def remove_face(self, face: int) -> None:
        """Remove a face."""
        self._transport.json("DELETE", f"/v1/gallery/faces/{face}")

    def remove(self, who: str) -> None:
        """Remove a person and all that is known of them."""
        self._transport.json("DELETE", _path(who))

    def undo(self) -> str:
        """Take back the last change; what it was."""
        return str(self._transport.json("POST", "/v1/gallery/undo")["undone"])


def _path(who: str, action: str = "") -> str:
    return f"/v1/gallery/people/{quote(who, safe='')}" + (f"/{action}" if action else "")


def _times(said: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The fields, with these as times."""
    return {name: datetime.fromisoformat(value) if name in names and value else value for name, value in said.items()}


def _person(said: Mapping[str, Any]) -> Person:
    fields = _times(said, ("created", "consent_at", "expires", "withdrawn_at"))
    fields["consent_at"] = fields.get("consent_at") or fields.pop("withdrawn_at", None)
    return Person(**{name: fields[name] for name in Person.__dataclass_fields__ if name in fields})


def _face(said: Mapping[str, Any]) -> Face:
    fields = _times(said, ("created",))
    if fields.get("box"):
        fields["box"] = tuple(fields["box"])
    if fields.get("landmarks"):
        fields["landmarks"] = tuple(tuple(point) for point in fields["landmarks"])
    return Face(**{name: fields[name] for name in Face.__dataclass_fields__ if name in fields})
