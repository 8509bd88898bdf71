"""`mien verify`: do two photographs show one person?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import options
from mien.cli.console import EXIT_NO, note, percent, print_json, reader_may_leave, stdout, table
from mien.ops.files import printable

STDIN = "-"
_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer
    from mien.types import Faces


def verify(
    a: Annotated[str, typer.Argument(metavar="A", help="A photograph; - for standard input.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    fmr: Annotated[
        float, typer.Option("--fmr", help="False match rate at which to decide: 1e-2, 1e-3 or 1e-4.")
    ] = 1e-3,
    every: Annotated[
        bool,
        typer.Option("--all", help="Compare every face of A with every face of B, not only the largest."),
    ] = False,
    as_json: options.Json = False,
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    size: options.Size = options.SIZE,
    min_score: options.MinScore = None,
    accurate: options.Accurate = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    precision: options.Precision = None,
) -> None:
    """Decide whether two photographs show the same person.

    Where a photograph shows several faces, the largest is compared; with --all, every pair, and the answer is yes if
    any pair matches. Exit code 0: same person; 1: different; 2: no face found, or another error.
    """
    analyzer = options.make_analyzer(
        detector=detector,
        embedder=embedder,
        size=size,
        threshold=min_score,
        accurate=accurate,
        threads=threads,
        device=device,
        precision=precision,
    )
    if a == b == STDIN:
        raise typer.BadParameter("only one of the two can be - (standard input)", param_hint="A B")
    pairs = _compare(analyzer, a, b, fmr, every=every)
    same = any(pair["same"] for pair in pairs)
    with reader_may_leave():
        if as_json:
            print_json({"schema": 1, "pairs": pairs} if every else {"schema": 1, **pairs[0]})
        elif every:
            _print_all(pairs)
        else:
            stdout().print(_sentence(pairs[0]), style="green" if same else "yellow", **_PLAIN)
    raise typer.Exit(0 if same else EXIT_NO)


def _compare(analyzer: FaceAnalyzer, a: str, b: str, fmr: float, *, every: bool) -> list[dict[str, Any]]:
    """Every pair asked for, most alike first."""
    _ = analyzer.load().embedder.threshold(fmr)  # a rate that is not there: said before any work
    first, second = (_faces(analyzer, path, every=every) for path in (a, b))
    pairs = [
        {
            **analyzer.compare(_embedding(one), _embedding(other), fmr=fmr).to_dict(),
            "a": {"path": a, "box": one.to_dicts(embeddings=False)[0]["box"]},
            "b": {"path": b, "box": other.to_dicts(embeddings=False)[0]["box"]},
        }
        for one in first
        for other in second
    ]
    return sorted(pairs, key=lambda pair: -pair["similarity"])


def _faces(analyzer: FaceAnalyzer, path: str, *, every: bool) -> Faces:
    """The faces of a picture that are to be compared; says so where others are not."""
    source = sys.stdin.buffer if path == STDIN else path
    if every:
        return analyzer.all_faces(source)
    return analyzer.largest_face(
        source, on_several=lambda n: note(f"{path} shows {n} faces; the largest is compared (--all compares every one)")
    )


def _embedding(face: Faces) -> Any:
    assert face.embeddings is not None  # noqa: S101 - largest_face and all_faces embed
    return face.embeddings[0]


def _sentence(pair: dict[str, Any]) -> str:
    """The answer in words: a pair below a strict threshold is not therefore two people."""
    if pair["same"]:
        answer = "same person"
    else:
        answer = "not confirmed as one person" if pair["probability"] >= 0.5 else "different people"
    return (
        f"{answer}: similarity {pair['similarity']:.3f} (threshold {pair['threshold']:.3f} at FMR {pair['fmr']:g}),"
        f" probability of one person {percent(pair['probability'])}"
    )


def _print_all(pairs: list[dict[str, Any]]) -> None:
    rows = [
        [
            *(", ".join(f"{value:.0f}" for value in pair[side]["box"]) for side in ("a", "b")),
            f"{pair['similarity']:.3f}",
            percent(pair["probability"]),
            "yes" if pair["same"] else "no",
        ]
        for pair in pairs
    ]
    names = (printable(Path(pairs[0][side]["path"]).name) for side in ("a", "b"))
    columns = [*(f"face in {name}" for name in names), "similarity", "probability", "same"]
    stdout().print(table(columns, rows))
    same = sum(pair["same"] for pair in pairs)
    summary = f"{same} of {len(pairs)} pairs match (threshold {pairs[0]['threshold']:.3f} at FMR {pairs[0]['fmr']:g})"
    stdout().print(summary, style="green" if same else "yellow", **_PLAIN)
