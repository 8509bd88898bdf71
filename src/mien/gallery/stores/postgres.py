"""A gallery on PostgreSQL, for several machines: pgvector keeps the embeddings and searches among them (HNSW).

Each gallery has a schema of its own. Yu. A. Malkov and D. A. Yashunin, "Efficient and robust approximate nearest
neighbor search using Hierarchical Navigable Small World graphs", 2016.
"""

# ruff: noqa: D102  (documented by the protocols)

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mien.errors import GalleryBusyError, GalleryError
from mien.gallery.records import GalleryInfo, Ids
from mien.gallery.stores import schema
from mien.gallery.stores.address import Address, not_an_address
from mien.gallery.stores.protocol import Cipher
from mien.gallery.stores.rows import INFO_COLUMNS, Row, from_info, shown
from mien.gallery.stores.sqlstore import SqlStore
from mien.types import FloatArray

try:
    import psycopg
    from psycopg import errors
    from psycopg.adapt import Buffer, Dumper
    from psycopg.pq import Format, TransactionStatus
    from psycopg.types import TypeInfo
except ImportError as error:
    raise GalleryError("galleries on PostgreSQL need psycopg: pip install 'mien[postgres]'") from error

INDEX_FROM = 10_000
"""Faces from which on the first `nearest` builds an index; below, PostgreSQL compares with every face."""

_TYPES = {
    "key": "BIGINT PRIMARY KEY",
    "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "blob": "BYTEA",
    "vector": "vector",  # of any dimension: that of a gallery changes with its embedder
}
_COLUMN_TYPES = {
    **dict.fromkeys(("id", "person", "revision", "face"), "int8"),
    **dict.fromkeys(("created", "source", "source_sha256", "box", "landmarks"), "text"),
    **dict.fromkeys(("sealed", "picture"), "bytea"),
    "score": "float8",
    "vector": "vector",
}
_OPERATORS = {"l2": ("<->", "vector_l2_ops"), "cosine": ("<=>", "vector_cosine_ops")}
_MOST_INDEXED = 2000
"""Numbers in a vector that HNSW of pgvector takes."""
_MOST_LOOKED_AT = 1000
"""Faces that a search by HNSW of pgvector weighs at most (hnsw.ef_search)."""
_MARK = "mien gallery, format "
"""How the comment on the table `gallery` begins; the schema's version follows."""
_ROWS_AT_A_TIME = 10_000
_NOT_READY = (
    "the database system is",  # starting up, in recovery mode, not yet accepting connections
    "server closed the connection unexpectedly",  # it accepted, and crashed, or was about to
)
_PATIENCE = 0.1
"""Seconds between two attempts to connect."""


class PackedVector(bytes):
    """An embedding as pgvector sends it: the dimension and a reserved zero (2 bytes each), then big-endian float32."""


class _PackedVectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: PackedVector) -> Buffer:
        return obj


@dataclass(frozen=True)
class Session:
    """What every connection of a store shares."""

    address: Address
    timeout: float
    readonly: bool


class PostgresConnection:
    """One connection to the server; see `sql.Connection`."""

    dimensions = "vector_dims(vector)"

    def __init__(self, session: Session) -> None:
        self.where = session.address.shown
        self._schema = session.address.schema
        self._timeout = session.timeout
        end = time.monotonic() + session.timeout
        while not self._made(session, end):
            time.sleep(_PATIENCE)

    def _made(self, session: Session, end: float) -> bool:
        """Connect; False: the server ended that at once, as one does that has just crashed, and there is time left."""
        try:
            self._raw = _connected(session, end)
        except psycopg.ProgrammingError:  # libpq quotes what it cannot take apart
            raise not_an_address() from None
        except psycopg.Error as error:
            # Without its cause, which holds the address with its password.
            raise GalleryError(f"{self.where}: cannot be reached: {_line(error)}") from None
        try:
            self._set_up(readonly=session.readonly)
        except BaseException as error:
            lost = isinstance(error, GalleryError) and self._raw.closed
            self.close()
            if not lost or time.monotonic() >= end:
                raise
            return False
        return True

    def _set_up(self, *, readonly: bool) -> None:
        self.rows(
            "SELECT set_config('lock_timeout', ?, false), set_config('default_transaction_read_only', ?, false)",
            (f"{max(1, round(1000 * self._timeout))}ms", "on" if readonly else "off"),
        )
        # A server may acknowledge before the disk has it; a gallery does not.
        self.rows(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        self.learn_vectors()

    def learn_vectors(self) -> None:
        """Find pgvector, if it is installed in the database."""
        found = self.rows(
            "SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace"
            " WHERE extname = 'vector'"
        )
        path = [self._schema, *(name for (name,) in found)]
        self.rows("SELECT set_config('search_path', ?, false)", (", ".join(f'"{name}"' for name in path),))
        with self._told():
            info = TypeInfo.fetch(self._raw, "vector") if found else None
        if info is not None:
            info.register(self._raw)
            dumper = type("VectorDumper", (_PackedVectorDumper,), {"oid": info.oid})
            self._raw.adapters.register_dumper(PackedVector, dumper)

    def run(self, statement: str, values: Row = ()) -> int:
        with self._told():
            return self._raw.execute(_translated(statement), values or None).rowcount

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        with self._told():
            return list(self._raw.execute(_translated(statement), values or None, binary=True).fetchall())

    def chunks(self, statement: str, values: Row = ()) -> Iterator[list[Row]]:
        with self._told():
            cursor = self._raw.cursor("chunks")
            cursor.execute(_translated(statement), values or None, binary=True)
        try:
            while True:
                with self._told():
                    chunk = cursor.fetchmany(_ROWS_AT_A_TIME)
                if not chunk:
                    return
                yield list(chunk)
        finally:
            with suppress(psycopg.Error):
                cursor.close()

    def many(self, statement: str, rows: Iterable[Row]) -> None:
        with self._told(), self._raw.cursor() as cursor:
            cursor.executemany(_translated(statement), rows)

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        with self._told(), self._raw.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.set_types([_COLUMN_TYPES[column] for column in columns])
            for row in rows:
                copy.write_row(row)

    def pack(self, vectors: FloatArray) -> list[Any]:
        n, dimension = vectors.shape
        data = np.zeros((n, 4 + 4 * dimension), np.uint8)
        data[:, :2] = divmod(dimension, 256)
        data[:, 4:] = vectors.astype(">f4").view(np.uint8)
        return [PackedVector(row) for row in data]

    def unpack(self, values: Sequence[Any], dimension: int) -> FloatArray:
        width = 4 + 4 * dimension
        wrong = next((value for value in values if not isinstance(value, bytes) or len(value) != width), None)
        if wrong is not None:
            raise ValueError(f"an embedding of {dimension} numbers is {shown(wrong)}")
        data = np.frombuffer(b"".join(values), np.uint8).reshape(-1, width)
        return np.ascontiguousarray(data[:, 4:]).view(">f4").astype(np.float32)

    def unindex(self) -> None:
        self.run("DROP INDEX IF EXISTS faces_nearest")

    def begin_read(self) -> None:
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self.rows("SELECT one FROM gallery")  # from here on it sees one state

    def begin_write(self) -> None:
        # Each statement sees what was committed before it: the lock is not part of a snapshot taken too early.
        self.run("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE")
        self.rows("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (f"mien gallery {self._schema}",))

    def commit(self) -> None:
        try:
            self.run("COMMIT")
        except GalleryError as error:
            if not self._raw.closed:
                raise
            raise GalleryError(
                f"{self.where}: the server ended the connection while a change was being written: look whether it is"
                " there before you make it again"
            ) from error

    def rollback(self) -> None:
        with suppress(psycopg.Error):
            if self._raw.info.transaction_status != TransactionStatus.IDLE:
                self._raw.rollback()

    def usable(self) -> bool:
        if self._raw.closed or self._raw.info.transaction_status != TransactionStatus.IDLE:
            return False
        unasked, _, _ = select.select([self._raw.fileno()], [], [], 0)
        return not unasked  # a server says something on its own where it says good-bye

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._raw.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what the server says in its words."""
        try:
            yield
        except errors.LockNotAvailable as error:
            raise GalleryBusyError(
                f"{self.where}: others are writing to the gallery for longer than {self._timeout:g} s; try again"
            ) from error
        except errors.InsufficientPrivilege as error:
            raise GalleryError(f"{self.where}: the user may not do this: {_line(error)}") from error
        except psycopg.Error as error:
            lost = "the server ended the connection, and this was not done, try again: " if self._raw.closed else ""
            raise GalleryError(f"{self.where}: {lost}{_line(error)}") from error
        except (UnicodeError, OverflowError) as error:
            raise GalleryError(f"{self.where}: a value cannot be kept or read ({error})") from error


def _connected(session: Session, end: float) -> psycopg.Connection[Any]:
    """A connection; a server that is just starting, or recovering from a crash, is waited for until `end`."""
    while True:
        try:
            return psycopg.connect(
                session.address.conninfo,
                autocommit=True,
                connect_timeout=max(2, round(session.timeout)),
                application_name="mien",
            )
        except psycopg.OperationalError as error:  # which has no code where there is no connection yet
            if not any(words in str(error) for words in _NOT_READY) or time.monotonic() >= end:
                raise
            time.sleep(_PATIENCE)


class PostgresStore(SqlStore[PostgresConnection]):
    """A gallery in a schema of a PostgreSQL database.

    What was removed is gone from the tables after `clean`; the server's own log of changes and its backups are in the
    hands of those who run it.
    """

    def __init__(
        self, address: Address, *, create: GalleryInfo | None, cipher: Cipher | None, timeout: float, readonly: bool
    ) -> None:
        super().__init__(address.shown, cipher)
        self._session = Session(address, timeout, readonly)
        try:
            with self._connection() as connection:
                if _version(connection, address.schema) is None:
                    if create is None or readonly:
                        raise GalleryError(f"{self._where}: there is no gallery")
                    _create(connection, address.schema, create)
                if not readonly:
                    _migrate(connection, address.schema)
            with self.read():
                pass  # the key fits, and what the gallery says of itself can be read
        except BaseException:
            self.close()
            raise

    def clean(self) -> None:
        self._check_writable()
        with self._connection() as connection:
            connection.run("VACUUM (FULL) gallery, people, faces, crops, removed, forbidden, events, undo")

    def nearest(self, vectors: FloatArray, k: int) -> tuple[FloatArray, Ids] | None:
        with self.read() as reader:
            if reader.info.key_id is not None:
                return None
            (_, faces), indexable = reader.count(), reader.info.dimension <= _MOST_INDEXED
        indexed = self.has_index()
        if indexable and not indexed and faces >= INDEX_FROM and not self._session.readonly:
            self.build_index()
            indexed = True
        with self._connection() as connection:
            connection.begin_read()
            return _nearest(connection, reader.info, np.asarray(vectors, np.float32), k, indexed=indexed)

    def has_index(self) -> bool:
        """Whether `nearest` is approximate and fast, rather than exact and slow."""
        with self._connection() as connection:
            [(index,)] = connection.rows("SELECT to_regclass('faces_nearest')::text")
            return index is not None

    def build_index(self) -> None:
        """Build the index for `nearest`, which the server then keeps up to date; others do not write meanwhile.

        Takes minutes for a million faces; the server is faster with a `maintenance_work_mem` that holds them all.

        Raises:
            GalleryError: the embeddings have more numbers than pgvector can index, or are encrypted.
        """
        with self._connection() as connection:
            connection.begin_write()
            [(dimension, metric, key_id)] = connection.rows("SELECT dimension, metric, key_id FROM gallery")
            if key_id is not None or dimension > _MOST_INDEXED:
                raise GalleryError(
                    f"{self._where}: encrypted embeddings, and those of more than {_MOST_INDEXED} numbers,"
                    " cannot be indexed by the server"
                )
            connection.run(
                "CREATE INDEX IF NOT EXISTS faces_nearest ON faces"
                f" USING hnsw ((vector::vector({dimension})) {_OPERATORS[metric][1]})"
            )
            connection.commit()

    def _connect(self) -> PostgresConnection:
        return PostgresConnection(self._session)

    def _check_writable(self) -> None:
        if self._session.readonly:
            raise GalleryError(f"{self._where}: the gallery was opened to read only")


def _nearest(
    connection: PostgresConnection, info: GalleryInfo, vectors: FloatArray, k: int, *, indexed: bool
) -> tuple[FloatArray, Ids]:
    """See `Store.nearest`; within a transaction."""
    distances, ids = np.full((len(vectors), k), -1, np.float32), np.full((len(vectors), k), -1, np.int64)
    connection.rows("SELECT set_config('hnsw.ef_search', ?, true)", (str(min(max(100, 2 * k), _MOST_LOOKED_AT)),))
    if indexed:  # for a few thousand faces the planner would rather compare with each
        avoided = "enable_seqscan" if k <= _MOST_LOOKED_AT else "enable_indexscan"
        connection.rows("SELECT set_config(?, 'off', true)", (avoided,))
    distance = f"vector::vector({info.dimension}) {_OPERATORS[info.metric][0]} ?"
    statement = f"SELECT {distance}, id FROM faces WHERE vector IS NOT NULL ORDER BY {distance} LIMIT ?"  # noqa: S608
    for i, value in enumerate(connection.pack(vectors)):
        for rank, (at, face) in enumerate(connection.rows(statement, (value, value, k))):
            distances[i, rank], ids[i, rank] = at, face
    return distances, ids


def _version(connection: PostgresConnection, name: str) -> int | None:
    """Version of the gallery in a schema, or None where there is nothing.

    Raises:
        GalleryError: there is something else, or a gallery of a later version.
    """
    [(comment, tables)] = connection.rows(
        "SELECT obj_description(to_regclass(format('%I.gallery', ?::text)), 'pg_class'),"
        " (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(format('%I', ?::text)))",
        (name, name),
    )
    if not tables:
        return None
    version = (comment or "").removeprefix(_MARK)
    if not (comment or "").startswith(_MARK) or not version.isdecimal():
        raise GalleryError(f'{connection.where}: the schema "{name}" holds something else than a gallery')
    if int(version) > schema.VERSION:
        raise GalleryError(
            f"{connection.where}: was made by a later mien (format {version}; this one knows {schema.VERSION});"
            " update mien"
        )
    return int(version)


def _create(connection: PostgresConnection, name: str, info: GalleryInfo) -> None:
    """Make an empty gallery, unless another process was faster."""
    connection.begin_write()
    if _version(connection, name) is not None:
        connection.rollback()
        return
    _ensure_pgvector(connection)
    if connection.rows("SELECT to_regnamespace(format('%I', ?::text))::text", (name,)) == [(None,)]:
        connection.run(f'CREATE SCHEMA "{name}"')
    for statement in schema.statements(_TYPES):
        connection.run(statement)
    columns = f"one, {INFO_COLUMNS}, revision, horizon, next_face"
    connection.run(
        f"INSERT INTO gallery ({columns}) VALUES (1, {'?, ' * len(from_info(info))}0, 0, 1)",  # noqa: S608
        from_info(info),
    )
    connection.run(f"COMMENT ON TABLE gallery IS '{_MARK}{schema.VERSION}'")
    connection.commit()


def _ensure_pgvector(connection: PostgresConnection) -> None:
    [(installed, available)] = connection.rows(
        "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'vector'),"
        " EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector')"
    )
    if installed:
        return
    if not available:
        raise GalleryError(f"{connection.where}: the server lacks pgvector; have it installed there")
    try:
        connection.run("CREATE EXTENSION vector SCHEMA public")
    except GalleryError as error:
        raise GalleryError(
            f"{connection.where}: pgvector is not enabled in this database;"
            " have an administrator run CREATE EXTENSION vector there"
        ) from error
    connection.learn_vectors()


def _migrate(connection: PostgresConnection, name: str) -> None:
    """Bring a gallery of an earlier version to this one, in one transaction."""
    if _version(connection, name) == schema.VERSION:
        return
    connection.begin_write()
    version = _version(connection, name)  # another process may have done it meanwhile
    for step in range(version or schema.VERSION, schema.VERSION):
        for statement in schema.MIGRATIONS[step]:
            connection.run(statement)
    connection.run(f"COMMENT ON TABLE gallery IS '{_MARK}{schema.VERSION}'")
    connection.commit()


@lru_cache(maxsize=256)
def _translated(statement: str) -> bytes:
    """A statement with `?` for values as psycopg takes it; `%` stands for itself."""
    return statement.replace("%", "%%").replace("?", "%s").encode()


def _line(error: psycopg.Error) -> str:
    """What went wrong, on one line; neither libpq nor the server repeats a password."""
    return " ".join((error.diag.message_primary or str(error) or type(error).__name__).split())
