"""Simulated people and simulated attacks, made from photographs.

An `Actor` animates one photograph: the face is a surface in depth (half an ellipsoid and a nose, laid on the five
landmarks), so that a turn moves the nose against the cheeks and the head against what is behind it; mouth corners,
jaw and eyelids are moved by warps. `Shown` holds pictures, or a whole film, in front of a simulated camera as a print
or a screen. None of it is a person: docs/liveness.md says what that means for the figures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

Image = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

WIDTH = HEIGHT = 256
NOSE_BUMP = 0.30  # eye distances that the nose stands out of the ellipsoid
DEEP = 0.9  # of the ellipsoid


@dataclass(frozen=True)
class Face:
    """What a face does: yaw in degrees (above 0: to the right of the picture), shifts in pixels, the others 0 to 1."""

    yaw: float = 0.0
    smile: float = 0.0
    mouth: float = 0.0
    shut: float = 0.0
    dx: float = 0.0
    dy: float = 0.0
    gain: float = 1.0


class Actor:
    """A photograph that moves.

    Args:
        image: (H, W, 3) uint8 RGB; cut and scaled to `WIDTH` x `HEIGHT` around the face.
        landmarks: (5, 2) of the face.
        eyes: distance between the eyes in the frames, in pixels.
    """

    def __init__(self, image: Image, landmarks: Floats, eyes: float = 42.0) -> None:
        points = np.asarray(landmarks, np.float64)
        scale = eyes / np.linalg.norm(points[1] - points[0])
        centre = points.mean(axis=0)
        to_frame = np.array([[scale, 0, WIDTH / 2 - scale * centre[0]], [0, scale, HEIGHT * 0.5 - scale * centre[1]]])
        how = {"flags": cv2.INTER_AREA if scale < 0.7 else cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
        soft = cv2.GaussianBlur(image, (0, 0), 0.4 / scale) if scale < 0.7 else image
        self.photo = cv2.warpAffine(soft, to_frame, (WIDTH, HEIGHT), **how)  # type: ignore[call-overload]
        self.landmarks = points @ to_frame[:, :2].T + to_frame[:, 2]
        left, right = self.landmarks[:2]
        self._d = float(np.linalg.norm(right - left))
        self._x = (right - left) / self._d
        self._y = np.array([-self._x[1], self._x[0]])
        self._origin = (left + right) / 2
        # a photograph is never quite frontal: the mouth's middle says where v = 1 is
        self._mouth = self._to_face(self.landmarks[3:].mean(axis=0)[None])[0]
        self._corners = self._to_face(self.landmarks[3:])
        rows, columns = np.mgrid[0:HEIGHT:2, 0:WIDTH:2]
        self._grid = self._to_face(np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float64))

    def _to_face(self, xy: Floats) -> Floats:
        off = xy - self._origin
        return np.stack([off @ self._x, off @ self._y], axis=-1) / self._d

    def _to_frame(self, uv: Floats) -> Floats:
        return self._origin + self._d * (uv[:, :1] * self._x + uv[:, 1:] * self._y)

    def render(self, face: Face, noise: np.random.Generator | None = None, sigma: float = 2.0) -> Image:
        """A frame, (256, 256, 3) uint8 RGB."""
        at = self._grid - np.array([face.dx, face.dy]) / self._d * _inside(self._grid)[:, None]
        at = _unturned(at, np.radians(face.yaw))
        inner, at = self._opened(at, face.mouth)
        at = self._unsmiled(at, face.smile)
        lash, at = self._unshut(at, face.shut)
        source = self._to_frame(at).reshape(HEIGHT // 2, WIDTH // 2, 2).astype(np.float32)
        maps = cv2.resize(source, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        frame = cv2.remap(self.photo, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).astype(
            np.float32
        )
        if face.mouth > 0:
            frame = _painted(frame, *self._inside_of_mouth(inner))
        if face.shut > 0:
            frame *= 1 - 0.6 * _enlarged(lash)[..., None]
        return camera(frame * face.gain, noise, sigma)

    def _opened(self, at: Floats, t: float) -> tuple[Floats, Floats]:
        """Undo an open mouth; also how deep in its inside each place is, 0 to 1, from the upper lip."""
        u, v = at[:, 0] - self._mouth[0], at[:, 1]
        half = max(float(np.ptp(self._corners[:, 0])) / 2, 0.25)
        line = self._mouth[1] + 0.02
        gap = 0.55 * t * np.sqrt(np.clip(1 - (u / (0.85 * half)) ** 2, 0, 1))
        jaw = 0.40 * t * np.exp(-((u / 0.75) ** 4))
        shift = np.maximum(gap, jaw * np.clip((v - line) / 0.3, 0, 1))
        fade = np.clip((2.6 - v) / (2.6 - line - 0.3), 0, 1)
        below = v > line
        inner = np.where(below & (v < line + gap) & (gap > 0), (v - line) / np.maximum(gap, 1e-6), -1.0)
        moved = np.where(below, np.maximum(v - shift * fade, line), v)
        return inner, np.stack([at[:, 0], moved], axis=-1)

    def _inside_of_mouth(self, inner: Floats) -> tuple[Floats, Floats]:
        """Colours and how much of them: teeth above, dark, a tongue below."""
        depth = inner[:, None]
        dark, teeth, tongue = np.array([38.0, 14, 14]), np.array([190.0, 182, 170]), np.array([120.0, 52, 50])
        colour = np.where(depth < 0.16, teeth, np.where(depth > 0.72, tongue, dark))
        return colour, (inner >= 0).astype(np.float64)

    def _unsmiled(self, at: Floats, t: float) -> Floats:
        if t == 0:
            return at
        out = at.copy()
        for corner, side in zip(self._corners, (-1.0, 1.0), strict=True):
            pulls = (
                (corner + np.array([side * 0.14, -0.10]), (side * 0.15, -0.13), 0.26),
                (corner + np.array([side * 0.32, -0.38]), (side * 0.05, -0.07), 0.25),
                (np.array([side * 0.5, 0.17]), (0.0, -0.05), 0.16),
            )
            for centre, pull, width in pulls:
                near = np.exp(-((at - centre) ** 2).sum(axis=1) / (2 * width**2))
                out -= t * near[:, None] * np.array(pull)
        return out

    def _unshut(self, at: Floats, t: float) -> tuple[Floats, Floats]:
        lash = np.zeros(len(at))
        out = at.copy()
        if t == 0:
            return lash, out
        for centre in (-0.5, 0.5):
            u, v = at[:, 0] - centre, at[:, 1]
            width = np.clip(1 - (np.abs(u) / 0.27) ** 4, 0, 1)
            top, edge = -0.13, -0.13 + (0.24 * t) * np.sqrt(np.clip(1 - (u / 0.30) ** 2, 0, 1))
            lid = (v > top) & (v < edge)
            skin = top - 0.03 - (edge - v) * 0.25
            out[:, 1] = np.where(lid, v + (skin - v) * np.clip(width * 3, 0, 1), out[:, 1])
            lash = np.maximum(lash, width * np.exp(-(((v - edge) / 0.025) ** 2)))
        return lash * min(t * 2, 1.0), out


def camera(frame: Floats, noise: np.random.Generator | None, sigma: float = 2.0) -> Image:
    """What a sensor makes of light: noise, and whole numbers."""
    if noise is not None:
        frame = frame + noise.normal(0, sigma, frame.shape)
    return np.clip(frame + 0.5, 0, 255).astype(np.uint8)


def _depth(at: Floats) -> Floats:
    u, v = at[:, 0], at[:, 1]
    r2 = (u / 1.05) ** 2 + ((v - 0.45) / 1.5) ** 2
    nose = np.exp(-(u**2) / (2 * 0.16**2) - (v - 0.5) ** 2 / (2 * 0.2**2))
    return DEEP * np.clip(1 - r2, 0, 1) ** 0.75 + NOSE_BUMP * nose


def _inside(at: Floats) -> Floats:
    """1 on the head, 0 away from it."""
    r = np.sqrt((at[:, 0] / 1.05) ** 2 + ((at[:, 1] - 0.45) / 1.6) ** 2)
    x = np.clip((1.75 - r) / 0.75, 0, 1)
    return x * x * (3 - 2 * x)


def _unturned(at: Floats, yaw: float) -> Floats:
    """Where in the frontal face each place of the turned one comes from, by iteration."""
    if yaw == 0:
        return at
    source = at.copy()
    for _ in range(7):
        moved = source[:, 0] * (np.cos(yaw) - 1) + _depth(source) * np.sin(yaw)
        source[:, 0] = at[:, 0] - _inside(source) * moved
    return source


def _painted(frame: Floats, colour: Floats, share: Floats) -> Floats:
    alpha = _enlarged(share)[..., None]
    size = (HEIGHT // 2, WIDTH // 2, 3)
    paint = cv2.resize(colour.reshape(size).astype(np.float32), (WIDTH, HEIGHT))
    return frame * (1 - alpha) + paint * alpha


def _enlarged(values: Floats) -> Floats:
    small = values.reshape(HEIGHT // 2, WIDTH // 2).astype(np.float32)
    return cv2.GaussianBlur(cv2.resize(small, (WIDTH, HEIGHT)), (0, 0), 0.7)


class Nature:
    """How living people never hold still: slow sway of the head, its angle and the light.

    Args:
        seed: of the sway.
        strength: 0 for none.
    """

    def __init__(self, seed: int, strength: float = 1.0) -> None:
        random = np.random.default_rng(seed)
        self._strength = strength
        self._waves = [
            [(random.uniform(0.12, 1.1), random.uniform(0, 2 * np.pi), random.normal()) for _ in range(5)]
            for _ in range(4)
        ]
        blinks = np.cumsum(random.gamma(4.0, 1.0, 60))
        self._blinks = blinks[blinks < 120]

    def __call__(self, face: Face, time: float, *, blinks: bool = True) -> Face:
        """The same face at some time, in seconds."""
        dx, dy, yaw, light = (
            self._strength * sum(a * np.sin(2 * np.pi * f * time + p) for f, p, a in waves) for waves in self._waves
        )
        near = np.abs(self._blinks - time).min(initial=9.0)
        shut = max(face.shut, float(np.clip(1.6 - near / 0.08, 0, 1))) if blinks else face.shut
        return replace(
            face,
            dx=face.dx + 0.5 * dx,
            dy=face.dy + 0.35 * dy,
            yaw=face.yaw + 0.35 * yaw,
            gain=1 + 0.008 * light,
            shut=shut,
        )


# Actions over time: seconds since the action began to what the face does


def bump(time: float, rise: float, hold: float, fall: float) -> float:
    """0, up to 1 within `rise`, there for `hold`, down within `fall`; smooth."""
    if time < rise:
        x = time / rise
    elif time < rise + hold:
        x = 1.0
    else:
        x = 1 - (time - rise - hold) / fall
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


@dataclass(frozen=True)
class Manner:
    """How somebody does things: seconds, and how far."""

    rise: float = 0.45
    hold: float = 0.6
    fall: float = 0.45
    strength: float = 1.0

    @property
    def seconds(self) -> float:
        """In all."""
        return self.rise + self.hold + self.fall


TURN = 27.0  # degrees


def act(action: str, time: float, manner: Manner) -> Face:
    """What a face does `time` seconds into an action."""
    level = bump(time, manner.rise, manner.hold, manner.fall) * manner.strength
    if action == "smile":
        return Face(smile=level)
    if action == "open-mouth":
        return Face(mouth=min(level, 1.2))
    if action == "blink":
        return Face(shut=min(level / manner.strength, 1.0))
    return Face(yaw=level * (TURN if action == "turn-left" else -TURN))


# Pictures of pictures


class Shown:
    """Holds a picture in front of a camera: a print or a screen, in a room.

    Args:
        room: (256, 256, 3) what is behind it.
        screen: whether it glows in rows and columns, which the camera's own rows and columns beat with.
        size: of the picture, as a part of the frame.
    """

    def __init__(self, room: Image, *, screen: bool = False, size: float = 0.86) -> None:
        self._room = cv2.GaussianBlur(room, (0, 0), 6).astype(np.float32) * 0.8
        self._screen, self._size = screen, size
        self._rim = 255.0 if not screen else 12.0

    def __call__(
        self,
        picture: Image,
        *,
        move: tuple[float, float] = (0, 0),
        angle: float = 0,
        zoom: float = 1,
        tilt: float = 0,
        bend: float = 0,
        gain: float = 1,
    ) -> Floats:
        """What the lens sees, float (256, 256, 3), before the sensor; angles in degrees, tilt about the upright axis.

        bend: radians of the cylinder that the picture covers.
        """  # fmt: skip
        source = cv2.copyMakeBorder(picture, 7, 7, 7, 7, cv2.BORDER_CONSTANT, value=(self._rim,) * 3).astype(np.float32)
        if self._screen:
            source = self._glow(source)
        side = source.shape[0]
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
        x = (columns - WIDTH / 2 - move[0]) / (WIDTH * self._size * zoom / 2)
        y = (rows - HEIGHT / 2 - move[1]) / (HEIGHT * self._size * zoom / 2)
        a = np.radians(angle)
        x, y = np.cos(a) * x + np.sin(a) * y, np.cos(a) * y - np.sin(a) * x
        s, t = _on_picture(x, y, np.radians(tilt), bend)
        maps = np.stack([(s + 1) * side / 2 - 0.5, (t + 1) * side / 2 - 0.5], axis=-1).astype(np.float32)
        seen = cv2.remap(source, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        there = ((np.abs(s) < 1) & (np.abs(t) < 1)).astype(np.float32)
        alpha = cv2.GaussianBlur(there, (0, 0), 0.6)[..., None]
        soft = cv2.GaussianBlur(seen, (0, 0), 0.5)
        return (soft * alpha + self._room * (1 - alpha)) * gain

    def _glow(self, picture: Floats) -> Floats:
        """Rows and columns of a screen as a camera beats with them: low contrast, a little aslant."""
        side = picture.shape[0]
        rows, columns = np.mgrid[0:side, 0:side]
        beat = np.sin(2 * np.pi * (0.31 * columns + 0.021 * rows)) + np.sin(2 * np.pi * (0.29 * rows - 0.017 * columns))
        return picture * (1 + 0.035 * beat[..., None]).astype(np.float32)


def _on_picture(x: Floats, y: Floats, tilt: float, bend: float) -> tuple[Floats, Floats]:
    """Rays to places on a picture, each -1 to 1: tilted about its upright axis, or bent around one and then tilted.

    The camera is 3 half widths away. By search along the picture: for each ray the place that projects to it.
    """
    away = 3.0
    s = x.copy()
    for _ in range(25):
        px, pz = _place(s, tilt, bend)
        s = s + 0.7 * (x * (away - pz) / away - px)
        s = np.clip(s, -1.6, 1.6)
    _, pz = _place(s, tilt, bend)
    return s, y * (away - pz) / away


def _place(s: Floats, tilt: float, bend: float) -> tuple[Floats, Floats]:
    """Across and towards the camera of places on the picture."""
    if bend:
        radius = 2.0 / bend
        flat_x, flat_z = radius * np.sin(s / radius), radius * (np.cos(s / radius) - 1)
    else:
        flat_x, flat_z = s, np.zeros_like(s)
    return np.cos(tilt) * flat_x + np.sin(tilt) * flat_z, np.cos(tilt) * flat_z - np.sin(tilt) * flat_x
