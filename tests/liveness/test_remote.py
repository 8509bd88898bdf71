"""Attempts whose frames come from a client: it sends pictures, and nothing that it says is believed."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mien.errors import LivenessError, ModelError
from mien.liveness.audit import audit_path
from mien.liveness.challenge import NEUTRAL, TEXTS
from mien.liveness.guards import Limits
from mien.liveness.lockout import LockedError, Lockout
from mien.liveness.performing import Timing
from mien.liveness.remote import Bounds, RemoteSession
from mien.liveness.replays import FrameMemory
from mien.liveness.session import Session
from tests.liveness.acting import Face
from tests.liveness.staging import Alive
from tests.liveness.synthetic import asking, do, play



def dark(n, seed=0):
    """Frames without a face, each with noise of its own."""
    return list(np.random.default_rng(seed).integers(0, 9, (n, 64, 64, 3), np.uint8))


[DARK] = dark(1)


@pytest.fixture
def remote(door):
    """Makes attempts by the clock of the door, and closes them."""
    made = []

    def begin(*, bounds=None, **options):
        made.append(RemoteSession(door(**options), bounds=bounds, clock=lambda: door.now))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def send(attempt, door, images, *, rate=10.0, first=0):
    """Frames that come one by one; what the client is told last."""
    progress = attempt.progress
    for number, image in enumerate(images, first):
        door.now += 1 / rate
        progress = attempt.feed(image, nonce=attempt.nonce, number=number)
    return progress


def test_what_a_client_is_told_first(remote):
    told = remote().progress.to_dict()
    assert told["prompt"] == dict(NEUTRAL)
    assert len(told.pop("nonce")) == 32
    assert told.pop("seconds_left") == 90.0
    assert told == {"state": "baseline", "step": 0, "steps": 3, "prompt": dict(NEUTRAL)}  # not what will be asked


@pytest.mark.slow
def test_somebody_before_a_camera_far_away_is_let_in(remote, door, actor):
    attempt, alive, told = remote(), Alive(actor), []
    while not attempt.done:
        image = alive(attempt._status, door.now)
        told.append(send(attempt, door, [image], first=len(told)).to_dict())
    assert attempt.report.accepted, attempt.report.to_dict()
    assert told[-1]["accepted"]
    assert told[-1]["prompt"]["zh"] == "欢迎。"
    asked = {told["action"]: told["prompt"] for told in told if "action" in told}
    assert asked == {action: dict(TEXTS[action]) for action in attempt.report.challenge}
    assert all(set(one) <= {"state", "step", "steps", "prompt", "seconds_left", "nonce", "action"} for one in told[:-1])
    assert set(told[-1]) == {"state", "step", "steps", "prompt", "seconds_left", "nonce", "accepted"}
    assert Lockout(door.gallery.info.id, attempt.report.person, folder=door.folder).wait().failures == 0


def test_frames_for_another_attempt_end_this_one(remote, door):
    attempt = remote()
    assert not send(attempt, door, dark(3)).accepted
    for nonce in ("0" * 32, "", "\ud800", "\N{SNOWMAN}"):
        progress = attempt.feed(DARK, nonce=nonce, number=9)
        assert progress.accepted is False
    assert attempt.report.reason == "stream"
    assert [line["reason"] for line in door.lines()] == ["stream"]


@pytest.mark.parametrize("number", [1, 2, -5])
def test_frames_that_come_again_or_late_end_it(remote, door, number):
    attempt = remote()
    send(attempt, door, dark(3))
    assert attempt.feed(DARK, nonce=attempt.nonce, number=number).accepted is False
    assert attempt.report.reason == "stream"


def test_frames_of_an_earlier_attempt_are_refused(remote, door, actor):
    """Somebody kept what was sent when the door opened, and sends it again."""
    memory, random = FrameMemory(), np.random.default_rng(0)
    film = [actor.render(Face(dx=k / 5), random) for k in range(6)]
    with remote(memory=memory) as first:
        assert send(first, door, film).state == "baseline"
    again = remote(memory=memory)
    assert send(again, door, film).accepted is False
    assert again.report.reason == "stream"
    assert again.report.measures["replayed"] == 3


def test_too_many_frames(remote, door):
    attempt = remote(bounds=Bounds(frames=5))
    assert send(attempt, door, dark(5)).accepted is None
    assert send(attempt, door, [DARK], first=5).accepted is False
    assert attempt.report.reason == "too-long"


def test_too_many_seconds_whether_frames_come_or_not(remote, door):
    attempt = remote(bounds=Bounds(seconds=1.0))
    assert send(attempt, door, dark(9)).seconds_left == pytest.approx(0.1)
    assert not attempt.expire()
    assert send(attempt, door, dark(3, 1), first=9).accepted is False
    assert attempt.report.reason == "too-long"
    other = remote(bounds=Bounds(seconds=1.0))
    door.now += 1.1
    assert other.expire()
    assert other.report.reason == "too-long"


def test_a_client_that_went_away_does_not_keep_the_door_shut(remote, door):
    attempt = remote()
    send(attempt, door, [DARK])
    door.now += 9.9
    assert not attempt.expire()
    with pytest.raises(LockedError, match="under way"):
        remote()
    door.now += 0.2
    assert attempt.expire()
    assert attempt.report.reason == "cancelled"
    assert remote().progress.accepted is None


def test_frames_that_come_too_fast_are_left_out(remote, door):
    attempt = remote(bounds=Bounds(rate=10.0))
    send(attempt, door, dark(50), rate=50.0)
    attempt.close()
    assert 9 <= attempt.report.measures["frames"] <= 10


def test_times_are_those_of_arrival(remote, door):
    """A film that is sent at once, by the clock of the server."""
    attempt = remote(bounds=Bounds(rate=1e9))
    for number, image in enumerate(dark(20)):
        attempt.feed(image, nonce=attempt.nonce, number=number, at=door.now + number / 10)
    door.now += 0.1
    attempt.feed(DARK, nonce=attempt.nonce, number=99, at=door.now + 8.0)
    assert attempt.report.reason == "stream"


@pytest.mark.parametrize(
    "image",
    [
        None, b"jpeg", np.zeros((64, 64), np.uint8), np.zeros((64, 64, 4), np.uint8), np.zeros((64, 64, 3)),
        np.zeros((8, 64, 3), np.uint8), np.zeros((32, 4097, 3), np.uint8), np.zeros((0, 0, 3), np.uint8),
    ],
    ids=["none", "bytes", "grey", "rgba", "floats", "small", "large", "empty"],
)  # fmt: skip
def test_what_is_no_picture_is_said_and_changes_nothing(remote, door, image):
    attempt = remote()
    with pytest.raises(ValueError, match="a frame"):
        attempt.feed(image, nonce=attempt.nonce, number=0)
    assert send(attempt, door, [DARK]).accepted is None


def test_large_frames_are_scaled_down(remote, door):
    seen = []

    class Looking:
        def feed(self, frame):
            seen.append(frame.image.shape)
            raise ModelError("looked")

    attempt = RemoteSession(session_with(door, Looking()), clock=lambda: door.now)
    with pytest.raises(ModelError, match="looked"):
        send(attempt, door, [np.zeros((720, 1280, 3), np.uint8)])
    assert seen == [(360, 640, 3)]


def session_with(door, seeing):
    return Session(
        door.gallery, "Grace", seeing, alike=lambda a, b: 1.0, limits=Limits(), folder=door.folder,
        clock=lambda: door.now,
    )  # fmt: skip


def test_a_network_that_fails_ends_it_and_the_next_may_begin(remote, door):
    class Failing:
        def feed(self, frame):
            raise ModelError("no memory")

    attempt = RemoteSession(session_with(door, Failing()), clock=lambda: door.now)
    with pytest.raises(ModelError):
        send(attempt, door, [DARK])
    assert attempt.report.reason == "cancelled"
    assert attempt.progress.accepted is False
    assert remote().progress.accepted is None


def test_who_cannot_be_noted_is_not_welcomed(remote, door):
    attempt = remote()
    audit_path(door.folder).mkdir(parents=True)
    with pytest.raises(LivenessError, match="nobody is let in"):
        attempt.close()
    assert attempt.done
    assert attempt.progress.to_dict()["accepted"] is False
    audit_path(door.folder).rmdir()
    assert remote().progress.accepted is None


def test_threads_may_take_turns(remote, door):
    attempt, frames = remote(bounds=Bounds(rate=1e9)), dark(12)

    def one(number):
        return attempt.feed(frames[number], nonce=attempt.nonce, number=number, at=door.now + number / 10)

    with ThreadPoolExecutor(4) as pool:
        for number in range(12):
            assert pool.submit(one, number).result().accepted is None
        list(pool.map(lambda _: attempt.close(), range(4)))
    assert attempt.report.reason == "cancelled"
    assert attempt.report.measures["frames"] == 12
    assert len(door.lines()) == 1


def test_memory_is_bounded():
    """Of a puppet that is never at rest, so that nothing is asked; what is kept has limits of its own, besides."""

    def waits(puppet, status, time):
        do(puppet, None, 0)
        puppet.happiness = 0.9

    tracemalloc.start()
    try:
        status, _ = play(asking("smile"), waits, seconds=15.0, timing=Timing(whole=12.0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status.reason == "too-long"
    assert peak < 16e6
