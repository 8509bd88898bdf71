"""Frames of a camera, as they come: faces followed from one to the next, and expressions made steady."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from mien.analyzer import FaceAnalyzer, Task
from mien.gallery.gallery import Gallery
from mien.models.base import RuntimeOptions
from mien.models.store import WeightsStore
from mien.ops.image import load_image
from mien.types import FloatArray
from mien.video.analysis import Moment, VideoAnalyzer
from mien.video.columns import UNCERTAIN
from mien.video.frames import Frame
from mien.video.smoothing import load_smoother

TASKS: tuple[Task, ...] = ("detect", "pose", "expression")
"""What can be asked of live frames; "embed" comes with being identified."""


class Live:
    """What one camera shows. Not to be shared by threads.

    Args:
        analyzer: does at least `TASKS` and "embed".
        only: some of `TASKS`.
        gallery: of people to name; None names nobody.
        most_pixels: of a frame.
    """

    def __init__(
        self, analyzer: FaceAnalyzer, only: tuple[Task, ...], gallery: Gallery | None, *, most_pixels: int
    ) -> None:
        tasks = (*only, "embed") if gallery is not None else only
        self._video = VideoAnalyzer(analyzer.with_tasks(tasks), gallery=gallery, every="real-time")
        labels = analyzer.expression.network.labels if "expression" in only else ()
        self._labels = labels
        self._smoother = load_smoother(labels, store=WeightsStore(), options=RuntimeOptions(1)) if labels else None
        self._most_pixels = most_pixels
        self._began = time.monotonic()

    def see(self, number: int, picture: bytes) -> dict[str, Any]:
        """The next frame; its time is now.

        Args:
            number: of the frame, as the caller counts.
            picture: encoded.

        Returns:
            JSON-ready, as `Moment.to_dict`; where expressions are asked for, each face has "smoothed" as well.

        Raises:
            ImageError: it cannot be read.
        """
        image = load_image(picture, max_pixels=self._most_pixels, name=f"frame {number}")
        moment = self._video.feed(Frame(number, time.monotonic() - self._began, image))
        answer = moment.to_dict()
        if self._smoother is not None:
            for face, smoothed in zip(answer["faces"], self._smoothed(moment), strict=True):
                face.update(smoothed)
        return answer

    def _smoothed(self, moment: Moment) -> list[dict[str, Any]]:
        assert self._smoother is not None  # noqa: S101
        said = moment.faces.expressions
        raw: FloatArray = np.zeros((0, len(self._labels)), np.float32) if said is None else said.scores.copy()
        raw[~moment.seen] = np.nan
        chances, states = self._smoother(moment.time, moment.ids.tolist(), raw)
        return [
            {} if state < UNCERTAIN else {"smoothed": self._said(int(state), row)}
            for row, state in zip(chances, states, strict=True)
        ]

    def _said(self, state: int, chances: FloatArray) -> dict[str, Any]:
        label = "uncertain" if state == UNCERTAIN else self._labels[state]
        return {
            "label": label,
            "confidence": round(float(chances.max()), 4),
            "scores": {name: round(float(chance), 4) for name, chance in zip(self._labels, chances, strict=True)},
        }
