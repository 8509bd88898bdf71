"""An attempt whose frames come from elsewhere: asked, timed, judged and ended here, so that a client cannot lie.

    remote = RemoteSession(Session(gallery, "Grace Hopper", seeing, ..., memory=memory))
    send(remote.progress.to_dict())
    for number, image in arriving:                  # decoded by the server, with its limits
        progress = remote.feed(image, nonce=..., number=number)
        send(progress.to_dict())
        if progress.state == "done":
            break
    remote.close()                                  # whatever happened
    remote.report                                   # for the server; never sent to the client

The client is told one action at a time, and in the end whether it was accepted and one sentence. It names no times: a
frame is as old as its arrival, by this machine's clock. Memory, frames and seconds are bounded.
"""

from __future__ import annotations

import hmac
import time as clocks
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np

from mien.liveness.challenge import NEUTRAL, TEXTS, Action
from mien.liveness.judge import State, Status
from mien.liveness.reasons import ADVICE, SENTENCES, Reason
from mien.liveness.report import Report
from mien.liveness.session import Session
from mien.ops.advice import Language
from mien.types import ImageArray
from mien.video.sequences import shrunk

__all__ = ["Bounds", "Progress", "RemoteSession"]

_LONGEST = 640  # pixels that are looked at
_LARGEST = 4096  # pixels along a side that are taken at all
_SMALLEST = 32


@dataclass(frozen=True)
class Bounds:
    """What one remote attempt may take.

    Attributes:
        seconds: from opening to the end, whether frames come or not.
        silence: seconds without a frame after which nobody is there any more.
        frames: that are sent, in all.
        rate: frames per second that are judged; what comes faster is left out.
    """

    seconds: float = 90.0
    silence: float = 10.0
    frames: int = 2500
    rate: float = 30.0


@dataclass(frozen=True)
class Progress:
    """What the client is told after a frame.

    Attributes:
        state: of the judge.
        step: actions that are done.
        steps: actions that will be asked.
        prompt: what to do now, or the last sentence, by language.
        action: that is asked now, or None.
        seconds_left: until the attempt ends by itself.
        nonce: that each frame has to carry.
        accepted: None until it has ended.
    """

    state: State
    step: int
    steps: int
    prompt: Mapping[Language, str]
    action: Action | None
    seconds_left: float
    nonce: str
    accepted: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. Why somebody was refused is told as a sentence, without what was measured."""
        told: dict[str, Any] = {
            "state": self.state,
            "step": self.step,
            "steps": self.steps,
            "prompt": dict(self.prompt),
            "seconds_left": round(self.seconds_left, 1),
            "nonce": self.nonce,
        }
        if self.action is not None:
            told["action"] = self.action
        return told if self.accepted is None else {**told, "accepted": self.accepted}


@dataclass(frozen=True, eq=False)
class _Frame:
    index: int
    time: float
    image: ImageArray


class RemoteSession:
    """One attempt of a client elsewhere; a context manager, and safe to use from several threads, one at a time.

    It holds the lock of its person until it ends: close it, or call `expire` now and then, so that a client that went
    away does not keep the door shut.

    Args:
        session: a new one; its `clock` and this one are the same.
        bounds: of the attempt.
        clock: seconds that rise, of this machine.

    Raises:
        LockedError: too many attempts failed lately, or another one is under way.
        LivenessError: the session was begun before, or lock-out cannot be written.
    """

    def __init__(
        self, session: Session, *, bounds: Bounds | None = None, clock: Callable[[], float] = clocks.monotonic
    ) -> None:
        self._session, self._bounds, self._clock = session, bounds or Bounds(), clock
        self._lock = Lock()
        self._stack = ExitStack()
        self._stack.enter_context(session)
        self._opened = self._heard = clock()
        self._judged = -1e9  # when the last frame came that was judged
        self._number = -1
        self._sent = 0
        self._status = Status("baseline", 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def nonce(self) -> str:
        """That each frame has to carry; it names the attempt in the report and the audit line."""
        return self._session.challenge.nonce

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._status.state == "done"

    @property
    def report(self) -> Report:
        """For the server.

        Raises:
            LivenessError: it has not ended yet.
        """
        return self._session.report

    @property
    def progress(self) -> Progress:
        """For the client."""
        status = self._status
        left = 0.0 if self.done else max(0.0, self._opened + self._bounds.seconds - self._clock())
        accepted = self._session.report.accepted if self.done else None
        asked = self._session.challenge.actions
        return Progress(
            status.state, status.step, len(asked), _prompt(status), status.action, left, self.nonce, accepted
        )

    def feed(self, image: ImageArray, *, nonce: str, number: int, at: float | None = None) -> Progress:
        """Judge the next frame; after the end nothing changes any more.

        Args:
            image: (H, W, 3) uint8 RGB, upright, 32 to 4096 pixels a side; larger than 640, it is scaled down.
            nonce: as the client sent it with the frame; another one ends the attempt.
            number: of the frame, as the client counts; it has to rise, or the attempt ends.
            at: when it arrived, by `clock`; now by default.

        Raises:
            ValueError: this is no picture, or none that is taken; the attempt goes on.
            LivenessError: the audit line cannot be written; as any other error, this ends the attempt.
            ModelError, GalleryError: a network or the gallery fails.
        """
        with self._lock:
            if not self.done:
                _check(image)
                arrived = self._clock() if at is None else at
                if (reason := self._refused(nonce, number, arrived)) is not None:
                    self._end(reason)
                elif arrived - self._judged >= 1 / self._bounds.rate:
                    self._judge(image, arrived)
            return self.progress

    def expire(self) -> bool:
        """End it if its time is over or nobody sends any more; whether it has ended."""
        with self._lock:
            if not self.done and (reason := self._overdue(self._clock())) is not None:
                self._end(reason)
            return self.done

    def close(self) -> None:
        """End it; it has failed unless it was accepted."""
        with self._lock:
            if not self.done:
                self._end("cancelled")

    def _refused(self, nonce: str, number: int, arrived: float) -> Reason | None:
        """Why this frame is not even looked at, and the attempt ends."""
        before, self._number = self._number, number
        self._sent += 1
        if not hmac.compare_digest(nonce.encode(errors="replace"), self.nonce.encode()) or number <= before:
            return "stream"
        if self._sent > self._bounds.frames:
            return "too-long"
        reason = self._overdue(arrived)
        self._heard = max(self._heard, arrived)
        return reason

    def _overdue(self, now: float) -> Reason | None:
        if now - self._opened > self._bounds.seconds:
            return "too-long"
        return "cancelled" if now - self._heard > self._bounds.silence else None

    def _judge(self, image: ImageArray, arrived: float) -> None:
        self._judged = arrived
        try:
            self._status = self._session.feed(_Frame(self._sent, arrived - self._opened, shrunk(image, _LONGEST)))
        except BaseException:
            self._end("cancelled")
            raise
        if self.done:
            self._stack.close()

    def _end(self, reason: Reason) -> None:
        try:
            self._status = self._session.end(reason)
        finally:
            self._status = Status("done", self._status.step, reason=self._status.reason or reason)
            self._stack.close()


def _prompt(status: Status) -> Mapping[Language, str]:
    if status.reason is not None:
        return SENTENCES[status.reason]
    if status.action is not None:
        return TEXTS[status.action]
    return ADVICE[status.advice[0]] if status.advice else NEUTRAL


def _check(image: ImageArray) -> None:
    """Stop at what is no picture.

    Raises:
        ValueError: it is none.
    """
    given = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a frame is (H, W, 3) uint8, not {given}")
    if not (min(image.shape[:2]) >= _SMALLEST and max(image.shape[:2]) <= _LARGEST):
        raise ValueError(f"a frame has {_SMALLEST} to {_LARGEST} pixels a side, not {given}")
