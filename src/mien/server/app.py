"""The application: routes, and what stands before and behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from mien.analyzer import FaceAnalyzer
from mien.gallery.gallery import Gallery
from mien.server import gates, problems
from mien.server.context import Context
from mien.server.engine import Engine
from mien.server.metrics import Measured, Metrics
from mien.server.places import Places
from mien.server.routes import analysis, live, page, service
from mien.server.settings import Settings
from mien.version import VERSION


def create_app(settings: Settings, analyzer: FaceAnalyzer | None = None, *, tls: bool = False) -> FastAPI:
    """A server, ready to be run by uvicorn, see `serving`.

    Args:
        settings: how it is set up.
        analyzer: does the work, and has to do all of `TASKS`; by default one with the networks that come with mien.
        tls: whether it speaks HTTPS itself.

    Raises:
        GalleryError: its gallery cannot be opened; likewise everything that is wrong from the start.
        ServerError: keys are needed, and there is none, or they cannot be read.
    """
    gallery = None if settings.gallery is None else Gallery.open(settings.gallery, key=settings.gallery_key)
    metrics = Metrics()
    context = Context(settings, Engine(settings, analyzer, metrics), gallery, metrics, Places(settings.limits.sessions))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await context.engine.run(context.engine.start)
        yield
        context.engine.close()
        if gallery is not None:
            gallery.close()

    app = FastAPI(
        title="mien",
        version=VERSION,
        summary="Faces: who they are, and what they show.",
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they would fetch scripts from elsewhere
        redoc_url=None,
    )
    app.state.context = context
    problems.install(app)
    gates.install(app, settings, tls=tls)
    app.add_middleware(Measured, metrics=metrics)  # outermost: what is refused counts, too
    for subject in (service, analysis, live):
        app.include_router(subject.router)
    if settings.page:
        app.include_router(page.router)
    return app
