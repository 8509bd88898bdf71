"""`mien cluster`: group the faces of a folder of photographs by whom they show."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import EXIT_BAD_INPUT, counted, note, print_json, print_rows, progress_bar, report_error
from mien.cli.pictures import find_files
from mien.cli.targets import check_target
from mien.errors import DataError, ImageError
from mien.ops.files import is_folder, printable

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer
    from mien.gallery.grouping.album import Album
    from mien.gallery.grouping.face_file import MadeBy
    from mien.gallery.grouping.groups import Groups

_MOST_SHOWN = 30  # groups in the table


def cluster(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of photographs; searched through.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write the groups here; groups.json by default, or the file to extend. Embeddings: .npz beside.",
        ),
    ] = None,
    sheets: Annotated[
        Path | None,
        typer.Option("--sheets", metavar="DIR", help="Write a contact sheet of each group into this folder."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=-1.0, max=1.0, help="Similarity from which on groups are merged; higher splits more."
        ),
    ] = None,
    min_size: Annotated[int, typer.Option("--min-size", min=1, help="Faces that a group has at least.")] = 2,
    extend: Annotated[
        Path | None,
        typer.Option(
            "--extend", metavar="GROUPS", help="groups.json of an earlier run: its groups keep their numbers."
        ),
    ] = None,
    twice: Annotated[
        bool, typer.Option("--twice", help="One person may be in a picture twice (collages, mirrors).")
    ] = False,
    as_json: options.Json = False,
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    size: options.Size = options.SIZE,
    min_score: options.MinScore = None,
    accurate: options.Accurate = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Group the faces of a folder of photographs by whom they show.

    An interrupted run goes on where it was. A file that cannot be used never stops the others: failures are listed at
    the end, and the exit code is then 2.
    """
    from mien.gallery.grouping.album import Album
    from mien.gallery.grouping.face_file import MadeBy
    from mien.gallery.grouping.groups import embeddings_path, read_groups

    target = out or extend or Path("groups.json")
    _check(folder, target, sheets, extend)
    earlier, known = read_groups(extend) if extend is not None else (None, {})
    unlisted: list[str] = []
    files = find_files([str(folder)], None, unlisted)
    analyzer = options.make_analyzer(
        detector=detector,
        embedder=embedder,
        size=size,
        threshold=min_score,
        accurate=accurate,
        threads=threads,
        device=device,
    ).load()
    made_by = MadeBy.of(analyzer, size, min_score)
    if earlier is not None and earlier.made_by != made_by:
        raise DataError(
            f"{printable(extend)}: was made with {_setup(earlier.made_by)}; this run uses {_setup(made_by)}"
        )
    album = Album(embeddings_path(target), made_by)
    album.pictures.update(known)
    album.failed += [(str(folder), error) for error in unlisted]
    _find(album, files, analyzer)
    groups = _group(album, analyzer, threshold=threshold, min_size=min_size, twice=twice, earlier=earlier)
    _write(target, album, groups)
    shown = _show(sheets, album, groups, analyzer)
    if as_json:
        print_json(groups.to_dict(album.pictures))
    else:
        _print(groups)
        note(f"written: {target}, {embeddings_path(target).name}{shown}")
    for _, error in groups.failed:
        report_error(error)
    if groups.failed:
        raise typer.Exit(EXIT_BAD_INPUT)


def _check(folder: Path, target: Path, sheets: Path | None, extend: Path | None) -> None:
    """Refuse at once what could only fail later, and what would be lost."""
    from mien.gallery.grouping.contact import check_sheets_folder
    from mien.gallery.grouping.groups import read_groups

    if not is_folder(folder):
        raise ImageError(f"{printable(folder)}: no such folder")
    if target.suffix.lower() != ".json":
        raise typer.BadParameter("ends in .json; embeddings go into an .npz beside it", param_hint="--out")
    check_target(target)
    if target.exists() and target != extend:
        try:
            read_groups(target)
        except DataError as error:
            raise DataError(f"{error}; it stays as it is: name another file with --out, or remove it") from error
    if sheets is not None:
        check_sheets_folder(sheets, folder)


def _setup(made_by: MadeBy) -> str:
    score = "" if made_by.min_score is None else f", --min-score {made_by.min_score:g}"
    return f"{made_by.detector} --size {made_by.size}{score}, {made_by.embedder} {made_by.mode}"


def _find(album: Album, files: list[Path], analyzer: FaceAnalyzer) -> None:
    done = count(1)
    with progress_bar("finding faces", results_last=True) as progress:
        album.add(files, analyzer, progress=lambda: progress(next(done), len(files)))


def _group(
    album: Album, analyzer: FaceAnalyzer, *, threshold: float | None, min_size: int, twice: bool, earlier: Groups | None
) -> Groups:
    from mien.gallery.grouping.grouping import grouped, grouping_rule

    rule = grouping_rule(analyzer.embedder.record, album.made_by.mode)
    if threshold is None and earlier is not None:
        threshold = earlier.threshold
    paths = {digest: list(places) for digest, places in (earlier.paths if earlier is not None else {}).items()}
    for digest, places in album.paths.items():
        paths[digest] = list(dict.fromkeys([*places, *paths.get(digest, [])]))
    return grouped(
        album.pictures,
        paths,
        album.made_by,
        rule,
        threshold=rule.threshold_or(threshold),
        min_size=min_size,
        twice_in_picture=twice,
        earlier=earlier,
        failed=album.failed,
    )


def _write(target: Path, album: Album, groups: Groups) -> None:
    """First everything, then the groups, then without what nobody names: at any moment the two files fit."""
    from mien.gallery.grouping.groups import write_groups

    album.save()
    write_groups(target, groups, album.pictures)
    album.save(only=groups.paths)


def _show(sheets: Path | None, album: Album, groups: Groups, analyzer: FaceAnalyzer) -> str:
    """Write the contact sheets; what to say of them."""
    from mien.gallery.grouping.contact import write_sheets

    crop = analyzer.embedder.record.crop
    if sheets is None or crop is None:
        return ""
    with progress_bar("drawing contact sheets", results_last=True) as progress:
        number = write_sheets(sheets, groups, album.pictures, crop, progress=progress)
    return f"; contact sheets: {number} and overview.png in {printable(sheets)}"


def _print(groups: Groups) -> None:
    by_size = sorted(groups.members.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = []
    for number, keys in by_size[:_MOST_SHOWN]:
        pictures = list(dict.fromkeys(digest for digest, _ in keys))
        names = ", ".join(printable(Path(groups.paths[digest][0]).name) for digest in pictures[:3])
        rows.append([str(number), str(len(keys)), names + (", ..." if len(pictures) > 3 else "")])
    print_rows(["group", "faces", "pictures"], rows)
    together = sum(map(len, groups.members.values()))
    if len(by_size) > _MOST_SHOWN:
        note(f"and {len(by_size) - _MOST_SHOWN:,} smaller groups")
    note(
        f"{counted(together + len(groups.ungrouped), 'face')} in {counted(len(groups.paths), 'picture')}:"
        f" {counted(len(by_size), 'group')} of {counted(together, 'face')},"
        f" {counted(len(groups.ungrouped), 'face')} in no group"
    )
