"""`mien train attributes`: a network for age and gender, from labelled pictures to a model file with its figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import note, note_beside_bar, print_json, print_rows, progress_bar
from mien.errors import MienError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mien.datasets.attributes import AttributeSet

_INSTALL = "training needs more packages: pip install 'mien[train]'"


def attributes(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="UTKFace (zip or folder), or a csv table with the columns file, age, gender, group."
        ),
    ],
    *,
    validation: Annotated[
        Path, typer.Option(help="Another such set, of other people, that chooses the best epoch and calibrates.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run: model, report, log.")],
    crop_size: Annotated[int, typer.Option(help="Side of the model's crops in pixels.", min=16, max=512)] = 104,
    colour: Annotated[bool, typer.Option("--colour/--grey", help="Whether it sees colours.")] = True,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out pictures that cannot be read.")
    ] = False,
    architecture: Annotated[str, typer.Option(help="As of `mien train expression`.")] = "mien-s",
    input_size: Annotated[
        int, typer.Option(help="Side of what the network sees; 0: the architecture's.", min=0, max=512)
    ] = 0,
    backbone: Annotated[
        str | None, typer.Option(help="Weights to start from: a model's name, a file, or none.")
    ] = None,
    backbone_sha256: Annotated[str | None, typer.Option(help="What the backbone's file must hash to.")] = None,
    freeze: Annotated[
        int, typer.Option(help="Blocks of the backbone that stay as they are (99: all); -1: none.", min=-1)
    ] = -1,
    epochs: Annotated[int, typer.Option(help="Passes over the training part.", min=1)] = 12,
    batch: Annotated[int, typer.Option(help="Pictures a step.", min=2)] = 64,
    learning_rate: Annotated[float, typer.Option(help="The highest; 0: the architecture's.", min=0, max=10)] = 0.0,
    weight_decay: Annotated[float, typer.Option(help="Of weights, not of biases and norms.", min=0, max=1)] = 0.05,
    warmup: Annotated[int, typer.Option(help="Steps in which the learning rate rises.", min=0)] = 100,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient; 0: any.", min=0)] = 4.0,
    ema: Annotated[
        float, typer.Option(help="Decay of the average of the weights; 0: none.", min=0, max=0.99999)
    ] = 0.998,
    smoothing: Annotated[float, typer.Option(help="Label smoothing, of gender.", min=0, max=0.9)] = 0.04,
    balance_power: Annotated[
        float, typer.Option(help="Of ages: 0 as they come, 1 all decades of life equal.", min=0, max=1)
    ] = 0.3,
    augment: Annotated[float, typer.Option(help="Strength of the augmentation; 0: none.", min=0, max=2)] = 0.6,
    patience: Annotated[int, typer.Option(help="Epochs without gain after which training stops; 0: never.", min=0)] = 0,
    precision: Annotated[str, typer.Option(help="float32 or bf16 (where the processor has it).")] = "float32",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    name: Annotated[str | None, typer.Option(help="Of the model; by default that of --out.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    threads: options.Threads = 0,
    device: Annotated[str, typer.Option(help="Of torch: cpu, cuda or mps.")] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Train a network that says how old a face looks and how its gender is perceived.

    Writes into --out: model.onnx (for mien analyze --only age,gender --attributes-model), report.json, log.csv,
    weights.safetensors, and a checkpoint from which an interrupted run goes on with --resume.
    """
    try:
        from mien.training import attributes as run
        from mien.training import run_folder
        from mien.training.framing import attributes_template
        from mien.training.options import TrainingOptions
    except ImportError as error:
        raise MienError(f"{_INSTALL} ({error.name} is missing)") from error
    from mien.cli.train_expression import name_of
    from mien.datasets.attributes import open_attributes

    settings = TrainingOptions.checked(
        architecture=architecture, input_size=input_size, crop_size=crop_size, colour=colour, freeze=freeze,
        epochs=epochs, batch=batch, learning_rate=learning_rate, weight_decay=weight_decay, warmup=warmup, clip=clip,
        ema=ema, smoothing=smoothing, balance_power=balance_power, augment=augment, patience=patience, metric="loss",
        precision=precision, seed=seed, threads=threads, device=device,
    )  # fmt: skip
    parts = open_attributes(data), open_attributes(validation)
    cut = options.face_cut(crop_size, attributes_template(crop_size))
    with run_folder.held_folder(out):
        run_folder.prepare_folder(out, settings, resume=resume)
        with progress_bar("training", results_last=True) as progress:
            crops = run.read_data(*parts, settings, out, cut=cut, skip_unreadable=skip_unreadable, progress=progress)
            trained = run.train_attributes(
                crops,
                settings,
                out,
                name=name or name_of(out),
                cut=cut,
                backbone=backbone,
                backbone_sha256=backbone_sha256,
                resume=resume,
                progress=progress,
                on_epoch=lambda row: note_beside_bar(_epoch_line(row, epochs)),
            )
    _tell(trained, parts, as_json=as_json)


def _epoch_line(row: Mapping[str, float], epochs: int) -> str:
    """What an epoch gave: for logs, where there is no bar."""
    return (
        f"epoch {row['epoch']:.0f} of {epochs}: loss {row['train_loss']:.3f}, on the validation part {row['loss']:.3f},"
        f" ages within 5 years {row['age_accuracy']:.2%}, genders {row['gender_accuracy']:.2%}, {row['seconds']:.0f} s"
    )


def _tell(trained: object, parts: tuple[AttributeSet, AttributeSet], *, as_json: bool) -> None:
    from mien.evaluation.attributes import COLUMNS, rows
    from mien.training.attributes import TrainedAttributes

    assert isinstance(trained, TrainedAttributes)  # noqa: S101 - for the type checker: torch is imported late
    if as_json:
        print_json(trained.report.to_dict())
    else:
        print_rows(COLUMNS, rows(trained.report))
    for part in parts:
        if part.left_out:
            note(f"{part.name}: {len(part.left_out):,} pictures left out: their names do not hold age, gender and race")
    note(f"measured on {trained.report.data}; report and log: {trained.folder}")
    note(f"use it: mien analyze --only age,gender --attributes-model {trained.model} PHOTO")
