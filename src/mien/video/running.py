"""A run over a video: moments become rows on disk and a story in memory, and at the end files are written of both."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mien.errors import DataError
from mien.ops.files import printable
from mien.video.attention import FACING
from mien.video.columns import Rows
from mien.video.counting import Line
from mien.video.exports import Content
from mien.video.journal import Journal, Progress
from mien.video.recording import Recorder
from mien.video.smoothing import TrackSmoother
from mien.video.state import State
from mien.video.story import Rules, Story
from mien.video.summary import Source, Summary

if TYPE_CHECKING:
    from mien.video.analysis import Moment

_ROWS = 4096  # of a block
_SECONDS = 15.0  # after which a smaller block is written, too
_HEARD = 30.0  # seconds before a run goes on that its smoother hears again


class Run:
    """Keeps what moments say; made by `start` or `resume`. A context manager, which keeps the file.

    Memory holds a block of rows, and what happened to whom (see `Story`).

    Args:
        journal: keeps the rows.
        lines: whose crossings are counted, in pixels or percent.
        smoother: makes expressions steady over time; with a moving average by default.
        facing: degrees of yaw and pitch within which a face is towards the camera.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        lines: Sequence[Line] = (),
        smoother: TrackSmoother | None = None,
        facing: float = FACING,
    ) -> None:
        self._journal, self._lines, self._facing = journal, tuple(lines), facing
        before = journal.progress
        self._recorder = Recorder(
            journal.labels,
            smoother=smoother,
            source=before.source,
            names=before.names,
            same=before.same,
            unclear=before.unclear,
            scene=before.scene,
        )
        self._story: Story | None = None
        self._known: frozenset[str] = before.known
        self._written = time.monotonic()
        self._coming: State | None = None  # of the last moment, whose rows wait for the next one
        self._mark: _Mark | None = None
        for rows in journal.blocks():
            self._tell(rows)
            if journal.state is not None:
                self._recorder.hear(rows[rows.time > journal.state.time - _HEARD])

    @classmethod
    def start(cls, path: Path, *, name: str, labels: Sequence[str], setup: Mapping[str, Any], **how: Any) -> Self:
        """A new run.

        Args:
            path: where its rows are kept.
            name: of the source.
            labels: of the expressions; empty where they are not asked for.
            setup: what the run is asked to do.
            how: `lines`, `smoother` and `facing`.

        Raises:
            MienError: the file cannot be written.
        """
        return cls(Journal.start(path, setup, tuple(labels), name), **how)

    @classmethod
    def resume(cls, path: Path, *, setup: Mapping[str, Any], **how: Any) -> Self:
        """Go on with a run that was stopped.

        Args:
            path: where its rows are kept.
            setup: what this run is asked to do: the same.
            how: `lines`, `smoother` and `facing`.

        Raises:
            DataError: there is no such run, it is damaged, or it was asked something else.
        """
        journal = Journal.resume(path)
        try:
            _check_same(path, journal.setup, setup)
            return cls(journal, **how)
        except BaseException:
            journal.close(remove=False)
            raise

    @property
    def state(self) -> State | None:
        """Of the analysis at the last moment that is kept; what comes next is later. None: begin at the beginning."""
        return self._journal.state

    @property
    def source(self) -> Source:
        """What was looked at so far."""
        return self._recorder.source

    @property
    def names(self) -> Mapping[int, str]:
        """Of the gallery, by track."""
        return self._recorder.names

    def add(self, moment: Moment) -> Rows:
        """Keep the next moment. A run can be gone on with after the last one that had a state.

        Returns:
            Its rows; for how long they stand is not known yet, and 0.

        Raises:
            MienError: the disk is full.
        """
        state, progress = self._coming, self._progress() if self._coming is not None else None
        rows = self._recorder.add(moment)  # now those of the moment before can be taken
        if state is not None and progress is not None:
            self._mark = _Mark(state, progress, self._recorder.pending)
        self._coming = moment.state
        if self._recorder.pending >= _ROWS or time.monotonic() - self._written >= _SECONDS:
            self._write_block()
        return rows

    def finish(self) -> None:
        """No moment follows.

        Raises:
            MienError: the disk is full.
        """
        if self._mark is not None:
            self._write_block(rarely=False)
        self._append(self._recorder.take(last=True), self._progress())

    def content(self) -> Content:
        """What is written into files."""
        return Content(self.summary(), self._journal.blocks, self._known)

    def summary(self) -> Summary:
        """What it amounts to."""
        recorder = self._recorder
        return Summary(self._told(), self.names, self.source, same=recorder.same, unclear=recorder.unclear)

    def blocks(self) -> Iterable[Rows]:
        """All rows, block by block, from the disk."""
        return self._journal.blocks()

    def close(self, *, remove: bool) -> None:
        """Let go of the file of rows.

        Args:
            remove: whether it is done with, and not to be gone on with.
        """
        self._journal.close(remove=remove)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(remove=False)

    def _write_block(self, *, rarely: bool = True) -> None:
        """Write up to the last moment with a state; where none came, all there is."""
        mark, self._mark = self._mark, None
        if mark is None:
            self._append(self._recorder.take(), self._progress())
        else:
            self._append(self._recorder.take(most=mark.rows), mark.progress, mark.state, rarely=rarely)

    def _append(self, rows: Rows, progress: Progress, state: State | None = None, *, rarely: bool = True) -> None:
        self._known |= rows.known
        self._tell(rows)
        self._journal.append(rows, replace(progress, known=self._known), state, rarely=rarely)
        self._written = time.monotonic()

    def _progress(self) -> Progress:
        recorder = self._recorder
        return Progress(
            recorder.source,
            dict(recorder.names),
            dict(recorder.same),
            frozenset(recorder.unclear),
            self._known,
            recorder.scene,
        )

    def _tell(self, rows: Rows) -> None:
        if len(rows):
            self._told().add(rows)

    def _told(self) -> Story:
        if self._story is None:
            size = self.source.size
            lines = tuple(line.pixels(size) for line in self._lines) if size != (0, 0) else ()
            self._story = Story(self._journal.labels, Rules(lines, facing=self._facing))
        return self._story


@dataclass(frozen=True, eq=False)
class _Mark:
    """A moment from which a run can go on: its state, what is kept with it, and how many rows there are until then."""

    state: State
    progress: Progress
    rows: int


def _check_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A run goes on as it began.

    Raises:
        DataError: it was asked something else.
    """
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise DataError(
                f"{printable(path)}: that run had {name} {printable(before.get(name))}, this one has"
                f" {printable(now.get(name))}; use the same, or start again without --resume"
            )
