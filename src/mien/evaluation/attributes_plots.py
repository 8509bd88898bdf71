"""Pictures of how well ages are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.errors import DataError
from mien.evaluation.attributes import AttributesReport
from mien.reports.drawing import figure_and_axes, save

_DOTS = 4000


def plot_ages(report: AttributesReport, path: Path) -> None:
    """Draw the answer for each face against its age, with the mean answer of each decade.

    Args:
        report: with faces whose age is known.
        path: where to write; the suffix says the format (.png, .svg, .pdf).

    Raises:
        DataError: no age is known.
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    true, years = report.ages
    if not len(true):
        raise DataError(f"{report.data}: no picture with an age: there is nothing to draw")
    figure, axes = figure_and_axes((6, 6))
    step = -(-len(true) // _DOTS)
    axes.scatter(true[::step], years[::step], s=6, alpha=0.3, linewidths=0)
    decades = np.unique(true // 10)
    middles = [true[true // 10 == d].mean() for d in decades]
    means = [years[true // 10 == d].mean() for d in decades]
    axes.plot(middles, means, marker="o", color="black", label="mean of each decade")
    limits = (0, max(float(true.max()), float(years.max())) + 2)
    axes.plot(limits, limits, linestyle="--", color="grey", label="right")
    axes.set(xlim=limits, ylim=limits, xlabel="age, years", ylabel="answer, years", aspect="equal")
    axes.set_title(f"{report.model}: off by {report.overall.mae:.1f} years on average, {len(true):,} faces")
    axes.legend(loc="upper left")
    save(figure, path)
