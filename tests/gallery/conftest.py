"""Real faces for galleries."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien import Faces


@pytest.fixture(scope="session")
def faces(analyzer, shared_photos) -> dict[str, Faces]:
    """The largest face of each photograph, with its embedding, by file name."""
    names = [f"{who}_{i}.jpg" for who in ("obama", "biden", "rose", "kit") for i in (1, 2)]
    paths: list[Path] = [shared_photos / name for name in names]
    return {path.stem: analyzer.largest_face(path) for path in paths}
