"""What every request needs, made once when a server starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from fastapi import Request, WebSocket

from mien.gallery.gallery import Gallery
from mien.server.attempts import Attempts
from mien.server.engine import Engine
from mien.server.jobs import Jobs
from mien.server.metrics import Metrics
from mien.server.places import Places
from mien.server.problems import Problem
from mien.server.settings import Settings


@dataclass(eq=False)
class Context:
    """What every request needs.

    Attributes:
        settings: as given.
        engine: analyses pictures.
        gallery: who is known, or None.
        metrics: of what is done.
        places: for live streams and attempts to unlock.
        jobs: clusters and videos.
        attempts: to unlock.
    """

    settings: Settings
    engine: Engine
    gallery: Gallery | None
    metrics: Metrics
    places: Places
    jobs: Jobs
    attempts: Attempts

    def known(self) -> Gallery:
        """The gallery.

        Raises:
            Problem: none is served.
        """
        if self.gallery is None:
            raise Problem(404, "no-gallery", "this server has no gallery; start it with --gallery")
        return self.gallery


def context_of(request: Request | WebSocket) -> Context:
    """The context of a request's server."""
    return cast(Context, request.app.state.context)
