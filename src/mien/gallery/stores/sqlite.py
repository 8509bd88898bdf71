"""A gallery in one file: SQLite, in WAL mode, so that others read while one writes."""

# ruff: noqa: D102  (documented by the protocols)

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mien.errors import GalleryBusyError, GalleryError
from mien.gallery.records import GalleryInfo, Ids
from mien.gallery.stores import schema
from mien.gallery.stores.protocol import Cipher
from mien.gallery.stores.rows import INFO_COLUMNS, Row, from_info
from mien.gallery.stores.sql import packed, unpacked
from mien.gallery.stores.sqlstore import SqlStore
from mien.ops.atomic import sync_folder
from mien.ops.files import printable
from mien.types import FloatArray

APPLICATION_ID = 0x4D69656E
"""In the header of the file: "Mien"."""

_TYPES = {
    "key": "INTEGER PRIMARY KEY",
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "blob": "BLOB",
    "vector": "BLOB",
}
_HEADER = ("application_id", "user_version")
_EFFECTIVE = os.access in os.supports_effective_ids
_PAGE = 8192
_LONGEST_VALUE = 64 * 2**20
_ROWS_AT_A_TIME = 10_000
_LITTLE_ROOM = 65_536
"""Bytes: SQLite's file of locks and the first pages of its WAL take about as many."""
_PATIENCE = 0.0005, 0.003
"""Seconds between two attempts to be the one who writes."""

_SETTINGS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",  # else VACUUM, say, writes the whole gallery into the system's folder for such files
    "PRAGMA synchronous = FULL",  # in WAL mode: what is committed survives a loss of power
    "PRAGMA journal_size_limit = 67108864",
)

_CODES = {
    sqlite3.SQLITE_READONLY: "the file or its disk is read-only; nothing was changed",
    sqlite3.SQLITE_FULL: "the disk is full; nothing was changed",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written; nothing was changed",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a copy",
    sqlite3.SQLITE_NOTADB: "the file is damaged or no gallery; restore it from a copy",
    sqlite3.SQLITE_TOOBIG: f"a value is larger than {_LONGEST_VALUE // 2**20} MB",
}
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


class SqliteConnection:
    """One connection to the file; see `sql.Connection`."""

    dimensions = "length(vector) / 4"

    def __init__(self, path: Path, where: str, timeout: float, *, readonly: bool) -> None:
        self.where = where
        self._path = path
        self._timeout = timeout
        self._committed = 0.0  # when, by the monotonic clock
        with self._told():
            self._raw = sqlite3.connect(
                _uri(path, readonly=readonly),
                uri=True,
                timeout=timeout,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
                for setting in _SETTINGS:
                    self._raw.execute(setting)
            except BaseException:
                self._raw.close()
                raise

    def run(self, statement: str, values: Row = ()) -> int:
        with self._told():
            return self._raw.execute(statement, values).rowcount

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        with self._told():
            return self._raw.execute(statement, values).fetchall()

    def chunks(self, statement: str, values: Row = ()) -> Iterator[list[Row]]:
        with self._told():
            cursor = self._raw.execute(statement, values)
        with closing(cursor):
            while True:
                with self._told():
                    chunk = cursor.fetchmany(_ROWS_AT_A_TIME)
                if not chunk:
                    return
                yield chunk

    def many(self, statement: str, rows: Iterable[Row]) -> None:
        with self._told():
            self._raw.executemany(statement, rows)

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        marks = ", ".join("?" * len(columns))
        self.many(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608

    def pack(self, vectors: FloatArray) -> list[Any]:
        return packed(vectors)

    def unpack(self, values: Sequence[Any], dimension: int) -> FloatArray:
        return unpacked(values, dimension)

    def unindex(self) -> None:
        pass  # there is none

    def begin_read(self) -> None:
        self.run("BEGIN")
        self.rows("SELECT one FROM gallery")  # from here on it sees one state

    def begin_write(self) -> None:
        # SQLite waits by asking ever more rarely, so that newcomers overtake who has waited long: ask evenly instead.
        # Nor does who has just written begin again at once, before others can have asked.
        time.sleep(max(0.0, self._committed + _PATIENCE[1] - time.monotonic()))
        end = time.monotonic() + self._timeout
        self.rows("PRAGMA busy_timeout = 0")
        try:
            while not self._began_to_write(last=time.monotonic() >= end):
                time.sleep(random.uniform(*_PATIENCE))  # noqa: S311
        finally:
            self.rows(f"PRAGMA busy_timeout = {round(1000 * self._timeout)}")

    def _began_to_write(self, *, last: bool) -> bool:
        try:
            self.run("BEGIN IMMEDIATE")
        except GalleryBusyError:
            if last:
                raise
            return False
        return True

    def commit(self) -> None:
        self.run("COMMIT")
        self._committed = time.monotonic()

    def rollback(self) -> None:
        with suppress(sqlite3.Error):
            if self._raw.in_transaction:
                self._raw.rollback()

    def usable(self) -> bool:
        return not self._raw.in_transaction

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._raw.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what SQLite says in its words."""
        try:
            yield
        except sqlite3.Error as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the rest says more than we need
            if code in _BUSY:
                raise GalleryBusyError(
                    f"{self.where}: others are writing to the gallery for longer than {self._timeout:g} s; try again"
                ) from error
            if code == sqlite3.SQLITE_IOERR and _is_full(self._path):
                code = sqlite3.SQLITE_FULL  # there was no room for one of the files beside it
            raise GalleryError(f"{self.where}: {_CODES.get(code) or f'cannot be used ({_line(error)})'}") from error
        except (UnicodeError, OverflowError) as error:
            raise GalleryError(f"{self.where}: a value cannot be kept or read ({error})") from error


class SqliteStore(SqlStore[SqliteConnection]):
    """A gallery in one file (and, while it is open, two more beside it)."""

    def __init__(self, path: Path, *, cipher: Cipher | None, timeout: float, readonly: bool) -> None:
        super().__init__(printable(path), cipher)
        self._path, self._timeout, self._readonly = path, timeout, readonly
        check_file(path, self._where, readonly=readonly)
        try:
            with self._connection() as connection:
                _check_schema(connection)
                if not readonly:
                    _migrate(connection)
            with self.read():
                pass  # the key fits, and what the gallery says of itself can be read
        except BaseException:
            self.close()
            raise

    def clean(self) -> None:
        self._check_writable()
        with self._connection() as connection:
            # Overwriting what is deleted (secure_delete) leaves copies that pages kept when they were reorganised,
            # and the pages of before in the WAL: a new file without either, and an empty WAL.
            connection.run("VACUUM")
            [(busy, _, _)] = connection.rows("PRAGMA wal_checkpoint(TRUNCATE)")
            if busy:
                raise GalleryBusyError(
                    f"{self._where}: others are reading the gallery for longer than {self._timeout:g} s;"
                    " until it is cleaned again, what was removed can be found in its -wal file"
                )

    def nearest(self, vectors: FloatArray, k: int) -> tuple[FloatArray, Ids] | None:
        return None

    def _connect(self) -> SqliteConnection:
        return SqliteConnection(self._path, self._where, self._timeout, readonly=self._readonly)

    def _check_writable(self) -> None:
        if self._readonly:
            raise GalleryError(f"{self._where}: the gallery was opened to read only")


def create(path: Path, info: GalleryInfo) -> None:
    """Make an empty gallery that only its owner can read; where another process was faster, leave that one.

    Raises:
        GalleryError: it cannot be made, or another database has left its WAL there.
    """
    where = printable(path)
    if os.path.lexists(f"{path}-wal"):
        raise GalleryError(
            f"{where}-wal: belongs to a gallery that is not there any more; remove it, or bring that back"
        )
    temporary = path.parent / f".mien-{uuid.uuid4().hex}.tmp"
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _fill(temporary, where, info)
        with suppress(FileExistsError):
            os.link(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise GalleryError(f"{where}: cannot be made: {str(error.strerror).lower()}") from error
    finally:
        for leftover in (temporary, Path(f"{temporary}-wal"), Path(f"{temporary}-shm")):
            with suppress(OSError):
                leftover.unlink(missing_ok=True)


def check_file(path: Path, where: str, *, readonly: bool) -> None:
    """Look at a file before it is opened, changing nothing.

    SQLite reads it, rather than we: a process that closes a file gives up all locks that it has on it.

    Raises:
        GalleryError: it is no gallery, one of a later version, or cannot be read (or written, unless `readonly`).
    """
    if path.is_dir():
        raise GalleryError(f"{where}: is a folder, not a gallery")
    if not os.access(path, os.R_OK, effective_ids=_EFFECTIVE):
        raise GalleryError(f"{where}: cannot be read: {'permission denied' if path.exists() else 'it leads nowhere'}")
    _check_kinds(path, where)
    application, version = _header(path, where)
    if application != APPLICATION_ID:
        what = "is a database of another program, not a gallery" if path.stat().st_size else "is not a gallery"
        raise GalleryError(f"{where}: {what}")
    _check_version(version, where)
    if not (readonly or can_be_written(path)):
        raise GalleryError(f"{where}: the file or its folder is read-only; it can be opened to read only")


def _check_kinds(path: Path, where: str) -> None:
    """Refuse what would be waited for for ever, and links beside the file, which lead SQLite to overwrite others.

    Raises:
        GalleryError: it is no file, or what lies beside it is none.
    """
    if not path.is_file():
        raise GalleryError(f"{where}: is a pipe or a device, not a gallery")
    for suffix in ("-wal", "-shm", "-journal"):
        beside = Path(f"{path.resolve()}{suffix}")
        if os.path.lexists(beside) and not stat.S_ISREG(beside.lstat().st_mode):
            raise GalleryError(f"{printable(beside)}: is not a file but a link, a folder or a device; remove it")


def can_be_written(path: Path) -> bool:
    """Whether a gallery and its folder, where SQLite keeps two more files, may be written."""
    return _writable(path) and _writable(path.resolve().parent)


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=_EFFECTIVE)


def _header(path: Path, where: str) -> tuple[int, int]:
    """Whose database a file is, and of which version; read without locks."""
    try:
        with closing(sqlite3.connect(f"{_file(path)}?mode=ro&immutable=1", uri=True)) as raw:
            [application], [version] = (raw.execute(f"PRAGMA {name}").fetchone() for name in _HEADER)
            return application, version
    except sqlite3.Error as error:
        damaged = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF == sqlite3.SQLITE_CORRUPT
        raise GalleryError(f"{where}: {'the file is damaged' if damaged else 'is not a gallery'}") from error


def _check_version(version: int, where: str) -> None:
    if version > schema.VERSION:
        raise GalleryError(
            f"{where}: was made by a later mien (format {version}; this one knows {schema.VERSION}); update mien"
        )
    if version < 1:
        raise GalleryError(f"{where}: is not a gallery")


def _check_schema(connection: SqliteConnection) -> None:
    """Refuse tables that are not ours: a foreign trigger or view would run with every statement."""
    [(version,)] = connection.rows("PRAGMA user_version")
    _check_version(version, connection.where)
    if version == schema.VERSION and _tables(connection.rows) != _expected():
        raise GalleryError(f"{connection.where}: its tables are not those of a gallery; restore it from a copy")


def _tables(rows: Any) -> set[Row]:
    return set(rows("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"))


def _expected() -> set[Row]:
    with closing(sqlite3.connect(":memory:")) as fresh:
        for statement in schema.statements(_TYPES):
            fresh.execute(statement)
        return _tables(fresh.execute)


def _migrate(connection: SqliteConnection) -> None:
    """Bring a gallery of an earlier version to this one, in one transaction."""
    if connection.rows("PRAGMA user_version") == [(schema.VERSION,)]:
        return
    connection.begin_write()
    [(version,)] = connection.rows("PRAGMA user_version")  # another process may have done it meanwhile
    for step in range(version, schema.VERSION):
        for statement in schema.MIGRATIONS[step]:
            connection.run(statement)
    connection.run(f"PRAGMA user_version = {schema.VERSION}")
    connection.commit()
    _check_schema(connection)


def _fill(path: Path, where: str, info: GalleryInfo) -> None:
    """Write an empty gallery into an empty file."""
    connection = SqliteConnection(path, where, 10.0, readonly=False)
    try:
        for setting in (f"page_size = {_PAGE}", f"application_id = {APPLICATION_ID}", "journal_mode = WAL"):
            connection.rows(f"PRAGMA {setting}")
        connection.begin_write()
        for statement in schema.statements(_TYPES):
            connection.run(statement)
        columns = ("one", *INFO_COLUMNS.split(", "), "revision", "horizon", "next_face")
        connection.insert("gallery", columns, [(1, *from_info(info), 0, 0, 1)])
        connection.run(f"PRAGMA user_version = {schema.VERSION}")
        connection.commit()
    finally:
        connection.close()  # the last one to close moves the WAL into the file and removes it


def _uri(path: Path, *, readonly: bool) -> str:
    """How SQLite is told to open a file that exists. A medium nobody can write to is read without locks."""
    resolved = path.resolve()
    still = readonly and not _writable(resolved.parent) and not _has_wal(resolved)
    mode = "ro&immutable=1" if still else "ro" if readonly else "rw"
    return f"{_file(path)}?mode={mode}"


def _file(path: Path) -> str:
    return f"file:{quote(os.fsencode(path.resolve()))}"


def _has_wal(path: Path) -> bool:
    try:
        return Path(f"{path}-wal").stat().st_size > 0
    except OSError:
        return False


def _is_full(path: Path) -> bool:
    """Whether the disk of a file has no room for what SQLite writes beside it."""
    try:
        return shutil.disk_usage(path.resolve().parent).free < _LITTLE_ROOM
    except OSError:
        return False


def _line(error: sqlite3.Error) -> str:
    """What SQLite says, on one line; of a value that it quotes, the beginning."""
    return " ".join(str(error).split())[:120]
