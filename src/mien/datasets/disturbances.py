"""What videos do to faces: the detector's box trembles, heads and light move, pictures blur, hands come in between.

All of it goes on over time: what one frame suffers, the next mostly suffers too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mien.types import ImageArray

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_TINY = 1e-6


@dataclass(frozen=True)
class Disturbances:
    """Random, correlated over time. Each sequence has a severity of its own in [0, 1], which scales the ranges.

    Attributes:
        jitter: shift of a face in its box from frame to frame, standard deviation in pixels of 48.
        drift: the same, slowly: how far the head moves in its box.
        turn: slow tilting, standard deviation in degrees.
        zoom: slow change of size, standard deviation as a logarithm.
        blur: of a whole sequence, standard deviation in pixels of 48.
        noise: of the sensor, standard deviation in grey levels.
        light: slow change of brightness, in stops.
        flicker: change of brightness from frame to frame, in stops.
        smears: motion blurs in a second.
        covers: times in a second that something covers a part of the face.
        strangers: times in a second that the box is somebody else's, or shows no face, for one frame or two.
        losses: times in a second that no face is found.
        quality: of JPEG, (worst, best); every second sequence is compressed.
    """

    jitter: float = 1.0
    drift: float = 1.5
    turn: float = 6.0
    zoom: float = 0.06
    blur: float = 1.3
    noise: float = 14.0
    light: float = 0.5
    flicker: float = 0.25
    smears: float = 0.25
    covers: float = 0.12
    strangers: float = 0.25
    losses: float = 0.12
    quality: tuple[float, float] = (15.0, 70.0)

    def __call__(
        self, faces: ImageArray, times: Floats, rng: np.random.Generator, *, stranger: Callable[[], ImageArray]
    ) -> tuple[ImageArray, Bools]:
        """Disturb a sequence.

        Args:
            faces: (T, 48, 48) uint8.
            times: (T,) seconds, rising.
            rng: all that is random comes from it.
            stranger: gives the crop of somebody else.

        Returns:
            (T, 48, 48) uint8, and (T,) bool: whether there is a face to be seen.
        """
        severity = rng.random()
        shown = self._framed(faces, times, severity, rng)
        self._smear(shown, times, rng)
        shown = self._recorded(shown, times, severity, rng)
        self._cover(shown, times, rng)
        self._mistake(shown, times, rng, stranger)
        return shown, ~_bursts(times, self.losses, (0.1, 1.0), rng)

    def _framed(self, faces: ImageArray, times: Floats, severity: float, rng: np.random.Generator) -> ImageArray:
        """Boxes that tremble around heads that move."""
        side = faces.shape[1]
        centre = (side - 1) / 2
        jitter = self.jitter * severity * side / 48
        shifts = jitter * rng.standard_normal((len(times), 2))
        shifts += np.stack([_slow(times, 1.5, rng) for _ in range(2)], axis=1) * self.drift * severity * side / 48
        angles = np.deg2rad(self.turn * severity * _slow(times, 2.0, rng))
        zooms = np.exp(self.zoom * severity * _slow(times, 2.0, rng))
        out = np.empty_like(faces)
        for t, face in enumerate(faces):
            cos, sin = zooms[t] * np.cos(angles[t]), zooms[t] * np.sin(angles[t])
            linear = np.array([[cos, -sin], [sin, cos]])
            matrix = np.column_stack([linear, centre + shifts[t] - linear @ [centre, centre]])
            out[t] = cv2.warpAffine(face, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
        return out

    def _smear(self, shown: ImageArray, times: Floats, rng: np.random.Generator) -> None:
        """Motion blur while the head or the camera moves fast; in place."""
        for t in np.flatnonzero(_bursts(times, self.smears, (0.1, 0.5), rng)):
            length = rng.integers(2, 6) * 2 + 1
            kernel = np.zeros((length, length), np.float32)
            angle = rng.uniform(0, np.pi)
            along = np.linspace(-1, 1, 4 * length) * (length // 2)
            rows = np.rint(length // 2 + along * np.sin(angle)).astype(int)
            columns = np.rint(length // 2 + along * np.cos(angle)).astype(int)
            kernel[rows, columns] = 1
            shown[t] = cv2.filter2D(shown[t], -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)

    def _recorded(self, shown: ImageArray, times: Floats, severity: float, rng: np.random.Generator) -> ImageArray:
        """Light, lens, sensor and compression."""
        stops = self.light * severity * _slow(times, 1.0, rng)
        stops += self.flicker * severity * rng.random() * rng.standard_normal(len(times))
        blur = self.blur * severity * rng.random()
        noise = self.noise * severity * rng.random()
        quality = int(rng.uniform(*self.quality)) if rng.random() < 0.5 else 0
        out = np.empty_like(shown)
        for t, face in enumerate(shown):
            pixels = cv2.GaussianBlur(face, (0, 0), blur) if blur > 0.3 else face
            light = pixels.astype(np.float32) * np.float32(2.0 ** stops[t])
            light += np.float32(noise) * rng.standard_normal(light.shape, dtype=np.float32)
            out[t] = np.clip(light, 0, 255).astype(np.uint8)
            if quality:
                code = cv2.imencode(".jpg", out[t], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
                out[t] = np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE))
        return out

    def _cover(self, shown: ImageArray, times: Floats, rng: np.random.Generator) -> None:
        """A hand, a cup, a microphone: something of one lightness hides a part of the face for a while; in place."""
        side = shown.shape[1]
        for hidden in _runs(_bursts(times, self.covers, (0.3, 1.5), rng)):
            size = (rng.uniform(0.15, 0.4, 2) * side).astype(int)
            place = (rng.uniform(0.1, 0.9, 2) * side).astype(int)
            light = int(rng.integers(20, 220))
            for t in hidden:
                at = place + rng.integers(-1, 2, 2)
                cv2.ellipse(shown[t], at.tolist(), size.tolist(), 0, 0, 360, light, -1)

    def _mistake(
        self, shown: ImageArray, times: Floats, rng: np.random.Generator, stranger: Callable[[], ImageArray]
    ) -> None:
        """Frames of somebody else, or of what is no face; in place."""
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.1
        for wrong in _runs(_bursts(times, self.strangers, (0.1 * step, 1.9 * step), rng)):
            other = stranger()
            if rng.random() < 0.4:  # a corner of a picture is no face
                half = len(other) // 2
                y, x = rng.integers(0, 2, 2) * half
                corner = other[y : y + half, x : x + half]
                other = np.asarray(cv2.resize(corner, other.shape[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
            shown[wrong] = other


def _slow(times: Floats, seconds: float, rng: np.random.Generator) -> Floats:
    """(T,) Ornstein-Uhlenbeck process of standard deviation 1 that forgets over `seconds`."""
    values = np.empty(len(times))
    values[0] = rng.standard_normal()
    for t in range(1, len(times)):
        kept = np.exp(-(times[t] - times[t - 1]) / seconds)
        values[t] = kept * values[t - 1] + np.sqrt(1 - kept**2) * rng.standard_normal()
    return values


def _bursts(times: Floats, per_second: float, lengths: tuple[float, float], rng: np.random.Generator) -> Bools:
    """(T,) bool: whether one of several events of random lengths (in seconds) is going on; each holds a frame."""
    going = np.zeros(len(times), dtype=bool)
    for _ in range(rng.poisson(per_second * (times[-1] - times[0] + _TINY))):
        start = rng.uniform(times[0], times[-1] + _TINY)
        first = min(int(np.searchsorted(times, start)), len(times) - 1)
        going[first] = True
        going |= (times >= start) & (times < start + rng.uniform(*lengths))
    return going


def _runs(going: Bools) -> list[npt.NDArray[np.int64]]:
    """The positions of each run of True."""
    on = np.flatnonzero(going)
    return [run.astype(np.int64) for run in np.split(on, np.flatnonzero(np.diff(on) > 1) + 1) if len(run)]
