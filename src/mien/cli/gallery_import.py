"""`mien gallery import`: folders or a table of named pictures into a gallery, with an account of each picture."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import galleries, options
from mien.cli.console import EXIT_BAD_INPUT, note, print_json, print_rows, progress_bar, stdout
from mien.cli.targets import check_target
from mien.ops.files import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.importing import Outcome

_COLUMNS = (
    *("name", "path", "status", "reason", "message", "warnings"),
    *("face", "faces", "width", "score", "sharpness", "quality"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets would compute


def import_(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A folder with one folder for each person, or a csv table: name, path."),
    ],
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    keep_crops: galleries.KeepCrops = False,
    min_face: Annotated[
        float | None, typer.Option("--min-face", min=1, help="Narrowest face in pixels; 32 by default.")
    ] = None,
    min_score: Annotated[
        float, typer.Option("--min-score", min=0.0, max=1.0, help="Lowest score of a detection; the detector's own.")
    ] = 0.0,
    min_sharpness: Annotated[
        float | None, typer.Option("--min-sharpness", min=0, help="Most blurred face; 8 by default, 0 takes all.")
    ] = None,
    min_quality: Annotated[
        float | None,
        typer.Option("--min-quality", min=0, max=1, help="Lowest score of quality; 0.6 by default, 0 takes all."),
    ] = None,
    refuse_several: Annotated[
        bool, typer.Option("--refuse-several", help="Leave out pictures of several faces; else the largest is meant.")
    ] = False,
    take_unlike: Annotated[
        bool, typer.Option("--take-unlike", help="Enrol faces that are unlike the others of their person too.")
    ] = False,
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="Let the paths of a table lead out of its folder.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write all outcomes to FILE.json or FILE.csv.")
    ] = None,
    as_json: options.Json = False,
    detector: options.Detector = options.DETECTOR,
    embedder: galleries.Embedder = None,
    size: options.Size = options.SIZE,
    accurate: galleries.Accurate = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Enrol many pictures of named people.

    What the gallery has already is left as it is: after an interruption, run the same command again. A picture that
    cannot be used never stops the others; what was not enrolled is listed at the end, and the exit code is 2 where a
    picture or a row of the table could not be used.
    """
    from mien.gallery.import_sources import read_entries
    from mien.gallery.importing import MIN_FACE, MIN_QUALITY, MIN_SHARPNESS, Gate, import_pictures
    from mien.models.runtime import default_threads

    if report is not None:
        _check_report(report)
    entries = read_entries(source, anywhere=anywhere)
    gate = Gate(
        min_face=MIN_FACE if min_face is None else min_face,
        min_score=min_score,
        min_sharpness=MIN_SHARPNESS if min_sharpness is None else min_sharpness,
        min_quality=MIN_QUALITY if min_quality is None else min_quality,
        refuse_several=refuse_several,
        take_unlike=take_unlike,
    )
    outcomes: list[Outcome] = []
    target = galleries.Target(
        gallery,
        embedder=embedder,
        accurate=accurate,
        key=key,
        keep_crops=keep_crops,
        detector=detector,
        size=size,
        threads=1,  # of a network: several pictures are looked at at a time
        device=device,
    )
    try:
        with target, progress_bar("importing", results_last=True) as progress:
            opened, workers = target.gallery(), threads or default_threads()
            for outcome in import_pictures(opened, target.analyzer, entries, gate=gate, workers=workers):
                outcomes.append(outcome)
                progress(len(outcomes), len(entries))
    finally:  # also of an import that was broken off
        if report is not None:
            _write_report(report, outcomes)
    _print(outcomes, opened.url, as_json=as_json)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(EXIT_BAD_INPUT)


def _check_report(path: Path) -> None:
    if path.suffix.lower() not in (".json", ".csv"):
        raise typer.BadParameter("a report is FILE.json or FILE.csv", param_hint="--report")
    check_target(path)


def _print(outcomes: Sequence[Outcome], gallery: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_dict(outcomes))
        return
    rows = [
        [printable(outcome.path), printable(outcome.name), outcome.status, printable(line)]
        for outcome in outcomes
        for line in (*outcome.warnings, *([outcome.message] if outcome.message else []))
    ]
    if rows:
        print_rows(["picture", "person", "outcome", "why"], rows)
    summary = f"{gallery}: " + ", ".join(f"{status}: {n}" for status, n in _counts(outcomes).items())
    if stdout().is_terminal:
        stdout().print(summary, highlight=False, markup=False, soft_wrap=True)
    else:
        note(summary)  # a pipe gets the table alone


def _as_dict(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {"schema": 1, "counts": _counts(outcomes), "pictures": [outcome.to_dict() for outcome in outcomes]}


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many of each status, and of those with a warning."""
    counts = Counter[str](outcome.status for outcome in outcomes)
    order = ("enrolled", "known", "duplicate", "left out", "failed")
    return {
        **{status: counts[status] for status in order},
        "warnings": sum(bool(outcome.warnings) for outcome in outcomes),
    }


def _write_report(path: Path, outcomes: Sequence[Outcome]) -> None:
    from mien.ops.atomic import write_whole

    if path.suffix.lower() == ".json":
        write_whole(path, json.dumps(_as_dict(outcomes), indent=2, ensure_ascii=False) + "\n", private=True)
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for outcome in outcomes:
        fields = {**outcome.to_dict(), "warnings": "; ".join(outcome.warnings)}
        writer.writerow([_cell(fields[column]) for column in _COLUMNS])
    write_whole(path, text.getvalue(), private=True)


def _cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula: names and paths are not ours."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
