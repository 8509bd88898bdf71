"""Videos: who is in them when, and what they show; a job, see `jobs`."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from mien.server.access import allow
from mien.server.context import context_of
from mien.server.job_videos import UPLOAD, Filming
from mien.server.people import actor_of, check_measured
from mien.server.problems import Problem
from mien.server.room_schemas import OneJobAnswer
from mien.server.routes.jobs import Asker, begun, told
from mien.server.schemas import BINARY, body_of, refusals
from mien.server.uploads import clean_name, save_body

router = APIRouter(prefix="/v1/videos", tags=["jobs"])
_NO_VIDEO = re.compile(r"\s*(text/|application/(json|[^;]*\+json)\b)", re.IGNORECASE)
_FORM = {"type": "object", "properties": {"video": BINARY}, "required": ["video"], "additionalProperties": False}
_RAW = {kind: {"schema": BINARY} for kind in ("video/mp4", "video/webm", "application/octet-stream")}


@router.post(
    "",
    status_code=202,
    response_model=OneJobAnswer,
    responses=refusals(404, 409, 413),
    openapi_extra=body_of({**_RAW, "multipart/form-data": {"schema": _FORM}}),
    summary="Analyse a video",
)
async def videos(
    request: Request,
    caller: Asker,
    name: Annotated[str, Query(max_length=120, description="What to call the video.")] = "",
    identify: Annotated[bool, Query(description="Name people from the gallery; needs gallery:read.")] = False,
    every: Annotated[
        str, Query(pattern="^(auto|[1-9][0-9]{0,3})$", description="Search for faces in every n-th picture.")
    ] = "auto",
) -> JSONResponse:
    """Say who is in a video, when, and what they show. The video is removed as soon as it has been looked at."""
    context = context_of(request)
    limits = context.settings.limits
    if _NO_VIDEO.match(request.headers.get("content-type", "")):
        raise Problem(415, "not-a-video", "send a video as the body, or as a file called video in a form")
    if identify:
        allow(caller, "gallery:read")
        context.known().check(context.engine.analyzer.embedder)
        check_measured(context.known())
    async with begun(request, caller, "video", "seconds") as job:
        sent = await save_body(request, job.folder / UPLOAD, limits.video_bytes, "video")
        work = Filming(
            context.engine.analyzer,
            limits,
            clean_name(name) or sent,
            context.known() if identify else None,
            actor_of(caller),
            "auto" if every == "auto" else int(every),
        )
        context.jobs.queue(job, work)
    return told(job, 202)
