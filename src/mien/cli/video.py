"""`mien video`: who is in a video when, and what they show."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mien.cli import galleries, interrupted, options, uninterrupted
from mien.cli.console import note, note_beside_bar, print_json, progress_bar
from mien.cli.video_outputs import Outputs, print_summary
from mien.errors import VideoError
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer, Task
    from mien.gallery.gallery import Gallery
    from mien.video.analysis import Every, Moment, VideoAnalyzer
    from mien.video.frames import FrameSource
    from mien.video.running import Run
    from mien.video.smoothing import TrackSmoother

_POLL = 0.1  # seconds
_OF_PICTURES = ("age", "gender")  # tasks that videos do not have


def video(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A video; an address (rtsp, http); 0 for a camera; or pictures.")
    ],
    gallery: Annotated[
        str | None,
        typer.Option("--gallery", metavar="DB", help="Name people from this gallery; without one nobody is named."),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", metavar="FILE", help="Write the timeline: .parquet, .csv, .jsonl or .vtt. Repeatable."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw who was there when: .png, .svg or .pdf.")
    ] = None,
    render: Annotated[
        Path | None, typer.Option("--render", metavar="FILE.mp4", help="Write the video with names and expressions.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a summary as a page of HTML.")
    ] = None,
    line: Annotated[
        list[str] | None,
        typer.Option(
            "--line",
            metavar="X1,Y1,X2,Y2",
            help="Count who crosses this line; pixels, or percent (0%,50%,100%,50%). Repeatable.",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help=(
                "What to do, separated by commas: detect, pose, expression, eyes, mouth, embed, quality;"
                " detect, pose, expression and embed by default."
            ),
        ),
    ] = None,
    start: Annotated[float, typer.Option("--start", min=0.0, metavar="SECONDS", help="From there on.")] = 0.0,
    end: Annotated[float | None, typer.Option("--end", min=0.0, metavar="SECONDS", help="Up to there.")] = None,
    max_fps: Annotated[
        float | None, typer.Option("--max-fps", min=0.001, help="Look at no more pictures a second than this.")
    ] = None,
    every: Annotated[
        str,
        typer.Option(
            "--every", metavar="N|auto|real-time", help="Search for faces in every n-th picture, and follow between."
        ),
    ] = "auto",
    longest: Annotated[
        int | None, typer.Option("--longest", min=32, help="Scale pictures down to this longest side first.")
    ] = None,
    fps: Annotated[float, typer.Option("--fps", min=0.001, help="Pictures a second of a folder of pictures.")] = 25.0,
    facing: Annotated[
        float,
        typer.Option("--facing", min=1.0, max=90.0, help="Degrees within which a face is towards the camera."),
    ] = 25.0,
    as_json: options.Json = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped; the first --out says where it is.")
    ] = False,
    fpir: Annotated[
        float | None,
        typer.Option("--fpir", help="The share of strangers who may be given a name by one look, 0 to 1; 0.01."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=-1.0, max=1.0, help="Similarity to reach for a name, instead of --fpir."),
    ] = None,
    key: galleries.KeySource = None,
    detector: options.Detector = options.DETECTOR,
    embedder: galleries.Embedder = None,
    expression_model: options.ExpressionModel = None,
    temporal_model: Annotated[
        str | None,
        typer.Option(
            "--temporal-model",
            metavar="NAME_OR_PATH",
            help="Network for expressions over time; see `mien models list`, FILE.onnx, or average for none.",
        ),
    ] = None,
    size: options.Size = options.SIZE,
    min_score: options.MinScore = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    precision: options.Precision = None,
) -> None:
    """Say who is in a video, when, and what they show: as a table, files, a picture, subtitles or an annotated video.

    Without a gallery, people are numbered. Ctrl-C ends early, and writes what there is until then; a run that was
    stopped, even killed, goes on with --resume where it has an --out.
    """
    from mien.video.counting import parse_line

    outputs = Outputs(tuple(out or ()), plot, render, report)
    outputs.check(source)
    if resume and not outputs.out:
        raise typer.BadParameter("needs --out: what was done is kept beside it", param_hint="--resume")
    if end is not None and end <= start:
        raise typer.BadParameter(f"{end:g} is not after --start, {start:g}", param_hint="--end")
    if fpir is not None and not 0 < fpir < 1:
        raise typer.BadParameter(f"{fpir} is not between 0 and 1", param_hint="--fpir")
    asked = _Asked(
        source=source,
        frames={"start": start, "end": end, "max_fps": max_fps, "longest": longest, "fps": fps, "threads": threads},
        lines=tuple(parse_line(text) for text in line or ()),
        tasks=_tasks(only, gallery),
        every=_every(every),
        facing=facing,
        names={"fpir": fpir, "threshold": threshold},
    )
    how: dict[str, Any] = {
        "detector": detector, "expression": expression_model, "size": size, "threshold": min_score,
        "threads": threads, "device": device, "precision": precision,
    }  # fmt: skip
    with ExitStack() as stack:
        people = (
            stack.enter_context(galleries.open_gallery(gallery, key, embedder=embedder))
            if gallery is not None
            else None
        )
        analyzer = galleries.make_analyzer(people.info if people else None, embedder, only=asked.tasks, **how).load()
        labels = analyzer.expression.network.labels if "expression" in asked.tasks else ()
        smoother = options.make_smoother(temporal_model, labels, threads=1, device=device) if labels else None
        made_by = {name: value for name, value in how.items() if name not in ("threads", "device")}
        setup = {**asked.setup(), **made_by, "temporal": temporal_model, "gallery": gallery, "embedder": embedder}
        with uninterrupted():
            done = _run(asked, analyzer, people, outputs, setup, labels=labels, smoother=smoother, resume=resume)
            if as_json:
                print_json(done[0].to_dict() | ({"losses": list(done[1])} if done[1] else {}))
            else:
                print_summary(done[0])


@dataclass(frozen=True)
class _Asked:
    """What the user wants."""

    source: str
    frames: dict[str, Any]
    lines: tuple[Any, ...]
    tasks: tuple[Task, ...]
    every: Every
    facing: float
    names: dict[str, Any]

    def setup(self) -> dict[str, Any]:
        """What a run that goes on must have in common with the one before, JSON-ready."""
        frames = {name: value for name, value in self.frames.items() if name != "threads"}
        return {
            "source": _identity(self.source),
            **frames,
            "line": [str(line) for line in self.lines],
            "only": list(self.tasks),
            "every": self.every,
            "facing": self.facing,
            **self.names,
        }

    def open(self, since: float | None = None) -> FrameSource:
        """The frames, from a time on."""
        from mien.video.frames import open_frames, start_again

        frames = self.frames
        if since is not None:
            start = start_again(since, start=frames["start"], max_fps=frames["max_fps"])
            frames = frames | {"start": start}
        return open_frames(_source(self.source), **frames)


def _identity(source: str) -> str:
    """A file by its place and size, an address by its hash, as it can hold a password, anything else as it is said."""
    if "://" in source:
        return f"address {hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
    try:
        return f"{os.path.realpath(source)} ({Path(source).stat().st_size} bytes)" if Path(source).is_file() else source
    except (OSError, ValueError):
        return source


def _source(text: str) -> str | int:
    """A small number is a camera, unless there is a file of that name.

    Raises:
        VideoError: it is standard input.
    """
    if text == "-" and not os.path.lexists(text):
        raise VideoError("-: videos are read from a file or an address, not from standard input")
    return int(text) if text.isdecimal() and len(text) < 3 and not os.path.lexists(text) else text


def _tasks(only: str | None, gallery: str | None) -> tuple[Task, ...]:
    from mien.video.analysis import VIDEO_TASKS

    tasks = options.tasks(only, VIDEO_TASKS, without=_OF_PICTURES)
    if wrong := [task for task in tasks if task in _OF_PICTURES]:
        raise typer.BadParameter(f"{wrong[0]} is asked of pictures: `mien analyze`", param_hint="--only")
    if gallery is not None and "embed" not in tasks:
        raise typer.BadParameter("needs embed where there is a --gallery", param_hint="--only")
    return tasks


def _every(text: str) -> Every:
    """A number, or one of the words.

    Raises:
        typer.BadParameter: it is neither.
    """
    if text in ("auto", "real-time"):
        return cast("Every", text)
    if text.isdecimal() and 0 < int(text) < 100_000:
        return int(text)
    raise typer.BadParameter(f"{text!r} is neither a number from 1, nor auto, nor real-time", param_hint="--every")


def _run(
    asked: _Asked,
    analyzer: FaceAnalyzer,
    people: Gallery | None,
    outputs: Outputs,
    setup: dict[str, Any],
    *,
    labels: Sequence[str],
    smoother: TrackSmoother | None,
    resume: bool,
) -> tuple[Any, Sequence[str]]:
    """Analyse, and write all files; a Ctrl-C ends the analysis early, and what there is is written."""
    from mien.video.running import Run

    how: dict[str, Any] = {"lines": asked.lines, "facing": asked.facing, "smoother": smoother}
    with outputs.journal() as place:
        run = Run.resume(place, setup=setup, **how) if resume else None
        done = False
        try:
            with asked.open(run.state.time if run and run.state else None) as frames:
                if run is None:
                    if place.exists():
                        note(f"{printable(place.name)}: starts anew; what an earlier run left there is replaced")
                    run = Run.start(place, name=frames.info.name, labels=labels, setup=setup, **how)
                live = frames.info.live
                if resume and live:
                    raise VideoError(f"{frames.info.name}: is live, and not gone on with; start without --resume")
                followed = _follower(asked, analyzer, people, live=live)
                if run.state is not None:
                    followed.restore(run.state)
                with outputs.live_render(frames.info) as picture:
                    _follow(frames, followed, run, picture, end=asked.frames["end"])
                losses = frames.losses
            run.finish()
            outputs.write(run, None if live else asked.open, stop=closed_on_interrupt, start=asked.frames["start"])
            done = not interrupted()
        finally:
            if run is not None:
                run.close(remove=done)
        for loss in losses:
            note(loss)
        if not done and outputs.out:
            note(f"stopped early; the same command goes on with --resume ({printable(place.name)})")
        return run.summary(), losses


def _follower(asked: _Asked, analyzer: FaceAnalyzer, people: Gallery | None, *, live: bool) -> VideoAnalyzer:
    from mien.video.analysis import VideoAnalyzer

    every = "real-time" if asked.every == "auto" and live else asked.every
    return VideoAnalyzer(analyzer, gallery=people, every=every, **asked.names)


def _follow(frames: FrameSource, followed: VideoAnalyzer, run: Run, picture: Any, *, end: float | None) -> None:
    """Analyse frame by frame, until the source ends or the user has enough."""
    length = end if end is not None else frames.info.duration
    with closed_on_interrupt(frames), progress_bar("video", results_last=True) as progress:
        first: float | None = None
        began = time.monotonic()
        for moment in _moments(frames, followed, run, picture):
            first = moment.time if first is None else first
            speed = (moment.time - first) / max(time.monotonic() - began, 1e-9)
            total = max(length - first, 1e-9) if length is not None else None
            progress(moment.time - first, total, f"{int(moment.seen.sum())} in view, {speed:.1f} x real time")


def _moments(frames: FrameSource, followed: VideoAnalyzer, run: Run, picture: Any) -> Iterator[Moment]:
    """The moments, as they are kept; of a live source at once, and drawn."""
    if not frames.info.live:
        for moment in followed(frames):
            run.add(moment)
            yield moment
        return
    for frame in frames:
        moment = followed.feed(frame)
        rows = run.add(moment)
        if picture is not None:
            picture(frame, rows, run.names)
        yield moment


@contextmanager
def closed_on_interrupt(frames: FrameSource) -> Iterator[None]:
    """A Ctrl-C closes the source: whoever waits for a frame gets the end."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL):
            if interrupted():
                note_beside_bar("mien: ending early; Ctrl-C again to leave at once")
                frames.close()
                return

    watcher = threading.Thread(target=watch, name="mien-interrupt", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
