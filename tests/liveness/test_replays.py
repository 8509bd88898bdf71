from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import numpy as np

from mien.liveness.judge import Judge
from mien.liveness.replays import FrameMemory, Replays
from tests.liveness.synthetic import Puppet, asking, do, ramp


def played(memory, nonce, seen):
    """Observations judged with a memory; the reason for which that ended."""
    judge = Judge(replace(asking("smile"), nonce=nonce), lambda a, b: 1.0, more=[Replays(memory, nonce)])
    statuses = [judge.see(one) for one in seen]
    return statuses[-1].reason, judge.measures


def film(seed):
    """A smile at 2 s, and what was seen of it."""
    puppet, out = Puppet(random=np.random.default_rng(seed)), []
    for k in range(120):
        do(puppet, "smile", ramp(k / 20, 2.0))
        out.append(puppet.at(k / 20))
    return out


def test_frames_of_an_earlier_attempt_end_this_one():
    memory, seen = FrameMemory(), film(0)
    assert played(memory, "a" * 32, seen)[0] == "accepted"
    reason, measures = played(memory, "b" * 32, seen)
    assert reason == "stream"
    assert measures["replayed"] == 3


def test_some_of_its_frames_are_enough():
    memory, seen, other = FrameMemory(), film(0), film(1)
    played(memory, "a" * 32, seen)
    mixed = [seen[k] if k in (30, 41, 52) else other[k] for k in range(120)]
    assert played(memory, "b" * 32, mixed)[0] == "stream"


def test_other_films_and_the_same_attempt_are_let_through():
    memory = FrameMemory()
    assert played(memory, "a" * 32, film(0))[0] == "accepted"
    assert played(memory, "b" * 32, film(1))[0] == "accepted"
    guard, one = Replays(memory, "c" * 32), film(2)[0]
    assert [guard.see(one) for _ in range(9)] == [None] * 9


def test_frames_without_a_face_may_be_the_same():
    """A covered lens gives the same black picture every time."""
    memory = FrameMemory()
    black = replace(Puppet().at(0.0), look=None, digest=bytes(32))
    for nonce in "abc":
        guard = Replays(memory, nonce * 32)
        assert [guard.see(black) for _ in range(9)] == [None] * 9
    assert len(memory) == 0


def test_the_oldest_are_forgotten_and_threads_may_share_it():
    memory = FrameMemory(most=50)

    def fill(n):
        return [memory.of_another(sha256(f"{n} {k}".encode()).digest(), str(n)) for k in range(500)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(fill, range(8)))
    assert not any(map(any, answers))
    assert len(memory) == 50
