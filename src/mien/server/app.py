"""The application: routes, and what stands before and behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from mien.analyzer import FaceAnalyzer
from mien.gallery.gallery import Gallery
from mien.gallery.records import GalleryInfo
from mien.server import gates, problems
from mien.server.attempts import Attempts
from mien.server.context import Context
from mien.server.engine import Engine
from mien.server.jobs import Jobs
from mien.server.metrics import Measured, Metrics
from mien.server.places import Places
from mien.server.routes import analysis, clusters, gallery, jobs, live, liveness, page, people, service, videos
from mien.server.settings import Settings
from mien.version import VERSION


def create_app(
    settings: Settings,
    analyzer: FaceAnalyzer | Callable[[GalleryInfo | None], FaceAnalyzer] | None = None,
    *,
    tls: bool = False,
) -> FastAPI:
    """A server, ready to be run by uvicorn, see `serving`.

    Args:
        settings: how it is set up.
        analyzer: does the work, and has to do all of `TASKS`; or what makes it, told of the gallery that its embeddings
            have to fit. By default one with the networks that come with mien.
        tls: whether it speaks HTTPS itself.

    Raises:
        GalleryError: its gallery cannot be opened; likewise everything that is wrong from the start.
        ServerError: keys are needed, and there is none, or they cannot be read.
    """
    guards = gates.Gates(settings, tls=tls)  # first: where nobody may be let in, nothing is made
    opened = _opened(settings)
    if analyzer is not None and not isinstance(analyzer, FaceAnalyzer):
        analyzer = analyzer(None if opened is None else opened.info)
    metrics, places = Metrics(), Places(settings.limits.sessions, shared=settings.needs_keys)
    context = Context(
        settings,
        Engine(settings, analyzer, metrics),
        opened,
        metrics,
        places,
        Jobs(settings.limits, metrics=metrics),
        Attempts(places, settings.limits, settings.folder),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await context.engine.run(context.engine.start)
        await context.engine.run(context.attempts.start, context.engine.analyzer)
        context.jobs.start()
        yield
        context.attempts.close()
        context.jobs.close()
        context.engine.close()
        if opened is not None:
            opened.close()

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
    gates.install(app, guards)
    app.add_middleware(Measured, metrics=metrics)  # outermost: what is refused counts, too
    for subject in (service, analysis, live, gallery, people, jobs, clusters, videos, liveness):
        app.include_router(subject.router)
    if settings.page:
        app.include_router(page.router)
    return app


def _opened(settings: Settings) -> Gallery | None:
    if settings.gallery is None:
        return None
    return Gallery.open(
        settings.gallery,
        embedder=settings.embedder,
        mode=None,
        key=settings.gallery_key,
        keep_crops=settings.keep_crops,
    )
