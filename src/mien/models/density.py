"""Evens out how crowded an embedding space is.

Where a face network knows few kinds of faces apart, all embeddings lie close together, and strangers pass for one
another: most false matches at low rates come from there. Moving every embedding away from the mean by how near its
nearest landmarks of the space are makes one threshold mean the same everywhere. The result is still compared by
plain distance. Figures: recipes/LOG.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien.types import FloatArray

_WEIGHTS = Path(__file__).parent / "weights"
_AT_ONCE = 16384  # embeddings: bounds the memory that their distances take


@dataclass(frozen=True, eq=False)
class DensityScale:
    """The landmarks of an embedding space.

    Attributes:
        mean: (D,) float32, of the embeddings of many people.
        centroids: (K, D) float32, k-means centres of them; each of several people, no row is one person.
        reference: mean over people of the mean squared distance to the nearest centroids.
        neighbours: how many centroids are near.
        strength: power of the gain; 0 leaves embeddings as they are.
    """

    mean: FloatArray
    centroids: FloatArray
    reference: float
    neighbours: int
    strength: float

    def __call__(self, embeddings: FloatArray) -> FloatArray:
        """Scale (N, D) embeddings; the same shape, float32."""
        parts = [self._scaled(embeddings[i : i + _AT_ONCE]) for i in range(0, len(embeddings), _AT_ONCE)]
        return np.concatenate(parts) if parts else embeddings.astype(np.float32)

    def _scaled(self, x: FloatArray) -> FloatArray:
        nearest = self.nearness(x, self.centroids, self.neighbours)
        gain = (np.maximum(nearest, 1e-6) / self.reference) ** -self.strength
        result: FloatArray = (self.mean + (x - self.mean) * gain[:, None]).astype(np.float32)
        return result

    @staticmethod
    def nearness(x: FloatArray, centroids: FloatArray, neighbours: int) -> FloatArray:
        """(N,): mean squared distance of (N, D) embeddings to their nearest centroids."""
        distances = (x**2).sum(axis=1)[:, None] + (centroids**2).sum(axis=1) - 2 * x @ centroids.T
        near: FloatArray = np.partition(distances, neighbours - 1, axis=1)[:, :neighbours].mean(axis=1)
        return near

    def to_arrays(self) -> dict[str, Any]:
        """For an .npz, half precision."""
        return {
            "mean": self.mean.astype(np.float16),
            "centroids": self.centroids.astype(np.float16),
            "scale": np.array([self.reference, self.neighbours, self.strength], dtype=np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> DensityScale:
        """Read what `to_arrays` gave."""
        mean, centroids = (arrays[name].astype(np.float32) for name in ("mean", "centroids"))
        reference, neighbours, strength = arrays["scale"].tolist()
        return cls(mean, centroids, reference, int(neighbours), strength)


def read_fitted(task: str, embedder: str, sha256: str) -> tuple[DensityScale, dict[str, Any]] | None:
    """What was fitted to an embedder for a task; it comes with mien, as a file beside the weights.

    Args:
        task: "identification" or "clustering"; each has landmarks of its own, that serve it best.
        embedder: name of the model.
        sha256: of its weights, in hex.

    Returns:
        The scale, and by mode the values that the task's recipe wrote; None where nothing was fitted to exactly these
        weights.
    """
    path = _WEIGHTS / f"{embedder}.{task}.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        if about["embedder_sha256"] != sha256:
            return None
        return DensityScale.from_arrays(arrays), about["modes"]
