"""Videos of one face each as tracks: what the expression network says of the face, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from mien.datasets.base import NO_ANSWER, IndexArray
from mien.datasets.clips import Clip
from mien.datasets.labels import EXPRESSIONS
from mien.datasets.tracks import Floats, Track, TrackSet
from mien.errors import DataError, VideoError
from mien.evaluation.recording import refuse_other_labels
from mien.models.base import Detector
from mien.models.classifier import CropClassifier
from mien.models.crop_network import over_faces
from mien.types import Faces, FloatArray
from mien.video.frames import Frame, open_frames

MOST_FPS = 12.0
"""Frames a second that are looked at."""

_LONGEST = 640  # pixels: of a video of one face
_AT_ONCE = 16
_EDGE = 0.15  # of a video at each end, in which an expression may not be there yet, or any more
_NEUTRAL = 0


def record_clips(
    clips: Sequence[Clip],
    detector: Detector,
    classifier: CropClassifier,
    *,
    name: str,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[TrackSet, list[str]]:
    """Record what a classifier says of the face in each video.

    A video's label is true of its middle; of the first and the last 15 % nothing is known, but where it is neutral.

    Args:
        clips: the videos; the largest face of the first frame that has one is followed.
        detector: finds faces.
        classifier: of expressions.
        name: of the set.
        progress: called with (videos done, videos in all).

    Returns:
        The tracks, and a sentence for each video that cannot be used.

    Raises:
        DataError: no video can be used, or the classifier has other labels.
        ModelError: a network fails.
    """
    refuse_other_labels(classifier, EXPRESSIONS, name)
    tracks, problems = [], []
    for done, clip in enumerate(clips, 1):
        try:
            tracks.append(_track(clip, detector, classifier))
        except (VideoError, DataError) as error:
            problems.append(str(error))
        if progress is not None:
            progress(done, len(clips))
    if not tracks:
        raise DataError(f"{name}: none of {len(clips):,} videos can be used; the first: {problems[0]}")
    return TrackSet(f"{len(tracks):,} {name}", EXPRESSIONS, tracks), problems


def _track(clip: Clip, detector: Detector, classifier: CropClassifier) -> Track:
    """The track of one video."""
    times: list[float] = []
    scores: list[FloatArray] = []
    seen: list[bool] = []
    last: Faces | None = None
    with open_frames(clip.path, max_fps=MOST_FPS, longest=_LONGEST) as frames:
        while part := list(islice(frames, _AT_ONCE)):
            faces, last = _followed(part, detector, last)
            crop = classifier.card.crop
            found = over_faces([f.image for f in part], faces, crop, lambda crops: {"scores": classifier(crops)})
            times += [frame.time for frame in part]
            seen += [len(face) > 0 for face in faces]
            blank = np.zeros((1, len(classifier.labels)), np.float32)
            scores += [answer["scores"] if len(face) else blank for face, answer in zip(faces, found, strict=True)]
    if not any(seen):
        raise DataError(f"{clip.path}: no face found in it")
    stamps = np.array(times)
    return Track(stamps, np.concatenate(scores), np.array(seen), _truth(clip.label, stamps))


def _followed(part: Sequence[Frame], detector: Detector, last: Faces | None) -> tuple[list[Faces], Faces | None]:
    """Of each frame the face nearest to the one before, or none."""
    chosen = []
    for faces in detector([frame.image for frame in part]):
        if last is None or not len(faces):
            face = faces.largest()
        else:
            middles = faces.boxes.reshape(-1, 2, 2).mean(axis=1)
            before = last.boxes.reshape(-1, 2, 2).mean(axis=1)
            face = faces[int(np.linalg.norm(middles - before, axis=1).argmin())]
        last = face if len(face) else last
        chosen.append(face)
    return chosen, last


def _truth(label: int, times: Floats) -> IndexArray:
    """(T,) what is known of each frame."""
    truth = np.full(len(times), label, np.int64)
    if label != _NEUTRAL and len(times) > 2:
        part = (times - times[0]) / max(times[-1] - times[0], 1e-6)
        truth[(part < _EDGE) | (part > 1 - _EDGE)] = NO_ANSWER
    return truth
