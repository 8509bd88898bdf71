"""Which pictures the user means: files, folders and patterns, expanded in a stable order."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.errors import ImageError

__all__ = ["IMAGE_EXTENSIONS", "folder_error", "is_folder", "list_images", "natural_key", "printable", "subfolders"]

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
)

UNREAD_EXTENSIONS = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
)
"""Pictures that mien does not read: worth a word when a folder holds them."""

_LEFT_BY_ARCHIVERS = "__MACOSX"

_OnError = Callable[[OSError], None]
_OnUnread = Callable[[Path], None]


def list_images(
    paths: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = True,
    extensions: Collection[str] = IMAGE_EXTENSIONS,
    on_error: _OnError | None = None,
    on_unread: _OnUnread | None = None,
) -> Iterator[Path]:
    """Expand files, folders and glob patterns to files, lazily.

    A path that exists is taken as it is, even where it holds `*` or `[`. A file is always yielded, whatever
    its name; so is a path that matches nothing, for `load_image` to say that there is no such file. A folder
    gives its files of the known extensions in natural order ("2" before "10"), hidden ones left out; links to
    folders are not followed, as they can lead anywhere.

    Args:
        paths: files, folders, or patterns for shells that do not expand them (`*`, `?`, `[...]`, `**`).
        recursive: whether to enter the folders inside folders.
        extensions: lower-case file extensions, with their dot, that are pictures in a folder.
        on_error: called with the error of a folder that cannot be listed, to go on; by default it is raised.
        on_unread: called with every picture in a folder that is of a kind mien does not read.

    Raises:
        ImageError: a folder cannot be listed.
    """
    walk = _Walk(recursive, frozenset(extensions), on_error or _raise, on_unread or (lambda _: None))
    for path in paths:
        for match in _matches(os.fspath(path)):
            if is_folder(match):
                yield from walk(match)
            else:
                yield match


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, in natural order; hidden ones, and what archivers leave behind, are left out.

    Raises:
        ImageError: it cannot be listed.
    """
    try:
        names = sorted(os.listdir(folder), key=natural_key)  # noqa: PTH208  (names, not paths)
    except OSError as error:
        raise folder_error(error) from error
    visible = [folder / name for name in names if not name.startswith(".") and name != _LEFT_BY_ARCHIVERS]
    return [path for path in visible if is_folder(path)]


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


@dataclass(frozen=True)
class _Walk:
    """Goes through a folder, in natural order."""

    recursive: bool
    extensions: frozenset[str]
    on_error: _OnError
    on_unread: _OnUnread

    def __call__(self, folder: Path) -> Iterator[Path]:
        try:
            entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except OSError as error:
            self.on_error(error)
            return
        for entry in sorted(entries, key=lambda entry: natural_key(entry.name)):
            path, extension = folder / entry.name, Path(entry.name).suffix.lower()
            if is_folder(path):
                if self.recursive and not entry.is_symlink():
                    yield from self(path)
            elif extension in self.extensions:
                yield path
            elif extension in UNREAD_EXTENSIONS:
                self.on_unread(path)


def folder_error(error: OSError) -> ImageError:
    """What to say about a folder that cannot be listed."""
    return ImageError(f"{printable(error.filename)}: the folder cannot be listed: {str(error.strerror).lower()}")


def _raise(error: OSError) -> None:
    raise folder_error(error) from error
