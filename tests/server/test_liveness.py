"""Attempts to unlock over HTTP: a simulated person is let in, and whoever sends what was sent before is not."""

import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from mien import Gallery, load_image
from mien.liveness.audit import audit_path
from mien.liveness.challenge import ACTIONS
from mien.liveness.judge import Status
from mien.liveness.lockout import FREE, Lockout
from mien.server import attempts
from mien.server.turns import AHEAD, Turns
from tests.liveness.acting import Actor, Manner
from tests.liveness.staging import RATE, Alive
from tests.server.conftest import PATIENCE
from tests.server.serving import ASTRONAUT, HOPPER, enrol, image, key, refused, serving

LIVENESS = "/v1/liveness"
SESSIONS = 3
SLOW = Manner(0.35, 0.9, 0.35, strength=1.2)  # eyes are closed for a second, as is asked
EYES = 60.0  # pixels between them


class Clock:
    """The server's clock, by hand: how fast this machine renders people is no part of the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Patient(Alive):
    """Does what was not seen again, as people do: who blinks as they are asked to close their eyes was too early."""

    def __call__(self, status, time):
        if status.action is not None and time > self._begin + self._manner.seconds + 0.5:
            self._answered = status.step
        return super().__call__(status, time)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
def server(server_analyzer, place):
    Gallery.open(place / "people.db").close()
    with serving(server_analyzer, place, gallery=str(place / "people.db"), limits={"sessions": SESSIONS}) as client:
        enrol(client, "Grace", HOPPER)
        enrol(client, "Eileen", ASTRONAUT)
        yield client


@pytest.fixture
def clock(server):
    own = server.app.state.context.attempts
    before, own.clock = own.clock, Clock()
    yield own.clock
    own.clock = before


@pytest.fixture
def client(server, place):
    """Nobody is locked out, and no attempt is under way."""
    yield server
    own = server.app.state.context.attempts
    for attempt in list(own._attempts.values()):
        server.delete(f"{LIVENESS}/{attempt.id}")
    gallery = server.app.state.context.gallery
    for person in gallery.people():
        Lockout(gallery.info.id, person.id, folder=place).clear()


@pytest.fixture(scope="module")
def actor(server_analyzer):
    picture = load_image(HOPPER)
    return Actor(picture, server_analyzer.with_tasks(("detect",))(picture).landmarks[0], EYES)


def jpeg(pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue()


GREY = jpeg(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))


def begun(client, who="Grace", **more):
    answer = client.post(LIVENESS, json={"person": who, **more.pop("body", {})}, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()["session"]


def send(client, session, n, data=GREY, **how):
    return client.post(f"{LIVENESS}/{session['id']}/frames", params={"n": n}, content=data, **how)


def played(client, clock, scene, session, frames=None):
    """Play a scene to the server until the attempt ends."""
    told = session
    for n in range(600):
        clock.now += 1 / RATE
        status = Status("asked" if told.get("action") else "rest", told["step"], told.get("action"))
        data = jpeg(scene(status, n / RATE))
        if frames is not None:
            frames.append(data)
        answer = send(client, session, n, data)
        assert answer.status_code == 200, answer.text
        told = answer.json()["session"]
        if told["state"] == "done":
            return told
    raise AssertionError(told)


@pytest.mark.slow
def test_the_right_person_is_let_in_and_their_frames_let_nobody_in_again(client, clock, actor, place):
    session, frames = begun(client), []
    assert set(session["actions"]) == set(ACTIONS) == set(session["texts"])
    assert session["state"] == "baseline"
    told = played(client, clock, Patient(actor, 0, SLOW), session, frames)
    assert told["accepted"], (told, client.get(f"{LIVENESS}/{session['id']}").json())
    assert told["step"] == told["steps"] == 3
    assert told["hint"]["zh"] == "欢迎。"
    report = client.get(f"{LIVENESS}/{session['id']}").json()["session"]["report"]
    assert report["nonce"] == session["nonce"]
    assert report["verification"]["same"]
    assert "measures" not in report
    line = json.loads(audit_path(place).read_text().splitlines()[-1])
    assert (line["nonce"], line["accepted"]) == (session["nonce"], True)

    refused(send(client, session, len(frames)), 409, "ended")
    again = begun(client)
    assert again["nonce"] != session["nonce"]
    for n, data in enumerate(frames):
        clock.now += 1 / RATE
        told = send(client, again, n, data).json()["session"]
        if told["state"] == "done":
            break
    assert told["state"] == "done"
    assert not told["accepted"], told


@pytest.mark.slow
def test_somebody_alive_who_is_not_the_person(client, clock, actor):
    session = begun(client, "Eileen")
    told = played(client, clock, Patient(actor, 1, SLOW), session)
    assert told["reason"] == "not-recognised", str(client.get(f"{LIVENESS}/{session['id']}").json())
    assert told["accepted"] is False


@pytest.mark.parametrize("second", [0, 1 + AHEAD, 100])
def test_a_frame_that_comes_twice_or_far_out_of_turn_ends_the_attempt(client, clock, second):
    session = begun(client)
    assert send(client, session, 0).json()["session"]["state"] == "baseline"
    refused(send(client, session, second), 409, "replayed")
    refused(send(client, session, 1), 409, "ended")
    told = client.get(f"{LIVENESS}/{session['id']}").json()["session"]
    assert (told["state"], told["accepted"], told["reason"]) == ("done", False, "cancelled")


def held(client, session):
    """The server's own side of an attempt."""
    return client.app.state.context.attempts._attempts[session["id"]]


def judged(client, session):
    """How many frames were."""
    return held(client, session).session._trial.judge.measures["frames"]


def test_frames_that_overtake_each_other_on_the_way_are_put_in_order(client, clock):
    session = begun(client)
    held(client, session).turns = Turns(patience=30)  # however slow this machine is
    with ThreadPoolExecutor(3) as threads:
        early = [threads.submit(send, client, session, n) for n in (2, 1)]
        wait(lambda: held(client, session).waiting == 2)
        clock.now += 0.05
        answers = [send(client, session, 0), *(one.result() for one in early)]
    assert [answer.status_code for answer in answers] == [200] * 3
    clock.now += 0.08
    assert send(client, session, 3).json()["session"]["state"] == "baseline"
    assert judged(client, session) == 4


def test_a_frame_that_comes_too_late_is_not_judged_and_does_no_harm(client, clock):
    """An honest client on a bad network: a packet of frame 1 is lost, and sent again after a while."""
    session = begun(client)
    for n in (0, 2, 3):
        assert send(client, session, n).status_code == 200
        clock.now += 0.08
    assert judged(client, session) == 3
    late = send(client, session, 1)
    assert (late.status_code, late.json()["session"]["state"]) == (200, "baseline")
    assert judged(client, session) == 3
    assert send(client, session, 4).status_code == 200
    refused(send(client, session, 1), 409, "replayed")  # but who sends it twice replays it


def test_who_leaves_out_what_the_camera_saw_is_told_by_time(client, clock):
    """Numbers may be left out; seconds may not."""
    session, pictures = begun(client), np.random.default_rng(2).integers(0, 255, (3, 64, 64, 3), np.uint8)
    for n, picture in zip((0, 2, 3), pictures, strict=True):
        clock.now += 0.24
        told = send(client, session, n, jpeg(picture)).json()["session"]
    assert told["state"] == "baseline"
    clock.now += 0.5
    told = send(client, session, 5, GREY).json()["session"]
    assert (told["state"], told["reason"]) == ("done", "stream")


def test_what_is_no_frame_does_not_count(client, clock):
    session = begun(client)
    refused(send(client, session, 0, b"no picture"), 422, "not-a-picture")
    refused(send(client, session, 1, b""), 422, "empty")
    refused(send(client, session, -1), 422, "invalid")
    refused(client.post(f"{LIVENESS}/{session['id']}/frames", content=GREY), 422, "invalid")
    assert send(client, session, 0).status_code == 200  # whether the next has its number
    assert send(client, session, 1).status_code == 200  # or the one after it
    assert judged(client, session) == 1
    clock.now += 0.08
    refused(send(client, session, 2, b"no picture"), 422, "not-a-picture")
    assert send(client, session, 3).status_code == 200
    assert judged(client, session) == 2


def test_a_frozen_camera_is_no_camera(client, clock):
    session = begun(client)
    for n in range(20):
        clock.now += 0.1
        told = send(client, session, n).json()["session"]
        if told["state"] == "done":
            break
    assert (told["accepted"], told["reason"]) == (False, "stream")


def test_frames_are_timed_by_the_server(client, clock):
    """A recording that is sent as fast as can be is out of pace, whatever it would say of its times."""
    session = begun(client)
    random = np.random.default_rng(1)
    for n in range(30):
        data = jpeg(random.integers(0, 255, (64, 64, 3), np.uint8))
        told = send(client, session, n, data).json()["session"]
        if told["state"] == "done":
            break
    assert told["reason"] == "stream"


def test_a_session_is_of_no_use_to_others(server_analyzer, tmp_path):
    Gallery.open(tmp_path / "people.db").close()
    mine, thief = (key(tmp_path, name, "gallery:write") for name in ("mine", "thief"))
    settings = {"gallery": str(tmp_path / "people.db"), "keys": True}
    with serving(server_analyzer, tmp_path, **settings) as client:
        form = {"data": {"name": "Grace"}, "files": [image(HOPPER)], "headers": mine}
        assert client.post("/v1/gallery/people", **form).status_code == 201
        session = begun(client, headers=mine)
        path = f"{LIVENESS}/{session['id']}"
        refused(send(client, session, 0, headers=thief), 404, "not-found")
        refused(client.get(path, headers=thief), 404, "not-found")
        refused(client.delete(path, headers=thief), 404, "not-found")
        refused(send(client, session, 0), 401, "no-key")
        assert send(client, session, 0, headers=mine).status_code == 200
    assert json.loads(audit_path(tmp_path).read_text().splitlines()[-1])["reason"] == "cancelled"


def test_no_more_sessions_than_may_and_each_place_is_given_back(client, place):
    names = ["Grace", "Eileen"]
    enrol(client, "Third", HOPPER, ASTRONAUT, largest=True)
    refused(client.post(LIVENESS, json={"person": "Nemo"}), 404, "not-found")  # takes no place
    sessions = [begun(client, name) for name in names]
    refused(client.post(LIVENESS, json={"person": "Grace"}), 423, "locked")  # one attempt at a time
    with client.app.state.context.places.taken("somebody else"):
        full = client.post(LIVENESS, json={"person": "Eileen"})
        refused(full, 429, "full")
        assert int(full.headers["retry-after"]) > 0
    assert client.delete(f"{LIVENESS}/{sessions[0]['id']}").status_code == 204
    assert client.delete(f"{LIVENESS}/{sessions[0]['id']}").status_code == 204  # places are given back once
    assert begun(client, "Grace")["state"] == "baseline"
    assert client.app.state.context.places.free == SESSIONS - 2


def test_failures_lock_out(client):
    for _ in range(FREE):
        session = begun(client)
        client.delete(f"{LIVENESS}/{session['id']}")
    answer = client.post(LIVENESS, json={"person": "Grace"})
    refused(answer, 423, "locked")
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert begun(client, "Eileen")["state"] == "baseline"


def test_attempts_that_nobody_goes_on_with_end_and_are_forgotten(client, clock):
    silent, idle = begun(client), begun(client, "Eileen")
    send(client, idle, 0)
    own = client.app.state.context.attempts

    def states():
        return [own._attempts[one["id"]].over is not None for one in (silent, idle) if one["id"] in own._attempts]

    clock.now += attempts.IDLE + 1
    wait(lambda: states() == [False, True])
    clock.now += attempts.FIRST
    wait(lambda: states() == [True, True])
    refused(send(client, idle, 1), 409, "ended")
    clock.now += attempts.KEPT + 1
    wait(lambda: states() == [])
    refused(client.get(f"{LIVENESS}/{idle['id']}"), 404, "not-found")
    wait(lambda: not [one for one in threading.enumerate() if one.name.startswith("mien-attempt_")])


def wait(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_people_who_may_not_be_let_in(client):
    gallery = client.app.state.context.gallery
    who = gallery.person("Eileen").id
    try:
        gallery.consent(who, None)
        refused(client.post(LIVENESS, json={"person": "Eileen"}), 409, "no-consent")
        gallery.consent(who, "yes")
        client.patch(f"/v1/gallery/people/{who}", json={"expires": "2020-01-01"})
        refused(client.post(LIVENESS, json={"person": "Eileen"}), 409, "expired")
    finally:
        gallery.expire(who, None)
    assert begun(client, "Eileen")["steps"] >= 3


def test_frames_that_come_faster_than_they_are_judged(client):
    session = begun(client)
    attempt = held(client, session)
    judging = threading.Event()
    attempt.thread.submit(judging.wait)
    with ThreadPoolExecutor(8) as pool:
        first = [pool.submit(send, client, session, 0) for _ in range(attempts._WAITING)]
        wait(lambda: attempt.waiting == attempts._WAITING)
        refused(send(client, session, 1), 429, "behind")
        judging.set()
        answers = sorted(one.result().status_code for one in first)
    assert answers == [200] + [409] * (attempts._WAITING - 1)  # they all said to be the first frame


def test_what_is_asked_for_wrongly(client):
    for body in (
        {},
        {"person": 7},
        {"person": ""},
        {"person": "Grace", "without": ["wink"]},
        {"person": "Grace", "x": 1},
    ):
        refused(client.post(LIVENESS, json=body), 422, "invalid")
    three = {"person": "Grace", "without": ["smile", "blink", "turn-left"]}
    refused(client.post(LIVENESS, json=three), 422, "invalid")
    session = begun(client, body={"without": ["blink", "smile"]})
    assert "smile" not in session["actions"]
    refused(client.get(f"{LIVENESS}/{'a' * 22}"), 404, "not-found")
    refused(client.get(f"{LIVENESS}/x"), 422, "invalid")


def test_nobody_is_let_in_who_cannot_be_noted_and_no_path_is_told(server_analyzer, tmp_path):
    Gallery.open(tmp_path / "people.db").close()
    with serving(server_analyzer, tmp_path, gallery=str(tmp_path / "people.db")) as client:
        enrol(client, "Grace", HOPPER)
        audit_path(tmp_path).mkdir(parents=True)
        session = begun(client)
        refused(send(client, session, 100), 503, "liveness-unusable")
        assert client.get(f"{LIVENESS}/{session['id']}").json()["session"]["accepted"] is False
