"""`mien optimize prune`: a network with fewer channels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli import optimizing, options
from mien.cli.console import EXIT_NO, note_beside_bar, progress_bar, report_error
from mien.errors import GateError, MienError
from mien.ops.atomic import write_whole

_COURSE = "Training it again"


def prune(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a model (see `mien models list`), or FILE.onnx of your own.")
    ],
    *,
    pictures: Annotated[
        Path, typer.Option("--pictures", metavar="DATA", help="Pictures to train it again on; labels are not needed.")
    ],
    evaluate: optimizing.Evaluate,
    out: optimizing.Out,
    reduce: Annotated[
        float, typer.Option("--reduce", min=0.01, max=0.9, help="Share of the multiply-adds that goes.")
    ] = 0.3,
    max_loss: optimizing.MaxLoss = 0.5,
    epochs: Annotated[
        int, typer.Option(min=0, help="Passes over the pictures; 0: none.", rich_help_panel=_COURSE)
    ] = 10,
    batch: Annotated[int, typer.Option(min=2, help="Crops a step.", rich_help_panel=_COURSE)] = 64,
    learning_rate: Annotated[
        float,
        typer.Option(min=1e-7, max=1, help="The highest, in parts of the size of weights.", rich_help_panel=_COURSE),
    ] = 1.5e-3,
    patience: Annotated[
        int, typer.Option(min=1, help="Epochs without gain after which it stops.", rich_help_panel=_COURSE)
    ] = 2,
    augment: Annotated[
        float, typer.Option(min=0, max=2, help="Strength of the augmentation.", rich_help_panel=_COURSE)
    ] = 1.0,
    most: Annotated[
        int, typer.Option(min=16, help="Pictures that are used at most.", rich_help_panel=_COURSE)
    ] = 100_000,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep each epoch here; an interrupted run goes on from it.", rich_help_panel=_COURSE
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, rich_help_panel=_COURSE)] = 0,
    split: optimizing.Split = None,
    root: optimizing.Root = None,
    align: optimizing.Align = False,
    threads: options.Threads = 0,
    as_json: options.Json = False,
) -> None:
    """Remove the channels of a network that are missed least, and train it to answer as before.

    Where it loses more than --max-loss on your evaluation data nothing is written, and the exit code is 1. A tenth of
    the pictures is set aside to choose the best epoch. With --keep, a run that was interrupted goes on with the same
    command, and one that was refused is not lost.
    """
    try:
        from mien.compression.fine_tuning import PruneOptions
        from mien.compression.pruning import prune as prune_subject
    except ImportError as error:
        raise MienError(f"pruning needs more packages: pip install 'mien[train]' ({error.name} is missing)") from error
    from mien.compression.calibration import calibration_pictures, readable
    from mien.models.runtime import default_threads

    optimizing.check_target(out)
    import numpy as np

    chosen = calibration_pictures(pictures, most)
    subject = optimizing.open_subject(model, evaluate, split=split, root=root, align=align)
    settings = PruneOptions(
        reduce=reduce, max_loss=max_loss / 100, epochs=epochs, batch=batch, learning_rate=learning_rate,
        patience=patience, augment=augment, seed=seed, threads=threads or default_threads(),
    )  # fmt: skip
    try:
        with progress_bar("pruning", results_last=True) as progress:
            batches = subject.batches(readable(chosen))
            if len({batch.shape[1:] for batch in batches}) > 1:
                raise MienError(f"{model}: takes pictures of any size; only networks that take crops can be pruned")
            done = prune_subject(
                subject,
                np.concatenate(batches),
                settings,
                keep=keep,
                progress=progress,
                on_epoch=lambda row: note_beside_bar(
                    f"epoch {row['epoch']:.0f} of {epochs}: {row['loss']:.4f} of what the mean answer loses"
                ),
            )
    except GateError as error:
        report_error(str(error))
        raise typer.Exit(EXIT_NO) from error
    write_whole(out, done.network)
    optimizing.tell(done.comparison, out, as_json=as_json)
