"""Where a box will be: a constant-velocity Kalman filter (Kalman 1960) in real seconds, so that any frame rate will do.

Position is filtered in pixels and size by its logarithm. All uncertainties are counted in face sizes, so that a face
near the camera, which moves by more pixels, is not thought to be wilder than one that is far away. As the noise of both
coordinates of a place is the same, so are their covariances: one matrix serves x and y, one serves width and height.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.types import FloatArray

Floats = npt.NDArray[np.float64]

GATE = 13.28
"""Squared distance that 99 % of right matches stay under: chi-squared of the four coordinates of a box."""

_DETECTED = np.array([0.1, 0.15])  # standard deviations of a detection: of its place in face sizes, of its log size
_FOLLOWED = np.array([0.03, 0.04])  # of a box that optical flow brought here
_START = np.array([2.0, 0.5])  # of the velocities of a new face, in face sizes (log sizes) a second
_WANDERING = np.array([20.0, 1.0])  # spectral density of the acceleration: squared face sizes a cubic second
_SLOWING = 0.5  # seconds in which an unseen face is taken to lose two thirds of its speed: nobody runs on for ever


class BoxFilter:
    """The motion of one box.

    Args:
        box: (4,), x1 y1 x2 y2 in pixels, as detected.
    """

    NUMBERS = 16
    """How many say all about it."""

    def __init__(self, box: FloatArray) -> None:
        self._at = _state(box)  # centre x, centre y, log width, log height
        self._velocity = np.zeros(4)
        self._covariance = np.zeros((2, 2, 2))  # of place and of size: of the value and its velocity
        self._covariance[:, 0, 0] = _DETECTED**2
        self._covariance[:, 1, 1] = _START**2

    @property
    def box(self) -> FloatArray:
        """(4,) float32, x1 y1 x2 y2: where it is thought to be."""
        half = np.exp(self._at[2:]) / 2
        return np.concatenate([self._at[:2] - half, self._at[:2] + half]).astype(np.float32)

    @property
    def spread(self) -> float:
        """Standard deviation of its place, in face sizes."""
        return float(np.sqrt(self._covariance[0, 0, 0]))

    def to_array(self) -> Floats:
        """(16,) float64: all that it knows."""
        return np.concatenate([self._at, self._velocity, self._covariance.ravel()])

    @classmethod
    def from_array(cls, numbers: Floats) -> BoxFilter:
        """One that goes on, of what `to_array` said."""
        made = cls(np.zeros(4, dtype=np.float32))
        made._at, made._velocity = numbers[:4].copy(), numbers[4:8].copy()
        made._covariance = numbers[8:].reshape(2, 2, 2).copy()
        return made

    def predict(self, seconds: float, *, slowing: bool = False) -> None:
        """Move on in time.

        Args:
            seconds: since the last call, 0 or more.
            slowing: whether it comes to a halt by and by: for a face that nobody sees.
        """
        kept = float(np.exp(-seconds / _SLOWING)) if slowing else 1.0
        travelled = _SLOWING * (1 - kept) if slowing else seconds
        self._at = self._at + travelled * self._velocity
        self._velocity = kept * self._velocity
        step = np.array([[1.0, travelled], [0.0, kept]])
        noise = np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
        self._covariance = step @ self._covariance @ step.T + _WANDERING[:, None, None] * noise

    def distances(self, boxes: FloatArray) -> Floats:
        """(N,) squared Mahalanobis distances of detected boxes (N, 4) to where it should be; compare with `GATE`."""
        states = _state(boxes)
        off = (states - self._at) / np.array([self._size, self._size, 1.0, 1.0])
        variances = np.repeat(self._covariance[:, 0, 0] + _DETECTED**2, 2)
        squared: Floats = (off**2 / variances).sum(axis=-1)
        return squared

    def update(self, box: FloatArray, *, followed: bool = False) -> None:
        """Learn where it is now.

        Args:
            box: (4,), x1 y1 x2 y2 in pixels.
            followed: whether optical flow says so, not a detector.
        """
        noise = _FOLLOWED if followed else _DETECTED
        off = _state(box) - self._at
        gain = self._covariance[:, :, 0] / (self._covariance[:, 0, 0] + noise**2)[:, None]  # (2, 2)
        each = np.repeat(gain, 2, axis=0)  # (4, 2)
        self._at = self._at + each[:, 0] * off
        self._velocity = self._velocity + each[:, 1] * off
        self._covariance = self._covariance - gain[:, :, None] * self._covariance[:, None, 0, :]

    @property
    def _size(self) -> float:
        return float(np.exp(self._at[2:].mean()))


def _state(boxes: FloatArray) -> Floats:
    """(..., 4) boxes to centre x, centre y, log width and log height."""
    b = np.asarray(boxes, dtype=np.float64)
    sides = np.maximum(b[..., 2:] - b[..., :2], 1.0)
    return np.concatenate([(b[..., :2] + b[..., 2:]) / 2, np.log(sides)], axis=-1)
