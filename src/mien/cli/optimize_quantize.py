"""`mien optimize quantize`: a network in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli import optimizing, options
from mien.cli.console import EXIT_NO, progress_bar, report_error
from mien.errors import GateError
from mien.ops.atomic import write_whole


def quantize(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a model (see `mien models list`), or FILE.onnx of your own.")
    ],
    *,
    calibration: Annotated[
        Path, typer.Option("--calibration", metavar="FOLDER", help="Pictures such as the network will see; 100 do.")
    ],
    evaluate: optimizing.Evaluate,
    out: optimizing.Out,
    max_loss: optimizing.MaxLoss = 0.3,
    split: optimizing.Split = None,
    root: optimizing.Root = None,
    align: optimizing.Align = False,
    as_json: options.Json = False,
) -> None:
    """Make the int8 form of a network: a quarter of the size, and faster on most processors.

    Layers that hurt are left in float32 until the network loses no more than --max-loss on your evaluation data; where
    that cannot be had, nothing is written, and the exit code is 1.
    """
    from mien.compression.calibration import calibration_pictures, readable
    from mien.compression.quantize import quantize as quantize_subject

    optimizing.check_target(out)
    pictures = calibration_pictures(calibration)
    subject = optimizing.open_subject(model, evaluate, split=split, root=root, align=align)
    try:
        with progress_bar("quantising", results_last=True) as progress:
            batches = subject.batches(readable(pictures))
            done = quantize_subject(subject, batches, max_loss=max_loss / 100, progress=progress)
    except GateError as error:
        report_error(str(error))
        raise typer.Exit(EXIT_NO) from error
    write_whole(out, done.network)
    optimizing.tell(done.comparison, out, as_json=as_json)
