"""Whole attempts from pixels: real networks, tracker, gallery, lock-out and audit line; simulated people."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from mien.errors import GalleryError, LivenessError
from mien.liveness.agreement import NotAgreedError
from mien.liveness.audit import audit_path
from mien.liveness.challenge import recorded
from mien.liveness.lockout import FREE, LockedError, Lockout
from mien.liveness.replays import FrameMemory
from mien.liveness.verifying import Probe, best_probes, verify
from tests.liveness.acting import Face, Shown, camera
from tests.liveness.staging import Alive, Frame


@pytest.mark.slow
def test_the_right_person_is_let_in(door, actor):
    report = door.play(Alive(actor)).report
    assert report.accepted, report.to_dict()
    assert report.verdict.similarity >= report.verdict.threshold
    assert report.steps == len(report.challenge) == 3
    [line] = door.lines()
    assert line["accepted"]
    assert line["nonce"] == report.nonce
    assert "Grace" not in json.dumps(line)
    assert Lockout(door.gallery.info.id, report.person, folder=door.folder).wait().failures == 0


@pytest.mark.slow
def test_somebody_alive_who_is_not_the_person(door, actor):
    report = door.play(Alive(actor, seed=1), who="Eileen").report
    assert report.reason == "not-recognised"
    assert report.steps == 3
    assert not door.lines()[0]["accepted"]


@pytest.mark.slow
def test_a_print_is_not_let_in(door, actor):
    shown, random = Shown(actor.photo[::-1]), np.random.default_rng(0)
    picture = actor.render(Face())

    def held(status, time):
        return camera(shown(picture, move=(4 * np.sin(time), 2 * np.cos(1.3 * time))), random)

    report = door.play(held).report
    assert report.reason in ("not-done", "presentation")
    assert report.verdict is None


def black(time, index=0):
    return Frame(index, time, np.zeros((64, 64, 3), np.uint8))


def test_each_attempt_has_a_nonce_of_its_own_and_is_for_once(door):
    one, other = door(), door()
    assert one.challenge.nonce != other.challenge.nonce
    with one:
        pass
    assert one.report.reason == "cancelled"
    with pytest.raises(LivenessError, match="one attempt"), one:
        pass
    with pytest.raises(LivenessError, match="with"):
        other.feed(black(0.0))
    with pytest.raises(LivenessError, match="not ended"):
        _ = other.report


def test_the_report_is_about_exactly_these_frames(door):
    def streams(images):
        for image in images:
            with door(challenge=recorded(["smile"])) as session:
                session.feed(Frame(0, 0.0, image))
            yield session

    blank = np.zeros((64, 64, 3), np.uint8)
    other = blank.copy()
    other[3, 4, 1] = 1
    sessions = list(streams([blank, other, blank.reshape(32, 128, 3)]))
    assert len({session.report.stream for session in sessions}) == 3


def test_failures_lock_out_and_refuse_before_a_frame_is_seen(door):
    for _ in range(FREE):
        with door():
            pass
    with pytest.raises(LockedError, match="wait"):
        door()
    assert [line["reason"] for line in door.lines()] == ["cancelled"] * FREE


def test_a_rehearsal_costs_nothing_forgives_nothing_and_never_accepts(door):
    with door():
        pass
    with door(challenge=recorded(["smile"])) as session:
        session.feed(black(0.0))
    assert session.report.reason == "rehearsal"
    assert not session.report.accepted
    assert session.passed is False
    assert Lockout(door.gallery.info.id, session.report.person, folder=door.folder).wait().failures == 1


def test_frames_that_outrun_the_clock_are_no_camera(door):
    """A file read at once, or an old recording."""
    with door(clock=lambda: 0.0) as session:
        for k in range(40):
            session.feed(black(k / 10, k))
    assert session.report.reason == "stream"


def test_nobody_is_let_in_who_cannot_be_noted(door):
    audit_path(door.folder).mkdir(parents=True)
    session = door()

    def begin_and_end():
        with session:
            session.feed(black(0.0))

    with pytest.raises(LivenessError, match="nobody is let in"):
        begin_and_end()
    assert not session.report.accepted
    assert session.feed(black(0.1)).reason == "cancelled"


def test_people_that_there_are_not(door):
    with pytest.raises(GalleryError, match="nobody called"):
        door("Nemo")


@pytest.fixture
def gone(people, seer, portrait):
    """Somebody who may be in two minds."""
    people.enrol("Ada", seer(portrait).largest())
    yield "Ada"
    people.remove("Ada")


def test_who_withdrew_their_consent_is_refused_before_anything(door, gone):
    door.gallery.consent(gone, "unlocking")
    door(gone)
    door.gallery.consent(gone, None)
    for options in ({}, {"challenge": recorded(["smile"])}):
        with pytest.raises(NotAgreedError, match="withdrew"):
            door(gone, **options)
    assert not audit_path(door.folder).exists()
    assert Lockout(door.gallery.info.id, door.gallery.person(gone).id, folder=door.folder).wait().failures == 0
    door.gallery.consent(gone, "unlocking, again")
    door(gone)


def test_whose_time_is_over_is_refused_before_anything(door, gone):
    door.gallery.expire(gone, datetime.now(UTC) + timedelta(days=1))
    door(gone)
    door.gallery.expire(gone, datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(NotAgreedError, match="is over"):
        door(gone)


@pytest.mark.slow
def test_who_withdraws_while_they_stand_there_is_not_let_in(door, gone, actor):
    alive = Alive(actor)

    def withdrawn_at_the_last_moment(status, time):
        if status.state == "closing" and door.gallery.person(gone).withdrawn_at is None:
            door.gallery.consent(gone, None)
        return alive(status, time)

    report = door.play(withdrawn_at_the_last_moment, who=gone).report
    assert report.steps == 3
    assert report.reason == "withdrawn"
    assert report.verdict is None


def test_frames_of_an_earlier_attempt_are_refused(door, actor):
    """Somebody kept what was sent when the door opened, and sends it again."""
    memory, random = FrameMemory(), np.random.default_rng(0)
    film = [Frame(k, k / 10, actor.render(Face(dx=k / 5), random)) for k in range(6)]

    def sent():
        with door(memory=memory) as session:
            for frame in film:
                door.now = frame.time
                status = session.feed(frame)
        return status, session.report

    assert sent()[0].state == "baseline"
    status, report = sent()
    assert status.reason == report.reason == "stream"
    assert report.measures["replayed"] == 3


def test_an_attempt_may_go_from_thread_to_thread(door):
    random = np.random.default_rng(0)
    session = door(clock=lambda: 0.0)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(session.__enter__).result()
        for k in range(6):
            frame = Frame(k, k / 10, random.integers(0, 9, (64, 64, 3), np.uint8))
            assert (one, other)[k % 2].submit(session.feed, frame).result().state == "baseline"
        other.submit(session.__exit__, None, None, None).result()
    assert session.report.reason == "cancelled"
    with door():  # its lock was given back
        pass


def test_what_is_asked_can_be_chosen(door):
    assert "smile" not in door(without=["smile"]).challenge.actions
    with pytest.raises(ValueError, match="remains"):
        door(without=["smile", "blink", "turn-left"])


def probes(embeddings):
    return [Probe(k, 0.9, embedding) for k, embedding in enumerate(embeddings)]


def test_verification_is_one_to_one_and_strict(people, seer, portrait, astronaut):
    grace, eileen = (seer(photo).largest().embeddings[0] for photo in (portrait, astronaut))
    who = people.person("Grace").id
    assert verify(people, who, probes([grace] * 3)).same
    assert not verify(people, who, probes([eileen] * 3)).same
    for mixed in ([grace, eileen, eileen], [eileen, grace, grace], [grace, grace, eileen], [grace] * 4 + [eileen] * 2):
        assert not verify(people, who, probes(mixed)).same
    assert not verify(people, who, []).same
    assert verify(people, who, probes([grace]), fmr=1e-5).threshold > verify(people, who, probes([grace])).threshold
    with pytest.raises(ValueError, match="false match rate"):
        verify(people, who, probes([grace]), fmr=0.5)


def test_the_best_probes_come_from_both_ends():
    seen = [Probe(float(k), 0.9 - 0.01 * k, np.zeros(3, np.float32)) for k in range(20)]
    times = [probe.time for probe in best_probes(seen, 5)]
    assert times == [0.0, 10.0, 1.0, 11.0, 2.0]
    assert best_probes([]) == []
    assert len(best_probes(seen[:1])) == 1
