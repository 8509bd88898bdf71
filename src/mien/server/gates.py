"""All that stands between the network and the routes, in its order, and what the gates share.

From the outside: headers and ids of answers, the audit log, Host and Origin, keys and rates, bodies. So whatever is
refused is logged and has strict headers, and no byte of a body is read for somebody who is not let in.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from dataclasses import dataclass, replace

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.errors import ServerError
from mien.server.access import Identified
from mien.server.audit import Audit, Line
from mien.server.bodies import Bounded, InFlight
from mien.server.headers import Answers, OwnDoor, is_page
from mien.server.keys import Keys, server_folder
from mien.server.problems import MEDIA_TYPE, Problem
from mien.server.rates import Rates
from mien.server.settings import Settings
from mien.server.visits import visit_of

_WRONG_KEYS = 10
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/v1/info", "/v1/models", "/v1/openapi.json"})
_OFTEN = frozenset({"/v1/liveness/{id}/frames", "/v1/liveness/{id}", "/v1/jobs", "/v1/jobs/{id}"})
"""Routes that are asked several times a second; answers that are no refusals are not logged."""
_ID = re.compile(r"[0-9a-f]{32}|[0-9]{1,18}|[A-Za-z0-9_-]{22}")


class Gates:
    """What the gates share.

    Args:
        settings: of the server.
        tls: whether it speaks HTTPS itself.

    Raises:
        ServerError: keys are needed, and there is none, or they cannot be read.
    """

    def __init__(self, settings: Settings, *, tls: bool = False) -> None:
        self.settings, self.tls = settings, tls
        self.log = logging.getLogger("mien.server")
        folder = server_folder(settings.folder)
        self.keys = Keys(folder)
        self.audit = Audit(folder)
        self.rates = Rates(settings.limits.per_minute, max(10.0, settings.limits.per_minute / 4))
        self.wrong_keys = Rates(_WRONG_KEYS, _WRONG_KEYS)
        self.in_flight = InFlight(settings.limits.queue_bytes)
        if settings.needs_keys and not self.keys.all():
            raise ServerError(
                "others can reach this server, so it needs keys: make one with `mien serve keys add NAME --scope ...`,"
                " or say --keyless if something else guards it"
            )

    async def begin(self, scope: Scope) -> None:
        """Write down that something is about to change.

        Raises:
            Problem: that cannot be written, so nothing is changed (503).
        """
        try:
            await asyncio.to_thread(self.audit.add, line_of(scope), safely=True)
        except ServerError as error:
            raise Problem(503, "audit", "the audit log cannot be written, so nothing is changed") from error


def install(app: FastAPI, gates: Gates) -> None:
    """Put all gates before an application.

    Args:
        app: whose routes are to be guarded.
        gates: of its server.
    """
    app.state.gates, settings = gates, gates.settings
    app.add_middleware(Bounded, limits=settings.limits, in_flight=gates.in_flight)
    app.add_middleware(Identified, gates=gates)
    app.add_middleware(OwnDoor, settings=settings)
    app.add_middleware(Audited, gates=gates)
    app.add_middleware(Answers, tls=gates.tls)


class Audited:
    """ASGI: writes down who did what, once it is answered, and all that was refused.

    Args:
        app: what answers.
        gates: with the log.
    """

    def __init__(self, app: ASGIApp, gates: Gates) -> None:
        self._app, self._audit = app, gates.audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        answer = _Answer()

        async def noting(message: Message) -> None:
            if answer.holds(message):
                return
            self._write(scope, answer)  # before the answer: who has one finds it in the log
            for each in answer.held():
                await send(each)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except BaseException:
            answer.status = 500
            raise
        finally:
            answer.complete = True
            self._write(scope, answer)

    def _write(self, scope: Scope, answer: _Answer) -> None:
        if answer.written or not answer.complete:
            return
        answer.written = True
        line = line_of(scope)
        if answer.status < 400 and (line.route in _QUIET | _OFTEN or is_page(scope["path"])):
            return
        seconds = round(time.monotonic() - visit_of(scope).began, 3)
        try:
            self._audit.add(replace(line, status=answer.status, code=answer.code, seconds=seconds))
        except ServerError:
            return  # told by the log itself; what changes something has been written down before


@dataclass(eq=False)
class _Answer:
    """What was answered.

    Attributes:
        status: of HTTP; of a WebSocket 101, or 403 where it was closed for a reason.
        code: of a refusal.
        complete: both are known.
        written: it is in the log.
    """

    status: int = 500
    code: str | None = None
    complete: bool = False
    written: bool = False
    _start: Message | None = None  # of a refusal, whose code comes with its body

    def holds(self, message: Message) -> bool:
        """See what is sent; True: it is kept until the next message."""
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            self.complete = (b"content-type", MEDIA_TYPE.encode()) not in message["headers"]
            self._start = None if self.complete else message
            return not self.complete
        if kind == "http.response.body" and self._start is not None:
            self.code, self.complete = str(json.loads(message["body"])["code"])[:40], True
        elif kind == "websocket.accept":
            self.status = 101
        elif kind == "websocket.close":
            self.complete = True
            if message.get("code", 1000) not in {1000, 1001}:
                self.status, self.code = 403, str(message.get("reason") or message["code"])[:40]
        return False

    def held(self) -> list[Message]:
        """What was kept, and is to be sent now."""
        held = [] if self._start is None else [self._start]
        self._start = None
        return held


def line_of(scope: Scope) -> Line:
    """What the audit log says of a request before it is answered."""
    visit = visit_of(scope)
    route = getattr(scope.get("route"), "path", None) or "other"
    caller = visit.caller
    return Line(
        request=visit.id,
        method=scope.get("method", "WEBSOCKET")[:16],
        route=route,
        address=visit.address,
        key=caller.name if caller else None,
        key_id=caller.id if caller else None,
        subject=visit.subject or _subject(scope),
    )


def _subject(scope: Scope) -> str | None:
    """Ids in a path; a name, by which people can be asked for, too, is left out."""
    values = [str(value) for value in scope.get("path_params", {}).values()]
    return " ".join(value for value in values if _ID.fullmatch(value))[:80] or None
