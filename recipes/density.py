"""Evens out how crowded an embedding space is.

Where a face network knows few kinds of faces apart, all embeddings lie close together, and strangers pass for one
another: most false matches at low rates come from there. Moving every embedding away from the mean by how near its
nearest landmarks of the space are makes one threshold mean the same everywhere. The result is still compared by
plain distance.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from mien.errors import WeightsError
from mien.types import FloatArray

_NEIGHBOURS = 4
_STRENGTH = 0.3


@dataclass(frozen=True)
class DensityScale:
    """The landmarks of an embedding space.

    Attributes:
        mean: (D,) of the embeddings of many people.
        centroids: (K, D) k-means centres of them; each of several faces, no row is one person.
        reference: mean over people of the mean squared distance to the nearest centroids.
    """

    mean: FloatArray
    centroids: FloatArray
    reference: float

    def __call__(self, embeddings: FloatArray) -> FloatArray:
        """Scale (N, D) embeddings."""
        distances = (
            (embeddings**2).sum(axis=1)[:, None] + (self.centroids**2).sum(axis=1) - 2 * embeddings @ self.centroids.T
        )
        nearest = np.partition(distances, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS].mean(axis=1)
        gain = (np.maximum(nearest, 1e-6) / self.reference) ** -_STRENGTH
        result: FloatArray = (self.mean + (embeddings - self.mean) * gain[:, None]).astype(np.float32)
        return result

    def to_bytes(self) -> bytes:
        """As an .npz, half precision."""
        buffer = io.BytesIO()
        mean, centroids = self.mean.astype(np.float16), self.centroids.astype(np.float16)
        np.savez(buffer, mean=mean, centroids=centroids, reference=np.float32(self.reference))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> DensityScale:
        """Read what `to_bytes` wrote."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                mean, centroids = (arrays[name].astype(np.float32) for name in ("mean", "centroids"))
                return cls(mean, centroids, float(arrays["reference"]))
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError("not the landmarks of an embedding space that mien wrote") from error
