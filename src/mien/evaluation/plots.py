"""Plots of verification reports; matplotlib (`pip install matplotlib`) is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.evaluation.metrics import FALSE_MATCH_RATES, Floats, Roc, measurable
from mien.evaluation.verification import VerificationReport
from mien.reports.drawing import COLOURS, MUTED, check_plot, figure_and_axes, percent
from mien.reports.drawing import save as _save

__all__ = ["check_plot", "plot_roc", "plot_similarities"]

_GENUINE, _IMPOSTOR = COLOURS[0], COLOURS[1]
_LINES = ("-", "--", "-.", ":")


def plot_roc(reports: VerificationReport | Sequence[VerificationReport], path: Path) -> None:
    """Draw ROC curves: true match rate over false match rate, the latter on a logarithmic axis.

    Each curve ends on the left at its lowest measurable rate, one false match among its impostor pairs; what
    lies further left would be a guess. Dots mark the rates of `tar_at_far` that can be measured.

    Args:
        reports: one or several to compare.
        path: where to write; the suffix says the format (.png, .svg, .pdf).

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    reports = [reports] if isinstance(reports, VerificationReport) else list(reports)
    figure, axes = figure_and_axes()
    lowest = min(_draw_curve(axes, report, i) for i, report in enumerate(reports))
    span = max(0.02, 1.1 * (1 - lowest))  # a perfect curve is no reason to magnify nothing
    left = min([*FALSE_MATCH_RATES.values(), *(1 / report.roc.impostors for report in reports)])
    axes.set_xscale("log")
    axes.set_xlim(left / 1.25, 1)
    axes.set_ylim(max(0.0, 1 - span), 1 + 0.02 * span)
    axes.yaxis.set_major_formatter(percent())
    for rate in FALSE_MATCH_RATES.values():
        axes.axvline(rate, color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=0)
    axes.set_xlabel("False match rate")
    axes.set_ylabel("True match rate")
    axes.legend(loc="lower right", fontsize=9, framealpha=0.9, edgecolor="none")
    _save(figure, path)


def _draw_curve(axes: Any, report: VerificationReport, number: int) -> float:
    """Draw one curve; returns the lowest TMR that it shows."""
    colour = COLOURS[number % len(COLOURS)]
    curve = report.roc
    fmr, tmr = _steps(curve)
    label = f"{_title(report)}: {report.accuracy:.2%} ± {report.accuracy_se:.2%}, AUC {report.auc:.4f}"
    axes.plot(fmr, tmr, color=colour, linestyle=_LINES[number % len(_LINES)], linewidth=1.8, label=label)
    for name, rate in report.tar_at_far.items():
        x = FALSE_MATCH_RATES[name]
        if not measurable(report.impostors, x):
            continue
        axes.plot([x], [rate], "o", color=colour, markersize=6, markeredgecolor="white", clip_on=False, zorder=3)
    return float(tmr[0])


def _steps(curve: Roc) -> tuple[Floats, Floats]:
    """The best TMR for every FMR, from one false match on; the dots of `tar_at_far` lie on it."""
    drawn = curve.thresholds[::-1] > -np.inf  # laxest first; -inf would accept what was never compared
    fmr, first = np.unique(curve.fmr[::-1][drawn], return_index=True)
    tmr = curve.tmr[::-1][drawn][first]  # of the thresholds with one FMR, the laxest
    resolvable = fmr * curve.impostors >= 1 - 1e-9
    before = tmr[~resolvable][-1:]  # with no false match, it still holds up to the first
    x = np.concatenate([[1 / curve.impostors], fmr[resolvable]])
    y = np.concatenate([before, tmr[resolvable]])
    return np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]


def plot_similarities(report: VerificationReport, path: Path) -> None:
    """Draw how alike genuine and impostor pairs are, and where the record's thresholds cut.

    Args:
        report: of one model; missed pairs have no similarity and are only counted in the title.
        path: where to write; the suffix says the format (.png, .svg, .pdf).

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    figure, axes = figure_and_axes()
    compared = report.similarities > -np.inf
    values = report.similarities[compared]
    bins = np.linspace(values.min(), values.max() + 1e-9, 61)
    kinds = ((False, "two people", _IMPOSTOR), (True, "one person", _GENUINE))
    for same, words, colour in kinds:
        chosen = report.similarities[compared & (report.same == same)]
        share = np.full(len(chosen), 1 / len(chosen))
        style: dict[str, Any] = {"bins": bins, "color": colour, "weights": share}
        axes.hist(chosen, alpha=0.35, **style)
        axes.hist(chosen, histtype="step", linewidth=1.4, label=f"{words} ({len(chosen):,} pairs)", **style)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
    _mark_thresholds(axes, report)
    axes.set_xlabel("Similarity")
    axes.set_ylabel("Share of the pairs of its kind")
    missed = f", {report.missed_pairs:,} pairs missed" if report.missed_pairs else ""
    axes.set_title(f"{_title(report)}{missed}", loc="left", fontsize=10, pad=10)
    axes.legend(loc="best", frameon=False, fontsize=9)
    _save(figure, path)


def _mark_thresholds(axes: Any, report: VerificationReport) -> None:
    """A labelled line at each of the record's thresholds, or at the mean of the folds' where it has none."""
    marks = {f"FMR {name}": fixed.threshold for name, fixed in report.fixed.items()}
    if not marks:
        marks = {"best accuracy": float(np.mean(report.fold_thresholds))}
    for words, threshold in marks.items():
        axes.axvline(threshold, color="black", linewidth=0.9, linestyle=(0, (4, 2)))
        axes.annotate(
            words,
            (threshold, 1),
            (-2, -4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
            fontsize=8,
        )


def _title(report: VerificationReport) -> str:
    mode = report.setup.get("mode")
    return f"{report.model}, {mode}" if mode else report.model
