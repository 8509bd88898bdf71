"""Alignment: transforms against their definition, crops against patterns known between the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.ops import align
from mien.types import Faces

TEMPLATE = np.float32(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
SIZE = 112


def similarity(scale, angle, x, y):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[[cos, -sin, x], [sin, cos, y]]])


similarities = st.builds(
    similarity,
    st.floats(1e-2, 1e2),
    st.floats(-np.pi, np.pi),
    st.floats(-1e4, 1e4),
    st.floats(-1e4, 1e4),
)


def faces_of(landmarks, boxes=((100, 200, 180, 310),)):
    return Faces(np.float32(boxes), np.ones(len(boxes)), np.float32(landmarks), (400, 400))


def test_no_faces():
    empty = align.similarity_transforms(np.zeros((0, 5, 2), np.float32), TEMPLATE)
    assert empty.shape == (0, 2, 3)
    assert empty.dtype == np.float64
    assert align.crop_transforms(Faces.empty((10, 10)), TEMPLATE, SIZE).shape == (0, 2, 3)
    assert align.invert(empty).shape == (0, 2, 3)
    assert align.apply(empty, np.zeros((0, 5, 2))).shape == (0, 5, 2)
    crops = align.extract_crops(np.zeros((10, 10, 3), np.uint8), empty, SIZE)
    assert crops.shape == (0, SIZE, SIZE, 3)
    assert crops.dtype == np.uint8


@given(similarities)
def test_there_and_back(transform):
    """Exact to 1e-9 of the coordinates at hand."""
    points = TEMPLATE[None].astype(np.float64) * 20 - 500
    there = align.apply(transform, points)
    back = align.apply(align.invert(transform), there)
    scale = np.hypot(*transform[0, :, 0])
    assert np.abs(back - points).max() <= 1e-9 * max(1.0, np.abs(transform[0, :, 2]).max() / scale)
    again = align.invert(align.invert(transform))
    np.testing.assert_allclose(again, transform, rtol=1e-9, atol=1e-9)


@given(similarities)
def test_a_similarity_is_found_again(transform):
    """Landmarks that are the template seen through a similarity give that similarity back."""
    landmarks = align.apply(align.invert(transform), TEMPLATE[None])
    found = align.similarity_transforms(landmarks, TEMPLATE)
    np.testing.assert_allclose(align.apply(found, landmarks)[0], TEMPLATE, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_it_is_the_least_squares_one(seed):
    """Noise on the landmarks: it is what a general least-squares solver finds."""
    rng = np.random.default_rng(seed)
    landmarks = (TEMPLATE * rng.uniform(0.5, 4) + rng.normal(0, 5, (5, 2)) + rng.uniform(0, 300, 2)).astype(np.float64)
    (found,) = align.similarity_transforms(landmarks[None], TEMPLATE)
    # x' = a x - b y + c, y' = b x + a y + d as one linear system
    x, y = landmarks.T
    one, zero = np.ones(5), np.zeros(5)
    system = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, c, d = np.linalg.lstsq(system, TEMPLATE.T.reshape(-1).astype(np.float64), rcond=None)[0]
    np.testing.assert_allclose(found, [[a, -b, c], [b, a, d]], rtol=1e-6, atol=1e-6)


def test_never_mirrored():
    mirrored = TEMPLATE * [-1, 1] + [112, 0]
    transforms = align.similarity_transforms(mirrored[None].astype(np.float32), TEMPLATE)
    assert np.linalg.det(transforms[0, :, :2]) > 0


def upright(transform):
    return transform[0, 1] == transform[1, 0] == 0 and transform[0, 0] == transform[1, 1] > 0


INF, NAN = np.inf, np.nan
DEGENERATE = {
    "one point": np.full((5, 2), 140.0),
    "zero": np.zeros((5, 2)),
    "nearly one point": np.full((5, 2), 140.0) + np.arange(10).reshape(5, 2) * 1e-4,
    "not a number": np.full((5, 2), NAN),
    "one not a number": np.where(np.arange(10).reshape(5, 2) == 3, NAN, TEMPLATE),
    "infinite": np.full((5, 2), INF),
    "one infinite": np.where(np.arange(10).reshape(5, 2) == 3, -INF, TEMPLATE),
    "far out": np.where(np.arange(10).reshape(5, 2) == 3, 3e38, TEMPLATE),
    "all far out": TEMPLATE * 1e36,
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_landmarks_give_a_finite_crop(name):
    landmarks = np.float32(DEGENERATE[name])
    transforms = align.crop_transforms(faces_of(landmarks[None]), TEMPLATE, SIZE)
    assert np.isfinite(transforms).all()
    assert upright(transforms[0])
    centre = align.apply(transforms, np.array([[[140.0, 255.0]]]))[0, 0]
    np.testing.assert_allclose(centre, TEMPLATE.mean(axis=0), atol=1e-4)
    box = align.apply(transforms, np.array([[[100.0, 200.0], [180.0, 310.0]]]))[0]
    assert box.min() > 0
    assert box.max() < 1.05 * SIZE
    assert box[1, 1] - box[0, 1] > SIZE / 2
    crops = align.extract_crops(np.full((400, 400, 3), 9, np.uint8), transforms, SIZE)
    assert crops.shape == (1, SIZE, SIZE, 3)


def test_landmarks_that_fit_at_no_angle_give_a_finite_crop():
    """Spread out, and yet of scale zero: orthogonal to the template, upright and turned by 90 degrees."""
    centred = (TEMPLATE - TEMPLATE.mean(axis=0)).astype(np.float64)
    turned = centred @ [[0, 1], [-1, 0]]
    landmarks = np.random.default_rng(0).normal(0, 30, (5, 2))
    landmarks -= landmarks.mean(axis=0)
    for direction in (centred, turned):
        landmarks -= direction * (landmarks * direction).sum() / (direction**2).sum()
    transforms = align.crop_transforms(faces_of((landmarks + 200)[None]), TEMPLATE, SIZE)
    assert upright(transforms[0])


def test_a_degenerate_face_does_not_touch_the_others():
    good = np.float32(TEMPLATE * 2 + 30)
    landmarks = np.stack([good, np.full((5, 2), NAN, np.float32), good])
    boxes = [(50, 50, 250, 250)] * 3
    transforms = align.crop_transforms(faces_of(landmarks, boxes), TEMPLATE, SIZE)
    np.testing.assert_array_equal(transforms[0], align.similarity_transforms(good[None], TEMPLATE)[0])
    np.testing.assert_array_equal(transforms[0], transforms[2])
    assert upright(transforms[1])


@given(st.lists(st.floats(width=32), min_size=10, max_size=10))
def test_any_landmarks_give_a_finite_crop(values):
    landmarks = np.array(values, dtype=np.float32).reshape(1, 5, 2)
    transforms = align.crop_transforms(faces_of(landmarks), TEMPLATE, SIZE)
    assert np.isfinite(transforms).all()
    assert np.abs(np.linalg.det(transforms[:, :, :2])).min() > 0
    image = np.full((40, 40, 3), 9, np.uint8)
    assert align.extract_crops(image, transforms, SIZE).max() <= 9


def waves(x, y):
    """A smooth pattern that is known between the pixels; (..., 3) in [28, 228], 60 picture pixels a wave."""
    phases = (x / 60, y / 60, (x + 2 * y) / 120)
    return np.stack([128 + 100 * np.sin(2 * np.pi * phase) for phase in phases], axis=-1)


def sampled(transform, size):
    """What a crop of the pattern ought to show, and where it lies."""
    v, u = np.mgrid[:size, :size].astype(np.float64)
    places = align.apply(align.invert(transform), np.stack([u, v], -1).reshape(1, -1, 2)).reshape(size, size, 2)
    return waves(places[..., 0], places[..., 1]), places


PICTURE = np.round(waves(*np.meshgrid(np.arange(700.0), np.arange(600.0)))).astype(np.uint8)


@pytest.mark.parametrize("scale", [3.0, 1.0, 0.8, 0.51, 0.5, 0.45, 0.34, 0.2, 0.13])
@pytest.mark.parametrize("angle", [0.0, 0.3, -2.0])
def test_crops_lie_where_they_should_to_parts_of_a_pixel(scale, angle):
    (transform,) = similarity(scale, angle, 0, 0)
    size = 60
    transform[:, 2] = size / 2 - transform[:, :2] @ [330.4, 290.7]
    expected, places = sampled(transform[None], size)
    (crop,) = align.extract_crops(PICTURE, transform[None], size)
    inner = ((places > 20) & (places < [680, 580])).all(axis=-1)
    # Averaging blocks flattens the waves a little: compare place by what correlates with their slope.
    error = crop[inner].astype(float) - expected[inner]
    limit = 4 + 3 / scale  # ten levels a picture pixel
    assert np.abs(error).max() < limit
    x, y = places[inner].T
    slopes = np.stack([np.cos(2 * np.pi * x / 60), np.cos(2 * np.pi * y / 60)], 1) * 100 * 2 * np.pi / 60
    for axis in (0, 1):
        shift = (error[:, axis] * slopes[:, axis]).sum() / (slopes[:, axis] ** 2).sum()  # picture pixels
        assert abs(shift) < 0.02 + 1 / 64 / scale  # OpenCV 4 rounds places to 32nds


@pytest.mark.parametrize("factor", [2, 3, 4, 10])
def test_a_face_many_times_larger_than_its_crop_comes_out_the_same(factor):
    small = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    large = small.repeat(factor, axis=0).repeat(factor, axis=1)
    # pixel centres: small = (large - (factor - 1) / 2) / factor
    shift = -(factor - 1) / 2 / factor
    (transform,) = similarity(1 / factor, 0, shift, shift)
    (crop,) = align.extract_crops(large, transform[None], SIZE)
    assert np.abs(crop.astype(int) - small).max() <= 1


@pytest.mark.parametrize("factor", [2.0, 2.9, 5.3, 10.0])
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_fine_texture_does_not_alias(factor, angle):
    board = (np.indices((1600, 1600)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(board[..., None], 3, axis=2)
    (transform,) = similarity(1 / factor, angle, 0, 0)
    transform[:, 2] = SIZE / 2 - transform[:, :2] @ [800.0, 800.0]
    (crop,) = align.extract_crops(image, transform[None], SIZE)
    assert np.abs(crop.astype(int) - 127.5).max() < 30


@pytest.mark.parametrize("scale", [2.0, 0.7, 0.1])
def test_outside_the_picture_is_black(scale):
    image = np.full((200, 300, 3), 200, np.uint8)
    for x, y in [(-5000, 100), (5000, 100), (100, -5000), (100, 5000), (1e6, 1e6)]:
        (transform,) = similarity(scale, 0.2, 0, 0)
        transform[:, 2] = SIZE / 2 - transform[:, :2] @ [x, y]
        assert not align.extract_crops(image, transform[None], SIZE).any()
    (transform,) = similarity(scale, 0, 0, 0)
    transform[:, 2] = SIZE / 2 - transform[:, :2] @ [0, 100]  # the crop's middle is the picture's left edge
    (crop,) = align.extract_crops(image, transform[None], SIZE)
    middle = crop[SIZE // 2, :, 0]
    assert not middle[: SIZE // 2 - 2].any()
    assert (middle[SIZE // 2 + 2 : SIZE // 2 + 10] == 200).all()


def test_crops_of_many_faces_are_those_of_each():
    transforms = np.concatenate([similarity(s, a, -20, 10) for s, a in [(1, 0), (0.3, 0.1), (2, -0.4)]])
    together = align.extract_crops(PICTURE, transforms, SIZE)
    for transform, crop in zip(transforms, together, strict=True):
        np.testing.assert_array_equal(align.extract_crops(PICTURE, transform[None], SIZE)[0], crop)


@pytest.mark.parametrize("shape", [(40, 40_000), (40_000, 40)])
@pytest.mark.parametrize("scale", [1.0, 0.7, 0.3])
def test_pictures_longer_than_opencv_warps(shape, scale):
    """OpenCV 4 refuses to warp pictures of 32,768 pixels and more a side."""
    image = np.zeros((*shape, 3), np.uint8)
    image[-60:, -60:] = 200
    (transform,) = similarity(scale, 0, 0, 0)
    transform[:, 2] = SIZE / 2 - transform[:, :2] @ [shape[1] - 20, shape[0] - 20]
    (crop,) = align.extract_crops(image, transform[None], SIZE)
    assert (crop[SIZE // 2 - 3 : SIZE // 2 + 3, SIZE // 2 - 3 : SIZE // 2 + 3] == 200).all()


def test_views_of_a_picture_are_fine():
    transform = similarity(0.9, 0.1, -20, -10)
    turned = PICTURE[::-1, ::2]
    expected = align.extract_crops(np.ascontiguousarray(turned), transform, SIZE)
    np.testing.assert_array_equal(align.extract_crops(turned, transform, SIZE), expected)


def test_the_picture_is_left_alone():
    before = PICTURE.copy()
    align.extract_crops(PICTURE, similarity(0.3, 0.1, -20, -10), SIZE)
    np.testing.assert_array_equal(PICTURE, before)
