"""Videos of one face each, made of a real portrait, become tracks."""

from __future__ import annotations

import numpy as np
import pytest

from mien import load_image
from mien.datasets.base import NO_ANSWER
from mien.datasets.clips import Clip, find_clips
from mien.errors import DataError
from mien.evaluation.clip_tracks import record_clips
from mien.models.classifier import CropClassifier
from tests.models import tiny_classifier

av = pytest.importorskip("av")


def video(path, pictures, rate=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut):
    """Two videos of a face that is hidden for a while, and one of none."""
    root = tmp_path_factory.mktemp("videos")
    face = load_image(astronaut)[:400, 60:420]
    hidden = np.full_like(face, 90)
    frames = [np.roll(face, t, axis=1) for t in range(8)] + [hidden] * 4 + [np.roll(face, -t, axis=1) for t in range(8)]
    video(root / "happy" / "a.mp4", frames)
    video(root / "neutral" / "b.mp4", frames[:6])
    video(root / "sad" / "empty.mp4", [hidden] * 5)
    (root / "sad" / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.fixture(scope="module")
def recorded(folder, analyzer):
    clips = find_clips(folder)
    return record_clips(clips, analyzer.detector, CropClassifier(tiny_classifier.network()), name="videos")


def test_each_video_with_a_face_is_a_track(recorded):
    tracks, problems = recorded
    happy, neutral = tracks.tracks
    assert (len(happy), len(neutral)) == (20, 6)
    assert np.allclose(np.diff(happy.times), 0.1, atol=0.01)
    assert np.allclose(happy.scores.sum(axis=1)[happy.seen], 1, atol=1e-5)
    assert tracks.name == "2 videos"
    assert len(problems) == 2
    assert any("empty.mp4: no face found" in problem for problem in problems)
    assert any("broken.mp4" in problem for problem in problems)


def test_a_hidden_face_is_not_seen(recorded):
    seen = recorded[0].tracks[0].seen
    assert not seen[8:12].any()
    assert seen[:8].all()
    assert seen[12:].all()


def test_what_is_true_of_the_middle_is_not_known_of_the_ends(recorded):
    happy, neutral = recorded[0].tracks
    assert (happy.truth[4:16] == 1).all()
    assert happy.truth[0] == happy.truth[-1] == NO_ANSWER
    assert (neutral.truth == 0).all()


def test_no_video_that_can_be_used(folder, analyzer):
    broken = [Clip(folder / "sad" / "broken.mp4", 3, "x")]
    with pytest.raises(DataError, match="none of 1 videos can be used; the first: "):
        record_clips(broken, analyzer.detector, CropClassifier(tiny_classifier.network()), name="videos")


def test_a_classifier_of_something_else_is_refused(folder, analyzer):
    other = CropClassifier(tiny_classifier.network(tiny_classifier.card(labels=("young", "old")), count=2))
    with pytest.raises(DataError, match=r"labels neutral, .* but model 'tiny' says young, old"):
        record_clips(find_clips(folder), analyzer.detector, other, name="videos")
