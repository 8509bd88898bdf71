"""A classifier's report as a page: Markdown, or one HTML file that needs nothing else.

The HTML holds its style and its pictures, no script and no link; it is readable dark and light, and on a phone. Names
of classes, files and models come from outside: each is escaped where it is written.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence

from mien.evaluation.classification import COVERAGES, ClassificationReport
from mien.evaluation.expression import ExpressionReport
from mien.ops.files import printable
from mien.reports.pages import escaped, html_list, html_page, html_pictures, html_table

_MOST_LISTED = 50  # unreadable pictures
_MOST_MATRIX = 20  # classes up to which the confusion matrix is printed as a table
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")

Rows = Sequence[tuple[str, str]]


def headline(report: ExpressionReport) -> list[tuple[str, str]]:
    """(name, value) of the figures of the whole, as people read them."""
    figures = report.figures
    low, high = figures.accuracy_interval
    rows = [
        ("Accuracy (95 % interval)", f"{figures.accuracy:.2%} ({low:.2%} to {high:.2%})"),
        ("Macro F1", f"{figures.macro_f1:.4f}"),
        ("Balanced accuracy", f"{figures.balanced_accuracy:.2%}"),
        ("Calibration error (ECE)", f"{figures.ece:.4f}"),
        ("Brier score, negative log-likelihood", f"{figures.brier:.4f}, {figures.nll:.4f}"),
        *_abstaining(figures),
    ]
    if report.missed is not None:
        rows.append(("No face found (errors)", f"{report.missed:,} of {figures.n:,}"))
    if report.unreadable:
        rows.append(("Cannot be read (not measured)", f"{len(report.unreadable):,}"))
    speed = report.speed
    rows.append((f"Network alone, batches of {speed.batch}", f"{speed.ms_per_face:.2f} ms a face"))
    rows.append(("End to end", f"{speed.pictures_per_second:,.0f} pictures a second"))
    return rows


def _abstaining(figures: ClassificationReport) -> Rows:
    rows = []
    if figures.threshold > 0:
        rows.append((f"Uncertain (confidence under {figures.threshold:.3f})", f"{figures.uncertain:.2%} of answers"))
        rows.append(("  accuracy on the rest", percent(figures.accuracy_on_rest)))
    surest = {share: percent(figures.risk_coverage.accuracy_at(share)) for share in COVERAGES.values()}
    return rows + [(f"Accuracy of the surest {share:.0%}", accuracy) for share, accuracy in surest.items()]


def per_class(figures: ClassificationReport) -> list[tuple[str, ...]]:
    """(class, precision, recall, F1, pictures) as people read them, a row for each class."""
    return [
        (printable(label), percent(f.precision), percent(f.recall), _decimals(f.f1), f"{f.support:,}")
        for label, f in figures.per_class.items()
    ]


CLASS_COLUMNS = ("Class", "Precision", "Recall", "F1", "Pictures")


def about(report: ExpressionReport) -> str:
    """What was measured, in one line."""
    setup = "".join(f", {name} {value}" for name, value in report.setup.items())
    return printable(f"{report.model} on {report.data}: {report.figures.n:,} pictures{setup}")


def percent(value: float) -> str:
    """A share for people; a dash for what is not known."""
    return "–" if math.isnan(value) else f"{value:.2%}"


def _decimals(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


# Markdown


def to_markdown(report: ExpressionReport) -> str:
    """The report as Markdown: tables only."""
    figures = report.figures
    parts = [
        f"# {markdown(about(report))}",
        f"{markdown(report.protocol)}.",
        markdown_table(("Measure", "Value"), headline(report)),
        "## Classes",
        markdown_table(CLASS_COLUMNS, per_class(figures)),
        f"Macro F1 and balanced accuracy are means over the {_supported(figures)} classes that have pictures.",
    ]
    if len(figures.labels) <= _MOST_MATRIX:
        parts += ["## Confusion matrix", "A row for each true class, a column for each answer."]
        parts.append(markdown_table(("", *map(printable, figures.labels)), _matrix(figures)))
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {markdown(note)}" for note in report.notes)]
    if report.unreadable:
        listed = "\n".join(f"- {markdown(text)}" for text in _unreadable(report))
        parts += [f"## Cannot be read: {len(report.unreadable):,}", listed]
    return "\n\n".join(parts) + "\n"


def markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _MARKDOWN.sub(r"\\\1", html.escape(printable(text), quote=False))


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is names."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(
        f"| {' | '.join(cell if number == 1 else markdown(cell) for cell in line)} |"
        for number, line in enumerate(lines)
    )


# HTML


def to_html(report: ExpressionReport, pictures: Mapping[str, bytes] | None = None) -> str:
    """The report as one HTML file.

    Args:
        report: the figures.
        pictures: PNG files by what they show, such as `classification_plots.report_pictures` makes; they are held in
            the page.
    """
    figures = report.figures
    body = [
        f"<h1>{escaped(report.model)}</h1>",
        f"<p>{escaped(about(report))}.<br>{escaped(report.protocol)}.</p>",
        f'<p class="big">{figures.accuracy:.2%} <small>accuracy</small></p>',
        html_table((), headline(report)),
        "<h2>Classes</h2>",
        html_table(CLASS_COLUMNS, per_class(figures)),
        f"<p><small>Macro F1 and balanced accuracy are means over the {_supported(figures)} classes that have pictures."
        "</small></p>",
    ]
    if len(figures.labels) <= _MOST_MATRIX:
        body += ["<h2>Confusion matrix</h2>", "<p>A row for each true class, a column for each answer.</p>"]
        body.append(_html_matrix(figures))
    body += html_pictures(pictures or {})
    body += html_list("Notes", report.notes)
    body += html_list(f"Cannot be read: {len(report.unreadable):,}", _unreadable(report))
    return html_page(about(report), body)


def _html_matrix(figures: ClassificationReport) -> str:
    """Counts on a ground as strong as their share of the row."""
    head = "".join(f"<th>{escaped(label)}</th>" for label in figures.labels)
    lines = []
    for label, row in zip(figures.labels, figures.confusion.tolist(), strict=True):
        total = max(sum(row), 1)
        cells = "".join(_cell(count, count / total) for count in row)
        lines.append(f'<tr><th scope="row">{escaped(label)}</th>{cells}</tr>')
    return f'<div class="wide"><table class="matrix"><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'


def _cell(count: int, share: float) -> str:
    return f'<td style="background:rgba(0,114,178,{0.75 * share:.3f})">{count:,}</td>'


def _matrix(figures: ClassificationReport) -> list[tuple[str, ...]]:
    rows = zip(figures.labels, figures.confusion.tolist(), strict=True)
    return [(printable(label), *(f"{count:,}" for count in row)) for label, row in rows]


def _unreadable(report: ExpressionReport) -> list[str]:
    shown = [f"{bad.item}: {bad.reason}" for bad in report.unreadable[:_MOST_LISTED]]
    more = len(report.unreadable) - len(shown)
    return [*shown, f"and {more:,} more"] if more else shown


def _supported(figures: ClassificationReport) -> str:
    return f"{len(figures.labels) - len(figures.lacking):,}"
