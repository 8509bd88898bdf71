"""Transactions over a pool of connections: what the stores over SQL share."""

# ruff: noqa: D102  (documented by the protocols)

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from mien.errors import GalleryError
from mien.gallery.stores.protocol import Cipher
from mien.gallery.stores.reader import SqlReader
from mien.gallery.stores.sql import Connection
from mien.gallery.stores.writer import SqlWriter

_left_behind: list[object] = []
"""Connections that belong to a parent process: a child must neither use nor close them."""


class PooledConnection(Connection, Protocol):
    """A connection that can hold a transaction."""

    def begin_read(self) -> None:
        """Begin a transaction that sees one state of the gallery."""
        ...

    def begin_write(self) -> None:
        """Begin the one transaction that may write; waits for others.

        Raises:
            GalleryBusyError: they take longer than the store waits.
        """
        ...

    def commit(self) -> None:
        """When this returns, it is on the disk."""
        ...

    def rollback(self) -> None:
        """Also where the connection is broken or has no transaction; never raises."""
        ...

    def usable(self) -> bool:
        """Whether it can begin another transaction."""
        ...

    def close(self) -> None:
        """Never raises."""
        ...


C = TypeVar("C", bound=PooledConnection)


class SqlStore(ABC, Generic[C]):
    """Hands out a connection to each transaction, so that threads share a store; survives a fork."""

    def __init__(self, where: str, cipher: Cipher | None) -> None:
        self._where = where
        self._cipher = cipher
        self._idle: list[C] = []
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def url(self) -> str:
        return self._where

    @contextmanager
    def read(self) -> Iterator[SqlReader]:
        with self._connection() as connection:
            with self._lock:  # the cipher and the state that it opens belong together, see `_commit`
                connection.begin_read()
                cipher = self._cipher
            yield SqlReader(connection, cipher)

    @contextmanager
    def write(self) -> Iterator[SqlWriter]:
        self._check_writable()
        with self._connection() as connection:
            connection.begin_write()
            writer = SqlWriter(connection, self._cipher)
            yield writer
            writer.finish()
            self._commit(connection, writer.cipher)

    def close(self) -> None:
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        if self._process == os.getpid():
            for connection in idle:
                connection.close()

    @abstractmethod
    def _connect(self) -> C:
        """A new connection."""

    def _check_writable(self) -> None:
        """Raise GalleryError where the store was opened to read only."""

    def _commit(self, connection: C, cipher: Cipher | None) -> None:
        if cipher is self._cipher:
            connection.commit()
            return
        with self._lock:
            connection.commit()
            self._cipher = cipher

    @contextmanager
    def _connection(self) -> Iterator[C]:
        """A connection of its own for one transaction, which is rolled back unless it was committed."""
        connection = self._take()
        try:
            yield connection
        finally:
            connection.rollback()
            self._give_back(connection)

    def _take(self) -> C:
        with self._lock:
            if self._closed:
                raise GalleryError(f"{self._where}: the gallery was closed")
            if self._process != os.getpid():
                _left_behind.extend(self._idle)
                self._idle, self._process = [], os.getpid()
            while self._idle:
                if (connection := self._idle.pop()).usable():
                    return connection
                connection.close()
        return self._connect()

    def _give_back(self, connection: C) -> None:
        with self._lock:
            if not self._closed and connection.usable():
                self._idle.append(connection)
                return
        connection.close()
