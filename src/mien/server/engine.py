"""Analyses the pictures of all requests: those that wait share forward passes, and no more wait than can be served.

Each worker is a thread whose networks use one thread each, as `FaceAnalyzer.files` does it: pictures scale over cores
better than small networks do. What waits when a worker is free is taken as one batch, and nobody waits for a batch to
fill up.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import ParamSpec, TypeVar

from mien.analyzer import TASKS, FaceAnalyzer, Task
from mien.errors import ImageError
from mien.ops.image import load_image
from mien.server.metrics import Metrics
from mien.server.problems import Problem
from mien.server.settings import Settings
from mien.types import Faces, ImageArray

_P = ParamSpec("_P")
_T = TypeVar("_T")
_SIDE_WORK = 8  # threads for what is not analysis: galleries, files
_RETRY_AFTER = {"Retry-After": "1"}


@dataclass(frozen=True, eq=False)
class Analysed:
    """What became of one picture.

    Attributes:
        faces: of it.
        image: (H, W, 3) uint8 RGB, or None where it was not asked for.
    """

    faces: Faces
    image: ImageArray | None = None


@dataclass(eq=False)
class _Asked:
    """A picture that waits."""

    picture: bytes
    name: str
    only: tuple[Task, ...]
    keep_image: bool
    until: float
    answer: Future[Analysed] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Engine:
    """Analyses pictures for many callers at once.

    Args:
        settings: how many at a time, and how many may wait.
        analyzer: does it; by default one with all tasks, on one thread.
        metrics: count what is done.
    """

    def __init__(
        self, settings: Settings, analyzer: FaceAnalyzer | None = None, metrics: Metrics | None = None
    ) -> None:
        self.analyzer = analyzer or FaceAnalyzer(only=TASKS, threads=1)
        self.ready = False
        self._metrics = metrics or Metrics()
        self._limits, self._batch = settings.limits, settings.batch
        self._waiting: deque[_Asked] = deque()
        self._bytes = 0
        self._changed = Condition()
        self._closing = False
        self._side = ThreadPoolExecutor(_SIDE_WORK, "mien-side")
        self._threads = [Thread(target=self._work, name=f"mien-{i}", daemon=True) for i in range(settings.threads)]

    def start(self) -> None:
        """Load every network and begin to work.

        Raises:
            ModelError: one cannot be loaded.
        """
        self.analyzer.load()
        for thread in self._threads:
            thread.start()
        self.ready = True

    def close(self) -> None:
        """Finish what was accepted, and stop; nothing more is accepted meanwhile."""
        self.ready = False
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._side.shutdown()

    async def analyze(
        self, picture: bytes, *, only: Sequence[Task], name: str = "image", keep_image: bool = False
    ) -> Analysed:
        """Analyse one picture; a call that is cancelled before its turn costs nothing.

        Args:
            picture: encoded.
            only: what is asked of its faces, some of `TASKS`.
            name: what errors call it.
            keep_image: whether the decoded picture is wanted, too.

        Raises:
            Problem: too much waits (429), its time has passed, or the server is stopping (503).
            ImageError: it cannot be read.
        """
        asked = _Asked(picture, name, tuple(only), keep_image, time.monotonic() + self._limits.deadline)
        self._accept(asked)
        return await asyncio.wrap_future(asked.answer)

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do something else that blocks, in a thread of its own."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._side, lambda: function(*args, **kwargs))

    def check_room(self, size: int = 0) -> None:
        """Refuse at once what would be refused anyway, before its body is read.

        Args:
            size: bytes of the encoded picture, where it is known.

        Raises:
            Problem: too much waits (429), or the server is stopping (503).
        """
        if self._closing:
            raise Problem(503, "closing", "the server is stopping")
        if len(self._waiting) >= self._limits.queue or self._bytes + size > self._limits.queue_bytes:
            raise Problem(429, "busy", "too many pictures are waiting; try again in a second", _RETRY_AFTER)

    def _accept(self, asked: _Asked) -> None:
        with self._changed:
            self.check_room(len(asked.picture))
            self._waiting.append(asked)
            self._hold(len(asked.picture))
            self._changed.notify()

    def _hold(self, size: int) -> None:
        self._bytes += size
        self._metrics.waiting.set(len(self._waiting))

    def _work(self) -> None:
        while batch := self._next():
            self._answer(batch)

    def _next(self) -> list[_Asked]:
        """What waits longest, and what else is asked the same; empty when all is done."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            taken: list[_Asked] = []
            while self._waiting and len(taken) < self._batch and (not taken or self._waiting[0].only == taken[0].only):
                taken.append(self._waiting.popleft())
                self._hold(-len(taken[-1].picture))
            return taken

    def _answer(self, batch: list[_Asked]) -> None:
        ready = [(asked, image) for asked in batch if (image := self._decoded(asked)) is not None]
        if not ready:
            return
        images = [image for _, image in ready]
        began = time.monotonic()
        try:
            found = self.analyzer.describe(images, self.analyzer.detector(images), ready[0][0].only)
        except BaseException as error:  # every caller has to be answered, whatever happened
            for asked, _ in ready:
                asked.answer.set_exception(error)
            return
        self._metrics.analysed(found, time.monotonic() - began)
        for (asked, image), faces in zip(ready, found, strict=True):
            asked.answer.set_result(Analysed(faces, image if asked.keep_image else None))

    def _decoded(self, asked: _Asked) -> ImageArray | None:
        """The picture; None where nobody waits for it any more, or it cannot be read."""
        if not asked.answer.set_running_or_notify_cancel():
            return None
        now = time.monotonic()
        self._metrics.waited.observe(now - asked.since)
        try:
            if now > asked.until:
                raise Problem(503, "late", "the server was too busy to answer in time", _RETRY_AFTER)
            return load_image(asked.picture, max_pixels=self._limits.picture_pixels, name=asked.name)
        except (ImageError, Problem, MemoryError) as error:
            asked.answer.set_exception(error)
            return None
