"""Pictures made worse, in stated steps: less light, blur, noise, compression, hidden parts, turned heads, few pixels.

Each way is a `Kind` of `KINDS`: a function of a picture, the five landmarks of the face that it is of, and a strength
in the kind's unit. All are deterministic, leave their input alone, and leave the picture as it is at a strength of 0. A
grey picture (equal channels) stays grey.

Lengths are in eye distances, so that a strength does the same to a small face and to a large one; `size` alone is in
pixels, as detectors and embedders see them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from mien.ops.align import similarity_transforms
from mien.types import FloatArray, ImageArray

Floats = npt.NDArray[np.float64]

FACE = np.array([[-0.5, 0], [0.5, 0], [0, 0.57], [-0.414, 1.154], [0.414, 1.154]], dtype=np.float32)
"""(5, 2): landmarks of a face that looks at the camera, in eye distances from the point between the eyes; y down."""

_FLAT = [0, 1, 3, 4]  # of the landmarks: those that lie about in a plane
_LUMA = np.array([0.299, 0.587, 0.114])
_SAMPLES = 4  # a shape is drawn this many times larger and averaged, which is what smooths its edges


@dataclass(frozen=True)
class Kind:
    """One way to make a picture worse.

    Attributes:
        name: as users type it.
        unit: what strengths are measured in.
        strengths: that a report measures, from mild to harsh.
        lowest: of the strengths that mean anything, 0 aside.
        highest: likewise.
        apply: picture (H, W, 3) uint8 RGB, landmarks (5, 2) in its pixels, strength -> picture (H', W', 3).
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    lowest: float
    highest: float
    apply: Callable[[ImageArray, FloatArray, float], ImageArray]


def degrade(image: ImageArray, landmarks: FloatArray, kind: str, strength: float) -> ImageArray:
    """Make a picture worse.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (5, 2) float, of the face that it is of, in pixels; finite.
        kind: one of `KINDS`.
        strength: in the kind's unit; 0 leaves the picture as it is.

    Returns:
        (H, W, 3) uint8 RGB, a new array; `size` gives a smaller picture.

    Raises:
        ValueError: there is no such kind, or the strength is outside its range.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
    way = KINDS[kind]
    if strength == 0:
        return image.copy()
    if not way.lowest <= strength <= way.highest:  # false for NaN
        raise ValueError(
            f"strength of {kind} is {strength:g}, expected 0 or {way.lowest:g} to {way.highest:g} {way.unit}"
        )
    worse = way.apply(image, landmarks, strength)
    return _without_colour(worse) if _is_grey(image) else worse


def eye_distance(landmarks: FloatArray) -> float:
    """Pixels between the eyes, as a face that looks at the camera would have them: a turned head does not shrink it.

    Args:
        landmarks: (5, 2).
    """
    to_face = similarity_transforms(landmarks[None], FACE)[0]
    return float(1 / np.hypot(to_face[0, 0], to_face[1, 0]))


def _is_grey(image: ImageArray) -> bool:
    red, green, blue = np.moveaxis(image, -1, 0)
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


def _without_colour(image: ImageArray) -> ImageArray:
    grey = np.rint(image @ _LUMA).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


# Light and sensor


def _exposed(image: ImageArray, stops: float) -> ImageArray:
    """`stops` more light, in linear light of sRGB; what 8 bits cannot hold is lost."""
    grey = np.arange(256) / 255
    linear = np.where(grey <= 0.04045, grey / 12.92, ((grey + 0.055) / 1.055) ** 2.4) * 2.0**stops
    back = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table = np.rint(255 * np.clip(back, 0, 1)).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8)


def _noisy(image: ImageArray, sd: float) -> ImageArray:
    """Gaussian noise, independent from channel to channel; its seed is the picture's own pixels."""
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    shape = (*image.shape[:2], 1) if _is_grey(image) else image.shape
    noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(sd)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _compressed(image: ImageArray, quality: float) -> ImageArray:
    """Through a JPEG file, colours at half the resolution as most cameras write them."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    if not done:
        raise ValueError(f"a picture of {image.shape[1]} x {image.shape[0]} pixels cannot be a JPEG file")
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


# Optics and geometry


def _blurred(image: ImageArray, landmarks: FloatArray, sigma: float) -> ImageArray:
    """Out of focus: a Gaussian of `sigma` eye distances."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma * eye_distance(landmarks)), dtype=np.uint8)


def _smeared(image: ImageArray, landmarks: FloatArray, length: float) -> ImageArray:
    """Moved during exposure: along a level path of `length` eye distances."""
    pixels = max(length * eye_distance(landmarks), 1.0)
    half = int(np.ceil((pixels - 1) / 2))
    kernel = np.ones(2 * half + 1)
    kernel[[0, -1]] = (pixels - (2 * half - 1)) / 2 if half else 1.0  # parts of a pixel at both ends
    return np.asarray(cv2.filter2D(image, -1, kernel[None] / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def _turned(image: ImageArray, landmarks: FloatArray, degrees: float) -> ImageArray:
    """Counter-clockwise about the face; what comes into the picture repeats its edge."""
    height, width = image.shape[:2]
    x, y = landmarks.mean(axis=0).tolist()
    matrix = cv2.getRotationMatrix2D((x, y), degrees, 1.0)
    turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, dtype=np.uint8)


def _small(image: ImageArray, landmarks: FloatArray, pixels: float) -> ImageArray:
    """Reduced until the eyes are `pixels` apart; never enlarged."""
    scale = pixels / eye_distance(landmarks)
    if scale >= 1:
        return image.copy()
    height, width = image.shape[:2]
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


# Things worn, drawn in the coordinates of `FACE`


class _Canvas:
    """Paints shapes given in eye distances on a picture, where the landmarks say that the face is."""

    def __init__(self, image: ImageArray, landmarks: FloatArray) -> None:
        self.image = image.copy()
        known = np.column_stack([FACE[_FLAT], np.ones(len(_FLAT))]).astype(np.float64)
        # not only turned and scaled: a head that looks aside is narrower, one that looks down is shorter
        self._to_picture = np.linalg.lstsq(known, landmarks[_FLAT].astype(np.float64), rcond=None)[0]
        nose = landmarks[2].astype(np.float64) - self._to_picture[2]
        away = np.linalg.lstsq(self._to_picture[:2].T, nose, rcond=None)[0]
        self.nose_x = float(np.clip(away[0], -0.5, 0.5))
        """How far the nose stands to the right: 0 for a face that looks at the camera."""

    def shape(self, outline: npt.ArrayLike, colour: tuple[int, int, int], opacity: float = 1.0) -> None:
        """Fill a polygon (K, 2); nothing of it needs to lie inside the picture."""
        points = (
            np.column_stack([np.asarray(outline, np.float64), np.ones(len(np.asarray(outline)))]) @ self._to_picture
        )
        height, width = self.image.shape[:2]
        x1, y1 = np.clip(np.floor(points.min(axis=0)) - 1, 0, (width, height)).astype(int)
        x2, y2 = np.clip(np.ceil(points.max(axis=0)) + 2, 0, (width, height)).astype(int)
        if x1 >= x2 or y1 >= y2:
            return
        mask = np.zeros(((y2 - y1) * _SAMPLES, (x2 - x1) * _SAMPLES), dtype=np.uint8)
        inside = (points - (x1, y1) + 0.5) * _SAMPLES - 0.5
        cv2.fillPoly(mask, [np.rint(inside).astype(np.int32)], 255)
        cover = cv2.resize(mask, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)[..., None] / 255 * opacity
        part = self.image[y1:y2, x1:x2]
        part[:] = np.rint(part * (1 - cover) + np.array(colour) * cover).astype(np.uint8)

    def line(self, a: tuple[float, float], b: tuple[float, float], width: float, colour: tuple[int, int, int]) -> None:
        """A straight line as a thin polygon; `width` in eye distances."""
        start, end = np.array(a), np.array(b)
        along = (end - start) / np.linalg.norm(end - start)
        across = np.array([-along[1], along[0]]) * width / 2
        self.shape([start + across, end + across, end - across, start - across], colour)


_JAW = ((0.25, 1.08), (0.6, 1.06), (1.15, 0.95), (1.5, 0.76), (1.75, 0.52), (1.9, 0.3), (1.97, 0.0))
"""(y, half the width of the face there), down to the chin."""
_WORN = np.array([[0, 0.5, 0.75, 1], [1.97, 1.14, 0.86, 0.62], [1.97, 0.97, 0.72, 0.26]])
"""Share of the mask that is worn, and the height of its upper edge at the cheeks and over the nose."""
_CLOTH, _FOLD, _BAND = (168, 200, 216), (138, 174, 194), (226, 232, 236)


def _masked(image: ImageArray, landmarks: FloatArray, share: float) -> ImageArray:
    """A surgical mask: 1 worn up to the bridge of the nose, 0.75 under its tip, 0.5 over the mouth alone."""
    canvas = _Canvas(image, landmarks)
    heights, widths = np.array(_JAW).T
    side, bridge = np.interp(share, *_WORN[[0, 1]]), np.interp(share, *_WORN[[0, 2]])

    def bent(points: npt.ArrayLike) -> Floats:  # it follows the nose, where the head looks aside
        moved = np.array(points, dtype=np.float64)
        moved[:, 0] += canvas.nose_x * np.clip(1 - (moved[:, 0] / 1.1) ** 2, 0, None)
        return moved

    half = float(np.interp(side, heights, widths))
    for sign in (-1, 1):
        ear = sign * (1.16 - 0.5 * max(sign * canvas.nose_x, 0))  # of a head that looks aside, one lies behind the face
        canvas.line((sign * half, side + 0.05), (ear, 0.1), 0.035, _BAND)
    across = np.linspace(-1, 1, 21)
    top = np.column_stack([across * half, side + (bridge - side) * np.cos(across * np.pi / 2) ** 0.8])
    below = heights[heights > side]
    edge = np.interp(below, heights, widths)
    right = np.column_stack([edge, below])
    outline = np.concatenate([top, right, right[::-1] * (-1, 1)])
    canvas.shape(bent(outline), _CLOTH)
    for y in (0.85, 1.15, 1.45):
        if y > side + 0.1:
            reach = float(np.interp(y, heights, widths)) * 0.93
            fold = np.column_stack([across * reach, y + 0.06 * np.cos(across * np.pi / 2)])
            canvas.shape(bent(np.concatenate([fold, fold[::-1] - (0, -0.03)])), _FOLD)
    return canvas.image


def _with_glasses(image: ImageArray, landmarks: FloatArray, opacity: float) -> ImageArray:
    """Dark glasses: the opacity of their lenses; the frame is opaque."""
    canvas = _Canvas(image, landmarks)
    turn = np.linspace(0, 2 * np.pi, 49)[:-1]
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    lens_shape = np.sign(circle) * np.abs(circle) ** (0.6, 0.7)
    frame, lens = (16, 16, 18), (10, 10, 12)
    for sign in (-1, 1):
        centre = np.array([sign * 0.53, 0.07])
        rim, glass = lens_shape * (0.45, 0.33) + centre, lens_shape * (0.41, 0.29) + centre
        canvas.shape(np.concatenate([rim, rim[:1], glass[:1], glass[::-1]]), frame)  # a ring
        canvas.shape(glass, lens, opacity)
        canvas.line((sign * 0.95, -0.04), (sign * 1.16, -0.02), 0.07, frame)
    canvas.line((-0.1, -0.02), (0.1, -0.02), 0.08, frame)
    return canvas.image


def _with_hat(image: ImageArray, landmarks: FloatArray, depth: float) -> ImageArray:
    """A woollen hat: 1 down to just above the eyes, 0.75 over the forehead, 0.5 over half of it."""
    canvas = _Canvas(image, landmarks)
    edge = -1.35 + depth * (1.35 - 0.2)
    turn = np.linspace(np.pi, 2 * np.pi, 41)
    top = -2.25
    # a head that looks aside is wider from front to back than its face, and lies behind it
    wider, behind = 1 + 0.8 * abs(canvas.nose_x), np.array([-0.9 * canvas.nose_x, 0])
    dome = np.column_stack([1.24 * np.cos(turn), edge + (top - edge) * np.abs(np.sin(turn)) ** 0.8])
    canvas.shape(dome * (wider, 1) + behind, (52, 58, 84))
    across = np.linspace(-1, 1, 21)
    brim = np.column_stack([1.27 * across, edge - 0.07 * (1 - across**2)])  # arched, as it goes round the head
    canvas.shape(np.concatenate([brim, brim[::-1] - (0, 0.34)]) * (wider, 1) + behind, (40, 45, 66))
    return canvas.image


def _kinds() -> dict[str, Kind]:
    eyes = "eye distances"
    found = (
        Kind("dark", "stops under", (1, 2, 3, 4, 5, 6), 0.01, 16, lambda image, _, stops: _exposed(image, -stops)),
        Kind("bright", "stops over", (0.5, 1, 1.5, 2, 3), 0.01, 16, lambda image, _, stops: _exposed(image, stops)),
        Kind("blur", f"sigma, {eyes}", (0.025, 0.05, 0.075, 0.1, 0.15, 0.2), 0.001, 2, _blurred),
        Kind("motion", f"path, {eyes}", (0.1, 0.2, 0.3, 0.45, 0.6), 0.001, 4, _smeared),
        Kind("noise", "sd, grey levels", (5, 10, 20, 30, 45, 60), 0.01, 255, lambda image, _, sd: _noisy(image, sd)),
        Kind("jpeg", "quality", (50, 30, 20, 10, 5), 1, 100, lambda image, _, quality: _compressed(image, quality)),
        Kind("mask", "share worn", (0.5, 0.75, 1), 0.01, 1, _masked),
        Kind("glasses", "opacity of lenses", (0.5, 0.75, 1), 0.01, 1, _with_glasses),
        Kind("hat", "share worn", (0.5, 0.75, 1), 0.01, 1, _with_hat),
        Kind("rotation", "degrees", (10, 20, 30, 45, 60, 90), -180, 180, _turned),
        Kind("size", "pixels between the eyes", (32, 24, 20, 16, 12, 8), 1, 10_000, _small),
    )
    return {kind.name: kind for kind in found}


KINDS: Mapping[str, Kind] = MappingProxyType(_kinds())
"""By name. Of `jpeg` and `size`, smaller strengths are harsher."""
