"""Who is on a picture, as JSON: what the command line and the server print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mien.gallery.decision import Identification
from mien.types import Faces


def identified(faces: Faces, answers: Sequence[Identification], candidates: int = 0) -> list[dict[str, Any]]:
    """The faces of a picture, each with who it is.

    Args:
        faces: of the picture.
        answers: one for each.
        candidates: how many of the people most like each face to list, too.
    """
    dicts = faces.to_dicts(embeddings=False)
    for face, answer in zip(dicts, answers, strict=True):
        face["identity"] = answer.to_dict()
        if candidates:
            face["candidates"] = [candidate.to_dict() for candidate in answer.candidates[:candidates]]
    return dicts
