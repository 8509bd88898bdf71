from __future__ import annotations

import json
from itertools import combinations
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.cluster import DBSCAN
from sklearn.metrics import pair_confusion_matrix

from mien.errors import DataError
from mien.evaluation import clustering
from mien.evaluation.clustering import b_cubed, dbscan, evaluate_clustering, pairwise
from mien.evaluation.people import People, read_people
from mien.gallery.grouping.grouping import GroupingRule

faces = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=2, max_size=25)


def test_a_worked_example():
    """Amigó et al. 2009, as counted by hand: three of A and one of B together, one A and one B alone."""
    people, clusters = list("AAABAB"), [0, 0, 0, 0, -1, 1]
    pairs, cubes = pairwise(people, clusters), b_cubed(people, clusters)
    assert (pairs.precision, pairs.recall) == (3 / 6, 3 / 7)
    assert pairs.f1 == pytest.approx(2 * 3 / 13)
    assert cubes.precision == pytest.approx((3 * 3 / 4 + 1 / 4 + 1 + 1) / 6)
    assert cubes.recall == pytest.approx((3 * 3 / 4 + 1 / 4 + 2 * 1 / 2) / 6)


def test_perfect_and_worst():
    people = np.array([5, 5, 7, 7, 9])
    for agreement in (pairwise(people, [1, 1, 0, 0, -1]), b_cubed(people, [1, 1, 0, 0, -1])):
        assert agreement.to_dict() == {"precision": 1, "recall": 1, "f1": 1}
    apart = pairwise(people, [-1] * 5)
    assert (apart.precision, apart.recall, apart.f1) == (1, 0, 0)
    assert b_cubed(people, [-1] * 5).recall == pytest.approx(3 / 5)
    assert pairwise([], []).f1 == b_cubed([], []).f1 == 1
    assert pairwise([1, 2], [-1, -1]).f1 == 1


@settings(deadline=None)
@given(faces)
def test_both_are_what_their_definitions_say(given_faces):
    people = [person for person, _ in given_faces]
    clusters = [cluster if cluster >= 0 else 100 + i for i, (_, cluster) in enumerate(given_faces)]
    raw = [cluster for _, cluster in given_faces]
    (_, wrong), (missed, right) = pair_confusion_matrix(people, clusters)
    pairs = pairwise(people, raw)
    assert pairs.precision == pytest.approx(right / (right + wrong) if right + wrong else 1)
    assert pairs.recall == pytest.approx(right / (right + missed) if right + missed else 1)
    shares = []
    for person, cluster in zip(people, clusters, strict=True):
        mates = [p for p, c in zip(people, clusters, strict=True) if c == cluster]
        shares.append(mates.count(person) / len(mates))
    assert b_cubed(people, raw).precision == pytest.approx(np.mean(shares))
    assert b_cubed(clusters, np.array(people)).recall == pytest.approx(np.mean(shares))  # one is the other's mirror


def test_as_many_people_as_clusters():
    with pytest.raises(ValueError, match="expected one of each"):
        pairwise([1, 2], [1])


@pytest.mark.parametrize("min_samples", [1, 2, 5])
@pytest.mark.parametrize("block", [1, 1 << 24])
def test_dbscan_is_scikit_learns(min_samples, block, monkeypatch):
    monkeypatch.setattr(clustering, "_BLOCK", block)
    rng = np.random.default_rng(min_samples)
    x = (rng.normal(size=(12, 3))[rng.integers(0, 12, 200)] + 0.12 * rng.normal(size=(200, 3))).astype(np.float32)
    wanted = DBSCAN(eps=0.25, min_samples=min_samples).fit(x.astype(float)).labels_
    found = dbscan(x, eps=0.25, min_samples=min_samples)
    assert found.tolist() == wanted.tolist()
    assert len(set(combinations(found.tolist(), 1))) > 3
    assert dbscan(x[:0], eps=0.25, min_samples=min_samples).tolist() == []


class ByName:
    """Pictures of one person lie on one axis; picture 3 of anybody shows no face."""

    model = "toy"
    setup = MappingProxyType({"detector": "none", "mode": "fast"})
    calibration = None

    def __call__(self, paths, *, progress=None):
        people = sorted({path.parent.name for path in paths})
        axes = 3 * np.eye(len(people), dtype=np.float32)
        return [None if path.stem == "3" else axes[people.index(path.parent.name)] for path in paths]

    def similarity(self, a, b):
        return (a * b).sum(axis=-1)


def folders(root, count=3):
    for name in ("Ann", "Bo")[: max(count - 1, 1)]:
        (root / name).mkdir()
        for i in range(1, count + 1):
            (root / name / f"{i}.jpg").touch()
    return root


def test_a_report_counts_missed_faces(tmp_path):
    people = read_people(folders(tmp_path))
    report = evaluate_clustering(people, ByName(), GroupingRule("l2", 0.5), threshold=0.5).to_dict()
    assert (report["n"], report["people"], report["missed"], report["clusters"]) == (6, 2, 2, 2)
    assert report["pairwise"] == {"precision": 1, "recall": pytest.approx(1 / 3, abs=1e-6), "f1": 0.5}
    assert [other["method"] for other in report["beside"]] == [
        "DBSCAN, eps 0.5, min_samples 5",
        "DBSCAN, eps 0.5, min_samples 2",
    ]
    assert [other["clusters"] for other in report["beside"]] == [0, 2]
    third = People("Ann", ("Ann",), people.paths[2:3], people.person[2:3])
    with pytest.raises(DataError, match="no face is found"):
        evaluate_clustering(third, ByName(), GroupingRule("l2", 0.5), threshold=0.5)


def test_the_command(mien, portrait, astronaut, tmp_path):
    for name, photo in {"Collins": astronaut, "Hopper": portrait}.items():
        (tmp_path / "people" / name).mkdir(parents=True)
        for side in (300, 400):
            Image.open(photo).convert("RGB").resize((side, side)).save(tmp_path / "people" / name / f"{side}.jpg")
    done = mien("evaluate", "clustering", tmp_path / "people", "--json", "--out", tmp_path / "report.json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert (report["n"], report["clusters"], report["pairwise"]["f1"], report["b_cubed"]["f1"]) == (4, 2, 1, 1)
    assert (report["model"], report["mode"]) == ("dlib-resnet", "fast")
    assert b"DBSCAN" in mien("evaluate", "clustering", tmp_path / "people", COLUMNS="160").stdout
    for arguments in ([tmp_path], [tmp_path / "people", "--threshold", "7"]):
        refused = mien("evaluate", "clustering", *arguments)
        assert refused.returncode == 2
        assert len(refused.stderr.decode().splitlines()) == 1


@pytest.mark.data
def test_faces_of_lfw_are_grouped(lfw, analyzer):
    """Few of its people: what many strangers do to each method is in recipes/LOG.md."""
    from mien import load_image
    from mien.evaluation.describe import SubjectDescriber
    from mien.gallery.grouping.grouping import grouping_rule
    from mien.models.dlib_resnet import RECORD

    people = read_people(lfw)
    chosen = np.flatnonzero(np.isin(np.bincount(people.person), (3, 4)))[::20]
    kept = np.flatnonzero(np.isin(people.person, chosen))
    names, person = tuple(people.names[p] for p in chosen), np.searchsorted(chosen, people.person[kept])
    some = People("lfw", names, tuple(people.paths[i] for i in kept), person)
    rule = grouping_rule(RECORD, "fast")
    describe = SubjectDescriber(analyzer, load_image)
    report = evaluate_clustering(some, describe, rule, threshold=rule.threshold_or(None))
    assert report.people > 5
    found = report.groupings[0].b_cubed  # 1.00 and 0.80 when this was written: a guard, no claim
    assert found.precision > 0.95
    assert found.recall > 0.7
