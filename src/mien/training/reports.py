"""What a run leaves for people: the report as JSON, Markdown and HTML, and its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.evaluation.classification_plots import plot_confusion, plot_learning_curves, plot_reliability, report_pictures
from mien.evaluation.expression import ExpressionReport
from mien.evaluation.report_pages import to_html, to_markdown
from mien.ops.atomic import write_whole

_LONGEST_TITLE = 80  # characters of a picture's title: longer ones leave no room for the picture


def summary(report: ExpressionReport) -> dict[str, Any]:
    """The figures that go into a model's card."""
    figures = report.figures
    return {
        "accuracy": round(figures.accuracy, 4),
        "macro_f1": round(figures.macro_f1, 4),
        "ece": round(figures.ece, 4),
        "n": figures.n,
        "per_class": {
            label: {
                "precision": round(of.precision, 4),
                "recall": round(of.recall, 4),
                "f1": round(of.f1, 4),
                "support": of.support,
            }
            for label, of in figures.per_class.items()
            if of.support
        },
    }


def write_reports(folder: Path, report: ExpressionReport, history: Sequence[Mapping[str, float]] = ()) -> None:
    """Write report.json, report.md, report.html, confusion.png, reliability.png, and curves.png of the epochs.

    Raises:
        MienError: one cannot be written, or matplotlib is missing.
    """
    title = f"{report.model} on {report.data}"[:_LONGEST_TITLE]
    write_whole(folder / "report.json", json.dumps(report.to_dict(), indent=2) + "\n")
    write_whole(folder / "report.md", to_markdown(report))
    write_whole(folder / "report.html", to_html(report, report_pictures(report.figures)))
    plot_confusion(report.figures, folder / "confusion.png", title=title)
    plot_reliability(report.figures, folder / "reliability.png", title=title)
    if history:
        plot_learning_curves(history, folder / "curves.png", title=report.model[:_LONGEST_TITLE])
