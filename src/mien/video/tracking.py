"""Tracks: which faces of different frames are one person.

Each track has a Kalman filter for its motion (`mien.video.motion`) and the best looks at its face
(`mien.video.appearance`). Detections are given to tracks at the lowest sum of costs, those with high scores first and
then the others to tracks that are left (ByteTrack, Zhang et al. 2022). Where motion alone says which is which, nothing
is embedded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mien.ops import boxes as box_ops
from mien.types import Faces, FloatArray
from mien.video.appearance import Likeness, Look, Looks, needed
from mien.video.assignment import assign
from mien.video.motion import GATE, BoxFilter

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Embed = Callable[[Sequence[int]], list[Look] | None]
"""Positions of detections to a look at each; None where nothing is embedded."""

PATIENCE = 2.0
"""Seconds for which motion is believed after a track was last seen."""
SHOWN = 1.0
"""Seconds for which it is shown."""
REMEMBERED = 500
"""People who can come back; whoever was seen longest ago is forgotten."""

_FOLLOWING_OVERLAP = 0.3  # IoU at which a weak detection goes on with a track (ByteTrack)
_SAME_PLACE = 0.5  # IoU with a track from which no other starts
_SURE_SCORE = 0.7  # of a detection: that there is a face needs no second one
_SURE_QUALITY = 0.5  # of a look: who it is not needs no second one either
_AWAY = 0.5  # seconds out of sight after which somebody may turn up anywhere
_REACH = 2.0  # face sizes, how far from where they should be they may turn up before that
_AHEAD = 1.5  # log-odds by which a look must be more like somebody who is gone than like anybody who is here
_USUAL_SPREAD = 0.2  # face sizes; a place that is known less well says less


@dataclass(eq=False)
class Track:
    """One person, for as long as they can be followed.

    Attributes:
        number: from 1; 0 while it is not sure whether it is a face, or whose.
        box: (4,) float32, x1 y1 x2 y2 in pixels.
        landmarks: (5, 2) float32.
        score: of the last detection.
        motion: where it is going.
        looks: at its face.
        hits: how often it was detected.
        born: seconds since the start of the source, when it was first detected.
        last_seen: likewise.
        seen: whether it is seen now; else where it is is a guess.
    """

    number: int
    box: FloatArray
    landmarks: FloatArray
    score: float
    motion: BoxFilter
    looks: Looks
    hits: int = 1
    born: float = 0.0
    last_seen: float = 0.0
    seen: bool = True

    def move(self, box: FloatArray) -> None:
        """Put it somewhere else, with its landmarks."""
        old, new = self.box.reshape(2, 2), box.reshape(2, 2)
        scale = (new[1] - new[0]) / np.maximum(old[1] - old[0], 1e-3)
        self.landmarks = ((self.landmarks - old.mean(axis=0)) * scale + new.mean(axis=0)).astype(np.float32)
        self.box = box


@dataclass(frozen=True, eq=False)
class Past:
    """What is kept of somebody who is gone.

    Attributes:
        looks: at them.
        until: seconds since the start of the source, when they were last seen.
        box: (4,), where they should be still, for those who have only just gone out of sight; else None.
    """

    looks: Looks
    until: float
    box: FloatArray | None = None

    def in_reach(self, track: Track) -> bool:
        """Whether somebody can have come to be where a track is."""
        if self.box is None:
            return True
        size = float(np.sqrt(max(float(np.prod(self.box[2:] - self.box[:2])), 1.0)))
        off = (track.box[:2] + track.box[2:] - self.box[:2] - self.box[2:]) / 2
        return float(np.linalg.norm(off)) <= _REACH * size


@dataclass(eq=False)
class Tracker:
    """Keeps the tracks of one video.

    Attributes:
        likeness: compares looks; None where nothing is embedded.
        high: detection score from which a face may start a track.
        tracks: those that are being followed, also those that are not seen just now.
        remembered: the looks of people who are gone, by track number, those who left last at the end.
        started: how many numbers were given.
    """

    likeness: Likeness | None
    high: float
    tracks: list[Track] = field(default_factory=list)
    remembered: OrderedDict[int, Past] = field(default_factory=OrderedDict)
    started: int = 0

    def cut(self) -> None:
        """Another scene: nobody is where they were; who comes back is told by their looks."""
        for track in self.tracks:
            self._remember(track)
        self.tracks = []

    def predict(self, time: float, seconds: float) -> None:
        """Move on by `seconds` to `time`, and let go of who was not seen for `PATIENCE`."""
        for track in self.tracks:
            track.motion.predict(seconds, slowing=not track.seen)
        gone = [track for track in self.tracks if time - track.last_seen > PATIENCE]
        for track in gone:
            self._remember(track)
        self.tracks = [track for track in self.tracks if track not in gone]

    def follow(
        self, time: float, tracks: Sequence[Track], boxes: FloatArray, landmarks: FloatArray, held: Bools
    ) -> None:
        """Learn where optical flow says that tracks are.

        Args:
            time: of the frame.
            tracks: N tracks.
            boxes: (N, 4).
            landmarks: (N, 5, 2).
            held: (N,) whether flow can be believed.
        """
        for track, box, marks, believed in zip(tracks, boxes, landmarks, held, strict=True):
            if believed:
                track.box, track.landmarks, track.last_seen = box, marks, time
                track.motion.update(box, followed=True)
        self._guess([track for track, believed in zip(tracks, held, strict=True) if not believed])

    def coast(self) -> None:
        """Put tracks that are not seen where they should be by now."""
        self._guess([track for track in self.tracks if not track.seen])

    def detect(self, time: float, faces: Faces, embed: Embed) -> None:
        """Learn what a detector found.

        Args:
            time: of the frame.
            faces: what it found, also with scores under `high`.
            embed: makes looks.
        """
        strong = [int(i) for i in np.flatnonzero(faces.scores >= self.high)]
        weak = [int(i) for i in np.flatnonzero(faces.scores < self.high)]
        views = _Views(embed)
        pairs = self._easy(faces, strong)
        pairs |= self._contested(faces, _without(strong, pairs), self._left(pairs), views)
        pairs |= self._continued(faces, weak, self._left(pairs))
        missed = self._left(pairs)
        for i, track in pairs.items():
            self._hit(track, time, faces, i, views)
        self._miss(missed)
        self._begin(time, faces, _without(strong, pairs), views)

    def shown(self, time: float, size: tuple[int, int]) -> list[Track]:
        """Tracks that have a number and are seen, or were less than `SHOWN` ago and should still be in the picture."""
        return [
            track
            for track in self.tracks
            if track.number and (track.seen or (time - track.last_seen <= SHOWN and _inside(track.box, size)))
        ]

    def _left(self, pairs: dict[int, Track]) -> list[Track]:
        taken = {id(track) for track in pairs.values()}
        return [track for track in self.tracks if id(track) not in taken]

    def _easy(self, faces: Faces, strong: list[int]) -> dict[int, Track]:
        """Pairs of a seen track and a detection that no other that is seen could be."""
        seen = [track for track in self.tracks if track.seen]
        if not strong or not seen:
            return {}
        near = self._distances(seen, faces.boxes[strong]) < GATE
        alone = near & (near.sum(axis=0) == 1) & (near.sum(axis=1) == 1)[:, None]
        return {strong[j]: seen[i] for i, j in np.argwhere(alone)}

    def _contested(self, faces: Faces, detections: list[int], tracks: list[Track], views: _Views) -> dict[int, Track]:
        """Pairs by motion and looks, where several could be one another, or a track was out of sight."""
        if not detections or not tracks:
            return {}
        distances = self._distances(tracks, faces.boxes[detections])
        views.make([detections[j] for j in np.flatnonzero((distances < GATE).any(axis=0))])
        costs = np.full(distances.shape, np.inf)
        for i, j in np.argwhere(distances < GATE):
            costs[i, j] = -self._evidence(tracks[i], float(distances[i, j]), views.of(detections[j]))
        return {detections[j]: tracks[i] for i, j in assign(costs)}

    def _evidence(self, track: Track, distance: float, look: Look | None) -> float:
        """Log-odds that a detection goes on with a track, by where it is and what it looks like."""
        vague = 2 * float(np.log(max(track.motion.spread / _USUAL_SPREAD, 1.0)))
        motion = (GATE - distance) / 2 - vague
        if self.likeness is None or look is None:
            return motion
        return motion + float(self.likeness.evidence(look, [track.looks.kept])[0])

    def _continued(self, faces: Faces, weak: list[int], tracks: list[Track]) -> dict[int, Track]:
        """Weak detections go on with tracks at the same place."""
        seen = [track for track in tracks if track.seen and track.number]
        if not weak or not seen:
            return {}
        overlaps = box_ops.iou(np.stack([track.box for track in seen]), faces.boxes[weak]).astype(np.float64)
        costs = np.where(overlaps >= _FOLLOWING_OVERLAP, -overlaps, np.inf)
        return {weak[j]: seen[i] for i, j in assign(costs)}

    def _hit(self, track: Track, time: float, faces: Faces, i: int, views: _Views) -> None:
        track.box, track.landmarks, track.score = faces.boxes[i], faces.landmarks[i], float(faces.scores[i])
        track.motion.update(track.box)
        track.seen, track.last_seen, track.hits = True, time, track.hits + 1
        if (look := views.of(i)) is not None:
            self.saw(track, look)
        if not track.number:
            self._name(track)

    def _miss(self, tracks: list[Track]) -> None:
        """A detector did not find these: those that were not sure were none."""
        for track in tracks:
            track.seen = False
        doubtful = {id(track) for track in tracks if not track.number}
        self.tracks = [track for track in self.tracks if id(track) not in doubtful]
        self._guess(self._unseen())

    def _begin(self, time: float, faces: Faces, detections: list[int], views: _Views) -> None:
        """Start tracks, but where there is one already."""
        here = [track.box for track in self.tracks if track.seen]
        if here and detections:
            overlaps = box_ops.iou(faces.boxes[detections], np.stack(here)).max(axis=1)
            detections = [i for i, overlap in zip(detections, overlaps, strict=True) if overlap < _SAME_PLACE]
        views.make(detections)
        fresh = []
        for i in detections:
            box = faces.boxes[i]
            track = Track(0, box, faces.landmarks[i], float(faces.scores[i]), BoxFilter(box), Looks(), 1, time, time)
            if (look := views.of(i)) is not None:
                self.saw(track, look)
            fresh.append(track)
        self._recognise(fresh)
        self.tracks += [track for track in fresh if not any(track is other for other in self.tracks)]
        for track in fresh:
            if not track.number and self._sure(track):
                self._number(track)

    def _sure(self, track: Track) -> bool:
        """Whether a first detection is enough to say that this is a face, and of nobody who was here before."""
        poor = track.looks.latest is not None and track.looks.latest.quality < _SURE_QUALITY
        return track.score >= _SURE_SCORE and not (poor and self._absent(track.last_seen))

    def _name(self, track: Track) -> None:
        """Give a track its number, now that it is sure."""
        self._recognise([track])
        if not track.number:
            self._number(track)

    def _number(self, track: Track) -> None:
        self.started += 1
        track.number = self.started

    def recognise_late(self) -> list[tuple[int, int]]:
        """Find tracks with a number whose newest look says that they are people who were gone before they began.

        Those people's looks become theirs; what becomes of the number is the caller's to say.

        Returns:
            (number, number before) of each.
        """
        found = []
        for track in [track for track in self.tracks if track.number and track.seen]:
            latest = track.looks.latest
            if latest is None or latest.time != track.last_seen:
                continue
            gone = {number: past for number, past in self.remembered.items() if past.until < track.born}
            before = self._best_of([track], gone)
            if before:
                self._take_over(track, before[0][1])
                found.append((track.number, before[0][1]))
        return found

    def _recognise(self, fresh: list[Track]) -> None:
        """Give tracks without a number those of people who came back, if their looks say so."""
        time = max((track.last_seen for track in fresh), default=0.0)
        for i, number in self._best_of(fresh, self._absent(time)):
            self._take_over(fresh[i], number)
            fresh[i].number = number

    def _absent(self, time: float) -> dict[int, Past]:
        """Who could come back: people who are gone, or out of sight."""
        hidden = {
            track.number: Past(track.looks, track.last_seen, track.box if time - track.last_seen < _AWAY else None)
            for track in self.tracks
            if not track.seen and track.number
        }
        return self.remembered | hidden

    def _best_of(self, fresh: list[Track], absent: Mapping[int, Past]) -> list[tuple[int, int]]:
        """Pairs of a position in `fresh` and the number of somebody absent, where looks say enough.

        A face must be more like that person than like anybody else, and clearly more than like those who are here as
        well, who cannot be the same: where pictures are so poor that all faces look alike, nobody is recognised.
        """
        people = {number: past for number, past in absent.items() if past.looks.kept}
        looking = [i for i, track in enumerate(fresh) if track.looks.kept]
        if self.likeness is None or not people or not looking:
            return []
        numbers = list(people)
        enough = needed(past.looks for past in people.values())
        costs = np.zeros((len(looking), len(numbers)))
        for row, i in zip(costs, looking, strict=True):
            found = self._likeness_of(fresh[i], [past.looks for past in people.values()])
            present = [t.looks for t in [*self.tracks, *fresh] if t is not fresh[i] and t.seen and t.looks.kept]
            rival = self._likeness_of(fresh[i], present).max(initial=-np.inf)
            found[[not past.in_reach(fresh[i]) for past in people.values()]] = -np.inf
            clear = (found >= rival + _AHEAD) & (found == found.max())
            row[:] = np.where(clear, enough - found, 0.0)
        return [(looking[i], numbers[j]) for i, j in assign(costs)]

    def _likeness_of(self, track: Track, people: Sequence[Looks]) -> Floats:
        """(P,) evidence that a track shows each of P people, by its newest look: the others were asked before."""
        likeness, latest = self.likeness, track.looks.latest
        assert likeness is not None  # noqa: S101 - for the type checker
        assert latest is not None  # noqa: S101
        return likeness.evidence(latest, [looks.kept for looks in people])

    def _take_over(self, track: Track, number: int) -> None:
        """A track turns out to be of a person who was here before: their looks are its own."""
        past = self.remembered.pop(number, None)
        if past is None:
            hidden = next(other for other in self.tracks if other.number == number and other is not track)
            past = Past(hidden.looks, hidden.last_seen)
            self.tracks = [other for other in self.tracks if other is not hidden]
        new, track.looks = track.looks, past.looks
        for look in new.kept:
            self.saw(track, look)
        track.looks.latest = new.latest

    def saw(self, track: Track, look: Look) -> None:
        """Remember what a track looked like."""
        if self.likeness is not None:
            track.looks.add(look, self.likeness)

    def clear(self, track: Track) -> bool:
        """Whether a track was ever seen well enough to tell whether it is of somebody who was here before."""
        return self.likeness is not None and self.likeness.clear(track.looks)

    def _remember(self, track: Track) -> None:
        if track.number and track.looks.kept:
            self.remembered[track.number] = Past(track.looks, track.last_seen)
            while len(self.remembered) > REMEMBERED:
                self.remembered.popitem(last=False)

    def _unseen(self) -> list[Track]:
        return [track for track in self.tracks if not track.seen]

    def _guess(self, tracks: Sequence[Track]) -> None:
        for track in tracks:
            track.seen = False
            track.move(track.motion.box)

    @staticmethod
    def _distances(tracks: Sequence[Track], boxes: FloatArray) -> Floats:
        return np.stack([track.motion.distances(boxes) for track in tracks])


class _Views:
    """Looks at the detections of a frame, each made once, when it is needed."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._made: dict[int, Look] = {}

    def make(self, detections: Sequence[int]) -> None:
        missing = [i for i in detections if i not in self._made]
        if missing and (looks := self._embed(missing)) is not None:
            self._made |= dict(zip(missing, looks, strict=True))

    def of(self, detection: int) -> Look | None:
        return self._made.get(detection)


def _without(detections: list[int], pairs: dict[int, Track]) -> list[int]:
    return [i for i in detections if i not in pairs]


def _inside(box: FloatArray, size: tuple[int, int]) -> bool:
    """Whether the centre of a box is in a picture of (width, height)."""
    centre = (box[:2] + box[2:]) / 2
    return bool((centre >= 0).all() and (centre <= size).all())
