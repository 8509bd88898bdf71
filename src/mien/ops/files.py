"""Which pictures the user means: files, folders and patterns, expanded in a stable order."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from mien.errors import ImageError

__all__ = ["IMAGE_EXTENSIONS", "folder_error", "is_folder", "list_images", "natural_key", "printable"]

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
)

_OnError = Callable[[OSError], None]


def list_images(
    paths: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = True,
    extensions: Collection[str] = IMAGE_EXTENSIONS,
    on_error: _OnError | None = None,
) -> Iterator[Path]:
    """Expand files, folders and glob patterns to files, lazily.

    A path that exists is taken as it is, even where it holds `*` or `[`. A file is always yielded, whatever
    its name; so is a path that matches nothing, for `load_image` to say that there is no such file. A folder
    gives its files of the known extensions in natural order ("2" before "10"), hidden ones left out; links to
    folders are followed, each folder once per path given.

    Args:
        paths: files, folders, or patterns for shells that do not expand them (`*`, `?`, `[...]`, `**`).
        recursive: whether to enter the folders inside folders.
        extensions: lower-case file extensions, with their dot, that are pictures in a folder.
        on_error: called with the error of a folder that cannot be listed, to go on; by default it is raised.

    Raises:
        ImageError: a folder cannot be listed.
    """
    report = _raise if on_error is None else on_error
    for path in paths:
        for match in _matches(os.fspath(path)):
            if is_folder(match):
                yield from _walk(match, frozenset(extensions), recursive, report, set())
            else:
                yield match


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False where the system does not say (no permission, an impossible name)."""
    return os.path.isdir(path)  # noqa: PTH112  (Path.is_dir raises)


def printable(text: object) -> str:
    """One printable line: control characters, newlines and undecodable bytes are escaped."""
    string = os.fsdecode(text) if isinstance(text, (bytes, os.PathLike)) else str(text)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in string)


def natural_key(name: str) -> tuple[object, ...]:
    """Sort key that counts: "face 2" comes before "face 10", and case matters only between equals."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((int(part), len(part)) if i % 2 else part for i, part in enumerate(parts)), name


def _matches(pattern: str) -> list[Path]:
    if os.path.lexists(pattern) or not glob.has_magic(pattern):
        return [Path(pattern)]
    matches = [Path(match) for match in glob.iglob(pattern, recursive=True)]  # noqa: PTH207  (absolute too)
    if "**" in pattern:  # `**` names every folder as well as what is in it
        matches = [match for match in matches if not is_folder(match)]
    return sorted(matches, key=_path_key) or [Path(pattern)]


def _path_key(path: Path) -> list[tuple[object, ...]]:
    return [natural_key(part) for part in path.parts]


def _walk(
    folder: Path, extensions: frozenset[str], recursive: bool, report: _OnError, seen: set[tuple[int, int]]
) -> Iterator[Path]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up, or a second link
            return
        seen.add((status.st_dev, status.st_ino))
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        report(error)
        return
    for entry in sorted(entries, key=lambda entry: natural_key(entry.name)):
        path = folder / entry.name
        if is_folder(path):
            if recursive:
                yield from _walk(path, extensions, recursive, report, seen)
        elif path.suffix.lower() in extensions:
            yield path


def folder_error(error: OSError) -> ImageError:
    """What to say about a folder that cannot be listed."""
    return ImageError(f"{printable(error.filename)}: the folder cannot be listed: {str(error.strerror).lower()}")


def _raise(error: OSError) -> None:
    raise folder_error(error) from error
