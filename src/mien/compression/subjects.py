"""What is made smaller: a classifier, an embedder or a detector, with the pictures it sees and what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, cast

import numpy as np

from mien.compression.gate import Score
from mien.datasets.attributes import AttributeSet
from mien.datasets.base import NO_ANSWER, ImageSet
from mien.errors import DataError, NoFaceError
from mien.evaluation.attributes import evaluate_attributes
from mien.evaluation.describe import subject as subject_of
from mien.evaluation.expression import Cut, SquareCutter, evaluate_expression
from mien.evaluation.pairs import Pairs
from mien.evaluation.verification import evaluate_verification
from mien.models import registry
from mien.models.attributes import AttributesNetwork
from mien.models.base import Calibration, Detections, DetectorNetwork, EmbedderNetwork, ModelEntry, RuntimeOptions
from mien.models.cards import embed_card
from mien.models.classifier import CropClassifier
from mien.models.detection import ScaledDetector
from mien.models.embedding import FaceEmbedder
from mien.models.store import WeightsStore
from mien.models.variants import embed_origin
from mien.ops import boxes as box_ops
from mien.ops.image import load_image
from mien.types import Faces, FloatArray, ImageArray

Progress = Callable[[int, int], None]
_BATCH = 16
_SAME_FACE = 0.5  # IoU
_ONE_THREAD = RuntimeOptions(threads=1, precision="float32")


class Subject(Protocol):
    """A network to be made smaller."""

    name: str
    network: bytes
    """The ONNX file as it is, in float32."""
    logits: bool
    """Whether it answers with logits of classes that exclude each other."""

    def batches(self, pictures: Sequence[ImageArray]) -> list[ImageArray]:
        """What the network gets of pictures (H, W, 3) uint8 RGB: (N, H', W', 3) uint8 each.

        Raises:
            NoFaceError: it looks at faces, and there are none.
        """
        ...

    def measure(self, network: bytes, progress: Progress | None = None) -> Score:
        """What a form of the network is worth on the evaluation data.

        Raises:
            DataError: the data cannot be used.
        """
        ...

    def finished(self, network: bytes, score: Score) -> bytes:
        """A form of the network that says what it is, as it is written."""
        ...


def network_bytes(model: ModelEntry, store: WeightsStore) -> bytes:
    """The ONNX file of a model, in float32.

    Raises:
        WeightsError: its weights cannot be had.
    """
    weights = model.record.weights
    if model.convert is None:
        return store.read(weights)
    return model.convert(store.read(weights))


class ClassifierSubject:
    """A classifier of crops, measured by its accuracy on labelled pictures.

    Args:
        network: an ONNX file with a card.
        images: the evaluation set.
        cut: finds and cuts faces; by default pictures are taken for crops.

    Raises:
        ModelError: no classifier that mien trained.
        DataError: an evaluation set of one class: accuracy says nothing there.
    """

    logits = True

    def __init__(self, network: bytes, images: ImageSet, *, cut: Cut | None = None) -> None:
        self.network = network
        self._card = CropClassifier(network, _ONE_THREAD).card
        self.name = self._card.name
        self._images = images.for_measuring()
        self._cut = cut
        present = np.unique(self._images.truth)
        if len(present) < 2:
            which = f"all {images.labels[present[0]]!r}" if len(present) else "none with an answer"
            raise DataError(f"{images.name}: pictures of two classes or more are needed to measure by ({which})")

    def batches(self, pictures: Sequence[ImageArray]) -> list[ImageArray]:
        """Crops, in batches."""
        cut = self._cut or SquareCutter(self._card.crop.size)
        crops = [crop for picture in pictures if (crop := cut(picture)) is not None]
        return _batched(crops)

    def measure(self, network: bytes, progress: Progress | None = None) -> Score:
        """Accuracy and macro F1."""
        classifier = CropClassifier(network, _ONE_THREAD)
        figures = evaluate_expression(self._images, classifier, cut=self._cut, progress=progress).figures
        return Score("accuracy", figures.accuracy, figures.n, {"macro_f1": figures.macro_f1, "ece": figures.ece})

    def finished(self, network: bytes, score: Score) -> bytes:
        """With the card, in which what was measured of the original gives way to what was measured now."""
        measured = {"accuracy": round(score.value, 4), "macro_f1": round(score.more["macro_f1"], 4)}
        return embed_card(network, replace(self._card, metrics={self._images.name[:100]: measured}))


class AttributesSubject:
    """A network for age and gender, measured on pictures whose faces are found and cut.

    Args:
        network: an ONNX file with a card.
        pictures: the evaluation set.
        cut: finds and cuts faces.

    Raises:
        ModelError: no such network that mien trained.
        DataError: an evaluation set of one gender, and of one age.
    """

    logits = False

    def __init__(self, network: bytes, pictures: AttributeSet, *, cut: Cut) -> None:
        self.network = network
        self._card = AttributesNetwork(network, _ONE_THREAD).card
        self.name = self._card.name
        self._pictures = pictures
        self._cut = cut
        known = [np.unique(values[values != NO_ANSWER]) for values in (pictures.genders, pictures.ages)]
        if not any(len(values) > 1 for values in known):
            raise DataError(f"{pictures.name}: pictures of both genders, or of several ages, are needed to measure by")

    def batches(self, pictures: Sequence[ImageArray]) -> list[ImageArray]:
        """Crops, in batches."""
        return _batched([crop for picture in pictures if (crop := self._cut(picture)) is not None])

    def measure(self, network: bytes, progress: Progress | None = None) -> Score:
        """Gender accuracy less the mean error of the age, of which a year counts as a point."""
        report = evaluate_attributes(
            self._pictures, AttributesNetwork(network, _ONE_THREAD), cut=self._cut, progress=progress
        )
        figures = report.overall
        error, accuracy = figures.mae or 0.0, figures.gender_accuracy or 0.0
        more = {"age_mae": error, "gender_accuracy": accuracy}
        return Score("gender accuracy less a point a year of error", accuracy - error / 100, figures.n, more)

    def finished(self, network: bytes, score: Score) -> bytes:
        """With the card, in which what was measured of the original gives way to what was measured now."""
        measured = {name: round(value, 4) for name, value in score.more.items()}
        return embed_card(network, replace(self._card, metrics={self._pictures.name[:100]: measured}))


class EmbedderSubject:
    """An embedder of faces, measured by verification on pairs.

    Args:
        model: its entry.
        pairs: the evaluation pairs.
        store: where weights are.
        detector: finds the faces.
    """

    logits = False

    def __init__(self, model: ModelEntry, pairs: Pairs, store: WeightsStore, detector: ScaledDetector) -> None:
        self._entry, self._pairs, self._store, self._detector = model, pairs, store, detector
        self.name = model.record.name
        self.network = network_bytes(model, store)
        self._subjects: dict[Path, Faces | None] = {}

    def batches(self, pictures: Sequence[ImageArray]) -> list[ImageArray]:
        """The crops of the faces, as the default mode sees them."""
        recorder = _Recorder(self._load(self.network))
        embed = self._embedder(recorder)
        embed(pictures, self._detector(pictures))
        return _batched([crop for batch in recorder.seen for crop in batch])

    def measure(self, network: bytes, progress: Progress | None = None) -> Score:
        """Accuracy by the protocol of LFW's View 2."""
        describe = _Describer(self._embedder(self._load(network)), self._face_of)
        report = evaluate_verification(self._pairs, describe, progress=progress)
        return Score("verification accuracy", report.accuracy, report.n, {"eer": report.eer, "auc": report.auc})

    def finished(self, network: bytes, score: Score) -> bytes:
        """With a note of what it is a form of."""
        return embed_origin(network, self._entry.record)

    def _load(self, network: bytes) -> EmbedderNetwork:
        return cast(EmbedderNetwork, _loaded(self._entry, network))

    def _embedder(self, network: EmbedderNetwork) -> FaceEmbedder:
        recipe = self._entry.recipe
        aligner = registry.load_aligner(recipe, self._store, _ONE_THREAD)
        return FaceEmbedder(self._entry.record, network, recipe=recipe, aligner=aligner)

    def _face_of(self, path: Path) -> tuple[ImageArray, Faces | None]:
        """A picture and its subject, which is looked for only once."""
        try:
            image = load_image(path)
        except Exception as error:
            raise DataError(f"{path}: cannot be used for the evaluation: {error}") from error
        if path not in self._subjects:
            faces = self._detector([image])[0]
            which = subject_of(faces)
            self._subjects[path] = None if which is None else faces[which : which + 1]
        return image, self._subjects[path]


class DetectorSubject:
    """A detector, measured by whether it finds the faces that the original finds.

    Args:
        model: its entry.
        photographs: the evaluation pictures.
        store: where weights are.
    """

    logits = False

    def __init__(self, model: ModelEntry, photographs: ImageSet, store: WeightsStore) -> None:
        self._entry, self._photographs = model, photographs
        self.name = model.record.name
        self.network = network_bytes(model, store)
        self._expected: list[Faces] | None = None

    def batches(self, pictures: Sequence[ImageArray]) -> list[ImageArray]:
        """Pictures scaled and padded, one a batch."""
        recorder = _DetectorRecorder(self._load(self.network))
        found = sum(len(ScaledDetector(self._entry.record, recorder)([picture])[0]) for picture in pictures)
        if not found:
            raise NoFaceError("calibration: no face found in any picture; give photographs that show some")
        return recorder.seen

    def measure(self, network: bytes, progress: Progress | None = None) -> Score:
        """F1 of the faces, against those of the original; and how far boxes and landmarks move."""
        if self._expected is None:
            self._expected = self._found(self.network, None)
            if not any(len(faces) for faces in self._expected):
                raise DataError(f"{self._photographs.name}: no face found in any of them to measure by")
        return detection_score(self._expected, self._found(network, progress))

    def finished(self, network: bytes, score: Score) -> bytes:
        """With a note of what it is a form of."""
        return embed_origin(network, self._entry.record)

    def _load(self, network: bytes) -> DetectorNetwork:
        return cast(DetectorNetwork, _loaded(self._entry, network))

    def _found(self, network: bytes, progress: Progress | None) -> list[Faces]:
        detector = ScaledDetector(self._entry.record, self._load(network))
        found = []
        for i in range(len(self._photographs)):
            found += detector([self._photographs.read(i)])
            if progress is not None:
                progress(i + 1, len(self._photographs))
        return found


def detection_score(expected: Sequence[Faces], found: Sequence[Faces]) -> Score:
    """How well faces agree, picture by picture.

    Args:
        expected: faces of each picture.
        found: those to be judged.

    Returns:
        F1 at an IoU of 0.5, and of the faces that match: the mean IoU, and the mean and the largest distance between
        landmarks, in parts of the mean of the box's sides.
    """
    overlaps: list[float] = []
    shifts: list[float] = []
    for these, those in zip(expected, found, strict=True):
        for i, j, overlap in _matches(these, those):
            side = float((these.boxes[i, 2:] - these.boxes[i, :2]).mean())
            overlaps.append(overlap)
            shifts.append(float(np.linalg.norm(these.landmarks[i] - those.landmarks[j], axis=1).mean()) / side)
    n, m = sum(map(len, expected)), sum(map(len, found))
    f1 = 2 * len(overlaps) / max(n + m, 1)
    more = {"iou": float(np.mean(overlaps or [0.0])), "recall": len(overlaps) / max(n, 1)}
    more |= {"landmark_shift": float(np.mean(shifts or [0.0])), "largest_landmark_shift": max(shifts, default=0.0)}
    return Score("F1 of faces against the original", f1, n, more)


def _matches(these: Faces, those: Faces) -> Iterator[tuple[int, int, float]]:
    """Pairs of faces that are one, best first: (index, index, IoU)."""
    if not len(these) or not len(those):
        return
    overlap = box_ops.iou(these.boxes, those.boxes).copy()
    while (best := float(overlap.max())) >= _SAME_FACE:
        i, j = (int(k) for k in np.unravel_index(overlap.argmax(), overlap.shape))
        yield i, j, best
        overlap[i], overlap[:, j] = -1, -1


def _loaded(model: ModelEntry, network: bytes) -> object:
    """A network from bytes: entries read files."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(network)
        return model.network(path, _ONE_THREAD)


def _batched(crops: Sequence[ImageArray]) -> list[ImageArray]:
    if not crops:
        raise NoFaceError("calibration: no face found in any picture; give photographs that show some")
    return [np.stack(crops[i : i + _BATCH]) for i in range(0, len(crops), _BATCH)]


@dataclass(frozen=True, eq=False)
class _Describer:
    """An embedder as evaluations want it."""

    embedder: FaceEmbedder
    face_of: Callable[[Path], tuple[ImageArray, Faces | None]]

    @property
    def model(self) -> str:
        return self.embedder.record.name

    @property
    def setup(self) -> Mapping[str, str]:
        return {}

    @property
    def calibration(self) -> Calibration | None:
        return None

    def __call__(self, paths: Sequence[Path], *, progress: Progress | None = None) -> list[FloatArray | None]:
        out: list[FloatArray | None] = []
        for path in paths:
            image, face = self.face_of(path)
            embeddings = None if face is None else self.embedder([image], [face])[0].embeddings
            out.append(None if embeddings is None else embeddings[0])
            if progress is not None:
                progress(len(out), len(paths))
        return out

    def similarity(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return self.embedder.similarity(a, b)


class _Recorder:
    """An embedder's network that keeps what it is given."""

    def __init__(self, network: EmbedderNetwork) -> None:
        self._network = network
        self.seen: list[ImageArray] = []

    def __call__(self, crops: ImageArray) -> FloatArray:
        self.seen.append(crops.copy())
        return self._network(crops)


class _DetectorRecorder:
    """A detector's network that keeps what it is given."""

    def __init__(self, network: DetectorNetwork) -> None:
        self._network = network
        self.multiple = network.multiple
        self.seen: list[ImageArray] = []

    def __call__(self, pictures: ImageArray, threshold: float) -> list[Detections]:
        self.seen.append(pictures.copy())
        return self._network(pictures, threshold)
