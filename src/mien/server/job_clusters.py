"""Pictures, or an archive of them, to groups of faces that show one person each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mien.analyzer import FaceAnalyzer, Task
from mien.datasets.sources import Archive
from mien.errors import ImageError, MienError
from mien.gallery.grouping.face_file import MadeBy
from mien.gallery.grouping.grouping import grouped, grouping_rule
from mien.gallery.grouping.groups import FaceKey, Groups, new_faces
from mien.gallery.kept_crops import make_crop
from mien.gallery.records import NewFace
from mien.models.detection import DEFAULT_SIZE
from mien.ops.files import printable
from mien.ops.image import load_image
from mien.server.jobs import Job
from mien.server.problems import Problem, problem_of
from mien.server.settings import Limits
from mien.types import Faces

ARCHIVE = "archive.zip"
MOST = 200
"""Pictures of one job."""
_MOST_ENTRIES = 1000  # of an archive: folders, and what systems leave in them, too
_MOST_FACES = 2000
_TASKS: tuple[Task, ...] = ("detect", "embed")


@dataclass(frozen=True)
class Found:
    """What is kept of a cluster job, to name groups.

    Attributes:
        groups: of faces.
        pictures: by SHA-256, the faces of each.
        crops: by face, the name of its crop's file.
    """

    groups: Groups
    pictures: dict[str, Faces]
    crops: dict[FaceKey, str]

    def faces(self, number: int, folder: Path) -> list[NewFace]:
        """The faces of a group as a gallery enrols them, with their crops.

        Raises:
            GalleryError: there is no such group.
        """
        faces = new_faces(self.groups, self.pictures, number)
        keys = self.groups.members[number]
        return [replace(f, crop=(folder / self.crops[k]).read_bytes()) for f, k in zip(faces, keys, strict=True)]


@dataclass(eq=False)
class Clustering:
    """A cluster job.

    Args:
        analyzer: finds and embeds faces.
        limits: of pictures.
        names: of the pictures that were uploaded, in the order of the files 0, 1, ...; empty for an archive.
        min_size: faces that a group has at least.
        threshold: similarity; None: the measured one.
    """

    analyzer: FaceAnalyzer
    limits: Limits
    names: list[str]
    min_size: int = 2
    threshold: float | None = None
    _pictures: dict[str, Faces] = field(default_factory=dict)
    _paths: dict[str, list[str]] = field(default_factory=dict)
    _failed: list[tuple[str, Problem]] = field(default_factory=list)
    _faces: int = 0

    def __call__(self, job: Job) -> dict[str, Any]:
        """See `jobs.Work`."""
        for name, data in self._files(job):
            job.check()
            self._look(job, name, data)
            job.done += 1
        made_by = MadeBy.of(self.analyzer, DEFAULT_SIZE)
        rule = grouping_rule(self.analyzer.embedder.record, made_by.mode)
        groups = grouped(
            self._pictures,
            self._paths,
            made_by,
            rule,
            threshold=rule.threshold_or(self.threshold),
            min_size=self.min_size,
            failed=[(name, problem.detail) for name, problem in self._failed],
        )
        crops = _named_crops(job.folder, groups)
        job.kept, job.files = Found(groups, self._pictures, crops), tuple(crops.values())
        told = _with_crops(groups, self._pictures, crops)
        for failed, (_, problem) in zip(told["failed"], self._failed, strict=True):
            failed["code"] = problem.code
        return told

    def _files(self, job: Job) -> Iterator[tuple[str, bytes | Problem]]:
        """Names and bytes; or why there are none. What was read is removed."""
        if not self.names:
            yield from _of_archive(job, self.limits)
            return
        job.total = len(self.names)
        for number, name in enumerate(self.names):
            path = job.folder / str(number)
            yield name, path.read_bytes()
            path.unlink()

    def _look(self, job: Job, name: str, data: bytes | Problem) -> None:
        """Find the faces of a picture; of copies of it, only the name is kept."""
        if isinstance(data, Problem):
            self._failed.append((name, data))
            return
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._pictures:
            try:
                image = load_image(data, name=name, max_pixels=self.limits.picture_pixels)
            except ImageError as error:
                self._failed.append((name, problem_of(error)))
                return
            found = self.analyzer.detector([image])
            [faces] = self.analyzer.describe([image], found, _TASKS)
            self._faces += len(faces)
            if self._faces > _MOST_FACES:
                raise Problem(413, "too-many", f"more than {_MOST_FACES} faces in one job; send fewer pictures")
            for i, face in enumerate(faces):
                (job.folder / f"{digest}-{i}").write_bytes(make_crop(image, face))
            self._pictures[digest] = faces
        self._paths.setdefault(digest, []).append(name)


def open_archive(path: Path, limits: Limits) -> tuple[Archive, list[str]]:
    """An uploaded archive, and the names of what may be pictures in it; nothing is unpacked yet, and none to a file.

    Raises:
        Problem: it is none, or holds too much.
    """
    try:
        archive = Archive(path)
    except MienError as error:
        raise Problem(422, "not-an-archive", "the archive is no zip file, damaged or cut off") from error
    everything = archive.names()
    names = [name for name in dict.fromkeys(everything) if not _is_clutter(name)]
    if len(everything) > _MOST_ENTRIES or len(names) > MOST:
        raise Problem(413, "too-many", f"the archive holds more than {MOST} pictures")
    if not names:
        raise Problem(422, "empty", "there is no file in the archive")
    if sum(map(archive.size, names)) > limits.video_bytes:
        raise Problem(413, "too-large", f"the archive unpacks to more than {limits.video_bytes:,} bytes")
    return archive, names


def _is_clutter(name: str) -> bool:
    """Whether it is a folder, or what a system leaves in archives beside what was put into them."""
    parts = name.split("/")
    return name.endswith("/") or parts[0] == "__MACOSX" or parts[-1].startswith(".") or parts[-1] == "Thumbs.db"


def _of_archive(job: Job, limits: Limits) -> Iterator[tuple[str, bytes | Problem]]:
    archive, names = open_archive(job.folder / ARCHIVE, limits)
    job.total = len(names)
    for name in names:
        shown = printable(name)
        if archive.size(name) > limits.picture_bytes:
            yield shown, Problem(413, "too-large", f"{shown}: over the limit of {limits.picture_bytes:,} bytes")
            continue
        try:
            yield shown, archive.read(name)
        except MienError as error:
            told = problem_of(error)
            yield shown, Problem(told.status, told.code, job.told(told.detail).replace(f"{ARCHIVE}/", "", 1))
    del archive
    (job.folder / ARCHIVE).unlink()


def _named_crops(folder: Path, groups: Groups) -> dict[FaceKey, str]:
    """Give crops of faces in groups their names, and remove the others."""
    crops = {}
    for number, keys in groups.members.items():
        for place, (digest, i) in enumerate(keys, 1):
            name = f"group-{number}-face-{place}.jpg"
            (folder / f"{digest}-{i}").rename(folder / name)
            crops[digest, i] = name
    for digest, i in groups.ungrouped:
        with suppress(FileNotFoundError):
            (folder / f"{digest}-{i}").unlink()
    return crops


def _with_crops(groups: Groups, pictures: dict[str, Faces], crops: dict[FaceKey, str]) -> dict[str, Any]:
    """The schema of groups.json; each face that is in a group says which file is its crop."""
    told = groups.to_dict(pictures)
    for group in told["groups"]:
        for face in group["faces"]:
            face["crop"] = crops[face["picture_sha256"], face["face"]]
    return told
