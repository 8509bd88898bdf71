"""Jobs: work that takes longer than a request, one at a time, in a thread that gives way to requests.

What a job keeps lies in a folder of its own that only the server's user may look into. It is gone when the job is
removed, when its time is over, and when the server stops; what a server that was killed left behind goes when the next
one starts.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from mien.errors import MienError
from mien.server.metrics import Metrics
from mien.server.problems import Problem, problem_of
from mien.server.settings import Limits

Kind = Literal["cluster", "video"]
KINDS: tuple[Kind, ...] = ("cluster", "video")
State = Literal["waiting", "running", "done", "failed", "cancelled"]
_OVER: tuple[State, ...] = ("done", "failed", "cancelled")

log = logging.getLogger("mien.server")
_PREFIX = "mien-jobs-"
_LOCK = "lock"
_NICE = 10
_TICK = 1.0  # seconds from one look for what has expired to the next
_SHARE = 4  # an owner has a quarter of the places
_KEPT = 4  # times as many jobs that are over as may run or wait


class StoppedError(Exception):
    """Nobody wants the job any more."""


@dataclass(eq=False)
class Job:
    """One job. Its attributes are written by one thread at a time.

    Attributes:
        id: 128 random bits.
        owner: id of the caller whose it is.
        kind: what it does.
        unit: what `done` and `total` count.
        folder: of its own.
        created: in UTC.
        state: see `State`.
        done: so much of it is done.
        total: of so much; None where that is not known.
        error: why it failed.
        result: JSON-ready, once it is done.
        files: names of those in `folder` that can be fetched.
        expires: when it is removed, once it is over.
        kept: what its kind needs later.
        called: by a name in `folder`, what the caller calls that file.
    """

    owner: str
    kind: Kind
    unit: Literal["pictures", "seconds"]
    folder: Path
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = "waiting"
    done: float = 0
    total: float | None = None
    error: Problem | None = None
    result: dict[str, Any] | None = None
    files: tuple[str, ...] = ()
    expires: datetime | None = None
    kept: Any = None
    called: dict[str, str] = field(default_factory=dict)
    _until: float = float("inf")
    _stopped: threading.Event = field(default_factory=threading.Event)
    _on_stop: list[Callable[[], None]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing more happens."""
        return self.state in _OVER

    @property
    def stopped(self) -> bool:
        """Whether nobody wants it any more."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Go on, if anybody still wants that; called often by whoever works on it.

        Raises:
            StoppedError: nobody does.
            Problem: it runs for longer than it may.
        """
        if self.stopped:
            raise StoppedError
        if time.monotonic() > self._until:
            raise Problem(422, "too-long", "the job took longer than this server allows; send less at once")

    def on_stop(self, function: Callable[[], None]) -> None:
        """Call a function, from another thread, when the job is to stop: what waits for something is to be woken."""
        self._on_stop.append(function)
        if self.stopped:
            function()

    def begin(self, seconds: float) -> None:
        """It has its turn, for so long at most."""
        self.state, self._until = "running", time.monotonic() + seconds

    def stop(self) -> None:
        """Stop it as soon as can be."""
        self._stopped.set()
        for function in self._on_stop:
            function()

    def told(self, text: str) -> str:
        """A message without our paths."""
        for name, called in self.called.items():
            text = text.replace(str(self.folder / name), called)
        return text.replace(f"{self.folder}{os.sep}", "")

    def to_dict(self, *, result: bool = True) -> dict[str, Any]:
        """JSON-ready; what there is not yet is absent."""
        done = int(self.done) if self.unit == "pictures" else round(self.done, 2)
        out: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "created": self.created.isoformat(),
            "progress": {"done": done, "unit": self.unit},
            "files": list(self.files),
        }
        if self.total is not None:
            out["progress"]["total"] = int(self.total) if self.unit == "pictures" else round(self.total, 2)
        if self.expires is not None:
            out["expires"] = self.expires.isoformat()
        if self.error is not None:
            out["error"] = self.error.to_dict()
        if result and self.result is not None:
            out["result"] = self.result
        return out


Work = Callable[[Job], dict[str, Any]]
"""Does a job: gives its result, sets its files, and calls `Job.check` between."""


class Jobs:
    """All jobs of a server.

    Args:
        limits: how many, for how long.
        place: folder for the folder of jobs; the system's own for temporary files by default.
        metrics: count them.
    """

    def __init__(self, limits: Limits, place: Path | None = None, metrics: Metrics | None = None) -> None:
        self._limits, self._metrics = limits, metrics or Metrics()
        self._place = place or Path(tempfile.gettempdir())
        self._jobs: dict[str, Job] = {}
        self._queue: deque[tuple[Job, Work]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._running: Job | None = None
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("mien-jobs", self._work), ("mien-jobs-expiry", self._watch))
        ]
        for kind in KINDS:
            self._metrics.waiting_jobs.labels(kind).set_function(partial(self._count, kind, "waiting"))
            self._metrics.running_jobs.labels(kind).set_function(partial(self._count, kind, "running"))
            for state in _OVER:
                self._metrics.jobs.labels(kind, state)  # there from the beginning, at 0

    def start(self) -> None:
        """Begin to work."""
        _sweep(self._place)
        self._root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._place))  # for its owner alone
        self._lock = FileLock(self._root / _LOCK, thread_local=False)
        self._lock.acquire()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop what runs, forget what waits, and remove all that is kept."""
        with self._changed:
            self._closing = True
            self._queue.clear()
            jobs = list(self._jobs.values())
            self._jobs.clear()
            running = self._running
            self._changed.notify_all()
        for job in jobs if running is None else [running, *jobs]:
            job.stop()
        if self._threads[0].ident is None:  # never started
            return
        for thread in self._threads:
            thread.join()
        self._lock.release()
        _remove(self._root)

    def admit(self, owner: str, kind: Kind, unit: Literal["pictures", "seconds"]) -> Job:
        """A place for a job, before anything is uploaded for it; `queue` or `remove` it then.

        Raises:
            Problem: too many run or wait already (429), or the server is stopping (503).
        """
        with self._changed:
            if self._closing:
                raise Problem(503, "closing", "the server is stopping")
            active = [job for job in self._jobs.values() if not job.over]
            mine = sum(job.owner == owner for job in active)
            served = mine >= max(1, self._limits.jobs // _SHARE)
            if served or len(active) >= self._limits.jobs:
                whose = "of yours " if served else ""
                raise Problem(429, "busy", f"too many jobs {whose}wait already; try again later", {"Retry-After": "10"})
            forgotten = self._forget_oldest(owner)
            job = Job(owner, kind, unit, self._root / secrets.token_hex(8))
            job.folder.mkdir(mode=0o700)
            self._jobs[job.id] = job
        for old in forgotten:
            _remove(old.folder)
        return job

    def queue(self, job: Job, work: Work) -> None:
        """Do a job when it is its turn.

        Raises:
            Problem: it was removed meanwhile.
        """
        with self._changed:
            if self._jobs.get(job.id) is not job:
                raise removed_meanwhile()
            self._queue.append((job, work))
            self._changed.notify_all()

    def of(self, owner: str, job: str) -> Job:
        """A job of somebody.

        Raises:
            Problem: they have no such job, or it is gone.
        """
        with self._changed:
            found = self._jobs.get(job)
            if found is None or found.owner != owner or _expired(found):
                raise Problem(404, "not-found", "no such job; results are kept for a while only")
            return found

    def all_of(self, owner: str) -> list[Job]:
        """The jobs of somebody, oldest first."""
        with self._changed:
            return [job for job in self._jobs.values() if job.owner == owner and not _expired(job)]

    def remove(self, job: Job) -> None:
        """Stop a job, and remove all that is kept of it."""
        with self._changed:
            self._jobs.pop(job.id, None)
            kept = deque(item for item in self._queue if item[0] is not job)
            if len(kept) < len(self._queue):  # else it has not been uploaded yet, runs, or is over
                self._metrics.jobs.labels(job.kind, "cancelled").inc()
            self._queue = kept
            runs = job is self._running
        job.stop()
        if not runs:  # else by whoever runs it, once nothing is written there any more
            _remove(job.folder)

    def _work(self) -> None:
        _give_way()
        while (item := self._next()) is not None:
            job, work = item
            self._do(job, work)
            with self._changed:
                self._running = None
                gone = job.id not in self._jobs
            if gone:
                _remove(job.folder)

    def _next(self) -> tuple[Job, Work] | None:
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            if self._closing:
                return None
            item = self._queue.popleft()
            self._running = item[0]
            return item

    def _do(self, job: Job, work: Work) -> None:
        job.begin(self._limits.job_seconds)
        began = time.monotonic()
        state: State = "failed"
        try:
            result = work(job)
            job.check()
            job.result, state = result, "done"
        except StoppedError:
            state = "cancelled"
        except Problem as problem:
            job.error = problem
        except MienError as error:
            told = problem_of(error)
            job.error = Problem(told.status, told.code, job.told(told.detail))
        except OSError as error:
            log.error("a job failed: %s", error)
            job.error = Problem(503, "storage", "the server could not keep what it found; its log says why")
        except Exception as error:
            log.error("a job failed", exc_info=error)
            job.error = Problem(500, "internal", "the server failed; its log says why")
        if state != "done":
            job.files, job.kept = (), None
        self._metrics.jobs.labels(job.kind, state).inc()
        self._metrics.job_seconds.labels(job.kind).observe(time.monotonic() - began)
        job.expires = datetime.now(UTC) + timedelta(seconds=self._limits.keep_seconds)
        job.state = state

    def _watch(self) -> None:
        """Remove what has expired, also while a job runs."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, _TICK):
                    return
                expired = [job for job in self._jobs.values() if _expired(job)]
            for job in expired:
                self.remove(job)

    def _forget_oldest(self, owner: str) -> list[Job]:
        """Of jobs that are over, an owner keeps a few; gives those whose folders are to be removed."""
        over = [job for job in self._jobs.values() if job.over and job.owner == owner]
        oldest = over[: max(0, len(over) - _KEPT * self._limits.jobs + 1)]
        for job in oldest:
            del self._jobs[job.id]
        return oldest

    def _count(self, kind: Kind, state: State) -> int:
        """Jobs that wait, also for their upload; or that run, also one that was removed and has not stopped yet."""
        with self._changed:
            running = [] if self._running is None else [self._running]
            waiting = [job for job in self._jobs.values() if job.state == "waiting" and job not in running]
            return sum(job.kind == kind for job in (running if state == "running" else waiting))


def removed_meanwhile() -> Problem:
    """What somebody is told who still uploads for a job that is gone."""
    return Problem(409, "cancelled", "the job was removed while it was being uploaded")


def _expired(job: Job) -> bool:
    return job.expires is not None and job.expires <= datetime.now(UTC)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove the folders of servers that were killed: those that nobody holds the lock of."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError, Timeout):
            status = folder.lstat()
            if folder.is_symlink() or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
                continue
            if not (folder / _LOCK).is_file():  # of somebody who starts just now
                continue
            with FileLock(folder / _LOCK, timeout=0):
                _remove(folder)


def _give_way() -> None:
    """Let other threads go first, where the system can tell threads apart."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
