"""Where the files of a data set lie: a zip archive, read in place, or a folder.

Archives come from the web and are hostile until read: nothing is unpacked to the disk, names in them are never paths,
and nothing larger than `MAX_BYTES` is inflated, whatever its header says.
"""

from __future__ import annotations

import io
import os
import threading
import weakref
import zipfile
from collections.abc import Collection
from pathlib import Path
from stat import S_ISREG
from typing import Protocol, Self

from mien.errors import DataError, ImageDecodeError, ImageError, ImageTooLargeError
from mien.ops.files import printable
from mien.ops.image import load_image
from mien.types import ImageArray

MAX_BYTES = 32 * 1024 * 1024
"""Of a table of labels, of a picture in an archive, and of an archive's directory (some 300,000 files)."""

_ENCRYPTED = 0x1
# bzip2 and LZMA are left out: no data set needs them, and the memory that LZMA takes is the file's choice.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Source(Protocol):
    """Named files, of which pictures can be read by several threads at once."""

    def __contains__(self, name: object) -> bool:
        """Whether there is a file of this name."""

    def called(self, name: str) -> str:
        """What messages call this file."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a small file; DataError where it cannot be read."""
        ...

    def picture(self, name: str) -> ImageArray:
        """(H, W, 3) uint8 RGB; ImageError where it cannot be read."""
        ...

    def check(self, names: Collection[str]) -> None:
        """DataError where it is clear without reading them that these files cannot be read."""
        ...


class Folder:
    """The files of one folder, without those in folders inside it.

    Raises:
        DataError: it cannot be listed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names = frozenset(listed(path))

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def called(self, name: str) -> str:
        """Its path."""
        return printable(f"{self.path}/{name}")

    def read(self, name: str) -> bytes:
        """See `Source`."""
        path = self.path / name
        try:
            status = path.stat()
            if not S_ISREG(status.st_mode):
                raise DataError(f"{self.called(name)}: not a regular file")
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise DataError(f"{self.called(name)}: cannot be read ({_reason(error)})") from error
        if len(data) > MAX_BYTES:
            raise DataError(f"{self.called(name)}: over the limit of {MAX_BYTES:,} bytes")
        return data

    def picture(self, name: str) -> ImageArray:
        """See `Source`."""
        return load_image(self.path / name)

    def check(self, names: Collection[str]) -> None:
        """Nothing is known of them before they are read."""


def listed(folder: Path) -> list[str]:
    """The names in a folder, hidden ones too; DataError where it cannot be listed."""
    try:
        return [entry.name for entry in os.scandir(folder)]
    except OSError as error:
        raise DataError(f"{printable(folder)}: the folder cannot be listed ({_reason(error)})") from error


class Archive:
    """The files of a zip archive. May be sent to, or inherited by, other processes: each opens it for itself.

    Raises:
        DataError: not a zip archive, damaged, truncated, or with more files than any data set has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def _open(self) -> None:
        # Neither the handle (its position) nor the lock (somebody may hold it) survives a fork.
        self._process, self._lock = os.getpid(), threading.Lock()
        name = printable(self.path)
        try:
            file = _Bounded(io.FileIO(self.path))
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({_reason(error)})") from error
        weakref.finalize(self, file.close)
        try:
            self._zip = zipfile.ZipFile(file)
        except _TooMuchError as error:
            raise DataError(f"{name}: its directory is over the limit of {MAX_BYTES:,} bytes") from error
        except Exception as error:  # hostile bytes meet nearly every exception there is
            raise DataError(f"{name}: not a zip archive, damaged or cut off; fetch it again") from error

    def __contains__(self, name: object) -> bool:
        return name in self._zip.NameToInfo

    def names(self) -> list[str]:
        """Every file and folder in it."""
        return self._zip.namelist()

    def size(self, name: str) -> int:
        """Bytes of a file, as the archive says; it is never read as anything longer."""
        return self._zip.getinfo(name).file_size

    def called(self, name: str) -> str:
        """The archive's path and the name."""
        return printable(f"{self.path}/{name}")

    def read(self, name: str) -> bytes:
        """See `Source`."""
        try:
            return self._inflated(name)
        except ImageError as error:
            raise DataError(str(error)) from error

    def picture(self, name: str) -> ImageArray:
        """See `Source`."""
        return load_image(_Named(self._inflated(name), self.called(name)))

    def check(self, names: Collection[str]) -> None:
        """Whether any of them is encrypted."""
        for name in names:
            if self._zip.getinfo(name).flag_bits & _ENCRYPTED:
                raise DataError(f"{self.called(name)}: encrypted; unpack the archive and give the folder")

    def _inflated(self, name: str) -> bytes:
        """The bytes of a file, neither more nor less than its header says, and never more than `MAX_BYTES`."""
        if self._process != os.getpid():
            self._open()
        info, called = self._zip.getinfo(name), self.called(name)
        if info.flag_bits & _ENCRYPTED:
            raise ImageDecodeError(f"{called}: encrypted; unpack the archive and give the folder")
        if info.compress_type not in _COMPRESSIONS:
            raise ImageDecodeError(f"{called}: compressed with a method that is not read; zip it anew with Deflate")
        if info.file_size > MAX_BYTES:
            raise ImageTooLargeError(f"{called}: over the limit of {MAX_BYTES:,} bytes")
        try:
            with self._lock, self._zip.open(info) as file:
                data = file.read(info.file_size + 1)
        except Exception as error:  # as above
            raise ImageDecodeError(f"{called}: the archive is damaged here; fetch it again") from error
        if len(data) != info.file_size:
            raise ImageDecodeError(f"{called}: the archive is damaged here; fetch it again")
        return data


class _TooMuchError(Exception):
    pass


class _Bounded(io.BufferedReader):
    """A file of which nobody reads more than `MAX_BYTES` at once: `zipfile` reads a whole directory, of any size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_BYTES + io.DEFAULT_BUFFER_SIZE:
            raise _TooMuchError
        return super().read(size)


class _Named(io.BytesIO):
    """Bytes with the name that messages about them give."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def _reason(error: OSError) -> str:
    return printable(error.strerror or error).lower()
