"""Expression: run a classifier over a set of labelled pictures and measure its answers.

What happens where set and model do not fit, or a picture cannot be used, is decided here, once, and the report says so:

- Labels are matched by name, then by synonym ("happy" is happiness). A class that the set lacks cannot be right: it is
  left out of the model's answers, and the others are scaled to sum to 1 again. A class that the model lacks makes an
  error of each of its pictures.
- A picture that cannot be read is nobody's error: it is not measured, but listed (`unreadable`).
- With `cut`, a picture in which no face is found is an error (`missed`), as it would be for a user.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any, Protocol

import cv2
import numpy as np

from mien.datasets.base import ImageSet
from mien.datasets.labels import expression_named
from mien.errors import DataError, ImageError, ModelError
from mien.evaluation.classification import ClassificationReport, Classifier, classification_report
from mien.evaluation.describe import subject
from mien.evaluation.metrics import Floats, Ints
from mien.evaluation.prefetch import prefetched
from mien.evaluation.verification import Progress
from mien.models.base import CropSpec, CropView
from mien.ops.align import crop_transforms, extract_crops
from mien.types import Faces, FloatArray, ImageArray

Cut = Callable[[ImageArray], ImageArray | None]
"""From a picture (H, W, 3) uint8 RGB to the classifier's crop (S, S, 3), or None where no face is found."""

_PLAIN = (CropView(),)
_SPEED_BATCH = 8
_SPEED_SECONDS = 1.0
_SPEED_ROUNDS = (5, 50)  # at least, at most
_SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be measured, and why."""

    item: str
    reason: str


@dataclass(frozen=True)
class Speed:
    """How long it takes, on this machine, now.

    Attributes:
        batch: crops in one call.
        ms_per_face: median time of the network alone.
        pictures_per_second: end to end: reading, decoding and cutting too.
    """

    batch: int
    ms_per_face: float
    pictures_per_second: float

    @property
    def faces_per_second(self) -> float:
        """Of the network alone."""
        return 1e3 / self.ms_per_face

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "batch": self.batch,
            "ms_per_face": round(self.ms_per_face, 4),
            "faces_per_second": round(self.faces_per_second, 1),
            "end_to_end_per_second": round(self.pictures_per_second, 1),
        }


@dataclass(frozen=True, eq=False)
class ExpressionReport:
    """The figures of one classifier on one set of pictures.

    Attributes:
        protocol: how the true labels were made, in words.
        data: name of the set.
        model: name of the classifier.
        figures: all that was measured.
        setup: what else the figures depend on, by name: threads, device, alignment.
        missed: number of pictures in which no face was found; None where none was searched for.
        unreadable: the pictures that could not be read; not in `figures`.
        notes: where set and model do not fit, in words.
        speed: how long it took.
    """

    protocol: str
    data: str
    model: str
    figures: ClassificationReport
    speed: Speed
    setup: Mapping[str, str | int] = field(default_factory=dict)
    missed: int | None = None
    unreadable: tuple[Unreadable, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the one schema of `mien evaluate expression`; what was not measured is absent."""
        out: dict[str, Any] = {"protocol": self.protocol, "n": self.figures.n, "model": self.model, "data": self.data}
        out |= dict(self.setup) | self.figures.to_dict()
        if self.missed is not None:
            out["missed"] = self.missed
        out["unreadable"] = [{"path": bad.item, "error": bad.reason} for bad in self.unreadable]
        return out | {"notes": list(self.notes), "speed": self.speed.to_dict()}


def evaluate_expression(
    images: ImageSet,
    classifier: Classifier,
    *,
    cut: Cut | None = None,
    batch: int = 64,
    views: Sequence[CropView] = _PLAIN,
    setup: Mapping[str, str | int] | None = None,
    progress: Progress | None = None,
) -> ExpressionReport:
    """Measure a classifier on the pictures that have an answer under the set's protocol.

    A thread reads and cuts the next pictures while the network runs; memory does not grow with the set.

    Args:
        images: the pictures; any labels do, not only expressions.
        classifier: the model.
        cut: finds the face and cuts it, such as `FaceCutter`. By default pictures are taken to be crops of faces: their
            central square is brought to the classifier's size, by area where it is larger and bilinear where smaller.
        batch: crops in one call of the classifier.
        views: of each crop, whose answers are averaged.
        setup: what else the figures depend on, for the report.
        progress: called with (pictures done, pictures in all) after each batch.

    Returns:
        The report.

    Raises:
        DataError: no picture can be measured, or set and model have no class in common.
        ModelError: the classifier's answers are not probabilities.
    """
    began = time.perf_counter()
    measured = measure_expression(images, classifier, cut=cut, batch=batch, views=views, progress=progress)
    seconds = time.perf_counter() - began
    averaged: dict[str, str | int] = {} if tuple(views) == _PLAIN else {"views": len(views)}
    return ExpressionReport(
        protocol=images.protocol,
        data=images.name,
        model=classifier.name,
        figures=measured.figures,
        speed=Speed(_SPEED_BATCH, _network_ms(classifier, measured.last_crop), measured.n / seconds),
        setup={**(setup or {}), **averaged},
        missed=None if cut is None else measured.missed,
        unreadable=measured.unreadable,
        notes=measured.notes,
    )


@dataclass(frozen=True, eq=False)
class Measured:
    """One pass of a classifier over a set.

    Attributes:
        n: number of pictures that have an answer under the set's protocol.
        figures: all that was measured.
        missed: number of pictures in which no face was found.
        unreadable: the pictures that could not be read; not in `figures`.
        notes: where set and model do not fit, in words.
        last_crop: (S, S, 3) uint8, the last that the classifier saw.
    """

    n: int
    figures: ClassificationReport
    missed: int
    unreadable: tuple[Unreadable, ...]
    notes: tuple[str, ...]
    last_crop: ImageArray


def measure_expression(
    images: ImageSet,
    classifier: Classifier,
    *,
    cut: Cut | None = None,
    batch: int = 64,
    views: Sequence[CropView] = _PLAIN,
    progress: Progress | None = None,
) -> Measured:
    """What `evaluate_expression` measures, without how long it takes; see there."""
    images = images.for_measuring()
    if not len(images):
        raise DataError(f"{images.name}: no picture has an answer under the protocol ({images.protocol})")
    match = match_labels(images.labels, classifier.labels)
    run = _Run(images, classifier, cut or SquareCutter(classifier.size), batch, tuple(views))
    outcome = run(progress)
    if not len(outcome.probabilities):
        lost = f"no face found in {len(outcome.missed)}, {len(outcome.unreadable)} cannot be read"
        first = f" ({outcome.unreadable[0].reason})" if outcome.unreadable else ""
        raise DataError(f"{images.name}: not one of {len(images)} pictures can be measured: {lost}{first}")
    true = match.from_set[images.truth]
    figures = classification_report(
        match.to_report(outcome.probabilities),
        true[outcome.measured],
        match.labels,
        classifier.threshold,
        unanswered=true[outcome.missed],
    )
    return Measured(
        n=len(images),
        figures=figures,
        missed=len(outcome.missed),
        unreadable=tuple(outcome.unreadable),
        notes=(*match.notes(figures), *_shape_note(run.cut)),
        last_crop=outcome.last_crop,
    )


# Labels


@dataclass(frozen=True, eq=False)
class LabelMatch:
    """How the classes of a set and of a model go together.

    Attributes:
        labels: the R classes of the report: those that both have in the model's order and words, then those that the
            model lacks.
        from_set: (number of the set's classes,) int64: the report's class of each.
        from_model: (number of the model's classes,) int64: the report's class of each, -1 where the set lacks it.
        left_out: the model's classes that the set lacks.
        unknown: the set's classes that the model lacks.
        renamed: set's word -> model's word, where they differ.
    """

    labels: tuple[str, ...]
    from_set: Ints
    from_model: Ints
    left_out: tuple[str, ...]
    unknown: tuple[str, ...]
    renamed: Mapping[str, str]

    def to_report(self, probabilities: FloatArray) -> Floats:
        """(N, model's classes) to (N, R) float64: without the classes left out, rows scaled to sum to 1 again."""
        shared = self.from_model >= 0
        out = np.zeros((len(probabilities), len(self.labels)))
        out[:, self.from_model[shared]] = probabilities[:, shared]
        total = out.sum(axis=1)
        nothing = total < np.finfo(np.float32).tiny  # sure of a class that was left out: no idea about the others
        out[np.ix_(nothing, self.from_model[shared])] = 1.0
        out /= out.sum(axis=1, keepdims=True)
        return out

    def notes(self, figures: ClassificationReport) -> Iterator[str]:
        """What a reader must know."""
        if self.renamed:
            pairs = ", ".join(f"{theirs} = {ours}" for theirs, ours in self.renamed.items())
            yield f"names of classes taken to mean the same: {pairs}"
        if self.left_out:
            left_out = ", ".join(self.left_out)
            yield f"the data have no {left_out}: left out of the model's answers, and the rest scaled to sum to 1"
        for label in self.unknown:
            support = figures.per_class[label].support
            yield f"the model does not know {label}: each of its {support:,} pictures is an error"
        lacking = [label for label in figures.lacking if label not in self.unknown]
        if lacking:
            yield f"there is no picture of {', '.join(lacking)}: macro F1 and balanced accuracy leave it out"


def match_labels(of_set: Sequence[str], of_model: Sequence[str]) -> LabelMatch:
    """Match the classes of a set with those of a model, by name, then by synonym.

    Raises:
        DataError: they have none in common.
    """
    by_meaning = {_meaning(label): label for label in reversed(of_model)}
    meant = {label: label if label in of_model else by_meaning.get(_meaning(label)) for label in of_set}
    shared = [label for label in of_model if label in meant.values()]
    if not shared:
        raise DataError(
            f"the data and the model have no class in common: {_few(of_set)} in the data, {_few(of_model)} in the model"
        )
    unknown = tuple(label for label, ours in meant.items() if ours is None)
    labels = (*shared, *unknown)
    return LabelMatch(
        labels=labels,
        from_set=np.array([labels.index(meant[label] or label) for label in of_set], dtype=np.int64),
        from_model=np.array([labels.index(label) if label in shared else -1 for label in of_model], dtype=np.int64),
        left_out=tuple(label for label in of_model if label not in shared),
        unknown=unknown,
        renamed={theirs: ours for theirs, ours in meant.items() if ours not in (None, theirs)},
    )


def _meaning(label: str) -> str:
    return expression_named(label).casefold().strip()


def _few(labels: Sequence[str], most: int = 10) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more


# Crops


class SquareCutter:
    """Takes a picture for a crop of a face, and brings its central square to the classifier's size.

    Args:
        size: side of the crop in pixels.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.oblong = 0
        """How many pictures were not square."""

    def __call__(self, picture: ImageArray) -> ImageArray:
        """(H, W, 3) uint8 RGB to (size, size, 3)."""
        height, width = picture.shape[:2]
        side = min(height, width)
        if height != width:
            self.oblong += 1
            top, left = (height - side) // 2, (width - side) // 2
            picture = picture[top : top + side, left : left + side]
        if side == self._size:
            return picture
        how = cv2.INTER_AREA if side > self._size else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(picture, (self._size, self._size), interpolation=how), dtype=np.uint8)


class Finder(Protocol):
    """What of a detector is used here."""

    def __call__(self, images: Sequence[ImageArray]) -> list[Faces]:
        """Find the faces of each picture, RGB uint8 (H, W, 3)."""
        ...


class FaceCutter:
    """Finds the face that a picture is of (`describe.subject`), and cuts it as the classifier was trained to see it.

    Args:
        detector: finds the faces.
        crop: the classifier's crop.
    """

    def __init__(self, detector: Finder, crop: CropSpec) -> None:
        self._detector = detector
        self._crop = crop

    def __call__(self, picture: ImageArray) -> ImageArray | None:
        """(H, W, 3) uint8 RGB to (size, size, 3), or None where no face is found."""
        faces = self._detector([picture])[0]
        which = subject(faces)
        if which is None:
            return None
        transforms = crop_transforms(faces[which], self._crop.template_array(), self._crop.size)
        crops = extract_crops(picture, transforms, self._crop.size)
        return np.ascontiguousarray(crops[0])


def _shape_note(cut: Cut) -> tuple[str, ...]:
    oblong = getattr(cut, "oblong", 0)
    return (f"{oblong:,} pictures are not square: their central square was measured",) if oblong else ()


# Running


@dataclass(eq=False)
class _Outcome:
    """What became of each picture."""

    probabilities: FloatArray
    measured: list[int]
    missed: list[int]
    unreadable: list[Unreadable]
    last_crop: ImageArray


@dataclass(eq=False)
class _Run:
    """One pass over a set."""

    images: ImageSet
    classifier: Classifier
    cut: Cut
    batch: int
    views: tuple[CropView, ...]

    def __call__(self, progress: Progress | None) -> _Outcome:
        size = self.classifier.size
        out = _Outcome(np.zeros((0, 0), np.float32), [], [], [], np.zeros((size, size, 3), np.uint8))
        answers: list[FloatArray] = []
        crops = enumerate(prefetched(range(len(self.images)), self._crop, ahead=2 * self.batch))
        done = 0
        while part := list(islice(crops, self.batch)):
            found = [(i, crop) for i, crop in part if isinstance(crop, np.ndarray)]
            out.missed += [i for i, crop in part if crop is None]
            out.unreadable += [crop for _, crop in part if isinstance(crop, Unreadable)]
            if found:
                out.measured += [i for i, _ in found]
                answers.append(self._answers(np.stack([crop for _, crop in found])))
                out.last_crop = found[-1][1]
            done += len(part)
            if progress is not None:
                progress(done, len(self.images))
        if answers:
            out.probabilities = np.concatenate(answers)
        return out

    def _crop(self, index: int) -> ImageArray | Unreadable | None:
        try:
            return self.cut(self.images.read(index))
        except (ImageError, OSError) as error:
            return Unreadable(self.images.items[index], str(error))

    def _answers(self, crops: ImageArray) -> FloatArray:
        """(N, S, S, 3) to (N, C) float32: the mean over the views."""
        total = sum(checked_answers(self.classifier, seen(crops, view)) for view in self.views)
        mean: FloatArray = np.asarray(total / len(self.views), dtype=np.float32)
        return mean


def checked_answers(classifier: Classifier, crops: ImageArray) -> Floats:
    """The classifier's probabilities for (N, S, S, 3) crops, as (N, C) float64.

    Raises:
        ModelError: they are not probabilities.
    """
    answers = np.asarray(classifier(crops), dtype=np.float64)
    expected = (len(crops), len(classifier.labels))
    if answers.shape != expected:
        raise ModelError(f"{classifier.name}: its answers have shape {answers.shape}, a classifier's {expected}")
    total = answers.sum(axis=1, keepdims=True)
    if not (answers.min() >= 0 and np.abs(total - 1).max() < _SUM_TOLERANCE):  # false for NaN
        raise ModelError(f"{classifier.name}: its answers are no probabilities (not finite, negative, or not 1 in sum)")
    scaled: Floats = answers / total
    return scaled


def seen(crops: ImageArray, view: CropView) -> ImageArray:
    """The crops (N, S, S, 3) as a view shows them; what it shows from outside repeats the edge."""
    size = crops.shape[1]
    matrix = view.transform(size)
    if not np.allclose(matrix, np.eye(3)):
        warped = [
            cv2.warpAffine(crop, matrix[:2], (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for crop in crops
        ]
        crops = np.asarray(np.stack(warped), dtype=np.uint8)
    return np.ascontiguousarray(crops[:, :, ::-1]) if view.mirrored else crops


def _network_ms(classifier: Classifier, crop: ImageArray) -> float:
    """Median milliseconds a face, of the network alone in batches of 8."""
    crops = np.repeat(crop[None], _SPEED_BATCH, axis=0)
    classifier(crops)  # the first call of a batch size lays out its memory
    least, most = _SPEED_ROUNDS
    times: list[float] = []
    while len(times) < least or (len(times) < most and sum(times) < _SPEED_SECONDS):
        began = time.perf_counter()
        classifier(crops)
        times.append(time.perf_counter() - began)
    return max(1e3 * median(times) / _SPEED_BATCH, 1e-6)
