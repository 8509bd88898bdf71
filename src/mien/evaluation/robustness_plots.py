"""Pictures of robustness: a panel of curves for each kind of degradation, and what the kinds look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.evaluation.robustness import WITHIN, RobustnessReport
from mien.ops.degrade import KINDS, degrade, eye_distance
from mien.ops.sheets import Section, contact_sheet
from mien.reports.drawing import COLOURS, MUTED, check_plot, new_figure, percent, plain, plain_axes, png, save
from mien.types import FloatArray, ImageArray

__all__ = ["check_plot", "plot_curves", "report_pictures", "sample_sheet"]

_ACROSS = 4
_MARKS = "os^Dv"
_AROUND = 2.8  # eye distances from the middle of a face to the edge of its sample


def plot_curves(report: RobustnessReport, path: Path) -> None:
    """Draw a panel for each kind, with a curve for each measure, from clean to the harshest strength.

    Args:
        report: the figures.
        path: where to write; the suffix says the format (.png, .svg, .pdf).

    Raises:
        MienError: matplotlib is not installed, or the file cannot be written.
    """
    save(_curves(report), path)


def report_pictures(report: RobustnessReport) -> dict[str, bytes]:
    """The pictures of a report as PNG files, by what they show.

    Raises:
        MienError: matplotlib is not installed.
    """
    return {"Curves": png(_curves(report))}


def _curves(report: RobustnessReport) -> Any:
    kinds = list(report.curves)
    across = min(_ACROSS, len(kinds))
    down = -(-len(kinds) // across)
    figure = new_figure((3.1 * max(across, 2), 2.5 * down + 0.9))
    for number, kind in enumerate(kinds, 1):
        axes = plain_axes(figure, down, across, number)
        _draw(axes, report, kind)
        if number % across != 1 and across > 1:
            axes.tick_params(labelleft=False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(plain(f"{report.model} on {Path(report.data).name}, n = {report.n:,}"), fontsize=11)
    return figure


def _draw(axes: Any, report: RobustnessReport, kind: str) -> None:
    """One panel: strengths evenly spaced, in the order of harm, as their steps are uneven by design."""
    points = report.curves[kind]
    for name, colour, mark in zip(report.measures, COLOURS, _MARKS, strict=False):
        values = [figures.get(name, np.nan) for figures in (report.clean, *(point.figures for point in points))]
        axes.plot(values, f"{mark}-", color=colour, linewidth=1.5, markersize=3.5, label=report.measures[name])
    axes.axhline(report.clean[report.headline] - WITHIN, color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)), zorder=0)
    axes.set_xticks(range(len(points) + 1), ["clean", *(f"{point.strength:g}" for point in points)], fontsize=8)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(percent())
    axes.tick_params(axis="y", labelsize=8)
    axes.set_title(kind, loc="left", fontsize=10)
    axes.set_xlabel(KINDS[kind].unit, fontsize=8)


def sample_sheet(image: ImageArray, landmarks: FloatArray, kinds: Sequence[str]) -> ImageArray:
    """What every strength of some kinds does to one face.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (5, 2), of the face.
        kinds: of degradation.

    Returns:
        (H', W', 3) uint8 RGB: a contact sheet, a row for each kind.
    """
    square, inside = _around(image, landmarks)
    sections = []
    for kind in kinds:
        strengths = (0.0, *KINDS[kind].strengths)
        crops = [degrade(square, inside, kind, strength) for strength in strengths]
        captions = [f"{strength:g}" if strength else "clean" for strength in strengths]
        sections.append(Section(kind, crops, captions, note=KINDS[kind].unit))
    return contact_sheet(sections, side=160)


def _around(image: ImageArray, landmarks: FloatArray) -> tuple[ImageArray, FloatArray]:
    """The square around a face, its edge repeated where it leaves the picture, and the landmarks in it."""
    half = max(int(np.ceil(_AROUND * eye_distance(landmarks))), 1)
    x, y = (int(value) for value in np.rint(landmarks.mean(axis=0)))
    height, width = image.shape[:2]
    rows, columns = np.clip(np.arange(y - half, y + half), 0, height - 1), np.arange(x - half, x + half)
    square = image[rows][:, np.clip(columns, 0, width - 1)]
    return np.ascontiguousarray(square), landmarks - np.array([x - half, y - half], dtype=np.float32)
