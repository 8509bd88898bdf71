"""People of the gallery: enrolled, looked up, corrected, removed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from mien.analyzer import no_face_message
from mien.errors import ImageError, NoFaceError
from mien.gallery.enrolling import Told, enrol, face_to_enrol
from mien.gallery.enrolment import Terms
from mien.gallery.gallery import Gallery
from mien.gallery.privacy import expiry_of
from mien.gallery.records import NewFace, Person
from mien.server.access import Caller
from mien.server.context import Context, context_of
from mien.server.leaving import while_connected
from mien.server.people import (
    HIGHEST,
    Body,
    Consent,
    EnrolBody,
    Expiry,
    Named,
    Someone,
    TermsBody,
    Who,
    body_of_form,
    with_gallery,
)
from mien.server.problems import Problem, problem_of
from mien.server.room_schemas import EnrolmentAnswer, OnePersonAnswer, PeopleAnswer, PersonFacesAnswer
from mien.server.routes.gallery import REFUSALS, Limit, Read, Write, next_of
from mien.server.schemas import BINARY, body_of, refusals
from mien.server.uploads import Upload, read_form
from mien.server.visits import visit_of
from mien.types import SCHEMA

router = APIRouter(prefix="/v1/gallery/people", tags=["people"])
_PAGE = 1000
_TEXT = {"type": "string"}
_TERMS = {"consent": {**_TEXT, "maxLength": 2000}, "expires": {**_TEXT, "maxLength": 40, "example": "30d"}}
_IMAGES = {"type": "array", "items": BINARY, "minItems": 1}
_LARGEST = Annotated[bool, Query(description="Of a picture with several faces take the largest.")]


def _form(**fields: Any) -> dict[str, Any]:
    required = [name for name in fields if name not in _TERMS]
    form = {"type": "object", "properties": {**fields, **_TERMS}, "required": required, "additionalProperties": False}
    return body_of({"multipart/form-data": {"schema": form}})


class ChangeBody(Body):
    """What is to be changed of a person; null takes away."""

    name: Named = ""
    consent: Consent | None = Field(default=None, description="null: it was withdrawn.")
    expires: Expiry | None = Field(default=None, description="null: never.")


class MergeBody(Body):
    """Whom to make one with."""

    into: Someone = Field(description="Id or name of the person who stays.")


class SplitBody(Body):
    """Which faces show somebody else."""

    faces: list[Annotated[int, Field(ge=1, le=HIGHEST)]] = Field(min_length=1, max_length=1000)
    name: Named | None = Field(default=None, description="What to call them; a group without a name if not.")


class ForbidBody(Body):
    """Which face does not show this person."""

    face: int = Field(ge=1, le=HIGHEST)


@router.get("", response_model=PeopleAnswer, responses=REFUSALS, summary="Everybody")
async def people(
    request: Request,
    caller: Read,
    after: Annotated[
        str | None, Query(pattern="^[0-9a-f]{32}$", description="From behind the person of this id on.")
    ] = None,
    limit: Limit = 100,
    name: Annotated[str, Query(max_length=200, description="Only those whose name has this in it.")] = "",
) -> JSONResponse:
    """People in order of creation."""
    found = await with_gallery(request, caller, lambda gallery: _listed(gallery, after, limit + 1, name))
    rows = [person.to_dict() for person in found]
    return JSONResponse({"schema": SCHEMA, "people": rows[:limit], **next_of(rows, limit)})


@router.post(
    "",
    status_code=201,
    response_model=EnrolmentAnswer,
    responses=refusals(404, 409, 413),
    openapi_extra=_form(name={**_TEXT, "minLength": 1, "maxLength": 200}, image=_IMAGES),
    summary="Enrol somebody",
)
async def add(request: Request, caller: Write, largest: _LARGEST = False) -> JSONResponse:
    """Add the faces of a person, who is made where nobody has that name. Each picture shows this person only."""
    context = context_of(request)
    context.known()
    form = await read_form(request, context.settings.limits)
    body = body_of_form(EnrolBody, form.texts)
    return await _enrolled(request, caller, body.name, body.terms(), form.files("image"), largest=largest)


@router.get("/{who}", response_model=PersonFacesAnswer, responses=REFUSALS, summary="A person")
async def show(request: Request, caller: Read, who: Who) -> JSONResponse:
    """A person with their faces."""

    def work(gallery: Gallery) -> dict[str, Any]:
        person = gallery.person(who)
        faces = [face.to_dict() for face in gallery.faces(person.id)]
        forbidden = [face for face, other in gallery.forbidden() if other == person.id]
        return {"schema": SCHEMA, "person": person.to_dict(), "faces": faces, "not_this_person": forbidden}

    return JSONResponse(await with_gallery(request, caller, work))


@router.patch("/{who}", response_model=OnePersonAnswer, responses=REFUSALS, summary="Change a person")
async def change(request: Request, caller: Write, who: Who, body: ChangeBody) -> JSONResponse:
    """Rename a person, note their consent or that it was withdrawn, or set when they are removed."""

    def work(gallery: Gallery) -> Person:
        person = gallery.person(who)
        if body.name:  # first: what is most likely to be refused
            gallery.rename(person.id, body.name)
        if "consent" in body.model_fields_set:
            gallery.consent(person.id, body.consent)
        if "expires" in body.model_fields_set:
            gallery.expire(person.id, None if body.expires is None else expiry_of(body.expires))
        return gallery.person(person.id)

    return _person(await with_gallery(request, caller, work))


@router.delete("/{who}", status_code=204, responses=REFUSALS, summary="Remove a person")
async def remove(request: Request, caller: Write, who: Who) -> Response:
    """Remove a person with all their faces for good: from the gallery's file too."""
    await with_gallery(request, caller, lambda gallery: gallery.remove(who))
    return Response(status_code=204)


@router.post(
    "/{who}/faces",
    status_code=201,
    response_model=EnrolmentAnswer,
    responses=refusals(404, 409, 413),
    openapi_extra=_form(image=_IMAGES),
    summary="Enrol more faces",
)
async def add_faces(request: Request, caller: Write, who: Who, largest: _LARGEST = False) -> JSONResponse:
    """Add faces to somebody who is in the gallery."""
    person = await with_gallery(request, caller, lambda gallery: gallery.person(who))
    if person.name is None:
        raise Problem(409, "unnamed", "this group has no name yet; give it one first")
    form = await read_form(request, context_of(request).settings.limits)
    terms = body_of_form(TermsBody, form.texts).terms()
    return await _enrolled(request, caller, person.name, terms, form.files("image"), largest=largest)


@router.post("/{who}/merge", response_model=OnePersonAnswer, responses=REFUSALS, summary="Make two people one")
async def merge(request: Request, caller: Write, who: Who, body: MergeBody) -> JSONResponse:
    """Make this person part of another, who stays."""
    return _person(await with_gallery(request, caller, lambda gallery: gallery.merge(who, body.into)))


@router.post("/{who}/split", response_model=OnePersonAnswer, responses=REFUSALS, summary="Make one person two")
async def split(request: Request, caller: Write, who: Who, body: SplitBody) -> JSONResponse:
    """Make faces of a person another person."""
    return _person(await with_gallery(request, caller, lambda gallery: gallery.split(who, body.faces, body.name)))


@router.post("/{who}/forbid", status_code=204, responses=REFUSALS, summary="Not this person")
async def forbid(request: Request, caller: Write, who: Who, body: ForbidBody) -> Response:
    """Say that a face does not show a person: it leaves them, and faces like it are not answered with their name."""
    await with_gallery(request, caller, lambda gallery: gallery.forbid(body.face, who))
    return Response(status_code=204)


def _person(person: Person) -> JSONResponse:
    return JSONResponse({"schema": SCHEMA, "person": person.to_dict()})


def _listed(gallery: Gallery, after: str | None, most: int, part: str) -> list[Person]:
    """A page of people, of those whose name has a part in it, however it is written."""
    if not part:
        return gallery.people(after=after, limit=most)
    wanted, found = part.casefold(), list[Person]()
    while len(found) < most and (page := gallery.people(after=after, limit=_PAGE)):
        found += [person for person in page if person.name and wanted in person.name.casefold()]
        after = page[-1].id
    return found[:most]


async def _enrolled(
    request: Request, caller: Caller, name: str, terms: Terms, pictures: Sequence[Upload], *, largest: bool
) -> JSONResponse:
    """Analyse pictures, and enrol the face of each; those that cannot be used are told."""
    if not pictures:
        raise Problem(422, "empty", "no picture; send one as a file called image")
    context = context_of(request)
    looked = [_face(context, picture, largest=largest) for picture in pictures]
    results = await while_connected(request, asyncio.gather(*looked))
    faces = [one for one in results if isinstance(one, NewFace)]
    failed = [(pictures[i].name, one) for i, one in enumerate(results) if isinstance(one, Problem)]
    if not faces:
        raise failed[0][1]

    def work(gallery: Gallery) -> Told:
        gallery.check(context.engine.analyzer.embedder)
        return enrol(gallery, context.engine.analyzer, name, faces, terms)

    told = await with_gallery(request, caller, work)
    visit_of(request.scope).subject = told.enrolment.person.id
    for skipped, line in told.foreign:
        problem = Problem(409, "known", f"{line}; if that is wrong, move that face")
        failed.append((faces[skipped.position].source or "", problem))
    refused = [{"path": path, "error": problem.to_dict()} for path, problem in failed]
    return JSONResponse({"schema": SCHEMA, **told.to_dict(), "failed": refused}, 201)


async def _face(context: Context, picture: Upload, *, largest: bool) -> NewFace | Problem:
    """The face of a picture, or why it is none to enrol.

    Raises:
        Problem: the server has too much to do.
    """
    keeps = context.known().info.keeps_crops
    try:
        found = await context.engine.analyze(
            picture.data, name=picture.name, only=("detect", "embed"), keep_image=keeps
        )
        if not len(found.faces):
            raise NoFaceError(no_face_message(picture.name))
        how = "largest=true takes the largest"
        face = face_to_enrol(picture.name, found.faces, found.image, largest=largest, how=how)
    except (ImageError, NoFaceError) as error:
        return problem_of(error)
    return replace(face, source_sha256=hashlib.sha256(picture.data).hexdigest())
