"""What is known of a request while it is answered: filled by one gate after the other."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope as AsgiScope

from mien.server.keys import Scope


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


@dataclass(eq=False)
class Visit:
    """A request, or a WebSocket.

    Attributes:
        id: the server's own name for it; the answer has it as X-Request-ID.
        address: of whoever is at the other end, or "unknown".
        began: seconds on a clock that never goes back.
        caller: None as long as nobody has shown who they are.
        subject: id of the person, job or session that it is about, for the audit trail; never a name of a person.
        held: bytes of its body that are kept in memory.
    """

    address: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    began: float = field(default_factory=time.monotonic)
    caller: Caller | None = None
    subject: str | None = None
    held: int = 0


def visit_of(scope: AsgiScope) -> Visit:
    """The visit of a request or WebSocket, `request.scope`."""
    state = scope.setdefault("state", {})
    if "visit" not in state:
        client = scope.get("client")
        state["visit"] = Visit(str(client[0])[:64] if client else "unknown")
    return cast(Visit, state["visit"])
