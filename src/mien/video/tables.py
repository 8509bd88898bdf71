"""Rows as flat tables: the columns of Parquet and CSV, and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.video.columns import UNCERTAIN, UNKNOWN, Rows
from mien.video.story import name_of

RAW, SMOOTHED = "raw_", "smoothed_"
_FLAT: Mapping[str, tuple[str, int | None]] = {
    "time": ("time", None), "seconds": ("seconds", None), "frame": ("frame", None), "scene": ("scene", None),
    "track": ("track", None), "seen": ("seen", None), "x1": ("boxes", 0), "y1": ("boxes", 1), "x2": ("boxes", 2),
    "y2": ("boxes", 3), "score": ("scores", None), "quality": ("quality", None), "yaw": ("pose", 0),
    "pitch": ("pose", 1), "roll": ("pose", 2), "left_eye_open": ("eyes", 0), "right_eye_open": ("eyes", 1),
    "mouth_open": ("mouth", None),
}  # fmt: skip
"""By the name in a table: the column of `Rows`, and which part of it."""
_ALWAYS = ("time", "seconds", "frame", "scene", "track", "seen", "x1", "y1", "x2", "y2", "score")
REQUIRED = tuple(name for name in _ALWAYS if name != "scene")  # that is not in files of earlier versions


def table_columns(labels: Sequence[str], known: Collection[str]) -> list[str]:
    """The names of a table's columns: what is always there, then what is known."""
    optional = [name for name, (column, _) in _FLAT.items() if name not in _ALWAYS and column in known]
    names = [*_ALWAYS[:5], "person", *_ALWAYS[5:], *optional]
    if "smoothed" in known:
        names.append("expression")
    for prefix, column in ((SMOOTHED, "smoothed"), (RAW, "raw")):
        if column in known:
            names += [prefix + label for label in labels]
    return names


def to_table(rows: Rows, people: Mapping[int, str], columns: Sequence[str]) -> dict[str, Any]:
    """The columns, in order: arrays, and lists of text where None stands for nobody and nothing."""
    makers: dict[str, Callable[[], Any]] = {
        "person": lambda: [people.get(track) for track in rows.track.tolist()],
        "expression": lambda: [name_of(state, rows.labels) for state in rows.state.tolist()],
    }
    return {name: makers[name]() if name in makers else _part(rows, name) for name in columns}


def _part(rows: Rows, name: str) -> npt.NDArray[Any]:
    for prefix, column in ((SMOOTHED, rows.smoothed), (RAW, rows.raw)):
        if name.startswith(prefix):
            return np.asarray(column[:, rows.labels.index(name.removeprefix(prefix))])
    column_name, part = _FLAT[name]
    column = getattr(rows, column_name)
    return np.asarray(column if part is None else column[:, part])


def labels_of(columns: Sequence[str]) -> tuple[str, ...]:
    """The expressions that a table has, in its order."""
    for prefix in (SMOOTHED, RAW):
        if found := tuple(name.removeprefix(prefix) for name in columns if name.startswith(prefix)):
            return found
    return ()


def from_table(table: Mapping[str, Any]) -> tuple[Rows, dict[int, str]]:
    """Rows and the names of tracks, of columns as `to_table` makes them; other columns are passed over.

    Raises:
        ValueError: a column is missing, or does not say what it should.
    """
    if missing := [name for name in REQUIRED if name not in table]:
        raise ValueError(f"has no column {', '.join(missing)}")
    labels = labels_of(list(table))
    n = len(table["time"])
    columns: dict[str, Any] = {}
    for name, (column, part) in _FLAT.items():
        if name not in table:
            continue
        values = np.asarray(table[name])
        if part is None:
            columns[column] = values
        else:
            columns.setdefault(column, {})[part] = values
    columns = {name: _stacked(name, value, n) if isinstance(value, dict) else value for name, value in columns.items()}
    for prefix, column in ((SMOOTHED, "smoothed"), (RAW, "raw")):
        if labels and prefix + labels[0] in table:
            columns[column] = np.stack([np.asarray(table[prefix + label]) for label in labels], axis=1)
    if "expression" in table:
        columns["state"] = _states(table["expression"], labels)
    rows = Rows.of(labels, n, **columns)
    who = table.get("person") or [None] * n
    return rows, {track: str(name) for track, name in zip(rows.track.tolist(), who, strict=True) if name is not None}


def _stacked(column: str, parts: Mapping[int, npt.NDArray[Any]], n: int) -> npt.NDArray[np.float64]:
    out = np.full((n, sum(name == column for name, _ in _FLAT.values())), np.nan)
    for part, values in parts.items():
        out[:, part] = values
    return out


def _states(names: Sequence[str | None], labels: Sequence[str]) -> npt.NDArray[np.int8]:
    numbers: dict[str | None, int] = {label: i for i, label in enumerate(labels)}
    numbers |= {None: UNKNOWN, "": UNKNOWN, "uncertain": UNCERTAIN}
    if wrong := next((name for name in names if name not in numbers), None):
        raise ValueError(f"expression {wrong!r} is none of {', '.join(labels)}")
    return np.array([numbers[name] for name in names], dtype=np.int8)
