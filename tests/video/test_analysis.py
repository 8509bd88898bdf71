"""VideoAnalyzer on films made in memory, and on hamilton.mp4."""

from __future__ import annotations

import gc
import io
import sys
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien import FaceAnalyzer, Gallery
from mien.errors import DataError, GalleryModelError
from mien.ops.boxes import iou
from mien.ops.image import load_image
from mien.types import Faces
from mien.video.analysis import Moment, VideoAnalyzer
from mien.video.frames import Frame, SourceInfo, open_frames
from mien.video.state import State
from mien.video.timeline import Timeline
from tests.video.labels import labels, score
from tests.video.scenes import FPS, HEADS, PHOTOS, Actor, bar, moving, scene, still


@pytest.fixture(scope="module")
def finder() -> FaceAnalyzer:
    """Detects and embeds, on one thread."""
    return FaceAnalyzer(threads=1, only=("detect", "embed")).load()


def follow(finder: FaceAnalyzer, frames: Iterable[Frame], **options: object) -> list[Moment]:
    return list(VideoAnalyzer(finder, **{"every": 3, **options})(frames))  # type: ignore[arg-type]


def near(moment: Moment, x: float) -> int:
    """The number of the seen face nearest to an x."""
    centres = (moment.faces.boxes[:, 0] + moment.faces.boxes[:, 2]) / 2
    return int(moment.ids[moment.seen][np.argmin(np.abs(centres[moment.seen] - x))])


def numbers(moments: Iterable[Moment]) -> set[int]:
    return {int(number) for moment in moments for number in moment.ids}


def test_two_who_cross_keep_their_numbers(finder: FaceAnalyzer) -> None:
    frames = scene([Actor("grace", moving(70, 310, 24)), Actor("eileen", moving(310, 70, 24))], 24)
    moments = follow(finder, frames)
    assert (near(moments[0], 70), near(moments[-1], 310)) == (near(moments[-1], 310), near(moments[0], 70))
    assert near(moments[0], 310) == near(moments[-1], 70)
    assert numbers(moments) == {1, 2}


def test_one_who_is_hidden_for_a_second_is_carried_and_keeps_the_number(finder: FaceAnalyzer) -> None:
    moments = follow(finder, scene([Actor("grace", moving(50, 340, 45))], 45, over=bar(150, 230)))
    assert numbers(moments) == {1}
    hidden = [moment for moment in moments if len(moment) and not moment.seen.all()]
    assert len(hidden) >= 3
    assert all(moment.faces.scores[0] == 0 for moment in hidden)
    assert moments[0].seen.all()
    assert moments[-1].seen.all()


def test_one_who_leaves_and_comes_back_elsewhere_has_the_same_number(finder: FaceAnalyzer) -> None:
    def place(i: int) -> tuple[float, float] | None:
        if i < 12:
            return 250 + 15 * i, 120
        return (90, 110) if i >= 60 else None

    moments = follow(finder, scene([Actor("grace", place)], 72))
    assert not len(moments[50])
    assert near(moments[-1], 90) == near(moments[0], 250) == 1


def test_another_one_who_comes_has_another_number(finder: FaceAnalyzer) -> None:
    grace, eileen = scene([Actor("grace", still(200))], 6), scene([Actor("eileen", still(200))], 6, first=60)
    moments = follow(finder, grace + scene([], 54, first=6) + eileen)
    assert numbers(moments[:6]) == {1}
    assert numbers(moments[-6:]) == {2}


def test_motion_is_not_carried_over_a_cut(finder: FaceAnalyzer) -> None:
    before = scene([Actor("grace", still(100)), Actor("eileen", still(280))], 9, seed=0)
    after = scene([Actor("eileen", still(100)), Actor("grace", still(280))], 9, seed=1, first=9)
    moments = follow(finder, before + after)
    assert [moment.frame for moment in moments if moment.cut] == [9]
    assert near(moments[0], 100) == near(moments[-1], 280)
    assert near(moments[0], 280) == near(moments[-1], 100)
    assert moments[9].seen.all()


def test_one_who_enters_at_the_edge_is_one(finder: FaceAnalyzer) -> None:
    moments = follow(finder, scene([Actor("eileen", moving(-60, 190, 30))], 30))
    assert numbers(moments) == {1}
    assert moments[-1].seen.all()


def test_a_shaking_camera_changes_nobody(finder: FaceAnalyzer) -> None:
    rng = np.random.default_rng(3)
    still_frames = scene([Actor("grace", still(110)), Actor("eileen", still(270))], 30)
    shaken = [
        Frame(f.index, f.time, np.roll(f.image, tuple(rng.integers(-7, 8, 2)), axis=(0, 1))) for f in still_frames
    ]
    moments = follow(finder, shaken)
    assert numbers(moments) == {1, 2}
    assert not any(moment.cut for moment in moments)
    assert np.mean([moment.seen.all() and len(moment) == 2 for moment in moments[3:]]) > 0.9


def test_between_detections_boxes_and_landmarks_move_with_the_face(finder: FaceAnalyzer) -> None:
    frames = scene([Actor("grace", moving(80, 200, 16))], 16)
    moments = follow(finder, frames, every=8)
    for i in (6, 7, 14):
        found = finder([frames[i].image])[0]
        assert iou(moments[i].faces.boxes, found.boxes)[0, 0] > 0.8
        assert np.abs(moments[i].faces.landmarks[0] - found.landmarks[0]).max() < 5


def test_frames_without_faces_of_any_size_give_empty_moments(analyzer: FaceAnalyzer) -> None:
    sizes = [(1, 1), (240, 320), (3, 700), (33, 1), (240, 320)]
    frames = [Frame(i, i / FPS, np.zeros((*size, 3), np.uint8)) for i, size in enumerate(sizes)]
    for moment, (height, width) in zip(VideoAnalyzer(analyzer)(frames), sizes, strict=True):
        assert len(moment) == 0
        assert moment.image_size == (width, height)
        assert moment.faces.expressions is not None
        assert moment.to_dict()["faces"] == []


def test_no_frames_give_no_moments(finder: FaceAnalyzer) -> None:
    assert follow(finder, []) == []


def test_another_size_in_mid_run_keeps_who_is_who(finder: FaceAnalyzer) -> None:
    small = scene([Actor("grace", still(110)), Actor("eileen", still(270))], 12)
    large = [
        Frame(f.index, f.time, np.asarray(cv2.resize(f.image, None, fx=1.5, fy=1.5), dtype=np.uint8)) for f in small[6:]
    ]
    moments = follow(finder, small[:6] + large)
    assert [moment.frame for moment in moments if moment.cut] == [6]
    assert moments[-1].image_size == (576, 360)
    assert near(moments[0], 110) == near(moments[-1], 165)
    assert near(moments[0], 270) == near(moments[-1], 405)


@pytest.mark.parametrize("times", [[0.0, 0.1, 60.0], [5.0, 5.1, 0.0]])
def test_gaps_and_times_that_go_back_end_motion(finder: FaceAnalyzer, times: list[float]) -> None:
    [image] = [frame.image for frame in scene([Actor("grace", still(200))], 1)]
    moments = follow(finder, [Frame(i, time, image) for i, time in enumerate(times)])
    assert [moment.cut for moment in moments] == [False, False, True]
    assert numbers(moments) == {1}


def test_the_same_frames_give_the_same_moments(finder: FaceAnalyzer) -> None:
    frames = scene([Actor("grace", moving(70, 310, 12)), Actor("eileen", moving(310, 70, 12))], 12)
    first, second = follow(finder, frames, every="auto"), follow(finder, frames, every="auto")
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.ids, b.ids)
        assert np.array_equal(a.faces.boxes, b.faces.boxes)
        assert np.array_equal(a.seen, b.seen)


def film() -> list[Frame]:
    """Two people; one leaves and comes back elsewhere, one is hidden for a while, and there is a cut."""
    frames = 90

    def leaves(i: int) -> tuple[float, float] | None:
        return (260 + 8 * i, 120) if i < 20 else None if i < 60 else (300 - (i - 60), 110)

    first = scene([Actor("grace", leaves), Actor("eileen", moving(60, 200, frames))], frames, over=bar(110, 160))
    return first + scene([Actor("eileen", still(120)), Actor("grace", still(280))], 20, seed=1, first=frames)


def test_another_run_goes_on_as_if_nothing_had_been(finder: FaceAnalyzer, gallery: Gallery) -> None:
    """Wherever it was stopped: the same numbers, names, places and people who came back as without."""
    frames = film()
    whole = list(VideoAnalyzer(finder, gallery=gallery, hold=2.0)(frames))
    kept = [moment.state for moment in whole if moment.state is not None]
    assert len(kept) >= 5
    assert all(moment.state is None for moment in whole if moment.time > frames[-1].time - 2.0)
    for state in kept[1::2]:
        again = VideoAnalyzer(finder, gallery=gallery, hold=2.0)
        again.restore(State.from_arrays(through_a_file(state)))
        rest = [Frame(i, frame.time, frame.image) for i, frame in enumerate(frames[round(state.time * FPS) :])]
        for was, now in zip(whole[round(state.time * FPS) + 1 :], again(rest), strict=True):
            assert (was.frame, was.time, was.people, was.cut) == (now.frame, now.time, now.people, now.cut)
            assert (was.ids.tolist(), was.came_back) == (now.ids.tolist(), now.came_back)
            np.testing.assert_array_equal(was.seen, now.seen)
            np.testing.assert_allclose(was.faces.boxes, now.faces.boxes, atol=1e-3)


def through_a_file(state: State) -> dict[str, np.ndarray]:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **state.to_arrays())
    with np.load(io.BytesIO(buffer.getvalue()), allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays.pop("motion"),
        lambda arrays: arrays.update(tracks=np.zeros((3, 6))),
        lambda arrays: arrays.update(boxes=np.full_like(arrays["boxes"], np.nan)),
        lambda arrays: arrays.update(embedding=arrays["embedding"][:, :64]),
        lambda arrays: arrays.update(look=np.full_like(arrays["look"], 7)),
        lambda arrays: arrays.update(started=np.array([1, 2])),
    ],
)
def test_a_damaged_state_is_refused(finder: FaceAnalyzer, damage: Callable[[dict[str, np.ndarray]], object]) -> None:
    frames = scene([Actor("grace", still(200))], 3)
    state = next(moment.state for moment in VideoAnalyzer(finder)(frames + frames_later(frames)) if moment.state)
    arrays = through_a_file(state)
    damage(arrays)
    with pytest.raises(DataError, match="damaged; start again"):
        VideoAnalyzer(finder).restore(State.from_arrays(arrays))


def frames_later(frames: list[Frame]) -> list[Frame]:
    """After so long that nothing of the others is held back any more."""
    return [Frame(frame.index + len(frames), frame.time + 20, frame.image) for frame in frames]


def test_frame_by_frame_nothing_is_held_back(finder: FaceAnalyzer) -> None:
    video = VideoAnalyzer(finder, every=3)
    for frame in scene([Actor("grace", still(200))], 6):
        moment = video.feed(frame)
        assert moment.frame == frame.index
        assert moment.ids.tolist() == [1]


def test_embeddings_are_made_when_they_tell_something(finder: FaceAnalyzer) -> None:
    frames = scene([Actor("grace", still(200))], 45)
    always = follow(finder, frames, every=3, embed_every=0)
    assert [moment.embedded.all() for moment in always[:4]] == [True, False, False, True]
    seldom = follow(finder, frames)
    made = sum(int(moment.embedded.sum()) for moment in seldom)
    assert 3 <= made < sum(int(moment.embedded.sum()) for moment in always)
    assert seldom[-1].faces.embeddings is not None
    assert seldom[-1].faces.embeddings.shape == (1, 128)


def test_without_embeddings_tracks_go_by_motion() -> None:
    video = VideoAnalyzer(threads=1, only=("detect",), every=3)
    moments = list(video(scene([Actor("grace", moving(80, 200, 12)), Actor("eileen", still(310))], 12)))
    assert numbers(moments) == {1, 2}
    assert moments[-1].faces.embeddings is None


def test_what_models_say_of_one_who_is_hidden_is_what_they_said_last(analyzer: FaceAnalyzer) -> None:
    frames = scene([Actor("grace", moving(90, 250, 27)), Actor("eileen", still(330))], 27, over=bar(150, 215))
    video = VideoAnalyzer(analyzer, every=3)
    before: dict[int, np.ndarray] = {}
    checked = 0
    for moment in video(frames):
        assert moment.faces.expressions is not None
        for number, seen, scores in zip(moment.ids, moment.seen, moment.faces.expressions.scores, strict=True):
            if not seen:
                assert np.array_equal(scores, before[number])
                checked += 1
            before[int(number)] = scores
    assert checked


def test_memory_does_not_grow_with_the_video(finder: FaceAnalyzer) -> None:
    scenes = [scene([Actor(who, still(200))], 1, seed=i)[0].image for i, who in enumerate(("grace", "eileen"))]
    frames = (Frame(i, i / FPS, scenes[i % 2]) for i in range(64))  # a cut at each: new tracks, old people
    sizes = []
    tracemalloc.start()
    try:
        for moment in VideoAnalyzer(finder, hold=0.0)(frames):
            assert moment.ids.tolist() == [1 + moment.frame % 2]
            if moment.frame in (12, 62):
                gc.collect()
                # CPython's cache of methods holds up to 4,096 names that NumPy and onnxruntime made anew for each call.
                getattr(sys, "_clear_type_cache", int)()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 50_000  # bytes; one moment a frame would be 150,000


class Camera:
    """Frames that say that they are live; counts those that were taken."""

    info = SourceInfo("camera", 384, 240, live=True)

    def __init__(self, frames: list[Frame]) -> None:
        self.frames, self.taken = frames, 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames:
            self.taken += 1
            yield frame


def test_of_a_live_source_nothing_is_held_back(finder: FaceAnalyzer) -> None:
    camera = Camera(scene([Actor("grace", still(200))], 6))
    for moment in VideoAnalyzer(finder)(camera):
        assert camera.taken == moment.frame + 1


# Names


def embedding_of(finder: FaceAnalyzer, who: str) -> Faces:
    return finder.largest_face(PHOTOS / HEADS[who][0])


@pytest.fixture
def gallery(tmp_path: Path, finder: FaceAnalyzer) -> Iterator[Gallery]:
    with Gallery.open(tmp_path / "people.db") as people:
        people.enrol("Grace", embedding_of(finder, "grace"))
        people.enrol("Eileen", embedding_of(finder, "eileen"))
        yield people


def test_names_stay_with_those_who_cross(finder: FaceAnalyzer, gallery: Gallery) -> None:
    frames = scene([Actor("grace", moving(70, 310, 24)), Actor("eileen", moving(310, 70, 24))], 24)
    said = defaultdict(list)
    for moment in follow(finder, frames, gallery=gallery):
        for number, person in zip(moment.ids, moment.people, strict=True):
            said[int(number)].append(person)
    assert sorted({person for people in said.values() for person in people if person}) == ["Eileen", "Grace"]
    for people in said.values():
        named = [person for person in people if person]
        assert len(set(named)) == 1
        assert people == [None] * (len(people) - len(named)) + named  # once given, never taken back


def test_one_name_is_never_carried_twice(finder: FaceAnalyzer, gallery: Gallery) -> None:
    twins = scene([Actor("grace", still(100)), Actor("grace", still(280))], 12)
    moments = follow(finder, twins, gallery=gallery)
    assert all(len(moment) == 2 for moment in moments)
    assert sorted(moments[-1].people, key=str) == ["Grace", None]
    holders = {moment.people.index("Grace") for moment in moments if "Grace" in moment.people}
    assert len(holders) == 1


def test_a_stranger_has_no_name(finder: FaceAnalyzer, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "people.db") as people:
        people.enrol("Grace", embedding_of(finder, "grace"))
        moments = follow(finder, scene([Actor("eileen", still(200))], 12), gallery=people)
    assert {person for moment in moments for person in moment.people} == {None}


def test_the_gallery_is_not_asked_for_every_frame(finder: FaceAnalyzer, gallery: Gallery) -> None:
    follow(finder, scene([Actor("grace", still(200))], 45), gallery=gallery)
    searches = [event for event in gallery.audit() if event.action == "identify"]
    assert 1 <= len(searches) <= 8


def test_a_gallery_of_another_model_is_refused_at_once(tmp_path: Path, finder: FaceAnalyzer) -> None:
    with Gallery.open(tmp_path / "people.db", mode="accurate") as people, pytest.raises(GalleryModelError):
        VideoAnalyzer(finder, gallery=people)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is 0"),
        ({"embed_every": -1.0}, "embed_every is -1"),
        ({"hold": -1.0}, "hold is -1"),
        ({"threads": 1}, "options for another"),
    ],
)
def test_wrong_options_are_said(finder: FaceAnalyzer, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoAnalyzer(finder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(finder: FaceAnalyzer, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="not \\(H, W, 3\\) uint8"):
        VideoAnalyzer(finder).feed(Frame(0, 0.0, image))


def test_a_moment_checks_its_lengths() -> None:
    none = Faces.empty((4, 4))
    empty = np.zeros(0, dtype=np.int64)
    with pytest.raises(ValueError, match="ids has shape"):
        Moment(0, 0.0, np.array([1]), none, empty, (), (4, 4), empty, empty)
    with pytest.raises(ValueError, match="1 names for 0 faces"):
        Moment(0, 0.0, empty, none, empty, ("Grace",), (4, 4), empty, empty)


# hamilton.mp4: people on a stage, then in the audience; 3 cuts. Labels: fixtures/hamilton.json


def test_hamilton(finder: FaceAnalyzer, shared_photos: Path) -> None:
    with open_frames(shared_photos / "hamilton.mp4") as frames:
        moments = list(VideoAnalyzer(finder)(frames))
    assert [moment.frame for moment in moments if moment.cut] == [20, 82, 211]
    clear, everybody = score(moments, labels(clear=True)), score(moments, labels())
    assert clear.people == 7
    assert clear.tracks == 8  # the man who is seen from the front first, and in profile after the first cut, is two
    assert clear.switches == 1
    sure = score(moments, labels(clear=True), without=Timeline.of(moments).unclear)
    assert (sure.tracks, sure.switches) == (5, 0)  # without his profile, and two who are blurred
    assert clear.idf1 > 0.9
    assert everybody.switches == 1
    assert everybody.invented == 0
    for shot in ((0, 20), (20, 82), (82, 211), (211, 275)):
        one = {i: label for i, label in labels(clear=True).items() if shot[0] <= i < shot[1]}
        within = score(moments, one)
        assert within.switches == 0
        assert within.tracks == within.people


def test_hamilton_live_says_late_who_came_back(finder: FaceAnalyzer, shared_photos: Path) -> None:
    video = VideoAnalyzer(finder)
    with open_frames(shared_photos / "hamilton.mp4", end=7.5) as frames:  # but for the shot between
        moments = [video.feed(frame) for frame in frames if not 20 <= frame.index < 82]
    [(number, earlier)] = [pair for moment in moments for pair in moment.came_back]
    performer = {near(moment, 545) for moment in moments[:20]}
    assert performer == {earlier}
    assert number in moments[20].ids
    assert number in moments[-1].ids  # numbers are not changed once they were given out


def test_shots_of_photographs(finder: FaceAnalyzer) -> None:
    portrait = load_image(PHOTOS / "grace_hopper.jpg")
    frames = [Frame(i, i / FPS, portrait) for i in range(4)]
    moments = follow(finder, frames)
    assert numbers(moments) == {1}
    assert [moment.seen.all() for moment in moments] == [True] * 4
