"""A picture of how well expressions are followed over time: figures by method, and tracks as bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.evaluation.temporal import Interval, TemporalReport
from mien.reports.drawing import COLOURS, MUTED, new_figure, plain, plain_axes, save

_REST_COLOUR = "#DDDDDD"
_MORE_COLOURS = ("#F0E442", "#000000")
_BAR = 0.38


def plot_temporal(report: TemporalReport, path: Path) -> None:
    """Draw frame accuracy and segment F1 of each method with their intervals, and what they say of some tracks.

    Args:
        report: the figures.
        path: where to write; the suffix says the format (.png, .svg, .pdf).

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    tracks = len(report.times)
    figure = new_figure((9, 3.2 + 1.3 * tracks))
    grid = figure.add_gridspec(1 + tracks, 1, height_ratios=[2.4] + [1.0] * tracks)
    _bars(plain_axes(figure, grid[0]), report)
    for number in range(tracks):
        axes = figure.add_subplot(grid[1 + number])
        _bands(axes, report, number)
        if number == tracks - 1:
            axes.set_xlabel("seconds")
    _legend(figure, report.labels)
    save(figure, path)


def _bars(axes: Any, report: TemporalReport) -> None:
    """Two bars for each method."""
    places = np.arange(len(report.rows))
    kinds = {
        "frame accuracy": [of.accuracy for of in report.rows.values()],
        "segment F1": [of.segment_f1 for of in report.rows.values()],
    }
    for number, (kind, figures) in enumerate(kinds.items()):
        at = places + (number - 0.5) * _BAR
        values = [100 * figure.value for figure in figures]
        axes.bar(at, values, _BAR * 0.94, color=COLOURS[number], label=kind)
        axes.errorbar(at, values, yerr=_errors(figures), fmt="none", ecolor=MUTED, capsize=3)
        for x, value, figure in zip(at, values, figures, strict=True):
            axes.text(x, 100 * figure.high + 1.5, f"{value:.1f}", ha="center", fontsize=8)
    axes.set_xticks(places, [plain(name) for name in report.rows])
    axes.set(ylabel="percent", ylim=(0, 112))
    axes.set_title(plain(f"{report.data}: {report.tracks:,} tracks, {report.frames:,} frames"), fontsize=10)
    axes.legend(loc="upper left", ncols=2, fontsize=8, frameon=False)


def _errors(figures: Sequence[Interval]) -> list[list[float]]:
    return [[100 * (f.value - f.low) for f in figures], [100 * (f.high - f.value) for f in figures]]


def _bands(axes: Any, report: TemporalReport, number: int) -> None:
    """One track: a band for what is true, and one for each method."""
    times = report.times[number]
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.1
    edges = np.append(times, times[-1] + step)
    colours = _colours(len(report.labels))
    names = list(report.examples)
    for row, name in enumerate(names):
        states = report.examples[name][number]
        for t, state in enumerate(states):
            colour = colours[state] if state >= 0 else "white"
            axes.barh(-row, edges[t + 1] - edges[t], left=edges[t], height=0.82, color=colour, linewidth=0)
    axes.set_yticks([-row for row in range(len(names))], [plain(name) for name in names], fontsize=8)
    axes.set_xlim(edges[0], edges[-1])
    axes.spines[:].set_visible(False)


def _colours(count: int) -> list[str]:
    """One for each label; rest is pale."""
    found = (*COLOURS, *_MORE_COLOURS)
    return [_REST_COLOUR, *(found[i % len(found)] for i in range(count - 1))]


def _legend(figure: Any, labels: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    pairs = zip(_colours(len(labels)), labels, strict=True)
    patches = [Patch(color=colour, label=plain(label)) for colour, label in pairs]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(labels), 8), fontsize=8, frameon=False)
