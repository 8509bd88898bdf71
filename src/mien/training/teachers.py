"""Distillation: targets from trained models, averaged over views; also for faces that nobody has labelled.

Hinton, Vinyals & Dean 2015 (https://arxiv.org/abs/1503.02531); teachers may be of the student's own kind (Furlanello
et al. 2018, https://arxiv.org/abs/1805.04770).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from mien.errors import DataError
from mien.evaluation.expression import seen
from mien.models.base import CropView
from mien.models.classifier import CropClassifier
from mien.training.crops import Crops
from mien.types import FloatArray, ImageArray

_BATCH = 64
VIEWS = (CropView(), CropView(mirrored=True))
"""What a teacher sees of each crop."""


def teach(
    crops: Crops,
    teachers: Sequence[CropClassifier],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """What teachers say of crops: the mean of their calibrated probabilities over the views of each crop.

    Args:
        crops: to be labelled.
        teachers: with the same labels as the crops, in the same order.
        progress: called with (done, total).

    Returns:
        (N, C) float32, rows sum to 1.

    Raises:
        DataError: a teacher has other labels.
    """
    for teacher in teachers:
        if teacher.labels != crops.labels:
            raise DataError(
                f"teacher {teacher.name!r} knows {', '.join(teacher.labels)};"
                f" the data set has {', '.join(crops.labels)}"
            )
    answers = np.zeros((len(crops), len(crops.labels)), dtype=np.float32)
    for start in range(0, len(crops), _BATCH):
        part = slice(start, start + _BATCH)
        for view in VIEWS:
            shown = seen(crops.pixels[part], view)
            for teacher in teachers:
                answers[part] += teacher(fitted(shown, teacher.size))
        if progress is not None:
            progress(min(start + _BATCH, len(crops)), len(crops))
    answers /= answers.sum(axis=1, keepdims=True)
    return answers


def blend(targets: FloatArray, taught: FloatArray, share: float) -> FloatArray:
    """Targets of which teachers give a share; where there is no target, teachers give all."""
    labelled = targets.any(axis=1, keepdims=True)
    mixed: FloatArray = np.where(labelled, (1 - share) * targets + share * taught, taught).astype(np.float32)
    return mixed


def fitted(crops: ImageArray, size: int) -> ImageArray:
    """(N, S, S[, 3]) crops as RGB of another side."""
    colour = crops if crops.ndim == 4 else np.repeat(crops[..., None], 3, axis=3)
    if colour.shape[1] == size:
        return np.ascontiguousarray(colour)
    how = cv2.INTER_AREA if colour.shape[1] > size else cv2.INTER_LINEAR
    return np.stack([np.asarray(cv2.resize(crop, (size, size), interpolation=how), dtype=np.uint8) for crop in colour])
