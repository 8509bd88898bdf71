"""The parts of tracking, each on its own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from mien import FaceAnalyzer
from mien.evaluation.tracking import LabelledFrame, score_tracks
from mien.types import Faces, ImageArray
from mien.video import tracking
from mien.video.appearance import KEPT, Likeness, Look, Looks, needed
from mien.video.assignment import assign
from mien.video.cuts import CutDetector
from mien.video.flow import FaceFlow
from mien.video.motion import GATE, BoxFilter
from mien.video.pace import MOST, Pace
from mien.video.tracking import Tracker
from tests.video.scenes import background

BOX = np.array([100, 80, 160, 160], dtype=np.float32)


@pytest.fixture(scope="module")
def likeness() -> Likeness:
    return Likeness(FaceAnalyzer(threads=1).embedder)


# Assignment


@given(arrays(np.float64, st.tuples(st.integers(0, 7), st.integers(0, 7)), elements=st.floats(-10, 3)))
def test_the_cheapest_pairs_are_those_of_scipy(costs: np.ndarray) -> None:
    pairs = assign(costs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    gains = np.minimum(costs, 0)
    rows, columns = linear_sum_assignment(gains)
    assert sum(costs[i, j] for i, j in pairs) == pytest.approx(gains[rows, columns].sum())
    assert all(costs[i, j] < 0 for i, j in pairs)


def test_what_cannot_be_is_never_paired() -> None:
    assert assign(np.array([[np.inf, -1.0], [np.inf, -2.0]])) == [(1, 1)]
    assert assign(np.full((3, 2), np.inf)) == []


# Motion


def test_a_steady_face_is_expected_where_it_goes() -> None:
    motion = BoxFilter(BOX)
    for i in range(1, 11):
        motion.predict(0.1)
        motion.update(BOX + np.float32(6 * i) * np.array([1, 0, 1, 0], np.float32))
    motion.predict(0.5)
    assert motion.box[0] == pytest.approx(100 + 60 + 30, abs=6)
    assert motion.box[2] - motion.box[0] == pytest.approx(60, abs=3)


def test_what_is_near_for_a_large_face_is_far_for_a_small_one() -> None:
    small = np.array([100, 80, 115, 100], dtype=np.float32)
    moved = np.array([15, 0, 15, 0], dtype=np.float32)
    assert BoxFilter(BOX).distances(BOX[None] + moved)[0] < GATE < BoxFilter(small).distances(small[None] + moved)[0]


def test_uncertainty_grows_until_a_face_is_seen_again() -> None:
    motion = BoxFilter(BOX)
    spreads = [motion.spread]
    for _ in range(5):
        motion.predict(0.2, slowing=True)
        spreads.append(motion.spread)
    assert spreads == sorted(spreads)
    motion.update(BOX)
    assert motion.spread < spreads[1]


def test_an_unseen_face_comes_to_a_halt() -> None:
    motion = BoxFilter(BOX)
    for i in range(1, 11):
        motion.predict(0.1)
        motion.update(BOX + np.float32(6 * i) * np.array([1, 0, 1, 0], np.float32))
    for _ in range(100):
        motion.predict(0.1, slowing=True)
    assert motion.box[0] == pytest.approx(160 + 60 * 0.5, abs=8)


# Flow


def _moved(image: ImageArray, dx: float, dy: float, scale: float = 1.0) -> ImageArray:
    shift = np.array([[scale, 0, dx], [0, scale, dy]])
    return np.asarray(cv2.warpAffine(image, shift, image.shape[1::-1]), dtype=np.uint8)


@pytest.mark.parametrize("enlarged", [1, 4])
def test_boxes_go_where_the_picture_goes(enlarged: int) -> None:
    image = np.asarray(cv2.resize(background(0), None, fx=enlarged, fy=enlarged), dtype=np.uint8)
    boxes = enlarged * np.array([BOX, BOX + 60], dtype=np.float32)
    landmarks = np.stack([np.tile((box[:2] + box[2:]) / 2, (5, 1)) for box in boxes])
    flow = FaceFlow()
    flow.see(image)
    flow.see(_moved(image, 6 * enlarged, -4 * enlarged, 1.03))
    found, marks, held = flow.follow(boxes, landmarks)
    assert held.all()
    assert found == pytest.approx(1.03 * boxes + enlarged * np.array([6, -4, 6, -4]), abs=0.7 * enlarged)
    assert marks == pytest.approx(1.03 * landmarks + enlarged * np.array([6, -4]), abs=0.7 * enlarged)


def test_what_is_covered_is_not_followed() -> None:
    covered = background(0).copy()
    covered[60:170, 90:170] = 128
    flow = FaceFlow()
    flow.see(background(0))
    flow.see(covered)
    found, _, held = flow.follow(BOX[None], np.zeros((1, 5, 2), np.float32))
    assert not held.any()
    assert np.array_equal(found[0], BOX)


def test_nothing_is_followed_into_a_frame_of_another_size_or_after_forgetting() -> None:
    flow = FaceFlow()
    none = np.zeros((1, 5, 2), np.float32)
    assert not flow.follow(BOX[None], none)[2].any()
    flow.see(background(0))
    flow.see(background(0)[:200])
    assert not flow.follow(BOX[None], none)[2].any()
    flow.see(background(0)[:200])
    flow.forget()
    assert not flow.follow(BOX[None], none)[2].any()


# Cuts


def _cuts(*frames: ImageArray) -> list[bool]:
    detector = CutDetector()
    return [detector(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8)) for frame in frames]


def test_another_scene_is_a_cut_and_flashes_fades_and_pans_are_none() -> None:
    scene = background(0)
    bright = np.clip(scene.astype(float) * 1.4 + 20, 0, 255).astype(np.uint8)
    assert _cuts(scene, bright, scene // 3, _moved(scene, 20, -8)[:, :], scene) == [False] * 5
    assert _cuts(scene, background(1), background(1)) == [False, True, False]


def test_to_black_and_back_are_cuts_and_black_goes_on() -> None:
    black = np.zeros_like(background(0))
    assert _cuts(background(0), black, black, background(0)) == [False, True, False, True]


# Pace


def test_the_detector_runs_as_often_as_time_allows() -> None:
    pace = Pace(None, measured=True)
    assert pace.every == 1
    for _ in range(20):
        pace.learn(0.060, 1 / 30, detected=True)
        pace.learn(0.010, 1 / 30, detected=False)
    assert pace.every == 3  # (0.060 + 2 * 0.010) / 3 = 26.7 ms, within 80 % of 33.3
    for _ in range(40):
        pace.learn(0.5, 1 / 30, detected=True)
        pace.learn(0.03, 1 / 30, detected=False)
    assert pace.every == MOST
    for _ in range(40):
        pace.learn(0.02, 1 / 30, detected=True)
    assert pace.every == 1


def test_a_slow_source_is_searched_often_enough_for_new_faces() -> None:
    pace = Pace(None, measured=True)
    for _ in range(20):
        pace.learn(2.0, 0.2, detected=True)
        pace.learn(0.1, 0.2, detected=False)
    assert pace.every == 2


def test_a_fixed_pace_stays() -> None:
    frames, seconds = Pace(4), Pace(None)
    for pace in (frames, seconds):
        pace.learn(9.0, 0.01, detected=True)
    assert [frames.due(i, 99.0) for i in (3, 4)] == [False, True]
    assert [seconds.due(99, t) for t in (5 / 30, 6 / 30, 5 / 25)] == [False, True, True]


# Looks


def _look(seed: int, quality: float = 0.9, *, near: Look | None = None) -> Look:
    """A look at somebody: of the length that the embedder gives; one that is `near` is of the same person."""
    vector = np.random.default_rng(seed).normal(size=128)
    vector *= 1.4 / np.linalg.norm(vector)
    if near is not None:
        vector = near.embedding + 0.25 * vector
    return Look(vector.astype(np.float32), quality, float(seed))


def test_looks_at_one_person_speak_for_it_and_poor_ones_say_little(likeness: Likeness) -> None:
    one = _look(1)
    same, other = _look(2, near=one), _look(3)
    assert likeness.evidence(same, [[one], [other], [], [other, one]]) == pytest.approx(
        [likeness.evidence(same, [looks])[0] for looks in ([one], [other], [], [other, one])]
    )
    found = likeness.evidence(same, [[one], [other], [], [other, one]])
    assert found[0] > 5
    assert found[1] < -5
    assert found[2] == 0
    assert found[3] == found[0]  # people look different from different sides
    assert likeness.evidence(_look(2, 0.1, near=one), [[one]])[0] < 1.1
    assert likeness.evidence(other, [[_look(1, 0.0)]])[0] == 0
    assert likeness.evidence(other, []).shape == (0,)


def test_the_best_looks_are_kept(likeness: Likeness) -> None:
    looks = Looks()
    for seed in range(40):
        looks.add(_look(seed, quality=seed / 40), likeness)
    assert looks.count == 40
    assert sorted(look.quality for look in looks.kept) == [seed / 40 for seed in range(40 - KEPT, 40)]
    copy = Look(looks.kept[0].embedding, 0.99, 99.0)
    looks.add(copy, likeness)
    assert copy in looks.kept
    assert len(looks.kept) == KEPT
    assert looks.latest is copy


def test_more_people_need_more_evidence() -> None:
    assert needed([Looks([_look(1)])]) == 3
    assert needed([Looks([_look(i)]) for i in range(20)]) == pytest.approx(3 + np.log(20))


# Tracks


def _faces(*boxes: np.ndarray, scores: list[float] | None = None) -> Faces:
    stacked = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    n = len(stacked)
    return Faces(stacked, np.array(scores or [0.9] * n, np.float32), np.zeros((n, 5, 2), np.float32), (640, 360))


def _tracker(likeness: Likeness | None = None) -> Tracker:
    return Tracker(likeness, 0.5)


def _step(tracker: Tracker, i: int, faces: Faces, looks: list[Look] | None = None) -> None:
    tracker.predict(0.1 * i, 0.1 if i else 0.0)
    tracker.detect(0.1 * i, faces, lambda chosen: None if looks is None else [looks[j] for j in chosen])


def _numbers(tracker: Tracker) -> list[int]:
    return [track.number for track in tracker.tracks if track.number and track.seen]


def test_weak_detections_go_on_with_tracks_and_start_none() -> None:
    tracker = _tracker()
    _step(tracker, 0, _faces(BOX))
    _step(tracker, 1, _faces(BOX + 2, BOX + 150, scores=[0.3, 0.3]))
    assert _numbers(tracker) == [1]
    _step(tracker, 2, _faces(BOX + 4))
    assert _numbers(tracker) == [1]


def test_a_doubtful_face_waits_for_a_second_detection() -> None:
    tracker = _tracker()
    _step(tracker, 0, _faces(BOX, scores=[0.55]))
    assert _numbers(tracker) == []
    _step(tracker, 1, _faces(BOX, scores=[0.55]))
    assert _numbers(tracker) == [1]
    _step(tracker, 2, _faces(BOX, BOX + 150, scores=[0.9, 0.55]))
    _step(tracker, 3, _faces(BOX))
    assert _numbers(tracker) == [1]
    assert len(tracker.tracks) == 1


def test_no_second_track_starts_where_one_is() -> None:
    tracker = _tracker()
    _step(tracker, 0, _faces(BOX))
    _step(tracker, 1, _faces(BOX, BOX + 5))
    assert _numbers(tracker) == [1]


def test_two_who_are_there_at_once_are_two_however_alike(likeness: Likeness) -> None:
    tracker, look = _tracker(likeness), _look(1)
    for i in range(5):
        _step(tracker, i, _faces(BOX, BOX + 150), [look, look])
    assert sorted(_numbers(tracker)) == [1, 2]


def test_where_all_faces_look_alike_nobody_comes_back(likeness: Likeness) -> None:
    tracker, look = _tracker(likeness), _look(1)
    for i in range(3):
        _step(tracker, i, _faces(BOX, BOX + 150), [look, look])
    for i in range(3, 60):
        _step(tracker, i, _faces(BOX), [look])
    _step(tracker, 60, _faces(BOX, BOX + 150), [look, look])
    assert sorted(_numbers(tracker)) == [1, 3]  # 2 is as much like 1, who is here


def test_one_who_comes_back_later_is_known_by_looks(likeness: Likeness) -> None:
    tracker, look = _tracker(likeness), _look(1)
    _step(tracker, 0, _faces(BOX), [look])
    for i in range(1, 60):
        _step(tracker, i, _faces())
    assert tracker.tracks == []
    _step(tracker, 60, _faces(BOX + 150), [_look(2, near=look)])
    assert _numbers(tracker) == [1]
    tracker.cut()
    _step(tracker, 61, _faces(BOX), [_look(5)])
    assert _numbers(tracker) == [2]


def test_one_who_turns_to_the_camera_after_a_cut_is_whoever_that_was(likeness: Likeness) -> None:
    """In profile, nobody is known, and the track has a number of its own until a better look says whose it is."""
    tracker, look, other = _tracker(likeness), _look(1), _look(7)
    for i in range(3):
        _step(tracker, i, _faces(BOX, BOX + 150), [look, other])
    tracker.cut()
    profile = Look(_look(50).embedding, 0.05, 0.3)
    for i in (3, 4):
        _step(tracker, i, _faces(BOX + 100), [profile])
        assert tracker.recognise_late() == []
    assert _numbers(tracker) == [3]
    _step(tracker, 5, _faces(BOX + 100))
    better = _look(2, near=look)
    tracker.saw(tracker.tracks[0], Look(better.embedding, better.quality, tracker.tracks[0].last_seen))
    assert tracker.recognise_late() == [(3, 1)]
    assert tracker.recognise_late() == []
    assert list(tracker.remembered) == [2]


def test_who_is_gone_is_forgotten_in_the_end(likeness: Likeness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "REMEMBERED", 20)
    tracker = _tracker(likeness)
    for i in range(60):
        _step(tracker, i, _faces(BOX), [_look(i)])
        tracker.cut()
    assert tracker.started == 60
    assert list(tracker.remembered) == list(range(41, 61))
    assert tracker.tracks == []


# Scores


def _frame(*who: tuple[object, float], unsure: list[float] | None = None) -> LabelledFrame:
    boxes = np.array([[x, 0, x + 10, 10] for _, x in who], dtype=np.float32).reshape(-1, 4)
    vague = np.array([[x, 0, x + 10, 10] for x in unsure or []], dtype=np.float32).reshape(-1, 4)
    return LabelledFrame(tuple(str(name) for name, _ in who), boxes, vague)


def test_perfect_tracks_score_one() -> None:
    truth = [_frame(("a", 0), ("b", 50)), _frame(("a", 5), ("b", 45))]
    found = [_frame((1, 0), (2, 50)), _frame((1, 5), (2, 45))]
    scores = score_tracks(zip(truth, found, strict=True))
    assert (scores.mota, scores.idf1, scores.switches, scores.people, scores.tracks) == (1, 1, 0, 2, 2)


def test_switches_misses_and_inventions_are_counted() -> None:
    truth = [_frame(("a", 0), ("b", 50)), _frame(("a", 0), ("b", 50)), _frame(("a", 0), ("b", 50))]
    found = [_frame((1, 0), (2, 50)), _frame((2, 0), (1, 50)), _frame((2, 0), (9, 200))]
    scores = score_tracks(zip(truth, found, strict=True))
    assert (scores.switches, scores.missed, scores.invented, scores.faces) == (2, 1, 1, 6)
    assert scores.mota == pytest.approx(1 - 4 / 6)
    assert scores.idf1 == pytest.approx(2 * 3 / 12)  # a is 2 twice, b is 1 once


def test_where_nobody_is_sure_nothing_counts() -> None:
    scores = score_tracks([(_frame(("a", 0), unsure=[50]), _frame((1, 0), (2, 50)))])
    assert (scores.invented, scores.idf1) == (0, 1)


def test_no_labels_have_no_score() -> None:
    with pytest.raises(ValueError, match="no face is labelled"):
        score_tracks([(_frame(), _frame((1, 0)))])
    with pytest.raises(ValueError, match="twice"):
        _frame((1, 0), (1, 50))
