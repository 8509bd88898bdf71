"""`mien evaluate liveness`: how many attacks pass, and how many people do not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import options
from mien.cli.console import exit_for_unreadable, print_json, progress_bar, stdout, table
from mien.cli.targets import check_report, write_json_report

if TYPE_CHECKING:
    from mien.evaluation.liveness import LivenessReport


def liveness(
    genuine: Annotated[Path, typer.Argument(help="Folder of videos of people, each with a .json of what was asked.")],
    attacks: Annotated[Path, typer.Argument(help="Folder with a folder of videos for each kind of attack.")],
    *,
    size: options.Size = "320",
    as_json: options.Json = False,
    out: Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")] = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Judge recordings of attempts to unlock: APCER for each kind of attack, and BPCER (ISO/IEC 30107-3).

    Videos that cannot be read are listed, and not measured; the exit code is then 2.
    """
    from mien.evaluation.liveness import evaluate_liveness, read_recordings
    from mien.liveness.observing import TASKS
    from mien.liveness.session import limits_for, seeing_with

    check_report(out, formats=(".json",))
    recordings = read_recordings(genuine, attacks)
    analyzer = options.make_analyzer(only=TASKS, size=size, threads=threads, device=device).load()
    embedder = analyzer.embedder
    with progress_bar("judging", results_last=True) as progress:
        report = evaluate_liveness(
            recordings,
            lambda: seeing_with(analyzer),
            lambda a, b: float(embedder.similarity(a, b)),
            limits_for(embedder),
            model=f"{options.DETECTOR}, {options.EMBEDDER}",
            progress=progress,
        )
    _print(report, as_json=as_json)
    write_json_report(report, out)
    exit_for_unreadable([bad.reason for bad in report.unreadable])


def _print(report: LivenessReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    rows = [_row("genuine", report.genuine.to_dict(genuine=True), "bpcer")]
    rows += [_row(kind, species.to_dict(genuine=False), "apcer") for kind, species in report.attacks.items()]
    stdout().print(table(["recordings", "n", "accepted", "error", "95 % interval", "refused for"], rows))


def _row(name: str, told: dict[str, Any], rate: str) -> list[str]:
    low, high = told[f"{rate}_interval"]
    reasons = ", ".join(f"{reason} {n}" for reason, n in told["reasons"].items())
    error = f"{rate.upper()} {told[rate]:.1%}"
    return [name, str(told["n"]), str(told["accepted"]), error, f"{low:.1%} to {high:.1%}", reasons]
