"""Videos made in memory: heads from photographs, moved over a background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from mien.ops.image import load_image
from mien.types import ImageArray
from mien.video.frames import Frame

PHOTOS = Path(__file__).parents[1] / "photos"
WIDTH, HEIGHT, FPS = 384, 240, 15
HEADS = {"grace": ("grace_hopper.jpg", (150, 45, 360, 345)), "eileen": ("astronaut.jpg", (165, 15, 295, 215))}
"""By name: photograph, and x1 y1 x2 y2 of the head in it."""

Place = Callable[[int], tuple[float, float] | None]
"""Frame number to the centre of a head in pixels; None: not there."""


@dataclass(frozen=True)
class Actor:
    """A head that moves; those that come later in a scene are in front.

    Attributes:
        who: of `HEADS`.
        place: where.
        height: of the head, in pixels.
    """

    who: str
    place: Place
    height: int = 110


def still(x: float, y: float = 120.0) -> Place:
    return lambda _i: (x, y)


def moving(start: float, end: float, frames: int, y: float = 120.0) -> Place:
    """Straight from one x to another."""
    return lambda i: (start + (end - start) * min(i / (frames - 1), 1.0), y)


def scene(
    actors: Sequence[Actor],
    frames: int,
    *,
    over: Callable[[ImageArray, int], None] | None = None,
    seed: int = 0,
    first: int = 0,
) -> list[Frame]:
    """Film it.

    Args:
        actors: who plays.
        frames: how many.
        over: draws over a frame, given its number.
        seed: of the background.
        first: number of the first frame; actors count from 0.
    """
    film = []
    for i in range(frames):
        image = background(seed).copy()
        for actor in actors:
            if (place := actor.place(i)) is not None:
                _paste(image, *_head(actor.who, actor.height), place)
        if over is not None:
            over(image, i)
        film.append(Frame(first + i, (first + i) / FPS, image))
    return film


def bar(left: int, right: int) -> Callable[[ImageArray, int], None]:
    """An upright bar that hides what is behind it."""

    def draw(image: ImageArray, _i: int) -> None:
        image[:, max(left, 0) : right] = (90, 70, 50)

    return draw


@cache
def background(seed: int) -> ImageArray:
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 200, (9, 12, 3)).astype(np.uint8)
    large = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(large + rng.normal(0, 6, large.shape), 0, 255), dtype=np.uint8)


@cache
def _head(who: str, height: int) -> tuple[ImageArray, np.ndarray]:
    """The head and (H, W, 1) how opaque it is: an ellipse with a soft rim."""
    photo, (x1, y1, x2, y2) = HEADS[who]
    cut = load_image(PHOTOS / photo)[y1:y2, x1:x2]
    width = round(height * (x2 - x1) / (y2 - y1))
    head = np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 2 - 2, height // 2 - 2), 0, 0, 360, 1.0, -1)
    return head, cv2.GaussianBlur(mask, (0, 0), 2)[:, :, None]


def _paste(image: ImageArray, head: ImageArray, mask: np.ndarray, centre: tuple[float, float]) -> None:
    """Over a picture, to parts of a pixel; what lies outside is cut off."""
    height, width = head.shape[:2]
    shift = np.array([[1, 0, centre[0] - width / 2], [0, 1, centre[1] - height / 2]], dtype=np.float64)
    size = image.shape[1], image.shape[0]
    moved = cv2.warpAffine(head, shift, size, flags=cv2.INTER_LINEAR)
    opaque = cv2.warpAffine(mask, shift, size, flags=cv2.INTER_LINEAR)[:, :, None]
    image[:] = (opaque * moved + (1 - opaque) * image).astype(np.uint8)
