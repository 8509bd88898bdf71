"""`mien analyze`: the faces of files, folders and standard input, as a table, JSON, or annotated pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import options
from mien.cli.console import EXIT_BAD_INPUT, note, print_json, report_error, stdout, table, track
from mien.errors import ImageError, MienError
from mien.ops.files import folder_error, is_folder, list_images, printable

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer, FileResult, Task

STDIN = "-"


def analyze(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Pictures, folders (searched through), globs, or - for standard input."),
    ],
    as_json: options.Json = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write annotated pictures into this folder.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="What to do, separated by commas: detect, expression, embed; detect and expression by default.",
        ),
    ] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Include the embeddings in the JSON.")] = False,
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    expression_model: options.ExpressionModel = None,
    size: options.Size = options.SIZE,
    min_score: options.MinScore = None,
    accurate: options.Accurate = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Find and describe the faces of pictures.

    With --json one picture gives one JSON object, and many give one object a line. A file that cannot be used never
    stops the others: failures are listed at the end, and the exit code is then 2.
    """
    tasks = _tasks(only, embeddings=embeddings)
    if expression_model is not None and "expression" not in tasks:
        raise typer.BadParameter("needs no --only, or one with expression", param_hint="--expression-model")
    if embeddings and not (as_json and "embed" in tasks):
        raise typer.BadParameter("needs --json, and no --only without embed", param_hint="--embeddings")
    analyzer = options.make_analyzer(
        detector=detector,
        embedder=embedder,
        expression=expression_model,
        only=tasks,
        size=size,
        threshold=min_score,
        accurate=accurate,
        threads=threads,
        device=device,
    )
    if "embed" in tasks and not embeddings:
        embeddings = as_json  # asked for by --only
    if save is not None:
        _make_folder(save)
    output = _Output(as_json=as_json, embeddings=embeddings)
    files = _files(paths, save, output.failures)
    if save is not None:
        output.save = _Annotated(save, paths, files)
    results = _results(analyzer, files, keep_images=save is not None)
    try:
        for result in results:
            output.add(result)
    finally:
        output.close()
    if output.failures:
        raise typer.Exit(EXIT_BAD_INPUT)


def _tasks(only: str | None, *, embeddings: bool) -> tuple[Task, ...]:
    """What to do: as `--only` says, or everything but embeddings, which are there where they are asked for."""
    from mien.analyzer import TASKS

    return options.tasks(only, [task for task in TASKS if task != "embed" or embeddings])


def _files(paths: list[str], save: Path | None, failures: list[str]) -> list[Path]:
    """The pictures of `paths`, none for standard input.

    Folders that cannot be listed are added to `failures`; what an earlier run saved is no picture of this one.
    """
    if STDIN in paths:
        if len(paths) > 1:
            raise typer.BadParameter("- (standard input) cannot be mixed with other paths", param_hint="PATH")
        return []
    unread: list[Path] = []
    listed = list_images(
        paths, on_error=lambda error: failures.append(str(folder_error(error))), on_unread=unread.append
    )
    files = _without_saved(listed, paths, save) if save else list(listed)
    if unread:
        kinds = ", ".join(sorted({path.suffix[1:].upper() for path in unread}))
        report_error(f"pictures left out, as mien does not read {kinds}: {len(unread)}; convert them to JPEG")
    if not files:
        raise ImageError(failures[0] if failures else f"no pictures in {', '.join(paths)}")
    return files


def _without_saved(files: Iterable[Path], paths: list[str], save: Path) -> list[Path]:
    """Leave out what lies in the folder for annotated pictures, unless that is what was given."""
    saved = Path(os.path.realpath(save))
    if any(Path(os.path.realpath(path)).is_relative_to(saved) for path in paths):
        return list(files)
    return [file for file in files if not Path(os.path.realpath(file)).is_relative_to(saved)]


def _results(analyzer: FaceAnalyzer, files: list[Path], *, keep_images: bool) -> Iterable[FileResult]:
    """Load the models (a missing one is one error, not one for each file), then go through the files."""
    if not files:  # standard input, read no further than the byte limit
        return [analyzer.load().file(sys.stdin.buffer, name=STDIN, keep_image=keep_images)]
    if len(files) == 1:
        return [analyzer.load().file(files[0], keep_image=keep_images)]
    return track(analyzer.files(files, keep_images=keep_images), total=len(files), what="analysing")


def _make_folder(folder: Path) -> None:
    """Make the folder for annotated pictures before any work is done for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file, not a folder" if os.path.lexists(folder) else f"cannot be made: {error.strerror}"
        raise MienError(f"--save {folder}: {reason}") from error


class _Output:
    """Prints results as they come; on a terminal, a table of each picture."""

    def __init__(self, *, as_json: bool, embeddings: bool) -> None:
        self._as_json = as_json
        self._embeddings = embeddings
        self.save: _Annotated | None = None
        self.failures: list[str] = []

    def add(self, result: FileResult) -> None:
        from mien.analyzer import to_dict

        if result.faces is None:
            self.failures.append(str(result.error))
            return
        record = to_dict(result.path, result.faces, embeddings=self._embeddings)
        if self._as_json:
            print_json(record)
        else:
            _print_table(record)
        if self.save is not None:
            try:
                self.save.write(result)
            except MienError as error:
                self.failures.append(str(error))

    def close(self) -> None:
        if self.save is not None and self.save.count:
            note(f"annotated pictures: {self.save.count} in {self.save.folder}")
        for failure in self.failures:
            report_error(failure)
        if len(self.failures) > 1:
            report_error(f"{len(self.failures)} files failed")


class _Annotated:
    """Annotated pictures in a folder: one for each picture, never outside of it, never over a picture that was given.

    Args:
        folder: exists.
        paths: as given; what lies below a folder among them keeps its place below it.
        files: the pictures.
    """

    def __init__(self, folder: Path, paths: list[str], files: list[Path]) -> None:
        self.folder = folder
        self.count = 0
        self._roots = [root for path in paths if path != STDIN and is_folder(root := Path(os.path.normpath(path)))]
        self._given = {os.path.realpath(file) for file in files}
        self._source_of: dict[str, str] = {}

    def write(self, result: FileResult) -> None:
        """Write one annotated picture.

        Raises:
            MienError: it cannot be written.
        """
        from mien.ops.draw import draw_faces
        from mien.ops.image import save_image

        assert result.image is not None  # noqa: S101 - kept because of --save
        assert result.faces is not None  # noqa: S101
        target = self.folder / self._free(self._relative(result.path), result.path)
        if os.path.realpath(target) in self._given:
            raise MienError(f"{target}: is one of the pictures given, and stays as it is; --save into another folder")
        _make_folder(target.parent)
        shown = [_said(face) or f"{face['score']:.2f}" for face in result.faces.to_dicts(embeddings=False)]
        labels = [f"{i}  {text}" for i, text in enumerate(shown, 1)]
        save_image(target, draw_faces(result.image, result.faces, labels))
        self.count += 1

    def _relative(self, path: str) -> Path:
        """Where below the folder: as below the folder that was given."""
        if path == STDIN:
            return Path("stdin.png")
        source = Path(os.path.normpath(path))
        below = (source.relative_to(root) for root in self._roots if source.is_relative_to(root))
        place = next((place for place in below if ".." not in place.parts), Path(source.name))
        return place if place.suffix.lower() in (".jpg", ".jpeg", ".png") else place.with_name(place.name + ".png")

    def _free(self, place: Path, path: str) -> Path:
        """The place, numbered where another picture has taken it: two folders can hold one name."""
        number, free = 1, place
        # compared without case: so do the file systems of macOS and Windows
        while self._source_of.setdefault(str(free).casefold(), path) != path:
            number += 1
            free = place.with_name(f"{place.stem}-{number}{place.suffix}")
        return free


def _said(face: dict[str, Any]) -> str:
    """The expression of a face in words: "happiness 0.93", "uncertain (sadness 0.41)"; "" where there is none."""
    if "expression" not in face:
        return ""
    answer = face["expression"]
    best = max(answer["scores"], key=answer["scores"].__getitem__)
    said = f"{best} {answer['confidence']:.2f}"
    return said if answer["label"] == best else f"{answer['label']} ({said})"


def _print_table(record: dict[str, Any]) -> None:
    faces, image = record["faces"], record["image"]
    count = f"{len(faces)} face" + ("" if len(faces) == 1 else "s")
    title = f"{printable(image['path'])}  {image['width']} x {image['height']}  {count}"
    columns = ["face", "score", "box x1, y1, x2, y2"]
    rows = [
        [str(i), f"{face['score']:.2f}", ", ".join(f"{value:.0f}" for value in face["box"])]
        for i, face in enumerate(faces, 1)
    ]
    if any("expression" in face for face in faces):
        columns.append("expression")
        rows = [[*row, printable(_said(face))] for row, face in zip(rows, faces, strict=True)]
    else:  # both would not fit a terminal
        columns.append("eyes (left, right)")
        eyes = [", ".join(f"({x:.0f}, {y:.0f})" for x, y in face["landmarks"][:2]) for face in faces]
        rows = [[*row, places] for row, places in zip(rows, eyes, strict=True)]
    console = stdout()
    console.print(title, style="bold", highlight=False, markup=False, soft_wrap=True)
    if rows:
        console.print(table(columns, rows))
