"""Addresses on the network: how they are shown, and HTTP as a file that can be read, sought and interrupted.

HTTP is spoken by Python, not by FFmpeg below PyAV: a read that waits can then be interrupted by any thread, and
nothing that is fetched can make FFmpeg open another address or a file of this machine.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock
from typing import Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from mien.errors import VideoError
from mien.ops.files import printable

__all__ = ["HttpFile", "is_address", "shown"]

_SCHEMES = ("http", "https", "rtsp", "rtsps")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SKIP = 1 << 18  # bytes: to read over so many takes no longer than to ask anew
_TRIES = 5
_OPENING = 3  # times the time-out: what recognising a stream may take in all
_PARTIAL = 206
_BAD = (OSError, http.client.HTTPException, ValueError)
"""What reading from a connection raises; ValueError where it was closed at the same time."""


def is_address(source: str) -> bool:
    """Whether a source is an address rather than a path.

    Raises:
        VideoError: an address of a kind that mien does not read, or one without a host.
    """
    scheme, separator, _ = source.partition("://")
    if not separator or not scheme.isalnum():
        return False
    if scheme.lower() not in _SCHEMES:
        raise VideoError(f"{scheme}://…: such addresses are not read; http, https, rtsp and rtsps are")
    try:
        host = urlsplit(source).hostname
    except ValueError:
        host = None
    if not host:
        raise VideoError(f"{scheme}://…: an address without a host, or with an impossible one")
    return True


def shown(address: str) -> str:
    """An address for messages, without user, password and query, which may hold a key."""
    parts = urlsplit(address)
    return printable(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))


class HttpFile(io.RawIOBase):
    """What an HTTP address answers, as a binary file; a connection that breaks is made anew where ranges allow it.

    Args:
        address: http or https; a user and password in it answer a server that asks for them.
        timeout: seconds to wait for a connection, and for each read.

    Attributes:
        length: bytes in all; None for a stream without end.

    Raises:
        VideoError: it cannot be reached, or the answer is an error.
    """

    def __init__(self, address: str, timeout: float) -> None:
        super().__init__()
        self.name = shown(address)
        self._address, self._timeout = address, timeout
        self._stop = Event()
        self._sockets = _Sockets()
        self._open = _opener(address, self._sockets.add)
        self._at = 0  # of the file object
        self._arrived = 0  # of the connection
        self._deadline: float | None = time.monotonic() + _OPENING * timeout
        self._response: http.client.HTTPResponse | None = None
        try:
            self._response = self._request(0)
        except _BAD as error:
            raise VideoError(f"{self.name}: {_why(error)}") from None
        headers = self._response.headers
        length = headers.get("Content-Length", "")
        self.length = int(length) if length.isdecimal() else None
        self._ranges = self.length is not None and headers.get("Accept-Ranges", "").lower() == "bytes"

    def opened(self) -> None:
        """Say that what is in it was recognised; until then, a server that trickles is given up."""
        self._deadline = None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Whether the server gives parts."""
        return self._ranges

    def tell(self) -> int:
        """Position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position; nothing is fetched before the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length or 0}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, as soon as some arrive; none at the end.

        Raises:
            OSError: the connection broke, and could not be made anew.
        """
        if self.length is not None and self._at >= self.length:
            return b""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeoutError
        for attempt in range(_TRIES):
            if self._stop.is_set():
                return b""
            try:
                data = self._read(size if size > 0 else 1 << 16)
                if data or self.length is None:
                    return data
                raise OSError("the connection ended early")
            except _BAD as error:
                self._drop()
                last_try = attempt == _TRIES - 1 or not self._ranges
                if last_try or self._stop.wait(0.25 * 2**attempt):
                    raise OSError(_why(error)) from error
        return b""

    def interrupt(self) -> None:
        """End a read that waits; from any thread. There is no more to read afterwards."""
        self._stop.set()
        self._sockets.shut()

    def close(self) -> None:
        """End the connection."""
        self._drop()
        super().close()

    def __enter__(self) -> Self:
        return self

    def _read(self, size: int) -> bytes:
        if self._response is None or not 0 <= self._at - self._arrived <= _SKIP:
            self._drop()
            self._response = self._request(self._at)
            self._arrived = self._at
        while self._arrived < self._at:
            self._arrived += len(self._some(self._at - self._arrived))
        data = self._some(size, end_is_error=False)
        self._at += len(data)
        self._arrived = self._at
        return data

    def _some(self, size: int, *, end_is_error: bool = True) -> bytes:
        assert self._response is not None  # noqa: S101
        data = self._response.read1(size)
        if not data and end_is_error:
            raise OSError("the connection ended early")
        return data

    def _request(self, at: int) -> http.client.HTTPResponse:
        headers = {"User-Agent": "mien", "Accept-Encoding": "identity"}
        if at:
            headers["Range"] = f"bytes={at}-"
        try:
            response = self._open(urllib.request.Request(_bare(self._address), headers=headers), self._timeout)  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
            raise OSError(f"the server answers {error.code} {error.reason}") from None
        if at and response.status != _PARTIAL:
            response.close()
            raise OSError("the server gives no parts")
        return response

    def _drop(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            with suppress(*_BAD):
                response.close()


class _Sockets:
    """The sockets in use, to shut down what another thread waits for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last: Any = None
        self._shut = False

    def add(self, one: Any) -> None:
        with self._lock:
            self._last = one
            shut = self._shut
        if shut:
            self.shut()

    def shut(self) -> None:
        with self._lock:
            self._shut = True
            if self._last is not None:
                with suppress(OSError, ValueError):
                    self._last.shutdown(socket.SHUT_RDWR)


def _opener(address: str, opened: Callable[[Any], None]) -> Callable[[Any, float], http.client.HTTPResponse]:
    """An opener for HTTP and HTTPS alone: redirects cannot lead to a file of this machine."""

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            opened(self.sock)

    class SecureConnection(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            opened(self.sock)

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, req: Any) -> Any:
            return self.do_open(Connection, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: Any) -> Any:
            return self.do_open(SecureConnection, req)

    director = urllib.request.OpenerDirector()
    # A proxy cannot reach this machine's own loopback.
    proxies: dict[str, str] | None = {} if urlsplit(address).hostname in _LOOPBACK else None
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.ProxyHandler(proxies),
        Handler(),
        SecureHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.UnknownHandler(),
        *_logins(address),
    ]
    for handler in handlers:
        director.add_handler(handler)

    def open_request(request: Any, timeout: float) -> http.client.HTTPResponse:
        response = director.open(request, timeout=timeout)
        assert isinstance(response, http.client.HTTPResponse)  # noqa: S101  urllib promises no type
        return response

    return open_request


def _logins(address: str) -> list[urllib.request.BaseHandler]:
    parts = urlsplit(address)
    if parts.username is None:
        return []
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, _bare(address), unquote(parts.username), unquote(parts.password or ""))
    return [urllib.request.HTTPDigestAuthHandler(passwords), urllib.request.HTTPBasicAuthHandler(passwords)]


def _bare(address: str) -> str:
    """Without user and password."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _why(error: BaseException) -> str:
    """What is wrong with a connection; never the address, which may hold a password."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return _why(inner)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    system = getattr(error, "strerror", None)
    text = str(system).lower() if system else str(inner or error)
    return printable(text or type(error).__name__)[:160]
