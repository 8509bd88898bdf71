"""Who asks, and what they may.

A key comes as `Authorization: Bearer mien_...`, for browsers' WebSockets in the first message. Where only this machine
reaches the server no key is needed; one that is shown nevertheless is checked, and gives what it gives.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from fastapi import Request, WebSocket
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from mien.errors import ServerError
from mien.server.headers import SAFE_METHODS, is_page, refuse
from mien.server.keys import PREFIX, SCOPES, Key, Scope
from mien.server.problems import Problem
from mien.server.rates import network_of
from mien.server.visits import Caller, visit_of

if TYPE_CHECKING:
    from mien.server.gates import Gates

__all__ = ["SCOPES", "Caller", "Identified", "Scope", "admitted", "allow", "known", "require"]

LOCAL = Caller("local", "local", frozenset(SCOPES))
_OPEN = frozenset({"/healthz", "/readyz"})
_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_ASKS = {"WWW-Authenticate": 'Bearer realm="mien"'}
_CHANGING: frozenset[Scope] = frozenset({"gallery:write", "admin"})


async def known(request: Request) -> Caller:
    """A dependency of routes: who asks, whatever they may.

    Raises:
        Problem: nobody knows (401).
    """
    caller = visit_of(request.scope).caller
    if caller is None:
        raise _no_key()
    return caller


def require(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency of routes: who asks, if they may. What changes people is in the audit log before it begins.

    Args:
        scope: what the route does.
    """

    async def caller(request: Request) -> Caller:
        who = await known(request)
        allow(who, scope)
        if scope in _CHANGING and request.method not in SAFE_METHODS:
            await gates_of(request).begin(request.scope)
        return who

    return caller


def allow(caller: Caller, scope: Scope) -> None:
    """Let somebody go on who may.

    Raises:
        Problem: they may not (403).
    """
    if scope not in caller.scopes:
        raise Problem(403, "scope", f"this key may not do that: it was made without {scope}")


async def admitted(connection: WebSocket, key: str | None, *scopes: Scope) -> Caller:
    """Who speaks through a WebSocket, if they may: browsers cannot send headers with those, so the key comes inside.

    Args:
        connection: theirs.
        key: as they sent it; None: they sent none, and the header Authorization counts.
        scopes: what they want to do.

    Raises:
        Problem: no key, one that is not valid (401), too many wrong ones (429), or one that may not do this (403).
    """
    gates, visit = gates_of(connection), visit_of(connection.scope)
    shown = key if key is not None else _shown(connection.scope)
    visit.caller = await _identified(gates, connection.scope, shown)
    _within_rate(gates, connection.scope)
    for scope in scopes:
        allow(visit.caller, scope)
    return visit.caller


def gates_of(request: Request | WebSocket) -> Gates:
    """The gates of a request's server."""
    return cast("Gates", request.app.state.gates)


class Identified:
    """ASGI: who asks is known before a byte of the body is read, and asks no more often than they may.

    Args:
        app: what answers.
        gates: keys, and how often.
    """

    def __init__(self, app: ASGIApp, gates: Gates) -> None:
        self._app, self._gates = app, gates

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            try:
                await self._admit(scope)
            except Problem as problem:
                await refuse(problem, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: AsgiScope) -> None:
        """Find out who asks; the page is for everybody.

        A WebSocket tells it later: browsers cannot send headers with one.
        """
        visit = visit_of(scope)
        try:
            if not is_page(scope["path"]):
                visit.caller = await _identified(self._gates, scope, _shown(scope))
        finally:
            _within_rate(self._gates, scope)  # also of those who are not let in


def _shown(scope: AsgiScope) -> str | None:
    """The key that a request shows; None: none. What is meant for somebody else's door, say Basic, is none."""
    values = Headers(scope=scope).getlist("authorization")
    if len(values) > 1:
        raise Problem(400, "authorization", "one Authorization header, please")
    kind, _, text = values[0].partition(" ") if values else ("", "", "")
    return text.strip() if kind.lower() == "bearer" else None


async def _identified(gates: Gates, scope: AsgiScope, text: str | None) -> Caller:
    settings = gates.settings
    if not settings.needs_keys and (text is None or (settings.keyless and not text.startswith(PREFIX))):
        if settings.local and not settings.keyless and any(name in Headers(scope=scope) for name in _PROXIES):
            raise Problem(403, "proxied", "this server answers its own machine alone; behind a proxy it needs keys")
        return LOCAL
    if text is None:
        raise _no_key()
    key = await _checked(gates, scope, text)
    return Caller(key.id, key.name, key.allowed)


async def _checked(gates: Gates, scope: AsgiScope, text: str) -> Key:
    """The key of this text.

    A wrong key after many wrong ones is refused for a while; a right one is not, or anybody who shares an address (an
    office, a proxy) could lock out the others. It tells a guesser nothing: 2^256 keys cannot be tried.
    """
    try:
        key = gates.keys.find(text)
    except ServerError as error:
        gates.log.critical("%s", error)
        raise Problem(503, "keys", "the server cannot read its keys; its log says why") from error
    if key is None:
        if wait := gates.wrong_keys.take(network_of(visit_of(scope).address)):
            raise _too_often("too-many-bad-keys", "too many wrong keys from this address", wait)
        raise Problem(401, "bad-key", "there is no such key; it may have been revoked", _ASKS)
    if not key.valid(datetime.now(UTC)):
        raise Problem(401, "expired-key", "this key has expired; ask for another", _ASKS)
    if gates.keys.unnoted(key):
        await asyncio.to_thread(gates.keys.note_use, key)
    return key


def _within_rate(gates: Gates, scope: AsgiScope) -> None:
    """Let somebody go on who does not ask too often; callers on this machine may ask as often as they like."""
    visit = visit_of(scope)
    keyed = visit.caller is not None and visit.caller is not LOCAL
    if not keyed and gates.settings.local and not gates.settings.needs_keys:
        return
    who = visit.caller.id if keyed and visit.caller else f"at {network_of(visit.address)}"
    if wait := gates.rates.take(who):
        raise _too_often("rate", "too many requests", wait)


def _too_often(code: str, what: str, wait: float) -> Problem:
    seconds = math.ceil(wait)
    return Problem(429, code, f"{what}; try again in {seconds} s", {"Retry-After": str(seconds)})


def _no_key() -> Problem:
    return Problem(401, "no-key", "a key is needed: the header Authorization: Bearer mien_...", _ASKS)
