"""Made-up timelines: who is there when, and what they show, by a script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from mien.answers import Expressions, Eyes, Poses
from mien.types import Faces
from mien.video.analysis import Moment
from mien.video.state import State

LABELS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
SIZE = (640, 360)

Script = Mapping[int, Sequence[tuple[float, float, str]]]
"""By track: (start, end, expression)."""


def scene(
    script: Script,
    *,
    fps: float = 10.0,
    seconds: float = 10.0,
    names: Mapping[int, str] = {},
    places: Mapping[int, Sequence[tuple[float, float]]] | None = None,
    hidden: Iterable[tuple[int, float, float]] = (),
    eyes_closed: Iterable[tuple[int, float, float]] | None = None,
    turned: Iterable[tuple[int, float, float]] | None = None,
    cuts: Iterable[float] = (),
    states: bool = False,
    unclear: Iterable[tuple[int, float, float]] = (),
) -> Iterator[Moment]:
    """Moments as an analyzer would give them.

    Args:
        script: by track.
        fps: moments a second.
        seconds: length.
        names: by track.
        places: by track, the centre of the face at the start and at the end; it moves evenly. Side by side if None.
        hidden: (track, start, end): there, but not seen.
        eyes_closed: likewise; None: eyes were not asked for.
        turned: when a face looks aside; None: pose was not asked for.
        cuts: when another scene begins.
        states: whether a run can go on from each tenth moment.
        unclear: (track, start, end): until now never seen well enough to tell who it is.
    """
    for frame in range(round(fps * seconds)):
        time = frame / fps
        there = [
            (track, label)
            for track, acts in script.items()
            for start, end, label in acts
            if start <= time + 1e-9 < end + 1e-9 and time < end - 1e-9
        ]
        ids = [track for track, _ in there]
        yield Moment(
            frame=frame,
            time=time,
            ids=np.array(ids, dtype=np.int64),
            faces=_faces(there, time, time / seconds, places, eyes_closed, turned),
            seen=np.array([not _within(hidden, track, time) for track in ids], dtype=np.bool_),
            people=tuple(names.get(track) for track in ids),
            image_size=SIZE,
            embedded=np.zeros(len(ids), dtype=np.bool_),
            clear=np.array([not _within(unclear, track, time) for track in ids], dtype=np.bool_),
            cut=any(abs(time - cut) < 1e-9 for cut in cuts),
            state=State(time) if states and frame % 10 == 0 else None,
        )


def _within(times: Iterable[tuple[int, float, float]], track: int, time: float) -> bool:
    return any(track == who and start - 1e-9 <= time < end - 1e-9 for who, start, end in times)


def _faces(there, time, part, places, eyes_closed, turned) -> Faces:
    n = len(there)
    centres = np.zeros((n, 2), dtype=np.float32)
    scores = np.full((n, len(LABELS)), 0.1 / (len(LABELS) - 1), dtype=np.float32)
    for i, (track, label) in enumerate(there):
        scores[i, LABELS.index(label)] = 0.9
        if places is None:
            centres[i] = 40 + 60 * (track - 1) % 560, 180
        else:
            (ax, ay), (bx, by) = places[track]
            centres[i] = ax + part * (bx - ax), ay + part * (by - ay)
    boxes = np.concatenate([centres - 20, centres + 20], axis=1)
    marks = centres[:, None] + np.array([(-8, -6), (8, -6), (0, 0), (-6, 8), (6, 8)], dtype=np.float32)
    faces = Faces(boxes, np.full(n, 0.9), marks.reshape(n, 5, 2), SIZE, expressions=Expressions(LABELS, scores, 0.5))
    if eyes_closed is not None:
        shut = np.array([_within(eyes_closed, track, time) for track, _ in there], dtype=np.float32)
        faces = faces.with_answers(eyes=Eyes(0.98 - 0.95 * shut, 0.97 - 0.95 * shut))
    if turned is not None:
        away = np.array([_within(turned, track, time) for track, _ in there], dtype=np.float32)
        faces = faces.with_answers(poses=Poses(60 * away, np.zeros(n), np.zeros(n)))
    return faces
