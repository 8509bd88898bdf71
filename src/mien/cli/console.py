"""How the commands talk: results to stdout, all else to stderr, errors in one line with exit code 2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from mien.errors import MienError

EXIT_BAD_INPUT = 2

stdout = Console()
stderr = Console(stderr=True)


@contextmanager
def reported_errors() -> Iterator[None]:
    """Print an error that mien raises on purpose as one line on stderr and exit with 2."""
    try:
        yield
    except MienError as error:
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_BAD_INPUT) from error


def note(message: str) -> None:
    """Say something to the person, on stderr."""
    stderr.print(escape(message), highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a result as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a result on stdout: a table on a terminal, lines with tabs in a pipe."""
    if not stdout.is_terminal:
        for row in rows:
            typer.echo("\t".join(row))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(escape, row))
    stdout.print(table)


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:,.1f} MB"


class ProgressBars:
    """The progress of transfers on stderr: bars on a terminal, one line per transfer elsewhere.

    Use it as a context manager; the object is what `mien.models.store` calls a `Progress`.
    """

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=stderr,
            transient=True,
            disable=not stderr.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Report; see `mien.models.store.Progress`."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(escape(what), total=total)
            if self._bars.disable:
                note(f"fetching {what} ({megabytes(total)})")
        self._bars.update(self._tasks[what], completed=done)
