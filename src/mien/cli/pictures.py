"""Pictures that commands work through: which ones the user means, their faces, and annotated copies of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import typer

from mien.cli.console import EXIT_BAD_INPUT, note, report_error, track
from mien.errors import ImageError, MienError
from mien.ops.files import folder_error, is_folder, list_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.analyzer import FaceAnalyzer
    from mien.many import FileResult
    from mien.types import Faces

STDIN = "-"

Described: TypeAlias = "tuple[list[dict[str, Any]], list[str]]"
"""The JSON of each face, and its label on an annotated picture."""


def list_files(paths: list[str], save: Path | None, failures: list[str]) -> list[Path]:
    """The pictures of `paths`, none for standard input.

    Folders that cannot be listed are added to `failures`; what an earlier run saved is no picture of this one.
    """
    if STDIN in paths:
        if len(paths) > 1:
            raise typer.BadParameter("- (standard input) cannot be mixed with other paths", param_hint="PATH")
        return []
    return find_files(paths, save, failures)


def find_files(paths: list[str], save: Path | None, failures: list[str]) -> list[Path]:
    """As `list_files`, where `-` is a file like any other.

    Raises:
        ImageError: there are none.
    """
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


def analyse(analyzer: FaceAnalyzer, files: list[Path], *, keep_images: bool) -> Iterable[FileResult]:
    """Load the models (a missing one is one error, not one for each file), then go through the files."""
    if not files:  # standard input, read no further than the byte limit
        return [analyzer.load().file(sys.stdin.buffer, name=STDIN, keep_image=keep_images)]
    if len(files) == 1:
        return [analyzer.load().file(files[0], keep_image=keep_images)]
    return track(analyzer.files(files, keep_images=keep_images), total=len(files), what="analysing")


def make_folder(folder: Path) -> None:
    """Make the folder for annotated pictures before any work is done for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file, not a folder" if os.path.lexists(folder) else f"cannot be made: {error.strerror}"
        raise MienError(f"--save {folder}: {reason}") from error


class Output:
    """Prints results as they come, saves annotated pictures, and lists what failed at the end: exit code 2.

    Args:
        show: prints the JSON of one picture, or a table of it.
        paths: as given.
        save: folder for annotated pictures, made at once; or None.

    Attributes:
        files: the pictures; none for standard input.
    """

    def __init__(self, show: Callable[[dict[str, Any]], None], paths: list[str], save: Path | None) -> None:
        self._show = show
        self._failures: list[str] = []
        if save is not None:
            make_folder(save)
        self.files = list_files(paths, save, self._failures)
        self._save = None if save is None else AnnotatedPictures(save, paths, self.files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._save is not None and self._save.count:
            note(f"annotated pictures: {self._save.count} in {self._save.folder}")
        for failure in self._failures:
            report_error(failure)
        if len(self._failures) > 1:
            report_error(f"{len(self._failures)} files failed")
        if self._failures and error is None:
            raise typer.Exit(EXIT_BAD_INPUT)

    def add(self, result: FileResult, describe: Callable[[Faces], Described]) -> None:
        """Print and save one result, described by the function, if there is something to describe."""
        from mien.analyzer import to_dict

        if result.faces is None:
            self._failures.append(str(result.error))
            return
        faces, labels = describe(result.faces)
        self._show({**to_dict(result.path, result.faces), "faces": faces})
        if self._save is not None:
            try:
                self._save.write(result, labels)
            except MienError as error:
                self._failures.append(str(error))


class AnnotatedPictures:
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

    def write(self, result: FileResult, labels: Sequence[str]) -> None:
        """Write one annotated picture.

        Args:
            result: with its picture.
            labels: one for each face.

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
        make_folder(target.parent)
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
