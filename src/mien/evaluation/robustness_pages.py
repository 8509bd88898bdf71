"""A robustness report as people read it: rows, Markdown, or one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from mien.evaluation.report_pages import markdown, markdown_table
from mien.evaluation.robustness import WITHIN, Figures, RobustnessReport
from mien.ops.degrade import KINDS
from mien.ops.files import printable
from mien.reports.pages import escaped, html_list, html_page, html_pictures, html_table

Rows = list[tuple[str, ...]]


def about(report: RobustnessReport) -> str:
    """What was measured, in one line."""
    setup = "".join(f", {name} {value}" for name, value in report.setup.items())
    what = "pairs" if report.task == "verification" else "pictures"
    return printable(f"{report.model} on {report.data}: {report.n:,} {what}{setup}")


def columns(report: RobustnessReport) -> tuple[str, ...]:
    """The titles of `rows`."""
    first, *others = (words[0].upper() + words[1:] for words in report.measures.values())
    return ("Made worse by", "Strength", first, "95 % interval", *others)


def rows(report: RobustnessReport) -> Rows:
    """A row for the clean pictures, and one for each strength of each kind; the kind is said in its first."""
    out = [("nothing", "", *_cells(report, report.clean))]
    for kind, points in report.curves.items():
        names = [f"{kind} ({KINDS[kind].unit})", *[""] * (len(points) - 1)]
        cells = [(f"{point.strength:g}", *_cells(report, point.figures)) for point in points]
        out += [(name, *row) for name, row in zip(names, cells, strict=True)]
    return out


def limit_columns(report: RobustnessReport) -> tuple[str, ...]:
    """The titles of `limits`."""
    return ("Made worse by", "Unit", f"{report.measures[report.headline]} within {100 * WITHIN:g} point of clean up to")


def limits(report: RobustnessReport) -> Rows:
    """Of each kind: the harshest strength that does little harm."""
    found = {kind: report.limit(kind) for kind in report.curves}
    return [
        (kind, KINDS[kind].unit, f"not even {KINDS[kind].strengths[0]:g}" if at is None else f"{at:g}")
        for kind, at in found.items()
    ]


def _cells(report: RobustnessReport, figures: Figures) -> tuple[str, ...]:
    low, high = report.interval(figures)
    first, *others = (f"{figures[name]:.1%}" if name in figures else "–" for name in report.measures)
    return (first, f"{100 * low:.0f}–{100 * high:.0f}%", *others)


def to_markdown(report: RobustnessReport) -> str:
    """The report as Markdown: tables only."""
    parts = [f"# {markdown(about(report))}", f"{markdown(report.protocol)}."]
    parts += ["## What does little harm", markdown_table(limit_columns(report), limits(report))]
    parts += ["## Every strength", markdown_table(columns(report), rows(report))]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {markdown(note)}" for note in report.notes)]
    if report.unreadable:
        parts.append(f"{len(report.unreadable):,} pictures cannot be read, and were not measured.")
    return "\n\n".join(parts) + "\n"


def to_html(report: RobustnessReport, pictures: Mapping[str, bytes] | None = None) -> str:
    """The report as one HTML file.

    Args:
        report: the figures.
        pictures: PNG files by what they show, held in the page.
    """
    body = [f"<h1>{escaped(about(report))}</h1>", f"<p>{escaped(report.protocol)}.</p>"]
    body += ["<h2>What does little harm</h2>", html_table(limit_columns(report), limits(report))]
    body += html_pictures(pictures or {})
    body += ["<h2>Every strength</h2>", html_table(columns(report), rows(report))]
    body += html_list("Notes", report.notes)
    body += html_list(f"Cannot be read: {len(report.unreadable):,}", [bad.item for bad in report.unreadable])
    return html_page(about(report), body)
