import numpy as np
import pytest

from mien.errors import WeightsError
from mien.ops.density import DensityScale


def made_up() -> DensityScale:
    rng = np.random.default_rng(0)
    crowd = rng.normal(0, 0.05, (20, 8)) + 1.0
    rest = rng.normal(0, 1.0, (20, 8)) - 1.0
    return DensityScale(np.zeros(8, np.float32), np.concatenate([crowd, rest]).astype(np.float32), 1.0)


def test_strangers_in_a_crowd_are_moved_apart_and_lonely_ones_together():
    scale = made_up()
    crowd = np.array([[1.1] * 8, [0.9] * 8], dtype=np.float32)
    lonely = -5 * crowd
    for pair, farther in ((crowd, True), (lonely, False)):
        a, b = scale(pair)
        assert (np.linalg.norm(a - b) > np.linalg.norm(pair[0] - pair[1])) == farther


def test_survives_storage():
    scale = made_up()
    stored = DensityScale.from_bytes(scale.to_bytes())
    x = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    np.testing.assert_allclose(stored(x), scale(x), rtol=5e-3, atol=5e-3)
    with pytest.raises(WeightsError):
        DensityScale.from_bytes(b"PK")
