"""Videos of one face each, labelled by their file's name (CREMA-D, RAVDESS) or their folder's (one folder per class).

CREMA-D (Cao et al. 2014) calls a file 1001_DFA_ANG_XX.flv: person, sentence, expression, strength. RAVDESS
(Livingstone and Russo 2018) calls one 01-01-05-01-02-01-12.mp4: modality, channel, expression, strength, sentence,
repetition, person.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mien.datasets.labels import EXPRESSIONS, expression_named
from mien.errors import DataError
from mien.ops.files import natural_key, printable

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".flv", ".mpg", ".mpeg", ".wmv"})
"""Of files that are taken for videos."""

_CREMA_D = re.compile(r"(?P<person>\d{4})_[A-Z]{3}_(?P<shown>[A-Z]{3})_(LO|MD|HI|XX)")
_CREMA_D_NAMES = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
_RAVDESS = re.compile(r"(?P<modality>\d\d)-\d\d-(?P<shown>\d\d)-\d\d-\d\d-\d\d-(?P<person>\d\d)")
_RAVDESS_NAMES = {
    "01": "neutral", "02": "neutral", "03": "happiness", "04": "sadness",
    "05": "anger", "06": "fear", "07": "disgust", "08": "surprise",
}  # fmt: skip
_AUDIO_ONLY = "03"


@dataclass(frozen=True)
class Clip:
    """A video that shows one expression.

    Attributes:
        path: of the file.
        label: position in `EXPRESSIONS`.
        person: who it shows, where names say it; else the file.
    """

    path: Path
    label: int
    person: str


def find_clips(root: Path) -> list[Clip]:
    """The labelled videos below a folder, in natural order; none where there are no videos at all.

    Raises:
        DataError: there are videos, but none whose name or folder says what it shows; or a folder cannot be listed.
    """
    videos = _videos(root)
    clips = [clip for path in videos if (clip := _clip(path)) is not None]
    if videos and not clips:
        raise DataError(
            f"{printable(root)}: {len(videos):,} videos, but neither names as CREMA-D's or RAVDESS's nor folders say"
            f" what they show; put each into a folder called {', '.join(EXPRESSIONS)}"
        )
    return clips


def held_out(clips: list[Clip], share: float) -> tuple[list[Clip], list[Clip]]:
    """Set about this share of the people aside, chosen by a hash of who they are: at least one, and not all.

    Raises:
        DataError: all videos are of one person.
    """
    people = sorted({clip.person for clip in clips}, key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(people) < 2:
        raise DataError("all videos are of one person: give others with --validation")
    aside = set(people[: max(1, round(share * len(people)))])
    return [c for c in clips if c.person not in aside], [c for c in clips if c.person in aside]


def _videos(root: Path) -> list[Path]:
    def unlisted(error: OSError) -> None:
        raise DataError(f"{printable(root)}: cannot be listed ({str(error.strerror).lower()})") from error

    found = [
        Path(folder) / name
        for folder, _, names in os.walk(root, onerror=unlisted)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    ]
    return sorted(found, key=lambda path: natural_key(str(path)))


def _clip(path: Path) -> Clip | None:
    """What the names of a video say; None where they say nothing that is known, or that there is no picture."""
    if match := _CREMA_D.fullmatch(path.stem):
        return _labelled(path, _CREMA_D_NAMES.get(match["shown"]), f"CREMA-D {match['person']}")
    if match := _RAVDESS.fullmatch(path.stem):
        if match["modality"] == _AUDIO_ONLY:
            return None
        return _labelled(path, _RAVDESS_NAMES.get(match["shown"]), f"RAVDESS {match['person']}")
    return _labelled(path, expression_named(path.parent.name), str(path))


def _labelled(path: Path, label: str | None, person: str) -> Clip | None:
    return Clip(path, EXPRESSIONS.index(label), person) if label in EXPRESSIONS else None
