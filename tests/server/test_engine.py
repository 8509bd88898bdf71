"""The engine: requests share passes, no more wait than can be served, and whoever has left costs nothing."""

import asyncio
import threading

import pytest

from mien.errors import ImageDecodeError
from mien.server.engine import Engine
from mien.server.metrics import Metrics
from mien.server.problems import Problem
from mien.server.settings import Limits, Settings
from tests.conftest import PHOTOS
from tests.server.conftest import PATIENCE

PICTURE = (PHOTOS / "astronaut.jpg").read_bytes()


class Clock:
    """Stands where `time` is used: an hour passes when the test says so."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Gate:
    """An analyzer whose passes wait until they are let through, and which notes what is in each."""

    def __init__(self, analyzer) -> None:
        self._analyzer = analyzer
        self.open, self.inside = threading.Event(), threading.Event()
        self.passes = []

    def load(self):
        return self

    def detector(self, images):
        self.passes.append(len(images))
        self.inside.set()
        assert self.open.wait(PATIENCE)
        return self._analyzer.detector(images)

    def describe(self, images, faces, only):
        return self._analyzer.describe(images, faces, only)


@pytest.fixture
def gate(server_analyzer):
    return Gate(server_analyzer)


def started(analyzer, **limits) -> Engine:
    engine = Engine(Settings(workers=1, batch=4, limits=Limits(**limits)), analyzer, Metrics())
    engine.start()
    return engine


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)


def test_what_waits_shares_a_pass_and_answers_are_those_of_one_alone(gate, server_analyzer):
    engine = started(gate)
    alone = server_analyzer.with_tasks(("detect",))(PICTURE).to_dicts()

    async def run():
        first = asyncio.create_task(engine.analyze(PICTURE, only=("detect",)))
        await until(gate.inside)
        others = [asyncio.create_task(engine.analyze(PICTURE, only=("detect",))) for _ in range(6)]
        await asyncio.sleep(0)  # each has asked
        gate.open.set()
        return await asyncio.gather(first, *others)

    answers = asyncio.run(run())
    engine.close()
    assert gate.passes == [1, 4, 2]
    assert all(answer.faces.to_dicts() == alone for answer in answers)


def test_a_bad_picture_in_a_pass_is_refused_alone(gate):
    engine = started(gate)

    async def run():
        first = asyncio.create_task(engine.analyze(PICTURE, only=("detect",)))
        await until(gate.inside)
        others = [engine.analyze(data, only=("detect",), name="b.jpg") for data in (PICTURE, b"no", PICTURE)]
        waiting = asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # each has asked
        gate.open.set()
        await first
        return await waiting

    one, bad, other = asyncio.run(run())
    engine.close()
    assert isinstance(bad, ImageDecodeError)
    assert str(bad).startswith("b.jpg")
    assert len(one.faces) == len(other.faces) == 1


def test_no_more_wait_than_may_and_they_hold_no_more_bytes(gate):
    engine = started(gate, queue=2, queue_bytes=3 * len(PICTURE))

    async def run():
        first = asyncio.create_task(engine.analyze(PICTURE, only=("detect",)))
        await until(gate.inside)
        others = [asyncio.create_task(engine.analyze(PICTURE, only=("detect",))) for _ in range(2)]
        await asyncio.sleep(0)  # each has asked
        with pytest.raises(Problem) as full:
            await engine.analyze(PICTURE, only=("detect",))
        gate.open.set()
        await asyncio.gather(first, *others)
        with pytest.raises(Problem) as heavy:
            await engine.analyze(bytes(4 * len(PICTURE)), only=("detect",))
        return full.value, heavy.value, await engine.analyze(PICTURE, only=("detect",))

    full, heavy, after = asyncio.run(run())
    engine.close()
    assert full.status == heavy.status == 429
    assert full.headers["Retry-After"] == "1"
    assert len(after.faces) == 1


def test_whoever_has_left_costs_nothing_and_whoever_waited_too_long_is_told(gate, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("mien.server.engine.time", clock)
    engine = started(gate)

    async def run():
        first = asyncio.create_task(engine.analyze(PICTURE, only=("detect",)))
        await until(gate.inside)
        left = asyncio.create_task(engine.analyze(PICTURE, only=("detect",)))
        late = asyncio.create_task(engine.analyze(PICTURE, only=("detect",)))
        await asyncio.sleep(0)  # each has asked
        left.cancel()
        await asyncio.sleep(0)
        clock.now += 3600
        gate.open.set()
        await first
        with pytest.raises(Problem) as problem:
            await late
        return problem.value

    problem = asyncio.run(run())
    engine.close()
    assert (problem.status, problem.code) == (503, "late")
    assert gate.passes == [1]


def test_stopping_finishes_what_was_accepted_and_accepts_no_more(gate):
    engine = started(gate)

    async def run():
        asked = [asyncio.create_task(engine.analyze(PICTURE, only=("detect",))) for _ in range(3)]
        await until(gate.inside)
        closing = asyncio.create_task(asyncio.to_thread(engine.close))
        while not engine._closing:
            await asyncio.sleep(0.01)
        with pytest.raises(Problem) as refused:
            await engine.analyze(PICTURE, only=("detect",))
        gate.open.set()
        answers = await asyncio.gather(*asked)
        await closing
        return refused.value, answers

    refused, answers = asyncio.run(run())
    assert (refused.status, refused.code) == (503, "closing")
    assert [len(answer.faces) for answer in answers] == [1, 1, 1]


def test_a_network_that_fails_fails_its_callers_and_not_the_next(server_analyzer):
    class Failing(Gate):
        def detector(self, images):
            if not self.passes:
                self.passes.append(len(images))
                raise RuntimeError("out of memory")
            return super().detector(images)

    failing = Failing(server_analyzer)
    failing.open.set()
    engine = started(failing)

    async def run():
        with pytest.raises(RuntimeError, match="out of memory"):
            await engine.analyze(PICTURE, only=("detect",))
        return await engine.analyze(PICTURE, only=("detect",))

    assert len(asyncio.run(run()).faces) == 1
    engine.close()


def test_questions_that_differ_do_not_share_a_pass(gate):
    engine = started(gate)

    async def run():
        first = asyncio.create_task(engine.analyze(PICTURE, only=("detect",)))
        await until(gate.inside)
        others = [
            asyncio.create_task(engine.analyze(PICTURE, only=only))
            for only in (("detect",), ("detect", "expression"), ("detect", "expression"), ("detect",))
        ]
        await asyncio.sleep(0)  # each has asked
        gate.open.set()
        return await asyncio.gather(first, *others)

    answers = asyncio.run(run())
    engine.close()
    assert gate.passes == [1, 1, 2, 1]
    assert [answer.faces.expressions is not None for answer in answers] == [False, False, True, True, False]


def test_other_work_does_not_wait_for_pictures(gate):
    engine = started(gate)

    async def run():
        first = asyncio.create_task(engine.analyze(PICTURE, only=("detect",)))
        await until(gate.inside)
        assert await engine.run(sum, [1, 2]) == 3  # the gate is still shut
        gate.open.set()
        await first

    asyncio.run(run())
    engine.close()
