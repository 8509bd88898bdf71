"""`mien train temporal`: a network for expressions over time, from still faces or videos to a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import note, note_beside_bar, print_json, print_rows, progress_bar
from mien.errors import DataError, MienError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mien.cli.temporal_data import Expressions
    from mien.datasets.tracks import TrackSet
    from mien.training.temporal import TrainedTemporal
    from mien.training.temporal_options import TemporalOptions

_INSTALL = "training needs more packages: pip install 'mien[train]'"
_HELD = 0.1  # of the faces or people, set aside where no other data are given for it


def temporal(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Labelled faces to make sequences of (FER+, FER2013, a folder for each class), or a folder of videos:"
            " CREMA-D, RAVDESS, or one folder for each class.",
        ),
    ],
    *,
    validation: Annotated[
        Path | None, typer.Option(help="Others like it, that choose the best epoch; by default a tenth is set aside.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run: model, report, log.")],
    architecture: Annotated[str, typer.Option(help="lstm, gru or tcn.")] = "lstm",
    expression_model: options.ExpressionModel = None,
    sequences: Annotated[int, typer.Option(help="Made of the faces.", min=2, max=1_000_000)] = 1200,
    held_sequences: Annotated[int, typer.Option(help="Made of those set aside.", min=1, max=1_000_000)] = 200,
    tracks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the recorded tracks, which runs can share; by default in --out."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the tracks, at most.", min=1)] = 40,
    batch: Annotated[int, typer.Option(help="Tracks a step.", min=1)] = 32,
    learning_rate: Annotated[float, typer.Option(help="The highest.", min=1e-6, max=10)] = 4e-3,
    weight_decay: Annotated[float, typer.Option(help="Of all weights.", min=0, max=1)] = 0.05,
    steady: Annotated[
        float, typer.Option(help="Weight in the loss of answers that change between frames; 0: none.", min=0, max=10)
    ] = 0.15,
    evenness: Annotated[
        float, typer.Option(help="0: all frames weigh alike in the loss; 1: all stretches.", min=0, max=1)
    ] = 0.5,
    augment: Annotated[float, typer.Option(help="Strength of the changes to tracks; 0: none.", min=0, max=2)] = 1.0,
    patience: Annotated[
        int, typer.Option(help="Epochs without gain after which training stops; 0: never.", min=0)
    ] = 12,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    name: Annotated[str | None, typer.Option(help="Of the model; by default that of --out.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Train a network that says what a face shows over time, and since when.

    It learns from what the expression network says of each frame. Writes into --out: model.onnx (for mien evaluate
    temporal --model), report.json, report.md, log.csv, the recorded tracks, and a checkpoint from which an interrupted
    run goes on with --resume.
    """
    try:
        from mien.training import run_folder
        from mien.training.temporal import train_temporal
        from mien.training.temporal_options import TemporalOptions
    except ImportError as error:
        raise MienError(f"{_INSTALL} ({error.name} is missing)") from error
    from mien.cli import temporal_data
    from mien.cli.train_expression import name_of

    settings = TemporalOptions.checked(
        architecture=architecture, sequences=sequences, held_sequences=held_sequences, epochs=epochs, batch=batch,
        learning_rate=learning_rate, weight_decay=weight_decay, steady=steady, evenness=evenness, augment=augment,
        patience=patience, seed=seed,
    )  # fmt: skip
    by = temporal_data.expressions(expression_model, threads=threads, device=device)
    with run_folder.held_folder(out):
        run_folder.prepare_folder(out, settings, resume=resume)
        with progress_bar("training", results_last=True) as progress:
            training, held = _recorded(data, validation, settings, by, tracks or out / "tracks", progress)
            trained = train_temporal(
                training,
                held,
                settings,
                out,
                name=name or name_of(out),
                classifier={by.name: by.sha256},
                threads=threads,
                resume=resume and (out / "checkpoint.pt").exists(),
                progress=progress,
                on_epoch=lambda row: note_beside_bar(_epoch_line(row, epochs)),
            )
    _tell(trained, as_json=as_json)


def _recorded(
    data: Path,
    validation: Path | None,
    settings: TemporalOptions,
    by: Expressions,
    keep: Path,
    progress: Callable[..., None],
) -> tuple[TrackSet, TrackSet]:
    """The tracks to learn from, and those of other faces or people that choose."""
    from mien.cli import temporal_data
    from mien.datasets.clips import held_out

    clips = temporal_data.clips_in(data)
    if clips:
        others = temporal_data.clips_in(validation) if validation else []
        if validation and not others:
            raise DataError(f"{validation}: no labelled videos in it")
        rest, aside = (clips, others) if others else held_out(clips, _HELD)
        return (
            temporal_data.record_clips(rest, f"videos of {data.name}", by, progress),
            temporal_data.record_clips(aside, f"other videos of {(validation or data).name}", by, progress),
        )
    return _faces_recorded(data, validation, settings, by, keep, progress)


def _faces_recorded(
    data: Path,
    validation: Path | None,
    settings: TemporalOptions,
    by: Expressions,
    keep: Path,
    progress: Callable[..., None],
) -> tuple[TrackSet, TrackSet]:
    from mien.cli import temporal_data
    from mien.datasets import has_split, open_image_set
    from mien.datasets.sequences import FacePool

    try:
        keep.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{keep}: cannot be made: {error.strerror or error}") from error
    faces = open_image_set(data, split="train" if has_split(data, "train") else None)
    if validation:
        aside = open_image_set(validation, split="train" if has_split(validation, "train") else None)
    else:
        faces, aside = faces.split(_HELD)
    parts = []
    for images, count, seed in ((faces, settings.sequences, 1), (aside, settings.held_sequences, 2)):
        pool = FacePool(images)
        parts.append(temporal_data.record_faces(pool, count, settings.seed + seed, by, keep=keep, progress=progress))
    return parts[0], parts[1]


def _epoch_line(row: Mapping[str, float], epochs: int) -> str:
    """What an epoch gave: for logs, where there is no bar."""
    return (
        f"epoch {row['epoch']:.0f} of {epochs}: loss {row['train_loss']:.3f}, held out {row['loss']:.3f},"
        f" mean of frame accuracy and segment F1 {row['quality']:.3f}, {row['seconds']:.0f} s"
    )


def _tell(trained: TrainedTemporal, *, as_json: bool) -> None:
    from mien.evaluation.temporal import COLUMNS, gain_lines, rows

    if as_json:
        print_json(trained.report.to_dict())
    else:
        print_rows(COLUMNS, rows(trained.report))
        for line in gain_lines(trained.report):
            note(line)
    note(f"measured on {trained.report.data}, which chose the epoch; report and log: {trained.folder}")
    note(f"use it: mien evaluate temporal --model {trained.model} DATA")
