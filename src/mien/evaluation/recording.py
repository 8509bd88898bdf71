"""What the expression network says of made-up sequences: minutes of work, that go on where they stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from mien.datasets.disturbances import Disturbances
from mien.datasets.sequences import FacePool, SequenceOptions, sequences
from mien.datasets.tracks import Track, TrackSet, load_tracks, save_tracks, tracks_of
from mien.errors import DataError
from mien.models.classifier import CropClassifier

AT_ONCE = 25
"""Sequences in one file of a recording."""

Progress = Callable[[int, int], None]


def record_sequences(
    pool: FacePool,
    classifier: CropClassifier,
    count: int,
    seed: int,
    *,
    classifier_sha256: str = "",
    keep: Path | None = None,
    progress: Progress | None = None,
) -> TrackSet:
    """Make sequences of faces, and record what a classifier says of each frame.

    Args:
        pool: the faces.
        classifier: of expressions, with the pool's labels.
        count: number of sequences.
        seed: of all that is random in them.
        classifier_sha256: of the classifier's file: what another one said is not taken for what it says.
        keep: an existing folder, where what is done is kept, and found again by the next call with the same arguments.
        progress: called with (sequences done, sequences in all).

    Raises:
        DataError: the labels differ, or a file cannot be written.
        ModelError: the classifier fails.
    """
    refuse_other_labels(classifier, pool.labels, pool.name)
    made_of = _fingerprint(pool, seed, classifier_sha256)
    tracks: list[Track] = []
    for first in range(0, count, AT_ONCE):
        number = min(AT_ONCE, count - first)
        path = keep / f"{made_of[:12]}-{first:06}-{number}.npz" if keep else None
        if path is not None and path.exists():
            part = load_tracks(path)
        else:
            made = sequences(pool, number, seed, first=first)
            part = TrackSet(made_of, pool.labels, list(tracks_of(made, classifier)))
            if path is not None:
                save_tracks(path, part)
        tracks += part.tracks
        if progress is not None:
            progress(first + number, count)
    return TrackSet(f"{count:,} sequences made of {pool.name}", pool.labels, tracks)


def refuse_other_labels(classifier: CropClassifier, labels: tuple[str, ...], what: str) -> None:
    """Refuse a classifier whose answers mean something else.

    Raises:
        DataError: its labels are not these, in this order.
    """
    if classifier.labels != labels:
        raise DataError(
            f"{what}: labels {', '.join(labels)}, but model {classifier.name!r} says {', '.join(classifier.labels)}"
        )


def _fingerprint(pool: FacePool, seed: int, classifier_sha256: str) -> str:
    """SHA-256 of all that a sequence's record depends on."""
    found = hashlib.sha256(pool.crops.tobytes() + pool.truth.tobytes())
    found.update(repr((seed, classifier_sha256, asdict(SequenceOptions()), asdict(Disturbances()))).encode())
    return found.hexdigest()
