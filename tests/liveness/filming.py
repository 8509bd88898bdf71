"""Clips: simulated people and attacks filmed, and what mien's networks see in them, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from mien import FaceAnalyzer
from mien.liveness.challenge import ACTIONS
from mien.liveness.observing import TASKS, Look, Observation, observe
from mien.liveness.signs import Signs
from tests.liveness.acting import WIDTH, Actor, Face, Image, Manner, Nature, Shown, act, bump, camera

RATE = 12.0
EMBED_EVERY = 4
REST = 0.25  # seconds of rest at the end of a clip

Films = Iterator[tuple[str, list[Image]]]


def manner(random: np.random.Generator) -> Manner:
    """How somebody does something, some day."""
    rise, hold, fall = random.uniform(0.3, 0.6), random.uniform(0.4, 0.9), random.uniform(0.3, 0.6)
    return Manner(rise, hold, fall, random.uniform(0.95, 1.15))


def film_person(actor: Actor, seed: int, *, idle: float = 16.0) -> Films:
    """A living person: `idle`, and one clip for each action; sensor noise and sway."""
    random = np.random.default_rng(seed)
    nature = Nature(seed)
    frames = int(idle * RATE)
    yield "idle", [actor.render(nature(Face(), k / RATE), random) for k in range(frames)]
    for n, action in enumerate(ACTIONS):
        how = manner(random)
        start = 20.0 + 5 * n
        count = int((how.seconds + REST) * RATE) + 1
        yield action, [actor.render(nature(act(action, k / RATE, how), start + k / RATE), random) for k in range(count)]


@dataclass(frozen=True)
class Prints:
    """Pictures that an attacker has of somebody.

    Attributes:
        actor: the photograph; attackers can edit it as well as we can.
        smiling: another photograph, of the same person, smiling; framed likewise.
        room: what is behind the attacker.
    """

    actor: Actor
    smiling: Image
    room: Image


def film_attacks(prints: Prints, seed: int) -> Films:
    """Clips of attacks, named KIND/CLIP; CLIP is `idle` or the action that it is meant to pass for."""
    random = np.random.default_rng(seed)
    yield from _printed(prints, random)
    yield from _cut_out(prints, random)
    yield from _swapped(prints, random)


def film_album(prints: Prints, seed: int) -> Films:
    """The same of an attacker who has a picture for everything that can be asked."""
    yield from _album(prints, np.random.default_rng(seed))


def _tremor(random: np.random.Generator) -> Nature:
    return Nature(int(random.integers(1 << 31)))


def _held(
    prints: Prints,
    random: np.random.Generator,
    pictures: Sequence[Image],
    *,
    moves: Sequence[Mapping[str, Any]] | None = None,
) -> list[Image]:
    """Pictures one after the other, printed and held in a hand that trembles."""
    shown, tremor = Shown(prints.room), _tremor(random)
    out = []
    for k, picture in enumerate(pictures):
        sway = tremor(Face(), k / RATE, blinks=False)
        how = {"move": (sway.dx, sway.dy), "angle": 0.2 * sway.yaw, "gain": sway.gain} | dict(moves[k] if moves else {})
        out.append(camera(shown(picture, **how), random))
    return out


def _printed(prints: Prints, random: np.random.Generator) -> Films:
    neutral = prints.actor.render(Face())
    n = 24
    wave = [bump(k / RATE, 0.6, 0.5, 0.6) for k in range(n)]
    yield "print/idle", _held(prints, random, [neutral] * 24)
    moved = [{"move": (16 * w, -6 * w), "angle": 9 * w} for w in wave]
    yield "print/moved", _held(prints, random, [neutral] * n, moves=moved)
    yield "print/zoomed", _held(prints, random, [neutral] * n, moves=[{"zoom": 1 + 0.35 * w} for w in wave])
    for side, sign in (("turn-left", 1.0), ("turn-right", -1.0)):
        tilted = [{"tilt": sign * 48 * w} for w in wave]
        yield f"tilted/{side}", _held(prints, random, [neutral] * n, moves=tilted)
        bent = [{"tilt": sign * 40 * w, "bend": 0.2 + 1.7 * w} for w in wave]
        yield f"bent/{side}", _held(prints, random, [neutral] * n, moves=bent)
        squeezed = [_squeezed(neutral, 1 - 0.35 * w) for w in wave]
        yield f"squeezed/{side}", [camera(picture.astype(np.float64), random) for picture in squeezed]


def _squeezed(picture: Image, share: float) -> Image:
    width = picture.shape[1]
    change = np.array([[share, 0, width / 2 * (1 - share)], [0, 1, 0]])
    return cv2.warpAffine(picture, change, (width, picture.shape[0]), borderMode=cv2.BORDER_REFLECT_101)


def _cut_out(prints: Prints, random: np.random.Generator) -> Films:
    """Holes for the eyes or the mouth of whoever is behind: what moves is real, all else is paper."""
    how = manner(random)
    count = int((how.seconds + REST) * RATE) + 1
    for kind, action in (("eyes", "blink"), ("mouth", "open-mouth")):
        pictures = [prints.actor.render(act(action, k / RATE, how)) for k in range(count)]
        yield f"{kind}/{action}", _held(prints, random, pictures)


def _swapped(prints: Prints, random: np.random.Generator) -> Films:
    neutral, smiling = prints.actor.render(Face()), prints.smiling
    before, shown, after = 3, 14, 6
    order = [neutral] * before + [smiling] * shown + [neutral] * after
    yield "swap/smile", _held(prints, random, order)
    yield "fade/smile", _held(prints, random, _faded(neutral, smiling))
    for side, yaw in (("turn-left", 12.0), ("turn-right", -12.0)):
        # the attacker's photograph is turned a little, to the other side; mirrored it is turned to this one
        away = prints.actor.render(Face(yaw=-yaw))
        yield f"mirrored/{side}", _held(prints, random, [away] * 10 + [cv2.flip(away, 1)] * shown + [away] * after)


def _faded(one: Image, other: Image) -> list[Image]:
    shares = [bump(k / RATE, 0.5, 0.7, 0.5) for k in range(24)]
    return [cv2.addWeighted(one, 1 - w, other, w, 0) for w in shares]


def _album(prints: Prints, random: np.random.Generator) -> Films:
    """An edited picture for every action, each held still: swapped on a screen, or faded in and out."""
    neutral = prints.actor.render(Face())
    still = Manner(1e-9, 99.0)
    for action in ACTIONS:
        picture = prints.actor.render(act(action, 1.0, still))
        length = 6 if action == "blink" else 12
        yield f"album-swap/{action}", _held(prints, random, [neutral] * 3 + [picture] * length + [neutral] * 6)
        yield f"album-fade/{action}", _held(prints, random, _faded(neutral, picture))


def on_screen(pictures: Sequence[Image], room: Image, random: np.random.Generator, *, size: float = 0.9) -> list[Image]:
    """A film shown on a screen and filmed again."""
    shown = Shown(room, screen=True, size=size)
    return [camera(shown(picture), random) for picture in pictures]


LOOPS = ("noise-short", "noise-long", "jpeg-short", "jpeg-long", "screen", "hand")


def film_loops(pictures: Sequence[Image], room: Image, seed: int, *, seconds: float = 7.0) -> Films:
    """A piece of a film, again and again, no frame of it twice the same.

    With noise of its own on each; compressed again, each at another quality; on a screen that stands; in a hand.
    """
    random = np.random.default_rng(seed)
    for name in LOOPS:
        longest = 1.25 if name.endswith("short") else 3.0
        length = int(random.uniform(0.75 if longest < 2 else 1.25, longest) * RATE)
        start = int(random.integers(len(pictures) - length))
        piece = list(pictures[start : start + length]) * int(np.ceil(seconds * RATE / length))
        yield f"loop/{name}", list(_copies(piece, name, room, random))


def _copies(piece: Sequence[Image], name: str, room: Image, random: np.random.Generator) -> Iterator[Image]:
    shown, tremor = Shown(room, screen=True), _tremor(random)
    for k, picture in enumerate(piece):
        if name.startswith("noise"):
            yield camera(picture.astype(np.float64), random, 4.0)
        elif name.startswith("jpeg"):
            yield compressed(picture, int(random.integers(40, 90)))
        else:
            sway = tremor(Face(), k / RATE, blinks=False)
            how = {"move": (sway.dx, sway.dy), "angle": 0.2 * sway.yaw} if name == "hand" else {}
            yield camera(shown(picture, **how), random)


def compressed(picture: Image, quality: int) -> Image:
    """A picture after JPEG."""
    _, file = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1])


# What the networks see


class Watcher:
    """Sees films as mien does: the detector and all that liveness asks for in every frame, embeddings now and then.

    Track numbers are all 1, as if no tracker noticed anything: the worst that attacks can hope for.
    """

    def __init__(self, threads: int = 1) -> None:
        options = {"size": WIDTH, "threads": threads}
        self._often = FaceAnalyzer(only=[task for task in TASKS if task != "embed"], **options).load()
        self._embedding = FaceAnalyzer(only=TASKS, **options).load()

    @property
    def embedder(self) -> Any:
        return self._embedding.embedder

    def watch(self, film: Sequence[Image]) -> list[Observation]:
        """What is judged of each frame; the first is at 0 s."""
        out = []
        for k, image in enumerate(film):
            embedded = k % EMBED_EVERY == 0
            faces = (self._embedding if embedded else self._often)(image)
            there = np.ones(len(faces), np.bool_)
            moment = SimpleNamespace(faces=faces, seen=there, ids=there.astype(np.int64), embedded=there & embedded)
            out.append(observe(SimpleNamespace(time=k / RATE, image=image), moment))
        return out


_SCALARS = ("track", "yaw", "pitch", "roll", "happiness", "eyes", "mouth", "quality")


def to_arrays(observations: Sequence[Observation]) -> dict[str, Any]:
    """As arrays, for `numpy.savez`."""
    looks = [o.look for o in observations]
    dimensions = next((len(look.embedding) for look in looks if look is not None and look.embedding is not None), 1)
    nothing = np.full(dimensions, np.nan, np.float32)
    return {
        "thumbs": np.stack([o.thumb for o in observations]),
        "digests": np.stack([np.frombuffer(o.digest, np.uint8) for o in observations]),
        "seconds": np.array([o.second for o in observations]),
        "signs": np.array([(-1, -1) if o.signs is None else (o.signs.moire, o.signs.sides) for o in observations]),
        "scalars": np.array([[np.nan if look is None else getattr(look, name) for name in _SCALARS] for look in looks]),
        "landmarks": np.stack([np.zeros((5, 2), np.float32) if look is None else look.landmarks for look in looks]),
        "patches": np.stack([np.zeros((16, 16), np.float32) if look is None else look.patch for look in looks]),
        "advice": np.array(["" if look is None else ",".join(look.advice) for look in looks]),
        "embeddings": np.stack(
            [nothing if look is None or look.embedding is None else look.embedding for look in looks]
        ),
    }


def from_arrays(kept: Mapping[str, Any]) -> list[Observation]:
    """What `to_arrays` made; times begin at 0."""
    out = []
    for k in range(len(kept["thumbs"])):
        scalars = dict(zip(_SCALARS, kept["scalars"][k].tolist(), strict=True))
        look = None
        if np.isfinite(kept["scalars"][k]).all():
            embedding = kept["embeddings"][k]
            look = Look(
                **scalars | {"track": int(scalars["track"])},
                landmarks=kept["landmarks"][k],
                advice=tuple(filter(None, str(kept["advice"][k]).split(","))),
                patch=kept["patches"][k],
                embedding=embedding if np.isfinite(embedding).all() else None,
            )
        moire, sides = kept["signs"][k]
        signs = None if sides < 0 else Signs(float(moire), int(sides))
        digest = kept["digests"][k].tobytes()
        out.append(Observation(k / RATE, kept["thumbs"][k], digest, look, float(kept["seconds"][k]), signs))
    return out


def at(observation: Observation, time: float) -> Observation:
    """The same at another time."""
    return replace(observation, time=time)
