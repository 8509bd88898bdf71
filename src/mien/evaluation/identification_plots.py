"""Plots of identification: how the two errors trade, and at which rank people are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mien.evaluation.identification import RATES, IdentificationReport
from mien.reports.drawing import COLOURS, MUTED, check_plot, figure_and_axes, percent, plain, png, save

__all__ = ["check_plot", "plot_cmc", "plot_det", "report_pictures"]


def plot_det(report: IdentificationReport, path: Path) -> None:
    """Draw the DET curve: FNIR over FPIR, the latter on a logarithmic axis, and what mien's own thresholds do.

    Args:
        report: the figures; with strangers.
        path: where to write; the suffix says the format (.png, .svg, .pdf).

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    save(_det(report), path)


def plot_cmc(report: IdentificationReport, path: Path) -> None:
    """Draw the cumulative match characteristic: the share of probes found among the first k.

    Args:
        report: the figures.
        path: where to write; the suffix says the format (.png, .svg, .pdf).

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    save(_cmc(report), path)


def report_pictures(report: IdentificationReport) -> dict[str, bytes]:
    """The pictures of a report as PNG files, by what they show.

    Raises:
        MienError: matplotlib is not installed.
    """
    det = {"Errors at every threshold (DET)": png(_det(report))} if len(report.far) else {}
    return {**det, "Found among the first k (CMC)": png(_cmc(report))}


def _det(report: IdentificationReport) -> Any:
    figure, axes = figure_and_axes()
    fpir, fnir = report.det
    lowest = 1 / max(len(report.far), 1)
    axes.plot(np.maximum(fpir, lowest), fnir, drawstyle="steps-post", color=COLOURS[0], linewidth=1.8)
    for name, at in report.shipped.items():
        x, y = max(at.fpir.value, lowest), at.fnir.value
        label = f"mien's threshold for FPIR {name}: {at.threshold:.3f}"
        style = {"color": COLOURS[1], "markersize": 7, "markeredgecolor": "white", "zorder": 3, "clip_on": False}
        axes.plot([x], [y], "o" if name == "1e-2" else "s", label=label, **style)
    for rate in RATES.values():
        axes.axvline(rate, color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(min(lowest, 5e-3), 1)
    axes.set_ylim(0, max(0.02, 1.05 * float(fnir.max(initial=0.0))))
    axes.yaxis.set_major_formatter(percent())
    axes.set_xlabel("FPIR: share of strangers who get a name")
    axes.set_ylabel("FNIR: share of probes without their own name")
    axes.set_title(_about(report), loc="left", fontsize=10, pad=10)
    if report.shipped:
        axes.legend(loc="best", frameon=False, fontsize=9)
    return figure


def _cmc(report: IdentificationReport) -> Any:
    figure, axes = figure_and_axes()
    shares = report.cmc
    shown = min(len(shares), 50)
    axes.plot(np.arange(1, shown + 1), shares[:shown], "o-", color=COLOURS[0], linewidth=1.8, markersize=3.5)
    axes.set_ylim(max(0.0, shares[0] - 0.5 * (1 - shares[0]) - 0.01), 1.0)
    axes.yaxis.set_major_formatter(percent())
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("Rank k")
    axes.set_ylabel("Share of probes found among the first k")
    axes.set_title(_about(report), loc="left", fontsize=10, pad=10)
    return figure


def _about(report: IdentificationReport) -> str:
    return plain(f"{report.model}: {report.people:,} people, {report.probes:,} probes, {report.strangers:,} strangers")
