"""What surrounds every answer, and which sites may ask: headers, ids of requests, Host and Origin.

A page that somebody is lured to can make their browser ask this machine. Host keeps out names that were pointed at it
(DNS rebinding), Origin and Sec-Fetch-Site keep out pages of other sites (CSRF), and no CORS header ever lets them read.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.server.problems import Problem
from mien.server.settings import Settings
from mien.server.visits import visit_of

log = logging.getLogger("mien.server")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not bound
_READ_SECONDS = 60.0  # a reader who takes nothing for so long has gone

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_ANSWER_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()",
}


class Answers:
    """ASGI, outermost: every answer has an id and strict headers, and what nobody expected says nothing of itself.

    Args:
        app: what answers.
        tls: whether browsers are told to come back by HTTPS alone.
    """

    def __init__(self, app: ASGIApp, *, tls: bool = False) -> None:
        self._app = app
        strict = _EVERYWHERE | ({"Strict-Transport-Security": "max-age=31536000"} if tls else {})
        self._page = _raw(strict | {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"})
        self._answer = _raw(strict | {"Content-Security-Policy": _ANSWER_POLICY, "Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def finished(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._finish(scope, message)
            async with asyncio.timeout(_READ_SECONDS):
                await send(message)

        try:
            await self._app(scope, receive, finished)
        except Exception:
            if started:
                raise
            log.exception("request %s failed", visit_of(scope).id)
            failed = Problem(500, "internal", "the server failed; its log says why")
            await failed.response()(scope, receive, finished)

    def _finish(self, scope: Scope, message: Message) -> None:
        """Add what a route has not said otherwise."""
        said = {name for name, _ in message["headers"]}
        added = self._page if is_page(scope["path"]) else self._answer
        message["headers"] = [
            *message["headers"],
            (b"x-request-id", visit_of(scope).id.encode()),
            *((name, value) for name, value in added if name not in said),
        ]


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def is_page(path: str) -> bool:
    """Whether a path is of the web page, which is no secret: whoever reaches the server may read it."""
    return path == "/" or path.startswith("/web/")


class OwnDoor:
    """ASGI: only requests that were meant for this server, and by no other site.

    Args:
        app: what answers.
        settings: where it listens, and its names.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._names = own_names(settings)
        self._any_address = settings.host in _WILDCARDS
        self._extra = {name.lower() for name in settings.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] in {"http", "websocket"}:
            problem = self._wrong_host(scope) or self._wrong_site(scope)
            if problem is not None:
                await refuse(problem, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _wrong_host(self, scope: Scope) -> Problem | None:
        hosts = Headers(scope=scope).getlist("host")
        name = host_name(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            return Problem(400, "host", "one Host header, please: a name or an address, and perhaps a port")
        if name in self._names or (self._any_address and _is_address(name)):
            return None
        return Problem(421, "wrong-host", "this server does not go by that name; --host-name adds one")

    def _wrong_site(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS and is_page(scope["path"]):
            return None  # a link from elsewhere leads to the page
        if headers.get("sec-fetch-site", "none").lower() not in {"none", "same-origin"}:
            return _ELSEWHERE
        origins = headers.getlist("origin")
        if not origins:  # programs; browsers send one with all that changes something, and with WebSockets
            return None
        return None if len(origins) == 1 and self._own(origins[0], headers["host"]) else _ELSEWHERE

    def _own(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
            name = parts.hostname
        except ValueError:
            return False
        if parts.scheme not in {"http", "https"} or parts.path or parts.query or name is None:
            return False
        return parts.netloc.lower() == host.lower() or name in self._extra


_ELSEWHERE = Problem(403, "other-site", "pages of other sites may not use this server")


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a refusal; a WebSocket is closed before it opens."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": problem.code})
        return
    await problem.response()(scope, receive, send)


def own_names(settings: Settings) -> frozenset[str]:
    """Names and addresses under which a server may be asked, in lower case, IPv6 without brackets."""
    names = {name.lower().strip("[]") for name in settings.hosts}
    if settings.local:
        return frozenset(names | {"localhost", "127.0.0.1", "::1", settings.host.lower()})
    return frozenset(names | {"localhost", settings.host.lower(), socket.gethostname().lower()})


def host_name(header: str) -> str | None:
    """The name of a Host header, in lower case and without its port; None: it is none."""
    try:
        parts = urlsplit(f"//{header}")
        plain = parts.hostname is not None and not (parts.path or parts.query or parts.fragment or parts.username)
        _ = parts.port  # raises where it is no port
    except ValueError:
        return None
    if not plain or parts.hostname is None or not header.isascii() or any(c.isspace() for c in header):
        return None
    return parts.hostname.lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
