"""Sequences made of still faces: reproducible, labelled by what is shown, disturbed but not beyond what is said."""

from __future__ import annotations

import numpy as np
import pytest

from mien.datasets.base import ImageSet, one_hot
from mien.datasets.disturbances import Disturbances, _bursts, _runs
from mien.datasets.labels import EXPRESSIONS
from mien.datasets.sequences import SIZE, FacePool, SequenceOptions, sequences
from mien.errors import DataError

CALM = Disturbances(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (100.0, 100.0))


def faces(n=40, labels=EXPRESSIONS, only=None, side=SIZE):
    """Flat pictures whose brightness says what they show: 20 + 25 * label."""
    truth = np.arange(n) % (only or len(labels))
    rng = np.random.default_rng(0)
    pictures = [
        np.clip(20 + 25 * k + rng.integers(-3, 4, (side, side, 1)), 0, 255).repeat(3, 2).astype(np.uint8) for k in truth
    ]
    return ImageSet(
        "faces",
        "made",
        tuple(labels),
        [str(i) for i in range(n)],
        one_hot(truth, len(labels)),
        truth,
        pictures.__getitem__,
    )


@pytest.fixture(scope="module")
def pool():
    return FacePool(faces())


def test_a_number_and_a_seed_make_the_same_sequence_whatever_comes_before(pool):
    several = list(sequences(pool, 3, 5))
    (alone,) = sequences(pool, 1, 5, first=2)
    assert np.array_equal(several[2].crops, alone.crops)
    assert np.array_equal(several[2].times, alone.times)
    (other,) = sequences(pool, 1, 6, first=2)
    assert other.crops.shape != alone.crops.shape or not np.array_equal(other.crops, alone.crops)


def test_times_rise_and_truth_is_a_label(pool):
    for sequence in sequences(pool, 8, 0):
        n = len(sequence.times)
        assert sequence.crops.shape == (n, SIZE, SIZE)
        assert sequence.crops.dtype == np.uint8
        assert sequence.times[0] == 0
        assert (np.diff(sequence.times) > 0).all()
        assert sequence.times[-1] < 8.5
        assert 0 <= sequence.truth.min() <= sequence.truth.max() < len(EXPRESSIONS)
        assert 0.5 < sequence.seen.mean() <= 1


def test_truth_changes_half_way_between_two_faces():
    """Faces whose brightness cannot be matched away: two halves, one of which is bright."""
    rng = np.random.default_rng(0)
    pictures = []
    for k in range(20):
        picture = np.full((SIZE, SIZE, 3), 60, np.uint8)
        rows = slice(0, 24) if k % 2 else slice(24, 48)
        picture[rows] = 200
        pictures.append(np.clip(picture + rng.integers(-2, 3, picture.shape), 0, 255).astype(np.uint8))
    truth = np.arange(20) % 2
    pool = FacePool(
        ImageSet("halves", "made", EXPRESSIONS[:2], list("x" * 20), one_hot(truth, 2), truth, pictures.__getitem__)
    )
    options = SequenceOptions(relaxed=0.0, twitches=0.0)
    wrong = total = 0
    for sequence in sequences(pool, 10, 1, options, CALM):
        top, bottom = sequence.crops[:, 6:18].mean(axis=(1, 2)), sequence.crops[:, 30:42].mean(axis=(1, 2))
        clear = np.abs(top - bottom) > 60
        wrong += int(((top > bottom) != (sequence.truth == 1))[clear].sum())
        total += int(clear.sum())
        assert len(np.unique(sequence.truth)) == 2
    assert total > 200
    assert wrong / total < 0.03


def test_nothing_disturbs_where_nothing_is_asked_for(pool):
    still = SequenceOptions(relaxed=0.0, twitches=0.0, rest=(30, 40), hold=(30, 40))
    for sequence in sequences(pool, 5, 2, still, CALM):
        assert sequence.seen.all()
        held = sequence.crops[sequence.truth == sequence.truth[0]]
        assert np.abs(held.astype(int) - held[0]).max() <= 2


def test_disturbances_do_something(pool):
    changed = [np.abs(np.diff(s.crops.astype(int), axis=0)).mean() for s in sequences(pool, 4, 4)]
    still = [np.abs(np.diff(s.crops.astype(int), axis=0)).mean() for s in sequences(pool, 4, 4, None, CALM)]
    assert np.mean(changed) > 3 * np.mean(still)


def test_bursts_begin_on_a_frame_and_last_as_long_as_they_should():
    rng = np.random.default_rng(0)
    times = np.arange(0, 100, 0.1)
    going = _bursts(times, 0.1, (1.0, 1.0), rng)
    lengths = [len(run) for run in _runs(going)]
    assert 3 <= len(lengths) <= 20
    assert min(lengths) >= 9
    assert not _bursts(times, 0.0, (1.0, 1.0), rng).any()
    assert _runs(np.zeros(5, bool)) == []


def test_rare_expressions_come_more_often_than_they_are(pool):
    truth = np.array([0] * 50 + [1] * 45 + [7] * 5)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8) for _ in truth]
    few = FacePool(ImageSet("few", "made", EXPRESSIONS, ["x"] * 100, one_hot(truth, 8), truth, pictures.__getitem__))
    drawn = [few.expression(rng) for _ in range(2000)]
    assert set(drawn) == {1, 7}
    assert 0.15 < np.mean(np.array(drawn) == 7) < 0.35
    assert all(few.expression(rng, but=1) == 7 for _ in range(20))


def test_other_names_are_put_in_the_order_of_expressions():
    pool = FacePool(faces(labels=("happiness", "neutral")))
    assert pool.labels == EXPRESSIONS
    assert set(pool.truth) == {0, 1}
    assert pool.crops[pool.truth == 1].mean() < pool.crops[pool.truth == 0].mean()  # happiness was made the darker


def test_pictures_of_any_shape_are_brought_to_size():
    assert FacePool(faces(side=60)).crops.shape[1:] == (SIZE, SIZE)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (faces(only=1), "need neutral faces and others"),
        (faces(n=0), "need neutral faces and others"),
        (faces(labels=("neutral", "smirk")), "'smirk' is none of"),
    ],
)
def test_faces_that_make_no_sequences(pictures, message):
    with pytest.raises(DataError, match=message):
        FacePool(pictures)
