"""Somebody simulated who stands before the camera of a browser, reads on the page what is asked, and does it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mien.liveness.challenge import ACTIONS
from tests.liveness.acting import Actor, Face, Image, Manner, Nature, act

RATE = 15.0  # frames a second of the films, and of the camera
IDLE = 15.0  # seconds at rest: more than an attempt has, because motion that comes again is a loop
SLOW = Manner(0.35, 0.9, 0.35)  # eyes are closed for a second, as is asked


@dataclass(frozen=True)
class Camera:
    """A camera of a browser.

    Attributes:
        width, height: of its pictures.
        reaction: seconds from reading what is asked to beginning to do it.
    """

    width: int = 640
    height: int = 480
    reaction: float = 0.35


def films(actor: Actor, seed: int = 0) -> dict[str, list[str]]:
    """Each action, and "idle": JPEGs as base64, `RATE` a second. No two frames are the same."""
    random, nature = np.random.default_rng(seed), Nature(seed)

    def filmed(faces: Iterator[Face], start: float) -> list[str]:
        times = (start + k / RATE for k in range(10_000))
        return [_jpeg(actor.render(nature(face, time), random)) for face, time in zip(faces, times, strict=False)]

    made = {"idle": filmed((Face() for _ in range(round(IDLE * RATE))), 0.0)}
    for n, action in enumerate(ACTIONS):
        frames = round(SLOW.seconds * RATE) + 1
        made[action] = filmed((act(action, k / RATE, SLOW) for k in range(frames)), 20.0 + 5 * n)
    return made


def _jpeg(picture: Image) -> str:
    _, file = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return base64.b64encode(file.tobytes()).decode()


def stand_before(page: Any, made: dict[str, list[str]], asked: dict[str, str], camera: Camera | None = None) -> None:
    """Put somebody before the camera of a page that is not loaded yet; `seen_by` says what happened.

    Args:
        page: of Playwright.
        made: `films`.
        asked: what the page says, by action.
        camera: what they stand before.
    """
    lens = camera or Camera()
    page.add_init_script(SCRIPT)
    how = {"rate": RATE, "width": lens.width, "height": lens.height, "reaction": lens.reaction, "asked": asked}
    page.add_init_script(f"person.how = {_as_script(how)};")
    for name, frames in made.items():
        page.add_init_script(f"person.films[{_as_script(name)}] = {_as_script(frames)};")


def _as_script(value: Any) -> str:
    import json

    return json.dumps(value)


def read_by(page: Any) -> list[dict[str, Any]]:
    """What the page said, and when (seconds): all that stood in its task."""
    return page.evaluate("person.read")


SCRIPT = """
globalThis.person = {
  films: {}, how: null, read: [], resting: 0, doing: null,

  /** What the camera sees now: where in which film. A film is begun where something new is asked, after a while. */
  now(seconds) {
    const { asked, reaction, rate } = this.how;
    const text = document.querySelector(".task")?.textContent ?? "";
    if (text !== this.read.at(-1)?.text) {
      this.read.push({ text, at: seconds });
      const action = Object.keys(asked).find((name) => asked[name] === text);
      if (action) this.doing = { action, from: seconds + reaction };
    }
    const frame = this.doing ? Math.floor((seconds - this.doing.from) * rate) : -1;
    if (frame >= 0 && frame < this.films[this.doing.action].length) return [this.doing.action, frame];
    this.resting = (this.resting + 1) % this.films.idle.length;
    return ["idle", this.resting];
  },

  /** Grains that a sensor adds: as a tile that is laid elsewhere each time, so that no picture comes twice. */
  grains(width, height) {
    const canvas = new OffscreenCanvas(width, height);
    const pixels = new ImageData(width, height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      pixels.data.fill(Math.random() * 256, i, i + 3);
      pixels.data[i + 3] = 6;
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  },

  open() {
    const { width, height, rate } = this.how;
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    const to = canvas.getContext("2d");
    const tile = this.grains(width + 64, height + 64);
    const side = Math.min(width, height);
    const show = async () => {
      const [name, frame] = this.now(performance.now() / 1000);
      const bytes = Uint8Array.from(atob(this.films[name][frame]), (letter) => letter.charCodeAt(0));
      const picture = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
      to.fillStyle = "#6a6660";
      to.fillRect(0, 0, width, height);
      to.drawImage(picture, (width - side) / 2, (height - side) / 2, side, side);
      to.drawImage(tile, -64 * Math.random(), -64 * Math.random());
      picture.close();
    };
    show();
    const timer = setInterval(show, 1000 / rate);
    const stream = canvas.captureStream(rate * 2);
    const [track] = stream.getTracks();
    const stop = track.stop.bind(track);
    track.stop = () => { clearInterval(timer); stop(); };
    return stream;
  },
};
navigator.mediaDevices.getUserMedia = async () => person.open();
"""
