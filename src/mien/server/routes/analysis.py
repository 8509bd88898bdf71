"""Pictures: what their faces show, whether two show one person, and who they are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from mien.analyzer import TASKS, Task, to_dict
from mien.server.access import Caller, require
from mien.server.context import context_of
from mien.server.problems import Problem
from mien.server.uploads import read_pictures

router = APIRouter(prefix="/v1", tags=["pictures"])
_DEFAULT = "detect,pose,expression,quality"


@router.post("/analyze")
async def analyze(
    request: Request,
    caller: Annotated[Caller, Depends(require("analyze"))],
    only: Annotated[str, Query(description="What to say of faces, with commas between.")] = _DEFAULT,
    embeddings: Annotated[bool, Query(description="Whether the answer has the embeddings.")] = False,
) -> dict[str, Any]:
    """Find the faces of a picture and say what each shows."""
    context = context_of(request)
    tasks = tasks_of(only)
    [picture] = await read_pictures(request, context.settings.limits, "image")
    answer = await context.engine.analyze(picture.data, only=tasks)
    return to_dict(picture.name, answer.faces, embeddings=embeddings)


def tasks_of(only: str) -> tuple[Task, ...]:
    """Tasks by their names.

    Raises:
        Problem: there is no such task.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in TASKS]:
        raise Problem(422, "invalid", f"only: {unknown[0][:40]!r} is none of {', '.join(TASKS)}")
    return tuple(task for task in TASKS if task in names or task == "detect")
