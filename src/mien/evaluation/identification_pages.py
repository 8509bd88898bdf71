"""An identification report as people read it: rows, Markdown, or one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from mien.evaluation.identification import AtThreshold, IdentificationReport, Rate
from mien.evaluation.report_pages import Rows, markdown, markdown_table
from mien.ops.files import printable
from mien.reports.pages import escaped, html_list, html_page, html_pictures, html_table

COLUMNS = ("Threshold", "Similarity", "FPIR", "FNIR")


def about(report: IdentificationReport) -> str:
    """What was measured, in one line."""
    setup = "".join(f", {value}" for value in report.setup.values())
    return printable(f"{report.model}{setup}: {report.people:,} people enrolled")


def headline(report: IdentificationReport) -> Rows:
    """(name, value) of the figures without a threshold."""
    rows = [(f"Rank {k} (95 % interval)", rate_text(rate)) for k, rate in report.rank.items()]
    rows.append(("Pictures enrolled, searched for, of strangers", _counts(report)))
    rows.append(("Pictures with no face found", f"{report.missed:,}"))
    if report.brier is not None and report.ece is not None:
        rows.append(("Probability: Brier score, ECE", f"{report.brier:.4f}, {report.ece:.4f}"))
    return rows


def thresholds(report: IdentificationReport) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` for each threshold that was measured."""
    held: dict[str, AtThreshold] = {f"lowest for FPIR {name} here": at for name, at in report.measured.items()}
    held |= {f"mien's own for FPIR {name}": at for name, at in report.shipped.items()}
    if report.recommended is not None:
        held[f"recommended for FPIR {report.target_fpir:g}"] = report.recommended
    if report.fixed is not None:
        held["as given"] = report.fixed
    return [(name, f"{at.threshold:.4f}", rate_text(at.fpir), rate_text(at.fnir)) for name, at in held.items()]


def rate_text(rate: Rate) -> str:
    """A share with its interval."""
    return f"{rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})"


def to_markdown(report: IdentificationReport) -> str:
    """The report as Markdown: tables only."""
    parts = [f"# {markdown(about(report))}", f"{markdown(report.protocol)}."]
    parts.append(markdown_table(("Measure", "Value"), headline(report)))
    if rows := thresholds(report):
        parts += ["## Thresholds", markdown_table(COLUMNS, rows)]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {markdown(note)}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def to_html(report: IdentificationReport, pictures: Mapping[str, bytes] | None = None) -> str:
    """The report as one HTML file.

    Args:
        report: the figures.
        pictures: PNG files by what they show, held in the page.
    """
    body = [f"<h1>{escaped(about(report))}</h1>", f"<p>{escaped(report.protocol)}.</p>"]
    body.append(html_table((), headline(report)))
    if rows := thresholds(report):
        body += ["<h2>Thresholds</h2>", html_table(COLUMNS, rows)]
    body += html_pictures(pictures or {})
    body += html_list("Notes", report.notes)
    return html_page(about(report), body)


def _counts(report: IdentificationReport) -> str:
    return f"{report.enrolled:,}, {report.probes:,}, {report.strangers:,}"
