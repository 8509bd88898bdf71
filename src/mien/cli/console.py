"""How the commands talk: results to standard output, progress and remarks to standard error."""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar

import rich.progress
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

_T = TypeVar("_T")

_WIDTH_IN_A_PIPE = 240  # nobody looks: cut and wrap nothing


def stdout() -> Console:
    """For results."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_IN_A_PIPE)


def stderr() -> Console:
    """For progress and remarks."""
    return Console(stderr=True)


def note(message: str) -> None:
    """Say something to the person."""
    stderr().print(message, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a result as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of plain text; nothing in it is read as markup."""
    result = Table(*map(escape, header))
    for row in rows:
        result.add_row(*map(escape, row))
    return result


def print_rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a result: a table on a terminal, lines with tabs in a pipe, for cut and grep."""
    console = stdout()
    if console.is_terminal:
        console.print(table(header, rows))
    else:
        for row in rows:
            typer.echo("\t".join(row))


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:,.1f} MB"


def track(items: Iterable[_T], total: int, what: str) -> Iterator[_T]:
    """Pass items on, with a bar on standard error if that is a terminal."""
    console = stderr()
    yield from rich.progress.track(
        items, escape(what), total=total, console=console, transient=True, disable=not console.is_terminal
    )


class DownloadProgress:
    """Called with (bytes done, bytes in all, what), shows a bar for each `what`, or a line in a pipe.

    As a context manager it leaves a clean terminal even after an error; without that, bars go when all is
    done, or at the end of the program.
    """

    def __init__(self) -> None:
        console = stderr()
        self._tasks: dict[str, TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show how far `what` is."""
        if what not in self._tasks:
            self._begin(total, what)
        self._bars.update(self._tasks[what], completed=done, total=total)
        if self._bars.finished:
            self._bars.stop()

    def _begin(self, total: int, what: str) -> None:
        if self._bars.disable:
            note(f"fetching {what} ({megabytes(total)})")
        if not self._tasks:
            atexit.register(self._bars.stop)  # an error must not leave the cursor hidden
        self._tasks[what] = self._bars.add_task(escape(what), total=total)
        self._bars.start()


class StepProgress:
    """A context manager that, called with (done, total, what), shows one bar; without a terminal, lines."""

    def __init__(self) -> None:
        console = stderr()
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show which step is being done."""
        if self._bar.disable:
            note(f"[{done}/{total}] {what}")
        self._bar.update(self._task, completed=done, total=total, description=escape(what))


def step_progress() -> StepProgress:
    """One bar for work in steps."""
    return StepProgress()


def download_progress() -> DownloadProgress:
    """Bars for what the weights store fetches."""
    return DownloadProgress()
