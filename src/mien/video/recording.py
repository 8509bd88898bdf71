"""Moments as they come to rows, and rows to wherever they are kept: memory does not grow with the length of a video."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mien.types import FloatArray
from mien.video.columns import UNKNOWN, Rows
from mien.video.smoothing import TrackSmoother
from mien.video.summary import Source

if TYPE_CHECKING:
    from mien.answers import Answers
    from mien.video.analysis import Moment

LONGEST = 1.0
"""Seconds for which a moment stands at most, unless moments come more slowly than that."""
_SLOW = 3.0  # times the usual distance of moments


class Recorder:
    """Turns moments into rows.

    How long a moment stands is known when the next one comes: rows of the last one wait for it.

    Attributes:
        names: of the gallery, by track.
        same: by track, the earlier track of the same person, who was recognised late.
        unclear: tracks that were never seen well enough to tell whether they are of somebody who was here before.
        scene: number of the scene of the last moment, from 0.

    Args:
        labels: of the expressions; empty where they were not asked for.
        smoother: makes them steady; by default with a moving average.
        source: what was looked at before, and its name.
        names: of the gallery, by track, as far as they are known before.
        same: likewise, see above.
        unclear: likewise.
        scene: with which it goes on.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        smoother: TrackSmoother | None = None,
        source: Source | None = None,
        names: Mapping[int, str] | None = None,
        same: Mapping[int, int] | None = None,
        unclear: Iterable[int] = (),
        scene: int = 0,
    ) -> None:
        self.labels = tuple(labels)
        self.names: dict[int, str] = dict(names or {})
        self.same: dict[int, int] = dict(same or {})
        self.unclear = set(unclear)
        self.scene = scene
        self._smoother = smoother or TrackSmoother(self.labels)
        self._source = source or Source()
        self._waiting: Rows | None = None
        self._last: float | None = None
        self._steps: deque[float] = deque(maxlen=64)
        self._done: list[Rows] = []

    @property
    def source(self) -> Source:
        """What was looked at so far."""
        return self._source

    @property
    def pending(self) -> int:
        """How many rows can be taken."""
        return sum(map(len, self._done))

    def add(self, moment: Moment) -> Rows:
        """The next moment.

        Args:
            moment: not before the one before.

        Returns:
            Its rows; for how long they stand is not known yet, and 0.

        Raises:
            ValueError: it shows other expressions than `labels`.
        """
        self._finish(moment.time)
        self.same |= dict(moment.came_back)
        for track, name in zip(moment.ids.tolist(), moment.people, strict=True):
            if name is not None:  # as votes come in, a name can still change, or be taken back: the last word holds
                self.names[track] = name
            else:
                self.names.pop(track, None)
        self.unclear |= set(moment.ids[~moment.clear].tolist())
        self.unclear -= set(moment.ids[moment.clear].tolist())
        self.scene += moment.cut
        self._waiting = self._rows(moment)
        first = self._source.moments == 0
        self._source = Source(
            self._source.name,
            moment.image_size,
            moment.time if first else self._source.start,
            moment.time,
            self._source.moments + 1,
        )
        return self._waiting

    def take(self, *, last: bool = False, most: int | None = None) -> Rows:
        """The rows since the last call, in order of time.

        Args:
            last: no moment follows: those that wait for one are given, too.
            most: no more rows than the first so many.
        """
        if last:
            self._finish(None)
        rows = Rows.joined(self._done, self.labels)
        self._done = [] if most is None or most >= len(rows) else [rows[most:]]
        return rows if most is None else rows[:most]

    def hear(self, rows: Rows) -> None:
        """Tell the smoother again what an earlier run recorded last."""
        for moment in rows.moments() if self.labels else ():
            self._smoother(float(moment.time[0]), moment.track.tolist(), moment.raw)

    def _finish(self, now: float | None) -> None:
        """Say for how long the moment before stood."""
        if self._last is not None:
            usual = statistics.median(self._steps) if self._steps else 0.0
            seconds = usual if now is None else min(max(now - self._last, 0.0), max(LONGEST, _SLOW * usual))
            if now is not None:
                self._steps.append(max(now - self._last, 0.0))
            else:
                s = self._source
                self._source = Source(s.name, s.size, s.start, self._last + seconds, s.moments)
            if self._waiting is not None and len(self._waiting):
                self._done.append(replace(self._waiting, seconds=np.full(len(self._waiting), seconds)))
        self._waiting, self._last = None, now

    def _rows(self, moment: Moment) -> Rows:
        faces, n = moment.faces, len(moment.ids)
        raw = self._expressions(moment)
        smoothed, state = raw, np.full(n, UNKNOWN)
        if self.labels:
            smoothed, state = self._smoother(moment.time, moment.ids.tolist(), raw)
        columns = {
            "quality": _columns(faces.qualities, "score"),
            "pose": _columns(faces.poses, "yaw", "pitch", "roll"),
            "eyes": _columns(faces.eyes, "left", "right"),
            "mouth": _columns(faces.mouths, "open"),
        }
        known = {name: np.where(_like(moment.seen, v), v, np.nan) for name, v in columns.items() if v is not None}
        return Rows.of(
            self.labels,
            n,
            time=np.full(n, moment.time),
            frame=np.full(n, moment.frame),
            scene=np.full(n, self.scene),
            track=moment.ids,
            seen=moment.seen,
            boxes=faces.boxes,
            scores=faces.scores,
            raw=raw,
            smoothed=smoothed,
            state=state,
            **known,
        )

    def _expressions(self, moment: Moment) -> FloatArray:
        """(N, C) float32; NaN where a face was not seen."""
        answers = moment.faces.expressions
        raw = np.full((len(moment.ids), len(self.labels)), np.nan, dtype=np.float32)
        if answers is not None and self.labels:
            if answers.labels != self.labels:
                raise ValueError(f"expressions are {answers.labels}, expected {self.labels}")
            raw[moment.seen] = answers.scores[moment.seen]
        return raw


def _columns(answers: Answers | None, *names: str) -> FloatArray | None:
    """(N,) or (N, K) float32 of what a model said; None where it was not asked."""
    if answers is None:
        return None
    columns = np.stack([getattr(answers, name) for name in names], axis=1).astype(np.float32)
    return columns if len(names) > 1 else columns[:, 0]


def _like(mask: np.ndarray, values: FloatArray) -> np.ndarray:
    """The mask with as many axes as the values."""
    return mask if values.ndim == 1 else mask[:, None]
