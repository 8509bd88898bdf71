"""The server itself: whether it runs, what it is, and its figures."""

from __future__ import annotations

import logging
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from mien.analyzer import DEFAULT_TASKS, TASKS
from mien.errors import GalleryError
from mien.models import registry
from mien.models.card import summary
from mien.models.store import WeightsStore
from mien.server.access import Caller, known, require
from mien.server.context import context_of
from mien.server.problems import Problem
from mien.server.schemas import InfoAnswer, ModelsAnswer, StatusAnswer, refusals
from mien.types import SCHEMA
from mien.version import VERSION

log = logging.getLogger("mien.server")
router = APIRouter(tags=["service"])


@router.get("/healthz", response_model=StatusAnswer)
async def health() -> dict[str, str]:
    """Whether the process answers at all."""
    return {"status": "ok"}


@router.get("/readyz", response_model=StatusAnswer, responses={503: refusals()[503]})
async def ready(request: Request) -> dict[str, str]:
    """Whether networks are loaded, and the gallery can be read."""
    context = context_of(request)
    if not context.engine.ready:
        raise Problem(503, "not-ready", "networks are being loaded, or the server is stopping")
    if context.gallery is not None:
        try:
            await context.engine.run(context.gallery.count)
        except GalleryError as error:
            log.error("not ready: %s", error)
            raise Problem(503, "not-ready", "the gallery cannot be read; the server's log says why") from error
    return {"status": "ready"}


@router.get("/metrics", response_class=Response, responses=refusals())
async def metrics(request: Request, caller: Annotated[Caller, Depends(require("admin"))]) -> Response:
    """Figures, for Prometheus."""
    return Response(context_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/info", response_model=InfoAnswer, responses=refusals())
async def info(request: Request, caller: Annotated[Caller, Depends(known)]) -> dict[str, Any]:
    """What this server offers, and what the caller may do."""
    context = context_of(request)
    limits = context.settings.limits
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "tasks": list(TASKS),
        "default_tasks": list(DEFAULT_TASKS),
        "gallery": context.gallery is not None,
        "keys": context.settings.needs_keys,
        "scopes": sorted(caller.scopes),
        "models": context.engine.analyzer.names,
        "limits": {
            name: getattr(limits, name) for name in ("picture_bytes", "picture_pixels", "pictures", "video_bytes")
        },
    }


@router.get("/v1/models", response_model=ModelsAnswer, responses=refusals())
async def models(request: Request, caller: Annotated[Caller, Depends(require("analyze"))]) -> dict[str, Any]:
    """The models: what they do, where they come from, their licences and their limits."""
    return {"schema": SCHEMA, "models": _models()}


@cache
def _models() -> list[dict[str, Any]]:
    store = WeightsStore()
    return [
        summary(record, default=name in registry.DEFAULTS, cached=store.is_cached(record.weights))
        | {"origin": record.origin, "training_data": record.training_data, "limits": record.limits}
        | {"metrics": dict(record.metrics)}
        for name, record in registry.records().items()
    ]
