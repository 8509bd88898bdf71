"""A real HTTP server on this machine: motion JPEG without end, and files in parts; it can be killed and restarted."""

from __future__ import annotations

import base64
import io
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Self

from PIL import Image

from tests.video.making import numbered


class Server:
    """Serves on one port of this machine, over all its lives.

    /stream is motion JPEG of numbered pictures, `fps` a second, `pictures` of them; /silent takes a request and never
    answers; /trickles gives a byte now and then; /stalls gives five pictures and then nothing; /secret is /stream
    behind a password (user, pass word); /away leads to `away`; anything else is a file of `files`, with a `pause` of
    seconds every 4 kB, in parts if `ranges`, and its length told if `lengths`.
    """

    def __init__(self, files: dict[str, bytes] | None = None, *, fps: float = 50, pictures: int = 10**9) -> None:
        self.files, self.fps, self.pictures = files or {}, fps, pictures
        self.ranges, self.lengths, self.away, self.pause = True, True, "", 0.0
        self.requests: list[str] = []
        self._number = 0
        self._server: _Server | None = None
        self._port = 0

    def start(self) -> Self:
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def kill(self) -> None:
        """Break all connections, and answer no more."""
        server, self._server = self._server, None
        if server is not None:
            server.dead.set()
            server.shutdown()
            server.server_close()
            server.break_connections()

    def url(self, path: str, login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self._port}/{path}"

    def next_jpeg(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(numbered(self._number % 4096)).save(file, "JPEG", quality=90)
        self._number += 1
        return file.getvalue()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.dead = Event()
        self._connections: list[socket.socket] = []
        super().__init__(address, handler)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def break_connections(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


def _handler(owner: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server: _Server

        def do_GET(self) -> None:
            owner.requests.append(self.path)
            path = self.path.partition("?")[0].strip("/")
            answers: dict[str, Callable[[], None]] = {
                "stream": lambda: self._stream(owner.pictures),
                "silent": self._wait,
                "trickles": self._trickle,
                "stalls": lambda: self._stream(5, stall=True),
                "secret": self._secret,
                "away": self._away,
            }
            answers.get(path, lambda: self._file(path))()

        def log_message(self, *args: object) -> None:
            pass

        def _wait(self) -> None:
            self.server.dead.wait(60)

        def _trickle(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not self.server.dead.wait(0.05):
                self.wfile.write(b"-")

        def _stream(self, count: int, *, stall: bool = False) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for _ in range(count):
                if self.server.dead.is_set():
                    return
                jpeg = owner.next_jpeg()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                time.sleep(1 / owner.fps)
            if stall:
                self._wait()

        def _secret(self) -> None:
            wanted = "Basic " + base64.b64encode(b"user:pass word").decode()
            if self.headers.get("Authorization") == wanted:
                self._stream(owner.pictures)
                return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _away(self) -> None:
            self.send_response(302)
            self.send_header("Location", owner.away)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _file(self, path: str) -> None:
            data = owner.files.get(path)
            if data is None:
                self.send_error(404)
                return
            part = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            at = int(part[1]) if part and owner.ranges else 0
            self.send_response(206 if part and owner.ranges else 200)
            if owner.ranges:
                self.send_header("Accept-Ranges", "bytes")
            if owner.lengths:
                self.send_header("Content-Length", str(len(data) - at))
            self.end_headers()
            for begin in range(at, len(data), 4096):
                if self.server.dead.is_set():
                    return
                self.wfile.write(data[begin : begin + 4096])
                time.sleep(owner.pause)

    return Handler
