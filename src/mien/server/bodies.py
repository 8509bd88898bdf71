"""What a request may bring: so many bytes, in so much time, and JSON that can mean one thing only."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.server.headers import refuse
from mien.server.problems import GONE, Problem
from mien.server.settings import Limits
from mien.server.visits import Visit, visit_of

JSON_BYTES = 64_000
_FORM_BYTES = 200_000  # of a form, beside its pictures
_BULKY = ("/v1/videos", "/v1/clusters")
_SLOWEST = 8_000_000  # bytes that buy as much time again
_DEEPEST = 16
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # also one that never ends; no byte is looked at twice
_LONGEST_NUMBER = 19  # digits: what fits in 64 bits


class InFlight:
    """Bytes of bodies that are kept in memory at once, of all requests.

    Args:
        most: of them.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def take(self, visit: Visit, size: int) -> None:
        """Keep so many more for a request.

        Raises:
            Problem: that would be too many (429).
        """
        if self.held + size > self.most:
            raise Problem(429, "busy", "too much is being uploaded; try again in a second", {"Retry-After": "1"})
        self.held += size
        visit.held += size

    def give(self, visit: Visit, size: int | None = None) -> None:
        """So many are kept no longer: they were written to a file; None: none of them, for the request has ended."""
        size = visit.held if size is None else min(size, visit.held)
        self.held -= size
        visit.held -= size


class Bounded:
    """ASGI: bodies are as long and as slow as they may be, and JSON is read strictly before anybody acts on it.

    Args:
        app: what answers.
        limits: of bodies.
        in_flight: counts what is kept.
    """

    def __init__(self, app: ASGIApp, limits: Limits, in_flight: InFlight) -> None:
        self._app, self._limits, self._in_flight = app, limits, in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit, headers = visit_of(scope), Headers(scope=scope)
        try:
            most = self._most(scope["path"], headers)
            bounded = self._bounded(receive, visit, most)
            if _is_json(headers):
                bounded = await _read_strictly(bounded)
            await self._app(scope, bounded, send)
        except Problem as problem:  # of JSON; others are answered further in, where they are raised
            await refuse(problem, scope, receive, send)
        except ClientDisconnect:  # nobody reads the answer, but the log tells it from a failure of ours
            await refuse(Problem(GONE, "gone", "the caller hung up"), scope, receive, send)
        finally:
            self._in_flight.give(visit)

    def _most(self, path: str, headers: Headers) -> int:
        """Bytes of a body, at most.

        Raises:
            Problem: it says that it has more, or is packed.
        """
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "packed", "bodies are not unpacked here; send them without Content-Encoding")
        limits = self._limits
        form = headers.get("content-type", "").lower().startswith("multipart/")
        if _is_json(headers):
            most = JSON_BYTES
        elif path.startswith(_BULKY):
            most = limits.video_bytes + _FORM_BYTES
        else:
            pictures = limits.picture_bytes * (limits.pictures if form else 1)
            most = min(pictures + (_FORM_BYTES if form else 0), limits.queue_bytes)
        declared = headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdigit()):
            raise Problem(400, "content-length", "a Content-Length that is no number")
        if len(declared) > _LONGEST_NUMBER or int(declared) > most:
            raise too_large(most)
        return most

    def _bounded(self, receive: Receive, visit: Visit, most: int) -> Receive:
        seconds, size, done = self._limits.upload_seconds, 0, False
        until = asyncio.get_running_loop().time() + seconds

        async def bounded() -> Message:
            nonlocal size, done, until
            if done:  # whoever waits now, waits for the caller to hang up
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise Problem(408, "slow", "the body came too slowly", {"Connection": "close"}) from error
            brought = len(message.get("body", b""))
            size, until = size + brought, until + seconds * brought / _SLOWEST
            if size > most:
                raise too_large(most)
            self._in_flight.take(visit, brought)
            done = not message.get("more_body", False)
            return message

        return bounded


def too_large(most: int, what: str = "a body") -> Problem:
    """The refusal of something that is larger than so many bytes."""
    return Problem(413, "too-large", f"{what} of more than {most:,} bytes")


def _is_json(headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


async def _read_strictly(receive: Receive) -> Receive:
    """Read a body of JSON, and give it out again once it has been found sound.

    Raises:
        Problem: it is not.
    """
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    if body:
        strict_json(body)
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def strict_json(data: bytes) -> Any:
    """JSON as RFC 8259 has it, that every reader understands alike.

    Args:
        data: UTF-8.

    Raises:
        Problem: it is not JSON (422): also numbers that are none or do not fit in 64 bits, names that come twice, NUL
            and half characters in strings, and what is nested deeper than anything here.
    """
    try:
        _check_depth(data)
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_int=_whole,
            parse_float=_finite,
        )
        _check(value)
    except ValueError as error:
        told = str(error) if type(error) is _UnsoundError else "no JSON in UTF-8"
        raise Problem(422, "invalid-json", f"the body: {told}") from error
    return value


class _UnsoundError(ValueError):
    """What is wrong, in words that do not repeat what was sent."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise _UnsoundError("a name that comes twice in one object")
    return dict(pairs)


def _no_number(_: str) -> NoReturn:
    raise _UnsoundError("NaN and Infinity are no numbers of JSON")


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > _LONGEST_NUMBER:
        raise _UnsoundError("a number that does not fit in 64 bits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _UnsoundError("a number that does not fit in 64 bits")
    return number


def _check_depth(data: bytes) -> None:
    """Before it is parsed: a parser that runs out of stack may leave its process in a bad way."""
    depth = 0
    for bracket in re.findall(rb"[\[\]{}]", _STRING.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > _DEEPEST:
            raise _UnsoundError("nested too deeply")


def _check(value: Any) -> None:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise _UnsoundError("a string with NUL or half a character in it")
    elif isinstance(value, dict):
        for name, part in value.items():
            _check(name)
            _check(part)
    elif isinstance(value, list):
        for part in value:
            _check(part)
