"""The groups of faces that `mien cluster` found: groups.json, with the faces' embeddings in groups.npz beside it.

groups.json holds what people and programs read; a face in it is its picture's SHA-256 and its number in that picture,
by which groups.npz has its embedding. So the two files belong together by what they say, not by when they were written.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from mien.errors import DataError, GalleryError
from mien.gallery.grouping.face_file import MadeBy, is_digest, read_faces
from mien.gallery.records import NewFace
from mien.ops.atomic import write_whole
from mien.ops.files import printable
from mien.types import SCHEMA, Faces

_KIND = "groups of faces"
_LARGEST = 1 << 30  # bytes of a groups.json that is read

FaceKey = tuple[str, int]
"""SHA-256 of a picture's bytes, and the number of the face in it, from 0 on."""


@dataclass(frozen=True)
class Groups:
    """Groups of faces.

    Attributes:
        made_by: the models that found and embedded the faces.
        threshold: similarity from which on groups were merged.
        min_size: faces from which on they are a group.
        members: by number of the group, from 1 on, its faces, the one most like all others first.
        ungrouped: faces that belong to no group.
        paths: by SHA-256 of a picture, where it was seen: at least one place for each that has a face.
        failed: (path, why) of files that could not be used.
    """

    made_by: MadeBy
    threshold: float
    min_size: int
    members: Mapping[int, Sequence[FaceKey]]
    ungrouped: Sequence[FaceKey] = ()
    paths: Mapping[str, Sequence[str]] = field(default_factory=dict)
    failed: Sequence[tuple[str, str]] = ()

    def labels(self) -> dict[FaceKey, int]:
        """The group of each face that is in one."""
        return {key: number for number, keys in self.members.items() for key in keys}

    def to_dict(self, pictures: Mapping[str, Faces]) -> dict[str, Any]:
        """JSON-ready: the schema of groups.json.

        Args:
            pictures: by SHA-256, their faces.
        """

        def face(key: FaceKey) -> dict[str, Any]:
            digest, i = key
            places = list(self.paths[digest])
            copies = {"copies": places[1:]} if len(places) > 1 else {}
            described = pictures[digest][i].to_dicts(embeddings=False)[0]
            return {"path": places[0], **copies, "picture_sha256": digest, "face": i, **described}

        return {
            "schema": SCHEMA,
            "kind": _KIND,
            "made_by": self.made_by.to_dict(),
            "threshold": round(self.threshold, 6),
            "min_size": self.min_size,
            "groups": [
                {"group": number, "size": len(keys), "faces": [face(key) for key in keys]}
                for number, keys in self.members.items()
            ],
            "ungrouped": [face(key) for key in self.ungrouped],
            "failed": [{"path": path, "error": error} for path, error in self.failed],
        }


def embeddings_path(path: Path) -> Path:
    """Where the embeddings of a groups.json are: groups.npz beside it."""
    return path.with_suffix(".npz")


def write_groups(path: Path, groups: Groups, pictures: Mapping[str, Faces]) -> None:
    """Write groups.json, readable by its owner only; the faces are to be in `embeddings_path` already.

    Raises:
        MienError: it cannot be written.
    """
    text = json.dumps(groups.to_dict(pictures), indent=1, ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # names of files can be bytes that are no text: JSON's escapes carry them
        data = json.dumps(groups.to_dict(pictures), indent=1).encode()
    write_whole(path, data + b"\n", private=True)


def read_groups(path: Path) -> tuple[Groups, dict[str, Faces]]:
    """Read groups.json and the embeddings beside it; neither is trusted.

    Args:
        path: of the .json.

    Returns:
        The groups, and by SHA-256 the faces of every picture that they mention, with embeddings.

    Raises:
        DataError: one of the two cannot be read, is damaged or something else, or they do not belong together.
    """
    groups = _read_json(path)
    beside = embeddings_path(path)
    pictures, made_by = read_faces(beside)
    if made_by.embeddings_from != groups.made_by.embeddings_from:
        raise DataError(f"{printable(beside)}: comes from other models than {path.name}; run `mien cluster` again")
    keys = [key for members in groups.members.values() for key in members] + list(groups.ungrouped)
    if any(digest not in pictures or i >= len(pictures[digest]) for digest, i in keys):
        raise DataError(f"{printable(beside)}: lacks faces that {path.name} names; run `mien cluster` again")
    return groups, pictures


def new_faces(groups: Groups, pictures: Mapping[str, Faces], number: int) -> list[NewFace]:
    """The faces of one group as a gallery enrols them, of nobody yet.

    Raises:
        GalleryError: there is no such group.
    """
    if number not in groups.members:
        known = f"from {min(groups.members)} to {max(groups.members)}" if groups.members else "absent: there are none"
        raise GalleryError(f"no group {number}; their numbers are {known}")
    return [_new_face(groups, pictures, key) for key in groups.members[number]]


def _new_face(groups: Groups, pictures: Mapping[str, Faces], key: FaceKey) -> NewFace:
    digest, i = key
    face = pictures[digest][i]
    assert face.embeddings is not None  # noqa: S101 - `read_faces` gives them
    x1, y1, x2, y2 = face.boxes[0].tolist()
    return NewFace(
        embedding=face.embeddings[0],
        source=groups.paths[digest][0],
        source_sha256=digest,
        box=(x1, y1, x2, y2),
        landmarks=tuple((float(x), float(y)) for x, y in face.landmarks[0]),
        score=float(face.scores[0]),
    )


def _read_json(path: Path) -> Groups:
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe would be waited for
            raise ValueError("it is a pipe or a device")
        if status.st_size > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST:,} bytes")
        value = json.loads(path.read_bytes())
        if not isinstance(value, dict) or value.get("kind") != _KIND:
            raise ValueError("it says something else")
        if value.get("schema") != SCHEMA:
            raise ValueError("another version of mien wrote it")
        return _parsed(value)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{printable(path)}: no groups that `mien cluster` wrote, or damaged ({error})") from error


def _parsed(value: dict[str, Any]) -> Groups:
    """Build groups from JSON; ValueError where it does not hold them."""
    threshold, size = value.get("threshold"), value.get("min_size")
    if not _is_number(threshold) or not -1 <= threshold <= 1 or type(size) is not int or size < 1:
        raise ValueError("its threshold or smallest size is none")
    paths: dict[str, list[str]] = {}
    members: dict[int, list[FaceKey]] = {}
    for group in _dicts(value.get("groups")):
        number = group.get("group")
        if type(number) is not int or not 1 <= number < 1 << 53 or number in members:
            raise ValueError("a group has no number of its own")
        members[number] = [_face(face, paths) for face in _dicts(group.get("faces"))]
    ungrouped = [_face(face, paths) for face in _dicts(value.get("ungrouped"))]
    keys = [key for faces in members.values() for key in faces] + ungrouped
    if len(set(keys)) < len(keys):
        raise ValueError("it names a face twice")
    if not all(members.values()):
        raise ValueError("a group has no faces")
    return Groups(MadeBy.from_dict(value.get("made_by")), float(threshold), size, members, ungrouped, paths)


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number; true and false are none."""
    return type(value) in (int, float)


def _face(value: dict[str, Any], paths: dict[str, list[str]]) -> FaceKey:
    """The key of a face; notes where its picture is."""
    digest, number = value.get("picture_sha256"), value.get("face")
    if not is_digest(digest) or type(number) is not int or number < 0:
        raise ValueError("a face does not say which picture it is in")
    copies = value.get("copies", [])
    places = [value.get("path"), *copies] if isinstance(copies, list) else []
    named = [place for place in places if isinstance(place, str)]
    if not named or len(named) < len(places):
        raise ValueError("a face does not say where its picture is")
    paths[str(digest)] = named
    return str(digest), number


def _dicts(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("a list is missing")
    return value
