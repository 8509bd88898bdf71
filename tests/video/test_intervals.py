"""Intervals of time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.video.intervals import inside, joined, most_at_once, over_time, total

TIMES = st.integers(0, 200).map(lambda n: n / 8)  # exact in binary
INTERVALS = st.lists(st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair))), max_size=12)


def covered(intervals, time: float) -> bool:
    return any(a <= time < b for a, b in intervals)


def test_nothing():
    assert joined([]) == []
    assert total([]) == 0
    assert inside([], 0, 9) == []
    assert most_at_once([]) == 0


@given(INTERVALS)
def test_the_union_covers_what_its_parts_do(intervals):
    union = joined(intervals)
    for k in range(401):
        assert covered(union, k / 16) == covered(intervals, k / 16)


@given(INTERVALS, st.integers(0, 24).map(lambda n: n / 8))
def test_the_union_is_in_order_with_gaps(intervals, gap):
    union = joined(intervals, gap)
    assert all(b[0] - a[1] > gap for a, b in pairwise(union))
    assert joined(union, gap) == union


@given(INTERVALS)
def test_order_does_not_matter(intervals):
    assert joined(intervals) == joined(intervals[::-1])


@given(INTERVALS, TIMES, TIMES)
def test_a_part_is_what_lies_inside(intervals, a, b):
    start, end = min(a, b), max(a, b)
    part = inside(intervals, start, end)
    for k in range(401):
        assert covered(part, k / 16) == (covered(intervals, k / 16) and start <= k / 16 < end)


@given(INTERVALS)
def test_the_most_at_once_is_the_most_at_any_time(intervals):
    counted = max((sum(a <= k / 16 < b for a, b in intervals) for k in range(401)), default=0)
    assert most_at_once(intervals) == counted


def test_times_that_are_one_but_for_rounding_are_one():
    assert most_at_once([(0, 2.5123487), (2.512348, 5)]) == 1
    assert over_time([(0, 2.5123487), (2.512348, 5)]) == ([0, 2.512348, 5], [1, 1, 0])


@given(INTERVALS)
def test_the_total_of_a_union_is_at_most_the_sum(intervals):
    assert total(joined(intervals)) <= sum(b - a for a, b in intervals) + 1e-9


@pytest.mark.parametrize(("gap", "expected"), [(0.9, [(0, 1), (2, 3)]), (1.0, [(0, 3)])])
def test_a_gap_that_is_short_enough_is_closed(gap, expected):
    assert joined([(2, 3), (0, 1)], gap) == expected
