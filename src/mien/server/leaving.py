"""Work for somebody who has gone is not done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

from mien.server.problems import GONE, Problem

_T = TypeVar("_T")


async def while_connected(request: Request, work: Awaitable[_T]) -> _T:
    """What comes of some work, which is cancelled when the caller hangs up. The request's body has been read before.

    Raises:
        Problem: the caller has gone; nobody sees it, but the log tells it from a success.
    """
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise Problem(GONE, "gone", "the caller hung up")
    finally:
        gone.cancel()
        doing.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
