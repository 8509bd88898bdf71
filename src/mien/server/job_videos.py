"""An uploaded video to who is in it when, and what they show: what `mien video` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.analyzer import FaceAnalyzer
from mien.errors import MienError
from mien.gallery.gallery import Gallery, acting_as
from mien.models.base import RuntimeOptions
from mien.models.store import WeightsStore
from mien.server.jobs import Job
from mien.server.settings import Limits
from mien.video import exports
from mien.video.analysis import VIDEO_TASKS, Every, VideoAnalyzer
from mien.video.frames import Frame, FrameSource, open_frames
from mien.video.pages import write_page
from mien.video.plots import plot_timeline
from mien.video.running import Run
from mien.video.smoothing import load_smoother

UPLOAD = "upload"
_JOURNAL = "rows"
_TABLES = ("timeline.csv", "timeline.jsonl", "timeline.vtt", "timeline.parquet")
_PLOT, _PAGE = "timeline.png", "report.html"


@dataclass(frozen=True, eq=False)
class Filming:
    """A video job.

    Args:
        analyzer: does at least `VIDEO_TASKS`.
        limits: of pictures.
        name: of the video, as the caller calls it.
        gallery: of people to name; None names nobody.
        actor: who asks, for the gallery's audit trail.
        every: when faces are searched for.
    """

    analyzer: FaceAnalyzer
    limits: Limits
    name: str
    gallery: Gallery | None
    actor: str
    every: Every = "auto"

    def __call__(self, job: Job) -> dict[str, Any]:
        """See `jobs.Work`."""
        job.called[UPLOAD] = self.name
        with acting_as(self.actor):
            return self._film(job)

    def _film(self, job: Job) -> dict[str, Any]:
        analyzer = self.analyzer.with_tasks(VIDEO_TASKS)
        labels = analyzer.expression.network.labels
        smoother = load_smoother(labels, store=WeightsStore(), options=RuntimeOptions(1))
        run = Run.start(job.folder / _JOURNAL, name=self.name, labels=labels, setup={}, smoother=smoother)
        try:
            losses = self._follow(job, run, analyzer)
            run.finish()
            job.files = tuple(self._write(job, run))
            summary = run.summary().to_dict()
        finally:
            run.close(remove=True)
            with suppress(FileNotFoundError):
                (job.folder / UPLOAD).unlink()
        return {**summary, "losses": [job.told(loss) for loss in losses]} if losses else summary

    def _follow(self, job: Job, run: Run, analyzer: FaceAnalyzer) -> tuple[str, ...]:
        """Analyse frame by frame; what could not be read."""
        path = job.folder / UPLOAD
        with open_frames(path, threads=1, max_pixels=self.limits.picture_pixels) as frames:
            job.on_stop(frames.close)
            job.total = frames.info.duration
            followed = VideoAnalyzer(analyzer, gallery=self.gallery, every=self.every)
            for moment in followed(_watched(job, frames)):
                run.add(moment)
            return frames.losses

    def _write(self, job: Job, run: Run) -> Iterator[str]:
        """Write what can be written here: Parquet and the plot need libraries that need not be installed."""
        content = run.content()
        for name in _TABLES:
            job.check()
            if _can_be_written(job.folder / name):
                exports.write(job.folder / name, content)
                yield name
        with suppress(ImportError, MienError):
            plot_timeline(content.summary, job.folder / _PLOT)
            yield _PLOT
        write_page(content.summary, job.folder / _PAGE)
        yield _PAGE


def _watched(job: Job, frames: FrameSource) -> Iterator[Frame]:
    """Frames, for as long as anybody wants the job."""
    for frame in frames:
        job.check()
        job.done = frame.time
        yield frame
    job.check()


def _can_be_written(path: Path) -> bool:
    try:
        exports.check_format(path)
    except MienError:
        return False
    return True
