"""How the commands talk: results to standard output, all else to standard error, errors in one line, exit code 2.

rich is imported when something is first printed with it: `mien analyze --json` never waits for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperGroup

from mien.cli import discard_output, uninterrupted
from mien.errors import MienError
from mien.ops.files import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table

EXIT_NO = 1
EXIT_BAD_INPUT = 2

T = TypeVar("T")


class Commands(TyperGroup):
    """A group of commands that reports what mien raises on purpose, and a full disk, as one line with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except MienError as error:
            report_error(str(error))
            raise typer.Exit(EXIT_BAD_INPUT) from error
        except BrokenPipeError as error:  # the reader of our output has left: not an error
            discard_output()
            raise typer.Exit from error


def note(message: str) -> None:
    """Say something that is no result and no error, on standard error."""
    typer.echo(printable(message), err=True)


def note_beside_bar(message: str) -> None:
    """Say something while a `progress_bar` is shown: above it, on a terminal."""
    if sys.stderr.isatty():
        stderr().print(printable(message), markup=False, highlight=False)
    else:
        note(message)


def report_error(message: str) -> None:
    """One line on standard error."""
    typer.echo(f"mien: {printable(message)}", err=True)


@cache
def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    class Results(Console):
        def on_broken_pipe(self) -> None:  # rich would exit with 1, which is an answer of `mien verify`
            raise  # noqa: PLE0704  (rich calls this while it handles the error)

    return Results()


@cache
def stderr() -> Console:
    """Where progress goes."""
    from rich.console import Console

    return Console(stderr=True)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a result as JSON on standard output; an interrupt cannot leave half a line."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")  # strict, whatever standard output tolerates
    except UnicodeEncodeError:  # names of files can be bytes that are no text: JSON's escapes carry them
        text = json.dumps(value, indent=indent)
    with uninterrupted():
        sys.stdout.flush()
        _write_all(f"{text}\n")
        sys.stdout.flush()


def _write_all(text: str) -> None:
    """Write all of a text: an unbuffered standard output (`python -u`) drops what a signal keeps it from writing."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:  # replaced by something of text alone
        sys.stdout.write(text)
        return
    left = memoryview(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
    while left:
        left = left[binary.write(left) or 0 :]


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Print, where the exit code is the answer: it stays the same when nobody reads."""
    try:
        yield
    except BrokenPipeError:
        discard_output()


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, whole: int = 0) -> Table:
    """A table of plain text, in which one column is never cut: the one that names what the row is about."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        made.add_column(column, no_wrap=i == whole, overflow="fold")
    for row in rows:
        made.add_row(*map(escape, row))
    return made


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a result on standard output: a table on a terminal; in a pipe lines with tabs, the columns first."""
    if stdout().is_terminal:
        stdout().print(table(columns, rows))
        return
    for row in (columns, *rows):
        typer.echo("\t".join(row))


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:,.1f} MB"


def counted(number: int, what: str) -> str:
    """So many of something, for people: 1 face, 2 faces."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def percent(probability: float) -> str:
    """A probability for people. Never 0 or 100 %: nothing here is certain."""
    if probability > 0.999:
        return "over 99.9%"
    return "under 0.1%" if probability < 0.001 else f"{probability:.1%}"


@contextmanager
def progress_bar(what: str, *, results_last: bool = False) -> Iterator[Callable[..., None]]:
    """A bar on standard error; yields a function of (done, total[, what]).

    None where standard error is no terminal, or where results go to the same terminal and the two would mix: not so
    where all results come after the bar (`results_last`).
    """
    if not sys.stderr.isatty() or (sys.stdout.isatty() and not results_last):
        yield lambda done, total, what=what: None
        return
    from rich.progress import Progress

    # rich would otherwise take over standard output, and print the results on standard error
    with Progress(console=stderr(), transient=True, redirect_stdout=False, redirect_stderr=False) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total, what=what: bars.update(task, completed=done, total=total, description=what)


def track(items: Iterable[T], *, total: int, what: str) -> Iterator[T]:
    """Pass items through while a bar counts them."""
    with progress_bar(what) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress(done, total)


class DownloadBars:
    """The progress of transfers on standard error: bars on a terminal, one line for each elsewhere.

    What `mien.models.store` calls a `Progress`. It draws nothing until something is transferred, and clears the
    bars when everything has arrived.
    """

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told: set[str] = set()
        self._lock = Lock()  # models are fetched by several threads, and rich draws one set of bars

    def __call__(self, done: int, total: int, what: str) -> None:
        """Report; see `mien.models.store.Progress`."""
        with self._lock:
            self._show(done, total, what)

    def _show(self, done: int, total: int, what: str) -> None:
        if not sys.stderr.isatty():
            if what not in self._told:
                typer.echo(f"fetching {what} ({megabytes(total)})", err=True)
                self._told.add(what)
            return
        bars = self._started()
        if what not in self._tasks:
            self._tasks[what] = bars.add_task(what, total=total)
        bars.update(self._tasks[what], completed=done, total=total)
        if all(task.finished for task in bars.tasks):
            bars.stop()
            self._bars, self._tasks = None, {}

    def _started(self) -> Progress:
        if self._bars is None:
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
            )
            self._bars = Progress(
                *columns, console=stderr(), transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._bars.start()
        return self._bars


def exit_for_unreadable(reasons: Sequence[str], *, most: int | None = None) -> None:
    """List what could not be read, and end with `EXIT_BAD_INPUT` if there is anything.

    Args:
        reasons: a line each.
        most: pictures that are listed; their number is told then. None lists all.
    """
    if not reasons:
        return
    for reason in reasons[:most]:
        report_error(reason)
    if most is not None:
        report_error(f"{len(reasons):,} pictures cannot be read; the figures are without them")
    raise typer.Exit(EXIT_BAD_INPUT)
