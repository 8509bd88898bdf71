"""Live frames: one answer a frame, old ones dropped, and clear ends."""

import json
import time
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from mien import Gallery
from mien.server.app import create_app
from mien.server.routes import live
from mien.server.settings import Limits, Settings
from tests.conftest import PHOTOS
from tests.server.conftest import PATIENCE

FRAME = (PHOTOS / "grace_hopper.jpg").read_bytes()


@pytest.fixture(scope="module")
def client(tmp_path_factory, server_analyzer):
    path = tmp_path_factory.mktemp("live") / "people.db"
    with Gallery.open(path) as gallery:
        gallery.enrol("Grace", server_analyzer.with_tasks(("detect", "embed"))(FRAME))
    limits = Limits(picture_bytes=200_000, sessions=2)
    settings = Settings(gallery=str(path), workers=1, limits=limits)
    with TestClient(create_app(settings, server_analyzer), base_url="http://localhost") as client:
        yield client


def talk(socket, **hello) -> None:
    socket.send_text(json.dumps(hello))
    assert socket.receive_json() == {"type": "ready"}


def wait_for(true) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_face_keeps_its_number_and_is_named(client):
    with client.websocket_connect("ws://localhost/v1/live") as socket:
        talk(socket, identify=True)
        answers = []
        for _ in range(6):
            socket.send_bytes(FRAME)
            answers.append(socket.receive_json())
    assert [answer["type"] for answer in answers] == ["faces"] * 6
    assert [answer["frame"] for answer in answers] == list(range(6))
    assert {face["track"] for answer in answers for face in answer["faces"]} == {1}
    face = answers[-1]["faces"][0]
    assert face["identity"]["person"] == "Grace"
    assert sum(face["smoothed"]["scores"].values()) == pytest.approx(1, abs=0.01)
    assert face["pose"]


def test_only_what_is_asked_for_is_said(client):
    with client.websocket_connect("ws://localhost/v1/live") as socket:
        talk(socket, only=["detect"])
        socket.send_bytes(FRAME)
        face = socket.receive_json()["faces"][0]
    assert set(face) == {"box", "score", "landmarks", "track"}


def test_frames_that_come_too_fast_are_dropped_and_said(client):
    with client.websocket_connect("ws://localhost/v1/live") as socket:
        talk(socket, only=["detect"])
        for _ in range(8):
            socket.send_bytes(FRAME)
        answers = [socket.receive_json() for _ in range(8)]
    assert sorted(answer["frame"] for answer in answers) == list(range(8))
    seen = [answer["frame"] for answer in answers if answer["type"] == "faces"]
    assert seen == sorted(seen)
    assert seen[-1] == 7


def test_a_frame_that_is_no_picture_does_not_end_it(client):
    with client.websocket_connect("ws://localhost/v1/live") as socket:
        talk(socket)
        socket.send_bytes(b"no picture")
        bad = socket.receive_json()
        assert (bad["type"], bad["frame"], bad["error"]["status"]) == ("error", 0, 422)
        socket.send_bytes(FRAME)
        assert socket.receive_json()["type"] == "faces"


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ("{", 1008),
        ('{"only": ["embed"]}', 1008),
        ('{"identify": "yes"}', 1008),
        ('{"path": "/etc/passwd"}', 1008),
        ("x" * 5000, 1008),
        (b"bytes", 1008),
    ],
)
def test_a_first_message_that_is_none_ends_it(client, hello, code):
    with client.websocket_connect("ws://localhost/v1/live") as socket:
        (socket.send_text if isinstance(hello, str) else socket.send_bytes)(hello)
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_json()
    assert end.value.code == code


@pytest.mark.parametrize(("message", "code"), [("text", 1008), (bytes(300_000), 1009)])
def test_what_is_no_frame_ends_it(client, message, code):
    with client.websocket_connect("ws://localhost/v1/live") as socket:
        talk(socket)
        (socket.send_text if isinstance(message, str) else socket.send_bytes)(message)
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_json()
    assert end.value.code == code


def test_no_more_streams_than_there_are_places(client):
    with (
        client.websocket_connect("ws://localhost/v1/live") as one,
        client.websocket_connect("ws://localhost/v1/live") as two,
    ):
        talk(one)
        talk(two)
        with client.websocket_connect("ws://localhost/v1/live") as three:
            three.send_text("{}")
            with pytest.raises(WebSocketDisconnect) as end:
                three.receive_json()
        assert end.value.code == 1013
    wait_for(lambda: client.app.state.context.places.free == 2)
    with client.websocket_connect("ws://localhost/v1/live") as again:
        talk(again)


def test_whoever_sends_nothing_is_let_go(client, monkeypatch):
    monkeypatch.setattr(live, "_IDLE_SECONDS", 0.1)
    with client.websocket_connect("ws://localhost/v1/live") as socket:
        talk(socket)
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_json()
    assert end.value.code == 1008


def test_the_newest_frame_replaces_older_ones():
    newest = live._Newest()
    assert newest.put(0, b"a") is None
    assert newest.put(1, b"b") == 0
    assert newest.put(2, b"c") == 1
    assert SimpleNamespace(number=newest.number, frame=newest.frame) == SimpleNamespace(number=2, frame=b"c")
