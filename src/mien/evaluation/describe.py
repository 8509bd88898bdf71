"""From a `FaceAnalyzer` to what `evaluate_verification` asks for: the embedding of each picture's subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from mien.errors import DataError, ImageError
from mien.evaluation.prefetch import prefetched
from mien.evaluation.verification import Progress
from mien.models.base import Calibration, Record
from mien.types import Faces, FloatArray, ImageArray

Load = Callable[[Path], ImageArray]


class Recorded(Protocol):
    """A model with its record."""

    @property
    def record(self) -> Record:
        """The facts about it."""
        ...


class Analyzer(Protocol):
    """What of `mien.analyzer.FaceAnalyzer` is used here."""

    @property
    def detector(self) -> Recorded:
        """The detector."""
        ...

    @property
    def embedder(self) -> Recorded:
        """The embedder; its record holds its calibrations."""
        ...

    def __call__(self, images: list[ImageArray]) -> list[Faces]:
        """Find and embed the faces of each picture, RGB uint8 (H, W, 3)."""
        ...

    def similarity(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """(N, D) and (N, D) to (N,)."""
        ...


class SubjectDescriber:
    """Describes each picture by the embedding of its subject (`subject`); a `Describer`.

    Args:
        analyzer: finds and embeds the faces.
        load: reads a picture as RGB uint8 (H, W, 3), EXIF orientation applied.
        mode: "fast" or "accurate", as the analyzer was made; picks the record's calibration.
        batch: pictures in one call of the analyzer.
    """

    def __init__(self, analyzer: Analyzer, load: Load, *, mode: str = "fast", batch: int = 32) -> None:
        self._analyzer = analyzer
        self._load = load
        self._batch = batch
        self._mode = mode

    @property
    def model(self) -> str:
        """Name of the embedder."""
        return self._analyzer.embedder.record.name

    @property
    def setup(self) -> Mapping[str, str]:
        """Name of the detector, and the mode."""
        return {"detector": self._analyzer.detector.record.name, "mode": self._mode}

    @property
    def calibration(self) -> Calibration | None:
        """The record's calibration for this mode, if it has one."""
        return self._analyzer.embedder.record.calibrations.get(self._mode)

    def __call__(self, paths: Sequence[Path], *, progress: Progress | None = None) -> list[FloatArray | None]:
        """Describe pictures, in batches, while a thread reads the next ones.

        Args:
            paths: the pictures.
            progress: called with (done, total) after each batch.

        Returns:
            For each, the (D,) embedding of its subject, or None where no face was found.

        Raises:
            DataError: a picture cannot be read.
        """
        out: list[FloatArray | None] = []
        images = loaded(paths, self._load, ahead=2 * self._batch)
        while batch := list(islice(images, self._batch)):
            out += [_subject_embedding(faces) for faces in self._analyzer(batch)]
            if progress is not None:
                progress(len(out), len(paths))
        return out

    def similarity(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """(N, D) and (N, D) to (N,): the analyzer's similarity, row by row."""
        return self._analyzer.similarity(a, b)


def subject(faces: Faces) -> int | None:
    """Which face the picture is of: a large one near the middle.

    The pictures of LFW are named after the person in their centre, but show bystanders too. The score of a
    face is its area less twice the squared distance between the centres of box and picture, in pixels: the
    rule of facenet's alignment script (Sandberg 2016), on which much of the literature's LFW crops rest.
    Unlike the distance alone it does not let a speck in the very centre win over the face around it; unlike
    the size alone it does not take the larger bystander at the edge.

    Args:
        faces: the faces of one picture.

    Returns:
        Index of the subject, or None where there is no face.
    """
    if not len(faces):
        return None
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    offset = centres - np.array(faces.image_size, dtype=np.float32) / 2
    return int(np.argmax(faces.areas - 2 * np.sum(offset**2, axis=1)))


def _subject_embedding(faces: Faces) -> FloatArray | None:
    index = subject(faces)
    if index is None:
        return None
    if faces.embeddings is None:
        raise ValueError("the analyzer was made without embeddings")
    embedding: FloatArray = faces.embeddings[index]
    return embedding


def loaded(paths: Sequence[Path], load: Load, ahead: int) -> Iterator[ImageArray]:
    """Read pictures in a background thread, at most `ahead` of them before they are asked for.

    Args:
        paths: the pictures.
        load: reads one.
        ahead: bounds the memory that waiting pictures take.

    Returns:
        An iterator over the pictures, in order.

    Raises:
        DataError: a picture cannot be read; names it.
    """
    return prefetched(paths, lambda path: read_picture(path, load), ahead)


def read_picture(path: Path, load: Load) -> ImageArray:
    """Read one picture.

    Raises:
        DataError: it cannot be read; names it.
    """
    try:
        return load(path)
    except (ImageError, OSError) as error:
        raise DataError(f"{path}: cannot be used for the evaluation: {error}") from error
