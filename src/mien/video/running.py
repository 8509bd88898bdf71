"""A run over a video: moments become rows on disk and a story in memory, and at the end files are written of both."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
from mien.video.story import Rules, Story
from mien.video.summary import Source, Summary

if TYPE_CHECKING:
    from mien.video.analysis import Moment

_ROWS = 4096  # of a block
_SECONDS = 15.0  # after which a smaller block is written, too


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
            first_track=before.tracks,
        )
        self._story: Story | None = None
        self._known: frozenset[str] = before.known
        self._written = time.monotonic()
        for rows in journal.blocks():
            self._tell(rows)

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
        journal = Journal.start(path, setup, tuple(labels))
        journal.progress = Progress(Source(name))
        return cls(journal, **how)

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
    def last(self) -> float | None:
        """Seconds, the time of the last moment that is kept; what comes next is later. None before the first."""
        return self._journal.progress.last

    @property
    def source(self) -> Source:
        """What was looked at so far."""
        return self._recorder.source

    @property
    def names(self) -> Mapping[int, str]:
        """Of the gallery, by track."""
        return self._recorder.names

    def add(self, moment: Moment) -> Rows:
        """Keep the next moment.

        Returns:
            Its rows; for how long they stand is not known yet, and 0.

        Raises:
            MienError: the disk is full.
        """
        rows = self._recorder.add(moment)
        if self._recorder.pending >= _ROWS or time.monotonic() - self._written >= _SECONDS:
            self._write(last=False)
        return rows

    def finish(self) -> None:
        """No moment follows.

        Raises:
            MienError: the disk is full.
        """
        self._write(last=True)

    def content(self) -> Content:
        """What is written into files."""
        return Content(self.summary(), self._journal.blocks, self._known)

    def summary(self) -> Summary:
        """What it amounts to."""
        return Summary(self._told(), self.names, self.source, same=self._recorder.same)

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

    def _write(self, *, last: bool) -> None:
        rows = self._recorder.take(last=last)
        self._known |= rows.known
        self._tell(rows)
        recorder, source = self._recorder, self._recorder.source
        if not last:
            source = replace(source, moments=source.moments - 1)  # one waits, and is not kept yet
        kept = recorder.finished if recorder.finished is not None else self.last
        progress = Progress(
            source, dict(recorder.names), dict(recorder.same), self._known, kept, recorder.highest_track
        )
        self._journal.append(rows, progress)
        self._written = time.monotonic()

    def _tell(self, rows: Rows) -> None:
        if len(rows):
            self._told().add(rows)

    def _told(self) -> Story:
        if self._story is None:
            size = self.source.size
            lines = tuple(line.pixels(size) for line in self._lines) if size != (0, 0) else ()
            self._story = Story(self._journal.labels, Rules(lines, facing=self._facing))
        return self._story


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
