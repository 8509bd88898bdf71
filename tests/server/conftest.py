"""Real servers on 127.0.0.1: one that needs no keys, one that does, and ways to talk to them, politely or not."""

from __future__ import annotations

import json
import select
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mien import FaceAnalyzer, Gallery
from mien.server.app import create_app
from mien.server.keys import Keys, server_folder
from mien.server.serving import listen, server_of
from mien.server.settings import Limits, Settings
from tests.conftest import PHOTOS

PATIENCE = 60.0
"""Seconds after which a test is given up that waits in vain: no machine is so busy."""
SCOPES = {"analyze": "analyze", "reader": "gallery:read", "writer": "gallery:write", "admin": "admin"}


@dataclass(eq=False)
class Running:
    """A server that runs, and who is in its gallery.

    Attributes:
        settings: of it.
        port: at which it listens.
        app: the application.
        keys: texts of keys: analyze, reader, writer, admin; empty where none are needed.
        grace: id of the one person of the gallery.
    """

    settings: Settings
    port: int
    app: Any
    grace: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def client(self, key: str | None = None, **how: Any) -> httpx2.Client:
        """A client; `key` is one of `keys`, or a text."""
        headers = how.pop("headers", {})
        if key is not None:
            headers = {"Authorization": f"Bearer {self.keys.get(key, key)}", **headers}
        return httpx2.Client(base_url=self.url, timeout=PATIENCE, headers=headers, trust_env=False, **how)

    def raw(self, *pieces: bytes) -> bytes:
        """Send bytes as they are, and read until it closes.

        Raises:
            TimeoutError: it never does.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            with suppress(ConnectionError):  # it has closed: what it said before is still to be read
                for piece in pieces:
                    connection.sendall(piece)
            return read_to_end(connection)

    def dribble(self, head: bytes, *pieces: bytes, pause: float = 0.1) -> bytes:
        """Send a head, and then these pieces with pauses between, again and again until it closes; what it said.

        Raises:
            TimeoutError: it never closes, however long that goes on.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(head)
            end, answer = time.monotonic() + PATIENCE, b""
            for piece in cycle(pieces):
                if select.select([connection], [], [], pause)[0]:
                    try:
                        got = connection.recv(65536)
                    except ConnectionError:
                        got = b""
                    if not got:
                        return answer
                    answer += got
                with suppress(ConnectionError):  # what it said before is still to be read
                    connection.sendall(piece)
                if time.monotonic() > end:
                    raise TimeoutError("it is still open")
        raise AssertionError

    def lines(self, name: str = "") -> list[dict[str, Any]]:
        """The audit log: "audit", "refused", or all."""
        folder = server_folder(self.settings.folder)
        files = sorted(folder.glob(f"{name}*.jsonl"))
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return sorted(lines, key=lambda line: line["time"])

    def people(self) -> dict[str, Any]:
        """All that the gallery holds."""
        with Gallery.open(self.settings.gallery, create=False, readonly=True) as gallery:
            people = [person.to_dict() for person in gallery.people()]
            faces = {p["id"]: [face.to_dict() for face in gallery.faces(p["id"])] for p in people}
        return {"people": people, "faces": faces}


@contextmanager
def running(
    settings: Settings,
    analyzer: FaceAnalyzer,
    *,
    keys: dict[str, str] | None = None,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Running]:
    """Run a server in a thread.

    Args:
        settings: of it; the port is one that is free.
        analyzer: of it.
        keys: names and scopes of keys to make.
        tls: certificate and key.
    """
    kept = Keys(server_folder(settings.folder))
    texts = {name: kept.add(name, (scope,))[0] for name, scope in (keys or {}).items()}
    app = create_app(settings, analyzer, tls=tls is not None)
    with listen(settings) as listening:
        server = server_of(app, settings, **(dict(zip(("certificate", "key"), tls, strict=True)) if tls else {}))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server could not begin"
            time.sleep(0.01)
        scheme = "https" if tls else "http"
        try:
            yield Running(settings, listening.getsockname()[1], app, keys=texts, scheme=scheme)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory) -> Iterator[None]:
    """What tests write down does not end up in the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def known_people(tmp_path_factory, server_analyzer) -> Path:
    """A gallery of one person, Grace; not to be changed, but copied."""
    path = tmp_path_factory.mktemp("known") / "people.db"
    with Gallery.open(path) as gallery:
        gallery.enrol("Grace", server_analyzer.with_tasks(("detect", "embed"))(PHOTOS / "grace_hopper.jpg"))
    return path


@contextmanager
def with_grace(folder: Path, people: Path, analyzer: FaceAnalyzer, **how: Any) -> Iterator[Running]:
    """A server in a folder of its own, whose gallery knows Grace; `how` goes to `Settings`: `keys` makes `SCOPES`."""
    needs_keys = bool(how.get("keys"))
    limits = how.pop("limits", Limits(per_minute=0))
    gallery = str(shutil.copy(people, folder / "people.db"))
    settings = Settings(port=0, workers=1, gallery=gallery, folder=folder / "state", limits=limits, **how)
    with running(settings, analyzer, keys=SCOPES if needs_keys else None) as server:
        server.grace = server.people()["people"][0]["id"]
        yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory, known_people, server_analyzer) -> Iterator[Running]:
    """A server for this machine alone, without keys, with a gallery that knows Grace."""
    with with_grace(tmp_path_factory.mktemp("server"), known_people, server_analyzer) as made:
        yield made


@pytest.fixture(scope="session")
def guarded(tmp_path_factory, known_people, server_analyzer) -> Iterator[Running]:
    """The same, and everybody needs a key: `guarded.client("analyze")`, "reader", "writer", "admin"."""
    with with_grace(tmp_path_factory.mktemp("guarded"), known_people, server_analyzer, keys=True) as made:
        yield made


def read_to_end(connection: socket.socket) -> bytes:
    """What comes until the other side closes.

    Raises:
        TimeoutError: it says nothing for long.
    """
    answer = b""
    with suppress(ConnectionError):
        while got := connection.recv(65536):
            answer += got
    return answer


def trusting(certificate: Path) -> ssl.SSLContext:
    """A client's trust in a certificate of a test."""
    return ssl.create_default_context(cafile=str(certificate))


SMALL = Limits(
    picture_bytes=300_000, picture_pixels=2_000_000, pictures=3, video_bytes=1_000_000, queue=4, queue_bytes=2_000_000,
    connections=24, per_minute=0,
)  # fmt: skip


@pytest.fixture(scope="session")
def small(tmp_path_factory, known_people, server_analyzer) -> Iterator[Running]:
    """A server that gives little."""
    with with_grace(tmp_path_factory.mktemp("small"), known_people, server_analyzer, limits=SMALL) as made:
        yield made


@pytest.fixture(scope="session")
def hasty(tmp_path_factory, known_people, server_analyzer) -> Iterator[Running]:
    """The same, and it waits no longer than a second for anybody: for clients that are slow, or say nothing more."""
    limits = replace(SMALL, upload_seconds=1.0)
    with with_grace(tmp_path_factory.mktemp("hasty"), known_people, server_analyzer, limits=limits) as made:
        yield made


@pytest.fixture
def nothing_changes(request) -> Iterator[None]:
    """Whatever attacks a test makes: the gallery is the same before and after it."""
    servers = [
        request.getfixturevalue(name)
        for name in ("small", "hasty", "guarded", "server")
        if name in request.fixturenames
    ]
    before = [one.people() for one in servers]
    yield
    assert [one.people() for one in servers] == before
