"""What tests of stores put into them, and the URLs of stores that do not exist yet."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mien.gallery.encryption import AesCipher, Key
from mien.gallery.records import GalleryInfo, NewFace, Person

DIMENSION = 16
AT = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
LANDMARKS = ((10.5, 20.25), (30.1, 20.0), (20.0, 30.0), (12.0, 40.0), (28.0, 40.7))


def fresh_url(kind: str, folder: Path, postgres: str | None) -> str:
    """Where a new gallery can be made."""
    name = f"g{uuid.uuid4().hex}"
    return str(folder / f"{name}.db") if kind == "sqlite" else f"{postgres}&schema={name}"


def an_info(**changes: Any) -> GalleryInfo:
    info = GalleryInfo(
        id=uuid.uuid4().hex,
        embedder="dlib-resnet",
        embedder_sha256="ab" * 32,
        mode="fast",
        dimension=DIMENSION,
        metric="l2",
        created=AT,
    )
    return replace(info, **changes)


def a_cipher(n: int = 0) -> AesCipher:
    return AesCipher(Key(bytes(range(n, n + 32))))


def a_person(name: str | None = None, **more: Any) -> Person:
    return Person(uuid.uuid4().hex, name, AT, **more)


def vectors(n: int, seed: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    """(N, D) float32, no two alike."""
    return np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)


def faces(n: int, person: str | None = None, seed: int = 0, **more: Any) -> list[NewFace]:
    return [NewFace(vector, person, **more) for vector in vectors(n, seed)]
