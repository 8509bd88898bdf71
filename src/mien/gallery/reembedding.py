"""Reembedding: all faces of a gallery embedded anew, by another embedder or mode, and the gallery switched at once.

The new embeddings are kept in a progress file until all are there; a run that was broken off goes on where it stopped.
Then one transaction replaces every embedding and says which embedder they are of: whatever happens, the gallery is
wholly the old one or wholly the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from mien.errors import GalleryBusyError, GalleryError, GalleryKeyError, MienError
from mien.gallery import undoing
from mien.gallery.editing import now
from mien.gallery.gallery import Gallery
from mien.gallery.kept_crops import read_crop
from mien.gallery.records import Event, Face, GalleryInfo
from mien.gallery.stores.protocol import Cipher, Reader, Writer
from mien.models.embedding import FaceEmbedder
from mien.ops import similarity
from mien.ops.files import printable
from mien.ops.image import load_image, read_image_bytes
from mien.types import Faces, FloatArray, ImageArray

Report = Callable[[int, int], None]
"""Called with (done, total) faces."""

_BATCH = 32
_PAGE = 1000
_ROUNDS = 5  # of faces that others enrol meanwhile
_SAMPLE = 4000  # faces that accuracy is measured on
_ROWS = 256  # of them at a time
_RECORD = struct.Struct("<qI")  # face, bytes of its embedding
_CHECK = struct.Struct("<I")
_FORMAT = 1


@dataclass(frozen=True)
class Missing:
    """A face that cannot be embedded anew, and why not, in one line."""

    face: int
    person: str | None
    reason: str


@dataclass(frozen=True)
class Accuracy:
    """How well embeddings tell the gallery's own people apart, each face held against all others.

    Attributes:
        faces: those of people with two faces or more, which were asked about.
        people: whose they are.
        rank1: the share of faces whose nearest other face is of their person.
        separation: d-prime, the distance between the mean similarities of one person's and of two people's faces, in
            units of their root mean square standard deviation; None where there is only one person.
    """

    faces: int
    people: int
    rank1: float
    separation: float | None


@dataclass(frozen=True)
class Reembedding:
    """What became of a reembedding.

    Attributes:
        before: what the gallery was.
        after: what it is, or would be.
        switched: whether it was switched; not so where faces are missing.
        faces: how many were embedded anew, in this run or an earlier one.
        resumed: how many of them in earlier runs.
        missing: faces that could not be; they are removed where the gallery was switched.
        accuracy_before: of the old embeddings; None where nobody has two faces.
        accuracy_after: of the new ones, on the same faces.
    """

    before: GalleryInfo
    after: GalleryInfo
    switched: bool
    faces: int
    resumed: int
    missing: tuple[Missing, ...]
    accuracy_before: Accuracy | None
    accuracy_after: Accuracy | None


def reembed(
    gallery: Gallery,
    embedder: FaceEmbedder,
    progress: Path,
    *,
    cipher: Cipher | None = None,
    drop_missing: bool = False,
    report: Report | None = None,
) -> Reembedding:
    """Embed all faces anew and switch the gallery over. Open the gallery anew afterwards.

    A face is embedded from its kept crop, or from its source file where that has the bytes it had.

    Args:
        gallery: others may use it meanwhile; what they enrol is embedded too.
        embedder: the new one, in its mode.
        progress: file that new embeddings are kept in until the switch; belongs to one gallery and one embedder.
        cipher: of an encrypted gallery; the progress file is encrypted with it as well.
        drop_missing: whether faces that cannot be embedded anew are removed; otherwise nothing is switched.
        report: told how far it is.

    Raises:
        GalleryKeyError: the gallery is encrypted, and `cipher` is missing or another one.
        GalleryBusyError: another process does the same, or others enrol faster than we follow.
        GalleryError: the gallery has this embedder and mode already, or cannot be read or written.
        ModelError: the embedder fails.
    """
    with gallery.store.read() as reader:
        before = reader.info
    after = _info_of(before, embedder)
    if (cipher.key_id if cipher else None) != before.key_id:
        raise GalleryKeyError(f"{gallery.url}: {'the key is another one' if cipher else 'is encrypted: name its key'}")
    with _alone(progress), _Kept(progress, before, after, cipher) as kept:
        resumed = len(kept.vectors)
        for _ in range(_ROUNDS):
            missing = _embed_all(gallery, embedder, kept, report)
            with gallery.store.read() as reader:
                accuracies = _accuracies(reader, kept, after)
            result = Reembedding(before, after, False, len(kept.vectors), resumed, missing, *accuracies)
            if missing and not drop_missing:
                return result
            if _switch(gallery, kept, result):
                kept.forget()
                return replace(result, switched=True)
    raise GalleryBusyError(f"{gallery.url}: others enrol faces faster than these are embedded anew; try again later")


def _info_of(before: GalleryInfo, embedder: FaceEmbedder) -> GalleryInfo:
    record = embedder.record
    if (before.embedder_sha256, before.mode) == (record.weights.sha256, embedder.mode):
        raise GalleryError(f"the gallery has embeddings of {record.name} ({embedder.mode}) already")
    assert record.dimensions is not None  # noqa: S101 - an embedder has them
    assert record.metric is not None  # noqa: S101
    return replace(
        before,
        embedder=record.name,
        embedder_sha256=record.weights.sha256,
        mode=embedder.mode,
        dimension=record.dimensions,
        metric=record.metric,
    )


# Embedding


def _embed_all(gallery: Gallery, embedder: FaceEmbedder, kept: _Kept, report: Report | None) -> tuple[Missing, ...]:
    """Embed every face that is not kept yet; those that cannot be."""
    with gallery.store.read() as reader:
        total = reader.count()[1]
    missing: list[Missing] = []
    pictures = _Pictures()
    for faces in _pages(gallery, _BATCH):
        found: list[tuple[int, ImageArray, Faces]] = []
        for face in faces:
            if face.id not in kept.vectors:
                try:
                    found.append((face.id, *pictures.of(gallery, face)))
                except MienError as error:
                    missing.append(Missing(face.id, face.person, str(error)))
        if found:
            ids, images, cut = zip(*found, strict=True)
            kept.add(
                ids, np.concatenate([one.embeddings for one in embedder(images, cut) if one.embeddings is not None])
            )
        if report is not None:
            report(min(len(kept.vectors) + len(missing), total), total)
    return tuple(missing)


def _pages(gallery: Gallery, size: int) -> Iterator[list[Face]]:
    """All faces, a page at a time, each read in a transaction of its own: others may write meanwhile."""
    page = gallery.faces(limit=size)
    while page:
        yield page
        page = gallery.faces(after=page[-1].id, limit=size)


class _Pictures:
    """Where a face can be seen again; remembers the last picture, which often shows the next face too."""

    def __init__(self) -> None:
        self._last: tuple[tuple[str, str], ImageArray] | None = None

    def of(self, gallery: Gallery, face: Face) -> tuple[ImageArray, Faces]:
        """A picture and the one face in it.

        Raises:
            MienError: there is no usable crop, and no source file either; says why.
        """
        problem = "no crop of it is kept"
        if face.has_crop and (crop := gallery.crop(face.id)) is not None:
            try:
                return read_crop(crop)
            except GalleryError as error:
                problem = str(error)
        try:
            return self._from_source(face)
        except MienError as error:
            raise GalleryError(f"{problem}, and {error}") from error

    def _from_source(self, face: Face) -> tuple[ImageArray, Faces]:
        if face.source is None or face.source_sha256 is None:
            raise GalleryError("where its picture is was never noted")
        if face.box is None or face.landmarks is None or len(face.landmarks) != 5:
            raise GalleryError("where it is in its picture was never noted")
        key = (face.source, face.source_sha256)
        if self._last is None or self._last[0] != key:
            data = read_image_bytes(face.source)
            if hashlib.sha256(data).hexdigest() != face.source_sha256:
                raise GalleryError(f"its picture {printable(face.source)} has changed since")
            self._last = key, load_image(data)
        image = self._last[1]
        size = (image.shape[1], image.shape[0])
        box, landmarks = (np.array([value], dtype=np.float32) for value in (face.box, face.landmarks))
        return image, Faces(box, np.array([face.score or 0.0], dtype=np.float32), landmarks, size)


# What is kept until the switch


class _Kept:
    """The progress file: a header, then records of face, embedding and checksum. What is cut short is dropped.

    Attributes:
        vectors: (D,) float32 by face.
    """

    def __init__(self, path: Path, before: GalleryInfo, after: GalleryInfo, cipher: Cipher | None) -> None:
        self.vectors: dict[int, FloatArray] = {}
        self._path = path
        self._dimension = after.dimension
        self._cipher = cipher
        self._bound = f"mien reembed {before.id} {after.embedder_sha256} {after.mode}"
        header = {"mien-reembed": _FORMAT, "for": self._bound, "key": cipher.key_id if cipher else None}
        self._header = json.dumps(header).encode() + b"\n"
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Kept:
        try:
            number = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            self._file = os.fdopen(number, "r+b")
            end = self._read()
            self._file.seek(end)
            self._file.truncate()
            if end == 0:
                self._file.write(self._header)
        except OSError as error:
            raise _unwritten(self._path, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, ids: Sequence[int], vectors: FloatArray) -> None:
        """Keep embeddings; they are on the disk when this returns."""
        assert self._file is not None  # noqa: S101 - entered
        for face, vector in zip(ids, vectors, strict=True):
            plain = vector.astype("<f4").tobytes()
            value = plain if self._cipher is None else self._cipher.seal(plain, self._context(face))
            record = _RECORD.pack(face, len(value)) + value
            self._write(record + _CHECK.pack(zlib.crc32(record)))
            self.vectors[face] = vector
        self._write(b"", sync=True)

    def forget(self) -> None:
        """Remove the file: the gallery has what was in it."""
        assert self._file is not None  # noqa: S101 - entered
        self._file.close()
        with suppress(OSError):
            self._path.unlink()

    def _write(self, data: bytes, *, sync: bool = False) -> None:
        assert self._file is not None  # noqa: S101 - entered
        try:
            self._file.write(data)
            if sync:
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritten(self._path, error) from error

    def _read(self) -> int:
        """Read what an earlier run kept; how many bytes of the file are good."""
        assert self._file is not None  # noqa: S101 - entered
        if self._file.read(len(self._header)) != self._header:
            return 0  # new, or of another embedder, mode or key: of no use any more
        end = len(self._header)
        longest = 4 * self._dimension + 64
        while len(head := self._file.read(_RECORD.size)) == _RECORD.size:
            face, size = _RECORD.unpack(head)
            if size > longest:
                break
            value, check = self._file.read(size), self._file.read(_CHECK.size)
            if len(check) < _CHECK.size or _CHECK.unpack(check)[0] != zlib.crc32(head + value):
                break
            plain = value if self._cipher is None else self._cipher.open(value, self._context(face))
            if len(plain) != 4 * self._dimension:
                break
            self.vectors[face] = np.frombuffer(plain, "<f4").astype(np.float32)
            end += _RECORD.size + size + _CHECK.size
        return end

    def _context(self, face: int) -> bytes:
        return f"{self._bound} {face}".encode()


def _unwritten(path: Path, error: OSError) -> GalleryError:
    return GalleryError(f"{printable(path)}: cannot be written ({str(error.strerror or error).lower()})")


@contextmanager
def _alone(progress: Path) -> Iterator[None]:
    """Keep other processes from the same progress file; the lock goes with its process."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{progress}.lock", timeout=0)
    try:
        with lock:
            try:
                yield
            finally:
                with suppress(OSError):  # on Windows, where an open file stays
                    Path(lock.lock_file).unlink()
    except Timeout as error:
        raise GalleryBusyError(f"{printable(progress)}: another process is embedding this gallery anew") from error
    except PermissionError as error:
        raise _unwritten(progress, error) from error


# The switch


def _switch(gallery: Gallery, kept: _Kept, result: Reembedding) -> bool:
    """Replace all embeddings in one transaction; False where faces have come that are not embedded yet.

    Raises:
        GalleryError: somebody else has switched the gallery meanwhile.
    """
    missing = {face.face for face in result.missing}
    with gallery.store.write() as writer:
        if writer.info != result.before:
            raise GalleryError(f"{gallery.url}: the gallery was changed to another embedder or key meanwhile")
        ids = _all_ids(writer)
        if any(face not in kept.vectors and face not in missing for face in ids):
            return False
        dropped = [face for face in ids if face not in kept.vectors]
        left = [face for face in ids if face in kept.vectors]
        _replace(writer, left, dropped, kept, result.after)
        details = {"embedder": result.after.embedder, "mode": result.after.mode, "faces": len(left), "dropped": dropped}
        writer.add_event(Event(now(), "reembed", gallery.actor, details=details))
    if dropped:
        gallery.clean()
    return True


def _replace(writer: Writer, left: list[int], dropped: list[int], kept: _Kept, after: GalleryInfo) -> None:
    if dropped:
        writer.remove_faces(dropped)
        undoing.forget(writer, "reembed", now())
    writer.set_info(after)
    if left:
        writer.replace_vectors(left, np.stack([kept.vectors[face] for face in left]))


def _all_ids(reader: Reader) -> list[int]:
    ids: list[int] = []
    while page := reader.faces(after=ids[-1] if ids else 0, limit=_PAGE):
        ids += [face.id for face in page]
    return ids


# Accuracy


def _accuracies(reader: Reader, kept: _Kept, after: GalleryInfo) -> tuple[Accuracy | None, Accuracy | None]:
    """How well the old and the new embeddings tell the gallery's people apart, on the same faces."""
    faces: list[Face] = []
    for person in reader.people():
        if person.faces:
            faces += [face for face in reader.faces(person=person.id) if face.id in kept.vectors]
        if len(faces) >= _SAMPLE:
            break
    faces = faces[:_SAMPLE]
    if not faces:
        return None, None
    ids = [face.id for face in faces]
    people = [str(face.person) for face in faces]
    old, new = reader.vectors(ids), np.stack([kept.vectors[face] for face in ids])
    return accuracy(old, people, reader.info.metric), accuracy(new, people, after.metric)


def accuracy(vectors: FloatArray, people: Sequence[str], metric: str) -> Accuracy | None:
    """How well embeddings tell people apart; see `Accuracy`.

    Args:
        vectors: (N, D).
        people: N names or ids.
        metric: "l2" or "cosine".

    Returns:
        None where nobody has two faces.
    """
    _, owner, counts = np.unique(np.array(people), return_inverse=True, return_counts=True)
    asked = np.flatnonzero(counts[owner] > 1)
    if not len(asked):
        return None
    hits, same, other = 0, _Moments(), _Moments()
    for start in range(0, len(asked), _ROWS):
        rows = asked[start : start + _ROWS]
        alike = similarity.pairwise(vectors[rows], vectors, metric).astype(np.float64)
        own = owner[rows][:, None] == owner
        strange = ~own
        own[np.arange(len(rows)), rows] = False
        best = np.where(own, alike, -np.inf).max(axis=1)
        hits += int((best > np.where(strange, alike, -np.inf).max(axis=1)).sum())
        same.add(alike[own])
        other.add(alike[strange])
    separation = (same.mean - other.mean) / np.sqrt((same.variance + other.variance) / 2) if other.n else None
    people_asked = int((counts > 1).sum())
    return Accuracy(len(asked), people_asked, hits / len(asked), None if separation is None else float(separation))


class _Moments:
    """Mean and variance of numbers that come in parts."""

    def __init__(self) -> None:
        self.n, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, values: Any) -> None:
        self.n += len(values)
        self._sum += float(values.sum())
        self._squares += float((values * values).sum())

    @property
    def mean(self) -> float:
        return self._sum / self.n

    @property
    def variance(self) -> float:
        return max(self._squares / self.n - self.mean**2, 1e-12)
