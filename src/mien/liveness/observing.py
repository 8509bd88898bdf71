"""From frames, and what the analyzer says of them, to what is judged: numbers, thumbnails and hashes, no pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from mien.liveness.signs import Signs, look_for_signs
from mien.ops import align
from mien.ops.quality import THUMB
from mien.types import Faces, FloatArray, ImageArray

if TYPE_CHECKING:
    from mien.analyzer import Task

__all__ = ["TASKS", "FrameLike", "Look", "MomentLike", "Observation", "observe"]

SIDE = 32
"""Cells along a side of the thumbnail of a frame."""
_EYES = ((5.0, 5.5), (11.0, 5.5))  # where a patch has them
_TEMPLATE = np.array([*_EYES, (8.0, 8.5), (5.6, 11.4), (10.4, 11.4)], dtype=np.float32)
_OVERSAMPLED = 4


class FrameLike(Protocol):
    """What a frame has to have; see `mien.video.frames.Frame`."""

    @property
    def time(self) -> float:
        """Seconds since the start of the source."""
        ...

    @property
    def image(self) -> ImageArray:
        """(H, W, 3) uint8 RGB, upright."""
        ...


class MomentLike(Protocol):
    """What a moment has to have; see `mien.video.analysis.Moment`."""

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """(N,) the track of each face."""
        ...

    @property
    def faces(self) -> Faces:
        """The N faces, described."""
        ...

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """(N,) False where a face is hidden just now."""
        ...

    @property
    def embedded(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the embedding was made of this frame."""
        ...


@dataclass(frozen=True, eq=False)
class Look:
    """The largest face of a frame.

    Attributes:
        track: its number.
        landmarks: (5, 2) float32 pixels, see `Faces`.
        yaw: degrees, above 0 where it looks to the right of the picture.
        pitch: degrees, above 0 where it looks up.
        roll: degrees, above 0 where it is tilted clockwise.
        happiness: probability in [0, 1].
        eyes: probability that they are open, the mean of both.
        mouth: probability that it is open.
        quality: `Qualities.score`.
        advice: what should be done about its picture; codes of `mien.ops.advice`.
        patch: (16, 16) float32, the face aligned by its landmarks, mean 0 and standard deviation 1.
        embedding: (D,) float32 if it was made of this frame, or None.
    """

    track: int
    landmarks: FloatArray
    yaw: float
    pitch: float
    roll: float
    happiness: float
    eyes: float
    mouth: float
    quality: float
    advice: tuple[str, ...]
    patch: FloatArray
    embedding: FloatArray | None = None

    @property
    def eye_distance(self) -> float:
        """Pixels."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))


@dataclass(frozen=True, eq=False)
class Observation:
    """What is judged of one frame.

    Attributes:
        time: seconds.
        thumb: (32, 32) float32, grey levels.
        digest: SHA-256 of the pixels.
        look: the largest face that is seen, or None.
        second: area of the second largest face as a part of the largest, 0 where there is one.
        signs: what hints at a picture of a picture.
    """

    time: float
    thumb: FloatArray
    digest: bytes
    look: Look | None
    second: float = 0.0
    signs: Signs | None = None


def observe(frame: FrameLike, moment: MomentLike) -> Observation:
    """What is judged of a frame.

    Args:
        frame: the picture.
        moment: what an analyzer that does `TASKS` says of it.

    Raises:
        ValueError: the faces lack poses, expressions, eyes, mouths or qualities, or a network sees no "happiness".
    """
    grey = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    small = cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    thumb = np.asarray(small, dtype=np.float32)
    digest = sha256(repr(frame.image.shape).encode() + np.ascontiguousarray(frame.image).tobytes()).digest()
    seen = np.flatnonzero(moment.seen)
    if not len(seen):
        return Observation(frame.time, thumb, digest, None)
    areas = moment.faces.areas[seen]
    order = np.argsort(-areas)
    best = int(seen[order[0]])
    second = float(areas[order[1]] / max(areas[order[0]], 1e-6)) if len(order) > 1 else 0.0
    face = moment.faces[best]
    look = _look(face, grey, int(moment.ids[best]), embedded=bool(moment.embedded[best]))
    return Observation(frame.time, thumb, digest, look, second, look_for_signs(grey, face.landmarks[0]))


def _look(face: Faces, grey: npt.NDArray[np.uint8], track: int, *, embedded: bool) -> Look:
    missing = [
        name for name in ("poses", "expressions", "eyes", "mouths", "qualities") if getattr(face, name, None) is None
    ]
    if missing:
        raise ValueError(f"liveness needs faces with {', '.join(missing)}: analyse with only={TASKS}")
    poses, expressions, eyes, mouths, qualities = face.poses, face.expressions, face.eyes, face.mouths, face.qualities
    assert poses is not None  # noqa: S101 - for the type checker
    assert expressions is not None  # noqa: S101
    assert eyes is not None  # noqa: S101
    assert mouths is not None  # noqa: S101
    assert qualities is not None  # noqa: S101
    return Look(
        track=track,
        landmarks=face.landmarks[0],
        yaw=float(poses.yaw[0]),
        pitch=float(poses.pitch[0]),
        roll=float(poses.roll[0]),
        happiness=float(expressions.scores[0, _position("happiness", expressions.labels)]),
        eyes=float(eyes.left[0] + eyes.right[0]) / 2,
        mouth=float(mouths.open[0]),
        quality=float(qualities.score[0]),
        advice=tuple(qualities.advice[0]),
        patch=_patch(grey, face),
        embedding=face.embeddings[0] if embedded and face.embeddings is not None else None,
    )


TASKS: tuple[Task, ...] = ("detect", "pose", "expression", "eyes", "mouth", "embed", "quality")
"""What an analyzer has to do."""


def _position(label: str, labels: Sequence[str]) -> int:
    if label not in labels:
        raise ValueError(f"liveness needs an expression model that knows {label!r}; this one knows {', '.join(labels)}")
    return list(labels).index(label)


def _patch(grey: npt.NDArray[np.uint8], face: Faces) -> FloatArray:
    """(16, 16): the aligned face, cut four times as large and averaged, so that no detail is skipped."""
    side = THUMB * _OVERSAMPLED
    template = (_TEMPLATE + 0.5) * _OVERSAMPLED - 0.5
    transform = align.crop_transforms(face, template, side)[0]
    cut = cv2.warpAffine(grey, transform, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(cut.astype(np.float32), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    patch: FloatArray = ((small - small.mean()) / (small.std() + 4.0)).astype(np.float32)
    return patch
