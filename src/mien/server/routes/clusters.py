"""Pictures of unknown people, grouped by whom they show; a job, see `jobs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from mien.server.bodies import too_large
from mien.server.context import context_of
from mien.server.job_clusters import ARCHIVE, MOST, Clustering, open_archive
from mien.server.problems import Problem
from mien.server.room_schemas import OneJobAnswer
from mien.server.routes.jobs import Asker, begun, told
from mien.server.schemas import BINARY, body_of, refusals
from mien.server.settings import Limits
from mien.server.spool import Spool
from mien.server.uploads import Write, save_files

router = APIRouter(prefix="/v1/clusters", tags=["jobs"])
_BODY = body_of(
    {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "image": {"type": "array", "items": BINARY, "minItems": 1, "maxItems": MOST},
                    "archive": {**BINARY, "description": "A zip file of pictures."},
                },
                "oneOf": [{"required": ["image"]}, {"required": ["archive"]}],
                "additionalProperties": False,
            }
        }
    }
)


class _Sorted:
    """Puts the files of a form into a job's folder while they arrive: pictures 0, 1, ..., or one archive."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.names: list[str] = []
        self.archive = False
        self._folder, self._limits = folder, limits

    def __call__(self, field: str, name: str, spool: Spool) -> Write:
        if field == "archive" and not (self.archive or self.names):
            self.archive = True
            return _writing(spool, self._folder / ARCHIVE, self._limits.video_bytes)
        if field != "image" or self.archive:
            raise Problem(422, "invalid", "pictures as files called image, or one zip file called archive, please")
        if len(self.names) == MOST:
            raise Problem(413, "too-many", f"more than {MOST} pictures in one job")
        self.names.append(name)
        return _writing(spool, self._folder / str(len(self.names) - 1), self._limits.picture_bytes)


def _writing(spool: Spool, path: Path, most: int) -> Write:
    size = 0

    def write(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size > most:
            raise too_large(most, "a file")
        spool.add(path, data)

    return write


@router.post(
    "",
    status_code=202,
    response_model=OneJobAnswer,
    responses=refusals(409, 413, 415),
    openapi_extra=_BODY,
    summary="Group pictures by person",
)
async def clusters(
    request: Request,
    caller: Asker,
    min_size: Annotated[int, Query(ge=1, le=MOST, description="Faces that a group has at least.")] = 2,
    threshold: Annotated[
        float | None, Query(gt=-1, lt=1, description="Similarity from which on groups are merged.")
    ] = None,
) -> JSONResponse:
    """Group the faces of pictures, or of a zip file of them, by whom they show; crops of them are kept for a while."""
    context = context_of(request)
    limits = context.settings.limits
    async with begun(request, caller, "cluster", "pictures") as job:
        sorted_ = _Sorted(job.folder, limits)
        await save_files(request, sorted_)
        if sorted_.archive:
            await context.engine.run(open_archive, job.folder / ARCHIVE, limits)
        elif not sorted_.names:
            raise Problem(422, "empty", "no pictures; send them as files called image, or a zip file called archive")
        context.jobs.queue(job, Clustering(context.engine.analyzer, limits, sorted_.names, min_size, threshold))
    return told(job, 202)
