"""Who asks, and what they may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from fastapi import Request, WebSocket

Scope = Literal["analyze", "gallery:read", "gallery:write", "admin"]
SCOPES: tuple[Scope, ...] = ("analyze", "gallery:read", "gallery:write", "admin")
"""`gallery:write` includes `gallery:read`, and `admin` includes all."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        id: of the key, or "local" where the server asks for none; jobs and sessions belong to it.
        name: of the key, for the audit trail.
        scopes: what they may.
    """

    id: str
    name: str
    scopes: frozenset[Scope]


async def known(request: Request) -> Caller:
    """A dependency of routes: who asks, whatever they may."""
    return Caller("local", "local", frozenset(SCOPES))


def require(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency of routes: who asks, if they may.

    Args:
        scope: what the route does.
    """

    async def caller(request: Request) -> Caller:
        return Caller("local", "local", frozenset(SCOPES))

    return caller


async def admitted(connection: WebSocket, key: str | None, *scopes: Scope) -> Caller:
    """Who speaks through a WebSocket, if they may: browsers cannot send headers with those, so the key comes inside.

    Args:
        connection: theirs.
        key: as they sent it.
        scopes: what they want to do.

    Raises:
        Problem: no key, or one that may not do this.
    """
    return Caller("local", "local", frozenset(SCOPES))
