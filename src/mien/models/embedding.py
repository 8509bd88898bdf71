"""From faces in a picture to embeddings: cutting the crops that a network was made for, and averaging views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mien.errors import ModelError
from mien.models.base import Calibration, EmbedderNetwork, Record
from mien.ops import align, similarity
from mien.types import Faces, FloatArray, ImageArray, Verification

Mode = Literal["fast", "accurate"]
_BATCH = 32


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

    def transform(self, size: int) -> align.Transforms:
        """(3, 3) float64 from the plain crop to this view, both of side `size`, before mirroring."""
        centre = (size - 1) / 2
        angle = np.deg2rad(self.rotation)
        cos, sin = self.scale * np.cos(angle), self.scale * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        shift = centre + np.array(self.shift) * size - linear @ [centre, centre]
        return np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])


FAST_VIEWS = (CropView(), CropView(mirrored=True))
ACCURATE_VIEWS = FAST_VIEWS


class FaceEmbedder:
    """Embeds the faces of pictures.

    Args:
        record: of the network: its crop, its metric, its calibrations.
        network: turns crops into embeddings.
        mode: "fast" or "accurate": which views of each face are averaged.
        views: to average other ones than the mode's.
    """

    def __init__(
        self,
        record: Record,
        network: EmbedderNetwork,
        *,
        mode: Mode = "fast",
        views: Sequence[CropView] | None = None,
    ) -> None:
        if record.crop is None or record.metric is None:
            raise ModelError(f"model {record.name!r} is no embedder: its record names no crop and metric")
        self.record = record
        self.mode: Mode = mode
        self._crop = record.crop
        self._network = network
        self._views = tuple(views or (ACCURATE_VIEWS if mode == "accurate" else FAST_VIEWS))
        self._view_transforms = [view.transform(record.crop.size) for view in self._views]
        self._similarity = similarity.l2 if record.metric == "l2" else similarity.cosine

    @property
    def calibration(self) -> Calibration:
        """Thresholds and probability of this mode.

        Raises:
            ModelError: this model was never calibrated.
        """
        found = self.record.calibrations.get(self.mode)
        if found is None:
            raise ModelError(
                f"model {self.record.name!r} has no thresholds for mode {self.mode!r}:"
                " measure them with `mien evaluate verification`"
            )
        return found

    def threshold(self, fmr: float) -> float:
        """The similarity at which two faces count as one person, at a false match rate of the record.

        Raises:
            ModelError: the record has no threshold for that rate.
        """
        rates = {float(rate): threshold for rate, threshold in self.calibration.thresholds.items()}
        if fmr not in rates:
            raise ModelError(
                f"model {self.record.name!r} has no threshold for a false match rate of {fmr:g};"
                f" choose one of {', '.join(self.calibration.thresholds)}"
            )
        return rates[fmr]

    def similarity(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Similarity in [-1, 1] of embeddings (..., D) and (..., D), broadcast."""
        return self._similarity(a, b)

    def verify(self, a: FloatArray, b: FloatArray, *, fmr: float) -> Verification:
        """Decide whether two embeddings, each (D,), show one person, at a false match rate of the record.

        Raises:
            ModelError: the record has no threshold for that rate.
        """
        threshold = self.threshold(fmr)
        value = float(self.similarity(a, b))
        slope, intercept = self.calibration.logistic
        return Verification(
            same=value >= threshold,
            similarity=value,
            probability=float(1 / (1 + np.exp(-(slope * value + intercept)))),
            threshold=threshold,
            fmr=fmr,
            model=self.record.name,
            mode=self.mode,
        )

    def __call__(self, images: Sequence[ImageArray], faces: Sequence[Faces]) -> list[Faces]:
        """Embed all faces of all pictures in as few network calls as the batch size allows.

        Args:
            images: RGB uint8 (H, W, 3).
            faces: those of each picture.

        Returns:
            The same faces with their embeddings.
        """
        counts = [len(f) for f in faces]
        embeddings = np.zeros((sum(counts), self.record.dimensions or 0), dtype=np.float32)
        per_call = max(1, _BATCH // len(self._views))
        pending = [(i, k) for i, n in enumerate(counts) for k in range(n)]
        transforms = [align.crop_transforms(f, self._crop.template_array(), self._crop.size) for f in faces]
        for start in range(0, len(pending), per_call):
            chunk = pending[start : start + per_call]
            crops = np.concatenate([self._crops(images[i], transforms[i][k]) for i, k in chunk])
            views = self._network(crops).reshape(len(chunk), len(self._views), -1)
            embeddings[start : start + per_call] = views.mean(axis=1)
        ends = np.cumsum(counts)
        parts = [embeddings[end - n : end] for n, end in zip(counts, ends, strict=True)]
        return [f.with_embeddings(part) for f, part in zip(faces, parts, strict=True)]

    def _crops(self, image: ImageArray, transform: align.Transforms) -> ImageArray:
        """(V, S, S, 3): every view of one face."""
        moved = [
            (transform_of_view @ np.vstack([transform, [0, 0, 1]]))[:2] for transform_of_view in self._view_transforms
        ]
        crops = align.extract_crops(image, moved, self._crop.size)
        for crop, view in zip(crops, self._views, strict=True):
            if view.mirrored:
                crop[:] = crop[:, ::-1].copy()
        return crops
