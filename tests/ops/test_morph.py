"""Morphs between pictures."""

import cv2
import numpy as np

from mien.ops.morph import morph_between


def spot(x, y):
    picture = np.full((48, 48), 60, np.uint8)
    cv2.circle(picture, (x, y), 7, 200, -1)
    return cv2.GaussianBlur(picture, (0, 0), 2.0)


def centre(picture):
    weights = np.maximum(picture.astype(float) - 90, 0)
    rows, columns = np.indices(picture.shape)
    return float((weights * columns).sum() / weights.sum()), float((weights * rows).sum() / weights.sum())


def test_both_ends_are_the_pictures():
    way = morph_between(spot(18, 24), spot(30, 24))
    assert np.array_equal(way.at(0.0), spot(18, 24))
    assert np.array_equal(way.at(1.0), spot(30, 24))
    assert np.array_equal(way.at(-1), way.at(0))


def test_what_moves_is_in_between_half_way():
    """A cross-fade would show two pale spots; a morph shows one."""
    way = morph_between(spot(20, 24), spot(27, 24))
    half = way.at(0.5)
    x, y = centre(half)
    assert abs(x - 23.5) < 1
    assert abs(y - 24) < 1
    faded = (spot(20, 24).astype(float) + spot(27, 24)) / 2
    assert half[24, 23] >= faded[24, 23]
    assert half[24, 14] < faded[24, 14] - 10


def test_flat_pictures_stay_flat():
    flat = np.full((48, 48), 90, np.uint8)
    assert np.allclose(morph_between(flat, flat).at(0.3), 90, atol=1)
