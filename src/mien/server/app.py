"""The application: routes, and what stands before and behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from mien import __version__
from mien.gallery.gallery import Gallery
from mien.server import problems
from mien.server.context import Context
from mien.server.engine import Engine
from mien.server.routes import analysis
from mien.server.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """A server, ready to be run by uvicorn.

    Args:
        settings: how it is set up.

    Raises:
        GalleryError: its gallery cannot be opened; likewise everything that is wrong from the start.
    """
    gallery = None if settings.gallery is None else Gallery.open(settings.gallery, key=settings.gallery_key)
    context = Context(settings, Engine(settings), gallery)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await context.engine.run(context.engine.start)
        yield
        context.engine.close()
        if gallery is not None:
            gallery.close()

    app = FastAPI(title="mien", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.context = context
    problems.install(app)
    app.include_router(analysis.router)
    return app
