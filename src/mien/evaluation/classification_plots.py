"""Plots of classifiers: what is taken for what, whether confidences hold, what abstaining gains, how training went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.evaluation.classification import ClassificationReport
from mien.evaluation.metrics import Floats
from mien.reports.drawing import COLOURS, MUTED, check_plot, figure_and_axes, new_figure, percent, plain, png, save
from mien.reports.drawing import plain_axes as _axes

__all__ = [
    "check_plot",
    "plot_confusion",
    "plot_learning_curves",
    "plot_reliability",
    "plot_risk_coverage",
    "report_pictures",
]

_SAID, _RIGHT = COLOURS[1], COLOURS[0]
_MOST_COUNTS = 12  # classes up to which every cell of a confusion matrix has its count printed
_MOST_NAMES = 60  # classes up to which the axes name each
_LONGEST_NAME = 24
_LEAST_ANSWERS = 20  # fewer make an accuracy that jumps about


def plot_confusion(report: ClassificationReport, path: Path, *, title: str = "") -> None:
    """Draw the confusion matrix: a row for each true class, coloured by its share, with counts and percent.

    Args:
        report: the figures.
        path: where to write; the suffix says the format (.png, .svg, .pdf).
        title: what was measured.

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    save(_confusion(report, title), path)


def plot_reliability(report: ClassificationReport, path: Path, *, title: str = "") -> None:
    """Draw how often answers are right beside the confidence they were given, and how many there are of each.

    Args:
        report: the figures.
        path: where to write; the suffix says the format (.png, .svg, .pdf).
        title: what was measured.

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    save(_reliability(report, title), path)


def plot_risk_coverage(report: ClassificationReport, path: Path, *, title: str = "") -> None:
    """Draw the accuracy of the answers that are left when the least confident ones are `uncertain`.

    Args:
        report: the figures.
        path: where to write; the suffix says the format (.png, .svg, .pdf).
        title: what was measured.

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    save(_risk_coverage(report, title), path)


def plot_learning_curves(history: Sequence[Mapping[str, float]], path: Path, *, title: str = "") -> None:
    """Draw how training went: a panel of losses, one of everything that is a share, one for each other figure.

    Args:
        history: one row for each epoch. "epoch" (or the row's number) is the horizontal axis; names with "loss" in
            them are losses; rows may lack figures, and NaN leaves a gap.
        path: where to write; the suffix says the format (.png, .svg, .pdf).
        title: what was trained.

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
        ValueError: there is nothing to draw.
    """
    save(_learning_curves(history, title), path)


def report_pictures(report: ClassificationReport) -> dict[str, bytes]:
    """The pictures of a report as PNG files, by what they show.

    Raises:
        MienError: matplotlib is not installed.
    """
    return {
        "Confusion matrix": png(_confusion(report, "")),
        "Reliability": png(_reliability(report, "")),
        "Accuracy and coverage": png(_risk_coverage(report, "")),
    }


def _confusion(report: ClassificationReport, title: str) -> Any:
    counts = report.confusion
    classes = len(report.labels)
    support = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(support, 1)
    side = min(max(4.2, 1.6 + 0.72 * classes), 16.0)
    figure = new_figure((side, side))
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if classes <= _MOST_COUNTS:
        _print_cells(axes, counts, shares)
        axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    _name_axes(axes, report)
    if classes > _MOST_COUNTS:
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, format=percent(), label="Share of the class")
        bar.outline.set_visible(False)
    _titled(axes, title, f"accuracy {report.accuracy:.2%}, macro F1 {report.macro_f1:.3f}, n = {report.n:,}")
    return figure


def _print_cells(axes: Any, counts: Any, shares: Floats) -> None:
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.55 else "#1a1a1a"
        count = counts[row, column]
        text = f"{share:.0%}\n{count:,}" if count else "0"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour if count else "#9a9a9a")


def _name_axes(axes: Any, report: ClassificationReport) -> None:
    places = range(len(report.labels))
    if len(report.labels) <= _MOST_NAMES:
        names = [_short(label) for label in report.labels]
        size = 9 if len(names) <= 20 else 6
        lost = report.unanswered
        rows = [
            f"{name} ({report.per_class[label].support:,})" for name, label in zip(names, report.labels, strict=True)
        ]
        axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(places, rows, fontsize=size)
        axes.set_ylabel("True class (pictures)" if not lost else f"True class (pictures; {lost:,} without an answer)")
    else:
        axes.set_ylabel("True class")
    axes.set_xlabel("Answer")


def _reliability(report: ClassificationReport, title: str) -> Any:
    bins = report.reliability
    figure = new_figure((5.6, 6.0))
    grid = figure.add_gridspec(2, 1, height_ratios=(3.2, 1))
    axes, below = (figure.add_subplot(cell) for cell in grid)
    held = bins.weight > 0
    centre, width = (bins.edges[:-1] + bins.edges[1:])[held] / 2, 1 / len(bins.weight)
    said, right = bins.said[held], bins.true[held]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfectly calibrated", zorder=3)
    axes.bar(centre, right, width, color="#8cbfe3", edgecolor="white", linewidth=0.8, label="share that is right")
    gap = {"facecolor": "none", "edgecolor": _SAID, "hatch": "////", "linewidth": 0.8, "alpha": 0.9}
    axes.bar(centre, said - right, width, bottom=right, label="gap to the mean confidence", **gap)
    axes.set_ylim(0, 1.0)
    axes.set_ylabel("Share that is right")
    axes.yaxis.set_major_formatter(percent())
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    _titled(axes, title, f"ECE {report.ece:.4f}, {len(bins.weight)} bins, n = {report.n - report.unanswered:,}")
    below.bar(centre, bins.weight[held], width, color="#9db8cc", edgecolor="white", linewidth=0.8)
    below.set_ylabel("Share of answers")
    below.set_xlabel("Confidence in the answer")
    below.yaxis.set_major_formatter(percent())
    for part in (axes, below):
        part.set_xlim(0, 1)
        part.spines[["top", "right"]].set_visible(False)
        part.xaxis.set_major_formatter(percent())
        if report.threshold > 0:
            part.axvline(report.threshold, color="black", linewidth=0.9, linestyle=(0, (2, 2)))
    if report.threshold > 0:
        words = {"fontsize": 8, "rotation": 90, "ha": "right", "va": "top"}
        below.annotate(
            "uncertain", (report.threshold, 1), (-3, -3), ("data", "axes fraction"), "offset points", **words
        )
    return figure


def _risk_coverage(report: ClassificationReport, title: str) -> Any:
    curve = report.risk_coverage
    figure, axes = figure_and_axes()
    answered = report.n - report.unanswered
    drawn = curve.coverage * answered >= min(_LEAST_ANSWERS, answered)
    coverage, accuracy = curve.coverage[drawn], curve.accuracy[drawn]
    axes.plot(coverage, accuracy, color=_RIGHT, linewidth=1.8, drawstyle="steps-post")
    points = [(1.0, float(accuracy[-1]), "every answer")]
    if report.uncertain > 0 and not math.isnan(report.accuracy_on_rest):
        points.append(
            (1 - report.uncertain, report.accuracy_on_rest, f"at the model's threshold {report.threshold:.2f}")
        )
    for (x, y, words), colour in zip(points, (MUTED, _SAID), strict=False):
        label = f"{words}: {y:.2%} of {x:.1%}"
        axes.plot(
            [x], [y], "o", color=colour, markersize=7, markeredgecolor="white", clip_on=False, zorder=3, label=label
        )
    low = min(float(accuracy.min()), float(accuracy[-1]))
    axes.set_ylim(max(0.0, low - 0.12 * max(1 - low, 0.02)), 1 + 0.03 * max(1 - low, 0.02))
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(percent())
    axes.yaxis.set_major_formatter(percent())
    axes.set_xlabel("Coverage: share of the faces that are answered, the most confident first")
    axes.set_ylabel("Accuracy of these answers")
    axes.legend(loc="lower left", frameon=False, fontsize=9)
    _titled(axes, title, f"{answered:,} answers")
    return figure


def _learning_curves(history: Sequence[Mapping[str, float]], title: str) -> Any:
    names = list(dict.fromkeys(name for row in history for name in row if name != "epoch"))
    if not names:
        raise ValueError("no history to draw: not one figure of one epoch")
    columns = {name: np.array([float(row.get(name, math.nan)) for row in history]) for name in names}
    epochs = np.array([float(row.get("epoch", i)) for i, row in enumerate(history, 1)])
    panels = _panels(columns)
    figure = new_figure((5.2 * min(len(panels), 2), 3.7 * math.ceil(len(panels) / 2)))
    for number, (what, shown) in enumerate(panels.items(), 1):
        axes = _axes(figure, math.ceil(len(panels) / 2), min(len(panels), 2), number)
        for i, name in enumerate(shown):
            _draw_column(axes, epochs, columns[name], name, COLOURS[i % len(COLOURS)])
        if what == "share":
            axes.yaxis.set_major_formatter(percent())
        if len(shown) > 1:
            axes.legend(loc="best", frameon=False, fontsize=9)
        else:
            axes.set_ylabel(plain(shown[0]))
        axes.set_xlabel("Epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    if title:
        figure.suptitle(plain(title), x=0.01, ha="left", fontsize=11)
    return figure


def _panels(columns: Mapping[str, Floats]) -> dict[str, list[str]]:
    """Which figures are drawn together: losses, shares, and every other on its own scale."""
    panels: dict[str, list[str]] = {}
    for name, values in columns.items():
        known = values[np.isfinite(values)]
        if "loss" in name:
            panel = "loss"
        elif any(word in name for word in ("accuracy", "f1", "recall", "precision", "ece")) and (abs(known) <= 1).all():
            panel = "share"
        else:
            panel = f"other {name}"
        panels.setdefault(panel, []).append(name)
    return panels


def _draw_column(axes: Any, epochs: Floats, values: Floats, name: str, colour: str) -> None:
    known = np.isfinite(values)  # a figure that is taken every few epochs is still a line
    marker = "o" if known.sum() < 30 else None
    axes.plot(epochs[known], values[known], color=colour, linewidth=1.6, marker=marker, markersize=3, label=plain(name))


def _titled(axes: Any, title: str, figures: str) -> None:
    words = f"{plain(title)}\n{figures}" if title else figures
    axes.set_title(words, loc="left", fontsize=10, pad=10)


def _short(label: str) -> str:
    return plain(label if len(label) <= _LONGEST_NAME else label[: _LONGEST_NAME - 1] + "…")
