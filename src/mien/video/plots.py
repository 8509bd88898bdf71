"""A timeline as a picture: who was there when, and what they showed; matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.ops.files import printable
from mien.reports.drawing import COLOURS, MUTED, check_plot, new_figure, plain, png, save
from mien.video.columns import UNCERTAIN, UNKNOWN
from mien.video.intervals import over_time
from mien.video.people import Person
from mien.video.story import name_of
from mien.video.summary import Source, Summary

__all__ = ["check_plot", "clock", "colour_of", "duration", "plot_timeline", "span_in_words", "timeline_picture"]

_COLOUR_OF = {
    "neutral": "#C8CED6", "happiness": "#F0E442", "surprise": "#E69F00", "sadness": "#0072B2", "anger": "#D55E00",
    "disgust": "#009E73", "fear": "#56B4E9", "contempt": "#CC79A7", "uncertain": "#FFFFFF",
}  # fmt: skip
"""Fixed, so that all pictures agree: those of Okabe and Ito, told apart by colour-blind readers too, and grey."""
_STRIPE, _STRIPES = "#B9C0C9", (10, 3)  # on what is uncertain: one of 3 pixels in each 10
_THERE = "#8FA3B8"  # where nobody asked for expressions

_COLUMNS = 1000  # of a row; each stands for a part of the time
_HEIGHT = 48  # pixels of a row
_LANE = (0.40, 0.27)  # of a row, how far its band reaches up and down from its middle: blinks are under it
_BLINKS = (0.29, 0.42)  # from where to where their marks reach
_MOST = 60  # people
_LONGEST_NAME = 26
_MANY_MARKS = 400  # events from which on single marks only hide what is under them
_LEGEND = 8  # entries of a line; with more of them, what is drawn would become narrower
_GAP = 1e-9
_SHORT = 60.0  # seconds under which tenths are told
_LEAST_START = 0.05  # seconds; whatever begins earlier begins at 0


def plot_timeline(summary: Summary, path: Path, *, title: str = "") -> None:
    """Draw who was there when, and what they showed: a row for each person, in the order in which they came.

    In long videos a column of a row stands for several seconds; it is then filled by shares of that time.

    Args:
        summary: of the video.
        path: where to write; the suffix says the format (.png, .svg, .pdf).
        title: what was looked at; by default the name of the source.

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    save(_drawn(summary, title), path)


def timeline_picture(summary: Summary) -> bytes:
    """The same as a PNG file, without a title.

    Raises:
        MienError: matplotlib is not installed.
    """
    return png(_drawn(summary, None))


def colour_of(label: str, labels: Sequence[str]) -> str:
    """The colour of an expression, or of `uncertain`; expressions of other networks take what is left."""
    if label in _COLOUR_OF:
        return _COLOUR_OF[label]
    others = [name for name in labels if name not in _COLOUR_OF]
    return COLOURS[others.index(label) % len(COLOURS)]


def clock(seconds: float, *, hours: bool = False, tenths: bool = False) -> str:
    """A time as people say it: 1:05, or 0:01:05 among hours, or 1:05.3 where seconds are too coarse."""
    if tenths:
        minutes, rest = divmod(round(seconds * 10), 600)
        return f"{minutes}:{rest / 10:04.1f}"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if hours or minutes >= 60 else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """How long something takes, as people say it: 4.2 s, or 1:05."""
    return f"{seconds:.1f} s" if seconds < _SHORT else clock(seconds)


def span_in_words(source: Source) -> str:
    """What was looked at: how long it is, and from when to when where it does not begin at 0."""
    tenths = source.seconds < _SHORT
    if source.start < _LEAST_START:
        return duration(source.seconds)
    start, end = (clock(time, hours=source.end >= 3600, tenths=tenths) for time in (source.start, source.end))
    return f"{start} to {end} ({duration(source.seconds)})"


def _drawn(summary: Summary, title: str | None) -> Any:
    shown = summary.people[:] if len(summary.people) <= _MOST else _most_present(summary.people)
    several = len(summary.people) > 1
    rows = max(len(shown), 1)
    heights = (0.42 * rows + 0.2, 0.9) if several else (0.42 * rows + 0.2,)
    figure = new_figure((12, sum(heights) + 1.5))
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    axes = figure.add_subplot(grid[0])
    _draw_people(axes, summary, shown)
    lowest = axes
    if several:
        lowest = figure.add_subplot(grid[1], sharex=axes)
        _draw_count(lowest, summary)
        axes.tick_params(axis="x", labelbottom=False)
    _time_axis(lowest, summary)
    if title is not None:
        figure.suptitle(plain(_title(summary, title)), x=0.01, ha="left", fontsize=12, fontweight="bold")
    if words := _footnote(summary, len(shown)):
        figure.supxlabel(plain(words), x=0.01, ha="left", fontsize=8.5, color=MUTED)
    return figure


def _most_present(everybody: Sequence[Person]) -> list[Person]:
    """Those who were there for the longest, in the order in which they came."""
    kept = {id(person) for person in sorted(everybody, key=lambda person: -person.seconds)[:_MOST]}
    return [person for person in everybody if id(person) in kept]


def _draw_people(axes: Any, summary: Summary, shown: Sequence[Person]) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_ylim(max(len(shown), 1) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", color="#e2e5e9", linewidth=0.6)
    axes.set_axisbelow(True)
    if not shown:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "nobody was seen", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        return
    for number, person in enumerate(shown):
        axes.axhline(number, color="#eef0f3", linewidth=1, zorder=0)
        picture = _strip(summary, person)
        axes.imshow(
            picture,
            extent=(*_span(summary), number + _LANE[1], number - _LANE[0]),
            aspect="auto",
            interpolation="nearest",
            origin="upper",
            zorder=2,
        )
        _draw_marks(axes, summary, person, number)
    axes.set_yticks(range(len(shown)), [plain(_row_name(summary, person)) for person in shown], fontsize=9.5)
    axes.set_ylim(max(len(shown), 1) - 0.45, -0.55)  # imshow moved it
    _legend(axes, summary, shown)


def _row_name(summary: Summary, person: Person) -> str:
    name = printable(person.label)
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1].rstrip() + "…"
    return f"{short}  {duration(person.seconds)}"


def _span(summary: Summary) -> tuple[float, float]:
    """From the first moment to the end of the last; never of no length."""
    start, end = summary.source.start, summary.source.end
    for person in summary.people:  # a part of a timeline can say less than its rows
        start, end = min(start, person.presence[0][0]), max(end, person.presence[-1][1])
    return start, max(end, start + 0.04)


def _strip(summary: Summary, person: Person) -> npt.NDArray[np.uint8]:
    """(H, W, 4) uint8: a person's row, column by column; each is filled by shares, neutral on top."""
    labels = summary.story.labels
    states = [UNKNOWN, *_order(labels)]
    start, end = _span(summary)
    edges = np.linspace(start, end, _COLUMNS + 1)
    seconds = np.zeros((len(states), _COLUMNS))
    for band in person.bands:
        row = seconds[states.index(band.state)]
        first = max(int(np.searchsorted(edges, band.start, "right")) - 1, 0)
        last = min(int(np.searchsorted(edges, max(band.end, band.start + _GAP), "left")), _COLUMNS)
        inside = np.minimum(edges[first + 1 : last + 1], band.end) - np.maximum(edges[first:last], band.start)
        row[first:last] += np.maximum(inside, _GAP)
    there = seconds.sum(axis=0)
    upper = np.cumsum(seconds, axis=0) / np.where(there > 0, there, 1.0)
    levels = (np.arange(_HEIGHT) + 0.5) / _HEIGHT
    index = (upper[:, None, :] < levels[None, :, None]).sum(axis=0).clip(0, len(states) - 1)  # (H, W)
    colours = np.array([_rgb(_THERE if s == UNKNOWN else colour_of(name_of(s, labels) or "", labels)) for s in states])
    picture = colours[index]
    picture[(index == states.index(UNCERTAIN)) & _striped()] = _rgb(_STRIPE)
    alpha = np.where(there > 0, 255, 0)[None, :, None].repeat(_HEIGHT, axis=0)
    return np.concatenate([picture, alpha], axis=2).astype(np.uint8)


def _striped() -> npt.NDArray[np.bool_]:
    """(H, W): slanting stripes, as a column is about as wide as a row of pixels is high."""
    every, wide = _STRIPES
    rows, columns = np.mgrid[:_HEIGHT, :_COLUMNS]
    return np.asarray((rows // 2 + columns) % every < wide)


def _order(labels: Sequence[str]) -> list[int]:
    """States from the top of a column down: what says least first."""
    neutral = [i for i, label in enumerate(labels) if label == "neutral"]
    return [UNCERTAIN, *neutral, *(i for i in range(len(labels)) if i not in neutral)]


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _draw_marks(axes: Any, summary: Summary, person: Person, number: int) -> None:
    """Lines crossed, and blinks where there are few enough to be told apart."""
    crossed = [event for event in summary.of(person) if event.kind == "crosses"]
    for way, marker in (("in", ">"), ("out", "<")):
        times = [event.time for event in crossed if event.label == way]
        axes.plot(
            times, [number] * len(times), marker, color="#1b1f24", markersize=6, zorder=4, markeredgecolor="white"
        )
    if 0 < len(person.blinks) <= _MANY_MARKS:
        axes.vlines(person.blinks, number + _BLINKS[0], number + _BLINKS[1], color="#1b1f24", linewidth=1.1, zorder=3)


def _legend(axes: Any, summary: Summary, shown: Sequence[Person]) -> None:
    """The colours that occur, neutral first, and the marks."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    labels = summary.story.labels
    seen = {band.state for person in shown for band in person.bands}
    states = [s for s in [*_order(labels)[1:], UNCERTAIN] if s in seen]
    entries: list[Any] = []
    for state in states:
        name = name_of(state, labels) or ""
        hatch = "/////" if state == UNCERTAIN else None
        colour = colour_of(name, labels)
        entries.append(Patch(facecolor=colour, edgecolor="#a5adb7", linewidth=0.5, hatch=hatch, label=plain(name)))
    if UNKNOWN in seen:
        entries.append(Patch(facecolor=_THERE, label="there" if not labels else "there, expression not known"))
    style: dict[str, Any] = {"color": "#1b1f24", "linestyle": ""}
    ways = {event.label for event in summary.events if event.kind == "crosses"}
    entries += [
        Line2D([], [], marker=marker, label=words, **style)
        for way, marker, words in (("in", ">", "crosses a line: in"), ("out", "<", "out"))
        if way in ways
    ]
    if any(0 < len(person.blinks) <= _MANY_MARKS for person in shown):
        entries.append(Line2D([], [], marker="|", label="blink", **style))
    axes.legend(
        handles=entries,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=math.ceil(len(entries) / math.ceil(len(entries) / _LEGEND)),
        frameon=False,
        fontsize=9,
        handlelength=1.2,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def _draw_count(axes: Any, summary: Summary) -> None:
    """How many people are there at each time."""
    changes, present = over_time(interval for person in summary.people for interval in person.presence)
    start, end = _span(summary)
    times, counts = [start, *changes, end], [0, *present, present[-1] if present else 0]
    axes.fill_between(times, counts, step="post", color="#9db8cc", linewidth=0)
    axes.step(times, counts, where="post", color=COLOURS[0], linewidth=1)
    axes.set_ylim(0, max(counts) * 1.15)
    axes.set_ylabel("people", fontsize=9)
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e2e5e9", linewidth=0.6)
    axes.set_axisbelow(True)


def _time_axis(axes: Any, summary: Summary) -> None:
    """Minutes and seconds, or hours, at round times."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    start, end = _span(summary)
    axes.set_xlim(start, end)
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
    step = next((s for s in steps if (end - start) / s <= 12), 10 ** math.ceil(math.log10((end - start) / 12)))
    axes.xaxis.set_major_locator(MultipleLocator(step))
    hours = end >= 3600

    def words(value: float, _position: int) -> str:
        return f"{value:.1f} s" if step < 1 else clock(value, hours=hours)

    axes.xaxis.set_major_formatter(FuncFormatter(words))
    axes.tick_params(axis="x", labelsize=9)


def _title(summary: Summary, title: str) -> str:
    seen = summary.how_many if summary.people else "nobody"
    name = printable(title or Path(summary.source.name).name)
    return f"{name}{': ' if name else ''}{seen}, {span_in_words(summary.source)}"


def _footnote(summary: Summary, shown: int) -> str:
    start, end = _span(summary)
    words = []
    if left := len(summary.people) - shown:
        words.append(f"{left} more people were there for less time.")
    if summary.knows_expressions:
        words.append("Colours say what faces show, which is not what people feel.")
    width = (end - start) / _COLUMNS
    if summary.knows_expressions and width > 0.5:
        words.append(f"Each column is {width:.1f} s, filled by shares of that time.")
    return " ".join(words)
