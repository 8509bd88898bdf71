"""Timelines as Parquet; pyarrow (extra `parquet`) is imported when one is written or read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import MienError
from mien.video.tables import from_table, labels_of, to_table

if TYPE_CHECKING:
    from mien.video.exports import Content, Loaded

_META = b"mien"


def check_installed() -> None:
    """Find out whether Parquet can be written.

    Raises:
        MienError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MienError("Parquet needs pyarrow: pip install 'mien[parquet]', or name a .csv or .jsonl file") from error


def write_parquet(path: Path, content: Content) -> None:
    """Write a timeline, a row group for each block.

    Args:
        path: of the file.
        content: what to write.

    Raises:
        OSError: it cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(content)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in content.blocks():
            table = to_table(rows, content.summary.names, content.columns)
            arrays = [
                pa.array(table[field.name], type=pa.string(), from_pandas=True).dictionary_encode()
                if pa.types.is_dictionary(field.type)
                else pa.array(table[field.name], type=field.type, from_pandas=True)  # NaN: not known
                for field in schema
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _schema(content: Content) -> Any:
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string())
    kinds = {
        "time": pa.float64(), "frame": pa.int64(), "scene": pa.int64(), "track": pa.int64(), "seen": pa.bool_(),
        "person": words, "expression": words,
    }  # fmt: skip
    fields = [pa.field(name, kinds.get(name, pa.float32())) for name in content.columns]
    return pa.schema(fields, metadata={_META: json.dumps(content.meta(), ensure_ascii=False).encode()})


def read_parquet(path: Path) -> Loaded:
    """Read a timeline.

    Raises:
        MienError: pyarrow is not installed.
        OSError: it cannot be read.
        ValueError, KeyError, TypeError: it is no timeline.
    """
    check_installed()
    import pyarrow as pa
    from pyarrow import parquet

    from mien.video.exports import loaded

    with parquet.ParquetFile(path) as file:
        told = (file.schema_arrow.metadata or {}).get(_META)
        if told is None:
            raise ValueError("it was not written by mien")
        table = file.read()
    columns = {name: _column(pa, table[name]) for name in table.column_names}
    meta = json.loads(told)
    rows, names = from_table(columns)
    labels = tuple(map(str, meta["labels"]))
    if labels_of(table.column_names) != labels:  # nothing was ever known of them
        from mien.video.columns import COLUMNS, OPTIONAL, Rows

        held = {name: getattr(rows, name) for name in COLUMNS if name not in (*OPTIONAL[-2:], "state")}
        rows = Rows.of(labels, len(rows), **held)
    return loaded(rows, names, meta)


def _column(pa: Any, column: Any) -> Any:
    if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
        return column.to_pylist()
    if pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    return column.to_numpy()
