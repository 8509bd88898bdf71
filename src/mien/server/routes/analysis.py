"""Pictures: what their faces show, whether two show one person, and who they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from mien.analyzer import TASKS, Task, no_face_message, to_dict
from mien.errors import MienError, ModelError, NoFaceError
from mien.gallery.answers import identified
from mien.gallery.decision import FPIR
from mien.server.access import Caller, allow, require
from mien.server.context import Context, context_of
from mien.server.leaving import while_connected
from mien.server.people import check_measured, with_gallery
from mien.server.problems import Problem, problem_of
from mien.server.schemas import (
    BINARY,
    PictureAnswer,
    PicturesAnswer,
    VerificationAnswer,
    body_of,
    pictures_body,
    refusals,
)
from mien.server.uploads import Upload, read_pictures
from mien.types import SCHEMA, Faces

router = APIRouter(prefix="/v1", tags=["pictures"])
Answer = dict[str, Any]
_DEFAULT = "detect,pose,expression,quality"
_EMBED: tuple[Task, ...] = ("detect", "embed")
_FMR = 1e-3
_TWO = {"type": "object", "properties": {"a": BINARY, "b": BINARY}, "required": ["a", "b"]}
Only = Annotated[
    str,
    Query(
        max_length=200,
        description=f"What to say of faces, with commas between: {', '.join(TASKS)}.",
        examples=["expression,quality", "detect,age,gender"],
    ),
]


@router.post(
    "/analyze",
    response_model=PictureAnswer | PicturesAnswer,
    responses=refusals(413),
    openapi_extra=pictures_body(),
)
async def analyze(
    request: Request,
    caller: Annotated[Caller, Depends(require("analyze"))],
    only: Only = _DEFAULT,
    embeddings: Annotated[bool, Query(description="Whether faces come with their embeddings; asks for them.")] = False,
) -> JSONResponse:
    """Find the faces of a picture, or of several, and say what each shows."""
    context = context_of(request)
    tasks = tasks_of(only + ",embed" if embeddings else only)

    async def answer(picture: Upload) -> Answer:
        faces = (await context.engine.analyze(picture.data, name=picture.name, only=tasks)).faces
        return to_dict(picture.name, faces, embeddings=embeddings)

    return await _answered(request, context, answer)


@router.post(
    "/verify",
    response_model=VerificationAnswer,
    responses=refusals(413),
    openapi_extra=body_of({"multipart/form-data": {"schema": _TWO}}),
)
async def verify(
    request: Request,
    caller: Annotated[Caller, Depends(require("analyze"))],
    fmr: Annotated[float, Query(gt=0, lt=1, description="False match rate: 0.01, 0.001 or 0.0001.")] = _FMR,
) -> JSONResponse:
    """Decide whether the largest faces of two pictures show one person."""
    context = context_of(request)
    try:
        context.engine.analyzer.embedder.threshold(fmr)
    except ModelError as error:  # a rate that is not there: said before any work
        raise Problem(422, "invalid", f"fmr: {error}") from error
    context.engine.check_room()
    pictures = await read_pictures(request, context.settings.limits, "a", "b")
    if [picture.field for picture in pictures] != ["a", "b"]:
        raise Problem(422, "invalid", "two pictures are compared; send them as a and b")
    found = [context.engine.analyze(picture.data, name=picture.name, only=_EMBED) for picture in pictures]
    answers = await while_connected(request, asyncio.gather(*found))
    faces = [_largest(picture, answer.faces) for picture, answer in zip(pictures, answers, strict=True)]
    decision = context.engine.analyzer.compare(*(_embedding(face) for face in faces), fmr=fmr)
    sides = {
        picture.field: {"path": picture.name, "box": face.to_dicts(embeddings=False)[0]["box"]}
        for picture, face in zip(pictures, faces, strict=True)
    }
    return JSONResponse({"schema": SCHEMA, **decision.to_dict(), **sides})


@router.post(
    "/identify",
    response_model=PictureAnswer | PicturesAnswer,
    responses=refusals(404, 413),
    openapi_extra=pictures_body(),
)
async def identify(
    request: Request,
    caller: Annotated[Caller, Depends(require("gallery:read"))],
    *,
    fpir: Annotated[float, Query(gt=0, lt=1, description="The share of strangers who may be given a name.")] = FPIR,
    threshold: Annotated[
        float | None, Query(ge=-1, le=1, description="Similarity to reach, instead of `fpir`.")
    ] = None,
    candidates: Annotated[int, Query(ge=0, le=100, description="Also list so many people most like each face.")] = 0,
    only: Only = "detect",
) -> JSONResponse:
    """Say who is on a picture, or on several: people of the gallery, or unknown; and what they show, if that is asked.

    What `only` asks for beside `detect` and `embed` needs the scope analyze, too.
    """
    context = context_of(request)
    tasks = tasks_of(f"{only},embed")
    gallery = context.known()
    if threshold is None:
        check_measured(gallery)
    if set(tasks) - set(_EMBED):
        allow(caller, "analyze")

    async def answer(picture: Upload) -> Answer:
        faces = (await context.engine.analyze(picture.data, name=picture.name, only=tasks)).faces
        out = to_dict(picture.name, faces)
        if (probes := faces.embeddings) is not None and len(faces):
            how: dict[str, Any] = {"k": max(candidates, 5), "fpir": fpir, "threshold": threshold}
            found = await with_gallery(request, caller, lambda gallery: gallery.identify(probes, **how))
            out["faces"] = identified(faces, found, candidates)
        return out

    return await _answered(request, context, answer)


def tasks_of(only: str) -> tuple[Task, ...]:
    """Tasks by their names; faces are looked for in any case.

    Raises:
        Problem: there is no such task.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in TASKS]:
        raise Problem(422, "invalid", f"only: {unknown[0][:40]!r} is none of {', '.join(TASKS)}")
    return tuple(task for task in TASKS if task in names or task == "detect")


async def _answered(request: Request, context: Context, answer: Callable[[Upload], Awaitable[Answer]]) -> JSONResponse:
    """The answer for a request's picture, or those for all of its pictures."""
    context.engine.check_room()
    pictures = await read_pictures(request, context.settings.limits, "image")
    if len(pictures) == 1:
        return JSONResponse(await while_connected(request, answer(pictures[0])))
    results = await while_connected(request, _each(pictures, answer))
    return JSONResponse({"schema": SCHEMA, "results": results})


async def _each(pictures: Sequence[Upload], answer: Callable[[Upload], Awaitable[Answer]]) -> list[Answer]:
    """Of each picture its answer, or what is wrong with it: one bad picture does not spoil the others."""

    async def one(picture: Upload) -> Answer:
        try:
            return await answer(picture)
        except MienError as error:
            problem = problem_of(error)
            if problem.status >= 500:
                raise
            return {"image": {"path": picture.name}, "error": problem.to_dict()}

    return list(await asyncio.gather(*(one(picture) for picture in pictures)))


def _largest(picture: Upload, faces: Faces) -> Faces:
    if not len(faces):
        raise NoFaceError(no_face_message(picture.name))
    return faces.largest()


def _embedding(face: Faces) -> Any:
    assert face.embeddings is not None  # noqa: S101 - the engine was asked to embed
    return face.embeddings[0]
