"""mien: who a face is, and what it shows.

    image = mien.load_image("party.jpg")
    faces = mien.FaceAnalyzer()(image)
    matches = mien.Gallery.open("people.db").identify(faces.embeddings)
    json.dumps(faces.to_dicts())

Importing mien loads no model and no heavy library: names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mien.version import VERSION

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer
    from mien.answers import Ages, Expressions, Genders
    from mien.client.client import Client
    from mien.errors import (
        DataError,
        DeviceError,
        GalleryBusyError,
        GalleryError,
        GalleryKeyError,
        GalleryModelError,
        GateError,
        ImageDecodeError,
        ImageError,
        ImageTooLargeError,
        MienError,
        ModelError,
        NoFaceError,
        ServerError,
        UnknownModelError,
        VideoError,
        WeightsError,
    )
    from mien.gallery.decision import Candidate, Identification
    from mien.gallery.enrolment import Enrolment
    from mien.gallery.gallery import Gallery
    from mien.gallery.records import Face, Person
    from mien.many import FileResult
    from mien.models.store import WeightsStore
    from mien.ops.draw import draw_faces
    from mien.ops.image import load_image, save_image
    from mien.types import Faces, Verification
    from mien.video.analysis import Moment, VideoAnalyzer
    from mien.video.frames import Frame, FrameSource, open_frames
    from mien.video.timeline import Timeline


__version__ = VERSION

_HOMES = {
    "Ages": "mien.answers",
    "Candidate": "mien.gallery.decision",
    "Client": "mien.client.client",
    "DataError": "mien.errors",
    "DeviceError": "mien.errors",
    "Enrolment": "mien.gallery.enrolment",
    "Expressions": "mien.answers",
    "Face": "mien.gallery.records",
    "FaceAnalyzer": "mien.analyzer",
    "Faces": "mien.types",
    "Frame": "mien.video.frames",
    "FrameSource": "mien.video.frames",
    "FileResult": "mien.many",
    "Gallery": "mien.gallery.gallery",
    "GalleryBusyError": "mien.errors",
    "GalleryError": "mien.errors",
    "GalleryKeyError": "mien.errors",
    "GalleryModelError": "mien.errors",
    "GateError": "mien.errors",
    "Genders": "mien.answers",
    "Identification": "mien.gallery.decision",
    "ImageDecodeError": "mien.errors",
    "ImageError": "mien.errors",
    "ImageTooLargeError": "mien.errors",
    "MienError": "mien.errors",
    "ModelError": "mien.errors",
    "Moment": "mien.video.analysis",
    "NoFaceError": "mien.errors",
    "Person": "mien.gallery.records",
    "ServerError": "mien.errors",
    "Timeline": "mien.video.timeline",
    "UnknownModelError": "mien.errors",
    "Verification": "mien.types",
    "VideoAnalyzer": "mien.video.analysis",
    "VideoError": "mien.errors",
    "WeightsError": "mien.errors",
    "WeightsStore": "mien.models.store",
    "draw_faces": "mien.ops.draw",
    "load_image": "mien.ops.image",
    "open_frames": "mien.video.frames",
    "save_image": "mien.ops.image",
}

__all__ = [
    "Ages",
    "Candidate",
    "Client",
    "DataError",
    "DeviceError",
    "Enrolment",
    "Expressions",
    "Face",
    "FaceAnalyzer",
    "Faces",
    "FileResult",
    "Frame",
    "FrameSource",
    "Gallery",
    "GalleryBusyError",
    "GalleryError",
    "GalleryKeyError",
    "GalleryModelError",
    "GateError",
    "Genders",
    "Identification",
    "ImageDecodeError",
    "ImageError",
    "ImageTooLargeError",
    "MienError",
    "ModelError",
    "Moment",
    "NoFaceError",
    "Person",
    "ServerError",
    "Timeline",
    "UnknownModelError",
    "Verification",
    "VideoAnalyzer",
    "VideoError",
    "WeightsError",
    "WeightsStore",
    "__version__",
    "draw_faces",
    "load_image",
    "open_frames",
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
