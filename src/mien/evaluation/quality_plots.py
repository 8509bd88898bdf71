"""The picture of a quality report: errors as the worst pictures are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.evaluation.quality import QualityReport
from mien.reports.drawing import COLOURS, MUTED, figure_and_axes, percent, plain, save


def plot_discard(report: QualityReport, path: Path) -> None:
    """Draw the error-versus-discard curve, and the level that a score without knowledge would keep.

    Args:
        report: the figures.
        path: where to write; the suffix says the format (.png, .svg, .pdf).

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    figure, axes = figure_and_axes()
    fnmr = np.array(report.fnmr)
    axes.plot(report.shares, fnmr, "o-", color=COLOURS[0], linewidth=1.8, markersize=5, label="by quality")
    axes.axhline(fnmr[0], color=MUTED, linewidth=1, linestyle=(0, (2, 3)), label="by chance")
    axes.set_xlim(0, max(report.shares))
    axes.set_ylim(0, max(0.01, 1.08 * float(np.nanmax(fnmr))))
    axes.xaxis.set_major_formatter(percent())
    axes.yaxis.set_major_formatter(percent())
    axes.set_xlabel("Pictures left out, those with the lowest scores first")
    axes.set_ylabel(f"FNMR at the threshold for FMR {report.fmr:g}")
    axes.set_title(
        plain(f"{report.model}: {report.n:,} pictures, {report.pairs:,} pairs"), loc="left", fontsize=10, pad=10
    )
    axes.legend(loc="best", frameon=False, fontsize=9)
    save(figure, path)
