from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from mien.errors import DataError
from mien.gallery.grouping import clustering
from mien.gallery.grouping.clustering import cluster
from mien.gallery.grouping.grouping import GroupingRule, distance_at, grouping_rule
from mien.models.dlib_resnet import RECORD
from mien.ops.similarity import from_distance


def people(n: int, faces: int, *, seed: int = 0, spread: float = 0.2, d: int = 16):
    """(N, D) embeddings of n people and whom each shows, shuffled."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(n), faces))
    centres = rng.normal(size=(n, d))
    return (centres[who] + spread * rng.normal(size=(len(who), d))).astype(np.float32), who


def together(labels) -> np.ndarray:
    labels = np.asarray(labels)
    return labels[:, None] == labels


@pytest.mark.parametrize("n", [2, 5, 60, 500])
@pytest.mark.parametrize("threshold", [1.5, 2.0, 2.5])
def test_it_is_average_linkage_on_squared_distances(n, threshold):
    rng = np.random.default_rng(n)
    centres = rng.normal(size=(n // 3 + 1, 16))
    x = (centres[rng.integers(0, len(centres), n)] + 0.35 * rng.normal(size=(n, 16))).astype(np.float32)
    wanted = fcluster(linkage(pdist(x.astype(float), "sqeuclidean"), "average"), threshold**2, "distance")
    found = cluster(x, threshold=threshold, min_size=1).labels
    assert (together(found) == together(wanted)).all()


def test_blocks_change_nothing(monkeypatch):
    x, _ = people(60, 5, spread=0.5)
    whole = cluster(x, threshold=2.2, caution=0.3)
    monkeypatch.setattr(clustering, "_BLOCK", 700)
    in_blocks = cluster(x, threshold=2.2, caution=0.3)
    assert whole.labels.tolist() == in_blocks.labels.tolist()
    assert len(whole.numbers) > 10


def test_people_are_found_and_numbered_by_size():
    x, who = people(6, 4)
    x = np.concatenate([x, x[who == 3] + np.float32(0.01), np.full((1, 16), 9, np.float32)])
    who = np.concatenate([who, np.full(4, 3), [-1]])
    found = cluster(x, threshold=1.5)
    assert (found.labels == 0).tolist() == (who == 3).tolist()
    assert found.labels[-1] == -1
    assert (together(found.labels[:-1]) == together(who[:-1])).all()
    assert found.numbers.tolist() == [0, 1, 2, 3, 4, 5]
    firsts = [np.flatnonzero(found.labels == i)[0] for i in range(1, 6)]
    assert firsts == sorted(firsts)


def test_medoids_are_nearest_to_all_others():
    x, _ = people(8, 9, spread=0.4)
    found = cluster(x, threshold=2.0)
    for number, medoid in zip(found.numbers, found.medoids, strict=True):
        member = np.flatnonzero(found.labels == number)
        sums = ((x[member, None].astype(float) - x[member]) ** 2).sum(axis=(1, 2))
        assert medoid == member[sums.argmin()]


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_faces_to_group(n):
    found = cluster(np.ones((n, 128), np.float32), threshold=0.5)
    assert found.labels.tolist() == [-1] * n
    assert (found.labels.dtype, found.numbers.size, found.medoids.size) == (np.int64, 0, 0)
    assert cluster(np.ones((n, 128), np.float32), threshold=0.5, min_size=1).labels.tolist() == [0] * n


def test_cannot_links_are_respected_however_near():
    x, who = people(3, 6)
    first = np.flatnonzero(who == 0)
    pairs = [(first[0], first[1]), (first[1], first[2]), (first[0], first[2])]
    found = cluster(x, threshold=1.5, cannot_link=pairs, min_size=1)
    assert len(set(found.labels[first[:3]])) == 3
    assert together(found.labels[who > 0])[0].any()
    assert len(found.numbers) == 5  # the other three of that person are shared out among the three
    same = np.zeros((2, 4), np.float32)
    assert cluster(same, threshold=1, cannot_link=[(1, 0)], min_size=1).labels.tolist() == [0, 1]
    assert cluster(same, threshold=1, cannot_link=[(0, 0)], min_size=1).labels.tolist() == [0, 0]


def test_random_cannot_links_hold_in_every_group():
    x, _ = people(12, 12, spread=0.9, seed=4)
    pairs = np.random.default_rng(1).integers(0, len(x), (300, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    labels = cluster(x, threshold=5.5, cannot_link=pairs, min_size=1, caution=0.2).labels
    assert (labels[pairs[:, 0]] != labels[pairs[:, 1]]).all()
    assert len(set(labels)) < len(x) / 4


def test_new_faces_join_known_groups_or_form_new_ones():
    x, who = people(5, 8, seed=2)
    order = np.argsort(who, kind="stable")
    x, who = x[order], who[order]
    known = np.full(len(x), -1)
    known[who == 1] = 40
    known[(who == 2) & (np.arange(len(x)) % 2 == 0)] = 7
    labels = cluster(x, threshold=1.5, known=known).labels
    assert set(labels[who == 1]) == {40}
    assert set(labels[who == 2]) == {7}
    assert set(labels[(who != 1) & (who != 2)]) == {41, 42, 43}


def test_known_groups_stay_apart_and_whole_unless_asked():
    x, who = people(2, 10)
    known = np.where(who == 0, np.where(np.arange(20) % 2, 3, 5), -1)
    stay = cluster(x, threshold=1.5, known=known)
    assert (stay.labels[known >= 0] == known[known >= 0]).all()
    merged = cluster(x, threshold=1.5, known=known, merge_known=True)
    assert set(merged.labels[who == 0]) == {3}
    odd = np.where(np.arange(20) < 10, 0, -1)  # strangers in one group: not ours to split
    assert (cluster(x, threshold=1.5, known=odd).labels[:10] == 0).all()


def test_growing_step_by_step_gives_the_people_too():
    x, who = people(10, 10, seed=3)
    labels = cluster(x[:30], threshold=1.5).labels
    for end in (60, 100):
        earlier = labels
        labels = cluster(x[:end], threshold=1.5, known=np.append(labels, np.full(end - len(labels), -1))).labels
        grouped = earlier >= 0
        assert (labels[: len(earlier)][grouped] == earlier[grouped]).all()
    assert (together(labels) == together(who)).all()


def test_many_copies_are_no_more_work():
    x = np.repeat(people(2, 1)[0], 20_000, axis=0)  # as many rounds as copies would take hours
    labels = cluster(x, threshold=1.0).labels
    assert (np.bincount(labels) == 20_000).all()


def test_caution_keeps_single_faces_apart_but_not_groups():
    x = np.array([[0, 0], [0, 0.1], [0, -0.1], [0.5, 0], [0.5, 0.1], [0.5, -0.1], [9, 0], [9.5, 0]], np.float32)
    assert cluster(x, threshold=0.6).labels.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert cluster(x, threshold=0.6, caution=0.09).labels.tolist() == [0, 0, 0, 0, 0, 0, -1, -1]


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_the_order_of_faces_does_not_matter(scale):
    x, _ = people(30, 6, spread=0.6, seed=7)
    order = np.random.default_rng(0).permutation(len(x))
    one, other = (cluster(faces, threshold=2.4, caution=scale).labels for faces in (x, x[order]))
    assert (together(one[order]) == together(other)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embeddings": np.zeros(3, np.float32)}, "expected"),
        ({"embeddings": np.full((2, 3), np.nan, np.float32)}, "finite"),
        ({"known": [0]}, "known has shape"),
        ({"cannot_link": [(0, 2)]}, "cannot_link"),
        ({"cannot_link": [(-1, 0)]}, "cannot_link"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cluster(**{"embeddings": np.zeros((2, 3), np.float32), "threshold": 1.0, **arguments})


def test_thresholds_are_similarities_of_either_metric():
    for similarity in (-0.5, 0.0, 0.54, 0.9):
        assert from_distance(np.float64(distance_at(similarity, "l2"))) == pytest.approx(similarity)
        assert 1 - distance_at(similarity, "cosine") ** 2 / 2 == pytest.approx(similarity)
    with pytest.raises(DataError, match="no similarity"):
        distance_at(1.0, "l2")


def test_cosine_embeddings_are_compared_by_angle():
    x = np.array([[1, 0], [50, 1], [0, 1], [0.1, 30]], np.float32)
    assert GroupingRule("cosine", 0.5)(x, threshold=0.5).labels.tolist() == [0, 0, 1, 1]


def test_rules_of_models():
    fast, accurate = (grouping_rule(RECORD, mode) for mode in ("fast", "accurate"))
    assert fast.scale is not None
    assert fast.scale.centroids.shape[1] == RECORD.dimensions
    assert 0.4 < fast.threshold_or(None) < 0.7
    assert accurate.threshold_or(0.25) == 0.25
    other = grouping_rule(RECORD, "another mode")
    assert other.scale is None
    with pytest.raises(DataError, match="--threshold"):
        other.threshold_or(None)
