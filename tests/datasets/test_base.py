import numpy as np
import pytest

from mien.datasets.base import NO_ANSWER, ImageSet, one_hot
from mien.errors import ImageDecodeError


def image_set(values, truth, classes=2):
    """Pictures of one pixel each."""
    truth = np.asarray(truth, dtype=np.int64)

    def read(i):
        if values[i] is None:
            raise ImageDecodeError(f"{i}: not a picture")
        return np.full((1, 1, 3), values[i], dtype=np.uint8)

    items = [str(i) for i in range(len(values))]
    return ImageSet("pixels", "none", tuple("abcdef"[:classes]), items, one_hot(truth, classes), truth, read)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 items of 2 labels"):
        ImageSet("x", "none", ("a", "b"), ["1", "2"], np.zeros((3, 2), np.float32), np.zeros(2, np.int64), lambda i: i)


def test_subsets_keep_names_targets_and_pictures_together():
    images = image_set([10, 20, 30, 40], [0, 1, 1, 0]).subset([3, 1])
    assert images.items == ["3", "1"]
    assert images.truth.tolist() == [0, 1]
    assert [images.read(i)[0, 0, 0] for i in range(2)] == [40, 20]
    assert [images.subset([1]).read(0)[0, 0, 0]] == [20]


def test_parts_for_training_and_measuring():
    images = image_set([1, 2, 3], [0, NO_ANSWER, 1])
    assert images.for_measuring().items == images.for_training().items == ["0", "2"]


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_split_takes_its_share_of_every_class(fraction):
    truth = [0] * 200 + [1] * 40 + [2] * 3
    images = image_set([i % 256 for i in range(243)], truth, classes=3)
    rest, aside = images.split(fraction)
    assert sorted(rest.items + aside.items) == sorted(images.items)
    counts = np.bincount(aside.truth, minlength=3)
    assert counts[0] == pytest.approx(200 * fraction, abs=2)
    assert counts[1] == pytest.approx(40 * fraction, abs=1)
    assert 1 <= counts[2] <= 2


def test_a_split_does_not_depend_on_order_and_keeps_equal_pictures_together():
    values = [i // 2 for i in range(60)]  # each twice
    images = image_set(values, [0] * 60)
    back = image_set(values[::-1], [0] * 60)
    chosen = {values[int(item)] for item in images.split(0.3)[1].items}
    assert chosen == {values[59 - int(item)] for item in back.split(0.3)[1].items}
    assert not chosen & {values[int(item)] for item in images.split(0.3)[0].items}


def test_a_class_of_one_picture_or_of_equal_ones_stays_whole():
    rest, aside = image_set([1, 7, 7, 7], [0, 1, 1, 1]).split(0.5)
    assert len(aside) == 0
    assert len(rest) == 4


def test_what_cannot_be_read_is_not_set_aside():
    rest, aside = image_set([None, 1, 2, 3, None], [0] * 5).split(0.5)
    assert {"0", "4"} <= set(rest.items)
    assert len(aside) >= 1
