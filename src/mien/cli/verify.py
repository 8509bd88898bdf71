"""`mien verify`: do two photographs show one person?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import options
from mien.cli.console import EXIT_NO, print_json, reader_may_leave, stdout
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer
    from mien.types import Faces


def verify(
    a: Annotated[str, typer.Argument(metavar="A", help="A photograph.")],
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
    threshold: options.Threshold = None,
    accurate: options.Accurate = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Decide whether two photographs show the same person.

    Where a photograph shows several faces, the largest is compared; with --all, every pair, and the answer is yes if
    any pair matches. Exit code 0: same person; 1: different; 2: no face found, or another error.
    """
    analyzer = options.make_analyzer(
        detector=detector,
        embedder=embedder,
        size=size,
        threshold=threshold,
        accurate=accurate,
        threads=threads,
        device=device,
    )
    pairs = _compare(analyzer, a, b, fmr, every=every)
    same = any(pair["same"] for pair in pairs)
    with reader_may_leave():
        if as_json:
            answer = {"schema": 1, "pairs": pairs} if every else {"schema": 1, **pairs[0]}
            print_json(answer)
        else:
            for pair in pairs:
                _print(pair, every=every)
    raise typer.Exit(0 if same else EXIT_NO)


def _compare(analyzer: FaceAnalyzer, a: str, b: str, fmr: float, *, every: bool) -> list[dict[str, Any]]:
    _ = analyzer.load().embedder.threshold(fmr)  # a rate that is not there: said before any work
    first, second = (analyzer.all_faces(path) if every else analyzer.largest_face(path) for path in (a, b))
    return [
        {
            **analyzer.compare(_embedding(one), _embedding(other), fmr=fmr).to_dict(),
            "a": {"path": a, "box": one.to_dicts(embeddings=False)[0]["box"]},
            "b": {"path": b, "box": other.to_dicts(embeddings=False)[0]["box"]},
        }
        for one in first
        for other in second
    ]


def _embedding(face: Faces) -> Any:
    assert face.embeddings is not None  # noqa: S101 - largest_face and all_faces embed
    return face.embeddings[0]


def _print(pair: dict[str, Any], *, every: bool) -> None:
    where = ""
    if every:
        where = "".join(
            f"{printable(pair[side]['path'])} at {pair[side]['box'][0]:.0f},{pair[side]['box'][1]:.0f}  "
            for side in ("a", "b")
        )
    answer = "same person" if pair["same"] else "different people"
    stdout().print(
        f"{where}{answer}: similarity {pair['similarity']:.3f} (threshold {pair['threshold']:.3f} at FMR"
        f" {pair['fmr']:g}), probability {pair['probability']:.1%}",
        highlight=False,
        markup=False,
        soft_wrap=True,
        style="green" if pair["same"] else "yellow",
    )
