"""`mien gallery reembed`: all faces of a gallery embedded anew, by another embedder or mode."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import galleries, options
from mien.cli.console import EXIT_BAD_INPUT, print_json, progress_bar, report_error, stdout, table
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.gallery.records import GalleryInfo
    from mien.gallery.reembedding import Accuracy, Reembedding


def reembed(
    gallery: galleries.GalleryUrl = galleries.URL,
    embedder: options.Embedder = options.EMBEDDER,
    accurate: options.Accurate = False,
    key: galleries.KeySource = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Remove faces that cannot be embedded anew, for good.")
    ] = False,
    as_json: options.Json = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Embed all faces of a gallery anew, from kept crops or their source files, and switch it over at once.

    After an interruption, run the same command again: it goes on where it stopped, and until the switch the gallery
    stays as it was. Faces that cannot be embedded anew are listed, and nothing is switched, unless --drop-missing.
    """
    from mien.gallery.encryption import read_cipher
    from mien.gallery.reembedding import reembed

    cipher = read_cipher(key)
    with galleries.open_gallery(gallery, key) as opened:
        analyzer = options.make_analyzer(embedder=embedder, accurate=accurate, threads=threads, device=device)
        with progress_bar("embedding", results_last=True) as progress:
            result = reembed(
                opened,
                analyzer.embedder,
                _progress_file(gallery, opened.info),
                cipher=cipher,
                drop_missing=drop_missing,
                report=progress,
            )
    if as_json:
        print_json(_as_dict(result))
    else:
        _print(result)
    if not result.switched:
        report_error(
            f"{len(result.missing)} faces cannot be embedded anew, so the gallery stays as it was; bring their pictures"
            " back, or remove these faces by --drop-missing"
        )
        raise typer.Exit(EXIT_BAD_INPUT)


def _progress_file(url: str, info: GalleryInfo) -> Path:
    """Beside a gallery that is a file; else in the user's cache."""
    if "://" not in url:
        return Path(f"{Path(url).expanduser()}.reembed")
    from mien.models.store import WeightsStore

    folder = WeightsStore().root / "reembed"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{info.id}.reembed"


def _print(result: Reembedding) -> None:
    rows = [
        ["embedder", result.before.embedder, result.after.embedder],
        ["mode", result.before.mode, result.after.mode],
        ["length, metric", *(f"{info.dimension}, {info.metric}" for info in (result.before, result.after))],
        ["nearest other face is of the same person", *map(_rank1, (result.accuracy_before, result.accuracy_after))],
        ["separation (d-prime)", *map(_separation, (result.accuracy_before, result.accuracy_after))],
    ]
    stdout().print(table(["", "before", "after"], [[printable(cell) for cell in row] for row in rows]))
    if result.missing:
        lost = [[str(face.face), printable(face.person or "nobody"), printable(face.reason)] for face in result.missing]
        stdout().print(table(["removed" if result.switched else "missing", "person", "why"], lost))
    resumed = f" ({result.resumed} of them before)" if result.resumed else ""
    state = "switched" if result.switched else "not switched"
    stdout().print(f"faces embedded: {result.faces}{resumed}; gallery {state}", highlight=False, soft_wrap=True)


def _rank1(accuracy: Accuracy | None) -> str:
    return "nobody has two faces" if accuracy is None else f"{accuracy.rank1:.2%} of {accuracy.faces}"


def _separation(accuracy: Accuracy | None) -> str:
    return "" if accuracy is None or accuracy.separation is None else f"{accuracy.separation:.2f}"


def _as_dict(result: Reembedding) -> dict[str, Any]:
    measured = {"before": result.accuracy_before, "after": result.accuracy_after}
    return {
        "schema": 1,
        "switched": result.switched,
        "faces": result.faces,
        "resumed": result.resumed,
        "missing": [asdict(face) for face in result.missing],
        "before": result.before.to_dict(),
        "after": result.after.to_dict(),
        "accuracy": {when: asdict(value) if value else None for when, value in measured.items()},
    }
