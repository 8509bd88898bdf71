"""What reading and writing a gallery share: a connection in SQL that SQLite and PostgreSQL understand alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from mien.gallery.stores.protocol import Cipher
from mien.gallery.stores.rows import Row, shown
from mien.types import FloatArray

CHUNK = 5000
"""Rows that are read, opened or named in one statement at a time; both databases take more than that."""


class Connection(Protocol):
    """One connection to a database. Statements have `?` for values. Raises GalleryError and nothing else."""

    where: str
    """The gallery, printable."""
    dimensions: str
    """SQL for how many numbers faces.vector holds."""

    def run(self, statement: str, values: Row = ()) -> int:
        """Execute, and give the number of rows it changed."""
        ...

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        """All rows."""
        ...

    def chunks(self, statement: str, values: Row = ()) -> Iterator[list[Row]]:
        """Rows of an answer that may be too large to hold, some thousands at a time."""
        ...

    def many(self, statement: str, rows: Iterable[Row]) -> None:
        """Execute once for each row of values."""
        ...

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Add many rows to a table, fast."""
        ...

    def pack(self, vectors: FloatArray) -> list[Any]:
        """(N, D) float32 to N values of faces.vector."""
        ...

    def unpack(self, values: Sequence[Any], dimension: int) -> FloatArray:
        """N values of faces.vector to (N, D) float32.

        Raises:
            ValueError: one has another length.
        """
        ...

    def unindex(self) -> None:
        """Drop the index over the vectors, if there is one: their dimension changes."""
        ...


def packed(vectors: FloatArray) -> list[bytes]:
    """(N, D) to N times little-endian float32."""
    rows = np.ascontiguousarray(vectors, "<f4")
    width, data = 4 * rows.shape[1], rows.tobytes()
    return [data[start : start + width] for start in range(0, len(data), width)]


def unpacked(values: Sequence[bytes], dimension: int) -> FloatArray:
    """N times little-endian float32 to (N, D).

    Raises:
        ValueError: one has another length, or is no bytes at all.
    """
    wrong = next((value for value in values if not isinstance(value, bytes) or len(value) != 4 * dimension), None)
    if wrong is not None:
        what = f"{len(wrong)} bytes" if isinstance(wrong, bytes) else shown(wrong)
        raise ValueError(f"an embedding of {dimension} numbers is {what}")
    return np.frombuffer(b"".join(values), "<f4").reshape(-1, dimension).astype(np.float32, copy=False)


def column_for(cipher: Cipher | None) -> str:
    """The column of `faces` that holds the embeddings."""
    return "vector" if cipher is None else "sealed"


def marks(values: Sequence[object]) -> str:
    """As many `?` as there are values."""
    return ", ".join("?" * len(values))


def parts(ids: Sequence[int]) -> Iterator[list[int]]:
    """Ids, some thousands at a time."""
    for start in range(0, len(ids), CHUNK):
        yield list(ids[start : start + CHUNK])
