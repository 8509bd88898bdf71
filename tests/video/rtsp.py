"""A small RTSP server on this machine: H.264 in RTP packets, over the connection of the requests (interleaved TCP)."""

from __future__ import annotations

import base64
import re
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from tests.video.making import write_numbered

_CLOCK = 90_000


class RtspServer:
    """Sends the same numbered pictures to each client, `fps` a second, and then goes silent or hangs up.

    Args:
        folder: for the pictures, encoded.
        count: how many.
        hang_up: end the connection after the last one.
    """

    def __init__(self, folder: Path, count: int = 40, *, fps: int = 25, hang_up: bool = False) -> None:
        raw = write_numbered(folder / "rtsp.h264", count, fps=fps, options={"g": "10", "bf": "0"}).read_bytes()
        self._units = [unit for unit in re.split(rb"\x00\x00\x00?\x01", raw) if unit]
        self._fps, self._hang_up = fps, hang_up
        self._port, self._stop = 0, Event()
        self._sockets: list[socket.socket] = []
        self._thread: Thread | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._port}/camera"

    def start(self) -> Self:
        self._stop = Event()
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._sockets = [listener]
        self._thread = Thread(target=self._accept, args=(listener,), daemon=True)
        self._thread.start()
        return self

    def kill(self) -> None:
        self._stop.set()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._sockets.append(client)
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError), client, client.makefile("rb") as requests:
            while line := requests.readline():
                method = line.split(b" ")[0].decode()
                headers = {}
                while (header := requests.readline().strip()) != b"":
                    key, _, value = header.partition(b":")
                    headers[key.strip().lower()] = value.strip().decode()
                client.sendall(self._answer(method, headers[b"cseq"]))
                if method == "PLAY":
                    self._send(client)
                    if self._hang_up:
                        return
                    self._stop.wait(60)

    def _answer(self, method: str, number: str) -> bytes:
        body, more = "", ""
        if method == "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = self._description()
            more = f"Content-Type: application/sdp\r\nContent-Base: {self.url}/\r\n"
        elif method == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        else:
            more = "Session: 1\r\n"
        return f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    def _description(self) -> str:
        sets = ",".join(base64.b64encode(unit).decode() for unit in self._units if unit[0] & 31 in (7, 8))
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 127.0.0.1\r\n"
            f"a=rtpmap:96 H264/{_CLOCK}\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\n"
            "a=control:track0\r\n"
        )

    def _send(self, client: socket.socket) -> None:
        picture = 0
        for sequence, unit in enumerate(self._units):
            shown = unit[0] & 31 in (1, 5)
            stamp = 1_000_000 + picture * _CLOCK // self._fps
            packet = struct.pack(">BBHII", 0x80, 96 | (128 if shown else 0), sequence, stamp, 7) + unit
            client.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            if shown:
                picture += 1
                time.sleep(1 / self._fps)
