"""What a run has found so far, on disk as it goes: blocks of rows, appended to one file.

With some blocks goes a state of the analysis, from which another run goes on. A run that is killed leaves whole blocks,
and at most one that is not; the next run cuts off what follows the last block with a state. Nothing in it is executed
or trusted: blocks are NumPy archives without objects, and checked as rows are.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from filelock import FileLock, Timeout

from mien.errors import DataError, MienError
from mien.ops.files import printable
from mien.video.columns import COLUMNS, Rows
from mien.video.state import State
from mien.video.summary import Source

SUFFIX = ".part"
"""What is added to the name of an output: what a run has found until then."""

_MAGIC = b"mien video run 2\n"
_HEAD = struct.Struct("<cQI")  # kind, bytes, checksum
_SETUP, _BLOCK = b"s", b"b"
_LARGEST = 1 << 30
_STATE = "_state_"  # begins the names of what is of a state


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes from a run's file; the lock goes with its process.

    Raises:
        MienError: another process has it, or its folder cannot be written in.
    """
    lock = FileLock(f"{path}.lock", timeout=0)
    try:
        with lock:
            try:
                yield
            finally:
                with suppress(OSError):  # on Windows, where an open file stays
                    Path(lock.lock_file).unlink()
    except Timeout as error:
        target = printable(path.with_name(path.name.removesuffix(SUFFIX)))
        raise MienError(f"{target}: another run is writing it; wait for it, or name another file") from error
    except PermissionError as error:
        raise _unwritten(path, error) from error


@dataclass(frozen=True)
class Progress:
    """How far a run has come, with each block.

    Attributes:
        source: what was looked at so far.
        names: of the gallery, by track.
        same: by track, the earlier track of the same person.
        unclear: tracks that were never seen well enough to tell whether they are of somebody who was here before.
        known: those columns of `columns.OPTIONAL` of which anything is known.
        scene: number of the last scene.
    """

    source: Source = field(default_factory=Source)
    names: Mapping[int, str] = field(default_factory=dict)
    same: Mapping[int, int] = field(default_factory=dict)
    unclear: frozenset[int] = frozenset()
    known: frozenset[str] = frozenset()
    scene: int = 0

    def to_json(self) -> str:
        """As it is kept."""
        source = self.source
        return json.dumps({
            "source": [source.name, list(source.size), source.start, source.end, source.moments],
            "names": {str(track): name for track, name in self.names.items()},
            "same": list(self.same.items()),
            "unclear": sorted(self.unclear),
            "known": sorted(self.known),
            "scene": self.scene,
        })  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Self:
        """As it was kept.

        Raises:
            ValueError, KeyError, TypeError: it was not kept by this.
        """
        data = json.loads(text)
        name, size, start, end, moments = data["source"]
        return cls(
            Source(str(name), (int(size[0]), int(size[1])), float(start), float(end), int(moments)),
            {int(track): str(person) for track, person in data["names"].items()},
            {int(track): int(earlier) for track, earlier in data["same"]},
            frozenset(map(int, data["unclear"])),
            frozenset(map(str, data["known"])),
            int(data["scene"]),
        )


class Journal:
    """Blocks of rows in a file; made by `start` or `resume`.

    Attributes:
        path: of the file.
        setup: what the run was asked to do; a run that goes on must be asked the same.
        labels: of the expressions.
        progress: as of the last block.
        state: the last one; None before the first.
    """

    def __init__(
        self, path: Path, file: BinaryIO, setup: Mapping[str, Any], labels: tuple[str, ...], name: str
    ) -> None:
        self.path, self.setup, self.labels = path, dict(setup), labels
        self.progress = Progress(Source(name))
        self.state: State | None = None
        self._file = file
        self._stateless = 0  # bytes since the last state

    @classmethod
    def start(cls, path: Path, setup: Mapping[str, Any], labels: tuple[str, ...], name: str) -> Self:
        """Begin a file, in place of one that may be there.

        Raises:
            MienError: it cannot be written.
        """
        try:
            file = open(path, "w+b", opener=_private)  # noqa: SIM115  (Path.open has no opener)
            file.write(_MAGIC)
        except OSError as error:
            raise _unwritten(path, error) from error
        made = cls(path, file, setup, labels, name)
        made._append(_SETUP, json.dumps({"setup": setup, "labels": labels, "name": name}).encode())
        return made

    @classmethod
    def resume(cls, path: Path) -> Self:
        """Open the file of an earlier run, and cut off what follows the last state.

        Raises:
            DataError: there is none, or it is no such file.
        """
        try:
            file = path.open("r+b")
        except FileNotFoundError as error:
            raise DataError(f"{printable(path)}: no run to go on with; start one without --resume") from error
        except OSError as error:
            raise DataError(f"{printable(path)}: cannot be read ({error.strerror or error})") from error
        try:
            return cls._resumed(path, file)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _resumed(cls, path: Path, file: BinaryIO) -> Self:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise DataError(f"{printable(path)}: was not left by a run of mien video")
        made: Self | None = None
        end = file.tell()
        for kind, payload in _whole(file):
            try:
                if kind == _SETUP and made is None:
                    told = json.loads(payload)
                    labels = tuple(map(str, told["labels"]))
                    made, end = cls(path, file, dict(told["setup"]), labels, str(told["name"])), file.tell()
                elif made is not None and (found := _progress(payload)) is not None:
                    (made.progress, made.state), end = found, file.tell()
            except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile) as error:
                raise DataError(f"{printable(path)}: is damaged; start again without --resume") from error
        if made is None:
            raise DataError(f"{printable(path)}: nothing was done yet; start again without --resume")
        file.truncate(end)
        file.seek(end)
        return made

    def append(self, rows: Rows, progress: Progress, state: State | None = None, *, rarely: bool = True) -> None:
        """Write a block; when this returns, a process that is killed loses nothing of it.

        Args:
            rows: of the block.
            progress: with it.
            state: of the analysis after the last row.
            rarely: leave the state out until as many bytes of rows were written as it has: what is kept of hundreds of
                people is no small thing.

        Raises:
            MienError: it cannot be written.
        """
        columns = {name: getattr(rows, name) for name in COLUMNS}
        self._stateless += sum(column.nbytes for column in columns.values())
        if state is not None and rarely and self._stateless < state.nbytes:
            state = None
        kept = {} if state is None else {_STATE + name: array for name, array in state.to_arrays().items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, _progress=np.array(progress.to_json()), **columns, **kept)
        self._append(_BLOCK, buffer.getvalue())
        self.progress = progress
        if state is not None:
            self.state, self._stateless = state, 0

    def blocks(self) -> Iterator[Rows]:
        """All rows, block by block, from the disk.

        Raises:
            DataError: the file is damaged.
        """
        self._file.flush()
        with self.path.open("rb") as file:
            file.seek(len(_MAGIC))
            for kind, payload in _whole(file):
                if kind != _BLOCK:
                    continue
                try:
                    with np.load(io.BytesIO(payload), allow_pickle=False) as data:
                        rows = Rows(self.labels, **{name: data[name] for name in COLUMNS})
                except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
                    raise DataError(f"{printable(self.path)}: is damaged; start again without --resume") from error
                yield rows

    def close(self, *, remove: bool) -> None:
        """Let go of the file.

        Args:
            remove: whether it is done with, and not to be gone on with.
        """
        self._file.close()
        if remove:
            self.path.unlink(missing_ok=True)

    def _append(self, kind: bytes, payload: bytes) -> None:
        try:
            self._file.write(_HEAD.pack(kind, len(payload), zlib.crc32(payload)) + payload)
            self._file.flush()
        except OSError as error:
            raise _unwritten(self.path, error) from error


def _whole(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The parts that were written whole, up to the first that was not; the file is behind each as it is given."""
    while True:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        kind, size, checksum = _HEAD.unpack(head)
        payload = file.read(size) if size <= _LARGEST else b""
        if len(payload) != size or zlib.crc32(payload) != checksum:
            return
        yield kind, payload


def _progress(payload: bytes) -> tuple[Progress, State] | None:
    """What is kept with a block; None where there is no state with it."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as data:
        arrays = {name.removeprefix(_STATE): data[name] for name in data.files if name.startswith(_STATE)}
        return (Progress.from_json(str(data["_progress"])), State.from_arrays(arrays)) if arrays else None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unwritten(path: Path, error: OSError) -> MienError:
    return MienError(f"{printable(path)}: cannot be written ({error.strerror or error})")
