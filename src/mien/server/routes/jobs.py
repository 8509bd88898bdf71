"""Jobs: how far they are, what they found, and their files. A job belongs to the key that made it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from mien.gallery.enrolling import told_dict
from mien.gallery.gallery import Gallery
from mien.gallery.grouping.naming import name_groups
from mien.server.access import Caller, require
from mien.server.context import context_of
from mien.server.job_clusters import Found
from mien.server.jobs import Job, Kind, removed_meanwhile
from mien.server.people import EnrolBody, with_gallery
from mien.server.problems import Problem
from mien.server.room_schemas import GroupNamedAnswer, JobsAnswer, OneJobAnswer
from mien.server.schemas import BINARY, refusals
from mien.server.visits import visit_of
from mien.types import SCHEMA

log = logging.getLogger("mien.server")
router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
Asker = Annotated[Caller, Depends(require("analyze"))]
JobId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{22}$", description="Id of a job.")]
_KINDS = {
    ".csv": "text/csv",
    ".jsonl": "application/jsonl",
    ".vtt": "text/vtt",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".html": "text/html",
}
REFUSALS = refusals(404)


@router.get("", response_model=JobsAnswer, responses=refusals(), summary="Your jobs")
async def jobs(request: Request, caller: Asker) -> JSONResponse:
    """The caller's jobs, oldest first, without their results."""
    mine = context_of(request).jobs.all_of(caller.id)
    return JSONResponse({"schema": SCHEMA, "jobs": [job.to_dict(result=False) for job in mine]})


@router.get("/{job}", response_model=OneJobAnswer, responses=REFUSALS, summary="A job")
async def show(request: Request, caller: Asker, job: JobId) -> JSONResponse:
    """How far a job is, and what came of it."""
    return told(context_of(request).jobs.of(caller.id, job))


@router.delete("/{job}", status_code=204, responses=REFUSALS, summary="Stop and remove a job")
async def remove(request: Request, caller: Asker, job: JobId) -> Response:
    """Stop a job, and remove all that is kept of it."""
    context = context_of(request)
    await context.engine.run(context.jobs.remove, context.jobs.of(caller.id, job))
    return Response(status_code=204)


@router.get(
    "/{job}/files/{name}",
    response_class=FileResponse,
    responses={
        **REFUSALS,
        200: {"description": "The file.", "content": {kind: {"schema": BINARY} for kind in _KINDS.values()}},
    },
    summary="A file of a job",
)
async def file(request: Request, caller: Asker, job: JobId, name: Annotated[str, Path(max_length=64)]) -> FileResponse:
    """A file that a job has written."""
    found = context_of(request).jobs.of(caller.id, job)
    if name not in found.files:  # a name from outside never becomes a path
        raise Problem(404, "not-found", "the job has no such file")
    known = found.files[found.files.index(name)]
    kind = _KINDS[known[known.rindex(".") :]]
    return FileResponse(found.folder / known, media_type=kind, filename=known)


@router.post(
    "/{job}/groups/{group}/name",
    status_code=201,
    response_model=GroupNamedAnswer,
    responses=refusals(404, 409),
    summary="Name a group",
)
async def name_group(
    request: Request,
    caller: Annotated[Caller, Depends(require("gallery:write"))],
    job: JobId,
    group: Annotated[int, Path(ge=1, le=1_000_000)],
    body: EnrolBody,
) -> JSONResponse:
    """Enrol the faces of a group that was found, under a name. Look at its crops before."""
    found = context_of(request).jobs.of(caller.id, job)
    kept = found.kept
    if not isinstance(kept, Found):
        raise Problem(404, "not-found", "the job has found no groups")
    if group not in kept.groups.members:
        raise Problem(404, "not-found", "the job has found no group of this number")

    def work(gallery: Gallery) -> dict[str, Any]:
        faces = kept.faces(group, found.folder)
        [enrolment] = name_groups(gallery, kept.groups.made_by, [(body.name, faces)], body.terms())
        return told_dict(enrolment, faces)

    return JSONResponse({"schema": SCHEMA, "group": group, **await with_gallery(request, caller, work)}, 201)


@asynccontextmanager
async def begun(
    request: Request, caller: Caller, kind: Kind, unit: Literal["pictures", "seconds"]
) -> AsyncIterator[Job]:
    """A place for a job, into whose folder something is then uploaded; given up where that fails, or what follows.

    Raises:
        Problem: there is no place (429), the server is stopping, or it cannot write files (503); the job was removed
            meanwhile (409).
    """
    context = context_of(request)
    try:
        job = await context.engine.run(context.jobs.admit, caller.id, kind, unit)
        try:
            yield job
        except BaseException as error:
            removed = job.stopped  # and its folder with it, so that nothing can be written there
            await context.engine.run(context.jobs.remove, job)
            if removed and isinstance(error, OSError):
                raise removed_meanwhile() from error
            raise
    except OSError as error:
        log.error("an upload cannot be kept: %s", error)
        raise Problem(503, "storage", "the server cannot keep uploads now; try again later") from error
    visit_of(request.scope).subject = job.id


def told(job: Job, status: int = 200) -> JSONResponse:
    """A job as an answer."""
    return JSONResponse({"schema": SCHEMA, "job": job.to_dict()}, status)
