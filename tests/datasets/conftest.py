"""Tiny data sets, cut from a real photograph."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

BOX = '"(0, 0, 48, 48)"'
HAPPY, SAD, SPLIT, NOBODY = "0,10,0,0,0,0,0,0,0,0", "1,0,0,9,0,0,0,0,0,0", "5,5,0,0,0,0,0,0,0,0", "0,3,0,0,0,0,0,0,0,7"


@pytest.fixture(scope="session")
def face(portrait: Path) -> bytes:
    """A grey PNG of 48x48."""
    out = io.BytesIO()
    Image.open(portrait).convert("L").resize((48, 48)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def labels() -> str:
    """A `label.csv` of four pictures."""
    votes = (HAPPY, SAD, SPLIT, NOBODY)
    return "".join(f"fer{i}.png,{BOX},{row}\n" for i, row in enumerate(votes))


@pytest.fixture
def zipped(tmp_path: Path, face: bytes, labels: str):
    """`zipped(labels=..., part=..., **pictures)` writes an archive in FER+ layout."""

    def write(text: str | bytes | None = labels, part: str = "ferplus/FER2013Train/", **pictures: bytes) -> Path:
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            for i in range(4):
                archive.writestr(f"{part}fer{i}.png", pictures.get(f"fer{i}", face))
            if text is not None:
                archive.writestr(f"{part}label.csv", text)
        return path

    return write
