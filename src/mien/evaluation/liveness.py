"""Presentation attack detection (ISO/IEC 30107-3) on recordings: how many attacks pass, and how many people do not.

    GENUINE/ANY.mp4         beside it ANY.json: {"challenge": ["smile", "turn-left", ...], "asked": [2.0, 5.5, ...]}
    ATTACKS/KIND/ANY.mp4    likewise; without a .json the attack did not know the challenge, and one is drawn for it

`asked` says when each action was asked, in seconds of the recording; without it the judge asks each after the shortest
pause. A kind of attack is what the standard calls a presentation attack instrument species: rates are of each.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from mien.errors import DataError, MienError
from mien.evaluation.metrics import wilson_interval
from mien.evaluation.verification import Progress
from mien.liveness.challenge import ACTIONS, LEAST_ACTIONS, Challenge, recorded, sequences
from mien.liveness.guards import Alike, Limits
from mien.liveness.session import Seeing, Trial

__all__ = ["LivenessReport", "Recording", "Species", "Unjudged", "evaluate_liveness", "read_recordings"]

VIDEOS = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".mjpeg")
PROTOCOL = "ISO/IEC 30107-3: APCER for each kind of attack, BPCER; liveness alone, nobody is recognised"
NO_END = "ended"
"""The recording ended before the judge did: a non-response of the standard."""
_DECIMALS = 6
_MOST_SIDECAR = 100_000  # bytes


@dataclass(frozen=True)
class Recording:
    """A video of one attempt.

    Attributes:
        path: of the video.
        kind: of attack; "" of a genuine one.
        challenge: what was asked.
    """

    path: Path
    kind: str
    challenge: Challenge


@dataclass(frozen=True)
class Unjudged:
    """A recording that cannot be read."""

    path: str
    reason: str


@dataclass(frozen=True)
class Species:
    """How recordings of one kind were judged.

    Attributes:
        n: recordings.
        accepted: of them.
        reasons: of the others, by code; `NO_END` where the recording ended first.
    """

    n: int
    accepted: int
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """The share that was accepted."""
        return self.accepted / self.n

    def to_dict(self, *, genuine: bool) -> dict[str, Any]:
        """JSON-ready: BPCER of genuine attempts, APCER of attacks, each with its 95 % interval and non-responses."""
        errors = self.n - self.accepted if genuine else self.accepted
        low, high = wilson_interval(errors, self.n)
        name, missing = ("bpcer", "bpnrr") if genuine else ("apcer", "apnrr")
        return {
            "n": self.n,
            "accepted": self.accepted,
            name: round(errors / self.n, _DECIMALS),
            f"{name}_interval": [round(low, _DECIMALS), round(high, _DECIMALS)],
            missing: round(self.reasons.get(NO_END, 0) / self.n, _DECIMALS),
            "reasons": dict(self.reasons),
        }


@dataclass(frozen=True)
class LivenessReport:
    """The figures.

    Attributes:
        model: the networks that saw.
        genuine: attempts of people.
        attacks: by kind.
        unreadable: recordings that were not judged.
    """

    model: str
    genuine: Species
    attacks: Mapping[str, Species]
    unreadable: tuple[Unjudged, ...] = ()

    @property
    def bpcer(self) -> float:
        """Bona fide presentation classification error rate: the share of genuine attempts that are refused."""
        return 1 - self.genuine.rate

    @property
    def apcer(self) -> float:
        """Attack presentation classification error rate of the kind that fares best."""
        return max(species.rate for species in self.attacks.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "protocol": PROTOCOL,
            "n": self.genuine.n + sum(species.n for species in self.attacks.values()),
            "model": self.model,
            "apcer": round(self.apcer, _DECIMALS),
            "bpcer": round(self.bpcer, _DECIMALS),
            "genuine": self.genuine.to_dict(genuine=True),
            "attacks": {kind: species.to_dict(genuine=False) for kind, species in self.attacks.items()},
            "unreadable": [{"path": bad.path, "error": bad.reason} for bad in self.unreadable],
        }


def read_recordings(genuine: Path, attacks: Path) -> list[Recording]:
    """Find the recordings, and what was asked in each.

    Raises:
        DataError: a folder is missing or holds no video, or what stands beside a video cannot be understood.
    """
    found = [Recording(path, "", _challenge(path, genuine=True)) for path in _videos(genuine)]
    kinds = sorted(folder for folder in _listed(attacks) if folder.is_dir())
    if not kinds:
        raise DataError(f"{attacks}: no folder in it; expected ATTACKS/KIND/*.mp4, one folder for each kind of attack")
    return found + [Recording(p, kind.name, _challenge(p, genuine=False)) for kind in kinds for p in _videos(kind)]


def evaluate_liveness(
    recordings: Sequence[Recording],
    begin: Callable[[], Seeing],
    alike: Alike,
    limits: Limits,
    *,
    model: str = "",
    progress: Progress | None = None,
) -> LivenessReport:
    """Judge recordings one by one.

    Args:
        recordings: as `read_recordings` finds them.
        begin: makes what says what is in frames; called for each recording.
        alike: similarity of two embeddings.
        limits: of the guards.
        model: names the networks.
        progress: called with (done, all).

    Raises:
        DataError: no genuine attempt, or no attack, can be read.
        ModelError: a network fails.
    """
    outcomes: dict[str, list[str]] = {}
    unreadable: list[Unjudged] = []
    for done, recording in enumerate(recordings, 1):
        try:
            reason = judge_recording(recording, begin(), alike, limits)
        except _unreadable() as error:
            unreadable.append(Unjudged(str(recording.path), str(error)))
        else:
            outcomes.setdefault(recording.kind, []).append(reason)
        if progress is not None:
            progress(done, len(recordings))
    genuine = outcomes.pop("", [])
    if not genuine or not outcomes:
        first = f" ({unreadable[0].reason})" if unreadable else ""
        raise DataError(f"no {'attack' if genuine else 'genuine attempt'} can be read{first}")
    return LivenessReport(model, _species(genuine), {k: _species(v) for k, v in outcomes.items()}, tuple(unreadable))


def judge_recording(recording: Recording, seeing: Seeing, alike: Alike, limits: Limits) -> str:
    """The reason with which the attempt ended; `NO_END` where the recording ended first.

    Raises:
        VideoError: the recording cannot be read.
        ModelError: a network fails.
    """
    from mien.video.frames import open_frames

    trial = Trial(recording.challenge, seeing, alike, limits=limits)
    with open_frames(recording.path, longest=640) as frames:
        for frame in frames:
            status = trial.feed(frame)
            if status.reason is not None:
                return status.reason
    return NO_END


def _unreadable() -> type[MienError]:
    from mien.errors import VideoError

    return VideoError


def _species(reasons: Sequence[str]) -> Species:
    counts = Counter(reasons)
    accepted = counts.pop("accepted", 0)
    return Species(len(reasons), accepted, dict(counts.most_common()))


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    return sorted(folder.iterdir())


def _videos(folder: Path) -> list[Path]:
    found = [path for path in _listed(folder) if path.suffix.lower() in VIDEOS]
    if not found:
        raise DataError(f"{folder}: no video in it ({', '.join(VIDEOS)})")
    return found


def _challenge(video: Path, *, genuine: bool) -> Challenge:
    """What was asked, as the file beside a video says; drawn by the video's name where an attack has none."""
    path = video.with_suffix(".json")
    if not path.exists():
        if genuine:
            raise DataError(f"{path}: missing; it says what was asked: " + '{"challenge": ["smile", ...]}')
        possible = sequences(ACTIONS, LEAST_ACTIONS)
        return recorded(possible[int(sha256(video.name.encode()).hexdigest(), 16) % len(possible)])
    try:
        if path.stat().st_size > _MOST_SIDECAR:
            raise ValueError("too large")
        told = json.loads(path.read_text(encoding="utf-8"))
        asked = told.get("asked")
        if not isinstance(told["challenge"], list) or not isinstance(asked, list | None):
            raise TypeError("challenge and asked are lists")
        return recorded(told["challenge"], asked)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: does not say what was asked ({error}); choose from {', '.join(ACTIONS)}") from error
