"""mien: who a face is, and what it shows.

    image = mien.load_image("party.jpg")
    faces = mien.FaceAnalyzer()(image)
    json.dumps(faces.to_dicts())

Importing mien loads no model and no heavy library: names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer, FileResult
    from mien.errors import (
        DataError,
        DeviceError,
        ImageDecodeError,
        ImageError,
        ImageTooLargeError,
        MienError,
        ModelError,
        NoFaceError,
        UnknownModelError,
        WeightsError,
    )
    from mien.models.store import WeightsStore
    from mien.ops.draw import draw_faces
    from mien.ops.image import load_image, save_image
    from mien.types import Expressions, Faces, Verification

__version__ = "0.1.0"

_HOMES = {
    "DataError": "mien.errors",
    "DeviceError": "mien.errors",
    "Expressions": "mien.types",
    "FaceAnalyzer": "mien.analyzer",
    "Faces": "mien.types",
    "FileResult": "mien.analyzer",
    "ImageDecodeError": "mien.errors",
    "ImageError": "mien.errors",
    "ImageTooLargeError": "mien.errors",
    "MienError": "mien.errors",
    "ModelError": "mien.errors",
    "NoFaceError": "mien.errors",
    "UnknownModelError": "mien.errors",
    "Verification": "mien.types",
    "WeightsError": "mien.errors",
    "WeightsStore": "mien.models.store",
    "draw_faces": "mien.ops.draw",
    "load_image": "mien.ops.image",
    "save_image": "mien.ops.image",
}

__all__ = [
    "DataError",
    "DeviceError",
    "Expressions",
    "FaceAnalyzer",
    "Faces",
    "FileResult",
    "ImageDecodeError",
    "ImageError",
    "ImageTooLargeError",
    "MienError",
    "ModelError",
    "NoFaceError",
    "UnknownModelError",
    "Verification",
    "WeightsError",
    "WeightsStore",
    "__version__",
    "draw_faces",
    "load_image",
    "save_image",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
