"""Naming: groups of faces that `mien cluster` found become people of a gallery."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mien.errors import GalleryModelError, ImageError
from mien.gallery.enrolment import Enrolment, Terms
from mien.gallery.gallery import Gallery
from mien.gallery.grouping.face_file import MadeBy
from mien.gallery.kept_crops import make_crop
from mien.gallery.records import GalleryInfo, NewFace
from mien.ops.image import load_image, read_image_bytes
from mien.types import Faces, ImageArray


def check_made_by(info: GalleryInfo, made_by: MadeBy) -> None:
    """Refuse groups whose embeddings a gallery cannot hold.

    Raises:
        GalleryModelError: they come from another embedder or mode.
    """
    if (info.embedder_sha256, info.mode) == (made_by.embedder_sha256, made_by.mode):
        return
    option = " --accurate" if info.mode == "accurate" else ""
    raise GalleryModelError(
        f"the groups hold embeddings of {made_by.embedder} ({made_by.mode}), the gallery those of {info.embedder}"
        f" ({info.mode}): group the photographs anew by mien cluster --embedder {info.embedder}{option}"
    )


def name_groups(
    gallery: Gallery, made_by: MadeBy, named: Sequence[tuple[str, Sequence[NewFace]]], terms: Terms
) -> list[Enrolment]:
    """Enrol groups of faces, all of them or none: one transaction, of which `undo` takes back one name at a time.

    Args:
        gallery: its duplicates are left out as `Gallery.enrol` does.
        made_by: what embedded the faces.
        named: a name and the faces that get it; a name may come twice.
        terms: consent and expiry of them all.

    Returns:
        What became of each.

    Raises:
        GalleryError: a name cannot be one; or somebody would be new, and all their faces are known.
        GalleryModelError: the gallery has another embedder or mode.
    """
    check_made_by(gallery.info, made_by)
    return gallery.enrol_many(named, consent=terms.consent, expires=terms.expires)


class Crops:
    """Cuts crops of faces, to be kept, out of pictures that are where they were.

    Args:
        places: by SHA-256 of a picture's bytes, where it was seen.

    Attributes:
        missing: how many faces have none: their picture is gone, or has changed.
    """

    def __init__(self, places: Mapping[str, Sequence[str]]) -> None:
        self._places = places
        self._last: tuple[str | None, ImageArray | None] = (None, None)
        self.missing = 0

    def add(self, faces: Sequence[NewFace]) -> list[NewFace]:
        """The faces, with crops where that can be."""
        return [self._with_crop(face) for face in faces]

    def _with_crop(self, face: NewFace) -> NewFace:
        image = self._picture(face.source_sha256 or "")
        if image is None or face.box is None or face.landmarks is None:
            self.missing += 1
            return face
        box, landmarks = (np.array([value], dtype=np.float32) for value in (face.box, face.landmarks))
        seen = Faces(box, np.array([face.score or 0.0], np.float32), landmarks, (image.shape[1], image.shape[0]))
        return replace(face, crop=make_crop(image, seen))

    def _picture(self, digest: str) -> ImageArray | None:
        """The picture with these bytes; the last one is remembered, which often shows the next face too."""
        if self._last[0] != digest:
            self._last = digest, self._read(digest)
        return self._last[1]

    def _read(self, digest: str) -> ImageArray | None:
        for place in self._places.get(digest, ()):
            try:
                data = read_image_bytes(place)
                if hashlib.sha256(data).hexdigest() == digest:
                    return load_image(data)
            except ImageError:
                continue
        return None
