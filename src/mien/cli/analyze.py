"""`mien analyze`: the faces of files, folders and standard input, as a table, JSON, or annotated pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import options
from mien.cli.console import EXIT_BAD_INPUT, print_json, report_error, stdout, table, track
from mien.errors import ImageError, MienError

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer, FileResult

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
    only: Annotated[str | None, typer.Option("--only", help="What to do, separated by commas: detect, embed.")] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Include the embeddings in the JSON.")] = False,
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    size: options.Size = options.SIZE,
    threshold: options.Threshold = None,
    accurate: options.Accurate = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Find and describe the faces of pictures.

    With --json one picture gives one JSON object, and many give one object a line. A file that cannot be used never
    stops the others: failures are listed at the end, and the exit code is then 2.
    """
    tasks = options.tasks(only, ("detect", "embed") if embeddings else ("detect",))
    analyzer = options.make_analyzer(
        detector=detector,
        embedder=embedder,
        only=tasks,
        size=size,
        threshold=threshold,
        accurate=accurate,
        threads=threads,
        device=device,
    )
    if "embed" in tasks and not embeddings:
        embeddings = as_json  # asked for by --only
    if save is not None:
        _make_folder(save)
    files = _files(paths)
    results = _results(analyzer, files, keep_images=save is not None)
    output = _Output(as_json=as_json, embeddings=embeddings, save=save, roots=_roots(paths), inputs=files)
    try:
        for result in results:
            output.add(result)
    finally:
        output.close()
    if output.failures:
        raise typer.Exit(EXIT_BAD_INPUT)


def _files(paths: list[str]) -> list[str]:
    """Every picture that the arguments name, or `-` alone."""
    from mien.ops.files import list_images

    if STDIN in paths:
        if len(paths) > 1:
            raise typer.BadParameter("- (standard input) cannot be mixed with other paths", param_hint="PATH")
        return paths
    files = [str(path) for path in list_images(paths)]
    if not files:
        raise ImageError(f"no pictures in {', '.join(paths)}")
    return files


def _results(analyzer: FaceAnalyzer, files: list[str], *, keep_images: bool) -> Iterable[FileResult]:
    if files == [STDIN]:  # read no further than the byte limit
        return [analyzer.load().file(sys.stdin.buffer, name=STDIN, keep_image=keep_images)]
    if len(files) == 1:
        return [analyzer.load().file(files[0], keep_image=keep_images)]
    return track(analyzer.files(files, keep_images=keep_images), total=len(files), what="analysing")


def _make_folder(folder: Path) -> None:
    """Make the folder for annotated pictures before any work is done for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file, not a folder" if folder.exists() else f"cannot be made: {error.strerror}"
        raise MienError(f"--save {folder}: {reason}") from error


def _roots(paths: list[str]) -> list[Path]:
    return [Path(p) for p in paths if p != STDIN and Path(p).is_dir()]


class _Output:
    """Prints results as they come; on a terminal, a table of each picture."""

    def __init__(
        self, *, as_json: bool, embeddings: bool, save: Path | None, roots: list[Path], inputs: list[str]
    ) -> None:
        self._as_json = as_json
        self._embeddings = embeddings
        self._save = save
        self._roots = roots
        self._originals = {Path(path).resolve() for path in inputs} if save else set()
        self._saved: dict[Path, str] = {}  # target -> the picture that it was made of
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
        if self._save is not None:
            self._write_annotated(self._save, result)

    def _write_annotated(self, folder: Path, result: FileResult) -> None:
        from mien.ops.draw import draw_faces
        from mien.ops.image import save_image

        assert result.image is not None  # noqa: S101 - kept because of --save
        assert result.faces is not None  # noqa: S101
        target = folder / self._relative(result.path)
        try:
            self._check_target(target, result.path)
            _make_folder(target.parent)
            save_image(target, draw_faces(result.image, result.faces))
        except MienError as error:
            self.failures.append(str(error))

    def _check_target(self, target: Path, source: str) -> None:
        """Refuse to lose a picture: an original, or one that was saved a moment ago.

        Raises:
            MienError: the annotated picture would take its place.
        """
        if target.resolve() in self._originals:
            raise MienError(f"--save {target}: that is a picture of this run itself; choose another folder")
        first = self._saved.setdefault(target, source)
        if first != source:
            raise MienError(f"--save {target}: {source} has the name of {first}; give their folder instead")

    def _relative(self, path: str) -> Path:
        """Where below DIR: as below the folder that was given, and never outside of DIR."""
        if path == STDIN:
            return Path("stdin.png")
        source = Path(path)
        for root in self._roots:
            if source.is_relative_to(root):
                source = source.relative_to(root)
                break
        else:
            source = Path(source.name)
        return source if source.suffix.lower() in (".jpg", ".jpeg", ".png") else source.with_name(source.name + ".png")

    def close(self) -> None:
        for failure in self.failures:
            report_error(failure)
        if len(self.failures) > 1:
            report_error(f"{len(self.failures)} files failed")


def _print_table(record: dict[str, Any]) -> None:
    faces, image = record["faces"], record["image"]
    count = f"{len(faces)} face" + ("" if len(faces) == 1 else "s")
    title = f"{image['path']}  {image['width']} x {image['height']}  {count}"
    rows = [
        [
            str(i),
            f"{face['score']:.2f}",
            ", ".join(f"{value:.0f}" for value in face["box"]),
            ", ".join(f"({x:.0f}, {y:.0f})" for x, y in face["landmarks"][:2]),
        ]
        for i, face in enumerate(faces, 1)
    ]
    console = stdout()
    console.print(title, style="bold", highlight=False, markup=False, emoji=False, soft_wrap=True)
    if rows:
        console.print(table(["face", "score", "box x1, y1, x2, y2", "eyes (left, right)"], rows))
