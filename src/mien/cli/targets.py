"""Files that commands write beside what they print: refused before the work where possible."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mien.errors import MienError
from mien.ops.files import printable

REPORT_FORMATS = (".json", ".md", ".html")
"""What reports that have pages can be written as."""


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
