import cv2
import numpy as np
import pytest

from mien.training.augment import Augmentation, enlarge


@pytest.fixture(scope="module")
def crop(portrait_face):
    return portrait_face


@pytest.fixture(scope="module")
def portrait_face():
    picture = cv2.imread("tests/photos/astronaut.jpg")[:, :, ::-1]
    return np.ascontiguousarray(cv2.resize(picture[40:200, 150:310], (48, 48), interpolation=cv2.INTER_AREA))


def test_gives_pixels_of_the_size_asked_for(crop):
    for source in (crop, crop[..., 0]):
        changed = Augmentation()(source, 104, np.random.default_rng(0))
        assert changed.shape == (104, 104, *source.shape[2:])
        assert changed.dtype == np.float32
        assert changed.min() >= 0
        assert changed.max() <= 255


def test_is_what_its_random_numbers_say(crop):
    one, same, other = (Augmentation()(crop, 64, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).mean() > 1


def test_no_strength_is_the_plain_picture(crop):
    plain = Augmentation(strength=0)(crop, 104, np.random.default_rng(0))
    np.testing.assert_array_equal(plain, enlarge(crop, 104))


@pytest.mark.parametrize("flip", [0, 1])
def test_geometry_alone_keeps_the_face_in_place(crop, flip):
    """Averaged over many draws shifts and turns cancel out: the mean is a blurred picture of the plain one."""
    only_moves = Augmentation(flip=flip, blur=0, light=0, gradient=0, noise=0, occlusion=0, grey=0, damage=0)
    rng = np.random.default_rng(0)
    mean = np.mean([only_moves(crop, 48, rng) for _ in range(300)], axis=0)
    blurred = cv2.GaussianBlur(crop[:, ::-1] if flip else crop, (0, 0), 3)[8:40, 8:40]
    assert np.corrcoef(mean[8:40, 8:40].ravel(), blurred.ravel())[0, 1] > 0.97


def test_grey_takes_the_colour(crop):
    grey = Augmentation(grey=1, blur=0, noise=0, occlusion=0, damage=0)(crop, 48, np.random.default_rng(0))
    np.testing.assert_allclose(grey[..., 0], grey[..., 2], atol=1e-3)


NO_MOVE = {"shift": 0, "scale": 0, "rotation": 0, "flip": 0}
NOTHING_ELSE = {"blur": 0, "light": 0, "gradient": 0, "noise": 0, "occlusion": 0, "grey": 0}


@pytest.mark.parametrize("shape", ["grey", "colour"])
def test_damage_is_of_many_kinds_and_what_is_worn_lies_on_the_face(crop, shape):
    source = crop[..., 0] if shape == "grey" else crop
    damaged = Augmentation(damage=1, **NO_MOVE, **NOTHING_ELSE)
    changes = [np.abs(damaged(source, 48, np.random.default_rng(i)) - source) for i in range(60)]
    assert all(change.any() for change in changes)
    untouched = [(change.reshape(48, 48, -1).max(axis=2) < 1).mean() for change in changes]
    worn = [i for i, share in enumerate(untouched) if share > 0.5]  # light, blur and noise are everywhere
    assert 5 < len(worn) < 35
    assert len({float(np.round(changes[i].max())) for i in worn}) > 3  # of more than one lightness


def test_a_mask_goes_where_the_framing_says(crop, monkeypatch):
    monkeypatch.setattr("mien.training.augment._DAMAGE", {"mask": (1, 1)})
    low = [[10, 30], [38, 30], [24, 36], [14, 44], [34, 44]]
    masked = Augmentation(damage=1, framing=lambda _: low, **NO_MOVE, **NOTHING_ELSE)
    change = np.abs(masked(crop, 48, np.random.default_rng(0)) - crop).max(axis=2)
    assert change[:25].max() < 1
    assert (change[40:, 15:33] > 0).mean() > 0.9


def test_enlarging_is_what_the_exported_graph_does(crop):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(crop[..., 0].astype(np.float32))[None, None], (104, 104), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    assert np.abs(enlarge(crop[..., 0], 104) - expected).max() <= 1  # uint8 rounding
