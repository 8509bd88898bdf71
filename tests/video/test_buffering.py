from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mien.video.buffering import Ahead


@dataclass
class Item:
    number: int
    nbytes: int = 1


class Source:
    """Items as fast as they are wanted; remembers how far it came."""

    def __init__(self, count: int, nbytes: int = 1, error: Exception | None = None) -> None:
        self.count, self.nbytes, self.error = count, nbytes, error
        self.given, self.finished = 0, 0

    def __iter__(self) -> Iterator[Item]:
        for number in range(self.count):
            self.given += 1
            yield Item(number, self.nbytes)
        if self.error is not None:
            raise self.error

    def finish(self) -> None:
        self.finished += 1


def ahead(source: Source, *, most: int = 4, most_bytes: int = 1000, drop: bool = False) -> Ahead[Item]:
    return Ahead(
        iter(source), most=most, most_bytes=most_bytes, drop=drop, interrupt=lambda: None, finish=source.finish
    )


def settled(source: Source, at: int) -> int:
    """How far a source came that should come so far, and no farther."""
    end = time.monotonic() + 60
    while source.given < at and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    return source.given


def rest(reading: Ahead[Item]) -> list[int]:
    return [item.number for item in iter(reading.get, None)]


def test_everything_in_order():
    source = Source(1000)
    assert rest(ahead(source)) == list(range(1000))
    assert source.finished == 1


def test_it_waits_where_nobody_takes():
    source = Source(1000)
    reading = ahead(source, most=4)
    assert settled(source, 5) == 5  # four that wait, and one in hand
    assert rest(reading) == list(range(1000))
    assert reading.dropped == 0


@pytest.mark.parametrize(("nbytes", "held"), [(300, 3), (999, 1), (5000, 1)])
def test_large_items_wait_in_smaller_numbers(nbytes, held):
    source = Source(10, nbytes)
    reading = ahead(source, most=8, most_bytes=1000)
    assert settled(source, held + 1) == held + 1
    assert rest(reading) == list(range(10))


def test_dropping_keeps_the_newest():
    source = Source(100)
    reading = ahead(source, most=4, drop=True)
    assert settled(source, 100) == 100
    assert rest(reading) == [96, 97, 98, 99]
    assert reading.dropped == 96


def test_a_peek_takes_nothing():
    reading = ahead(Source(2))
    assert [item.number for item in (reading.peek(), reading.peek(), reading.get()) if item] == [0, 0, 0]
    assert rest(reading) == [1]
    assert reading.peek() is None


def test_an_error_comes_after_the_items_before_it():
    source = Source(3, error=OSError("broken"))
    reading = ahead(source)
    assert [item.number for item in (reading.get() for _ in range(3)) if item] == [0, 1, 2]
    with pytest.raises(OSError, match="broken"):
        reading.get()
    assert reading.get() is None
    assert source.finished == 1


def test_closing_ends_both_sides():
    source = Source(10**9)
    reading = ahead(source)
    waiting = ahead(Source(0))
    assert waiting.get() is None
    reading.close()
    reading.close()
    assert reading.get() is None
    assert source.finished == 1


def test_many_takers_get_each_item_once():
    reading = ahead(Source(2000), most=8)
    got: list[int] = []
    takers = [threading.Thread(target=lambda: got.extend(rest(reading))) for _ in range(4)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(30)
    assert sorted(got) == list(range(2000))
