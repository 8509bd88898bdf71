"""`mien unlock`: let somebody in who is there, alive, and who they say they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import galleries, options
from mien.cli.console import EXIT_NO, note, print_json, reader_may_leave, stdout
from mien.ops.files import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mien.analyzer import FaceAnalyzer
    from mien.gallery.gallery import Gallery
    from mien.liveness.challenge import Challenge
    from mien.liveness.judge import Status
    from mien.liveness.reasons import Reason
    from mien.liveness.report import Report
    from mien.liveness.session import Session

_FPS = 15.0
_LONGEST = 640
_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}


def unlock(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who says to be there: a person of the gallery.")],
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    source: Annotated[
        str, typer.Option("--source", help="The camera: its number, or an rtsp:// or http:// address of a live stream.")
    ] = "0",
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="ACTION", help="An action that NAME cannot do; twice at most."),
    ] = None,
    fmr: Annotated[
        float, typer.Option("--fmr", help="The share of other people who would be taken for NAME, up to 0.01.")
    ] = 1e-4,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="The camera gives mirrored pictures.")] = False,
    language: Annotated[str, typer.Option("--language", metavar="both|en|zh", help="Of what is asked.")] = "both",
    large: Annotated[bool, typer.Option("--large", help="Show what is asked in large letters.")] = False,
    frames: Annotated[
        Path | None,
        typer.Option(
            "--frames", metavar="FILE", help="Rehearse on a recording, for tests: it never unlocks, exit code 1."
        ),
    ] = None,
    challenge: Annotated[
        str | None,
        typer.Option("--challenge", metavar="ACTION[@SECONDS],...", help="With --frames: what was asked, and when."),
    ] = None,
    as_json: options.Json = False,
    embedder: galleries.Embedder = None,
    size: options.Size = "320",
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Ask somebody before the camera to do random things, and let them in if they do and are NAME.

    Exit code 0: unlocked; 1: refused, locked after failures, or a rehearsal; 2: bad input or usage. After three
    failures in a row there are waits, which grow. Who withdrew their consent, or whose time in the gallery is over, is
    refused before the camera is used. Each attempt leaves a line in a private file, without pictures. What this stops
    and what it cannot: docs/liveness.md.
    """
    from mien.liveness.observing import TASKS

    if language not in ("both", "en", "zh"):
        raise typer.BadParameter(f"{language!r} is none of both, en, zh", param_hint="--language")
    if (frames is None) != (challenge is None):
        raise typer.BadParameter("--frames and --challenge go together", param_hint="--challenge")
    asked = None if challenge is None else _parsed(challenge)
    show = _Prompter(("en", "zh") if language == "both" else (language,), large=large)
    try:
        with galleries.open_gallery(gallery, key) as opened:
            analyzer = galleries.make_analyzer(
                opened.info, embedder, only=TASKS, size=size, threads=threads, device=device
            )
            opened.check(analyzer.load().embedder)
            session = _session(
                opened, analyzer, name, challenge=asked, without=without or (), fmr=fmr, mirrored=mirrored
            )
            _run(session, frames if frames is not None else _live(source), show, live=frames is None)
    except _refusals() as error:
        _refuse(error, show, as_json=as_json)
    _tell(session, show, as_json=as_json)
    raise typer.Exit(0 if session.report.accepted else EXIT_NO)


def _session(gallery: Gallery, analyzer: FaceAnalyzer, name: str, **how: Any) -> Session:
    from mien.liveness.session import Session, limits_for, seeing_with

    embedder = analyzer.embedder
    try:
        return Session(
            gallery,
            name,
            seeing_with(analyzer),
            alike=lambda a, b: float(embedder.similarity(a, b)),
            limits=limits_for(embedder),
            **how,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--without or --fmr") from error


def _run(session: Session, source: int | str | Path, show: _Prompter, *, live: bool) -> None:
    from mien.video.frames import open_frames

    with open_frames(source, max_fps=_FPS if live else None, longest=_LONGEST) as opened:
        if live and not opened.info.live:
            raise typer.BadParameter("a recording is no camera; --frames rehearses", param_hint="--source")
        with session:  # after the camera: one that does not work is nobody's failure
            _feed(session, opened, show)


def _feed(session: Session, frames: Iterable[Any], show: _Prompter) -> None:
    for frame in frames:
        status = session.feed(frame)
        show(status)
        if status.state == "done":
            return


def _live(source: str) -> int | str:
    """A number, or an address; a file is no camera.

    Raises:
        typer.BadParameter: something else.
    """
    if source.isdecimal() and len(source) <= 4:
        return int(source)
    if "://" in source:
        return source
    raise typer.BadParameter(
        f"{printable(source)!r} is no number of a camera and no address; recordings are for --frames",
        param_hint="--source",
    )


def _parsed(text: str) -> Challenge:
    """`smile,turn-left@5.5`: actions, all of them with the time at which they were asked, or none.

    Raises:
        typer.BadParameter: it says something else.
    """
    from mien.liveness.challenge import recorded

    parts = [part.strip().partition("@") for part in text.split(",")]
    try:
        times = [float(time) for _, at, time in parts if at]
        if times and len(times) != len(parts):
            raise ValueError("either each action has a time, or none")
        return recorded([action for action, _, _ in parts], times or None)  # type: ignore[misc]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--challenge") from error


class _Prompter:
    """Says what to do, whenever that changes, on standard error: results alone go to standard output."""

    def __init__(self, languages: tuple[str, ...], *, large: bool) -> None:
        self._languages, self._large = languages, large
        self._said: object = None

    def __call__(self, status: Status) -> None:
        """Say what a status asks for."""
        from mien.liveness.challenge import NEUTRAL, TEXTS
        from mien.liveness.reasons import ADVICE

        if status.state == "done":
            return
        if status.action is not None:
            texts = TEXTS[status.action]
        else:
            texts = ADVICE[status.advice[0]] if status.advice else NEUTRAL
        if texts is not self._said:
            self._said = texts
            self._say(texts, important=status.action is not None)

    def text(self, texts: Any) -> str:
        """In the languages asked for."""
        return "  ".join(texts[language] for language in self._languages)

    def _say(self, texts: Any, *, important: bool = False) -> None:
        if not (self._large and sys.stderr.isatty()):
            note(self.text(texts))
            return
        from rich.align import Align
        from rich.panel import Panel
        from rich.text import Text

        from mien.cli.console import stderr

        lines = Text("\n\n".join(texts[language] for language in self._languages), style="bold", justify="center")
        border = "bright_yellow" if important else "dim"
        stderr().print(Panel(Align.center(lines), border_style=border, padding=(2 if important else 1, 4)))


def _tell(session: Session, show: _Prompter, *, as_json: bool) -> None:
    report: Report = session.report
    with reader_may_leave():
        if as_json:
            told = {"schema": 1, **report.to_dict()}
            print_json(told if session.passed is None else {**told, "rehearsal": {"passed": session.passed}})
            return
        text = show.text({"en": report.sentence("en"), "zh": report.sentence("zh")})
        if session.passed is not None:
            text += " It would have been accepted." if session.passed else " It would have been refused."
        stdout().print(text, style="green" if report.accepted else "yellow", **_PLAIN)


def _refusals() -> tuple[type[Exception], ...]:
    from mien.liveness.agreement import NotAgreedError
    from mien.liveness.lockout import LockedError

    return LockedError, NotAgreedError


def _refuse(error: Any, show: _Prompter, *, as_json: bool) -> None:
    """Too early, or not agreed to: no challenge, no camera, no failure.

    Raises:
        typer.Exit: always.
    """
    from mien.liveness.reasons import SENTENCES

    reason: Reason = getattr(error, "reason", "locked")
    texts = dict(SENTENCES[reason])
    wait = {"wait": round(error.wait.seconds)} if reason == "locked" else {}
    with reader_may_leave():
        if as_json:
            print_json({"schema": 1, "accepted": False, "reason": reason, "text": texts, **wait})
        else:
            seconds = f" ({wait['wait']} s)" if wait else ""
            stdout().print(f"{show.text(texts)}{seconds}", style="yellow", **_PLAIN)
    raise typer.Exit(EXIT_NO) from error
