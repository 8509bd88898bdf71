"""Lines across the picture, and who crosses them which way."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from mien.errors import MienError
from mien.ops.files import printable
from mien.video.columns import Row

Direction: TypeAlias = Literal["in", "out"]
Point: TypeAlias = tuple[float, float]

CLEAR = 0.25
"""Widths of a face by which its centre is beyond a line when it counts as on that side: trembling is no crossing."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)\Z")


@dataclass(frozen=True)
class Line:
    """A line from one point of the picture to another; `in` is from its left to its right, as one walks along it.

    A line drawn from the left of the picture to the right is entered downwards; one drawn downwards, to the left.

    Attributes:
        start: x, y.
        end: x, y; another point.
        percent: whether they are percent of the picture's width and height, or pixels.

    Raises:
        ValueError: both points are one, or not finite.
    """

    start: Point
    end: Point
    percent: bool = False

    def __post_init__(self) -> None:
        if self.start == self.end or not all(map(math.isfinite, (*self.start, *self.end))):
            raise ValueError("a line has two different ends")

    def __str__(self) -> str:
        sign = "%" if self.percent else ""
        return ",".join(f"{value:g}{sign}" for value in (*self.start, *self.end))

    def pixels(self, size: tuple[int, int]) -> Line:
        """The same line in pixels of a picture of (width, height)."""
        if not self.percent:
            return self
        (ax, ay), (bx, by) = self.start, self.end
        width, height = size[0] / 100, size[1] / 100
        return Line((ax * width, ay * height), (bx * width, by * height))

    def distance(self, point: Point) -> float:
        """How far a point is from the line drawn on for ever: above 0 on its right (y points down)."""
        (ax, ay), (bx, by) = self.start, self.end
        across = (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax)
        return across / math.hypot(bx - ax, by - ay)

    def crossed(self, a: Point, b: Point) -> bool:
        """Whether the way from one point to another, on different sides, leads between the ends of the line."""
        here, there = self.distance(a), self.distance(b)
        if here == there:
            return False
        part = here / (here - there)
        x, y = a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])
        (ax, ay), (bx, by) = self.start, self.end
        along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
        return 0 <= along <= 1


def parse_line(text: str) -> Line:
    """A line as people write it: `x1,y1,x2,y2` in pixels, or each with a % of the picture's width or height.

    Raises:
        MienError: it is none.
    """
    parts = [part.strip() for part in text.split(",")]
    percent = [part.endswith("%") for part in parts]
    numbers = [part.removesuffix("%").strip() for part in parts]
    if len(parts) != 4 or len(set(percent)) != 1 or not all(map(_NUMBER.match, numbers)):
        raise MienError(
            f"{printable(text)!r} is no line: write x1,y1,x2,y2 in pixels, or 0%,50%,100%,50% of width and height"
        )
    ax, ay, bx, by = map(float, numbers)
    try:
        return Line((ax, ay), (bx, by), percent=percent[0])
    except ValueError as error:
        raise MienError(f"{printable(text)!r} is no line: {error}") from error


@dataclass(frozen=True)
class Crossing:
    """Somebody crossed a line.

    Attributes:
        time: seconds, when they were clearly on the other side.
        track: who.
        line: its number, from 0.
        direction: in: from the left of the line to its right.
    """

    time: float
    track: int
    line: int
    direction: Direction


class LineCounter:
    """Finds crossings, row by row; memory is a point for each track and line.

    Args:
        lines: in pixels.
        gap: seconds; whoever was out of sight for longer has left, and crossed nothing meanwhile. Nor did anybody by a
            cut: the camera moved, and not they.
    """

    def __init__(self, lines: Sequence[Line], gap: float = math.inf) -> None:
        self.lines = tuple(lines)
        self.gap = gap
        self.crossings: list[Crossing] = []
        self._last: dict[tuple[int, int], Point] = {}
        self._seen: dict[int, tuple[float, int]] = {}  # until when, and in which scene, by track

    def add(self, row: Row) -> None:
        """Look at a face."""
        if not row.seen:
            return
        x1, y1, x2, y2 = row.box
        centre = ((x1 + x2) / 2, (y1 + y2) / 2)
        until, scene = self._seen.get(row.track, (row.time, row.scene))
        if row.time - until > self.gap or row.scene != scene:
            for number in range(len(self.lines)):
                self._last.pop((row.track, number), None)
        self._seen[row.track] = row.end, row.scene
        for number, line in enumerate(self.lines):
            self._add(row, number, line, centre)

    def _add(self, row: Row, number: int, line: Line, centre: Point) -> None:
        distance = line.distance(centre)
        if abs(distance) < CLEAR * (row.box[2] - row.box[0]):
            return
        before = self._last.get((row.track, number))
        self._last[row.track, number] = centre
        if before is None or (line.distance(before) > 0) == (distance > 0) or not line.crossed(before, centre):
            return
        self.crossings.append(Crossing(row.time, row.track, number, "in" if distance > 0 else "out"))

    def counts(self) -> list[dict[str, Any]]:
        """For each line how often it was crossed either way."""
        return [
            {way: sum(c.line == i and c.direction == way for c in self.crossings) for way in ("in", "out")}
            for i in range(len(self.lines))
        ]
