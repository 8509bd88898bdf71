"""Made-up videos of faces that change their expression, from labelled pictures that stand still.

There is no video in FER+. A sequence takes a neutral face and expressive faces that look like it (light and dark parts
in the same places), and lets one turn into the other and back: onset, hold, offset. On top comes what videos do to
faces (`disturbances`). What is true in each frame is known: the label of the picture that it shows more of.

Such a sequence is not a person: the faces in it are of several, and the way between them is a morph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from mien.datasets.base import ImageSet, IndexArray
from mien.datasets.disturbances import Disturbances
from mien.datasets.labels import EXPRESSIONS
from mien.errors import DataError
from mien.ops.morph import Morph, morph_between
from mien.types import FloatArray, ImageArray

SIZE = 48
"""Side of the crops in pixels, framed as FER+'s pictures are."""

_LOOK = 12  # side of the picture that says how a face looks
_ALIKE = 6  # of the faces that look most like another, one is drawn
_REST = 0  # the label that faces come from and return to: neutral
_BACK_TO_REST = 0.75  # chance that an expression ends in it, and not in another expression
_AT_REST_FIRST = 0.6  # chance that a sequence begins with it
_TWITCH = (0.1, 0.3)  # seconds that a blink or a spoken sound lasts
_SMALLEST = 1e-6

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SequenceOptions:
    """How sequences are made; ranges are (lowest, highest), drawn evenly on a logarithmic scale.

    Attributes:
        seconds: length of a sequence.
        rate: frames a second.
        rest: seconds that a face stays neutral.
        hold: seconds that it holds an expression.
        onset: seconds in which an expression builds up.
        offset: seconds in which it goes away.
        relaxed: an expression that is held wanes by up to this share, and waxes again.
        twitches: short movements towards another face (speech, blinks) in a second, in sequences that have them; these
            are no expressions, and change no label.
    """

    seconds: float = 8.0
    rate: tuple[float, float] = (5.0, 15.0)
    rest: tuple[float, float] = (0.6, 3.5)
    hold: tuple[float, float] = (0.6, 4.0)
    onset: tuple[float, float] = (0.15, 0.8)
    offset: tuple[float, float] = (0.25, 1.2)
    relaxed: float = 0.3
    twitches: float = 0.6


@dataclass(frozen=True, eq=False)
class Sequence:
    """One face over T frames.

    Attributes:
        times: (T,) float64 seconds, rising from 0.
        crops: (T, 48, 48) uint8, grey.
        seen: (T,) bool: whether there is a face to be seen; where not, the crop means nothing.
        truth: (T,) int64: what the face shows, as a position in the labels.
    """

    times: Floats
    crops: ImageArray
    seen: npt.NDArray[np.bool_]
    truth: IndexArray


class FacePool:
    """Labelled faces, of which sequences are made.

    Args:
        pictures: those that have an answer are taken; at least one neutral face, and one that is not.

    Attributes:
        crops: (N, 48, 48) uint8, grey.
        truth: (N,) int64.
        labels: `EXPRESSIONS`; the first is neutral.

    Raises:
        DataError: there are no such faces, or they show what is none of these.
        ImageError: a picture cannot be read.
    """

    def __init__(self, pictures: ImageSet) -> None:
        measured = pictures.for_measuring()
        self.name = pictures.name
        self.labels = EXPRESSIONS
        self.truth = _as_expressions(measured)
        self.crops = np.stack(
            [_grey(measured.read(i)) for i in range(len(measured))] or [np.zeros((SIZE, SIZE), np.uint8)]
        )
        present = np.bincount(self.truth, minlength=len(self.labels))
        if not present[_REST] or not present[1:].any():
            raise DataError(f"{pictures.name}: sequences need neutral faces and others, labelled")
        self._by_label = [np.flatnonzero(self.truth == label) for label in range(len(self.labels))]
        # Rare expressions come more often than they are in the data, but not as often as all others.
        shares = np.sqrt(present.astype(np.float64))
        shares[_REST] = 0
        self._shares = shares / shares.sum()
        self._looks = _looks(self.crops)

    def __len__(self) -> int:
        return len(self.truth)

    def any_face(self, rng: np.random.Generator) -> ImageArray:
        """A crop of anybody, (48, 48)."""
        crop: ImageArray = self.crops[rng.integers(len(self))]
        return crop

    def anybody_at_rest(self, rng: np.random.Generator) -> int:
        """The position of a neutral face."""
        return int(rng.choice(self._by_label[_REST]))

    def expression(self, rng: np.random.Generator, *, but: int = _REST) -> int:
        """A label that is not neutral, and not `but`, where there is another."""
        shares = self._shares.copy()
        if np.delete(shares, but).sum() > 0:
            shares[but] = 0
        return int(rng.choice(len(shares), p=shares / shares.sum()))

    def like(self, face: int, label: int, rng: np.random.Generator) -> int:
        """The position of a face with this label that looks like another: one of the most alike."""
        members = self._by_label[label]
        near = self._looks[members] @ self._looks[face]
        few = np.argsort(-near, kind="stable")[:_ALIKE]
        return int(members[rng.choice(few)])


@dataclass(frozen=True)
class _Part:
    """A face that is shown: from `start` on it builds up for `rise` seconds."""

    face: int
    label: int
    start: float
    rise: float


def make_sequence(
    pool: FacePool, rng: np.random.Generator, options: SequenceOptions, disturbances: Disturbances
) -> Sequence:
    """One sequence; all that is random comes from `rng`.

    Args:
        pool: the faces.
        rng: random numbers.
        options: what happens in it.
        disturbances: what the video does to it.
    """
    parts = _script(pool, rng, options)
    times = _times(rng, options)
    faces, truth = _performed(pool, parts, times, rng, options)
    crops, seen = disturbances(faces, times, rng, stranger=lambda: pool.any_face(rng))
    return Sequence(times, crops, seen, truth)


def sequences(
    pool: FacePool,
    count: int,
    seed: int,
    options: SequenceOptions | None = None,
    disturbances: Disturbances | None = None,
    *,
    first: int = 0,
) -> Iterator[Sequence]:
    """Sequences number `first` to `first + count` of a seed: each is the same whichever others are made."""
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, number])
        yield make_sequence(pool, rng, options or SequenceOptions(), disturbances or Disturbances())


def _script(pool: FacePool, rng: np.random.Generator, options: SequenceOptions) -> list[_Part]:
    """What is shown, and when."""
    base = pool.anybody_at_rest(rng)
    label = _REST if rng.random() < _AT_REST_FIRST else pool.expression(rng)
    parts = [_Part(base if label == _REST else pool.like(base, label, rng), label, -1.0, 0.0)]
    now = rng.random() * _drawn(rng, options.rest if label == _REST else options.hold)  # it was going on already
    while now < options.seconds:
        last = parts[-1].label
        returns = last != _REST and rng.random() < _BACK_TO_REST
        label = _REST if returns else pool.expression(rng, but=last)
        rise = _drawn(rng, options.offset if returns else options.onset)
        parts.append(_Part(base if returns else pool.like(base, label, rng), label, now, rise))
        now += rise + _drawn(rng, options.rest if returns else options.hold)
    return parts


def _times(rng: np.random.Generator, options: SequenceOptions) -> Floats:
    """When frames come: at some rate, a little unevenly, and now and then one is lost."""
    rate = _drawn(rng, options.rate)
    times = np.arange(0, options.seconds, 1 / rate)
    times = times[rng.random(len(times)) > rng.uniform(0, 0.1)]
    times = times + rng.uniform(-0.15, 0.15, len(times)) / rate
    kept: Floats = np.maximum.accumulate(times - times[0])
    return kept


def _performed(
    pool: FacePool, parts: list[_Part], times: Floats, rng: np.random.Generator, options: SequenceOptions
) -> tuple[ImageArray, IndexArray]:
    """(T, 48, 48) faces, and what they show."""
    morphs = [_way(pool, before, after) for before, after in pairwise(parts)]
    starts = np.array([part.start for part in parts])
    wane = options.relaxed * rng.random() * _waves(times, rng)
    twitches = _twitches(pool, parts, rng, options)
    faces = np.zeros((len(times), SIZE, SIZE), np.uint8)
    truth = np.zeros(len(times), np.int64)
    for t, time in enumerate(times):
        k = int(np.searchsorted(starts, time, side="right")) - 1
        part = parts[k]
        share = 1.0 if k == 0 else _eased((time - part.start) / max(part.rise, _SMALLEST))
        truth[t] = part.label if share >= 0.5 else parts[k - 1].label
        if k and part.label != _REST:  # what is held wanes; the way back to rest is not lengthened by it
            share *= 1 - wane[t] * share
        face = morphs[k - 1].at(share) if k else pool.crops[part.face].astype(np.float32)
        for start, length, depth, way in twitches.get(k, ()):
            if start <= time < start + length:
                face = _towards(face, way, depth * np.sin(np.pi * (time - start) / length))
        faces[t] = np.clip(face, 0, 255).astype(np.uint8)
    return faces, truth


def _way(pool: FacePool, before: _Part, after: _Part) -> Morph:
    return morph_between(pool.crops[before.face], _lit_like(pool.crops[after.face], pool.crops[before.face]))


def _twitches(
    pool: FacePool, parts: list[_Part], rng: np.random.Generator, options: SequenceOptions
) -> dict[int, list[tuple[float, float, float, Morph]]]:
    """By the number of a part: (start, seconds, depth, way) of each short movement in it."""
    found: dict[int, list[tuple[float, float, float, Morph]]] = {}
    if rng.random() < 0.5:
        return found
    for _ in range(rng.poisson(options.twitches * options.seconds)):
        start, length = rng.uniform(0, options.seconds), rng.uniform(*_TWITCH)
        k = max(i for i, part in enumerate(parts) if part.start <= start)
        other = pool.like(parts[k].face, pool.expression(rng), rng)
        here = pool.crops[parts[k].face]
        way = morph_between(here, _lit_like(pool.crops[other], here))
        found.setdefault(k, []).append((start, length, rng.uniform(0.2, 0.6), way))
    return found


def _towards(face: FloatArray, way: Morph, share: float) -> FloatArray:
    """A face moved as a morph moves it, by a share of the way."""
    return face + way.at(share) - way.start.astype(np.float32)


def _waves(times: Floats, rng: np.random.Generator) -> Floats:
    """(T,) in [0, 1], slowly up and down."""
    return 0.5 + 0.5 * np.sin(2 * np.pi * (times / rng.uniform(1, 4) + rng.random()))


def _eased(share: float) -> float:
    """Movements begin and end gently."""
    s = min(max(share, 0.0), 1.0)
    return s * s * (3 - 2 * s)


def _drawn(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    low, high = np.log(limits)
    return float(np.exp(rng.uniform(low, high)))


def _as_expressions(pictures: ImageSet) -> IndexArray:
    """(N,) positions in `EXPRESSIONS` of what pictures show."""
    unknown = [label for label in pictures.labels if label not in EXPRESSIONS]
    if unknown:
        raise DataError(f"{pictures.name}: {unknown[0]!r} is none of {', '.join(EXPRESSIONS)}")
    return np.array([EXPRESSIONS.index(label) for label in pictures.labels])[pictures.truth]


def _grey(picture: ImageArray) -> ImageArray:
    """(48, 48) uint8 of a picture that is one face; of others, the middle."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    grey = cv2.cvtColor(picture[top : top + side, left : left + side], cv2.COLOR_RGB2GRAY)
    if grey.shape != (SIZE, SIZE):
        grey = cv2.resize(grey, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(grey, dtype=np.uint8)


def _looks(crops: ImageArray) -> FloatArray:
    """(N, D) float32 of length 1: where faces are light and dark, whatever the light's strength."""
    small = np.stack([cv2.resize(crop, (_LOOK, _LOOK), interpolation=cv2.INTER_AREA) for crop in crops])
    flat = small.reshape(len(crops), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    looks: FloatArray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), _SMALLEST)
    return looks


def _lit_like(face: ImageArray, other: ImageArray) -> ImageArray:
    """A face with the brightness and contrast of another."""
    values = face.astype(np.float32)
    values = (values - values.mean()) * (other.std() / max(float(values.std()), 1.0)) + other.mean()
    lit: ImageArray = np.clip(values, 0, 255).astype(np.uint8)
    return lit
