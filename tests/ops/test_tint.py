import numpy as np

from mien.ops.tint import tint_grey


def test_grey_crops_get_skin_colours_and_coloured_ones_stay():
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(0, 256, (1, 40, 40, 1), dtype=np.uint8), 3, axis=3)
    coloured = rng.integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    crops = np.concatenate([grey, coloured])
    tinted = tint_grey(crops)
    red, green, blue = np.moveaxis(tinted[0].astype(int), -1, 0)
    assert (red >= green).all()
    assert (green >= blue).all()
    assert red.mean() > blue.mean() + 20
    np.testing.assert_array_equal(tinted[1], coloured[0])
    np.testing.assert_array_equal(crops[0], grey[0])


def test_nothing_is_copied_without_a_grey_crop():
    coloured = np.random.default_rng(1).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    assert tint_grey(coloured) is coloured


def test_no_crops():
    assert tint_grey(np.empty((0, 40, 40, 3), np.uint8)).shape == (0, 40, 40, 3)
