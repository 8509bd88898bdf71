"""Import: many pictures of many people into a gallery, with an account of each picture.

One picture after the other is hashed, searched for faces and judged; then each person's new faces are judged together
and enrolled in one transaction. Running an import again goes on where it stopped: what is enrolled is known by its
bytes.

What is decided here, once (figures: lfw_dev, 3,937 pictures of 2,312 people, mode fast):

- Of several faces the largest is meant, unless that is refused.
- A face is *left out* where its picture is too poor to know somebody again by: narrower than `MIN_FACE` pixels, a
  detection under the detector's threshold, or a blurred one (`sharpness`).
- A face *unlike the others* of its person is left out, as it is likely of somebody else: fewer than a third of the
  person's other faces (two at least) reach the embedder's threshold for a false match rate of 1 % with it. That leaves
  out 0.24 % of right pictures and finds 99.1 % of pictures of somebody else, 98.9 % where there are two of them among
  six or more (by the median, 0.67, 99.3 and 99.3 %; by the nearest face, 0, 96 and 1 %). With one other face nobody
  knows which of the two is wrong: it is enrolled, with a warning. The third was chosen on the same 1,643 and 3,920
  pictures of lfw_dev that these figures are of.
- *The same face under two names* is enrolled, with a warning: a similarity from `SAME_FACE` on to a face of somebody
  else. It was picked above nearly all pairs of people in lfw_dev: four of 7.7 million reach it, by their names likely
  mistakes of the data set. The same bytes under two names are left out.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from mien.analyzer import FaceAnalyzer, no_face_message
from mien.answers import Qualities
from mien.errors import ImageError, ModelError
from mien.gallery.enrolment import NEAR_DUPLICATE, same_place
from mien.gallery.gallery import Gallery
from mien.gallery.import_sources import Entry
from mien.gallery.kept_crops import make_crop
from mien.gallery.names import clean_name, shown
from mien.gallery.records import Face, NewFace
from mien.gallery.stores.protocol import Reader
from mien.models.arcface import CROP
from mien.models.quality import FaceQuality
from mien.ops import align, similarity
from mien.ops.advice import texts
from mien.ops.image import load_image, read_image_bytes
from mien.types import Faces, FloatArray, ImageArray

MIN_FACE = 32.0
"""Pixels: the narrowest face box that is enrolled."""
MIN_SHARPNESS = 8.0
MIN_QUALITY = 0.6
"""See `sharpness`."""
SAME_FACE = 0.83
"""Similarity from which the faces of two people are taken for one (a distance of 0.305)."""
_FMR = 1e-2
_TYPICAL = 2 / 3  # quantile of the similarities to the other faces
_NEAR = 8
"""People near a face who are compared with it. Among 3,937 faces of lfw_dev, each taken for a person of its own, a face
from `SAME_FACE` on is always one of the four most alike by the comparison of search."""
_WITHIN = 1.5 * 0.305
"""Distance in that comparison; 0.38 at most for such faces of lfw_dev, where `SAME_FACE` is 0.305 as they are."""
_FOLLOW = 2048  # faces that are enrolled before the search index has to follow
_BATCH = 64  # pictures of one transaction

Status = Literal["enrolled", "known", "duplicate", "left out", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    Attributes:
        name: of the person.
        path: as the source has it.
        status: "enrolled"; "known": enrolled by an earlier import; "duplicate": of another picture of the person; "left
            out": it shows no face that is fit to be enrolled; "failed": the picture or its row cannot be used.
        reason: one or two words for programs: "", "no face", "several faces", "small", "low score", "blurred", "poor",
            "unlike the others", "other name", "unreadable", "refused".
        message: one line for people, or "".
        warnings: what to look at, though the face is enrolled; one line each.
        face: its id in the gallery, or None.
        faces: how many the picture shows; None where it was not searched.
        width: of the face box in pixels, or None.
        score: of the detection, or None.
        sharpness: see `sharpness`, or None.
        quality: the score of `mien.models.quality`, or None.
    """

    name: str
    path: str
    status: Status
    reason: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    face: int | None = None
    faces: int | None = None
    width: float | None = None
    score: float | None = None
    sharpness: float | None = None
    quality: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "warnings": list(self.warnings)}


@dataclass(frozen=True)
class Gate:
    """Which faces are fit to be enrolled.

    Attributes:
        min_face: width of the face box in pixels.
        min_score: of the detection, 0 to 1; 0 takes whatever the detector gives.
        min_sharpness: see `sharpness`.
        min_quality: the score of `mien.models.quality`, 0 to 1.
        refuse_several: leave out pictures that show several faces, rather than take the largest.
        take_unlike: enrol faces that are unlike the others of their person, with a warning.
    """

    min_face: float = MIN_FACE
    min_score: float = 0.0
    min_sharpness: float = MIN_SHARPNESS
    min_quality: float = MIN_QUALITY
    refuse_several: bool = False
    take_unlike: bool = False

    def refusal(self, faces: int, width: float, score: float, sharp: float) -> tuple[str, str]:
        """The reason and the message why a face is left out; "" where it is fit."""
        if self.refuse_several and faces > 1:
            return "several faces", f"shows {faces} faces"
        if width < self.min_face:
            return "small", f"the face is {width:.0f} pixels wide, at least {self.min_face:g} are asked for"
        if score < self.min_score:
            return "low score", f"the face was found with a score of {score:.2f}, under {self.min_score:g}"
        if sharp < self.min_sharpness:
            return "blurred", f"the face is blurred (sharpness {sharp:.1f}, under {self.min_sharpness:g})"
        return "", ""

    def poor(self, quality: Qualities) -> str:
        """Why a face that was embedded, the first of these, is left out; "" where it is fit."""
        score = float(quality.score[0])
        if score >= self.min_quality:
            return ""
        advice = "; ".join(texts(quality.advice[0]))
        return f"recognition would rarely work from it (quality {score:.2f}, under {self.min_quality:g}): {advice}"


@dataclass(frozen=True, eq=False)
class _Seen:
    """A picture that was looked at: an outcome already, unless there is a face to enrol."""

    entry: Entry
    outcome: Outcome
    new: NewFace | None = None


def sharpness(image: ImageArray, face: Faces) -> float:
    """How sharp a face is: the variance of the Laplacian (Pech-Pacheco et al. 2000) over its aligned 112-pixel crop.

    The crop has one size for every face, so that a small picture of a face counts as blurred as it looks when enlarged.

    Args:
        image: (H, W, 3) RGB uint8.
        face: `Faces` of length 1, with landmarks in that picture.

    Returns:
        0 or more, in squared grey levels; LFW's faces have 50 to 330, see docs/gallery-import.md.
    """
    crops = align.extract_crops(image, align.crop_transforms(face, CROP.template_array(), CROP.size), CROP.size)
    grey = cv2.cvtColor(crops[0][24:100, 20:92], cv2.COLOR_RGB2GRAY)  # the face, without what is around it
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def import_pictures(
    gallery: Gallery,
    analyzer: FaceAnalyzer,
    entries: Sequence[Entry],
    *,
    gate: Gate | None = None,
    workers: int = 1,
) -> Iterator[Outcome]:
    """Enrol pictures; a bad one never stops the rest.

    Args:
        gallery: takes them; of the analyzer's embedder and mode.
        analyzer: finds and embeds the faces. Its networks are shared by the workers: give them one thread each.
        entries: as `read_entries` gives them, those of a person together.
        gate: which faces are fit; the default `Gate` if None.
        workers: pictures that are looked at at a time.

    Returns:
        An iterator over an outcome for each entry, in order; up to 64 pictures of a person are enrolled in one
        transaction before their outcomes come. Close it to stop early.

    Raises:
        ModelError: a model cannot be loaded.
        GalleryError: the gallery cannot be read or written.
    """
    analyzer.load()
    run = _Import(gallery, analyzer, gate or Gate())
    looked = _in_order(run.look, entries, workers)
    for _, person in groupby(looked, key=lambda seen: seen.entry.name):
        for batch in _batches(person, _BATCH):
            yield from run.enrol(batch)


def doubts(gallery: Gallery, analyzer: FaceAnalyzer, name: str, faces: Sequence[NewFace]) -> list[tuple[str, ...]]:
    """What an import would warn of, for faces that are about to be enrolled: one line each.

    Args:
        gallery: the faces go to.
        analyzer: whose embedder the embeddings are from; it looks at nothing.
        name: the faces are to have.
        faces: not enrolled yet.

    Raises:
        GalleryError: the gallery cannot be read, or was embedded anew.
    """
    name = clean_name(name)
    entries = [Entry(name, Path(face.source or ""), face.source or "") for face in faces]
    seen = [
        _Seen(entry, Outcome(name, entry.shown, "left out"), face) for entry, face in zip(entries, faces, strict=True)
    ]
    judged = _Import(gallery, analyzer, Gate(take_unlike=True))._judge(name, seen)
    return [outcome.warnings for outcome in judged]


class _Import:
    def __init__(self, gallery: Gallery, analyzer: FaceAnalyzer, gate: Gate) -> None:
        self._gallery = gallery
        self._analyzer = analyzer
        self._gate = gate
        self._metric = gallery.info.metric
        self._others = _Others(gallery)
        self._quality = FaceQuality(analyzer.embedder.record.name, analyzer.embedder.mode)
        try:
            self._alike: float | None = analyzer.embedder.threshold(_FMR)
        except ModelError:  # a model that was never calibrated: nobody knows what is unlike
            self._alike = None

    # One picture; called by several threads

    def look(self, entry: Entry) -> _Seen:
        """Search a picture for the face to enrol, unless it is enrolled already."""
        outcome = Outcome(entry.name, entry.shown, "failed")
        if entry.problem:
            return _Seen(entry, replace(outcome, reason="refused", message=entry.problem))
        try:
            data = read_image_bytes(entry.path)
            digest = hashlib.sha256(data).hexdigest()
            if (face := self._known(entry.name, digest)) is not None:
                return _Seen(entry, replace(outcome, status="known", face=face))
            return self._found(entry, outcome, load_image(_named(data, entry)), digest)
        except ImageError as error:
            return _Seen(entry, replace(outcome, reason="unreadable", message=str(error)))

    def _known(self, name: str, digest: str) -> int | None:
        """The face of this person that comes from a picture of these bytes."""
        with self._gallery.store.read() as reader:
            person = reader.person_named(name)
            if person is None:
                return None
            return next((face.id for face in reader.faces_from(digest) if face.person == person.id), None)

    def _found(self, entry: Entry, outcome: Outcome, image: ImageArray, digest: str) -> _Seen:
        faces = self._analyzer.detector([image])[0]
        outcome = replace(outcome, status="left out", faces=len(faces))
        if not len(faces):
            return _Seen(entry, replace(outcome, reason="no face", message=no_face_message(entry.path)))
        face = faces.largest()
        width, score, sharp = float(face.boxes[0, 2] - face.boxes[0, 0]), float(face.scores[0]), sharpness(image, face)
        outcome = replace(outcome, width=round(width, 1), score=round(score, 4), sharpness=round(sharp, 2))
        reason, message = self._gate.refusal(len(faces), width, score, sharp)
        if reason:
            return _Seen(entry, replace(outcome, reason=reason, message=message))
        embedded = self._analyzer.embedder([image], [face])[0]
        assert embedded.embeddings is not None  # noqa: S101 - the embedder made them
        quality = self._quality.assess(image, embedded)
        outcome = replace(outcome, quality=round(float(quality.score[0]), 4))
        if message := self._gate.poor(quality):
            return _Seen(entry, replace(outcome, reason="poor", message=message))
        x1, y1, x2, y2 = (float(value) for value in face.boxes[0])
        new = NewFace(
            embedding=embedded.embeddings[0],
            source=str(entry.path),
            source_sha256=digest,
            box=(x1, y1, x2, y2),
            landmarks=tuple((float(x), float(y)) for x, y in face.landmarks[0]),
            score=score,
            crop=make_crop(image, face) if self._gallery.info.keeps_crops else None,
        )
        return _Seen(entry, outcome, new)

    # The pictures of one person; called by one thread

    def enrol(self, seen: Sequence[_Seen]) -> list[Outcome]:
        """Enrol what is fit among pictures of one person."""
        name = seen[0].entry.name
        judged = self._judge(name, seen)
        fit = [i for i, picture in enumerate(seen) if picture.new is not None and not judged[i].reason]
        if fit:
            told = self._write(name, [seen[i] for i in fit])
            for i, result in zip(fit, told, strict=True):
                judged[i] = replace(judged[i], **result)
        return judged

    def _judge(self, name: str, seen: Sequence[_Seen]) -> list[Outcome]:
        """Look for faces unlike the others of this person, and like those of somebody else."""
        outcomes = [picture.outcome for picture in seen]
        fresh = [i for i, picture in enumerate(seen) if picture.new is not None]
        new = [picture.new for picture in seen if picture.new is not None]
        if not new:
            return outcomes
        vectors = np.stack([face.embedding for face in new])
        with self._gallery.store.read() as reader:
            self._gallery.check_same(reader)
            person = reader.person_named(name)
            ids = [face.id for face in reader.faces(person=person.id)] if person else []
            own = reader.vectors(ids).reshape(-1, vectors.shape[1])
            twins = self._others.twins(reader, person.id if person else None, new)
        for i, face, twin, typical in zip(fresh, new, twins, _typical(self._metric, own, vectors), strict=True):
            outcomes[i] = self._compared(outcomes[i], face, twin, *typical)
        return outcomes

    def _compared(self, outcome: Outcome, face: NewFace, twin: _Twin | None, typical: float, others: int) -> Outcome:
        """An outcome with what a face's likeness to others says of it."""
        if twin is not None and twin.sha256 == face.source_sha256:
            return replace(outcome, reason="other name", message=f"the same picture is enrolled as {twin.name}")
        if twin is not None:
            outcome = _warned(outcome, f"the same face is enrolled as {twin.name}: which name is right?")
        if self._alike is None or not others or typical >= self._alike:
            return outcome
        whom = "the other face" if others == 1 else f"the other {others} faces"
        message = f"unlike {whom} of this person (similarity {typical:.2f} under {self._alike:.2f}): is the name right?"
        if others == 1 or self._gate.take_unlike:
            return _warned(outcome, message)
        return replace(outcome, reason="unlike the others", message=message)

    def _write(self, name: str, seen: Sequence[_Seen]) -> list[dict[str, Any]]:
        """Enrol faces of one person in one transaction; what that changes in their outcomes."""
        faces = [picture.new for picture in seen if picture.new is not None]
        terms = seen[0].entry
        done = self._gallery.enrol(name, faces, consent=terms.consent, expires=terms.expires)
        copies = {copy.position: copy.face for copy in done.skipped}
        new = [face.embedding for i, face in enumerate(faces) if i not in copies]
        if new:
            self._others.learn(done.person.id, np.stack(new))
        added = iter(done.faces)
        return [
            {"status": "duplicate", "face": copies[i], "message": f"a copy of face {copies[i]}", "warnings": ()}
            if i in copies
            else {"status": "enrolled", "face": next(added)}
            for i in range(len(faces))
        ]


@dataclass(frozen=True)
class _Twin:
    """A face of somebody else that is like a new one as only faces of one person are."""

    name: str
    sha256: str | None


class _Others:
    """Everybody else, to find the same face under another name.

    The search index says who comes near; their faces are then compared as the embedder gives them. What the import
    enrols is remembered here, so that the index has to follow the gallery now and then only.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._metric = gallery.info.metric
        self._people: list[str] = []
        self._vectors = np.empty((_FOLLOW, gallery.info.dimension), dtype=np.float32)
        self._followed = False

    def learn(self, person: str, vectors: FloatArray) -> None:
        """(N, D) faces of somebody were enrolled."""
        count = len(self._people)
        if count + len(vectors) > _FOLLOW:
            self._followed = False
        else:
            self._vectors[count : count + len(vectors)] = vectors
            self._people += [person] * len(vectors)

    def twins(self, reader: Reader, person: str | None, faces: Sequence[NewFace]) -> list[_Twin | None]:
        """For each of some faces of a person, a face of somebody else that is the same, or None."""
        vectors = np.stack([face.embedding for face in faces]).astype(np.float32)
        near = self._near(reader, vectors)
        theirs = _Faces(reader)
        return [
            self._same_picture(reader, person, face)
            or self._same_face(theirs, vector, [other for other in others if other != person])
            for face, vector, others in zip(faces, vectors, near, strict=True)
        ]

    def _near(self, reader: Reader, vectors: FloatArray) -> list[list[str]]:
        """For each of (N, D) faces, the people who may have one like it."""
        follow = not self._followed
        if follow:
            self._people, self._followed = [], True
        near = self._gallery.people_near(reader, vectors, _NEAR, _WITHIN, follow=follow)
        alike = similarity.pairwise(vectors, self._vectors[: len(self._people)], self._metric) >= SAME_FACE
        return [
            list(dict.fromkeys([*people, *(self._people[i] for i in np.flatnonzero(row))]))
            for people, row in zip(near, alike, strict=True)
        ]

    def _same_picture(self, reader: Reader, person: str | None, face: NewFace) -> _Twin | None:
        found = reader.faces_from(face.source_sha256) if face.source_sha256 else []
        known = (one for one in found if one.person not in (None, person) and same_place(face, one))
        return next((_twin(reader, one) for one in known), None)

    def _same_face(self, theirs: _Faces, vector: FloatArray, others: Sequence[str]) -> _Twin | None:
        best: tuple[float, int] = (SAME_FACE, 0)
        for other in others:
            ids, vectors = theirs.of(other)
            alike = similarity.pairwise(vector[None], vectors, self._metric)[0]
            if len(ids) and alike.max() >= best[0]:
                best = float(alike.max()), ids[int(alike.argmax())]
        return next((_twin(theirs.reader, face) for face in theirs.reader.faces_by_id([best[1]])), None)


class _Faces:
    """The faces of people, read once."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._read: dict[str, tuple[list[int], FloatArray]] = {}

    def of(self, person: str) -> tuple[list[int], FloatArray]:
        """Ids, and (N, D)."""
        if person not in self._read:
            ids = [face.id for face in self.reader.faces(person=person)]
            self._read[person] = ids, self.reader.vectors(ids)
        return self._read[person]


def _twin(reader: Reader, face: Face) -> _Twin | None:
    person = reader.person(face.person) if face.person else None
    return _Twin(shown(person), face.source_sha256) if person else None


def _typical(metric: str, own: FloatArray, new: FloatArray) -> list[tuple[float, int]]:
    """For each new face of a person, the similarity that a third of the person's other faces reach, and their number.

    Copies count once, and not for each other: a wrong picture that was saved twice is no less alone.
    """
    alike = similarity.pairwise(new, np.concatenate([own, new]), metric)  # (N, M + N)
    before = np.tri(len(new), k=-1, dtype=bool)  # new faces that came earlier
    copies = alike >= NEAR_DUPLICATE
    copied = copies[:, : len(own)].any(axis=1) | (copies[:, len(own) :] & before).any(axis=1)
    counted = ~copies & np.concatenate([np.ones(len(own), dtype=bool), ~copied])
    np.fill_diagonal(counted[:, len(own) :], val=False)
    rows = [row[use] for row, use in zip(alike, counted, strict=True)]
    return [(float(np.quantile(row, _TYPICAL)) if len(row) else 1.0, len(row)) for row in rows]


def _warned(outcome: Outcome, warning: str) -> Outcome:
    return replace(outcome, warnings=(*outcome.warnings, warning))


def _named(data: bytes, entry: Entry) -> io.BytesIO:
    """The bytes of a file as a file object that knows its name, for messages."""
    file = io.BytesIO(data)
    file.name = str(entry.path)
    return file


def _in_order(look: Callable[[Entry], _Seen], entries: Iterable[Entry], workers: int) -> Iterator[_Seen]:
    """Look at several pictures at a time; at most twice as many as workers are waited for."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mien")
    running: deque[Future[_Seen]] = deque()
    try:
        for entry in entries:
            running.append(pool.submit(look, entry))
            if len(running) >= 2 * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(items: Iterable[_Seen], size: int) -> Iterator[list[_Seen]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
