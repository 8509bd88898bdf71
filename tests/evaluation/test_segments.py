"""Segments of tracks, and how they fit."""

import numpy as np

from mien.evaluation.segments import Segment, latency, matched, segments


def test_runs_become_segments_and_rest_is_none():
    states = np.array([0, 0, 1, 1, 1, 0, 2, -1, 2])
    times = np.arange(9) * 0.5
    assert segments(states, times) == [Segment(1, 1.0, 2.5), Segment(2, 3.0, 3.5), Segment(2, 4.0, 4.5)]
    assert segments(np.array([0, 0]), times[:2]) == []
    assert segments(np.array([], np.int64), np.array([])) == []
    (lonely,) = segments(np.array([3]), np.array([2.0]))
    assert lonely.start == 2.0
    assert lonely.end > 2.0


def test_uneven_times_count_as_they_are():
    (found,) = segments(np.array([0, 1, 1, 0]), np.array([0.0, 0.1, 2.0, 2.1]))
    assert (found.start, found.end) == (0.1, 2.1)


def test_iou():
    assert Segment(1, 0, 2).iou(Segment(1, 1, 3)) == 1 / 3
    assert Segment(1, 0, 1).iou(Segment(1, 2, 3)) == 0
    assert Segment(1, 0, 1).iou(Segment(1, 0, 1)) == 1


def test_each_segment_is_in_one_pair_and_the_best_come_first():
    true = [Segment(1, 0, 4), Segment(2, 5, 6)]
    found = [Segment(1, 0, 3), Segment(1, 0, 3.9), Segment(1, 5, 6)]
    assert matched(found, true) == [(found[1], true[0])]
    assert matched([], true) == []
    halves = [Segment(1, 0, 2), Segment(1, 2, 4)]
    assert len(matched(halves, true)) == 1  # an IoU of exactly a half fits, but the segment is taken once


def test_latency_is_from_the_true_start():
    times = np.arange(10) * 0.1
    states = np.array([1, 1, 0, 0, 0, 1, 1, 0, 0, 0])
    segment = Segment(1, 0.3, 0.9)
    assert np.isclose(latency(states, times, segment), 0.2)
    assert latency(states, times, Segment(2, 0.3, 0.9)) is None
