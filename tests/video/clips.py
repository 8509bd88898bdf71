"""Short videos made of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mien.video.render import Writer


def clip(path: Path, pictures: list[Path | None], *, seconds: float = 1.0, fps: int = 10, side: int = 240) -> Path:
    """A video that shows each picture for some seconds; None: nothing but grey."""
    with Writer(path, start=0.0) as writer:
        time = 0.0
        for picture in pictures:
            image = _square(picture, side)
            for _ in range(round(seconds * fps)):
                writer(time, image)
                time += 1 / fps
    return path


def _square(picture: Path | None, side: int) -> np.ndarray:
    if picture is None:
        return np.full((side, side, 3), 128, dtype=np.uint8)
    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB").resize((side, side)))
