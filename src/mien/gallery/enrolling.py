"""From analysed pictures to an enrolment and what is told of it: what the command line and the server share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mien.analyzer import FaceAnalyzer
from mien.errors import NoFaceError
from mien.gallery.enrolment import Enrolment, Skipped, Terms, as_new_faces
from mien.gallery.gallery import Gallery
from mien.gallery.importing import doubts
from mien.gallery.kept_crops import make_crop
from mien.gallery.records import NewFace
from mien.types import Faces, ImageArray


def face_to_enrol(
    path: str, faces: Faces, image: ImageArray | None, *, largest: bool, how: str = "--largest takes the largest"
) -> NewFace:
    """The face of a picture that is to be enrolled, of nobody yet.

    Args:
        path: what the picture is called; it is not read.
        faces: of the picture, at least one, with embeddings.
        image: (H, W, 3) uint8 RGB where a crop is to be kept; else None.
        largest: whether of several faces the largest is taken.
        how: says in the message how the largest is asked for.

    Raises:
        NoFaceError: there are several faces, and nobody said which.
    """
    if len(faces) > 1 and not largest:
        raise NoFaceError(f"{path}: shows {len(faces)} faces; {how}, or cut the picture so that it shows one")
    face = faces.largest()
    [made] = as_new_faces(face, None, None if image is None else [make_crop(image, face)])
    return replace(made, source=path)


@dataclass(frozen=True)
class Told:
    """What became of an enrolment of faces.

    Attributes:
        enrolment: itself.
        faces: that were given.
        doubts: for each face, what makes one doubt that the name is right, a line each; None where nobody asked.
        foreign: those that are in the gallery already as of somebody else, with what there is to say of each.
    """

    enrolment: Enrolment
    faces: Sequence[NewFace]
    doubts: Sequence[Sequence[str]] | None
    foreign: Sequence[tuple[Skipped, str]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return told_dict(self.enrolment, self.faces, self.doubts)


def enrol(gallery: Gallery, analyzer: FaceAnalyzer, name: str, faces: Sequence[NewFace], terms: Terms) -> Told:
    """Enrol faces under a name, and find out what makes one doubt it.

    Raises:
        GalleryError, GalleryModelError, NoFaceError: as `Gallery.enrol`.
    """
    doubted = doubts(gallery, analyzer, name, faces)
    told = gallery.enrol(name, faces, consent=terms.consent, expires=terms.expires)
    return Told(told, faces, doubted, foreign(gallery, told, faces))


def foreign(gallery: Gallery, told: Enrolment, faces: Sequence[NewFace]) -> list[tuple[Skipped, str]]:
    """Pictures that are in the gallery already as of somebody else, and the sentence that says so."""
    found = []
    for skipped in told.skipped:
        if skipped.person != told.person.id:
            owner = (
                "without a name" if skipped.person is None else f"of {gallery.person(skipped.person).name or 'a group'}"
            )
            source = faces[skipped.position].source
            found.append((skipped, f"{source}: is in the gallery already, as face {skipped.face} {owner}"))
    return found


def told_dict(
    told: Enrolment, faces: Sequence[NewFace], doubted: Sequence[Sequence[str]] | None = None
) -> dict[str, Any]:
    """JSON-ready: what became of an enrolment of these faces, and what makes one doubt each of them."""
    skipped = {one.position for one in told.skipped}
    added = [face for i, face in enumerate(faces) if i not in skipped]
    warned = [{} if doubted is None else {"warnings": list(doubted[i])} for i in range(len(faces)) if i not in skipped]
    return {
        "person": told.person.to_dict(),
        "enrolled": [
            {"path": face.source, "face": i, **more} for face, i, more in zip(added, told.faces, warned, strict=True)
        ],
        "skipped": [
            {"path": faces[one.position].source, "face": one.face, "person": one.person, "reason": one.reason}
            for one in told.skipped
        ],
    }
