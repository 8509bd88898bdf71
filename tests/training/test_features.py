"""HOG and LBP: what they are on pictures that can be worked out, and the graph that a model carries."""

from __future__ import annotations

import numpy as np
import pytest

from mien.errors import DataError
from mien.models.base import RuntimeOptions
from mien.models.runtime import Session
from mien.training.classical_graph import LinearHead, build
from mien.training.features import FEATURES, LBP_CODES, FeatureSpec, describe, to_grey
from tests.training.portraits import variants


def ramp(size: int = 48) -> np.ndarray:
    """Brighter to the right."""
    row = np.arange(size, dtype=np.uint8) * 4
    return np.repeat(np.broadcast_to(row, (size, size))[:, :, None], 3, axis=2).copy()


def test_lengths():
    assert [FeatureSpec(name).dimensions for name in FEATURES] == [900, 36 * 59, 900 + 36 * 59]
    assert describe(np.zeros((0, 48, 48, 3), np.uint8), FeatureSpec()).shape == (0, 900)


def test_hog_votes_for_the_direction_of_the_gradient():
    across = describe(ramp()[None], FeatureSpec("hog")).reshape(5, 5, 2, 2, 9)
    down = describe(ramp().swapaxes(0, 1)[None].copy(), FeatureSpec("hog")).reshape(5, 5, 2, 2, 9)
    assert (across[..., 1:] == 0).all()
    assert (across[..., 0] > 0).all()
    assert (down.argmax(axis=-1) == 4).all()  # 80 to 100 degrees


def test_lbp_shares_sum_to_one_in_every_cell():
    x = describe(np.stack(variants("Hopper", 3)), FeatureSpec("lbp"))
    np.testing.assert_allclose((x.reshape(3, 36, LBP_CODES) ** 2).sum(axis=2), 1, atol=1e-5)


def test_light_changes_little_and_another_face_much():
    face, other = variants("Hopper", 1)[0], variants("Collins", 1)[0]
    darker = (face * 0.6).astype(np.uint8)
    for name in FEATURES:
        x, y, z = describe(np.stack([face, darker, other]), FeatureSpec(name))
        assert np.linalg.norm(x - y) < 0.7 * np.linalg.norm(x - z)


def test_grey_is_rounded_and_keeps_grey_pixels():
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    np.testing.assert_array_equal(to_grey(greys)[0], np.arange(256))
    assert to_grey(np.array([[[255, 0, 0]]], np.uint8)) == 76


@pytest.mark.parametrize("spec", [FeatureSpec("hog+lbp"), FeatureSpec("hog", 50, orientations=6, cell=5, block=3)])
def test_the_graph_computes_what_scikit_image_does(spec):
    rng = np.random.default_rng(0)
    faces = [variants(person, 5, spec.size) for person in ("Hopper", "Collins")]
    noise = rng.integers(0, 256, (4, spec.size, spec.size, 3), dtype=np.uint8)
    flat = np.full((1, spec.size, spec.size, 3), 201, np.uint8)
    crops = np.concatenate([*faces, noise, flat, ramp(spec.size)[None]])
    identity = LinearHead(np.eye(spec.dimensions, dtype=np.float32), np.zeros(spec.dimensions, np.float32))
    (found,) = Session(build(spec, identity, {}), RuntimeOptions(threads=1))(crops)
    wanted = describe(crops, spec)
    hog = slice(0, spec.hog_dimensions)
    np.testing.assert_allclose(found[:, hog], wanted[:, hog], atol=2e-6)
    # A neighbour of exactly the centre's brightness may fall to either side in float32: one pixel in thousands.
    off = np.abs(found - wanted) > 1e-5
    assert off.mean() < 1e-3


def test_impossible_features_are_refused():
    for wrong in ({"name": "sift"}, {"size": 8}, {"size": 1000}, {"size": 24, "block": 9}, {"size": 256, "cell": 4}):
        with pytest.raises(DataError):
            FeatureSpec(**wrong)


def test_crops_of_another_size_are_refused():
    with pytest.raises(ValueError, match="48"):
        describe(np.zeros((1, 47, 48, 3), np.uint8), FeatureSpec())
    with pytest.raises(ValueError, match="float"):
        describe(np.zeros((1, 48, 48, 3), np.float32), FeatureSpec())
