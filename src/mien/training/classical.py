"""Classical models: HOG and LBP features with an SVM, nearest neighbours or a forest. The baselines of deep ones.

scikit-learn fits them; what it found is written as one ONNX file of the same kind as deep models have, features
included (see `classical_graph`): `mien.models.classifier.CropClassifier` runs it, and no code is executed to load it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from importlib import import_module
from threading import Thread
from typing import Any, Literal, TypeVar

import numpy as np

from mien.datasets.base import ImageSet, IndexArray
from mien.errors import DataError, ImageError, MienError
from mien.evaluation.expression import Cut, SquareCutter
from mien.models.base import CropSpec
from mien.models.cards import embed_card, refuse_labels
from mien.models.classifier import ClassifierCard, CropClassifier
from mien.training.calibrated import calibrated
from mien.training.classical_graph import ForestHead, Head, KernelHead, LinearHead, NeighbourHead, build
from mien.training.features import FeatureSpec, describe
from mien.training.framing import Template, face_template
from mien.types import FloatArray, ImageArray

ClassifierName = Literal["linear-svm", "rbf-svm", "knn", "forest"]
CLASSIFIERS: tuple[ClassifierName, ...] = ("linear-svm", "rbf-svm", "knn", "forest")
FEATURES_KEY = "mien-features"
"""In the file's metadata: the features' parameters and all options, as JSON."""

_BATCH = 64
_MOST_VOTING = 40  # classes up to which an SVM keeps the margin of each pair
_MOST_BYTES = 16 << 30  # of features
_LIMITS = (
    "A baseline to compare deep models with. Says what a face shows, not what a person feels; not for judging, "
    "diagnosing or deciding about people."
)
Progress = Callable[..., None]
T = TypeVar("T")


@dataclass(frozen=True)
class ClassicalOptions:
    """How a classical model is fitted.

    Attributes:
        c: penalty of the SVMs' errors; 0 takes what suits each.
        components: principal components of the features that the RBF SVM and k-NN see.
        neighbours: k of k-NN.
        trees: of the forest.
        leaf: fewest training faces in a leaf of the forest.
        mirrored: also learn from the mirrored faces.
        held: share of each class that is set aside for calibration where there is no validation part.
        limit: most pictures that are learnt from, chosen evenly over the classes; 0 for all.
    """

    c: float = 0.0
    components: int = 128
    neighbours: int = 15
    trees: int = 200
    leaf: int = 4
    mirrored: bool = False
    held: float = 0.1
    limit: int = 0

    def __post_init__(self) -> None:
        if not (self.c >= 0 and min(self.components, self.neighbours, self.trees, self.leaf) >= 1 and self.limit >= 0):
            raise DataError(f"{self}: numbers must be positive")
        if not 0 < self.held < 1:
            raise DataError(f"a share of {self.held:g} cannot be set aside: it must lie between 0 and 1")


@dataclass(frozen=True, eq=False)
class ClassicalModel:
    """A fitted model: a `Classifier`, as deep ones are.

    Attributes:
        data: the bytes of its ONNX file, card included.
        classifier: what they run as.
        validation: the pictures that it was calibrated on, and that it may be measured on; none was learnt from.
        learnt: number of pictures that it learnt from.
        faceless: pictures in which no face was found: not used.
        unreadable: what was wrong with pictures that were skipped.
        single: classes with one picture, none of which could be set aside.
    """

    data: bytes
    classifier: CropClassifier
    validation: ImageSet
    learnt: int
    faceless: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    single: tuple[str, ...] = ()

    @property
    def card(self) -> ClassifierCard:
        """What the file says about itself."""
        return self.classifier.card

    @property
    def name(self) -> str:
        """As reports call it."""
        return self.classifier.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The C classes."""
        return self.classifier.labels

    @property
    def size(self) -> int:
        """Side of its crops in pixels."""
        return self.classifier.size

    @property
    def threshold(self) -> float:
        """Confidence under which its answer is `uncertain`."""
        return self.classifier.threshold

    def __call__(self, crops: ImageArray) -> FloatArray:
        """Classify (N, S, S, 3) uint8 RGB crops; returns (N, C) float32 probabilities."""
        return self.classifier(crops)

    def with_metrics(self, metrics: dict[str, Any]) -> ClassicalModel:
        """The same model with measured figures in its card, as `ClassifierCard.metrics` has them."""
        data = embed_card(self.data, replace(self.card, metrics=metrics))
        return replace(self, data=data, classifier=CropClassifier(data))


def train_classical(
    images: ImageSet,
    validation: ImageSet | None = None,
    *,
    features: FeatureSpec,
    classifier: ClassifierName = "linear-svm",
    options: ClassicalOptions | None = None,
    task: str = "expression",
    name: str = "",
    template: Template | None = None,
    cut: Cut | None = None,
    skip_unreadable: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> ClassicalModel:
    """Fit a model, and calibrate its confidences on pictures that it did not learn from.

    A picture's class is its answer under the set's protocol; pictures without one are not used. Each picture is read
    once.

    Args:
        images: to learn from.
        validation: to calibrate on; by default a share of each class of `images` (equal pictures stay together, a class
            of one picture is not torn apart).
        features: what the classifier sees.
        classifier: which one.
        options: its settings.
        task: for the card.
        name: of the model, for its card; made from features and classifier by default.
        template: five landmarks in the crop, for the card; by default as faces lie in FER+.
        cut: from a picture to its crop, None where there is no face; by default pictures are taken for crops.
        skip_unreadable: leave pictures out that cannot be read, instead of refusing the set.
        seed: of all that is random.
        progress: called with (done, total, what).

    Raises:
        DataError: a picture cannot be read; a class is left without pictures; too many features for this machine.
        ModelError: the names of the classes are no labels.
        MienError: scikit-learn or scikit-image is not installed.
    """
    require_libraries()
    options = options or ClassicalOptions()
    if classifier not in CLASSIFIERS:
        raise DataError(f"no classifier {classifier!r}: choose one of {', '.join(CLASSIFIERS)}")
    refuse_labels(images.labels)
    if validation is not None and validation.labels != images.labels:
        raise DataError(f"{validation.name} has other classes than {images.name}")
    rng = np.random.default_rng(seed)
    images = _limited(images.for_training().for_measuring(), options.limit, rng)
    reader = _Reader(features, cut or SquareCutter(features.size), skip_unreadable, progress)
    learnt = reader.described(images, mirrored=options.mirrored)
    single: tuple[str, ...] = ()
    if validation is None:
        learnt, held, single = _split(learnt, options.held, rng)
        measurable = held.images
    else:  # all of it: where no face is found, or a picture cannot be read, is for the report to say
        measurable = validation.for_measuring()
        held = reader.described(measurable)
    _refuse_empty_classes(learnt)
    x, y = learnt.x, learnt.truth
    if options.mirrored:
        x, y = np.concatenate([x, learnt.mirrored]), np.concatenate([y, y])
    if progress is not None:
        progress(0, 1, f"fitting {classifier} to {len(y):,} faces")
    fit = _FITS[classifier]
    head = _interruptible(lambda: fit(x, y, len(images.labels), options, seed))
    card = ClassifierCard(
        name=name or f"{features.name.replace('+', '-')}-{classifier}",
        task=task,
        labels=images.labels,
        crop=CropSpec(features.size, template or face_template(features.size)),
        temperature=1.0,
        threshold=0.0,
        architecture=f"{features.name} + {classifier}",
        training_data=f"{images.name}: {len(learnt.truth):,} pictures",
        licence="that of the training data",
        limits=_LIMITS,
        origin=f"mien train classical: {features.name}, {classifier}, seed {seed}",
        calibration=f"{held.images.name}: {len(held.truth):,} pictures that were not learnt from",
        recipe_sha256=sha256(_recipe(features, classifier, options, seed).encode()).hexdigest(),
        data_sha256={"training": learnt.digest, "validation": held.digest},
    )
    data = build(features, head, {FEATURES_KEY: _recipe(features, classifier, options, seed)})
    card = calibrated(card, CropClassifier(embed_card(data, card)).logits(held.crops), held.truth)
    data = embed_card(data, card)
    return ClassicalModel(
        data, CropClassifier(data), measurable, len(learnt.truth), tuple(reader.faceless), tuple(reader.bad), single
    )


def require_libraries() -> None:
    """Say in one line what is missing.

    Raises:
        MienError: scikit-learn or scikit-image is not installed.
    """
    try:
        for library in ("skimage.feature", "sklearn.svm"):
            import_module(library)
    except ImportError as error:
        raise MienError(f"{error.name} is not installed: pip install 'mien[train]'") from error


def _recipe(features: FeatureSpec, classifier: str, options: ClassicalOptions, seed: int) -> str:
    recipe = {"kind": "classical", "features": features.to_dict(), "classifier": classifier, "seed": seed}
    return json.dumps(recipe | {"options": asdict(options)}, sort_keys=True)


# Reading


@dataclass(frozen=True, eq=False)
class _Described:
    """The faces of a set: `images` are those that could be used, the arrays their (N, D) features and (N,) classes."""

    images: ImageSet
    x: FloatArray
    mirrored: FloatArray  # (N, D) or (0, D)
    crops: ImageArray  # (N, S, S, 3)
    truth: IndexArray

    def part(self, indices: IndexArray, name: str) -> _Described:
        mirrored = self.mirrored[indices] if len(self.mirrored) else self.mirrored
        images = self.images.subset(indices, name=name)
        return _Described(images, self.x[indices], mirrored, self.crops[indices], self.truth[indices])

    @property
    def digest(self) -> str:
        """SHA-256 over crops and classes."""
        digest = sha256(self.truth.tobytes())
        for crop in self.crops:
            digest.update(crop.tobytes())
        return digest.hexdigest()


@dataclass(eq=False)
class _Reader:
    """Reads sets, cuts and describes their faces, and keeps what went wrong."""

    features: FeatureSpec
    cut: Cut
    skip: bool
    progress: Progress | None
    faceless: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def described(self, images: ImageSet, *, mirrored: bool = False) -> _Described:
        n, size, dimensions = len(images), self.features.size, self.features.dimensions
        wanted = n * dimensions * 4 * (2 if mirrored else 1)
        if wanted > _MOST_BYTES:
            raise DataError(f"{images.name}: {wanted / 1e9:.0f} GB of features; take fewer pictures with --limit")
        crops = np.empty((n, size, size, 3), dtype=np.uint8)
        x = np.empty((n, dimensions), dtype=np.float32)
        flipped = np.empty((n if mirrored else 0, dimensions), dtype=np.float32)
        kept: list[int] = []
        for part in _batches(n):
            start = len(kept)
            for i in part:
                crop = self._crop(images, i)
                if crop is not None:
                    crops[len(kept)] = crop
                    kept.append(i)
            new = slice(start, len(kept))
            x[new] = describe(crops[new], self.features)
            if mirrored:
                flipped[new] = describe(np.ascontiguousarray(crops[new, :, ::-1]), self.features)
            if self.progress is not None:
                self.progress(part.stop, n, f"describing {images.name}")
        if not kept:
            raise DataError(f"{images.name}: not one of {n} pictures can be used{self._why()}")
        m = len(kept)
        used = images.subset(kept)
        return _Described(used, x[:m], flipped[:m], crops[:m], used.truth)

    def _crop(self, images: ImageSet, i: int) -> ImageArray | None:
        try:
            crop = self.cut(images.read(i))
        except ImageError as error:
            if not self.skip:
                raise DataError(
                    f"{error}; mend or remove it, or leave such pictures out with --skip-unreadable"
                ) from error
            self.bad.append(str(error))
            return None
        if crop is None:
            self.faceless.append(images.items[i])
        return crop

    def _why(self) -> str:
        if not (self.faceless or self.bad):
            return ""
        return f": no face found in {len(self.faceless)}, {len(self.bad)} cannot be read"


def _batches(n: int) -> Iterator[range]:
    return (range(start, min(start + _BATCH, n)) for start in range(0, n, _BATCH))


def _limited(images: ImageSet, limit: int, rng: np.random.Generator) -> ImageSet:
    """At most `limit` pictures, as many of each class as its share, and one of each if that is possible."""
    if not limit or limit >= len(images):
        return images
    order = rng.permutation(len(images))
    rank = np.empty(len(images))
    for label in range(len(images.labels)):
        members = order[images.truth[order] == label]
        rank[members] = np.arange(len(members)) / max(len(members), 1)
    chosen = order[np.argsort(rank[order], kind="stable")][:limit]
    return images.subset(np.sort(chosen))


def _split(seen: _Described, share: float, rng: np.random.Generator) -> tuple[_Described, _Described, tuple[str, ...]]:
    """What is learnt from, what calibrates, and the classes of which nothing could be set aside."""
    images = seen.images
    aside, single = _set_aside(seen, share, rng)
    if not aside.any():
        raise DataError(
            f"{images.name}: no class has two pictures that differ, so none can be set aside to calibrate on; add some"
        )
    held = seen.part(np.flatnonzero(aside), f"{images.name}, a part set aside")
    return seen.part(np.flatnonzero(~aside), images.name), held, tuple(images.labels[label] for label in single)


def _set_aside(seen: _Described, share: float, rng: np.random.Generator) -> tuple[np.ndarray[Any, Any], list[int]]:
    """(N,) bool: about this share of each class, at least one picture where it has two that differ; and the others."""
    aside = np.zeros(len(seen.truth), dtype=bool)
    equal = np.array([int.from_bytes(sha256(crop.tobytes()).digest()[:7], "big") for crop in seen.crops])
    single: list[int] = []
    for label in np.unique(seen.truth).tolist():
        members = np.flatnonzero(seen.truth == label)
        different = rng.permutation(np.unique(equal[members]))
        if len(different) < 2:
            single.append(label)
            continue
        count = min(max(1, round(share * len(different))), len(different) - 1)
        aside[np.isin(equal, different[:count])] = True
    return aside, single


def _refuse_empty_classes(learnt: _Described) -> None:
    images = learnt.images
    counts = np.bincount(learnt.truth, minlength=len(images.labels))
    empty = [label for label, count in zip(images.labels, counts, strict=True) if not count]
    if empty:
        few = f"{', '.join(empty[:5])}{' ...' if len(empty) > 5 else ''}"
        raise DataError(f"{images.name}: no picture to learn from of class {few}; add some, or remove the class")


# Fitting


def _linear(x: FloatArray, y: IndexArray, count: int, options: ClassicalOptions, seed: int) -> Head:
    """One against the rest, on features of mean 0 and deviation 1."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    mean, deviation = x.mean(axis=0), x.std(axis=0)
    scale = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0).astype(np.float32)
    svm = LinearSVC(C=options.c or 0.1 / x.shape[1], dual="auto", tol=1e-3, max_iter=500, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as good as it gets in that time
        svm.fit((x - mean) * scale, y)
    weights, bias = svm.coef_.T, svm.intercept_
    if count == 2:  # one column, for the second class
        weights, bias = np.concatenate([-weights, weights], axis=1), np.concatenate([-bias, bias])
    weights = weights * scale[:, None]
    return LinearHead(weights.astype(np.float32), (bias - mean @ weights).astype(np.float32))


def _rbf(x: FloatArray, y: IndexArray, count: int, options: ClassicalOptions, seed: int) -> Head:
    """Every pair of classes against each other; a class's logit is the sum of its soft votes."""
    from sklearn.svm import SVC

    projection, shift, z = _components(x, options, seed)
    known = z.astype(np.float64)
    gamma = 1 / (z.shape[1] * max(float(known.var()), 1e-6))
    svm = SVC(C=options.c or 4.0, kernel="rbf", gamma=gamma, cache_size=1000, decision_function_shape="ovo")
    svm.fit(known, y)
    # scikit-learn turns the margin of two classes around
    sign = -1.0 if count == 2 else 1.0
    coefficients, bias = sign * svm.dual_coef_, sign * svm.intercept_
    make = _pair_margins if count <= _MOST_VOTING else _summed_margins
    return make(KernelHead(projection, shift, z[svm.support_], gamma, coefficients, bias), svm.n_support_, count)


def _pair_margins(head: KernelHead, supports: IndexArray, count: int) -> KernelHead:
    """From libsvm's coefficients, (C - 1, V), to those of each pair, and the tally that makes votes of margins.

    Soft votes answer as libsvm's own do; sums of margins cost more than a point on FER+.
    """
    pairs, of = _pairs(supports, count)
    weights, tally = np.zeros((len(head.vectors), len(pairs))), np.zeros((len(pairs), count))
    for k, (i, j) in enumerate(pairs):
        weights[of[i], k], weights[of[j], k] = head.weights[j - 1, of[i]], head.weights[i, of[j]]
        tally[k, i], tally[k, j] = 1, -1
    return replace(
        head,
        weights=weights.astype(np.float32),
        bias=head.bias.astype(np.float32),
        tally=(tally / (count - 1)).astype(np.float32),
    )


def _summed_margins(head: KernelHead, supports: IndexArray, count: int) -> KernelHead:
    """The same where there are too many pairs: the mean margin of each class over the others."""
    pairs, of = _pairs(supports, count)
    weights, bias = np.zeros((len(head.vectors), count)), np.zeros(count)
    for (i, j), intercept in zip(pairs, head.bias, strict=True):
        for members, row in ((of[i], j - 1), (of[j], i)):
            weights[members, i] += head.weights[row, members]
            weights[members, j] -= head.weights[row, members]
        bias[i] += intercept
        bias[j] -= intercept
    return replace(
        head, weights=(weights / (count - 1)).astype(np.float32), bias=(bias / (count - 1)).astype(np.float32)
    )


def _pairs(supports: IndexArray, count: int) -> tuple[list[tuple[int, int]], list[slice]]:
    """Pairs in the order of libsvm, and where the support vectors of each class are."""
    ends = np.cumsum(supports)
    of = [slice(int(end - n), int(end)) for end, n in zip(ends, supports, strict=True)]
    return [(i, j) for i in range(count) for j in range(i + 1, count)], of


def _neighbours(x: FloatArray, y: IndexArray, count: int, options: ClassicalOptions, seed: int) -> Head:
    projection, shift, z = _components(x, options, seed)
    return NeighbourHead(projection, shift, z, y, count, min(options.neighbours, len(y)))


def _components(
    x: FloatArray, options: ClassicalOptions, seed: int
) -> tuple[FloatArray, FloatArray, np.ndarray[Any, np.dtype[np.float16]]]:
    """Principal components: (D, P), (P,), and the faces in them, (N, P), with a mean square of 1 altogether."""
    from sklearn.decomposition import PCA

    pca = PCA(min(options.components, *x.shape), svd_solver="auto", random_state=seed)
    z = pca.fit_transform(x)
    scale = 1 / max(float(np.sqrt((z**2).mean())), 1e-6)
    projection = (pca.components_.T * scale).astype(np.float32)
    shift = (-pca.mean_ @ projection).astype(np.float32)
    return projection, shift, (z * scale).astype(np.float16)


def _forest(x: FloatArray, y: IndexArray, count: int, options: ClassicalOptions, seed: int) -> Head:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(options.trees, min_samples_leaf=options.leaf, random_state=seed)
    forest.fit(x, y)
    return ForestHead([_tree(grown.tree_) for grown in forest.estimators_], count)


def _tree(tree: Any) -> tuple[Any, ...]:
    """As `ForestHead` holds it."""
    shares = tree.value[:, 0, :]
    shares = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    # The greatest float32 that is not above: features are float32, so that each goes the way it went in training.
    rounded = tree.threshold.astype(np.float32)
    above = rounded.astype(np.float64) > tree.threshold
    threshold = np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return tree.feature, threshold, tree.children_left, tree.children_right, shares


_FITS: dict[str, Callable[[FloatArray, IndexArray, int, ClassicalOptions, int], Head]] = {
    "linear-svm": _linear,
    "rbf-svm": _rbf,
    "knn": _neighbours,
    "forest": _forest,
}


def _interruptible(work: Callable[[], T]) -> T:
    """Run in a thread, so that Ctrl-C is heard: the solvers, in C, would keep it waiting for minutes."""
    result: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failed:
        if isinstance(failed[0], MemoryError):
            raise DataError("not enough memory to fit the model; take fewer pictures with --limit") from failed[0]
        raise failed[0]
    return result[0]
