"""Files that commands write beside what they print: refused before the work where possible."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mien.errors import MienError
from mien.ops.atomic import write_whole
from mien.ops.files import printable

REPORT_FORMATS = (".json", ".md", ".html")
"""What reports that have pages can be written as."""


class _Report(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


AnyReport = TypeVar("AnyReport", bound=_Report)


def check_target(path: Path) -> None:
    """Refuse a file that cannot be written, before minutes of work.

    Raises:
        MienError: it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise MienError(f"{path}: cannot be written: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise MienError(f"{path}: its folder does not exist; make it first")


def check_report(out: Path | None, plots: Iterable[Path | None] = (), *, formats: tuple[str, ...] = ()) -> None:
    """Refuse the files of a report that cannot be written, before minutes of work.

    Args:
        out: the report itself, or None.
        plots: its plots, None for those that nobody asked for.
        formats: what `out` can end in; anything if empty.

    Raises:
        MienError: one cannot be written, or has no format that mien writes.
    """
    if out is not None:
        check_target(out)
        if formats and out.suffix.lower() not in formats:
            raise MienError(f"{printable(out)}: not a format for reports; use {', '.join(formats)}")
    for path in plots:
        if path is not None:
            from mien.evaluation.plots import check_plot

            check_target(path)
            check_plot(path)


def write_json_report(report: _Report, out: Path | None) -> None:
    """Write a report that has no pages, if a file for it is named.

    Raises:
        MienError: it cannot be written.
    """
    if out is not None:
        write_whole(out, json.dumps(report.to_dict(), indent=2) + "\n")


def report_page(
    report: AnyReport,
    suffix: str,
    *,
    to_markdown: Callable[[AnyReport], str],
    to_html: Callable[..., str],
    pictures: Callable[[AnyReport], Mapping[str, bytes]],
) -> str:
    """A report as a file holds it.

    Args:
        report: with `to_dict`.
        suffix: of the file: ".json", ".md", or else HTML.
        to_markdown: makes the page in Markdown.
        to_html: makes the page in HTML, of the report and, where there are any, its pictures.
        pictures: draws them; where matplotlib is missing, the tables say it all.
    """
    if suffix == ".json":
        return json.dumps(report.to_dict(), indent=2) + "\n"
    if suffix == ".md":
        return to_markdown(report)
    try:
        return to_html(report, pictures(report))
    except MienError:
        return to_html(report)
