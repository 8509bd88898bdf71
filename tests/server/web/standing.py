"""Somebody simulated who stands before the camera of a browser, reads on the page what is asked, and does it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import cv2

from mien.liveness.challenge import ACTIONS
from tests.liveness.acting import HEIGHT, WIDTH, Actor, Face, Image, Manner, Nature, act

EYES = 60.0  # pixels between the eyes in frames of 640 pixels: half a metre from a laptop
RATE = 15.0  # frames a second of the films
IDLE = 16.0  # seconds at rest: more than an attempt has, because motion that comes again is a loop
CLEARLY = Manner(0.35, 0.9, 0.35, strength=1.3)  # eyes are closed for a second, as is asked

Films = dict[str, list[str]]
"""Each action, and "idle": JPEGs as base64, `RATE` a second."""


@dataclass(frozen=True)
class Camera:
    """A camera of a browser, and who stands before it.

    Attributes:
        width, height: of its pictures.
        fps: frames a second.
        reaction: seconds from reading what is asked to beginning to do it.
        patience: seconds after which it is done again, where it was not seen.
        speed: of the time in which they live; below 1 they do everything slowly.
    """

    width: int = 640
    height: int = 360
    fps: float = 15.0
    reaction: float = 0.35
    patience: float = 0.6
    speed: float = 1.0


def films(actor: Actor, seed: int = 0) -> Films:
    """What somebody looks like at rest and while they do things; no two frames are the same.

    Args:
        actor: with `EYES` between their eyes.
        seed: of their sway and blinks.
    """
    nature = Nature(seed)

    def filmed(faces: Iterable[Face], start: float) -> list[str]:
        return [_jpeg(actor.render(nature(face, start + k / RATE))) for k, face in enumerate(faces)]

    made = {"idle": filmed((Face() for _ in range(round(IDLE * RATE))), 0.0)}
    for n, action in enumerate(ACTIONS):
        frames = round(CLEARLY.seconds * RATE) + 1
        made[action] = filmed((act(action, k / RATE, CLEARLY) for k in range(frames)), 20.0 + 5 * n)
    return made


def _jpeg(picture: Image) -> str:
    _, file = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return base64.b64encode(file.tobytes()).decode()


def stand_before(page: Any, made: Films, asked: dict[str, str], camera: Camera | None = None) -> None:
    """Put somebody before the camera of a page that is loaded afterwards.

    Args:
        page: of Playwright.
        made: `films`.
        asked: what the page says to ask for each action.
        camera: what they stand before.
    """
    how = {"rate": RATE, "size": [WIDTH / 640, HEIGHT / 640], "asked": asked, **asdict(camera or Camera())}
    page.add_init_script(SCRIPT)
    page.add_init_script(f"Object.assign(person, {json.dumps({'films': made, 'how': how})});")


def begin(page: Any, speed: float) -> None:
    """Somebody is about to try, and from now on lives so fast."""
    page.evaluate("speed => person.begin(speed)", speed)


def read_by(page: Any) -> list[dict[str, Any]]:
    """What the page showed at this try, in order: `at` seconds, `text` of the task, `done` dots of `dots`."""
    read: list[dict[str, Any]] = page.evaluate("person.read")
    return read


SCRIPT = """
globalThis.person = {
  resting: 0,

  begin(speed) {
    this.how.speed = speed;
    Object.assign(this, { read: [], doing: null, before: null });
  },

  /** Look at the page. */
  look(seconds) {
    const text = document.querySelector(".task")?.textContent ?? "";
    const dots = document.querySelectorAll(".dots li").length;
    const done = document.querySelectorAll(".dots li.done").length;
    const now = { text, done, dots };
    const { at, ...last } = this.read.at(-1) ?? {};
    if (JSON.stringify(now) !== JSON.stringify(last)) this.read.push({ ...now, at: seconds });
    return Object.keys(this.how.asked).find((name) => this.how.asked[name] === text);
  },

  /** What the camera sees now: which film, and where in it. */
  now(seconds) {
    const { reaction, patience, rate } = this.how;
    const asked = this.look(seconds);
    const over = this.doing && seconds > this.doing.until;
    if (asked && (asked !== this.doing?.action || (over && seconds > this.doing.until + patience))) {
      const from = seconds + reaction;
      this.doing = { action: asked, from, until: from + this.films[asked].length / rate };
    } else if (!asked && over) {
      this.doing = null;
    }
    const frame = this.doing ? Math.floor((seconds - this.doing.from) * rate) : -1;
    if (frame >= 0 && frame < this.films[this.doing.action].length) return [this.doing.action, frame];
    this.resting += seconds - (this.before ?? seconds);
    return ["idle", Math.floor(this.resting * rate) % this.films.idle.length];
  },

  picture([name, frame]) {
    const bytes = Uint8Array.from(atob(this.films[name][frame]), (letter) => letter.charCodeAt(0));
    return createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  },

  /** Grains as a sensor adds them: a tile that is laid elsewhere each time, so that no picture comes twice. */
  grains(width, height) {
    const pixels = new ImageData(width, height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      pixels.data.fill(Math.random() * 256, i, i + 3);
      pixels.data[i + 3] = 6;
    }
    const tile = new OffscreenCanvas(width, height);
    tile.getContext("2d").putImageData(pixels, 0, 0);
    return tile;
  },

  /** What is behind them. */
  async room(width, height) {
    const room = new OffscreenCanvas(width, height);
    const to = room.getContext("2d");
    to.filter = `blur(${width / 16}px) brightness(0.8)`;
    to.drawImage(await this.picture(["idle", 0]), -width / 4, -height / 4, width * 1.5, height * 1.5);
    return room;
  },

  async open() {
    const { width, height, fps, size } = this.how;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const to = canvas.getContext("2d");
    const [grains, room] = [this.grains(width + 64, height + 64), await this.room(width, height)];
    const [across, down] = size.map((share) => share * Math.max(width, height));
    let showing = false;
    const show = async () => {
      if (showing) return; // a machine too slow for its camera drops frames
      showing = true;
      const seconds = this.how.speed * performance.now() / 1000;
      const picture = await this.picture(this.now(seconds));
      this.before = seconds;
      to.drawImage(room, 0, 0);
      to.drawImage(picture, (width - across) / 2, (height - down) / 2, across, down);
      to.drawImage(grains, -64 * Math.random(), -64 * Math.random());
      picture.close();
      showing = false;
    };
    await show();
    const timer = setInterval(show, 1000 / fps);
    const stream = canvas.captureStream();
    const [track] = stream.getTracks();
    const stop = track.stop.bind(track);
    track.stop = () => { clearInterval(timer); stop(); };
    return stream;
  },
};
navigator.mediaDevices.getUserMedia = () => person.open();
"""
