"""What `mien video` writes and prints."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.cli.console import counted, note, print_rows, progress_bar
from mien.cli.targets import check_target
from mien.errors import MienError
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.video.frames import FrameSource, SourceInfo
    from mien.video.running import Run
    from mien.video.summary import Summary

_PAGES = (".html", ".htm")


@dataclass(frozen=True)
class Outputs:
    """The files that are asked for; None, or none, for those that nobody wants."""

    out: tuple[Path, ...]
    plot: Path | None
    render: Path | None
    report: Path | None

    def check(self, source: str) -> None:
        """Refuse what could only fail later.

        Raises:
            MienError: one cannot be written, has no format that mien writes, or is the source.
        """
        from mien.video.exports import check_format
        from mien.video.plots import check_plot

        for path in self._all():
            check_target(path)
            if path.exists() and Path(source).exists() and path.samefile(source):
                raise MienError(f"{printable(path)}: is the video itself; name another file")
        if len({path.resolve() for path in self._all()}) < len(self._all()):
            raise MienError("two outputs have the same name")
        for path in self.out:
            check_format(path)
        if self.plot is not None:
            check_plot(self.plot)
        if self.report is not None and self.report.suffix.lower() not in _PAGES:
            raise MienError(f"{printable(self.report)}: not a page; use .html")
        if self.render is not None:
            from mien.video.render import check_render

            check_render(self.render)

    def _all(self) -> list[Path]:
        return [*self.out, *(path for path in (self.plot, self.render, self.report) if path is not None)]

    @contextmanager
    def journal(self) -> Iterator[Path]:
        """Where rows are kept as they come: beside the first output, or nowhere that lasts.

        Raises:
            MienError: another run writes there.
        """
        from mien.video.journal import SUFFIX, alone

        if self.out:
            place = self.out[0].with_name(self.out[0].name + SUFFIX)
            with alone(place):
                yield place
            return
        with tempfile.TemporaryDirectory(prefix="mien-") as folder:
            yield Path(folder) / f"rows{SUFFIX}"

    @contextmanager
    def live_render(self, info: SourceInfo) -> Iterator[Any]:
        """What draws on frames as they come, of a source that cannot be read twice; None for others."""
        if self.render is None or not info.live:
            yield None
            return
        from mien.video.render import LiveRender

        with LiveRender(self.render) as live:
            yield live

    def write(
        self,
        run: Run,
        reopen: Callable[[], FrameSource] | None,
        stop: Callable[[FrameSource], AbstractContextManager[None]],
        *,
        start: float,
    ) -> None:
        """Write all files.

        Args:
            run: what was found.
            reopen: opens the source a second time; None where that cannot be.
            stop: ends the reading of a source when the user has enough.
            start: seconds of the source at which an annotated video begins.

        Raises:
            MienError: one cannot be written.
        """
        from mien.video import exports
        from mien.video.pages import write_page
        from mien.video.plots import plot_timeline

        content = run.content()
        for path in self.out:
            exports.write(path, content)
        if self.plot is not None:
            plot_timeline(content.summary, self.plot)
        if self.report is not None:
            write_page(content.summary, self.report)
        if self.render is not None and reopen is not None:
            self._render(run, reopen, stop, start)
        if self._all():
            note(f"written: {', '.join(printable(path) for path in self._all())}")

    def _render(
        self,
        run: Run,
        reopen: Callable[[], FrameSource],
        stop: Callable[[FrameSource], AbstractContextManager[None]],
        start: float,
    ) -> None:
        """Draw in a second reading: by then every track has its name."""
        from mien.video.render import render

        assert self.render is not None  # noqa: S101
        with reopen() as frames, stop(frames), progress_bar("drawing", results_last=True) as progress:
            sound = Path(run.source.name)
            render(
                self.render,
                frames,
                run.blocks(),
                run.names,
                run.source,
                start=start,
                sound=sound if sound.is_file() else None,
                progress=progress,
            )


def print_summary(summary: Summary) -> None:
    """The table that `mien video` prints: a row for each person, and counts."""
    from mien.video.plots import span_in_words

    people = summary.people
    if not people:
        note(
            "nobody was seen; try --size full for small faces, or a lower --min-score"
            if summary.source.moments
            else "there was nothing to look at"
        )
        return
    columns, rows = _table(summary)
    print_rows(columns, rows)
    named = len({person.name for person in people if person.name is not None})
    told = f"{counted(named, 'name')} among them, " if named else ""
    note(f"{summary.how_many}, {told}at most {summary.most_at_once} at once, {span_in_words(summary.source)}")
    if summary.doubt:
        note(summary.doubt)
    for number, crossed in enumerate(summary.lines(), 1):
        note(f"line {number}: {crossed['in']} in, {crossed['out']} out")


def _table(summary: Summary) -> tuple[list[str], list[list[str]]]:
    from mien.video.plots import duration

    columns = ["person", "present"]
    expressions = any(summary.shares(person) for person in summary.people)
    facing = [person.attention.to_dict().get("facing_camera") for person in summary.people]
    columns += ["mostly", "smiles"] if expressions else []
    columns += ["facing camera"] if any(facing) else []
    rows = []
    for person, turned in zip(summary.people, facing, strict=True):
        row = [printable(person.label), duration(person.seconds)]
        if expressions:
            main = summary.main(person)
            share = f"{printable(main)} {summary.shares(person)[main]:.0%}" if main else ""
            row += [share, str(len(summary.smiles(person)))]
        if any(facing):
            row.append(f"{turned['share']:.0%}" if turned else "")
        rows.append(row)
    return columns, rows
