"""Lines, and who crosses them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import MienError
from mien.video.columns import Row
from mien.video.counting import Line, LineCounter, parse_line

DOOR = Line((0, 100), (200, 100))  # from left to right: in is downwards


def at(
    x: float, y: float, time: float = 0.0, *, track: int = 1, seen: bool = True, width: float = 20, scene: int = 0
) -> Row:
    box = (x - width / 2, y - width / 2, x + width / 2, y + width / 2)
    nan = math.nan
    return Row(time, time + 0.1, track, seen, -2, 0.0, box, nan, nan, nan, nan, scene)


def walked(points, line: Line = DOOR) -> list[str]:
    counter = LineCounter([line])
    for i, (x, y) in enumerate(points):
        counter.add(at(x, y, i / 10))
    return [crossing.direction for crossing in counter.crossings]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0,100,200,100", Line((0, 100), (200, 100))),
        (" 1.5 , -2 ,3e0,4", None),
        ("0%,50%,100%,50%", Line((0, 50), (100, 50), percent=True)),
        ("0 %, 50%,100%,50 %", Line((0, 50), (100, 50), percent=True)),
        ("-1.5,.5,+2,3.", Line((-1.5, 0.5), (2, 3))),
        ("0%,50,100%,50", None),
        ("1,2,3", None),
        ("1,2,3,4,5", None),
        ("", None),
        ("1,2,1,2", None),
        ("nan,0,1,1", None),
        ("inf,0,1,1", None),
        ("1_0,0,1,1", None),
        ("a,b,c,d\nx", None),
    ],
)
def test_lines_as_people_write_them(text, line):
    if line is not None:
        assert parse_line(text) == line
        assert parse_line(str(line)) == line
        return
    with pytest.raises(MienError, match="is no line") as caught:
        parse_line(text)
    assert "\n" not in str(caught.value)


def test_percent_of_the_picture():
    assert Line((0, 50), (100, 25), percent=True).pixels((640, 360)) == Line((0, 180), (640, 90))
    assert DOOR.pixels((640, 360)) is DOOR


def test_nobody():
    assert LineCounter([]).counts() == []
    assert LineCounter([DOOR]).counts() == [{"in": 0, "out": 0}]


def test_down_is_in_and_up_is_out():
    down = [(50, y) for y in range(50, 151, 5)]
    assert walked(down) == ["in"]
    assert walked(down[::-1]) == ["out"]
    assert walked(down + down[::-1]) == ["in", "out"]
    assert walked(down, Line(DOOR.end, DOOR.start)) == ["out"]


def test_trembling_on_the_line_is_no_crossing():
    assert walked([(50, 100 + (-1) ** i * 4) for i in range(40)]) == []
    assert walked([(50, 50), *[(50, 100 + (-1) ** i * 4) for i in range(40)], (50, 50)]) == []


def test_passing_beside_the_line_is_no_crossing():
    assert walked([(300, y) for y in range(50, 151, 5)]) == []


def test_going_round_its_end_is_no_crossing():
    assert walked([(150, 50), (260, 50), (260, 100), (260, 150), (150, 150)]) == []


def test_a_jump_over_the_line_counts_where_it_leads_through():
    assert walked([(50, 20), (50, 180)]) == ["in"]
    assert walked([(150, 20), (400, 180)]) == []


def test_guesses_do_not_cross():
    counter = LineCounter([DOOR])
    counter.add(at(50, 50))
    counter.add(at(50, 150, 1, seen=False))
    assert counter.crossings == []
    counter.add(at(50, 150, 2))
    assert [c.direction for c in counter.crossings] == ["in"]


def test_coming_back_on_the_other_side_is_no_crossing():
    counter = LineCounter([DOOR], gap=1.0)
    counter.add(at(50, 50, 0.0))
    counter.add(at(50, 150, 2.0))
    assert counter.crossings == []
    counter.add(at(50, 101, 2.5))  # on the line
    counter.add(at(50, 101, 3.5))
    counter.add(at(50, 50, 4.5))
    assert [c.direction for c in counter.crossings] == ["out"]


def test_a_cut_is_no_crossing_however_short():
    counter = LineCounter([DOOR], gap=1.0)
    counter.add(at(50, 50, 0.0))
    counter.add(at(50, 150, 0.1, scene=1))
    assert counter.crossings == []
    counter.add(at(50, 50, 0.2, scene=1))
    counter.add(at(50, 150, 0.3, scene=2))
    assert [(c.time, c.direction) for c in counter.crossings] == [(0.2, "out")]


def test_people_do_not_mix():
    counter = LineCounter([DOOR, Line((0, 130), (200, 130))])
    counter.add(at(50, 50, track=1))
    counter.add(at(50, 150, track=2))
    assert counter.crossings == []
    counter.add(at(50, 150, 1, track=1))
    assert [(c.track, c.line, c.direction) for c in counter.crossings] == [(1, 0, "in"), (1, 1, "in")]


PLACES = st.tuples(st.integers(10, 190), st.integers(0, 200))


@given(st.lists(PLACES, max_size=20))
def test_ins_and_outs_alternate_within_the_line(points):
    ways = walked(points)
    assert all(a != b for a, b in pairwise(ways))
    clear = [y - 100 for _, y in points if abs(y - 100) >= 5]
    if clear:
        net = ways.count("in") - ways.count("out")
        assert net == (clear[-1] > 0) - (clear[0] > 0)


@given(st.lists(PLACES, max_size=12))
def test_turning_the_line_round_turns_the_ways(points):
    there, back = walked(points), walked(points, Line(DOOR.end, DOOR.start))
    assert [{"in": "out", "out": "in"}[way] for way in there] == back
