"""HTTP on the wire: uvicorn's protocol over llhttp, which here has a clock, and bounds for headers and connections.

uvicorn waits for the rest of a header as long as a client likes, and reads headers of any size; llhttp refuses what can
be read in two ways (Content-Length beside Transfer-Encoding, blanks before colons, bare line feeds).
"""

from __future__ import annotations

import asyncio
import json
from asyncio import TimerHandle
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mien.server.problems import MEDIA_TYPE, Problem
from mien.server.settings import Settings

HEADER_BYTES = 16_000
HEADERS = 64
URL_BYTES = 4_000
_SPARE_BYTES = 1_000_000  # that are still taken of a body that has been refused, beside the largest picture


def protocol_for(settings: Settings) -> type[HttpToolsProtocol]:
    """The class of uvicorn's `http` option for a server.

    Args:
        settings: with its limits.
    """
    limits = settings.limits
    # on loopback, and behind a proxy, all have one address
    alone = settings.local or settings.proxies

    class Bounded(_Bounded):
        seconds = limits.upload_seconds
        most = limits.connections
        most_of_one = limits.connections if alone else max(1, limits.connections // 4)
        most_refused = limits.picture_bytes + _SPARE_BYTES

    return Bounded


class _Bounded(HttpToolsProtocol):
    """One connection.

    A clock runs from its beginning, and from the end of each answer, until the next header is whole: so it also bounds
    what is left of a body that was refused. Meanwhile bodies have a clock of their own, see `bodies`.
    """

    seconds: ClassVar[float]
    most: ClassVar[int]
    most_of_one: ClassVar[int]
    most_refused: ClassVar[int]

    _clock: TimerHandle | None = None
    _header: int | None = 0  # bytes of the header that is being read; None: it has been read
    _seen = 0  # bytes of it that the parser has understood
    _count = 0
    _refused = 0  # bytes of a body that nobody wants
    _over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        of_one = sum(self._same(getattr(other, "client", None)) for other in self.connections)
        if len(self.connections) > self.most or of_one > self.most_of_one:
            self._refuse(Problem(503, "full", "too many connections", {"Retry-After": "1"}))
            return
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._over:
            return
        if self._header is None and self.cycle is not None and self.cycle.response_complete:
            self._refused += len(data)
            if self._refused > self.most_refused:
                self._end()
                return
        super().data_received(data)
        if self._header is not None and not self._over:
            self._header += len(data)
            if self._header > HEADER_BYTES + URL_BYTES:
                self._refuse(_LONG)

    def on_message_begin(self) -> None:
        """See httptools."""
        super().on_message_begin()
        self._header, self._seen, self._count = 0, 0, 0

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        super().on_url(url)
        if len(self.url) > URL_BYTES:
            raise _refusal(_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._count += 1
        self._seen += len(name) + len(value)
        if self._count > HEADERS or self._seen > HEADER_BYTES:
            raise _refusal(_LONG)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See httptools."""
        if not (_one_length(self.headers) and self.url.startswith(b"/")):  # not for a proxy, which we are none
            raise _refusal(_BAD)
        self._header, self._refused = None, 0
        self._stop_clock()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """See uvicorn."""
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:  # no other request is waiting, or being answered
            self._start_clock()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too long."""
        self._refuse(_LONG if self._too_long() else _BAD)

    def _same(self, client: tuple[str, int] | None) -> bool:
        return self.client is not None and client is not None and client[0] == self.client[0]

    def _too_long(self) -> bool:
        return self._count > HEADERS or self._seen > HEADER_BYTES or len(getattr(self, "url", b"")) > URL_BYTES

    def _start_clock(self) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(self.seconds, self._end)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _end(self) -> None:
        """Close at once; whoever is so slow gets no answer."""
        self._over = True
        self._stop_clock()
        if not self.transport.is_closing():
            self.transport.abort()

    def _refuse(self, problem: Problem) -> None:
        """Answer without the application, and close."""
        self._over = True
        self._stop_clock()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:  # else this would get into the middle of an answer
            self.transport.write(_wire(problem))
        self.transport.close()


def _one_length(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether there is one way alone to tell where a body ends."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    return len(lengths) + len(codings) <= 1 and codings in ([], [b"chunked"])


_BAD = Problem(400, "not-http", "a request that is no HTTP, or that can be read in two ways")
_LONG = Problem(431, "header-too-long", "headers, or an address, that are too long")


def _refusal(problem: Problem) -> httptools.HttpParserError:
    return httptools.HttpParserError(problem.detail)


def _wire(problem: Problem) -> bytes:
    body = json.dumps(problem.to_dict()).encode()
    fields: dict[str, Any] = {
        "content-type": MEDIA_TYPE,
        "content-length": len(body),
        "connection": "close",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        **problem.headers,
    }
    head = f"HTTP/1.1 {problem.status} {problem.to_dict()['title']}\r\n"
    return (head + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n").encode() + body
