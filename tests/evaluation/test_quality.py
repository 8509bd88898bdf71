"""Error versus discard: by hand, and as the command runs it."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mien import DataError
from mien.evaluation.people import People
from mien.evaluation.quality import error_versus_discard, pairs_of_people


def test_the_curve_by_hand():
    scores = np.array([0.9, 0.1, 0.8, 0.7])
    first, second = np.array([0, 0, 2]), np.array([1, 2, 3])
    missed = np.array([True, False, False])
    curve = error_versus_discard(scores, first, second, missed, (0.0, 0.25, 0.5, 0.75))
    assert curve[:3] == [(pytest.approx(1 / 3), 3), (0.0, 2), (0.0, 1)]
    assert np.isnan(curve[3][0])
    assert curve[3][1] == 0


def test_a_score_that_knows_the_errors_lets_the_curve_fall_and_one_against_them_does_not():
    rng = np.random.default_rng(0)
    bad = rng.random(400) < 0.1
    first, second = rng.integers(0, 400, (2, 5000))
    missed = bad[first] | bad[second]
    good = [value for value, _ in error_versus_discard(1.0 - bad + rng.random(400) / 9, first, second, missed)]
    wrong = [value for value, _ in error_versus_discard(bad + rng.random(400) / 9, first, second, missed)]
    assert all(a >= b for a, b in pairwise(good))
    assert good[0] == wrong[0] > 0.15
    assert good[-1] == 0
    assert wrong[-1] > good[0]


def test_pairs_of_people():
    people = People("here", ("a", "b", "c"), tuple(range(6)), np.array([0, 0, 0, 1, 2, 2]))
    pairs = pairs_of_people(people)
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2), (4, 5)]
    with pytest.raises(DataError, match="nobody has two pictures"):
        pairs_of_people(People("here", ("a", "b"), (1, 2), np.array([0, 1])))


@pytest.fixture
def folder(tmp_path, portrait, astronaut):
    for name, path in (("hopper", portrait), ("collins", astronaut)):
        (tmp_path / "people" / name).mkdir(parents=True)
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        for i, radius in enumerate((0, 1, 2)):
            picture.filter(ImageFilter.GaussianBlur(radius)).save(tmp_path / "people" / name / f"{i}.jpg")
    return tmp_path


def test_the_command(mien, folder):
    done = mien(
        "evaluate", "quality", folder / "people", "--plot", folder / "curve.png", "--out", folder / "report.json"
    )
    assert done.returncode == 0, done.stderr.decode()
    assert "worst left out" in done.stdout.decode()
    report = json.loads((folder / "report.json").read_text())
    assert (report["n"], report["pairs"], report["missed"], report["model"]) == (6, 6, 0, "dlib-resnet")
    assert report["error_versus_discard"][0] == {"discarded": 0.0, "fnmr": 0.0, "pairs": 6}
    assert 0 <= report["usable"]["share"] <= 1
    with Image.open(folder / "curve.png") as curve:
        assert curve.size[0] > 500


def test_bad_input_is_one_line(mien, folder, tmp_path):
    done = mien("evaluate", "quality", folder / "nowhere")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no such folder" in done.stderr
    done = mien("evaluate", "quality", folder / "people", "--fmr", "0.5")
    assert done.returncode == 2
    assert b"choose one of" in done.stderr
    done = mien("evaluate", "quality", folder / "people", "--out", tmp_path / "no" / "r.json")
    assert done.returncode == 2
    assert b"does not exist" in done.stderr
