"""A training run for expressions over time: record tracks, train, calibrate, export, measure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from mien.datasets.base import NO_ANSWER
from mien.datasets.tracks import TrackSet
from mien.errors import DataError
from mien.evaluation.calibration import fit_temperature
from mien.evaluation.smoothing import Tuning, probabilities_of, states_of, tuned_moving_average
from mien.evaluation.temporal import TemporalReport, evaluate_temporal, to_markdown
from mien.models.base import RuntimeOptions
from mien.models.cards import embed_card, refuse_labels
from mien.models.runtime import default_threads
from mien.models.temporal import TASK, TemporalCard, opened
from mien.ops.atomic import write_whole
from mien.training.calibrated import threshold_for
from mien.training.fitting import LONGEST_NAME
from mien.training.run_folder import MODEL
from mien.training.temporal_export import export_temporal
from mien.training.temporal_loop import TemporalTrainer, answers_of, logits_of
from mien.training.temporal_networks import Several
from mien.training.temporal_options import TemporalOptions

RESET_AFTER = 2.0
"""Seconds without a frame after which a track begins anew: longer than any gap that is trained on."""
MOVING_AVERAGE = "moving average"

_UNCERTAIN_SHARE = 0.1
_TUNED_ON = 1200  # tracks that choose the moving average: those held out, and of the others what there is room for
_CHECKED_TRACKS = 8  # on which the exported graph is held against torch

Progress = Callable[..., None]


@dataclass(frozen=True, eq=False)
class TrainedTemporal:
    """What a run gives.

    Attributes:
        folder: of the run.
        card: of the model.
        report: of the exported model on the held-out tracks, which chose the epoch.
        history: what each epoch gave.
    """

    folder: Path
    card: TemporalCard
    report: TemporalReport
    history: list[dict[str, float]]

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL


def train_temporal(
    training: TrackSet,
    held: TrackSet,
    options: TemporalOptions,
    folder: Path,
    *,
    name: str,
    classifier: Mapping[str, str],
    threads: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    on_epoch: Callable[[Mapping[str, float]], None] | None = None,
) -> TrainedTemporal:
    """Train, calibrate, export and measure a network for expressions over time.

    The moving average that it is compared with is tuned on the held-out tracks, and on some of the others.

    Args:
        training: to learn from.
        held: of other faces or people: choose the epoch, and calibrate.
        options: all settings.
        folder: of the run; exists.
        name: of the model, for its card.
        classifier: SHA-256 of the expression network whose scores the tracks hold, by its name.
        threads: of torch; 0 takes the cores there are.
        resume: go on from the folder's checkpoint.
        progress: called with (done, total, what).
        on_epoch: called with what each epoch gave.

    Raises:
        DataError: there is nothing to learn, the loss diverges, or a file cannot be written.
        ModelError: the exported network answers differently from the trained one.
    """
    for part in (training, held):
        if not any((track.truth != NO_ANSWER).any() for track in part.tracks):
            raise DataError(f"{part.name}: no frame whose expression is known")
    if training.labels != held.labels:
        raise DataError(f"{training.name} and {held.name} have different labels")
    refuse_labels(training.labels)
    torch.set_num_threads(threads or default_threads())
    trainer = TemporalTrainer(training, held, options, folder)
    if resume:
        trainer.resume()
    network = trainer.run(progress=progress, on_epoch=on_epoch)
    card = _card(network, training, held, options, name=name, epoch=trainer.best_epoch, classifier=classifier)
    data = export_temporal(network, card, held.tracks[:_CHECKED_TRACKS])
    report = measured(data, held)
    card = replace(card, metrics={f"{held.name} (chose the epoch)"[:LONGEST_NAME]: report.summary()})
    write_whole(folder / MODEL, embed_card(data, card))
    write_whole(folder / "report.json", json.dumps(report.to_dict(), indent=2) + "\n")
    write_whole(folder / "report.md", to_markdown(report))
    return TrainedTemporal(folder, card, report, trainer.history)


def measured(data: bytes, tracks: TrackSet) -> TemporalReport:
    """The report of an exported network beside the moving average that its card names."""
    smoother = opened(data, RuntimeOptions(threads=1))
    card = smoother.network.card
    return evaluate_temporal(tracks, smoother, {MOVING_AVERAGE: card.moving_average()}, name=card.name)


def _card(
    network: Several,
    training: TrackSet,
    held: TrackSet,
    options: TemporalOptions,
    *,
    name: str,
    epoch: int,
    classifier: Mapping[str, str],
) -> TemporalCard:
    """What the network says of itself: temperature, threshold and margin are from held-out tracks.

    The moving average has nothing to learn by heart: it is tuned on tracks of training, too. The margin is the one with
    which the smaller of both gains over it, in frames and in segments, is largest.
    """
    logits, truth = _known(network, held)
    temperature = round(fit_temperature(logits, truth), 4)
    average = tuned_moving_average(replace(held, tracks=[*held.tracks, *training.tracks][:_TUNED_ON]))
    averaged = states_of(probabilities_of(average, held.tracks), average.margin)
    margin = Tuning(held.tracks).margin_over(answers_of(network, held.tracks, temperature), averaged)
    return TemporalCard(
        name=name,
        task=TASK,
        labels=training.labels,
        temperature=temperature,
        threshold=threshold_for(logits, temperature, _UNCERTAIN_SHARE),
        margin=margin,
        state=network.state,
        reset_after=RESET_AFTER,
        average_kind=average.kind,
        average_window=average.window,
        average_margin=average.margin,
        architecture=options.architecture,
        training_data=f"{training.name}: {len(training):,} tracks, {training.frames:,} frames",
        licence="that of the training data and of the expression network",
        limits=(
            "Says what a face shows over time, not what a person feels; not for judging, diagnosing or deciding about"
            " people, nor for emotion recognition at work or in schools."
        ),
        origin=f"mien train temporal: {options.architecture}, epoch {epoch}",
        calibration=f"{held.name}: {len(held):,} tracks that were not trained on",
        recipe_sha256=sha256(json.dumps(options.to_dict(), sort_keys=True).encode()).hexdigest(),
        data_sha256={"training": training.digest, "held": held.digest},
        parents={f"scores of {what}"[:LONGEST_NAME]: digest for what, digest in classifier.items()},
    )


def _known(network: Several, tracks: TrackSet) -> tuple[np.ndarray, np.ndarray]:
    """Logits and truth of all frames that have one."""
    truth = np.concatenate([track.truth for track in tracks.tracks])
    logits = np.concatenate(logits_of(network, tracks.tracks))
    return logits[truth != NO_ANSWER], truth[truth != NO_ANSWER]
