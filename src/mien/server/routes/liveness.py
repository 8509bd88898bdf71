"""Attempts to unlock: a challenge is drawn, judged and closed here, so that a client cannot lie about it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from mien.errors import GalleryError
from mien.liveness.challenge import Action
from mien.server.access import Caller, require
from mien.server.attempts import Asked
from mien.server.context import context_of
from mien.server.people import Body, Someone, actor_of, refusal
from mien.server.room_schemas import AttemptAnswer, AttemptStateAnswer
from mien.server.schemas import BINARY, body_of, refusals
from mien.server.uploads import read_body
from mien.server.visits import visit_of
from mien.types import SCHEMA

router = APIRouter(prefix="/v1/liveness", tags=["liveness"])
Reader = Annotated[Caller, Depends(require("gallery:read"))]
AttemptId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{22}$", description="Id of an attempt.")]
_LOCKED: dict[int | str, dict[str, Any]] = {
    423: {**refusals()[429], "description": "Too many attempts failed; `Retry-After` says when."}
}


class BeginBody(Body):
    """Who is to be let in."""

    person: Someone = Field(description="Id or name.")
    without: list[Action] = Field(default=[], max_length=2, description="Actions that this person cannot do.")
    mirrored: bool = Field(default=False, description="Whether the camera gives mirrored pictures.")


@router.post(
    "",
    status_code=201,
    response_model=AttemptAnswer,
    responses={**refusals(404, 409), **_LOCKED},
    summary="Begin an attempt",
)
async def begin(request: Request, caller: Reader, body: BeginBody) -> JSONResponse:
    """Begin an attempt of somebody to be let in. It counts as a failure unless it succeeds; after three, one waits."""
    context = context_of(request)
    gallery = context.known()
    asked = Asked(body.person, tuple(body.without), body.mirrored)
    try:
        attempt = await context.engine.run(context.attempts.begin, caller.id, actor_of(caller), gallery, asked)
    except GalleryError as error:
        raise refusal(gallery, error) from error
    visit_of(request.scope).subject = attempt.id
    return _told(attempt.described(), 201)


@router.post(
    "/{attempt}/frames",
    response_model=AttemptStateAnswer,
    responses=refusals(404, 409, 413),
    openapi_extra=body_of({"image/jpeg": {"schema": BINARY}}),
    summary="Send a frame",
)
async def frame(
    request: Request,
    caller: Reader,
    attempt: AttemptId,
    n: Annotated[int, Query(ge=0, le=100_000, description="0, 1, 2, ...: one that comes twice ends the attempt.")],
) -> JSONResponse:
    """Send what the camera sees now, at least ten times a second; its time is when it arrives."""
    context = context_of(request)
    found = context.attempts.of(caller.id, attempt)
    picture = await read_body(request, context.settings.limits.picture_bytes)
    try:
        return _told(await context.attempts.see(found, n, picture))
    except GalleryError as error:
        raise refusal(context.known(), error) from error


@router.get("/{attempt}", response_model=AttemptAnswer, responses=refusals(404), summary="An attempt")
async def show(request: Request, caller: Reader, attempt: AttemptId) -> JSONResponse:
    """Where an attempt stands; for a minute after its end also its report."""
    return _told(context_of(request).attempts.of(caller.id, attempt).described())


@router.delete("/{attempt}", status_code=204, responses=refusals(404), summary="Cancel an attempt")
async def cancel(request: Request, caller: Reader, attempt: AttemptId) -> Response:
    """End an attempt, which then has failed unless it had succeeded."""
    attempts = context_of(request).attempts
    await attempts.cancel(attempts.of(caller.id, attempt))
    return Response(status_code=204)


def _told(session: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse({"schema": SCHEMA, "session": session}, status)
