"""Figures for Prometheus: requests, pictures, faces, jobs, and how long they take and wait."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.types import Faces
from mien.version import VERSION

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_BATCHES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Figures of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter("mien_requests", "Answered requests.", ("method", "route", "status"), registry=registry)
        self.seconds = Histogram(
            "mien_request_seconds", "From request to answer.", ("route",), buckets=_SECONDS, registry=registry
        )
        self.pictures = Counter("mien_pictures", "Analysed pictures.", registry=registry)
        self.faces = Counter("mien_faces", "Faces found.", registry=registry)
        self.batches = Histogram(
            "mien_batch_pictures", "Pictures that shared a pass.", buckets=_BATCHES, registry=registry
        )
        self.computed = Histogram("mien_batch_seconds", "A pass took.", buckets=_SECONDS, registry=registry)
        self.waited = Histogram("mien_wait_seconds", "A picture waited.", buckets=_SECONDS, registry=registry)
        self.waiting = Gauge("mien_waiting_pictures", "Pictures that wait now.", registry=registry)
        self.jobs = Counter("mien_jobs", "Jobs that are over.", ("kind", "state"), registry=registry)
        self.job_seconds = Histogram("mien_job_seconds", "A job ran.", ("kind",), buckets=_LONG, registry=registry)
        self.waiting_jobs = Gauge(
            "mien_waiting_jobs", "Jobs that wait now, or are being uploaded.", ("kind",), registry=registry
        )
        self.running_jobs = Gauge("mien_running_jobs", "Jobs that run now.", ("kind",), registry=registry)
        Gauge("mien_info", "What runs.", ("version",), registry=registry).labels(VERSION).set(1)

    def analysed(self, found: Sequence[Faces], seconds: float) -> None:
        """One pass was made."""
        self.pictures.inc(len(found))
        self.faces.inc(sum(map(len, found)))
        self.batches.observe(len(found))
        self.computed.observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)


class Measured:
    """ASGI: counts requests by the route's pattern, never by the path that was asked, which anybody may choose.

    Args:
        app: what answers.
        metrics: where to.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
