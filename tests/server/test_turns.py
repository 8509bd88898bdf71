"""Frames of one attempt in order, whatever order they come in; times are by hand, waits are real and short."""

import asyncio

import pytest

from mien.server.turns import RepeatedError, Turns

PATIENCE = 0.05


def run(scene):
    """What a scene of (number, arrived, pause after it) gives: numbers and times in the order of turns; all that came.

    A pause of None waits until the frame has had its turn, or was missed.
    """

    async def played():
        turns, order, came = Turns(ahead=4, patience=PATIENCE), [], {}

        async def one(number, arrived):
            time = await turns.take(number, arrived)
            if time is not None:
                order.append((number, time))
            return time

        for number, arrived, pause in scene:
            came[number] = asyncio.ensure_future(one(number, arrived))
            await (came[number] if pause is None else asyncio.sleep(pause))
        return order, await asyncio.gather(*came.values(), return_exceptions=True)

    return asyncio.run(played())


def numbers(order):
    return [number for number, _ in order]


def test_in_order_each_has_its_own_time_and_nobody_waits():
    order, _ = run([(n, n / 10, 0) for n in range(9)])
    assert order == [(n, n / 10) for n in range(9)]


@pytest.mark.parametrize("come", [(0, 2, 1, 3), (1, 0, 3, 2), (3, 2, 1, 0), (0, 3, 1, 2)])
def test_who_was_overtaken_goes_first_and_times_rise(come):
    order, _ = run([(number, 10 + k / 100, 0) for k, number in enumerate(come)])
    assert numbers(order) == [0, 1, 2, 3]
    times = [time for _, time in order]
    assert times == sorted(set(times))
    assert all(time <= 10 + come.index(number) / 100 for number, time in order)  # never later than it came
    assert times[0] >= 10 - 0.1


def test_who_was_overtaken_was_taken_shortly_before_the_one_that_overtook():
    order, _ = run([(0, 1.0, 0), (2, 1.16, 0), (1, 1.3, 0)])
    assert order == [(0, 1.0), (1, pytest.approx(1.11)), (2, 1.16)]


def test_who_does_not_come_is_missed_once():
    order, came = run([(0, 0.0, 0), (2, 0.2, None), (3, 0.3, None), (1, 0.4, None), (4, 0.5, None)])
    assert numbers(order) == [0, 2, 3, 4]
    assert came[3] is None
    order, came = run([(0, 0.0, 0), (2, 0.2, None), (1, 0.3, None), (3, 0.4, None)])
    assert numbers(order) == [0, 2, 3]


def test_several_that_do_not_come():
    order, _ = run([(3, 0.0, 0), (1, 0.1, 0)])
    assert numbers(order) == [1, 3]


def test_the_first_may_be_missed_too():
    order, _ = run([(1, 0.0, None), (2, 0.1, None)])
    assert order == [(1, 0.0), (2, 0.1)]


@pytest.mark.parametrize("scene", [
    [(0, 0.0, 0), (0, 0.1, 0)],
    [(0, 0.0, 0), (4, 0.1, 0), (5, 0.1, 0)],
    [(4, 0.0, 0)],
])  # fmt: skip
def test_who_comes_twice_or_far_out_of_turn(scene):
    _, came = run(scene)
    assert isinstance(came[-1], RepeatedError)


def test_who_comes_twice_while_the_first_waits():
    async def played():
        turns = Turns(patience=PATIENCE)
        waiting = asyncio.ensure_future(turns.take(1, 0.0))
        await asyncio.sleep(0)
        with pytest.raises(RepeatedError):
            await turns.take(1, 0.1)
        return await waiting

    assert asyncio.run(played()) == 0.0


def test_who_came_too_late_does_so_once():
    async def played():
        turns = Turns(patience=PATIENCE)
        await turns.take(1, 0.0)
        assert await turns.take(0, 0.1) is None
        with pytest.raises(RepeatedError):
            await turns.take(0, 0.2)
        turns.excuse(1)  # it could not be read
        assert await turns.take(1, 0.3) is None
        return await turns.take(2, 0.4)

    assert asyncio.run(played()) == 0.4


def test_who_hangs_up_holds_up_nobody_for_long():
    async def played():
        turns = Turns(patience=PATIENCE)
        gone = asyncio.ensure_future(turns.take(1, 0.0))
        last = asyncio.ensure_future(turns.take(2, 0.1))
        await asyncio.sleep(0)
        gone.cancel()
        return await last

    assert asyncio.run(played()) == 0.1
