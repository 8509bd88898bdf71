"""One attempt to unlock: a challenge, the frames that answer it, and who it is.

    with Session(gallery, "Grace Hopper", seeing) as session:
        for frame in frames:
            status = session.feed(frame)
            if status.state == "done":
                break
    report = session.report

The person is locked out after failures (`lockout`), and each attempt leaves a line (`audit`). A session lets in once,
and only by frames that came after it began.
"""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from mien.errors import LivenessError
from mien.gallery.gallery import Gallery
from mien.liveness.agreement import check_agreement, objection
from mien.liveness.audit import add_line
from mien.liveness.challenge import Challenge, draw
from mien.liveness.guards import Alike, Limits
from mien.liveness.judge import Judge, Status
from mien.liveness.lockout import LockedError, Lockout
from mien.liveness.observing import FrameLike, MomentLike, observe
from mien.liveness.performing import Timing
from mien.liveness.reasons import Reason
from mien.liveness.replays import FrameMemory, Replays
from mien.liveness.report import Report
from mien.liveness.verifying import FMR, Probe, best_probes, probe_of, verify

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer
    from mien.models.embedding import FaceEmbedder

__all__ = ["Seeing", "Session", "Trial", "limits_for", "seeing_with"]

_EMBED_EVERY = 0.3
_SAME_FMR = 1e-2
_LATE = 3.0  # seconds by which frames may lag behind the clock, or run ahead of it


class Seeing(Protocol):
    """Says what is in frames: `mien.video.analysis.VideoAnalyzer` with an analyzer that does `observing.TASKS`."""

    def feed(self, frame: Any, /) -> MomentLike:
        """The next frame."""
        ...


def seeing_with(analyzer: FaceAnalyzer) -> Seeing:
    """What says what is in the frames of one attempt: every frame is searched for faces, and embedded now and then.

    Args:
        analyzer: does `observing.TASKS`.
    """
    from mien.video.analysis import VideoAnalyzer

    return VideoAnalyzer(analyzer, every=1, embed_every=_EMBED_EVERY)


def limits_for(embedder: FaceEmbedder) -> Limits:
    """The guards' limits: faces of one attempt must be as alike as two pictures of one person.

    Raises:
        ModelError: nobody has measured the embedder.
    """
    return Limits(alike=embedder.threshold(_SAME_FMR))


class Trial:
    """A challenge judged on frames, without a lock-out and without a word about who it is: for evaluations.

    Args:
        challenge: what is asked.
        seeing: says what is in frames; new for each trial.
        alike: similarity in [-1, 1] of two embeddings.
        limits: of the guards.
        timing: of the actions.
        mirrored: whether the camera gives mirrored pictures.
        memory: of the frames of other attempts, which may not come again.
    """

    def __init__(
        self,
        challenge: Challenge,
        seeing: Seeing,
        alike: Alike,
        *,
        limits: Limits,
        timing: Timing | None = None,
        mirrored: bool = False,
        memory: FrameMemory | None = None,
    ) -> None:
        self.challenge = challenge
        more = () if memory is None else (Replays(memory, challenge.nonce),)
        self.judge = Judge(challenge, alike, limits=limits, timing=timing, mirrored=mirrored, more=more)
        self.status = Status("baseline", 0)
        self.probes: list[Probe] = []
        self.first: float | None = None
        self.last = 0.0
        self._seeing = seeing
        self._stream = sha256(challenge.nonce.encode())

    def feed(self, frame: FrameLike) -> Status:
        """Judge the next frame.

        Raises:
            ModelError: a network fails.
            ValueError: the analyzer does not do what is needed.
        """
        if self.status.state == "done":
            return self.status
        seen = observe(frame, self._seeing.feed(frame))
        self._stream.update(seen.digest)
        self.first = seen.time if self.first is None else self.first
        self.last = seen.time
        probe = probe_of(seen.time, seen.look) if seen.look is not None else None
        if probe is not None:
            self.probes.append(probe)
        self.status = self.judge.see(seen)
        return self.status

    @property
    def stream(self) -> str:
        """See `Report.stream`."""
        return self._stream.hexdigest()

    @property
    def seconds(self) -> float:
        """From first frame to last."""
        return 0.0 if self.first is None else self.last - self.first


class Session:
    """One attempt of somebody to be let in as NAME. A context manager; what is not finished in it has failed.

    Args:
        gallery: has the person.
        who: name or id.
        seeing: says what is in frames; new for each session.
        alike: similarity of two embeddings; from the gallery's embedder.
        limits: of the guards; `alike` in them is the least similarity within one attempt.
        challenge: a new one by default. A recorded one rehearses: it is judged, and never lets in.
        without: actions that are not asked, where there is no challenge.
        fmr: false match rate of the comparison.
        mirrored: whether the camera gives mirrored pictures.
        memory: of the frames of other attempts, which may not come again.
        folder: of lock-out and audit lines; the user's by default.
        clock: seconds that rise, for real; frames have to keep pace with it.

    Raises:
        GalleryError: there is no such person.
        NotAgreedError: they withdrew their consent, or their time is over.
        LivenessError: the person has no face in the gallery.
        LockedError: too many attempts failed lately.
        ValueError: too many actions are left out.
    """

    def __init__(
        self,
        gallery: Gallery,
        who: str,
        seeing: Seeing,
        *,
        alike: Alike,
        limits: Limits,
        challenge: Challenge | None = None,
        without: Sequence[Any] = (),
        fmr: float = FMR,
        mirrored: bool = False,
        memory: FrameMemory | None = None,
        folder: Path | None = None,
        clock: Callable[[], float] = clocks.monotonic,
    ) -> None:
        self._gallery, self._fmr = gallery, fmr
        self._person = gallery.person(who)
        check_agreement(self._person)
        verify(gallery, self._person.id, (), fmr=fmr)  # what cannot be compared is said now
        self._rehearsal = challenge is not None
        self._trial = Trial(
            challenge or draw(without=without), seeing, alike, limits=limits, mirrored=mirrored, memory=memory
        )
        self._folder, self._clock = folder, clock
        self._began: float | None = None
        self._stack = ExitStack()
        self._let_in: Callable[[], None] = lambda: None
        self._entered = False
        self._lockout = Lockout(gallery.info.id, self._person.id, folder=folder)
        if not self._rehearsal and (wait := self._lockout.wait()).seconds > 0:
            raise LockedError(wait)
        self._passed: bool | None = None
        self._report: Report | None = None

    @property
    def challenge(self) -> Challenge:
        """What is asked."""
        return self._trial.challenge

    @property
    def report(self) -> Report:
        """What came of it.

        Raises:
            LivenessError: it has not ended yet.
        """
        if self._report is None:
            raise LivenessError("the attempt has not ended yet")
        return self._report

    @property
    def passed(self) -> bool | None:
        """Of a rehearsal: whether the recording would have been accepted; None where it is none, or goes on."""
        return self._passed if self._rehearsal else None

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            LockedError: too many attempts failed lately.
            LivenessError: this session was begun before, or lock-out cannot be written.
        """
        if self._entered:
            raise LivenessError("a session is for one attempt; make a new one")
        self._entered = True
        if not self._rehearsal:  # which costs no failures, and forgives none
            self._let_in = self._stack.enter_context(self._lockout.attempt())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._report is None:
                self._finish("cancelled")
        finally:
            self._stack.close()

    def feed(self, frame: FrameLike) -> Status:
        """Judge the next frame.

        Raises:
            LivenessError: outside of the `with` block, or the audit line cannot be written.
            ModelError, GalleryError: a network or the gallery fails.
        """
        if not self._entered:
            raise LivenessError("use a session in a `with` block")
        if self._report is not None:
            return self._trial.status
        if not self._rehearsal and not self._in_pace(frame.time):
            self._finish("stream")
            return self._trial.status
        status = self._trial.feed(frame)
        if status.state == "done":
            assert status.reason is not None  # noqa: S101
            self._finish(status.reason)
        return self._trial.status

    def _in_pace(self, time: float) -> bool:
        """Whether frames come as time passes: a file that is read at once is no camera."""
        now = self._clock()
        if self._began is None:
            self._began = now - time
        return abs(now - self._began - time) <= _LATE

    def _finish(self, reason: Reason) -> None:
        trial = self._trial
        verdict = None
        if reason == "accepted":
            reason = objection(self._gallery.person(self._person.id)) or reason  # what was said in the meantime
        if reason == "accepted":
            verdict = verify(self._gallery, self._person.id, best_probes(trial.probes), fmr=self._fmr)
            reason = "accepted" if verdict.same else "not-recognised"
        self._passed = reason == "accepted"
        self._report = Report(
            reason="rehearsal" if self._rehearsal else reason,
            nonce=trial.challenge.nonce,
            stream=trial.stream,
            challenge=trial.challenge.actions,
            steps=trial.status.step,
            gallery=self._gallery.info.id,
            person=self._person.id,
            seconds=trial.seconds,
            verdict=verdict,
            measures=trial.judge.measures,
        )
        trial.status = replace(trial.status, state="done", action=None, reason=self._report.reason)
        self._write_down()

    def _write_down(self) -> None:
        """The audit line first: who cannot be noted is not let in."""
        report = self.report
        told = {name: value for name, value in report.to_dict().items() if name not in ("text", "measures", "stream")}
        try:
            add_line({"at": datetime.now(UTC).isoformat(timespec="seconds"), **told}, self._folder)
            if report.accepted:
                self._let_in()
        except BaseException:
            self._report = replace(report, reason="cancelled")
            self._trial.status = replace(self._trial.status, reason="cancelled")
            raise
