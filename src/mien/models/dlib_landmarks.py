"""dlib's 5-point landmarks: an ensemble of regression trees (Kazemi & Sullivan 2014), evaluated with numpy.

The face network was trained on chips cut by these five points (the corners of both eyes and the base of the nose), so
cutting by them again gives it the chips that it knows. Every stage reads some hundred pixels around the current
shape, compares pairs of them in small trees, and adds what the trees' leaves say to the shape.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.errors import WeightsError
from mien.models.base import ModelEntry, Record, RuntimeOptions, WeightsFile
from mien.models.dlib_format import Reader, package_source
from mien.ops import align
from mien.types import Faces, FloatArray, ImageArray, Transforms

RECORD = Record(
    name="dlib-landmarks",
    task="landmarks",
    summary="dlib's five points (corners of the eyes, base of the nose), which the default embedder's crops are cut by",
    weights=WeightsFile(
        filename="shape_predictor_5_face_landmarks.dat",
        sha256="c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        size=9_150_489,
        sources=(package_source("shape_predictor_5_face_landmarks.dat"),),
    ),
    licence_code="Apache-2.0 (own reader)",
    licence_weights="CC0-1.0",
    commercial_use=True,
    origin="Davis King 2017; method: Kazemi and Sullivan 2014, One Millisecond Face Alignment",
    training_data="7,198 faces of dlib's own five-point set",
    limits="Slips on faces that are turned away; mien uses it together with the detector's landmarks.",
    input_notes="RGB 0..255 of the picture itself, and a box as dlib's detector would put it",
)
POINTS = 5
CHIP_SIZE = 150
_FAR = 1e6  # pixels; landmarks beyond are no landmarks
_DEPTH = 4
_SPLITS, _LEAVES = 2**_DEPTH - 1, 2**_DEPTH
_CHUNK = 64  # faces at once; 15 MB of temporaries

# Where dlib's own detector puts its square box, told by five landmarks (eyes, nose, mouth corners): shift of the
# centre from their mean, and the logarithm of the side, in units of their root mean square distance from the mean.
# Means over 3,911 faces of lfw_dev, see recipes/verification.py.
_BOX_SHIFT = (-0.1454, -0.1589)
_BOX_LOG_SIDE = 1.3663

# Where the five points lie in a chip of 150 pixels with 25 % padding: outer and inner corner of the eye on the right
# of the picture, of the eye on its left, base of the nose. From dlib's mean face shape, and the scale that makes
# crops land on dlib's own chips (its chips span 149 pixels, not 150). Pixel centres at integers.
CHIP_TEMPLATE = ((110.70, 45.66), (89.20, 47.22), (36.30, 45.68), (57.80, 47.22), (73.50, 87.37))

# Where CenterFace's five landmarks lie in such chips: medians over 3,911 faces of lfw_dev, made symmetric.
CENTERFACE_TEMPLATE = ((46.76, 46.44), (102.24, 46.44), (74.50, 78.81), (51.01, 103.58), (97.99, 103.58))


@dataclass(frozen=True)
class Forests:
    """The trees of a shape predictor: T stages of K trees with 15 splits and 16 leaves.

    Attributes:
        initial: (5, 2) shape to start from, in parts of the box.
        first, second: (T, K, 15) which two pixels a split compares.
        threshold: (T, K, 15) a split goes left where the first is brighter by more than this.
        leaves: (T, K, 16, 5, 2) what a leaf adds to the shape.
        anchor: (T, P) the landmark that a pixel is near.
        delta: (T, P, 2) from that landmark to the pixel, in the frame of the initial shape.
    """

    initial: FloatArray
    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    threshold: FloatArray
    leaves: FloatArray
    anchor: npt.NDArray[np.int32]
    delta: FloatArray

    def to_bytes(self) -> bytes:
        """As an uncompressed .npz."""
        buffer = io.BytesIO()
        np.savez(buffer, **vars(self))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Forests:
        """Read what `to_bytes` wrote."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return cls(**arrays)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise WeightsError("not a file of landmark trees that mien wrote") from error


class _Cursor:
    """Takes runs of integers off an array."""

    def __init__(self, values: npt.NDArray[np.int64]) -> None:
        self._values = values
        self._at = 0

    def take(self, *shape: int) -> npt.NDArray[np.int64]:
        count = int(np.prod(shape))
        if min(shape, default=1) < 0 or self._at + count > len(self._values):
            raise WeightsError("not a dlib shape predictor: it ends too early")
        self._at += count
        return self._values[self._at - count : self._at].reshape(shape)

    def expect(self, what: str, *values: int) -> None:
        found = self.take(len(values)).tolist()
        if found != list(values):
            raise WeightsError(f"not a dlib shape predictor that mien reads: {what} is {found}, not {list(values)}")

    @property
    def at_end(self) -> bool:
        return self._at == len(self._values)


def _reals(pairs: npt.NDArray[np.int64]) -> FloatArray:
    """(..., 2) mantissas and exponents to float32."""
    with np.errstate(over="ignore"):
        exponents = pairs[..., 1].clip(-2000, 2000)
        values: FloatArray = np.ldexp(pairs[..., 0].astype(np.float64), exponents).astype(np.float32)
    if not np.isfinite(values).all():
        raise WeightsError("not a dlib shape predictor: a number is not finite")
    return values


def read_forests(data: bytes) -> Forests:
    """Read a 5-point shape predictor with trees of depth 4 as `dlib::serialize` writes it.

    Args:
        data: the bytes of shape_predictor_5_face_landmarks.dat.

    Raises:
        WeightsError: it is something else, or broken.
    """
    cursor = _Cursor(Reader(data).all_integers())
    cursor.expect("version", 1)
    cursor.expect("size of the shape", -2 * POINTS, -1)
    initial = _reals(cursor.take(2 * POINTS, 2)).reshape(POINTS, 2)
    stages = int(cursor.take(1)[0])
    splits, leaves = [], []
    for _ in range(stages):
        split, leaf = _read_trees(cursor)
        splits.append(split)
        leaves.append(leaf)
    cursor.expect("number of pixel sets", stages)
    anchor = [cursor.take(int(cursor.take(1)[0])) for _ in range(stages)]
    cursor.expect("number of pixel sets", stages)
    delta = [_reals(cursor.take(int(cursor.take(1)[0]), 2, 2)) for _ in range(stages)]
    if not cursor.at_end:
        raise WeightsError("not a dlib shape predictor: something follows it")
    try:
        all_splits, all_anchors, all_deltas = np.stack(splits), np.stack(anchor), np.stack(delta)
        all_leaves = np.stack(leaves)
    except ValueError as error:
        raise WeightsError("a dlib shape predictor with stages of different sizes is not supported") from error
    pixels = all_anchors.shape[1]
    indices = all_splits[..., :2]
    if not (indices.min() >= 0 and indices.max() < pixels == all_deltas.shape[1]):
        raise WeightsError("not a dlib shape predictor: a split compares a pixel that is not there")
    if not (all_anchors.min() >= 0 and all_anchors.max() < POINTS):
        raise WeightsError("not a dlib shape predictor: a pixel lies near a landmark that is not there")
    return Forests(
        initial=initial,
        first=indices[..., 0].astype(np.int32),
        second=indices[..., 1].astype(np.int32),
        threshold=_reals(all_splits[..., 2:]),
        leaves=all_leaves,
        anchor=all_anchors.astype(np.int32),
        delta=all_deltas,
    )


def _read_trees(cursor: _Cursor) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """One stage: splits (K, 15, 4), as two pixels and a threshold's mantissa and exponent; leaves (K, 16, 5, 2)."""
    size = 2 * POINTS
    leaf_length = 2 + 2 * size
    trees = cursor.take(int(cursor.take(1)[0]), 1 + 4 * _SPLITS + 1 + _LEAVES * leaf_length)
    splits, leaf_count = trees[:, 1 : 1 + 4 * _SPLITS], trees[:, 1 + 4 * _SPLITS]
    leaves = trees[:, -_LEAVES * leaf_length :].reshape(-1, _LEAVES, leaf_length)
    if (trees[:, 0] != _SPLITS).any() or (leaf_count != _LEAVES).any() or (leaves[..., :2] != (-size, -1)).any():
        raise WeightsError("a dlib shape predictor whose trees are not of depth 4 for 5 points is not supported")
    return splits.reshape(-1, _SPLITS, 4), _reals(leaves[..., 2:].reshape(-1, _LEAVES, POINTS, 2, 2))


def dlib_boxes(landmarks: FloatArray) -> FloatArray:
    """(N, 4) the boxes that dlib's detector would have put around faces with these landmarks.

    Args:
        landmarks: (N, 5, 2) eyes, nose, mouth corners (mien's order).
    """
    centre = landmarks.mean(axis=1)
    spread = np.sqrt(((landmarks - centre[:, None]) ** 2).sum(axis=(1, 2)) / landmarks.shape[1])[:, None]
    centre = centre + spread * np.array(_BOX_SHIFT, dtype=np.float32)
    half = spread * np.float32(np.exp(_BOX_LOG_SIDE) / 2)
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def chip_transforms(points: FloatArray, landmarks: FloatArray) -> Transforms:
    """The transforms from picture to 150-pixel chip, from dlib's points and the detector's landmarks together.

    Better than either alone: dlib's points are what the face network knows, the detector's five hold where a face is
    turned away and dlib's slip.

    Args:
        points: (N, 5, 2) from `DlibLandmarks`.
        landmarks: (N, 5, 2) from CenterFace.

    Returns:
        (N, 2, 3) float64; NaN where all points of a face coincide or one is not finite.
    """
    template = np.array([*CHIP_TEMPLATE, *CENTERFACE_TEMPLATE], dtype=np.float32)
    return align.similarity_transforms(np.concatenate([points, landmarks], axis=1), template)


class DlibLandmarks:
    """Finds dlib's five points in boxed faces; safe to call from several threads.

    Args:
        forests: the trees.
    """

    def __init__(self, forests: Forests) -> None:
        self._initial = forests.initial
        initial = forests.initial.astype(np.float64)
        centred = initial - initial.mean(axis=0)
        self._basis = centred / (centred**2).sum()
        stages, trees = forests.first.shape[:2]
        # A tree's 15 answers, packed into 16 bits, name its leaf: the same table for every tree.
        pad = ((0, 0), (0, 0), (0, 1))
        self._first = np.pad(forests.first, pad).reshape(stages, -1).astype(np.intp)
        self._second = np.pad(forests.second, pad).reshape(stages, -1).astype(np.intp)
        # Differences of pixels are whole numbers, at most 255: so may the thresholds be.
        threshold = np.floor(forests.threshold).clip(-256, 255).astype(np.int16)
        self._threshold = np.pad(threshold, pad, constant_values=255).reshape(stages, -1)
        self._leaf_of = _leaf_table()
        self._first_leaf = np.arange(trees, dtype=np.intp) * _LEAVES
        self._leaves = forests.leaves.reshape(stages, trees * _LEAVES, 2 * POINTS)
        self._anchor = forests.anchor.astype(np.intp)
        self._delta_x, self._delta_y = np.ascontiguousarray(np.moveaxis(forests.delta, -1, 0))

    def __call__(self, image: ImageArray, boxes: FloatArray) -> FloatArray:
        """Find the points.

        Args:
            image: (H, W, 3) RGB uint8.
            boxes: (N, 4) as dlib's detector would put them, see `dlib_boxes`.

        Returns:
            (N, 5, 2) float32 xy in the picture: outer and inner corner of the eye on the right of the picture, of the
            eye on its left, base of the nose.
        """
        chunks = [self._run(image, boxes[i : i + _CHUNK]) for i in range(0, len(boxes), _CHUNK)]
        return np.concatenate(chunks) if chunks else np.empty((0, POINTS, 2), dtype=np.float32)

    def _run(self, image: ImageArray, boxes: FloatArray) -> FloatArray:
        height, width = image.shape[:2]
        pixels = image.reshape(-1, 3)
        origin = boxes[:, None, :2].astype(np.float64)
        side = boxes[:, None, 2:].astype(np.float64) - origin
        shape = np.repeat(self._initial[None], len(boxes), axis=0)
        basis_x, basis_y = self._basis.T
        for t in range(len(self._first)):
            # Precisions and the order of sums are dlib's: a pixel read one beside moves the points by 0.1 pixels.
            x, y = shape[..., 0], shape[..., 1]
            scaled_cos = (x @ basis_x + y @ basis_y)[:, None].astype(np.float32)  # from initial to current shape
            scaled_sin = (y @ basis_x - x @ basis_y)[:, None].astype(np.float32)
            dx, dy, anchor = self._delta_x[t], self._delta_y[t], self._anchor[t]
            columns = (scaled_cos * dx - scaled_sin * dy + x[:, anchor]) * side[..., 0] + (origin[..., 0] + 0.5)
            rows = (scaled_sin * dx + scaled_cos * dy + y[:, anchor]) * side[..., 1] + (origin[..., 1] + 0.5)
            inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
            at = rows.clip(0, height - 1).astype(np.intp) * width + columns.clip(0, width - 1).astype(np.intp)
            red, green, blue = pixels.take(at, axis=0).transpose(2, 0, 1).astype(np.int16)
            grey = (red + green + blue) // 3 * inside
            difference = grey.take(self._first[t], axis=1) - grey.take(self._second[t], axis=1)
            answers = difference > self._threshold[t]
            packed = np.packbits(answers.reshape(-1), bitorder="little").view("<u2").reshape(len(boxes), -1)
            chosen = self._leaves[t].take(self._first_leaf + self._leaf_of.take(packed), axis=0)
            terms = np.concatenate([shape.reshape(-1, 1, 2 * POINTS), chosen], axis=1)
            shape = terms.sum(axis=1).reshape(-1, POINTS, 2)
        return (shape * side + origin).astype(np.float32)


class DlibAligner:
    """Cuts crops for dlib's face network, by dlib's points and the detector's landmarks together; an `Aligner`.

    Args:
        finder: of dlib's points.
    """

    def __init__(self, finder: DlibLandmarks) -> None:
        self._find = finder

    @classmethod
    def load(cls, path: Path, _options: RuntimeOptions) -> DlibAligner:
        """Make it from the file that `convert` wrote."""
        return cls(DlibLandmarks(Forests.from_bytes(path.read_bytes())))

    def __call__(self, image: ImageArray, faces: Faces) -> Transforms:
        """(N, 2, 3) from picture to chip of 150 pixels; where landmarks are degenerate, by the box."""
        template = np.array(CENTERFACE_TEMPLATE, dtype=np.float32)
        transforms = np.full((len(faces), 2, 3), np.nan)
        usable = np.isfinite(faces.landmarks).all(axis=(1, 2)) & (np.abs(faces.landmarks) < _FAR).all(axis=(1, 2))
        if usable.any():
            landmarks = faces.landmarks[usable]
            points = self._find(image, dlib_boxes(landmarks))
            transforms[usable] = chip_transforms(points, landmarks)
        return align.usable_transforms(transforms, faces, template, CHIP_SIZE)


def convert(data: bytes) -> bytes:
    """Dlib's .dat to arrays that load quickly."""
    return read_forests(data).to_bytes()


ENTRY = ModelEntry(RECORD, DlibAligner.load, convert=convert, converter_version="1", converted_suffix=".npz")


def _leaf_table() -> npt.NDArray[np.intp]:
    """(2 ** 16,) the leaf that a tree's answers lead to; bit i: split i goes left. Children of i: 2i + 1, 2i + 2."""
    answers = np.arange(2 ** (_SPLITS + 1))
    node = np.zeros_like(answers)
    for _ in range(_DEPTH):
        node = 2 * node + 2 - ((answers >> node) & 1)
    leaf: npt.NDArray[np.intp] = (node - _SPLITS).astype(np.intp)
    return leaf
