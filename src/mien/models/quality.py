"""How well faces serve to recognise somebody: measures, one score, advice; and how heads are turned.

The score is the chance that this face matches another one of the same person at a false match rate of 1e-3, where the
other one is as lfw_dev's are. It is a ridge regression of squared distances between faces of one person: the distance
of a pair is taken to be the sum of what each face adds (recipes/quality.py, figures in docs/quality.md). What a face
adds is foretold from its picture; where it was embedded by the embedder that the regression knows, from its embedding
too, which is a good deal better: poor pictures of anybody lie close to the mean, and their views disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.answers import Poses, Qualities
from mien.models.dlib_landmarks import CENTERFACE_TEMPLATE
from mien.ops import advice, align, quality
from mien.ops.pose import head_pose
from mien.types import Faces, FloatArray, ImageArray

_WEIGHTS = Path(__file__).parent / "weights" / "quality.npz"
_TEMPLATE = np.array(CENTERFACE_TEMPLATE, dtype=np.float32)

# Medians and means of lfw_dev, from which features are counted.
_USUAL_HEIGHTS, _USUAL_WIDTHS = 0.2272, -0.0235
_USUAL_LENGTH, _USUAL_DISTANCE, _USUAL_SPREAD = 1.4143, 0.5584, 0.0966

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear model, and what its sum means.

    Attributes:
        weights: (F,) float64.
        bias: what is added.
        logistic: (slope, intercept) of the score: 1 / (1 + exp(-(slope * sum + intercept))).
    """

    weights: Floats
    bias: float
    logistic: tuple[float, float]

    def __call__(self, features: Floats) -> Floats:
        """(N, F) to (N,) scores in [0, 1]."""
        slope, intercept = self.logistic
        result: Floats = 1 / (1 + np.exp(-np.clip(slope * (features @ self.weights + self.bias) + intercept, -60, 60)))
        return result


@dataclass(frozen=True, eq=False)
class Fitted:
    """What recipes/quality.py fitted.

    Attributes:
        picture: scores by `picture_features`.
        embedded: scores by these and `embedding_features`.
        occlusion: (F,) weights and a bias of `occlusion_features`.
        viewed: scores by these and `spread_features`.
        embedder: name of the embedder that `embedded` and `viewed` know.
        mode: of the embedder, whose views `viewed` knows.
        mean: (D,) of its embeddings.
    """

    picture: Linear
    embedded: Linear
    viewed: Linear
    occlusion: Floats
    embedder: str
    mode: str
    mean: Floats


@cache
def fitted() -> Fitted:
    """The coefficients that come with mien."""
    with np.load(_WEIGHTS, allow_pickle=False) as arrays:
        return from_arrays(arrays)


def from_arrays(arrays: Mapping[str, Any]) -> Fitted:
    """Read what recipes/quality.py writes."""
    linear = {
        name: Linear(arrays[name][:-3].astype(np.float64), float(arrays[name][-3]), tuple(arrays[name][-2:].tolist()))
        for name in ("picture", "embedded", "viewed")
    }
    occlusion, mean = (arrays[name].astype(np.float64) for name in ("occlusion", "mean"))
    return Fitted(**linear, occlusion=occlusion, embedder=str(arrays["embedder"]), mode=str(arrays["mode"]), mean=mean)


class FaceQuality:
    """Measures the quality of faces; describes them as an `Analyzer` wants it.

    Args:
        embedder: name of the embedder whose embeddings the faces may carry.
        mode: "fast" or "accurate": what it averages.
        coefficients: those that come with mien, if None.
    """

    def __init__(self, embedder: str = "", mode: str = "fast", coefficients: Fitted | None = None) -> None:
        self._fitted = coefficients or fitted()
        self._knows_embeddings = embedder == self._fitted.embedder
        self._knows_views = self._knows_embeddings and mode == self._fitted.mode

    def __call__(self, images: Sequence[ImageArray], faces: Sequence[Faces]) -> list[Faces]:
        """Measure all faces of all pictures.

        Args:
            images: RGB uint8 (H, W, 3).
            faces: those of each picture; embeddings are used where there are some.

        Returns:
            The same faces with their qualities.
        """
        return [f.with_answers(qualities=self.assess(image, f)) for image, f in zip(images, faces, strict=True)]

    def assess(self, image: ImageArray, faces: Faces) -> Qualities:
        """The quality of the faces of one picture."""
        measures = measure(image, faces)
        angles, _ = head_pose(faces.landmarks)
        features = picture_features(measures, faces.landmarks, faces.scores)
        model = self._fitted.picture
        if self._knows_embeddings and faces.embeddings is not None:
            model = self._fitted.embedded
            features = np.concatenate([features, embedding_features(faces.embeddings, self._fitted.mean)], axis=1)
            if self._knows_views and faces.spreads is not None:
                model = self._fitted.viewed
                features = np.concatenate([features, spread_features(faces.spreads)], axis=1)
        score = model(features)
        return _qualities(score, measures, angles, occlusion(measures, self._fitted.occlusion))


def estimate_poses(_images: Sequence[ImageArray], faces: Sequence[Faces]) -> list[Faces]:
    """The same faces with their head poses (`mien.ops.pose.head_pose`); the pictures are not looked at."""
    return [f.with_answers(poses=Poses(*head_pose(f.landmarks)[0].T)) for f in faces]


def measure(image: ImageArray, faces: Faces) -> quality.Measures:
    """Cut the faces of one picture, and measure them."""
    transforms = align.crop_transforms(faces, _TEMPLATE, quality.SIDE)
    crops = align.extract_crops(image, transforms, quality.SIDE)
    return quality.measure(crops, transforms, (image.shape[1], image.shape[0]))


def picture_features(measures: quality.Measures, landmarks: FloatArray, scores: FloatArray) -> Floats:
    """(N, 281): what the score is made of; thumbnails last.

    Args:
        measures: of N faces.
        landmarks: (N, 5, 2) in pixels of the picture.
        scores: (N,) of the detections.
    """
    m = measures
    columns = [
        np.log(m.sharpness + 1.0),
        np.log(m.detail + 1e-3),
        m.contrast,
        m.brightness,
        np.abs(m.brightness - 125.0),
        m.dark,
        m.bright,
        np.abs(m.side_light),
        m.top_light,
        np.abs(m.top_light),
        m.asymmetry,
        np.log(np.clip(m.eyes, 4.0, 64.0)),
        m.inside,
        scores.astype(np.float64),
        *_shape_features(landmarks),
    ]
    return np.concatenate([np.stack(columns, axis=1), m.thumbs.reshape(len(scores), quality.THUMB**2)], axis=1)


def _shape_features(landmarks: FloatArray) -> list[Floats]:
    """Of the angles of heads, and of the heights and widths of faces that they change: (N,) each."""
    angles, misfit = head_pose(landmarks)
    yaw, pitch, roll = angles.T
    points = np.nan_to_num(landmarks.astype(np.float64), posinf=0.0, neginf=0.0)
    eyes, mouth, nose = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1), points[:, 2]
    apart, high = _length(points[:, 1] - points[:, 0]), _length(mouth - eyes)
    heights = np.log(_length(nose - eyes) / _length(mouth - nose)) - _USUAL_HEIGHTS
    widths = np.log(apart / high) - _USUAL_WIDTHS
    aside = np.abs(((nose - (eyes + mouth) / 2) * (points[:, 1] - points[:, 0])).sum(axis=1)) / apart**2
    odd = [heights, np.abs(heights), widths, np.abs(widths), aside]
    return [np.abs(yaw), yaw**2, pitch, (pitch / 10) ** 2, np.abs(roll), misfit, *odd]


def _length(vectors: Floats) -> Floats:
    """(N,) lengths of (N, 2), of one pixel at least."""
    result: Floats = np.maximum(np.linalg.norm(vectors, axis=1), 1.0)
    return result


def embedding_features(embeddings: FloatArray, mean: Floats) -> Floats:
    """(N, D + 4): length and distance to the mean, how far these are under the usual, squared, and the embedding.

    Args:
        embeddings: (N, D).
        mean: (D,) of embeddings of many people.
    """
    x = embeddings.astype(np.float64)
    length, distance = np.linalg.norm(x, axis=1), np.linalg.norm(x - mean, axis=1)
    lengths = ((length, _USUAL_LENGTH), (distance, _USUAL_DISTANCE))
    columns = np.stack([length, distance, *(np.minimum(value - usual, 0.0) ** 2 for value, usual in lengths)], axis=1)
    return np.concatenate([columns, x - mean], axis=1)


def spread_features(spreads: FloatArray) -> Floats:
    """(N, 2): how far the views of each face lie apart, and how much of that is more than usual, squared."""
    x = spreads.astype(np.float64)
    return np.stack([x, np.maximum(x - _USUAL_SPREAD, 0.0) ** 2], axis=1)


def occlusion_features(measures: quality.Measures) -> Floats:
    """(N, 769): the thumbnail, its distance to its mirror image, its square, and 1."""
    thumbs = measures.thumbs
    parts = (thumbs, np.abs(thumbs - thumbs[:, :, ::-1]), np.minimum(thumbs**2, 9.0))
    return np.concatenate(
        [*(part.reshape(len(thumbs), quality.THUMB**2) for part in parts), np.ones((len(thumbs), 1))], axis=1
    )


def occlusion(measures: quality.Measures, weights: Floats) -> Floats:
    """(N,) in [0, 1]: about how much of each face is covered, by a ridge regression (see docs/quality.md: limits)."""
    result: Floats = np.clip(occlusion_features(measures) @ weights, 0.0, 1.0)
    return result


def _qualities(score: Floats, measures: quality.Measures, angles: Floats, covered: Floats) -> Qualities:
    shown = ("sharpness", "detail", "brightness", "contrast", "dark", "bright", "side_light", "eyes", "inside")
    values = {name: getattr(measures, name) for name in shown} | {"score": score, "occlusion": covered}
    advised = advice.advise(values | dict(zip(("yaw", "pitch", "roll"), angles.T, strict=True)))
    return Qualities(**values, codes=advice.CODES, advised=advised)
