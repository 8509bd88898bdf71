"""VideoAnalyzer: from frames to moments: who is there, as the same track in all of them, and what their faces show.

The detector runs every few frames; between, faces are followed by optical flow. What describes faces (expression, eyes,
...) runs on every frame, all its faces in one batch; embeddings are made when they tell something new.
"""

from __future__ import annotations

import time as clocks
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from mien.analyzer import FaceAnalyzer, Task
from mien.errors import DataError
from mien.gallery.gallery import Gallery
from mien.types import Faces, ImageArray
from mien.video.appearance import CLEAR, Likeness, Look
from mien.video.cuts import CutDetector
from mien.video.flow import FaceFlow
from mien.video.frames import Frame
from mien.video.moments import Moment
from mien.video.naming import Names
from mien.video.pace import Pace
from mien.video.state import State, of_tracker, to_tracker
from mien.video.tracking import Track, Tracker

__all__ = ["EMBED_EVERY", "HOLD", "VIDEO_TASKS", "Every", "Moment", "VideoAnalyzer"]

Every = int | Literal["auto", "real-time"]

VIDEO_TASKS: tuple[Task, ...] = ("detect", "pose", "expression", "embed")
"""What is done unless something else is asked for."""
HOLD = 5.0
"""Seconds for which moments of a file are held back."""
EMBED_EVERY = 2.0
"""Seconds after which a face is embedded again, though nothing is new."""

_LOW = 0.5  # of the detector's threshold: weaker detections than that are noise
_GAP = 1.0  # seconds between two frames from which motion says nothing
_LOST_EVERY = 2  # frames from one detection to the next, where faces are lost one after the other
_BETTER = 1.15  # a face that is so much better pictured than ever before is embedded
_UNSETTLED_EVERY = 0.5  # seconds from one look to the next of a face that has no name yet
_FIRST_LOOKS = 3  # looks that are had as soon as can be
_LOOKS = 10  # looks that are had so often, whether or not there is a gallery
_STATE_EVERY = 1.0  # seconds from one moment with a state to the next
_EYES_APART = 0.45  # of a face box's width, of a face that looks at the camera


class VideoAnalyzer:
    """Follows the faces of one video, or of one camera; make a new one for another. Not to be shared by threads.

    Memory does not grow with the video: of people who are gone, a few looks are kept, of the last 500.

    Args:
        analyzer: finds and describes faces; by default one of `options` that does `VIDEO_TASKS`. Without "embed" among
            what it does, tracks go by motion alone, and nobody comes back.
        gallery: of people, to name tracks from.
        every: when the detector runs: every so many frames, or "real-time": as often as the source's pace allows, by
            the time that work is measured to take. "auto" does so where frames say that they are live; else it takes
            five times a second, so that a file always gives the same answer.
        embed_every: seconds after which a face is embedded again, though nothing is new; 0: in each frame in which it
            is detected.
        hold: seconds for which moments are held back, so that somebody who is recognised late has one number from their
            first frame on; by default 0 where frames say that they are live, else `HOLD`. `feed` holds nothing back.
        fpir: the share of strangers who may be given a name by one look, see `Gallery.identify`.
        threshold: similarity to reach for a name, set by hand, instead.
        options: of `FaceAnalyzer`, where none is given. Its `threshold` is called `min_score` here.

    Raises:
        GalleryModelError: the gallery holds embeddings of another model or mode.
        ModelError: nobody has measured the gallery's embedder, and there is no threshold.
        ValueError: `every`, `embed_every` or `hold` is out of range, or there are an analyzer and options.
    """

    def __init__(
        self,
        analyzer: FaceAnalyzer | None = None,
        *,
        gallery: Gallery | None = None,
        every: Every = "auto",
        embed_every: float = EMBED_EVERY,
        hold: float | None = None,
        fpir: float | None = None,
        threshold: float | None = None,
        min_score: float | None = None,
        **options: Any,
    ) -> None:
        if analyzer is not None and (options or min_score is not None):
            raise ValueError(f"an analyzer is given, and options for another: {', '.join(options) or 'min_score'}")
        if isinstance(every, int) and every < 1:
            raise ValueError(f"every is {every}; the detector runs every 1 frame or more")
        if embed_every < 0:
            raise ValueError(f"embed_every is {embed_every} seconds; it cannot be less than 0")
        if hold is not None and hold < 0:
            raise ValueError(f"hold is {hold} seconds; it cannot be less than 0")
        self.analyzer = analyzer or FaceAnalyzer(threshold=min_score, **({"only": VIDEO_TASKS} | options))
        self.analyzer.load()  # a live source does not wait for it
        self._every, self._embed_every, self._hold = every, embed_every, hold
        self._pace = Pace(every if isinstance(every, int) else None, measured=every == "real-time")
        self._embeds = "embed" in self.analyzer.only
        self._crop_tasks = tuple(task for task in self.analyzer.only if task not in ("detect", "embed"))
        self._names = self._open(gallery, fpir, threshold)
        likeness = Likeness(self.analyzer.embedder) if self._embeds else None
        self._tracker = Tracker(likeness, self.analyzer.detector.threshold)
        self._flow, self._cuts = FaceFlow(), CutDetector()
        self._before: tuple[float, tuple[int, int]] | None = None  # time and size of the last frame
        self._detected: tuple[int, float] = (0, 0.0)  # frames since the last detection, and when that was
        self._pending: deque[Moment] = deque()  # moments that are held back
        self._said: dict[int, Faces] = {}  # by track: what was said of it last
        self._best: dict[int, float] = {}  # by track: how good its best look was
        self._given = -np.inf  # seconds: moments until then are given out, as they are, for good
        self._since: State | None = None  # what a run that goes on began with
        self._frame, self._skipped = -1, 0  # number of the last frame; frames before the first one of this run

    def _open(self, gallery: Gallery | None, fpir: float | None, threshold: float | None) -> Names | None:
        if gallery is None:
            return None
        if not self._embeds:
            raise ValueError("a gallery needs embeddings: add 'embed' to `only`")
        gallery.check(self.analyzer.embedder)
        if threshold is None:
            gallery.rule()  # what nobody measured is said now
        return Names(gallery, fpir=fpir, threshold=threshold)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Moment]:
        """Analyse frames, in order.

        Args:
            frames: a `FrameSource` (`mien.video.frames.open_frames`), or any frames.

        Returns:
            An iterator over a moment per frame.

        Raises:
            ModelError, GalleryError: a network or the gallery fails.
            ValueError: a frame's image is no (H, W, 3) uint8 array.
        """
        live = getattr(getattr(frames, "info", None), "live", False)
        if self._every == "auto" and live:
            self._pace = Pace(None, measured=True)
        return self._held_back(frames, self._hold if self._hold is not None else 0.0 if live else HOLD)

    def _held_back(self, frames: Iterable[Frame], hold: float) -> Iterator[Moment]:
        kept = self._since.time if self._since is not None else -np.inf  # when a state was kept last
        for frame in frames:
            if self._since is not None and frame.time <= self._since.time:
                self._see(frame, self._since)
                continue
            moment = self._analyse(frame)  # which may change those that are held back
            self._given = max(self._given, frame.time - hold)  # what the loop below gives out
            if hold and moment.time - kept >= _STATE_EVERY:
                kept = moment.time
                moment = replace(moment, state=self._state(frame.time))
            self._pending.append(moment)
            while self._pending and not 0 <= frame.time - self._pending[0].time < hold:
                yield self._pending.popleft()
        while self._pending:  # before their time: what comes next could have changed them
            yield replace(self._pending.popleft(), state=None)

    def restore(self, state: State) -> None:
        """Go on where another run was at a moment; before anything was analysed.

        Args:
            state: of a moment of the same source, analysed with the same options. Frames follow from that moment's own
                frame on; of those up to it no moment is given again.

        Raises:
            DataError: it is damaged, or of another embedder.
        """
        dimensions = (self.analyzer.embedder.record.dimensions or 0) if self._embeds else 0
        told = state.told
        try:
            to_tracker(self._tracker, state.arrays, dimensions)
            (height, width), (frames, when) = told["size"], told["detected"]
            self._before = state.time, (int(height), int(width))
            self._detected = int(frames), float(when)
            self._given = float(told["given"])
            self._best = {int(track): float(best) for track, best in told["best"]}
            self._skipped = int(told["frame"]) + 1
            if self._names is not None:
                self._names.restore(told["names"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("what an earlier run left is damaged; start again without --resume") from error
        self._since = state

    def _state(self, time: float) -> State:
        assert self._before is not None  # noqa: S101 - for the type checker
        told: dict[str, Any] = {
            "frame": self._frame,
            "size": list(self._before[1]),
            "detected": list(self._detected),
            "given": self._given,
            "best": list(self._best.items()),
        }
        if self._names is not None:
            told["names"] = self._names.to_dict()
        return State(time, told, of_tracker(self._tracker))

    def _see(self, frame: Frame, since: State) -> None:
        """Look again at the last frame of the run before, from which motion goes on."""
        self._cuts(self._flow.see(_checked(frame.image)))
        self._skipped = int(since.told["frame"]) - frame.index

    def feed(self, frame: Frame) -> Moment:
        """Analyse the next frame; for those who get them one by one.

        Raises:
            ModelError, GalleryError: a network or the gallery fails.
            ValueError: the image is no (H, W, 3) uint8 array.
        """
        moment = self._analyse(frame)
        self._given = max(self._given, frame.time)
        return moment

    def _analyse(self, frame: Frame) -> Moment:
        started = clocks.perf_counter()
        image = _checked(frame.image)
        self._frame = frame.index + self._skipped
        seconds, cut = self._go_on(frame.time, image)
        came_back: list[tuple[int, int]] = []
        lost = self._follow(frame.time)
        frames, when = self._detected[0] + 1, self._detected[1]
        first = self._before is None or cut
        detect = first or (lost and frames >= _LOST_EVERY) or self._pace.due(frames, frame.time - when)
        if detect:
            came_back = self._detect(frame.time, image)
        self._detected = (0, frame.time) if detect else (frames, when)
        self._before = frame.time, image.shape[:2]
        moment = replace(self._moment(frame, image), cut=cut, came_back=tuple(came_back))
        self._pace.learn(clocks.perf_counter() - started, seconds, detected=detect)
        return moment

    def _go_on(self, time: float, image: ImageArray) -> tuple[float, bool]:
        """Take the next frame: seconds since the one before, and whether motion does not go on from there."""
        before = self._before
        seconds = 0.0 if before is None else time - before[0]
        broken = before is not None and (before[1] != image.shape[:2] or not 0 <= seconds <= _GAP)
        if self._cuts(self._flow.see(image)) or broken:
            self._flow.forget()
            self._tracker.cut()
            return seconds, True
        self._tracker.predict(time, seconds)
        return seconds, False

    def _follow(self, time: float) -> bool:
        """Carry what is seen along by optical flow; whether some of it was lost."""
        tracks = [track for track in self._tracker.tracks if track.seen]
        self._tracker.coast()
        if not tracks:
            return False
        boxes, landmarks = np.stack([track.box for track in tracks]), np.stack([track.landmarks for track in tracks])
        boxes, landmarks, held = self._flow.follow(boxes, landmarks)
        self._tracker.follow(time, tracks, boxes, landmarks, held)
        return not held.all()

    def _detect(self, time: float, image: ImageArray) -> list[tuple[int, int]]:
        """Find faces, give them to tracks, look at those that have something new to tell, and count their votes.

        Returns:
            (number, earlier number) of tracks of people who were here before, which was not known until now.
        """
        detector = self.analyzer.detector
        faces = detector([image], threshold=_LOW * detector.threshold)[0]

        def embed(chosen: Sequence[int]) -> list[Look] | None:
            return self._looks(time, image, faces[np.array(chosen)]) if self._embeds and len(chosen) else None

        self._tracker.detect(time, faces, embed)
        self._look_again(time, image)
        came_back = [pair for pair in self._tracker.recognise_late() if not self._renumbered(*pair)]
        if self._names is not None:
            latest = [(track.number, track.looks.latest) for track in self._numbered() if _fresh(track, time)]
            self._names.vote([(number, look) for number, look in latest if look is not None])
        return came_back

    def _renumbered(self, number: int, before: int) -> bool:
        """Give a track the number that its person had before, if all its moments are still held back."""
        track = next(track for track in self._tracker.tracks if track.number == number)
        if self._names is not None:
            self._names.merge(number, before)
        if track.born <= self._given:
            return False
        track.number = before
        if number in self._said:
            self._said[before] = self._said.pop(number)
        if number in self._best:
            self._best[before] = self._best.pop(number)
        if self._names is not None:
            self._names.renumber(number, before)
        self._pending = deque(_with_number(moment, number, before) for moment in self._pending)
        return True

    def _looks(self, time: float, image: ImageArray, faces: Faces) -> list[Look]:
        described = self.analyzer.describe([image], [faces], only=("embed", "quality"))[0]
        embeddings, qualities = described.embeddings, described.qualities
        assert embeddings is not None  # noqa: S101 - for the type checker
        assert qualities is not None  # noqa: S101
        return [
            Look(embedding, float(score), time) for embedding, score in zip(embeddings, qualities.score, strict=True)
        ]

    def _look_again(self, time: float, image: ImageArray) -> None:
        """Embed faces that this tells something of."""
        if not self._embeds:
            return
        seen = [track for track in self._numbered() if track.seen]
        chosen = [track for track in seen if not _fresh(track, time) and self._wanted(track, time)]
        if chosen:
            faces = _faces(chosen, (image.shape[1], image.shape[0]))
            for track, look in zip(chosen, self._looks(time, image, faces), strict=True):
                self._tracker.saw(track, look)
        for track in seen:
            if _fresh(track, time):
                self._best[track.number] = max(_goodness(track), self._best.get(track.number, 0.0))

    def _wanted(self, track: Track, time: float) -> bool:
        """Whether another look at a track would tell something."""
        ago = time - track.looks.latest.time if track.looks.latest else np.inf
        count = track.looks.count
        better = _goodness(track) > _BETTER * self._best.get(track.number, 0.0)
        if track.looks.kept and track.looks.best < CLEAR:  # more of the same tell nothing
            return better or ago >= self._embed_every
        unsettled = count < _LOOKS or (self._names is not None and not self._names.settled(track.number))
        patience = min(_UNSETTLED_EVERY, self._embed_every) if unsettled else self._embed_every
        return count < _FIRST_LOOKS or better or ago >= patience

    def _numbered(self) -> list[Track]:
        return [track for track in self._tracker.tracks if track.number]

    def _moment(self, frame: Frame, image: ImageArray) -> Moment:
        size = image.shape[1], image.shape[0]
        shown = sorted(self._tracker.shown(frame.time, size), key=lambda track: track.number)
        faces = self._described(image, shown, size)
        if self._embeds:
            dimensions = self.analyzer.embedder.record.dimensions or 0
            last = [track.looks.latest.embedding for track in shown if track.looks.latest]
            faces = faces.with_embeddings(np.stack(last) if last else np.zeros((0, dimensions), np.float32))
        ids, seen = [track.number for track in shown], [track.seen for track in shown]
        followed = {track.number for track in self._numbered()}
        self._said = {number: said for number, said in self._said.items() if number in followed}
        self._best = {number: best for number, best in self._best.items() if number in followed}
        return Moment(
            frame=self._frame,
            time=frame.time,
            ids=np.array(ids, dtype=np.int64),
            faces=faces,
            seen=np.array(seen, dtype=np.bool_),
            people=self._names.of(ids, seen) if self._names is not None else (None,) * len(ids),
            image_size=size,
            embedded=np.array([_fresh(track, frame.time) for track in shown], dtype=np.bool_),
            clear=np.array([self._tracker.clear(track) for track in shown], dtype=np.bool_),
        )

    def _described(self, image: ImageArray, tracks: Sequence[Track], size: tuple[int, int]) -> Faces:
        """Those that are seen as they are, in one batch; of the others, what was said last."""
        seen = [track for track in tracks if track.seen or track.number not in self._said]
        described = self.analyzer.describe([image], [_faces(seen, size)], only=self._crop_tasks)[0]
        for track, one in zip(seen, described, strict=True):
            self._said[track.number] = one
        if len(seen) == len(tracks):
            return described
        return Faces.joined([self._placed(track, size) for track in tracks])

    def _placed(self, track: Track, size: tuple[int, int]) -> Faces:
        """What was said last of a track, where it is now."""
        now = _faces([track], size)
        return replace(
            self._said[track.number], boxes=now.boxes, scores=now.scores, landmarks=now.landmarks, image_size=size
        )


def _with_number(moment: Moment, number: int, other: int) -> Moment:
    """The same with another number for a track."""
    return replace(moment, ids=np.where(moment.ids == number, other, moment.ids)) if number in moment.ids else moment


def _faces(tracks: Sequence[Track], size: tuple[int, int]) -> Faces:
    """Where tracks are; those that are not seen have a score of 0."""
    if not tracks:
        return Faces.empty(size)
    scores = np.array([track.score if track.seen else 0.0 for track in tracks], dtype=np.float32)
    return Faces(np.stack([t.box for t in tracks]), scores, np.stack([t.landmarks for t in tracks]), size)


def _fresh(track: Track, time: float) -> bool:
    return track.looks.latest is not None and track.looks.latest.time == time


def _goodness(track: Track) -> float:
    """About how well a face is pictured, as far as it shows without pixels: its score, its size, and where it looks."""
    size = float(np.sqrt(max(float(np.prod(track.box[2:] - track.box[:2])), 0.0)))
    apart = float(np.linalg.norm(track.landmarks[1] - track.landmarks[0])) / max(
        float(track.box[2] - track.box[0]), 1.0
    )
    return track.score * min(size / 80, 1.0) * min(apart / _EYES_APART, 1.0)


def _checked(image: ImageArray) -> ImageArray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"a frame is {image.shape} {image.dtype}, not (H, W, 3) uint8")
    return image
