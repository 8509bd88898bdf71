"""Error versus discard: does the quality of faces foretell where recognition fails?

The pictures with the lowest scores are left out, more and more of them, and the share of pairs of one person that are
not recognised (FNMR) is measured on the rest (Grother and Tabassi 2007; ISO/IEC 29794-1). The better a score foretells
errors, the faster the curve falls; a score that knows nothing leaves it level. The threshold is the one that users get:
that of the embedder's record, and it stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.evaluation.describe import Load, loaded, subject
from mien.evaluation.metrics import Bools, Floats, Ints
from mien.evaluation.pairs import Pairs
from mien.evaluation.people import People
from mien.evaluation.verification import Progress
from mien.models.base import Record
from mien.types import Faces, FloatArray, ImageArray

SHARES: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""What is left out, as a share of the pictures."""
_DECIMALS = 6
_BATCH = 32


class Embedder(Protocol):
    """What of `mien.models.embedding.FaceEmbedder` is used here."""

    @property
    def record(self) -> Record:
        """The facts about it."""
        ...

    def threshold(self, fmr: float) -> float:
        """The similarity at which two faces count as one person."""
        ...


class Analyzer(Protocol):
    """What of `mien.analyzer.FaceAnalyzer` is used here: one that detects, embeds and measures quality."""

    @property
    def embedder(self) -> Embedder:
        """The embedder."""
        ...

    def __call__(self, images: list[ImageArray]) -> list[Faces]:
        """Describe the faces of each picture, RGB uint8 (H, W, 3)."""
        ...

    def similarity(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """(N, D) and (N, D) to (N,)."""
        ...


@dataclass(frozen=True, eq=False)
class GenuinePairs:
    """Pictures, and which two of them show one person.

    Attributes:
        source: where they come from, for messages.
        paths: of N pictures.
        first: (P,) int64, positions in `paths`.
        second: (P,) int64, likewise.
    """

    source: str
    paths: tuple[Path, ...]
    first: Ints
    second: Ints


@dataclass(frozen=True, eq=False)
class QualityReport:
    """How errors fall as the pictures of the lowest scores are left out.

    Attributes:
        protocol: in words.
        model: name of the embedder.
        setup: what else the figures depend on.
        n: pictures.
        pairs: pairs of one person in which both faces were found.
        missed: pictures in which no face was found; they are in no figure.
        fmr: the false match rate that the threshold was set for.
        threshold: similarity from which two faces match.
        shares: what was left out.
        fnmr: for each share, of the pairs that are left; NaN where none is.
        kept_pairs: for each share, how many.
        usable: share of the pictures that get no advice.
        usable_fnmr: FNMR of the pairs of these; NaN where there is none.
        advice: for each code, how many pictures get it.
    """

    protocol: str
    model: str
    setup: Mapping[str, str]
    n: int
    pairs: int
    missed: int
    fmr: float
    threshold: float
    shares: tuple[float, ...]
    fnmr: tuple[float, ...]
    kept_pairs: tuple[int, ...]
    usable: float
    usable_fnmr: float
    advice: Mapping[str, int]

    @property
    def falls(self) -> bool:
        """Whether every point of the curve is at or under the one before, as far as pairs are left."""
        curve = [value for value in self.fnmr if np.isfinite(value)]
        return all(after <= before for before, after in pairwise(curve))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what could not be measured is absent."""
        points = zip(self.shares, self.fnmr, self.kept_pairs, strict=True)
        usable: dict[str, Any] = {"share": round(self.usable, _DECIMALS)}
        if np.isfinite(self.usable_fnmr):
            usable["fnmr"] = round(self.usable_fnmr, _DECIMALS)
        return {
            "protocol": self.protocol,
            "n": self.n,
            "model": self.model,
            **self.setup,
            "pairs": self.pairs,
            "missed": self.missed,
            "fmr": self.fmr,
            "threshold": round(self.threshold, _DECIMALS),
            "error_versus_discard": [
                {"discarded": share, "fnmr": round(value, _DECIMALS), "pairs": pairs}
                for share, value, pairs in points
                if np.isfinite(value)
            ],
            "falls": self.falls,
            "usable": usable,
            "advice": dict(self.advice),
        }


def pairs_of_people(people: People) -> GenuinePairs:
    """All pairs of pictures of one person.

    Raises:
        DataError: nobody has two pictures.
    """
    found = [np.flatnonzero(people.person == person) for person in range(len(people.names))]
    places = [own[np.stack(np.triu_indices(len(own), 1))] for own in found if len(own) > 1]
    if not places:
        raise DataError(f"{people.source}: nobody has two pictures; error rates need pairs of one person")
    first, second = np.concatenate(places, axis=1)
    return GenuinePairs(people.source, people.paths, first, second)


def listed_pairs(pairs: Pairs) -> GenuinePairs:
    """The pairs of one person of a list."""
    return GenuinePairs(pairs.source, pairs.paths, pairs.first[pairs.same], pairs.second[pairs.same])


def evaluate_quality(
    pairs: GenuinePairs,
    analyzer: Analyzer,
    load: Load,
    *,
    fmr: float = 1e-3,
    setup: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> QualityReport:
    """Measure the error-versus-discard curve.

    Args:
        pairs: pictures of known people.
        analyzer: detects, embeds and measures quality.
        load: reads a picture as RGB uint8 (H, W, 3).
        fmr: which of the embedder's thresholds decides.
        setup: what else to say of the run.
        progress: called with (pictures done, pictures in all).

    Raises:
        DataError: a picture cannot be read, or no pair has a face in both of its pictures.
        ModelError: the embedder has no threshold for that rate.
    """
    threshold = analyzer.embedder.threshold(fmr)
    found = _subjects(pairs.paths, analyzer, load, progress)
    seen = np.array([face is not None for face in found], dtype=np.bool_)
    both = seen[pairs.first] & seen[pairs.second]
    if not both.any():
        raise DataError(f"{pairs.source}: not one pair of one person with a face found in both pictures")
    scores, usable = np.full(len(found), -np.inf), np.zeros(len(found), dtype=np.bool_)
    vectors = np.zeros((len(found), _dimensions(found)), dtype=np.float32)
    codes: dict[str, int] = {}
    for i, face in enumerate(found):
        if face is None or face.qualities is None or face.embeddings is None:
            continue
        scores[i], usable[i], vectors[i] = face.qualities.score[0], face.qualities.usable[0], face.embeddings[0]
        for code in face.qualities.codes:
            codes[code] = codes.get(code, 0) + (code in face.qualities.advice[0])
    first, second = pairs.first[both], pairs.second[both]
    missed = analyzer.similarity(vectors[first], vectors[second]) < threshold
    curve = error_versus_discard(scores[seen], *_renumbered(seen, first, second), missed)
    fit = usable[first] & usable[second]
    return QualityReport(
        protocol="FNMR of the pairs of one person that are left, at the record's threshold",
        model=analyzer.embedder.record.name,
        setup=dict(setup or {}),
        n=len(found),
        pairs=len(missed),
        missed=int((~seen).sum()),
        fmr=fmr,
        threshold=threshold,
        shares=SHARES,
        fnmr=tuple(value for value, _ in curve),
        kept_pairs=tuple(kept for _, kept in curve),
        usable=float(usable[seen].mean()),
        usable_fnmr=float(missed[fit].mean()) if fit.any() else float("nan"),
        advice=codes,
    )


def error_versus_discard(
    scores: Floats, first: Ints, second: Ints, missed: Bools, shares: Sequence[float] = SHARES
) -> list[tuple[float, int]]:
    """FNMR and pairs that are left, for each share that is left out.

    Args:
        scores: (N,) of the pictures, higher is better; ties go by position.
        first: (P,) positions of pictures.
        second: (P,) likewise.
        missed: (P,) whether the pair is not recognised.
        shares: of the pictures, in [0, 1].
    """
    rank = np.empty(len(scores), dtype=np.int64)
    rank[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    lower = np.minimum(rank[first], rank[second])
    kept = [lower >= int(share * len(scores)) for share in shares]
    return [(float(missed[k].mean()) if k.any() else float("nan"), int(k.sum())) for k in kept]


def _subjects(
    paths: Sequence[Path], analyzer: Analyzer, load: Load, progress: Callable[[int, int], None] | None
) -> list[Faces | None]:
    """The subject of each picture, or None."""
    found: list[Faces | None] = []
    images = loaded(paths, load, ahead=2 * _BATCH)
    while batch := list(islice(images, _BATCH)):
        for faces in analyzer(batch):
            index = subject(faces)
            found.append(None if index is None else faces[index])
        if progress is not None:
            progress(len(found), len(paths))
    return found


def _dimensions(found: Sequence[Faces | None]) -> int:
    for face in found:
        if face is not None and face.embeddings is not None and face.qualities is not None:
            return int(face.embeddings.shape[1])
    raise ValueError("the analyzer was made without embeddings or quality")


def _renumbered(seen: Bools, first: Ints, second: Ints) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions among the pictures with a face."""
    row = np.cumsum(seen) - 1
    return row[first], row[second]
