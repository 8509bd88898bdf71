"""How far each action is done, beside the person's own baseline.

A level is 0 at rest and 1 where the action counts as done; what networks say is compared as log-odds with what they
said of the same face at rest, because their probabilities depend on the face: docs/eyes.md.

A turn is not the estimated yaw but the *relief*: where eyes and mouth corners were at rest and are now define a
homography, which explains everything that a flat picture can do however it is held; how far the nose tip lies from
where this homography puts it is what only depth explains. In the generic face of `mien.ops.pose` the nose tip stands
0.451 eye distances out of the plane of eyes and mouth, so that a turn by an angle moves it by 0.451 tan(angle).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mien.liveness.challenge import Action
from mien.liveness.observing import Look
from mien.ops.pose import SHAPE
from mien.types import FloatArray

__all__ = ["TURN_DEGREES", "Baseline", "baseline_of", "levels", "turn_degrees"]

TURN_DEGREES = 18.0
"""A turn is done from here on."""
_LOG_ODDS = 3.0  # an action of the face is done from such a change on
_HAPPY, _OPEN, _SHUT = 0.5, 0.35, 0.5  # and probabilities of at least this
_SURE = 0.005  # probabilities beyond say nothing more
_SIDEWAYS = 0.6  # of a turn: from there on eyes and mouth are judged badly
_NOSE = 2
_PLANE = [0, 1, 3, 4]
_DEPTH = float(-SHAPE[_NOSE, 2])


@dataclass(frozen=True, eq=False)
class Baseline:
    """A face at rest: medians over some frames.

    Attributes:
        landmarks: (5, 2) float32 in eye distances, the mean at 0.
        happiness, eyes, mouth: log-odds.
        yaw: degrees.
        pitch: degrees.
    """

    landmarks: FloatArray
    happiness: float
    eyes: float
    mouth: float
    yaw: float
    pitch: float


def baseline_of(looks: Sequence[Look]) -> Baseline:
    """The medians of some looks, at least one."""
    landmarks = np.median([_normalised(look.landmarks) for look in looks], axis=0).astype(np.float32)
    medians = {
        name: float(np.median([getattr(look, name) for look in looks]))
        for name in ("happiness", "eyes", "mouth", "yaw", "pitch")
    }
    log_odds = {name: _log_odds(medians[name]) for name in ("happiness", "eyes", "mouth")}
    return Baseline(landmarks, yaw=medians["yaw"], pitch=medians["pitch"], **log_odds)


def levels(look: Look, rest: Baseline, *, mirrored: bool = False) -> Mapping[Action, float]:
    """How far each action is done.

    Args:
        look: a face.
        rest: the same face at rest.
        mirrored: whether the camera gives mirrored pictures.

    Returns:
        By action a level: about 0 at rest, 1 where it is done, below 0 for the opposite. While the head is turned
        actions of the face have the level 0: they cannot be judged then.
    """
    turned = turn_degrees(look, rest) / TURN_DEGREES  # above 0: towards the right of the picture
    left = -turned if mirrored else turned  # who faces the camera has their left there
    seen = abs(turned) < _SIDEWAYS
    face = {
        "smile": _level(_log_odds(look.happiness) - rest.happiness, look.happiness, _HAPPY),
        "open-mouth": _level(_log_odds(look.mouth) - rest.mouth, look.mouth, _OPEN),
        "blink": _level(rest.eyes - _log_odds(look.eyes), 1 - look.eyes, _SHUT),
    }
    done: dict[Action, float] = {"turn-left": left, "turn-right": -left}
    done.update({action: value if seen else 0.0 for action, value in face.items()})  # type: ignore[misc]
    return done


def turn_degrees(look: Look, rest: Baseline) -> float:
    """By how many degrees the head is turned from rest, as its relief says; above 0: to the right of the picture."""
    relief = _relief(_normalised(look.landmarks), rest.landmarks)
    before = np.tan(np.radians(np.clip(rest.yaw, -60, 60)))
    return float(np.degrees(np.arctan(before + relief / _DEPTH)) - np.clip(rest.yaw, -60, 60))


def _relief(now: FloatArray, before: FloatArray) -> float:
    """How far the nose tip lies along the line of the eyes from where a flat picture would have it; eye distances."""
    plane = cv2.getPerspectiveTransform(before[_PLANE], now[_PLANE])
    flat = plane @ np.append(before[_NOSE], 1.0)
    if not np.isfinite(plane).all() or abs(flat[2]) < 1e-3:
        return 0.0
    eyes = now[1] - now[0]
    length = float(eyes @ eyes)
    off = float((now[_NOSE] - flat[:2] / flat[2]) @ eyes) / max(length, 1e-6)
    return float(np.clip(off, -3.0, 3.0))


def _normalised(landmarks: FloatArray) -> FloatArray:
    """In distances between the eyes, around their mean; zeros where there is no distance."""
    eyes = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    if not (np.isfinite(landmarks).all() and eyes > 1e-3):
        return np.zeros((5, 2), np.float32)
    centred = (landmarks - landmarks.mean(axis=0)) / eyes
    return np.asarray(centred, dtype=np.float32)


def _level(change: float, chance: float, least: float) -> float:
    """1 where both the change and the probability suffice."""
    return min(change / _LOG_ODDS, chance / least)


def _log_odds(chance: float) -> float:
    p = min(max(chance, _SURE), 1 - _SURE)
    return float(np.log(p / (1 - p)))
