"""`mien train expression`: a network of one's own, from a folder of classes to a model file with its report."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import note, note_beside_bar, print_json, print_rows, progress_bar
from mien.errors import MienError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mien.datasets import ImageSet
    from mien.training.run import TrainedModel, TrainingData

_INSTALL = "training needs more packages: pip install 'mien[train]'"
_DATA = "Data"
_NETWORK = "Network"
_COURSE = "Course of training"
_TEACHERS = "Teachers"


def expression(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="One folder for each class (or train/ and validation/ of such), FER+ (zip, folder), FER2013 (csv).",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run: model, report, pictures, log.")],
    validation: Annotated[
        Path | None,
        typer.Option(help="Another data set that chooses the best epoch and calibrates.", rich_help_panel=_DATA),
    ] = None,
    validation_fraction: Annotated[
        float,
        typer.Option(help="Set aside where there is no validation part.", min=0.01, max=0.9, rich_help_panel=_DATA),
    ] = 0.1,
    align: Annotated[
        bool, typer.Option("--align", help="Find and cut the face of each photograph.", rich_help_panel=_DATA)
    ] = False,
    crop_size: Annotated[
        int, typer.Option(help="Side of the model's crops in pixels.", min=16, max=512, rich_help_panel=_DATA)
    ] = 48,
    colour: Annotated[
        bool, typer.Option("--colour/--grey", help="Whether it sees colours.", rich_help_panel=_DATA)
    ] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out pictures that cannot be read.", rich_help_panel=_DATA)
    ] = False,
    architecture: Annotated[
        str,
        typer.Option(help="mien-s, face-trunk, resnet18, vgg13, vgg16, cnn2 or cnn3.", rich_help_panel=_NETWORK),
    ] = "mien-s",
    input_size: Annotated[
        int,
        typer.Option(
            help="Side of what the network sees; 0: the architecture's.", min=0, max=512, rich_help_panel=_NETWORK
        ),
    ] = 0,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a model's name, dlib's .dat, a run's .safetensors or .onnx, or none.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    backbone_sha256: Annotated[
        str | None, typer.Option(help="What the backbone's file must hash to.", rich_help_panel=_NETWORK)
    ] = None,
    freeze: Annotated[
        int,
        typer.Option(
            help="Blocks of the backbone that stay as they are (99: all); -1: none.", min=-1, rich_help_panel=_NETWORK
        ),
    ] = -1,
    epochs: Annotated[int, typer.Option(help="Passes over the training part.", min=1, rich_help_panel=_COURSE)] = 12,
    batch: Annotated[int, typer.Option(help="Pictures a step.", min=2, rich_help_panel=_COURSE)] = 96,
    optimizer: Annotated[str, typer.Option(help="adamw, adam or sgd.", rich_help_panel=_COURSE)] = "adamw",
    learning_rate: Annotated[
        float, typer.Option(help="The highest; 0: the architecture's.", min=0, max=10, rich_help_panel=_COURSE)
    ] = 0.0,
    weight_decay: Annotated[
        float, typer.Option(help="Of weights, not of biases and norms.", min=0, max=1, rich_help_panel=_COURSE)
    ] = 0.05,
    schedule: Annotated[
        str, typer.Option(help="cosine, one-cycle, step or constant.", rich_help_panel=_COURSE)
    ] = "cosine",
    warmup: Annotated[
        int,
        typer.Option(
            help="Steps in which the learning rate rises; a fifth of the run at most.", min=0, rich_help_panel=_COURSE
        ),
    ] = 300,
    clip: Annotated[
        float, typer.Option(help="Largest norm of the gradient; 0: any.", min=0, rich_help_panel=_COURSE)
    ] = 2.0,
    ema: Annotated[
        float,
        typer.Option(help="Decay of the average of the weights; 0: none.", min=0, max=0.99999, rich_help_panel=_COURSE),
    ] = 0.998,
    loss: Annotated[
        str, typer.Option(help="votes (towards the raters' shares) or majority.", rich_help_panel=_COURSE)
    ] = "votes",
    smoothing: Annotated[float, typer.Option(help="Label smoothing.", min=0, max=0.9, rich_help_panel=_COURSE)] = 0.0,
    balance: Annotated[
        str, typer.Option(help="Of the classes: none, sampling or loss.", rich_help_panel=_COURSE)
    ] = "sampling",
    balance_power: Annotated[
        float, typer.Option(help="0: as they come; 1: all classes equal.", min=0, max=1, rich_help_panel=_COURSE)
    ] = 0.3,
    mixup: Annotated[float, typer.Option(help="Mixup's alpha; 0: none.", min=0, max=10, rich_help_panel=_COURSE)] = 0.0,
    augment: Annotated[
        float, typer.Option(help="Strength of the augmentation; 0: none.", min=0, max=2, rich_help_panel=_COURSE)
    ] = 1.0,
    patience: Annotated[
        int,
        typer.Option(help="Epochs without gain after which training stops; 0: never.", min=0, rich_help_panel=_COURSE),
    ] = 0,
    metric: Annotated[
        str, typer.Option(help="That chooses the best epoch: accuracy, macro_f1 or loss.", rich_help_panel=_COURSE)
    ] = "accuracy",
    precision: Annotated[
        str, typer.Option(help="float32 or bf16 (where the processor has it).", rich_help_panel=_COURSE)
    ] = "float32",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, rich_help_panel=_COURSE)] = 0,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="A trained ONNX model to learn from; may be repeated.", rich_help_panel=_TEACHERS),
    ] = None,
    distil: Annotated[
        float, typer.Option(help="Share of the targets that teachers give.", min=0, max=1, rich_help_panel=_TEACHERS)
    ] = 0.5,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(help="Photographs whose faces teachers label; may be repeated.", rich_help_panel=_TEACHERS),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the model; by default that of --out.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    threads: options.Threads = 0,
    device: Annotated[str, typer.Option(help="Of torch: cpu, cuda or mps.")] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Train a network on expressions, or on any folder of classes.

    Writes into --out: model.onnx (for mien analyze --expression-model), report.html, confusion.png, reliability.png,
    curves.png, log.csv, weights.safetensors, and a checkpoint from which an interrupted run goes on with --resume.
    """
    try:
        from mien.training import run, run_folder
        from mien.training.framing import face_template
        from mien.training.options import TrainingOptions
    except ImportError as error:
        raise MienError(f"{_INSTALL} ({error.name} is missing)") from error
    if find_spec("matplotlib") is None:  # needed for the report: said now, not after hours
        raise MienError(f"{_INSTALL} (matplotlib is missing)")
    settings = TrainingOptions.checked(
        architecture=architecture, input_size=input_size, crop_size=crop_size, colour=colour, freeze=freeze,
        epochs=epochs, batch=batch, optimizer=optimizer, learning_rate=learning_rate, weight_decay=weight_decay,
        schedule=schedule, warmup=warmup, clip=clip, ema=ema, loss=loss, smoothing=smoothing, balance=balance,
        balance_power=balance_power, mixup=mixup, augment=augment, patience=patience, metric=metric,
        precision=precision, seed=seed, distil=distil, threads=threads, device=device,
    )  # fmt: skip
    parts = run.open_parts(data, validation=validation, fraction=validation_fraction)
    with run_folder.held_folder(out):
        run_folder.prepare_folder(out, settings, resume=resume)
        photographs = _photographs(unlabelled, parts[0].labels)
        cut = options.face_cut(crop_size, face_template(crop_size)) if align or photographs is not None else None
        with progress_bar("training", results_last=True) as progress:
            crops = run.read_data(
                *parts,
                settings,
                out,
                cut=cut if align else None,
                unlabelled=photographs,
                face_cut=cut,
                skip_unreadable=skip_unreadable,
                progress=progress,
            )
            trained = run.train(
                crops,
                settings,
                out,
                name=name or name_of(out),
                backbone=backbone,
                backbone_sha256=backbone_sha256,
                teachers=teacher or (),
                resume=resume,
                progress=progress,
                on_epoch=lambda row: note_beside_bar(_epoch_line(row, epochs)),
            )
    _tell(trained, crops, as_json=as_json)


def _epoch_line(row: Mapping[str, float], epochs: int) -> str:
    """What an epoch gave: for logs, where there is no bar."""
    return (
        f"epoch {row['epoch']:.0f} of {epochs}: loss {row['train_loss']:.3f}, on the validation part {row['loss']:.3f},"
        f" accuracy {row['accuracy']:.2%}, macro F1 {row['macro_f1']:.3f}, {row['seconds']:.0f} s"
    )


def _photographs(paths: list[Path] | None, labels: tuple[str, ...]) -> ImageSet | None:
    from mien.datasets.photographs import open_unlabelled

    return open_unlabelled(paths, labels) if paths else None


def name_of(out: Path) -> str:
    """A name for the model from that of its folder."""
    import re

    return re.sub(r"[^A-Za-z0-9._-]+", "-", out.resolve().name).strip("-._")[:100] or "expression"


def _tell(trained: TrainedModel, data: TrainingData, *, as_json: bool) -> None:
    if as_json:
        print_json(trained.report.to_dict())
    else:
        from mien.evaluation.report_pages import headline

        print_rows(("Measure", "Value"), headline(trained.report))
    for crops in (data.training, data.validation, data.unlabelled):
        if crops is not None and crops.left_out:
            note(f"{crops.name}: {crops.left_out:,} pictures left out (unreadable, or no face found)")
    if data.training.shared:
        note(f"{data.training.name}: {data.training.shared:,} pictures left out that the validation part has, too")
    note(f"measured on {trained.report.data}; report, pictures and log: {trained.folder}")
    note(f"use it: mien analyze --expression-model {trained.model} PHOTO")
