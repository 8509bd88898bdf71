"""What the temporal commands take: still faces to make sequences of, or videos of one face each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.datasets.base import Split
    from mien.datasets.clips import Clip
    from mien.datasets.sequences import FacePool
    from mien.datasets.tracks import TrackSet
    from mien.models.classifier import CropClassifier

Progress = Callable[..., None]


@dataclass(frozen=True)
class Expressions:
    """The expression network whose answers are recorded.

    Attributes:
        network: the classifier.
        sha256: of its file.
        name: as users know it.
        threads: of everything that runs.
        device: likewise.
    """

    network: CropClassifier
    sha256: str
    name: str
    threads: int
    device: str


def expressions(model: str | None, *, threads: int, device: str) -> Expressions:
    """Load the expression network that is asked for; the one that comes with mien by default."""
    from mien.cli.console import DownloadBars
    from mien.models import registry
    from mien.models.base import RuntimeOptions
    from mien.models.expression import SHIPPED
    from mien.models.store import WeightsStore

    name = model or SHIPPED
    options = RuntimeOptions(threads=threads, device=device, precision="float32")
    network = registry.load_classifier(name, WeightsStore(progress=DownloadBars()), options)
    entry = registry.entry(name, "expression")
    return Expressions(network, entry.record.weights.sha256, entry.record.name, threads, device)


def clips_in(data: Path) -> list[Clip]:
    """The labelled videos of a folder; none where it is no folder, or holds no videos."""
    from mien.datasets.clips import find_clips

    return find_clips(data) if data.is_dir() else []


def record_clips(clips: list[Clip], name: str, by: Expressions, progress: Progress | None = None) -> TrackSet:
    """Tracks of videos; those that cannot be used are told about, one line each."""
    from mien.cli import options
    from mien.cli.console import note_beside_bar
    from mien.evaluation.clip_tracks import record_clips as record

    analyzer = options.make_analyzer(only=("detect",), threads=by.threads, device=by.device)
    tracks, problems = record(clips, analyzer.detector, by.network, name=name, progress=progress)
    for problem in problems:
        note_beside_bar(problem)
    return tracks


def record_faces(
    pool: FacePool,
    count: int,
    seed: int,
    by: Expressions,
    *,
    keep: Path | None = None,
    progress: Progress | None = None,
) -> TrackSet:
    """Tracks of sequences made of still faces."""
    from mien.evaluation.recording import record_sequences

    return record_sequences(pool, by.network, count, seed, classifier_sha256=by.sha256, keep=keep, progress=progress)


def still_faces(data: Path, split: Split | None) -> FacePool:
    """The faces of a data set of pictures."""
    from mien.datasets import open_image_set
    from mien.datasets.sequences import FacePool

    return FacePool(open_image_set(data, split=split))
