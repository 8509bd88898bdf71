"""What errors of the library are called over HTTP: what a server says, and a client raises again."""

from __future__ import annotations

from collections.abc import Mapping

from mien.errors import (
    DataError,
    GalleryBusyError,
    GalleryError,
    ImageDecodeError,
    ImageError,
    ImageTooLargeError,
    LivenessError,
    MienError,
    NoFaceError,
    VideoError,
)

CODES: Mapping[str, type[MienError]] = {
    "picture-too-large": ImageTooLargeError,
    "not-a-picture": ImageDecodeError,
    "picture-unusable": ImageError,
    "no-face": NoFaceError,
    "video-unusable": VideoError,
    "data-unusable": DataError,
    "gallery-busy": GalleryBusyError,
    "gallery": GalleryError,
    "liveness": LivenessError,
}
"""By their `code`, special ones before those that they are kinds of."""
