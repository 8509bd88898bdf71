"""Attempts to unlock over HTTP: one liveness session each, judged here by this machine's clock, in its own thread.

A thread of its own gives each attempt what it needs: frames are judged one after the other, in the order in which they
were sent (`turns`), and the lock on the person is given back by the thread that took it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mien.analyzer import FaceAnalyzer
from mien.errors import ImageError, LivenessError
from mien.gallery.gallery import Gallery, acting_as
from mien.liveness.agreement import objection
from mien.liveness.challenge import ACTIONS, NEUTRAL, TEXTS, Action
from mien.liveness.judge import Status
from mien.liveness.lockout import LockedError, state_folder
from mien.liveness.observing import TASKS
from mien.liveness.performing import Timing
from mien.liveness.reasons import ADVICE, SENTENCES
from mien.liveness.replays import FrameMemory
from mien.liveness.session import Session, limits_for, seeing_with
from mien.ops.image import load_image
from mien.server.places import Places
from mien.server.problems import Problem
from mien.server.settings import Limits
from mien.server.turns import AHEAD, RepeatedError, Turns
from mien.video.frames import Frame
from mien.video.sequences import shrunk

log = logging.getLogger("mien.server")
_T = TypeVar("_T")
FIRST = 30.0
"""Seconds until the first frame has to be there: people have to let their browser use the camera."""
IDLE = 6.0
"""Seconds from one frame to the next, at most."""
KEPT = 60.0
"""Seconds for which the report of an attempt can be asked for."""
_TICK = 0.5
_WAITING = AHEAD  # frames of one attempt that wait to be judged
_SIZE, _LONGEST = 320, 640  # as `mien unlock`


@dataclass(frozen=True)
class Asked:
    """What a caller asks for.

    Attributes:
        person: name or id.
        without: actions that this person cannot do.
        mirrored: whether the camera gives mirrored pictures.
    """

    person: str
    without: tuple[Action, ...] = ()
    mirrored: bool = False


@dataclass(eq=False)
class Attempt:
    """One attempt.

    Attributes:
        id: 128 random bits.
        owner: id of the caller whose it is.
        actor: for the gallery's audit trail.
        asked: what for.
        session: judges it.
        thread: does all that the session does.
        turns: puts frames in order.
        waiting: frames that are not answered yet.
    """

    owner: str
    actor: str
    asked: Asked
    session: Session
    thread: ThreadPoolExecutor
    most_pixels: int
    clock: Callable[[], float]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    turns: Turns = field(default_factory=Turns)
    waiting: int = 0
    over: float | None = None
    status: Status = field(default_factory=lambda: Status("baseline", 0))
    _stack: ExitStack = field(default_factory=ExitStack)
    _began: float | None = None
    _last: float = 0.0

    def begin(self) -> None:
        """Take the lock on the person; counted as failed from now on, unless it succeeds.

        Raises:
            LockedError: too many attempts failed, or another one is under way.
        """
        self._last = self.clock()
        self._stack.enter_context(self.session)

    def see(self, number: int, picture: bytes, time: float) -> dict[str, Any]:
        """Judge a frame; in the attempt's thread.

        Args:
            number: of it.
            picture: its file.
            time: when it was taken, in seconds of the clock.

        Raises:
            Problem: the attempt has ended.
            ImageError: it cannot be read.
        """
        if self.over is not None:
            raise _ended()
        image = load_image(picture, max_pixels=self.most_pixels, name=f"frame {number}")
        self._last = time
        self._began = time if self._began is None else self._began
        try:
            with acting_as(self.actor):
                self.status = self.session.feed(Frame(number, time - self._began, shrunk(image, _LONGEST)))
        except BaseException:
            self.end()
            raise
        if self.status.state == "done":
            self.end()
        return self.told()

    def end(self) -> None:
        """It is over, whether or not it succeeded; in the attempt's thread."""
        if self.over is None:
            self.over = self.clock()
            try:
                with acting_as(self.actor):
                    self._stack.close()
            finally:
                self.status = Status("done", self.status.step, reason=self.session.report.reason)

    def idle(self, at: float) -> bool:
        """Whether frames have stopped coming."""
        return self.over is None and at - self._last > (FIRST if self._began is None else IDLE)

    def told(self) -> dict[str, Any]:
        """JSON-ready: where it stands."""
        status, steps = self.status, len(self.session.challenge.actions)
        out: dict[str, Any] = {"id": self.id, "step": status.step, "steps": steps}
        if status.state == "done":
            report = self.session.report
            hint = SENTENCES[report.reason]
            return {**out, "state": "done", "accepted": report.accepted, "reason": report.reason, "hint": dict(hint)}
        out["state"] = "baseline" if status.state == "baseline" else "action"
        if status.action is not None:
            return {**out, "action": status.action, "hint": dict(TEXTS[status.action])}
        return {**out, "hint": dict(ADVICE[status.advice[0]] if status.advice else NEUTRAL)}

    def described(self) -> dict[str, Any]:
        """JSON-ready: what is asked, but not in which order: that is told when it is asked; and the report."""
        actions = [action for action in ACTIONS if action not in self.asked.without]
        out = {
            **self.told(),
            "nonce": self.session.challenge.nonce,
            "actions": actions,
            "texts": {action: dict(TEXTS[action]) for action in actions},
            "seconds": Timing().whole,
        }
        if self.over is not None:
            report = self.session.report.to_dict()
            del report["measures"]  # for whoever runs the door: they would tell an attacker what to do better
            out["report"] = report
        return out


class Attempts:
    """All attempts of a server.

    Args:
        places: for live streams and attempts.
        limits: of pictures.
        folder: of lock-outs and audit lines; the user's by default.
        clock: seconds that rise.
    """

    def __init__(
        self,
        places: Places,
        limits: Limits,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places, self._limits, self._folder, self.clock = places, limits, folder, clock
        self._memory = FrameMemory()  # of all attempts: no frame counts twice
        self._attempts: dict[str, Attempt] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._seer: FaceAnalyzer | None = None
        self._watcher = threading.Thread(target=self._watch, name="mien-attempts", daemon=True)

    def start(self, analyzer: FaceAnalyzer) -> None:
        """Load what is needed, and look after attempts that nobody goes on with.

        Args:
            analyzer: does at least `TASKS` of liveness.
        """
        self._seer = analyzer.with_tasks(TASKS, size=_SIZE).load()
        self._watcher.start()

    def close(self) -> None:
        """End all attempts; those that have not succeeded have failed."""
        self._closing.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        with self._lock:
            left = list(self._attempts.values())
        for attempt in left:
            with suppress(RuntimeError):  # it has ended
                attempt.thread.submit(self._end, attempt)
            attempt.thread.shutdown()

    def begin(self, owner: str, actor: str, gallery: Gallery, asked: Asked) -> Attempt:
        """Begin an attempt.

        Raises:
            Problem: nobody may be let in by it, too many failed before it, or too many are under way.
            GalleryError: there is no such person.
        """
        self._places.take(owner)
        thread = ThreadPoolExecutor(1, "mien-attempt")
        try:
            attempt = thread.submit(self._begun, thread, owner, actor, gallery, asked).result()
        except BaseException:
            thread.shutdown(wait=False)
            self._places.leave(owner)
            raise
        with self._lock:
            self._attempts[attempt.id] = attempt
        return attempt

    def of(self, owner: str, attempt: str) -> Attempt:
        """An attempt of somebody.

        Raises:
            Problem: they have no such attempt, or it ended a while ago.
        """
        with self._lock:
            found = self._attempts.get(attempt)
        if found is None or found.owner != owner:
            raise Problem(404, "not-found", "no such attempt; what came of one is kept for a minute")
        return found

    async def see(self, attempt: Attempt, number: int, picture: bytes) -> dict[str, Any]:
        """Judge a frame that has just arrived.

        Raises:
            Problem: the attempt has ended, or ends because the frame came twice or far out of turn; or more frames
                wait than a camera sends.
            ImageError: it cannot be read.
        """
        if attempt.waiting >= _WAITING:
            raise Problem(429, "behind", "frames come faster than they are judged; send fewer", {"Retry-After": "1"})
        attempt.waiting += 1
        try:
            time = await attempt.turns.take(number, self.clock())
            if time is None:
                return attempt.told()
            return await _in_thread(attempt, lambda: self._seen(attempt, number, picture, time))
        except ImageError:
            attempt.turns.excuse(number)
            raise
        except RepeatedError as error:
            await _in_thread(attempt, lambda: self._end_or_fail(attempt))
            raise Problem(
                409, "replayed", f"frame {number} came twice or out of turn; the attempt has ended"
            ) from error
        finally:
            attempt.waiting -= 1

    async def cancel(self, attempt: Attempt) -> None:
        """End an attempt; that is a failure like any other, unless it had succeeded."""
        with suppress(Problem):  # it has ended already
            await _in_thread(attempt, lambda: self._end(attempt))

    def _begun(self, thread: ThreadPoolExecutor, owner: str, actor: str, gallery: Gallery, asked: Asked) -> Attempt:
        assert self._seer is not None  # noqa: S101 - `start` was called
        seer = self._seer
        with self._telling(), acting_as(actor):
            _check_person(gallery, asked.person)
            gallery.check(seer.embedder)
            session = Session(
                gallery,
                asked.person,
                seeing_with(seer),
                alike=lambda a, b: float(seer.embedder.similarity(a, b)),
                limits=limits_for(seer.embedder),
                without=asked.without,
                mirrored=asked.mirrored,
                folder=self._folder,
                clock=self.clock,
                memory=self._memory,
            )
            attempt = Attempt(owner, actor, asked, session, thread, self._limits.picture_pixels, self.clock)
            attempt.begin()
            return attempt

    def _seen(self, attempt: Attempt, number: int, picture: bytes, time: float) -> dict[str, Any]:
        before = attempt.over
        try:
            with self._telling():
                return attempt.see(number, picture, time)
        finally:
            if before is None and attempt.over is not None:
                self._leave(attempt)

    def _end_or_fail(self, attempt: Attempt) -> None:
        if attempt.over is not None:
            raise _ended()
        try:
            with self._telling():
                attempt.end()
        finally:
            self._leave(attempt)

    def _end(self, attempt: Attempt) -> None:
        try:
            self._end_or_fail(attempt)
        except Problem as problem:
            if problem.status >= 500:  # of the disk: told in the log, and nobody is let in
                log.error("an attempt could not be written down: %s", problem.detail)

    def _leave(self, attempt: Attempt) -> None:
        """Nothing more happens in the attempt's thread, where this runs, but the refusal of frames that wait."""
        self._places.leave(attempt.owner)
        attempt.thread.shutdown(wait=False)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What went wrong, as a refusal without our paths."""
        try:
            yield
        except LockedError as error:
            wait = max(1, math.ceil(error.wait.seconds))
            raise Problem(423, "locked", str(error), {"Retry-After": str(wait)}) from error
        except LivenessError as error:
            if str(self._folder or state_folder()) not in str(error):
                raise
            log.error("%s", error)
            raise Problem(503, "liveness-unusable", "attempts cannot be kept; the server's log says why") from error
        except ValueError as error:  # of what is left out
            raise Problem(422, "invalid", str(error)) from error

    def _watch(self) -> None:
        """End attempts whose frames have stopped coming, and forget those that ended a while ago."""
        while not self._closing.wait(_TICK):
            at = self.clock()
            for attempt in self._listed():
                if attempt.idle(at):
                    with suppress(RuntimeError):  # it has ended just now
                        attempt.thread.submit(self._end, attempt)
                elif attempt.over is not None and at - attempt.over > KEPT:
                    with self._lock:
                        del self._attempts[attempt.id]

    def _listed(self) -> Sequence[Attempt]:
        with self._lock:
            return list(self._attempts.values())


async def _in_thread(attempt: Attempt, work: Callable[[], _T]) -> _T:
    """Do something in the thread of an attempt, also where the caller hangs up.

    Raises:
        Problem: it has ended.
    """
    try:
        future = attempt.thread.submit(work)
    except RuntimeError as error:
        raise _ended() from error
    return await asyncio.shield(asyncio.wrap_future(future))


def _ended() -> Problem:
    return Problem(409, "ended", "this attempt has ended; begin another")


def _check_person(gallery: Gallery, who: str) -> None:
    """Refuse people whom the gallery may not let in.

    Raises:
        Problem: they withdrew their consent, or their time is over.
        GalleryError: there is no such person.
    """
    person = gallery.person(who)
    match objection(person):
        case "withdrawn":
            raise Problem(409, "no-consent", "this person has withdrawn their consent")
        case "expired":
            raise Problem(409, "expired", "the time of this person has expired")
    if not person.faces:
        raise Problem(409, "not-enrolled", "this person has no face in the gallery; enrol one first")
