"""The gallery: what it is, its faces, and how it is kept in order."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from mien.server.access import Caller, require
from mien.server.people import HIGHEST, Body, FaceNumber, Someone, Who, measured, with_gallery
from mien.server.problems import Problem
from mien.server.room_schemas import (
    EventsAnswer,
    ExportAnswer,
    FacesAnswer,
    GalleryAnswer,
    PurgedAnswer,
    UndoneAnswer,
)
from mien.server.schemas import BINARY, refusals
from mien.types import SCHEMA

router = APIRouter(prefix="/v1/gallery", tags=["gallery"])
Read = Annotated[Caller, Depends(require("gallery:read"))]
Write = Annotated[Caller, Depends(require("gallery:write"))]
Admin = Annotated[Caller, Depends(require("admin"))]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
After = Annotated[int, Query(ge=0, le=HIGHEST, description="From behind this one on.")]
REFUSALS = refusals(404, 409)


class MoveBody(Body):
    """Whose a face is."""

    to: Someone | None = Field(description="Id or name of a person; null: nobody's.")


@router.get("", response_model=GalleryAnswer, responses=REFUSALS, summary="What the gallery is")
async def info(request: Request, caller: Read) -> JSONResponse:
    """What the gallery is, and how many people and faces it has."""

    def work(gallery: Any) -> dict[str, Any]:
        people, faces = gallery.count()
        facts = gallery.info.to_dict()
        counts = {"people": people, "faces": faces, "unassigned": len(gallery.unassigned())}
        return {"gallery": facts, "measured": measured(gallery), **counts}

    return JSONResponse({"schema": SCHEMA, **await with_gallery(request, caller, work)})


@router.get("/unassigned", response_model=FacesAnswer, responses=REFUSALS, summary="Faces of nobody")
async def unassigned(request: Request, caller: Read, after: After = 0, limit: Limit = 100) -> JSONResponse:
    """Faces that belong to nobody, in order of their numbers."""
    found = await with_gallery(request, caller, lambda gallery: gallery.unassigned(after=after, limit=limit + 1))
    faces = [face.to_dict() for face in found]
    return JSONResponse({"schema": SCHEMA, "faces": faces[:limit], **next_of(faces, limit)})


@router.get(
    "/faces/{number}/crop",
    response_class=Response,
    responses={
        **REFUSALS,
        200: {"description": "The kept crop.", "content": {"image/jpeg": {"schema": BINARY}, "image/png": {}}},
    },
    summary="The picture of a face",
)
async def crop(request: Request, caller: Read, number: FaceNumber) -> Response:
    """The kept crop of a face, where the gallery keeps crops."""
    data = await with_gallery(request, caller, lambda gallery: gallery.crop(number))
    if data is None:
        raise Problem(404, "not-found", "no such face, or no crop of it is kept")
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    return Response(data, media_type=kind)


@router.delete("/faces/{number}", status_code=204, responses=REFUSALS, summary="Remove a face")
async def remove_face(request: Request, caller: Write, number: FaceNumber) -> Response:
    """Remove a face for good. It cannot be undone, nor can what was done before it."""
    await with_gallery(request, caller, lambda gallery: gallery.remove_face(number))
    return Response(status_code=204)


@router.post("/faces/{number}/move", status_code=204, responses=REFUSALS, summary="Give a face to somebody")
async def move(request: Request, caller: Write, number: FaceNumber, body: MoveBody) -> Response:
    """Give a face to another person, or to nobody."""
    await with_gallery(request, caller, lambda gallery: gallery.move([number], body.to))
    return Response(status_code=204)


@router.post("/undo", response_model=UndoneAnswer, responses=REFUSALS, summary="Take back the last change")
async def undo(request: Request, caller: Admin) -> JSONResponse:
    """Take back the last change of anybody; again for the one before. What was removed stays removed."""
    undone = await with_gallery(request, caller, lambda gallery: gallery.undo())
    return JSONResponse({"schema": SCHEMA, "undone": undone})


@router.post("/purge", response_model=PurgedAnswer, responses=REFUSALS, summary="Remove who has expired")
async def purge(request: Request, caller: Admin) -> JSONResponse:
    """Remove for good whoever has expired, and what earlier removals left in the file."""
    gone = await with_gallery(request, caller, lambda gallery: gallery.purge())
    removed = [{"person": one.name, "id": one.id, "faces": one.faces} for one in gone]
    return JSONResponse({"schema": SCHEMA, "removed": removed})


@router.get("/audit", response_model=EventsAnswer, responses=REFUSALS, summary="The audit trail")
async def audit(request: Request, caller: Admin, after: After = 0, limit: Limit = 100) -> JSONResponse:
    """Who was enrolled, searched, changed and removed, by whom and when; people by id only."""
    found = await with_gallery(request, caller, lambda gallery: gallery.audit(after=after, limit=limit + 1))
    events = [event.to_dict() for event in found]
    return JSONResponse({"schema": SCHEMA, "events": events[:limit], **next_of(events, limit)})


@router.get("/people/{who}/export", response_model=ExportAnswer, responses=REFUSALS, summary="All about a person")
async def export(request: Request, caller: Admin, who: Who) -> JSONResponse:
    """All that is known about a person, but embeddings and crops: what `mien gallery export` writes as person.json."""
    return JSONResponse(await with_gallery(request, caller, lambda gallery: gallery.export(who)))


def next_of(rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Where the next page begins, of rows of which one more than asked for was looked up."""
    return {"next": rows[limit - 1]["id"]} if len(rows) > limit else {}
