"""Attempts as video files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.liveness.acting import HEIGHT, WIDTH, Actor, Face, Image, Manner, Nature, Shown, act, camera

RATE = 10


def write_video(path: Path, images: Iterable[Image]) -> None:
    """An MP4 at `RATE` pictures a second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, RATE)
        stream.options = {"crf": "18", "preset": "ultrafast"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def record_person(path: Path, actor: Actor, asked: dict[str, float], *, seed: int = 0, reaction: float = 0.4) -> None:
    """Somebody who does what was asked, when it was asked; and the file that says so."""
    random, nature, manner = np.random.default_rng(seed), Nature(seed), Manner(0.35, 0.45, 0.35)
    images = []
    for k in range(int((max(asked.values()) + 3.0) * RATE)):
        time = k / RATE
        face = Face()
        for action, begin in asked.items():
            if 0 <= time - begin - reaction < manner.seconds:
                face = act(action, time - begin - reaction, manner)
        images.append(actor.render(nature(face, time, blinks=False), random))
    write_video(path, images)
    told = {"challenge": list(asked), "asked": list(asked.values())}
    path.with_suffix(".json").write_text(json.dumps(told))


def record_print(path: Path, actor: Actor, *, seconds: float = 4.0) -> None:
    """A photograph that is held in front of the camera, and moved."""
    random, shown, picture = np.random.default_rng(1), Shown(actor.photo[::-1]), actor.render(Face())
    times = np.arange(int(seconds * RATE)) / RATE
    write_video(path, [camera(shown(picture, move=(5 * np.sin(t), 3 * np.cos(2 * t))), random) for t in times])
