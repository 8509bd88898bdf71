"""`mien identify`: who of a gallery is on a photograph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import galleries, options, pictures
from mien.cli.console import counted, percent, print_json, stdout, table
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.cli.pictures import Described
    from mien.gallery.decision import Identification
    from mien.types import Faces

_FPIR = 0.01


def identify(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Pictures, folders (searched through), globs, or - for standard input."
        ),
    ],
    gallery: galleries.GalleryUrl = galleries.URL,
    fpir: Annotated[
        float | None,
        typer.Option("--fpir", help="The share of strangers who may be given a name, above 0 and below 1; 0.01."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=-1.0,
            max=1.0,
            help="Similarity to reach, instead of --fpir; for an embedder that nobody has measured.",
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option("--candidates", min=0, max=1000, help="Also list this many people most like each face.")
    ] = 0,
    as_json: options.Json = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write annotated pictures into this folder.")
    ] = None,
    no_audit: Annotated[
        bool, typer.Option("--no-audit", help="Write no line to the audit trail, nor anything else to the gallery.")
    ] = False,
    approximate: Annotated[
        bool | None,
        typer.Option(
            "--approximate/--exact",
            help="For very large galleries: faster, now and then misses somebody. Above a million faces by default.",
        ),
    ] = None,
    key: galleries.KeySource = None,
    detector: options.Detector = options.DETECTOR,
    embedder: galleries.Embedder = None,
    size: options.Size = options.SIZE,
    min_score: options.MinScore = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Say who is on pictures: people of the gallery, or unknown.

    `unknown` is an answer like any other: whoever is not alike enough to anybody stays unknown, however few people
    the gallery has. With --json one picture gives one JSON object, and many give one object a line.
    """
    from mien.gallery.answers import identified

    if fpir is not None and threshold is not None:
        raise typer.BadParameter("either --fpir or --threshold", param_hint="--threshold")
    if fpir is not None and not 0 < fpir < 1:
        raise typer.BadParameter(f"{fpir} is not between 0 and 1", param_hint="--fpir")
    rate = _FPIR if fpir is None else fpir
    with galleries.open_gallery(gallery, key, readonly=no_audit, approximate=approximate) as opened:
        if threshold is None:
            opened.rule()  # none for an embedder that nobody has measured: said before any work
        analyzer = galleries.make_analyzer(
            opened.info, embedder, detector=detector, size=size, threshold=min_score, threads=threads, device=device
        )

        def describe(faces: Faces) -> Described:
            assert faces.embeddings is not None  # noqa: S101 - the analyzer embeds
            answers = (
                opened.identify(faces.embeddings, k=max(candidates, 5), fpir=rate, threshold=threshold)
                if len(faces)
                else []
            )
            return identified(faces, answers, candidates), [_label(answer) for answer in answers]

        with pictures.Output(print_json if as_json else _print_table, images, save) as output:
            opened.check(analyzer.load().embedder)
            for result in pictures.analyse(analyzer, output.files, keep_images=save is not None):
                output.add(result, describe)


def _label(answer: Identification) -> str:
    """On an annotated picture."""
    if answer.answer is None:
        return "unknown"
    return f"{answer.name or 'unnamed'}  {_percent(answer.probability)}".rstrip()


def _print_table(record: dict[str, Any]) -> None:
    faces, image = record["faces"], record["image"]
    title = f"{printable(image['path'])}  {counted(len(faces), 'face')}"
    stdout().print(title, style="bold", highlight=False, markup=False, soft_wrap=True)
    if faces:
        columns = ("face", "who", "probability", "similarity", "box x1, y1, x2, y2")
        stdout().print(table(columns, _rows(faces), whole=1))


def _rows(faces: list[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for i, face in enumerate(faces, 1):
        box = ", ".join(f"{value:.0f}" for value in face["box"])
        rows.append([str(i), *_shown(face["identity"]), box])
        rows += [["", *_shown(candidate, "  "), ""] for candidate in face.get("candidates", ())]
    return rows


def _shown(identity: dict[str, Any], indent: str = "") -> list[str]:
    """Who, how probable, how alike."""
    who = "unknown" if "id" not in identity else identity["person"] or f"unnamed {identity['id'][:8]}"
    similarity = f"{identity['similarity']:.3f}" if "similarity" in identity else ""
    return [f"{indent}{printable(who)}", _percent(identity.get("probability")), similarity]


def _percent(probability: float | None) -> str:
    """Empty where nobody has measured what similarities of the embedder mean."""
    return "" if probability is None else percent(probability)
