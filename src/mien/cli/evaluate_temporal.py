"""`mien evaluate temporal`: measure a network for expressions over time beside a moving average."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mien.cli import options
from mien.cli.console import DownloadBars, note, print_json, print_rows, progress_bar
from mien.cli.targets import check_report
from mien.errors import DataError
from mien.ops.atomic import write_whole

if TYPE_CHECKING:
    from mien.datasets.base import Split
    from mien.evaluation.temporal import TemporalReport
    from mien.models.smoothing import Smoother

_FORMATS = (".json", ".md")
_SPLITS = ("train", "validation", "test")


def temporal(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Labelled faces to make sequences of (FER+, FER2013, a folder for each class), or a folder of videos.",
        ),
    ],
    *,
    split: Annotated[str | None, typer.Option(help="Part of the faces: train, validation or test.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Name of a model, or path of an ONNX file.")] = None,
    beside: Annotated[
        list[str] | None, typer.Option(help="Another model to measure on the same tracks; may be repeated.")
    ] = None,
    expression_model: options.ExpressionModel = None,
    sequences: Annotated[int, typer.Option(help="Made of the faces.", min=2, max=100_000)] = 300,
    seed: Annotated[int, typer.Option(help="Of all that is random in them.", min=0, max=2**32 - 1)] = 3,
    as_json: options.Json = False,
    out: Annotated[Path | None, typer.Option(help="Write the report here (.json, .md).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw figures and examples here (.png, .svg, .pdf).")] = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """What does a face show over time? Accuracy of frames, F1 of segments, and how late they are noticed.

    Beside the network stand the answers of each frame by itself, and the moving average that was tuned on the tracks
    that the network learnt from. Of labelled faces, sequences are made: videos in which one face turns into another.
    """
    from mien.cli import temporal_data
    from mien.evaluation.temporal import COLUMNS, evaluate_temporal, gain_lines, rows
    from mien.models import registry
    from mien.models.base import RuntimeOptions
    from mien.models.runtime import default_threads
    from mien.models.store import WeightsStore
    from mien.models.temporal import SHIPPED

    check_report(out, (plot,), formats=_FORMATS)
    if split is not None and split not in _SPLITS:
        raise DataError(f"--split {split!r}: choose one of {', '.join(_SPLITS)}")
    store = WeightsStore(progress=DownloadBars())
    runtime = RuntimeOptions(threads=threads, device=device)
    smoother, *others = (
        registry.load_temporal(registry.entry(name, "temporal"), store, runtime)
        for name in (model or SHIPPED, *(beside or ()))
    )
    by = temporal_data.expressions(expression_model, threads=threads, device=device)
    with progress_bar("recording tracks", results_last=True) as progress:
        clips = temporal_data.clips_in(data)
        if clips:
            tracks = temporal_data.record_clips(clips, f"videos of {data.name}", by, progress)
        else:
            faces = temporal_data.still_faces(data, cast("Split | None", split))
            tracks = temporal_data.record_faces(faces, sequences, seed, by, progress=progress)
    _tell_other_network(smoother.network.card.parents, by)
    setup: dict[str, str | int] = {"expression_model": by.name, "threads": threads or default_threads()}
    if not clips:
        setup["seed"] = seed
    compared: dict[str, Smoother] = {"moving average": smoother.network.card.moving_average()}
    compared |= {other.record.name: other for other in others}
    report = evaluate_temporal(tracks, smoother, compared, name=smoother.record.name, setup=setup)
    if as_json:
        print_json(report.to_dict())
    else:
        print_rows(COLUMNS, rows(report))
        for line in gain_lines(report):
            note(line)
    _write(report, out)
    if plot is not None:
        from mien.evaluation.temporal_plots import plot_temporal

        plot_temporal(report, plot)


def _tell_other_network(parents: object, by: object) -> None:
    """Say that the network learnt from the answers of another expression network."""
    from mien.cli.temporal_data import Expressions

    assert isinstance(by, Expressions)  # noqa: S101 - imported late
    if isinstance(parents, dict) and parents and by.sha256 not in parents.values():
        note(f"the network learnt from the answers of another expression network than {by.name}: {', '.join(parents)}")


def _write(report: TemporalReport, out: Path | None) -> None:
    from mien.evaluation.temporal import to_markdown

    if out is not None:
        as_json = out.suffix.lower() == ".json"
        write_whole(out, json.dumps(report.to_dict(), indent=2) + "\n" if as_json else to_markdown(report))
