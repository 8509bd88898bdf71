"""Many files: in order, each with its own answer, whatever its neighbours are."""

import threading

import numpy as np
import pytest

from mien.errors import ImageError, ModelError
from mien.many import GROUP, in_order
from mien.ops.image import load_image, save_image
from mien.types import Faces


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twenty-one pictures, each of a width of its own."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i:02}.png" for i in range(21)]
    for i, path in enumerate(paths):
        save_image(path, np.full((16, 16 + i, 3), 9 * i, np.uint8))
    return paths


class Analyse:
    """Answers with the size of each picture, and remembers what it was asked at once."""

    def __init__(self, refuse: int | None = None) -> None:
        self.asked: list[int] = []
        self.refuse, self.lock = refuse, threading.Lock()

    def __call__(self, images) -> list[Faces]:
        with self.lock:
            self.asked.append(len(images))
        if any(image.shape[1] == self.refuse for image in images):
            raise ModelError("this picture is too much")
        return [Faces.empty((image.shape[1], image.shape[0])) for image in images]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_answers_come_in_order_and_batches_grow_small_at_the_end(pictures, workers):
    analyse = Analyse()
    results = list(in_order(pictures, analyse, workers=workers, keep_images=False))
    assert [result.path for result in results] == [str(path) for path in pictures]
    assert [result.faces.image_size[0] for result in results] == [16 + i for i in range(21)]
    assert sum(analyse.asked) == 21
    assert max(analyse.asked) == (GROUP if workers < 5 else 2)
    assert [result.image for result in results] == [None] * 21


def test_few_pictures_are_spread_over_the_threads(pictures):
    analyse = Analyse()
    assert len(list(in_order(pictures[:4], analyse, workers=2, keep_images=False))) == 4
    assert analyse.asked == [1] * 4


def test_what_cannot_be_read_or_analysed_spoils_nothing_else(pictures, tmp_path):
    broken = tmp_path / "letter.png"
    broken.write_bytes(b"dear all")
    paths = [*pictures[:5], broken, *pictures[5:], tmp_path / "nowhere.jpg"]
    results = list(in_order(paths, Analyse(refuse=16 + 2), workers=1, keep_images=False))
    assert [result.path for result in results] == [str(path) for path in paths]
    failed = {result.path: result.error for result in results if result.error is not None}
    assert set(failed) == {str(pictures[2]), str(broken), str(paths[-1])}
    assert isinstance(failed[str(pictures[2])], ModelError)
    assert isinstance(failed[str(broken)], ImageError)
    assert all((result.faces is None) == (result.path in failed) for result in results)


def test_large_pictures_and_those_that_are_kept_go_one_by_one(pictures, tmp_path):
    large = [tmp_path / f"{i}.png" for i in range(9)]
    for path in large:
        save_image(path, np.zeros((3000, 3000, 3), np.uint8))
    alone = Analyse()
    assert len(list(in_order(large, alone, workers=1, keep_images=False))) == 9
    assert set(alone.asked) == {1}
    kept = Analyse()
    results = list(in_order(pictures, kept, workers=2, keep_images=True))
    assert set(kept.asked) == {1}
    for result in results:
        np.testing.assert_array_equal(result.image, load_image(result.path))


def test_who_stops_early_waits_for_few(pictures):
    analyse = Analyse()
    results = in_order(pictures, analyse, workers=1, keep_images=False)
    next(results)
    results.close()
    assert sum(analyse.asked) < 21


def test_paths_are_not_read_far_ahead(pictures):
    taken = []

    def coming():
        for path in pictures:
            taken.append(path)
            yield path

    results = in_order(coming(), Analyse(), workers=1, keep_images=False)
    next(results)
    assert len(taken) <= 3 * GROUP
    results.close()
