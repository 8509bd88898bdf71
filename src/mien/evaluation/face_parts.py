"""Eyes and mouths: how well a network tells open ones from closed ones, on pictures of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mien.datasets.base import ImageSet
from mien.datasets.patches import LABELS, squared
from mien.errors import DataError, ImageError
from mien.evaluation.classification import ClassificationReport, Classifier, classification_report
from mien.evaluation.expression import Unreadable, checked_answers
from mien.evaluation.metrics import auc, roc
from mien.evaluation.prefetch import prefetched
from mien.evaluation.verification import Progress
from mien.types import ImageArray

_BATCH = 256
_DECIMALS = 6
_OPEN = LABELS.index("open")


@dataclass(frozen=True, eq=False)
class PartReport:
    """The figures of one network on one set of pictures.

    Attributes:
        protocol: how the labels were made, in words.
        data: name of the set.
        model: name of the network.
        figures: all that is measured of classifiers.
        auc: area under the ROC curve: the chance that an open one looks more open than a closed one.
        setup: what else the figures depend on.
        unreadable: the pictures that could not be read; not measured.
    """

    protocol: str
    data: str
    model: str
    figures: ClassificationReport
    auc: float
    setup: Mapping[str, str | int] = field(default_factory=dict)
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def tpr(self) -> float:
        """True positive rate: the share of the open ones that are called open."""
        return self.figures.per_class["open"].recall

    @property
    def fpr(self) -> float:
        """False positive rate: the share of the closed ones that are called open."""
        return 1 - self.figures.per_class["closed"].recall

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the one schema of `mien evaluate eyes` and `mouth`."""
        figures = self.figures
        return {
            "protocol": self.protocol,
            "n": figures.n,
            "model": self.model,
            "data": self.data,
            **self.setup,
            "accuracy": round(figures.accuracy, _DECIMALS),
            "accuracy_interval": [round(end, _DECIMALS) for end in figures.accuracy_interval],
            "tpr": round(self.tpr, _DECIMALS),
            "fpr": round(self.fpr, _DECIMALS),
            "auc": round(self.auc, _DECIMALS),
            "ece": round(figures.ece, _DECIMALS),
            "per_class": {label: per_class.to_dict() for label, per_class in figures.per_class.items()},
            "unreadable": [{"path": bad.item, "error": bad.reason} for bad in self.unreadable],
        }


def evaluate_part(
    images: ImageSet,
    classifier: Classifier,
    *,
    setup: Mapping[str, str | int] | None = None,
    progress: Progress | None = None,
) -> PartReport:
    """Measure a network on pictures of eyes, or of mouths; an answer is open from a probability of 0.5 on.

    Args:
        images: as `open_patches` opens them.
        classifier: tells "closed" from "open".
        setup: what else the figures depend on, for the report.
        progress: called with (pictures done, pictures in all).

    Raises:
        DataError: not one picture of one of both classes can be read.
        ModelError: the network's answers are not probabilities.
    """

    def crop(i: int) -> ImageArray | Unreadable:
        try:
            return squared(images.read(i), classifier.size)
        except (ImageError, OSError) as error:
            return Unreadable(images.items[i], str(error))

    answers: list[np.ndarray] = []
    measured: list[int] = []
    unreadable: list[Unreadable] = []
    waiting: list[ImageArray] = []
    for i, found in enumerate(prefetched(range(len(images)), crop, ahead=2 * _BATCH)):
        if isinstance(found, Unreadable):
            unreadable.append(found)
        else:
            measured.append(i)
            waiting.append(found)
        if waiting and (len(waiting) == _BATCH or i + 1 == len(images)):
            answers.append(checked_answers(classifier, np.stack(waiting)))
            waiting = []
            if progress is not None:
                progress(i + 1, len(images))
    truth = images.truth[measured]
    if len(set(truth)) < len(LABELS):
        first = f" ({unreadable[0].reason})" if unreadable else ""
        raise DataError(f"{images.name}: open and closed ones are needed, and cannot be read{first}")
    chances = np.concatenate(answers)
    return PartReport(
        protocol=f"{images.protocol}; open from a probability of 0.5 on",
        data=images.name,
        model=classifier.name,
        figures=classification_report(chances, truth, LABELS),
        auc=auc(roc(chances[:, _OPEN], truth == _OPEN)),
        setup=setup or {},
        unreadable=tuple(unreadable),
    )
