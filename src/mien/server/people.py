"""What routes share that work on the gallery: who does it, what is refused, and how terms are said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from mien.errors import GalleryBusyError, GalleryError, ModelError, NotInGalleryError
from mien.gallery.enrolment import Terms
from mien.gallery.gallery import Gallery, acting_as
from mien.gallery.names import MAX_NAME, clean_name
from mien.gallery.privacy import MAX_CONSENT, clean_consent, expiry_of
from mien.server.access import Caller
from mien.server.context import context_of
from mien.server.problems import Problem

log = logging.getLogger("mien.server")
_T = TypeVar("_T")
_Terms = TypeVar("_Terms", bound="TermsBody")
HIGHEST = 2**63 - 1
"""Of a face's number: databases take no larger ones."""


def _name(text: str) -> str:
    try:
        return clean_name(text)
    except GalleryError as error:
        raise ValueError(str(error)) from error


def _consent(text: str) -> str:
    try:
        return clean_consent(text)
    except GalleryError as error:
        raise ValueError(str(error)) from error


def _expiry(text: str) -> str:
    expiry_of(text)
    return text


Who = Annotated[str, Path(min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00]+$", description="Id or name.")]
FaceNumber = Annotated[int, Path(ge=1, le=HIGHEST, description="Number of a face.")]
Named = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_NAME),
    AfterValidator(_name),
    Field(description="Characters that can be seen.", examples=["Ada Lovelace"]),
]
Someone = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
"""A person, by id or name."""
Consent = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_CONSENT),
    AfterValidator(_consent),
    Field(description="What the person agreed to, in your words.", examples=["signed form of 2026-11-21"]),
]
Expiry = Annotated[
    str,
    StringConstraints(min_length=2, max_length=40),
    AfterValidator(_expiry),
    Field(description="A date (UTC), so many days from now, or never.", examples=["2030-12-31", "30d", "never"]),
]


class Body(BaseModel):
    """A body of JSON: nothing in it that is not understood, and no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TermsBody(Body):
    """On what terms somebody is enrolled."""

    consent: Consent | None = None
    expires: Expiry | None = None

    def terms(self) -> Terms:
        """For the gallery."""
        return Terms(self.consent, None if self.expires is None else expiry_of(self.expires))


class EnrolBody(TermsBody):
    """Who is enrolled."""

    name: Named


def body_of_form(kind: type[_Terms], fields: dict[str, str]) -> _Terms:
    """The texts of a form, read as strictly as JSON.

    Raises:
        RequestValidationError: they say something else.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def actor_of(caller: Caller) -> str:
    """Who does something, for the gallery's audit trail."""
    return f"server: {caller.name}"


async def with_gallery(request: Request, caller: Caller, work: Callable[[Gallery], _T]) -> _T:
    """Do something with the gallery, as this caller, in a thread.

    Raises:
        Problem: no gallery is served, or it refuses.
    """
    context = context_of(request)
    gallery = context.known()

    def done() -> _T:
        with acting_as(actor_of(caller)):
            try:
                return work(gallery)
            except GalleryError as error:
                raise refusal(gallery, error) from error

    return await context.engine.run(done)


def check_measured(gallery: Gallery) -> None:
    """Refuse before any work what nothing could decide: who somebody is, where similarities mean nothing yet.

    Raises:
        Problem: nobody has measured the gallery's embedder.
    """
    if not measured(gallery):
        detail = f"threshold: nobody has measured {gallery.info.embedder}, so name the similarity to reach"
        raise Problem(422, "invalid", f"{detail}; live frames and videos cannot be identified")


def measured(gallery: Gallery) -> bool:
    """Whether people can be identified without naming a threshold."""
    try:
        gallery.rule()
    except ModelError:
        return False
    return True


def refusal(gallery: Gallery, error: GalleryError) -> Problem:
    """What a gallery's refusal is for the caller: without the place where it is kept."""
    text = str(error)
    if isinstance(error, NotInGalleryError):
        return Problem(404, "not-found", "nobody of that name or id, or no such face, in the gallery")
    if isinstance(error, GalleryBusyError):
        told = text.replace(gallery.url, "the gallery")
        return Problem(503, "gallery-busy", told, {"Retry-After": "5"})
    if gallery.url in text:
        log.error("the gallery cannot be used: %s", text)
        return Problem(503, "gallery-unusable", "the gallery cannot be used; the server's log says why")
    return Problem(409, "gallery", text)
