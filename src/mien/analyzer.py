"""FaceAnalyzer: from pictures to faces in one call: detect, align, run every crop model in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cached_property
from os import PathLike, fspath
from threading import Lock
from typing import Generic, Literal, TypeVar, overload

import numpy as np

from mien.errors import MienError, NoFaceError
from mien.many import FileResult, in_order
from mien.models import face_parts, registry
from mien.models.attributes import SHIPPED as SHIPPED_ATTRIBUTES
from mien.models.attributes import FaceAttributes
from mien.models.base import Detector, ModelEntry, Precision, RuntimeOptions
from mien.models.detection import DEFAULT_SIZE, InputSize
from mien.models.embedding import FaceEmbedder, Mode
from mien.models.expression import SHIPPED, FaceClassifier
from mien.models.face_parts import Part
from mien.models.quality import FaceQuality, estimate_poses
from mien.models.runtime import default_threads
from mien.models.store import WeightsStore
from mien.ops.files import printable
from mien.ops.image import ImageSource, load_image
from mien.types import SCHEMA, Faces, FloatArray, ImageArray, Verification

Task = Literal["detect", "pose", "expression", "age", "gender", "eyes", "mouth", "embed", "quality"]
TASKS: tuple[Task, ...] = ("detect", "pose", "expression", "age", "gender", "eyes", "mouth", "embed", "quality")
"""In the order in which they are done: quality knows more of faces that are embedded."""
DEFAULT_TASKS: tuple[Task, ...] = ("detect", "pose", "expression", "embed", "quality")
"""What is done unless something else is asked for: the others are for those who ask."""
Describe = Callable[[Sequence[ImageArray], Sequence[Faces]], list[Faces]]
"""Pictures and the faces of each to the same faces, described."""
_Model_co = TypeVar("_Model_co", covariant=True)


class _Lazy(Generic[_Model_co]):
    """A model that is loaded when it is first asked for: once, also where threads race for it."""

    def __init__(self, load: Callable[[], _Model_co]) -> None:
        self._load = load
        self._lock = Lock()

    def __call__(self) -> _Model_co:
        with self._lock:
            return self._model

    @cached_property
    def _model(self) -> _Model_co:
        return self._load()


class FaceAnalyzer:
    """Finds the faces of pictures and describes each.

    Models are loaded, and their weights fetched, when they are first needed; `load` does it ahead. An analyzer may be
    shared by threads.

    Args:
        detector: name of the detector.
        embedder: name of the embedder.
        expression: name of the expression model, or the path of a trained one (.onnx).
        attributes: name of the model for age and gender, likewise.
        only: what to do, some of `TASKS`; by default `DEFAULT_TASKS`.
        size: longest side in pixels at which pictures are searched for faces, or "full" (crowds).
        threshold: lowest detection score; the detector's own by default.
        accurate: average more views of each face: better embeddings, at a cost (figures: README).
        threads: threads of one network call; 0 takes the cores there are.
        device: "cpu", "auto", or a GPU that the installed onnxruntime offers ("cuda", "coreml", "directml", ...).
        precision: "int8" for the int8 form of networks that have one, "float32", or "auto": int8 where this processor
            is faster at it; None takes the environment's `MIEN_PRECISION`, or else "float32".
        store: where weights are kept; the user's cache by default.

    Raises:
        UnknownModelError: no such model.
        ValueError: `only` names something else.
    """

    def __init__(
        self,
        *,
        detector: str = "centerface",
        embedder: str = "dlib-resnet",
        expression: str = SHIPPED,
        attributes: str = SHIPPED_ATTRIBUTES,
        only: Sequence[Task] = DEFAULT_TASKS,
        size: InputSize = DEFAULT_SIZE,
        threshold: float | None = None,
        accurate: bool = False,
        threads: int = 0,
        device: str = "cpu",
        precision: Precision | None = None,
        store: WeightsStore | None = None,
    ) -> None:
        self._names = {"detector": detector, "embedder": embedder, "expression": expression, "attributes": attributes}
        self._detector_entry = registry.entry(detector, "detection")
        self._embedder_entry = registry.entry(embedder, "embedding")
        self._only = tuple(only)
        if unknown := set(self._only) - set(TASKS):
            raise ValueError(f"only is {only!r}; {sorted(unknown)} are not among {TASKS}")
        if "expression" in self._only:
            _ = self._expression_entry  # a wrong name is said now
        if {"age", "gender"} & set(self._only):
            _ = self._attributes_entry
        self._size = size
        self._threshold = threshold
        self._mode: Mode = "accurate" if accurate else "fast"
        self._options = RuntimeOptions(threads or default_threads(), device, precision)
        self._store = store or WeightsStore()
        self._single = _Lazy(self._single_threaded)
        self._detector = _Lazy(self._load_detector)
        self._embedder = _Lazy(self._load_embedder)
        self._expression = _Lazy(self._load_expression)
        self._attributes = _Lazy(self._load_attributes)
        self._stages: Mapping[Task, _Lazy[Describe]] = {
            "pose": _Lazy(lambda: estimate_poses),
            "expression": self._expression,
            "age": self._attributes,
            "gender": self._attributes,
            "eyes": _Lazy(lambda: registry.load_eyes(*self._shipped("eyes"))),
            "mouth": _Lazy(lambda: registry.load_mouth(*self._shipped("mouth"))),
            "embed": self._embedder,
            "quality": _Lazy(lambda: FaceQuality(embedder, self._mode)),
        }

    @property
    def only(self) -> tuple[Task, ...]:
        """What it does."""
        return self._only

    def with_tasks(self, only: Sequence[Task], *, size: InputSize | None = None) -> FaceAnalyzer:
        """One that does something else with the same networks, which are loaded once for both.

        Args:
            only: some of the tasks of this one.
            size: at which pictures are searched, where that is another; its detector is loaded anew.

        Raises:
            ValueError: this one does not do all of them.
        """
        if missing := [task for task in only if task not in self._only]:
            raise ValueError(f"{missing} are not among {self._only}, which this analyzer does")
        other = copy(self)
        other._only = tuple(only)
        if size not in (None, self._size):
            other._size = size
            other._detector = _Lazy(other._load_detector)
        return other

    @property
    def names(self) -> dict[str, str]:
        """Of its models, by what they are: "detector", "embedder", "expression", "attributes"."""
        return dict(self._names)

    @property
    def detector(self) -> Detector:
        """The detector, loaded on first use."""
        return self._detector()

    @property
    def embedder(self) -> FaceEmbedder:
        """The embedder, loaded on first use."""
        return self._embedder()

    @property
    def expression(self) -> FaceClassifier:
        """The expression model, loaded on first use."""
        return self._expression()

    @property
    def attributes(self) -> FaceAttributes:
        """The model for age and gender, loaded on first use."""
        return self._attributes()

    @cached_property
    def _attributes_entry(self) -> ModelEntry:
        return registry.entry(self._names["attributes"], "attributes")

    def _load_attributes(self) -> FaceAttributes:
        return registry.load_attributes(self._attributes_entry, self._store, self._options, only=self._only)

    @cached_property
    def _expression_entry(self) -> ModelEntry:
        return registry.entry(self._names["expression"], "expression")

    def _shipped(self, part: Part) -> tuple[ModelEntry, WeightsStore, RuntimeOptions]:
        """What the network of a part of faces is loaded by."""
        return registry.entry(face_parts.SHIPPED[part], part), self._store, self._options

    def _load_expression(self) -> FaceClassifier:
        return registry.load_expression(self._expression_entry, self._store, self._options)

    def _load_detector(self) -> Detector:
        return registry.load_detector(
            self._detector_entry, self._store, self._options, size=self._size, threshold=self._threshold
        )

    def _load_embedder(self) -> FaceEmbedder:
        return registry.load_embedder(self._embedder_entry, self._store, self._options, mode=self._mode)

    def _wanted(self, only: Sequence[Task] | None = None) -> list[_Lazy[Describe]]:
        """What describes faces, in the order in which it does; each once, also where it answers two questions."""
        asked = self._only if only is None else only
        return list(dict.fromkeys(self._stages[task] for task in TASKS if task in asked and task in self._stages))

    def load(self) -> FaceAnalyzer:
        """Load every model that will be needed, all at once; returns itself."""
        wanted = self._wanted()
        with ThreadPoolExecutor(len(wanted) or 1) as pool:
            others = [pool.submit(model) for model in wanted]
            _ = self.detector
            for other in others:
                other.result()
        return self

    @overload
    def __call__(self, images: ImageSource) -> Faces: ...
    @overload
    def __call__(self, images: list[ImageSource] | list[ImageArray]) -> list[Faces]: ...
    def __call__(self, images: ImageSource | list[ImageSource] | list[ImageArray]) -> Faces | list[Faces]:
        """Analyse one picture, or several at once.

        Args:
            images: whatever `load_image` reads (path, bytes, file object, RGB array), or a list of such.

        Returns:
            The faces of the picture, highest score first; for a list, one `Faces` for each.

        Raises:
            ImageError: one of them cannot be read.
        """
        if isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4):
            return self._analyze([load_image(image) for image in images])
        return self._analyze([load_image(images)])[0]

    def _analyze(self, images: Sequence[ImageArray]) -> list[Faces]:
        return self.describe(images, self.detector(images))

    def describe(
        self, images: Sequence[ImageArray], faces: Sequence[Faces], only: Sequence[Task] | None = None
    ) -> list[Faces]:
        """Describe faces that are known already: tracked, or found by something else.

        Args:
            images: RGB uint8 (H, W, 3).
            faces: those of each picture.
            only: what to say of them, some of `TASKS`; by default all that this analyzer does.

        Returns:
            The same faces, described.
        """
        described = list(faces)
        for model in self._wanted(only):
            described = model()(images, described)
        return described

    def similarity(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Similarity in [-1, 1] of embeddings (..., D) and (..., D), broadcast."""
        return self.embedder.similarity(a, b)

    def compare(self, a: FloatArray, b: FloatArray, *, fmr: float = 1e-3) -> Verification:
        """Decide whether two embeddings, each (D,), show one person.

        Args:
            a: one embedding.
            b: the other.
            fmr: the false match rate at which to decide: 1e-2, 1e-3 or 1e-4.

        Raises:
            ModelError: the model has no threshold for that rate.
        """
        return self.embedder.verify(a, b, fmr=fmr)

    def verify(self, a: ImageSource, b: ImageSource, *, fmr: float = 1e-3) -> Verification:
        """Decide whether the largest faces of two pictures show one person.

        Args:
            a: path, bytes, file object or array.
            b: the other.
            fmr: the false match rate at which to decide: 1e-2, 1e-3 or 1e-4.

        Raises:
            ImageError: a picture cannot be read.
            NoFaceError: a picture shows no face.
        """
        one, other = (self.largest_face(source) for source in (a, b))
        assert one.embeddings is not None  # noqa: S101 - for the type checker
        assert other.embeddings is not None  # noqa: S101
        return self.compare(one.embeddings[0], other.embeddings[0], fmr=fmr)

    def largest_face(self, source: ImageSource, *, on_several: Callable[[int], None] | None = None) -> Faces:
        """The largest face of a picture, with its embedding; `Faces` of length 1.

        Args:
            source: path, bytes, file object or array.
            on_several: called with the number of faces where there are more than one.

        Raises:
            ImageError: it cannot be read.
            NoFaceError: it shows no face.
        """

        def choose(faces: Faces) -> Faces:
            if on_several is not None and len(faces) > 1:
                on_several(len(faces))
            return faces.largest()

        return self._embedded(source, choose)

    def all_faces(self, source: ImageSource) -> Faces:
        """Every face of a picture, with their embeddings; at least one.

        Raises:
            ImageError: it cannot be read.
            NoFaceError: it shows no face.
        """
        return self._embedded(source, lambda faces: faces)

    def _embedded(self, source: ImageSource, choose: Callable[[Faces], Faces]) -> Faces:
        image = load_image(source)
        faces = choose(self.detector([image])[0])
        if not len(faces):
            raise NoFaceError(no_face_message(source))
        return self.embedder([image], [faces])[0]

    def file(self, source: ImageSource, *, name: str | None = None, keep_image: bool = False) -> FileResult:
        """Analyse one file; what is wrong is part of the result, not raised.

        That includes a model that cannot be loaded: call `load` first, which raises it.

        Args:
            source: path, bytes, file object or array.
            name: what to call it; the path by default.
            keep_image: whether the result carries the picture.
        """
        name = name or (fspath(source) if isinstance(source, (str, PathLike)) else "")
        try:
            image = load_image(source)
            return FileResult(name, faces=self._analyze([image])[0], image=image if keep_image else None)
        except MienError as error:
            return FileResult(name, error=error)

    def files(
        self, paths: Iterable[str | PathLike[str]], *, workers: int = 0, keep_images: bool = False
    ) -> Iterator[FileResult]:
        """Analyse many files, several at a time, in order; a bad file is reported and the others go on.

        Files are read and analysed by `workers` threads, whose networks use one thread each, up to four pictures in
        one batch: on a folder that is faster than one picture at a time on all cores, and the results do not depend
        on it. A few pictures for each worker are in memory, 16 megapixels together or one.

        Args:
            paths: of pictures; eight for each worker are taken ahead of the answers.
            workers: files at a time; by default as many as this analyzer has threads.
            keep_images: whether results carry the picture.

        Returns:
            An iterator over a result per path, in the order given. Close it to stop early.

        Raises:
            ModelError: a model cannot be loaded; raised at once, not when the first result is asked for.
        """
        workers = workers or self._options.threads
        single = self._single().with_tasks(self._only, size=self._size) if self._options.threads > 1 else self
        return in_order(paths, single.load()._analyze, workers=workers, keep_images=keep_images)

    def _single_threaded(self) -> FaceAnalyzer:
        """One whose networks use one thread each; they are loaded when it is asked for something."""
        return FaceAnalyzer(
            **self._names,
            only=self._only,
            size=self._size,
            threshold=self._threshold,
            accurate=self._mode == "accurate",
            threads=1,
            device=self._options.device,
            precision=self._options.precision,
            store=self._store,
        )


def no_face_message(source: ImageSource) -> str:
    """The one line for a picture without a face."""
    name = printable(source) if isinstance(source, (str, PathLike)) else "the picture"
    return f"{name}: no face found; try a larger or sharper picture, --size full, or a lower --min-score"


def to_dict(path: str, faces: Faces, *, embeddings: bool = False) -> dict[str, object]:
    """One picture's JSON: the schema that the command line and the server print."""
    width, height = faces.image_size
    return {
        "schema": SCHEMA,
        "image": {"path": path, "width": width, "height": height},
        "faces": faces.to_dicts(embeddings=embeddings),
    }
