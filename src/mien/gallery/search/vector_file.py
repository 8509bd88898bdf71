"""The rows of a search index in a file beside the gallery, mapped by every process that searches.

It is a cache: whatever is wrong with it, it is written anew from the store. One page of header, then the columns of
`Rows`, each from a page of its own on, with room for more rows (sparse: room takes no space on the disk):

    header | ids int64 | codes int32 | squares float32 | people 32 bytes each | matrix float32, row by row

Writers take turns (a lock file). Readers take no lock:

- What is added lies behind the last row that the header counts. The header follows, in one write, with a checksum.
- Before a row that is there is freed or gets another owner, the header's sequence becomes odd, and even again after.
  A reader whose sequence has changed reads again. A writer that dies in between leaves it odd: the file is given up.
- Growing and packing write another file, which takes the place of this one. The old one is filled with zeros.

What is removed is overwritten at once. Data reaches the disk before the header that counts it, so that a power cut,
too, leaves either state or one that is noticed.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from glob import escape
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import GalleryBusyError
from mien.gallery.records import Changes
from mien.gallery.search.exact import NOWHERE, Rows
from mien.gallery.search.table import Plan, capacity_for, fallow, followed, nothing, plan, squares_of
from mien.ops.atomic import written_whole

_MAGIC = b"mienvec1"  # the last digit is the version of the layout
_LAYOUT = struct.Struct("<8s32s6sHIQQQQQQQQ")
_PAGE = 4096
_PERSON = 32  # bytes of a person's id
_PATIENCE = 60.0  # seconds that a writer waits for others
_ZEROS = bytes(1 << 20)


@dataclass(frozen=True)
class _Header:
    """See the layout above; `faces` are rows that are not free, `reached` the rows that were ever written to."""

    magic: bytes
    gallery: bytes
    metric: bytes
    order: int  # 1 where the columns are little-endian
    dimension: int
    capacity: int
    people_capacity: int
    sequence: int
    revision: int
    rows: int
    faces: int
    people: int
    reached: int

    def packed(self) -> bytes:
        """With a checksum behind it."""
        data = _LAYOUT.pack(*astuple(self))
        return data + struct.pack("<I", zlib.crc32(data))

    @classmethod
    def of(cls, data: bytes) -> _Header | None:
        """None where it is not one, or half of one."""
        if len(data) < _LAYOUT.size + 4:
            return None
        content = data[: _LAYOUT.size]
        if struct.unpack_from("<I", data, _LAYOUT.size)[0] != zlib.crc32(content):
            return None
        fields = _LAYOUT.unpack(content)
        magic, gallery, metric, *numbers = fields
        return cls(magic, gallery.rstrip(b"\0"), metric.rstrip(b"\0"), *numbers)

    def columns(self) -> dict[str, tuple[int, np.dtype[np.generic], int]]:
        """Name to (offset in the file, type of a row, number of rows)."""
        kinds = (
            ("ids", np.dtype(np.int64), self.capacity),
            ("codes", np.dtype(np.int32), self.capacity),
            ("squares", np.dtype(np.float32), self.capacity),
            ("people", np.dtype(f"S{_PERSON}"), self.people_capacity),
            ("matrix", np.dtype((np.float32, (self.dimension,))), self.capacity),
        )
        found, offset = {}, _PAGE
        for name, kind, count in kinds:
            found[name] = (offset, kind, count)
            offset += -(-kind.itemsize * count // _PAGE) * _PAGE
        return found

    def size(self) -> int:
        """Bytes of the whole file."""
        offset, kind, count = self.columns()["matrix"]
        return offset + -(-kind.itemsize * count // _PAGE) * _PAGE


class _Mapped:
    """A file as it is mapped; stays readable after another has taken its place."""

    def __init__(self, data: mmap.mmap, header: _Header, inode: tuple[int, int]) -> None:
        self._data = data
        self.inode = inode
        self.size = header.size()
        self.columns = {
            name: np.ndarray((count, *kind.shape), kind.base, data, offset)
            for name, (offset, kind, count) in header.columns().items()
        }
        self._known: tuple[int, list[str | None]] = (-1, [])

    @property
    def header(self) -> _Header | None:
        """As it is now; None while it is being written."""
        return _Header.of(self._data[: _LAYOUT.size + 4])

    def people(self, header: _Header) -> list[str | None]:
        """Ids of everybody; decoded once, and again after rows have changed."""
        sequence, known = self._known
        if sequence != header.sequence:
            known = []
        fresh = self.columns["people"][len(known) : header.people].tolist()
        if fresh or sequence != header.sequence:
            known = [*known, *(name.decode("ascii", "replace") or None for name in fresh)]
            self._known = (header.sequence, known)
        return known[: header.people]


class FileTable:
    """Rows in a file; see `Table`. Errors of the disk come as OSError.

    Args:
        path: of the file; its folder must exist.
        gallery: id of the gallery, so that the file of another one is not taken for this one's.
        dimension: of an embedding.
        metric: "l2" or "cosine".
    """

    def __init__(self, path: Path, gallery: str, dimension: int, metric: str) -> None:
        self._path = path
        self._kind = (_MAGIC, gallery.encode()[:32], metric.encode(), int(sys.byteorder == "little"), dimension)
        self._nothing = nothing(dimension, metric)
        self._mapped: _Mapped | None = None
        self._last: tuple[_Mapped, _Header, Rows] | None = None
        self._told = 0  # the revision that was last asked for: changes since then are what will come
        self._thread_lock = RLock()
        self._depth = 0

    @property
    def revision(self) -> int:
        """See `Table`. A file that cannot be used counts as 0."""
        rows = self.rows()
        if rows is None:
            with self.lock():
                rows = self.rows()
        self._told = rows.revision if rows else 0
        return self._told

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `Table`.

        Raises:
            GalleryBusyError: others held it for longer than we wait.
        """
        with self._thread_lock, _file_lock(self._path) if self._depth == 0 else _nothing_more():
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def rows(self) -> Rows | None:
        """See `Table`."""
        mapped = self._current()
        if mapped is None:
            return self._nothing
        header = mapped.header
        if header is None or header.sequence % 2:
            return None
        if (last := self._last) is not None and last[:2] == (mapped, header):
            return last[2]
        columns = {name: mapped.columns[name][: header.rows] for name in ("ids", "codes", "squares", "matrix")}
        people = mapped.people(header)
        metric = self._nothing.metric
        rows = Rows(header.revision, header.sequence, **columns, people=people, metric=metric, origin=mapped)
        self._last = (mapped, header, rows)
        return rows

    def changed(self, rows: Rows) -> bool:
        """See `Table`. A file that another has replaced still says what was so before."""
        if not isinstance(rows.origin, _Mapped):
            return False
        header = rows.origin.header
        return header is None or header.sequence != rows.sequence

    def apply(self, changes: Changes) -> None:
        """See `Table`. Where the file is not as far as `revision` said, nothing happens: `revision` then says so."""
        with self.lock():
            rows = self.rows() or self._nothing
            if changes.complete:
                blank(graph_file(self._path))  # nobody knows whether it has a copy of what is gone
                self._replace(followed(self._nothing, changes))
                self._told = changes.revision
            elif self._told <= rows.revision < changes.revision:
                self._follow(rows, changes)

    def erase(self) -> None:
        """Leave nothing of it on the disk."""
        with self.lock():
            blank(self._path)
            self._mapped = self._last = None
        with suppress(OSError):
            _lock_path(self._path).unlink()

    def _follow(self, rows: Rows, changes: Changes) -> None:
        steps = plan(rows, changes)
        if len(steps.freed):
            blank(graph_file(self._path))  # it has copies; whoever searches it makes it anew
        header = rows.origin.header if isinstance(rows.origin, _Mapped) else None
        if (
            header is None or header.reached > header.rows or not self._path.is_file()
        ):  # a writer died here, or it is gone
            self._replace(followed(rows, changes))
            return
        count, people = header.rows + len(steps.ids), header.people + len(steps.people)
        faces = header.faces + len(steps.ids) - len(steps.freed)
        if count > header.capacity or people > header.people_capacity or fallow(count, faces):
            self._replace(followed(rows, changes))
            return
        after = replace(header, revision=changes.revision, rows=count, faces=faces, people=people, reached=count)
        with _opened(self._path) as file:
            _write(file, header, after, steps)

    def _replace(self, rows: Rows) -> None:
        """Write a file of its own, let it take this one's place, and fill this one with zeros."""
        count, people = len(rows.ids), len(rows.people)
        counts = (capacity_for(count), capacity_for(people), 0, rows.revision, count, count, people, count)
        header = _Header(*self._kind, *counts)
        with written_whole(self._path, prefix=temporary_prefix(self._path)) as temporary:
            with _opened(temporary, os.O_CREAT | os.O_EXCL) as file:
                os.ftruncate(file, header.size())
                for name in ("ids", "codes", "squares", "matrix"):
                    _put(file, header, name, 0, getattr(rows, name))
                _put(file, header, "people", 0, _named([str(person) for person in rows.people]))
                os.fsync(file)
                _put_header(file, header)
                os.fsync(file)
            old = os.open(self._path, os.O_RDWR) if self._path.is_file() else None
        if old is not None:
            try:
                _blank(old)
            finally:
                os.close(old)

    def _current(self) -> _Mapped | None:
        """The file that is there now, or the last one that was; None where there is none that can be used."""
        try:
            status = self._path.stat()
        except OSError:
            return self._mapped
        mapped = self._mapped
        if mapped is None or mapped.inode != (status.st_dev, status.st_ino):
            mapped = self._mapped = self._map()
        if mapped and status.st_size < mapped.size:  # cut off: touching what is gone would end the process
            mapped = self._mapped = None
        return mapped

    def _map(self) -> _Mapped | None:
        """The file, if it is whole, of this gallery, and written on a machine like this."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                header = _Header.of(file.read(_LAYOUT.size + 4))
                if header is None or not self._fits(header, status.st_size):
                    return None
                data = mmap.mmap(file.fileno(), header.size(), access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError):
            return None
        return _Mapped(data, header, (status.st_dev, status.st_ino))

    def _fits(self, header: _Header, size: int) -> bool:
        kind = (header.magic, header.gallery, header.metric, header.order, header.dimension)
        counted = header.rows <= header.capacity and header.people <= header.people_capacity
        return kind == self._kind and counted and header.size() <= size


def _write(file: int, header: _Header, after: _Header, steps: Plan) -> None:
    """Write what a plan says, in an order that leaves either state, or an odd sequence, whenever it is broken off."""
    header = replace(header, reached=after.reached)
    _put_header(file, header)
    for name, values in (
        ("ids", steps.ids),
        ("codes", steps.codes),
        ("squares", squares_of(steps.vectors)),
        ("matrix", steps.vectors),
    ):
        _put(file, header, name, header.rows, values)
    _put(file, header, "people", header.people, _named(steps.people))
    os.fsync(file)
    if not steps.only_adds:
        _put_header(file, replace(header, sequence=header.sequence + 1))
        os.fsync(file)
        _change(file, header, steps)
        os.fsync(file)
        after = replace(after, sequence=header.sequence + 2)
    _put_header(file, after)


def _change(file: int, header: _Header, steps: Plan) -> None:
    """Free rows, give rows to others, forget people."""
    free: dict[str, np.generic] = {"ids": np.int64(NOWHERE), "codes": np.int32(NOWHERE), "squares": np.float32(np.inf)}
    blank = np.zeros(header.dimension, dtype=np.float32)
    for row in steps.freed.tolist():
        for name, value in free.items():
            _put(file, header, name, row, value)
        _put(file, header, "matrix", row, blank)
    for row, code in zip(steps.moved.tolist(), steps.moved_codes, strict=True):
        _put(file, header, "codes", row, code)
    for code in steps.gone.tolist():
        _put(file, header, "people", code, np.zeros(1, dtype=f"S{_PERSON}"))


def _named(people: list[str]) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Ids of people as a column.

    Raises:
        ValueError: one is longer than the column, or not plain text.
    """
    names = [person.encode("ascii") for person in people]
    if any(not 0 < len(name) <= _PERSON for name in names):
        raise ValueError(f"the id of a person is not 1 to {_PERSON} characters long")
    return np.array(names, dtype=f"S{_PERSON}")


def _put(file: int, header: _Header, name: str, row: int, values: npt.NDArray[Any] | np.generic) -> None:
    """Write rows of a column."""
    offset, kind, _ = header.columns()[name]
    _put_bytes(file, np.ascontiguousarray(values).reshape(-1).view(np.uint8).data, offset + row * kind.itemsize)


def _put_bytes(file: int, data: memoryview | bytes, offset: int) -> None:
    done = 0
    while done < len(data):  # the system may take less than it is given
        done += os.pwrite(file, data[done:], offset + done)


def _put_header(file: int, header: _Header) -> None:
    _put_bytes(file, header.packed(), 0)


def _blank(file: int) -> None:
    """Fill an open file with zeros, after telling its readers to look again."""
    header = _Header.of(os.pread(file, _LAYOUT.size + 4, 0))
    if header is not None:
        _put_header(file, replace(header, sequence=header.sequence | 1))
    for start, end in _written(header, os.fstat(file).st_size):
        for offset in range(start, end, len(_ZEROS)):
            _put_bytes(file, _ZEROS[: end - offset], offset)
    os.fsync(file)


def _written(header: _Header | None, size: int) -> list[tuple[int, int]]:
    """Where a file holds anything: room that was never used takes no space, and zeros would."""
    if header is None or header.dimension * header.capacity > size:
        return [(0, size)]
    columns = header.columns()
    used = {name: header.people if name == "people" else header.reached for name in columns}
    return [(at, min(at + kind.itemsize * used[name], size)) for name, (at, kind, _) in columns.items()]


def blank(path: Path) -> None:
    """Fill a file with zeros and remove it; nothing where there is none."""
    with suppress(FileNotFoundError):
        with _opened(path) as file:
            _blank(file)
        path.unlink()


def graph_file(path: Path) -> Path:
    """Where the graph of an approximate index lies: beside the vectors."""
    return path.with_name(f"{path.name}-graph")


def temporary_prefix(path: Path) -> str:
    """How the names of temporary files of a cache and of its graph begin."""
    return f".{path.name}-"


def blank_leftovers(path: Path) -> None:
    """Fill with zeros, and remove, what killed processes left of a cache and its graph; hold the cache's lock.

    A graph that another process is just writing is lost with them: it stays in that process's memory.
    """
    for leftover in path.parent.glob(f"{escape(temporary_prefix(path))}*.tmp"):
        blank(leftover)


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    """A file to write to, readable by its owner only."""
    file = os.open(path, os.O_RDWR | flags, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(_lock_path(path), timeout=_PATIENCE, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise GalleryBusyError(f"{path}: others have been writing to it for {_PATIENCE:.0f} s; try again") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _nothing_more() -> Iterator[None]:
    yield
