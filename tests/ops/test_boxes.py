"""Box arithmetic, against the plain definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mien.ops import boxes as box_ops

EMPTY = np.zeros((0, 4), dtype=np.float32)


def some_boxes(lowest=0):
    """(N, 4) float32 whole-pixel boxes, some of them empty or inverted."""
    shape = st.tuples(st.integers(lowest, 12), st.just(4))
    return arrays.arrays(np.float32, shape, elements=st.integers(-20, 60).map(float))


def pixels(box):
    """The whole pixels of a box, as a set."""
    x1, y1, x2, y2 = box.astype(int)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


def test_no_boxes():
    assert box_ops.area(EMPTY).shape == (0,)
    assert box_ops.iou(EMPTY, EMPTY).shape == (0, 0)
    assert box_ops.iou(EMPTY, np.ones((3, 4), np.float32)).shape == (0, 3)
    assert box_ops.iou(np.ones((3, 4), np.float32), EMPTY).shape == (3, 0)
    assert box_ops.clip(EMPTY, 10, 10).shape == (0, 4)
    kept = box_ops.nms(EMPTY, np.zeros(0, np.float32), 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == np.intp


@given(some_boxes(), some_boxes())
def test_area_and_iou_count_pixels(a, b):
    result = box_ops.iou(a, b)
    assert result.shape == (len(a), len(b))
    for i, one in enumerate(a):
        assert box_ops.area(a)[i] == len(pixels(one))
        for k, other in enumerate(b):
            union = len(pixels(one) | pixels(other))
            want = len(pixels(one) & pixels(other)) / union if union else 0
            assert result[i, k] == pytest.approx(want, abs=1e-6)


@given(some_boxes(lowest=1))
def test_iou_is_symmetric_and_one_with_itself(boxes):
    result = box_ops.iou(boxes, boxes)
    np.testing.assert_array_equal(result, result.T)
    np.testing.assert_array_equal(np.diag(result), box_ops.area(boxes) > 0)


def by_definition(boxes, scores, threshold):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(box_ops.iou(boxes[i : i + 1], boxes[k : k + 1])[0, 0] <= threshold for k in kept):
            kept.append(i)
    return kept


@given(some_boxes(), st.data(), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_nms_is_greedy_and_stable(boxes, data, threshold):
    scores = data.draw(arrays.arrays(np.float32, len(boxes), elements=st.sampled_from([0.25, 0.5, 0.75])))
    assert box_ops.nms(boxes, scores, threshold).tolist() == by_definition(boxes, scores, threshold)


def test_nms_keeps_a_box_at_the_threshold_and_drops_it_above():
    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 5], [100, 0, 110, 10]])  # IoU of the first two is 0.5
    scores = np.float32([0.7, 0.8, 0.9])
    assert box_ops.nms(boxes, scores, 0.5).tolist() == [2, 1, 0]
    assert box_ops.nms(boxes, scores, 0.49).tolist() == [2, 1]


@given(some_boxes(), st.integers(1, 50), st.integers(1, 50))
def test_clip_keeps_what_is_inside(boxes, width, height):
    clipped = box_ops.clip(boxes, width, height)
    assert clipped.dtype == np.float32
    inside = pixels(np.array([0, 0, width, height]))
    for box, part in zip(boxes, clipped, strict=True):
        assert pixels(part) == pixels(box) & inside


def test_clip_brings_endless_boxes_inside():
    clipped = box_ops.clip(np.float32([[-np.inf, -1e30, np.inf, 1e30]]), 30, 20)
    np.testing.assert_array_equal(clipped, [[0, 0, 30, 20]])
