"""Hand-made labels of a video, as tests and recipes read them (tests/video/fixtures/*.json)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from mien.evaluation.tracking import LabelledFrame, TrackingScores, score_tracks
from mien.video.analysis import Moment

FIXTURES = Path(__file__).parent / "fixtures"


def labels(name: str = "hamilton", *, clear: bool = False, until: int | None = None) -> dict[int, LabelledFrame]:
    """By frame number: who is where.

    Args:
        name: of the fixture.
        clear: only people who are in focus; all others are taken to be places where nobody is sure.
        until: only frames before this one.
    """
    data = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    found = {}
    for frame in data["frames"]:
        wanted = [face for face in frame["faces"] if not clear or face["person"] in data["clear"]]
        unsure = [*frame["unsure"], *(face["box"] for face in frame["faces"] if face not in wanted)]
        if until is None or frame["frame"] < until:
            found[frame["frame"]] = LabelledFrame(
                tuple(face["person"] for face in wanted),
                _boxes(face["box"] for face in wanted),
                _boxes(unsure),
            )
    return found


def score(
    moments: Iterable[Moment], truth: dict[int, LabelledFrame], *, without: Collection[int] = ()
) -> TrackingScores:
    """How well the labelled frames were answered; faces that are hidden are no answers, nor are tracks in `without`."""
    return score_tracks((truth[m.frame], _answer(m, without)) for m in moments if m.frame in truth)


def _answer(moment: Moment, without: Collection[int]) -> LabelledFrame:
    given = moment.seen & ~np.isin(moment.ids, list(without))
    return LabelledFrame(tuple(moment.ids[given].tolist()), moment.faces.boxes[given])


def _boxes(boxes: Iterable[list[float]]) -> np.ndarray:
    return np.array(list(boxes), dtype=np.float32).reshape(-1, 4)
