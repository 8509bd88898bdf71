"""Timelines as files: Parquet, CSV, JSON lines, and subtitles; written whole, block by block, and read back.

Names of people come from outside. In CSV, one that a spreadsheet would take for a formula begins with an apostrophe,
which reading takes away; in subtitles and JSON, names are escaped as those formats ask.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from mien.errors import DataError, MienError
from mien.ops.atomic import written_whole
from mien.ops.files import printable
from mien.video.columns import Rows
from mien.video.counting import Line
from mien.video.story import Rules, name_of
from mien.video.subtitles import write_vtt
from mien.video.summary import SCHEMA, Source, Summary
from mien.video.tables import from_table, table_columns, to_table

FORMATS = (".parquet", ".csv", ".jsonl", ".vtt")
"""What a timeline can be written as."""
READABLE = FORMATS[:3]
"""What it can be read from."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_DECIMALS = {"time": 6, "seconds": 6, "score": 4, "quality": 4}
_DECIMALS_PIXELS, _DECIMALS_CHANCES, _DECIMALS_DEGREES = 2, 5, 2
_OPTIONAL = {"quality": 4, "pose": _DECIMALS_DEGREES, "eyes": _DECIMALS_CHANCES, "mouth": _DECIMALS_CHANCES}
"""By their column, and key in JSON: what is known of some faces; to so many decimals."""
_PROBABILITIES = ("smoothed", "raw")


@dataclass(frozen=True)
class Content:
    """What is written.

    Attributes:
        summary: of the rows.
        blocks: gives the rows, block by block, in order; may be called more than once.
        known: those columns of `columns.OPTIONAL` of which anything is known.
    """

    summary: Summary
    blocks: Callable[[], Iterable[Rows]]
    known: frozenset[str]

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the expressions."""
        return self.summary.story.labels

    @property
    def columns(self) -> list[str]:
        """Of a table."""
        return table_columns(self.labels, self.known)

    def meta(self) -> dict[str, Any]:
        """JSON-ready: all that the rows do not say."""
        source, rules = self.summary.source, self.summary.story.rules
        return {
            "schema": SCHEMA,
            "source": {
                "name": source.name,
                "size": list(source.size),
                "start": source.start,
                "end": source.end,
                "moments": source.moments,
            },
            "labels": list(self.labels),
            "same": [list(pair) for pair in self.summary.same.items()],
            "unclear": sorted(self.summary.unclear),
            "rules": {"lines": [[*map(list, (line.start, line.end))] for line in rules.lines]}
            | {"gap": rules.gap, "facing": rules.facing},
        }


@dataclass(frozen=True)
class Loaded:
    """What was read.

    Attributes:
        rows: all of them.
        names: by track.
        source: what was looked at.
        rules: by which the story is told.
        same: by track, the earlier track of the same person.
        unclear: tracks that were never seen well enough to tell whether they are of somebody who was here before.
    """

    rows: Rows
    names: dict[int, str]
    source: Source
    rules: Rules
    same: dict[int, int]
    unclear: frozenset[int] = frozenset()


def check_format(path: Path) -> None:
    """Find out ahead whether a timeline can be written to a file of this name.

    Raises:
        MienError: the suffix names no format, or what it needs is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise MienError(f"{printable(path)}: not a format for timelines; use {', '.join(FORMATS)}")
    if path.suffix.lower() == ".parquet":
        from mien.video.parquet import check_installed

        check_installed()


def write(path: Path, content: Content) -> None:
    """Write a timeline in the format that the suffix names, whole or not at all.

    Raises:
        MienError: the suffix names none, or it cannot be written.
    """
    check_format(path)
    try:
        with written_whole(path) as temporary:
            _write(path.suffix.lower(), temporary, content)
    except OSError as error:
        raise MienError(f"{printable(path)}: cannot be written ({error.strerror or error})") from error


def _write(suffix: str, path: Path, content: Content) -> None:
    if suffix == ".parquet":
        from mien.video.parquet import write_parquet

        write_parquet(path, content)
        return
    foreign = suffix == ".csv" and any(not name.isascii() for name in content.summary.names.values())
    # Spreadsheets take a CSV without a mark for their own code page.
    with path.open("x", encoding="utf-8-sig" if foreign else "utf-8", errors="backslashreplace", newline="") as file:
        if suffix == ".vtt":
            write_vtt(file, content.summary)
        else:
            {".csv": _write_csv, ".jsonl": _write_jsonl}[suffix](file, content)


def read(path: Path) -> Loaded:
    """Read a timeline that `write` wrote.

    Raises:
        DataError: the file is missing, cut short, or no timeline.
    """
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl}
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            from mien.video.parquet import read_parquet

            return read_parquet(path)
        if suffix not in readers:
            raise DataError(f"{printable(path)}: not a timeline that can be read; use {', '.join(READABLE)}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return readers[suffix](file)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, csv.Error, RecursionError) as error:
        raise DataError(f"{printable(path)}: is no timeline of mien: {printable(error)}") from error
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror or error})") from error


def loaded(rows: Rows, names: dict[int, str], meta: Mapping[str, Any] | None) -> Loaded:
    """With what the rows do not say; where nothing says it, as far as the rows show.

    Raises:
        ValueError, KeyError, TypeError: `meta` is none of `Content.meta`.
    """
    if meta is None:
        start, end = (float(rows.time[0]), float((rows.time + rows.seconds).max())) if len(rows) else (0.0, 0.0)
        return Loaded(rows, names, Source("", (0, 0), start, end, len(np.unique(rows.time))), Rules(), {})
    if meta["schema"] != SCHEMA:
        raise ValueError(f"it has schema {meta['schema']!r}, this version reads {SCHEMA}")
    told, rules = meta["source"], meta["rules"]
    lines = tuple(Line((float(a[0]), float(a[1])), (float(b[0]), float(b[1]))) for a, b in rules["lines"])
    width, height = told["size"]
    source = Source(
        str(told["name"]), (int(width), int(height)), float(told["start"]), float(told["end"]), int(told["moments"])
    )
    same = {int(track): int(earlier) for track, earlier in meta["same"]}
    unclear = frozenset(map(int, meta.get("unclear", ())))  # the first versions did not say it
    return Loaded(rows, names, source, Rules(lines, float(rules["gap"]), float(rules["facing"])), same, unclear)


# CSV


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _unsafe_cell(text: str) -> str | None:
    return (text[1:] if text.startswith("'") else text) or None


def _write_csv(file: TextIO, content: Content) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(safe_cell, content.columns))
    for rows in content.blocks():
        table = to_table(rows, content.summary.names, content.columns)
        writer.writerows(zip(*(_cells(name, values) for name, values in table.items()), strict=True))


def _cells(name: str, values: Any) -> list[Any]:
    """A column as text; what is not known is empty."""
    if name in ("person", "expression"):
        return ["" if value is None else safe_cell(value) for value in values]
    if values.dtype.kind == "b":
        return [int(value) for value in values.tolist()]
    if values.dtype.kind == "i":
        return list(values.tolist())
    return ["" if math.isnan(value) else value for value in _numbers(values, _decimals(name))]


def _decimals(name: str) -> int:
    if name in ("x1", "y1", "x2", "y2"):
        return _DECIMALS_PIXELS
    if name in ("yaw", "pitch", "roll"):
        return _DECIMALS_DEGREES
    return _DECIMALS.get(name, _DECIMALS_CHANCES)


def _read_csv(file: TextIO) -> Loaded:
    reader = csv.reader(map(_whole_line, file))
    names = [_unsafe_cell(name) or "" for name in next(reader, [])]
    if not names:
        raise ValueError("it is empty")
    cells: list[list[str]] = []
    for number, row in enumerate(reader, 2):
        if len(row) != len(names):
            raise ValueError(f"line {number} has {len(row)} cells, expected {len(names)}")
        cells.append(row)
    columns = dict(zip(names, zip(*cells, strict=True), strict=True)) if cells else dict.fromkeys(names, ())
    rows, people = from_table({name: _parsed(name, values) for name, values in columns.items()})
    return loaded(rows, people, None)


def _whole_line(line: str) -> str:
    if not line.endswith("\n"):
        raise ValueError("its last line is cut off")
    return line


def _parsed(name: str, values: Sequence[str]) -> Any:
    if name in ("person", "expression"):
        return [_unsafe_cell(value) for value in values]
    if name in ("frame", "scene", "track"):
        return np.array([int(value) for value in values], dtype=np.int64)
    if name == "seen":
        return np.array([bool(int(value)) for value in values], dtype=np.bool_)
    return np.array([float(value) if value else math.nan for value in values], dtype=np.float64)


# JSON lines: what all rows have in common, a line for each moment that has faces, and what happened


def _write_jsonl(file: TextIO, content: Content) -> None:
    _line(file, content.meta())
    for rows in content.blocks():
        for moment in _moments(rows, content):
            _line(file, moment)
    for event in content.summary.events:
        _line(file, event.to_dict())


def _line(file: TextIO, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    file.write(text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029") + "\n")  # some take them for line ends


def _moments(rows: Rows, content: Content) -> Iterator[dict[str, Any]]:
    """A dict for each moment that has faces."""
    of_moment = (rows.time, rows.seconds, rows.frame, rows.scene)
    faces = zip(*(column.tolist() for column in of_moment), _faces(rows, content), strict=True)
    for (time, seconds, frame, scene), group in groupby(faces, key=lambda face: face[:4]):
        held = [face for *_, face in group]
        yield {"time": round(time, 6), "seconds": round(seconds, 6), "frame": frame, "scene": scene, "faces": held}


def _faces(rows: Rows, content: Content) -> Iterator[dict[str, Any]]:
    """A dict for each row; what is not known is absent."""
    people = content.summary.names
    columns = {"box": _numbers(rows.boxes, _DECIMALS_PIXELS), "score": _numbers(rows.scores, 4)}
    columns |= {name: _numbers(getattr(rows, name), d) for name, d in _OPTIONAL.items() if name in content.known}
    said = [name for name in _PROBABILITIES if name in content.known]
    chances = {name: _numbers(getattr(rows, name), _DECIMALS_CHANCES) for name in said}
    labels = [name_of(state, rows.labels) for state in rows.state.tolist()]
    for i, (track, seen) in enumerate(zip(rows.track.tolist(), rows.seen.tolist(), strict=True)):
        face: dict[str, Any] = {"track": track}
        if track in people:
            face["person"] = people[track]
        if not seen:
            face["seen"] = False
        face |= {name: values[i] for name, values in columns.items() if _is_known(values[i])}
        expression = {} if labels[i] is None else {"label": labels[i]}
        expression |= {name: values[i] for name, values in chances.items() if _is_known(values[i])}
        yield face | ({"expression": expression} if expression else {})


def _is_known(value: Any) -> bool:
    return not math.isnan(value[0] if isinstance(value, list) else value)


def _numbers(values: npt.NDArray[Any], decimals: int) -> list[Any]:
    """Rounded, as lists."""
    out: list[Any] = np.round(values.astype(np.float64), decimals).tolist()
    return out


def _read_jsonl(file: TextIO) -> Loaded:
    meta = json.loads(file.readline() or "null")
    if not isinstance(meta, dict) or "labels" not in meta:
        raise ValueError("the first line does not say what it holds")
    labels = tuple(map(str, meta["labels"]))
    columns_of = ("time", "seconds", "frame", "scene", "track", "seen", "box", "score")
    lines: dict[str, list[Any]] = {name: [] for name in columns_of}
    optional: dict[str, list[Any]] = {
        name: [] for name in ("quality", "pose", "eyes", "mouth", "raw", "smoothed", "state")
    }
    names: dict[int, str] = {}
    for text in file:
        moment = json.loads(_whole_line(text))
        for face in moment.get("faces", ()):
            _take(lines, optional, moment, face, labels)
            if "person" in face:
                names[int(face["track"])] = str(face["person"])
    columns: dict[str, Any] = {"boxes": np.array(lines.pop("box"), dtype=np.float32).reshape(-1, 4)}
    columns["scores"] = lines.pop("score")
    n = len(lines["time"])
    widths = {"pose": 3, "eyes": 2, "raw": len(labels), "smoothed": len(labels)}
    for name, values in optional.items():
        columns[name] = np.array(values, dtype=np.float64).reshape((n, widths[name]) if name in widths else (n,))
    return loaded(Rows.of(labels, n, **lines, **columns), names, meta)


def _take(
    lines: dict[str, list[Any]], optional: dict[str, list[Any]], moment: Any, face: Any, labels: Sequence[str]
) -> None:
    for name in ("time", "seconds", "frame"):
        lines[name].append(moment[name])
    lines["scene"].append(moment.get("scene", 0))  # files of earlier versions have none
    lines["track"].append(face["track"])
    lines["seen"].append(face.get("seen", True))
    lines["box"].append(face["box"])
    lines["score"].append(face["score"])
    said = face.get("expression", {})
    unknown = [math.nan] * len(labels)
    optional["quality"].append(face.get("quality", math.nan))
    optional["pose"].append(face.get("pose", [math.nan] * 3))
    optional["eyes"].append(face.get("eyes", [math.nan] * 2))
    optional["mouth"].append(face.get("mouth", math.nan))
    optional["raw"].append(said.get("raw", unknown))
    optional["smoothed"].append(said.get("smoothed", unknown))
    numbers = {None: -2, "uncertain": -1} | {label: i for i, label in enumerate(labels)}
    optional["state"].append(numbers[said.get("label")])
