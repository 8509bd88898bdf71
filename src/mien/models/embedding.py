"""From faces in a picture to embeddings: cutting the crops that a network was made for, and averaging views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mien.errors import ModelError
from mien.models.base import Aligner, Calibration, EmbedderNetwork, EmbeddingRecipe, Record
from mien.ops import align, similarity
from mien.types import Faces, FloatArray, ImageArray, Transforms, Verification

Mode = Literal["fast", "accurate"]
_BATCH = 32


class FaceEmbedder:
    """Embeds the faces of pictures.

    Args:
        record: of the network: its crop, its metric, its calibrations.
        network: turns crops into embeddings.
        mode: "fast" or "accurate": which of the recipe's views of each face are averaged.
        recipe: how the network is used best.
        aligner: says where crops are; by default the detector's landmarks and the record's template do.
    """

    def __init__(
        self,
        record: Record,
        network: EmbedderNetwork,
        *,
        mode: Mode = "fast",
        recipe: EmbeddingRecipe | None = None,
        aligner: Aligner | None = None,
    ) -> None:
        if record.crop is None or record.metric is None:
            raise ModelError(f"model {record.name!r} is no embedder: its record names no crop and metric")
        self.record = record
        self.mode: Mode = mode
        self._crop = record.crop
        self._network = network
        recipe = recipe or EmbeddingRecipe()
        self._views = recipe.accurate if mode == "accurate" else recipe.fast
        self._prepare = recipe.prepare or (lambda crops: crops)
        self._align = aligner or self._by_landmarks
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

        Raises:
            ModelError: the network fails, or gives what is no embedding.
        """
        counts = [len(f) for f in faces]
        embeddings = np.zeros((sum(counts), self.record.dimensions or 0), dtype=np.float32)
        spreads = np.zeros(sum(counts), dtype=np.float32)
        per_call = max(1, _BATCH // len(self._views))
        pending = [(i, k) for i, n in enumerate(counts) for k in range(n)]
        transforms = [self._align(image, f) for image, f in zip(images, faces, strict=True)]
        for start in range(0, len(pending), per_call):
            chunk = pending[start : start + per_call]
            crops = np.concatenate([self._crops(images[i], transforms[i][k]) for i, k in chunk])
            views = self._network(self._prepare(crops)).reshape(len(chunk), len(self._views), -1)
            mean = views.mean(axis=1)
            embeddings[start : start + per_call] = mean
            with np.errstate(invalid="ignore"):  # what is not finite is refused below
                spreads[start : start + per_call] = np.linalg.norm(views - mean[:, None], axis=2).mean(axis=1)
        if not np.isfinite(embeddings).all():
            raise ModelError(
                f"model {self.record.name!r} gives embeddings that are not finite: its weights are damaged"
            )
        ends = np.cumsum(counts)
        parts = [slice(end - n, end) for n, end in zip(counts, ends, strict=True)]
        return [f.with_embeddings(embeddings[part], spreads[part]) for f, part in zip(faces, parts, strict=True)]

    def _by_landmarks(self, _image: ImageArray, faces: Faces) -> Transforms:
        return align.crop_transforms(faces, self._crop.template_array(), self._crop.size)

    def _crops(self, image: ImageArray, transform: Transforms) -> ImageArray:
        """(V, S, S, 3): every view of one face."""
        square = np.vstack([transform, [0, 0, 1]])
        moved = [(view @ square)[:2] for view in self._view_transforms]
        crops = align.extract_crops(image, moved, self._crop.size)
        for crop, view in zip(crops, self._views, strict=True):
            if view.mirrored:
                crop[:] = crop[:, ::-1].copy()
        return crops
