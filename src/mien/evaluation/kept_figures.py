"""Figures of a long run, kept one by one in a file, so that an interrupted run goes on where it stopped.

The file is lines of JSON. The first says of which run the figures are: the file is refused to any other. A line that a
killed process left half-written is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from mien.errors import MienError
from mien.ops.atomic import write_whole

_FORMAT = "mien figures 1"


class KeptFigures:
    """Figures by name, each on the disk before the next is measured.

    Args:
        path: of the file; made if it is not there.
        run: all that the figures depend on, JSON-ready.

    Raises:
        MienError: the file holds something else, or cannot be read or written.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self._path = path
        self._head = {"format": _FORMAT, "run": sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()}
        self._figures = self._read() if path.exists() else {}
        lines = [self._head, *({"name": name, "figures": kept} for name, kept in self._figures.items())]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in lines))

    def __len__(self) -> int:
        return len(self._figures)

    def get(self, name: str) -> dict[str, float] | None:
        """The figures of this name, if they were measured before."""
        return self._figures.get(name)

    def add(self, name: str, figures: Mapping[str, float]) -> None:
        """Keep figures.

        Raises:
            MienError: the file cannot be written.
        """
        self._figures[name] = dict(figures)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": name, "figures": dict(figures)}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise MienError(f"{self._path}: cannot be written ({error.strerror or error})") from error

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise MienError(f"{self._path}: cannot be read ({error.strerror or error})") from error
        except UnicodeDecodeError:
            text = ""
        first, *lines = text.split("\n")[:-1] or [""]  # what no line end follows was not written whole
        head = _parsed(first)
        if head.get("format") != _FORMAT:
            raise MienError(f"{self._path}: holds no figures to go on from; name another file")
        if head != self._head:
            raise MienError(
                f"{self._path}: holds figures of another run (other pictures, models or options);"
                " name another file, or delete it"
            )
        return {line["name"]: line["figures"] for line in map(_parsed, lines) if "name" in line and "figures" in line}


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
