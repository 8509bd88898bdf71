"""Whether two looks at faces show one person: embeddings, weighed by how much their pictures are worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mien.errors import ModelError
from mien.models.embedding import FaceEmbedder
from mien.types import FloatArray

Floats = npt.NDArray[np.float64]

KEPT = 5
"""Looks that are kept of each person."""
_MOST = 10.0  # of a log-likelihood ratio: nothing that one picture says is surer than that
_LEAST = 3.0  # of a log-likelihood ratio: twenty to one, where there is only one look to be mistaken for
CLEAR = _LEAST / _MOST
"""The quality below which a look can never be evidence enough of who somebody is: evidence is weighed by quality."""
_COPY = 0.9  # similarity from which two looks say the same


@dataclass(frozen=True, eq=False)
class Look:
    """What a face looked like once.

    Attributes:
        embedding: (D,) float32, as the embedder gives it.
        quality: in [0, 1], see `Qualities.score`.
        time: seconds since the start of the source.
    """

    embedding: FloatArray
    quality: float
    time: float


class Likeness:
    """How much likelier two looks are of one person than of two.

    Args:
        embedder: whose embeddings they are. Where nobody has calibrated it, nothing is known of any two looks, and
            tracks go by motion alone.
    """

    def __init__(self, embedder: FaceEmbedder) -> None:
        self._embedder = embedder
        try:
            self._logistic: tuple[float, float] | None = embedder.calibration.logistic
        except ModelError:
            self._logistic = None

    def evidence(self, look: Look, people: Sequence[Sequence[Look]]) -> Floats:
        """Log-likelihood ratios that `look` is of each of several people; 0 where nothing is known.

        Each pair's is weighed by the poorer quality of the two: embeddings of poor pictures lie near each other whoever
        they show. The best of those that speak for one person counts, as people look different from different sides;
        where none does, their mean, by weight.

        Args:
            look: at a face.
            people: looks at each of P people.

        Returns:
            (P,) float64.
        """
        counts = np.array([len(looks) for looks in people])
        result = np.zeros(len(people))
        if self._logistic is None or not counts.sum():
            return result
        others = [other for looks in people for other in looks]
        similarities = self._embedder.similarity(look.embedding, np.stack([other.embedding for other in others]))
        weights = np.minimum(look.quality, [other.quality for other in others])
        slope, intercept = self._logistic
        weighed = weights * np.clip(slope * similarities.astype(np.float64) + intercept, -_MOST, _MOST)
        starts = (np.cumsum(counts) - counts)[counts > 0]
        best = np.maximum.reduceat(weighed, starts)
        total = np.maximum(np.add.reduceat(weights, starts), 1e-6)
        result[counts > 0] = np.where(best > 0, best, np.add.reduceat(weights * weighed, starts) / total)
        return result

    def clear(self, looks: Looks) -> bool:
        """Whether somebody was seen well enough to be known again, or not to be somebody who was here before."""
        return self._logistic is not None and looks.best >= CLEAR

    def similar(self, a: Look, b: Look) -> bool:
        """Whether one of both is enough to keep."""
        return float(self._embedder.similarity(a.embedding, b.embedding)) >= _COPY


@dataclass(eq=False)
class Looks:
    """The best looks at one person, `KEPT` at most.

    Attributes:
        kept: these.
        count: how many there were in all.
        latest: the last one, kept or not.
    """

    kept: list[Look] = field(default_factory=list)
    count: int = 0
    latest: Look | None = None

    @property
    def best(self) -> float:
        """The best quality, which never falls; 0 where nothing is kept."""
        return max((look.quality for look in self.kept), default=0.0)

    def add(self, look: Look, likeness: Likeness) -> None:
        """Keep a look if it is better than one that says the same, or than the poorest."""
        self.count += 1
        self.latest = look
        copies = [i for i, other in enumerate(self.kept) if likeness.similar(look, other)]
        if not copies and len(self.kept) < KEPT:
            self.kept.append(look)
            return
        worst = min(copies or range(len(self.kept)), key=lambda i: self.kept[i].quality)
        if look.quality > self.kept[worst].quality:
            self.kept[worst] = look


def needed(everybody: Iterable[Looks]) -> float:
    """The evidence from which a face is one of these people, come back: twenty to one against chance.

    That is the log of twenty, and of how many looks there are to be mistaken for.
    """
    return _LEAST + math.log(max(sum(len(looks.kept) for looks in everybody), 1))
