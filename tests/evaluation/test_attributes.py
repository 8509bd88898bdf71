"""Age and gender measured: by hand-made answers, and on real photographs by the command."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from mien.datasets.attributes import AttributeSet
from mien.errors import DataError, ImageDecodeError
from mien.evaluation.attributes import evaluate_attributes, rows
from mien.models.attributes import AGES, Attributes
from tests.conftest import PHOTOS

TRUE = [(30, 0, "a"), (30, 1, "a"), (1, 1, "b"), (70, -1, ""), (-1, 0, "b")]


class Told:
    """A network that answers each crop with what its first pixels say: the age, and how sure it is of "female"."""

    name = "told"
    card = SimpleNamespace(gender_threshold=0.8)

    def __call__(self, crops):
        ages = np.zeros((len(crops), len(AGES)), np.float32)
        ages[np.arange(len(crops)), crops[:, 0, 0, 0]] = 1
        female = crops[:, 0, 0, 1] / np.float32(100)
        return Attributes(ages, np.stack([1 - female, female], axis=1))


def told(*answers):
    """A set of pictures that say what the network will answer; None cannot be read."""

    def read(i):
        if answers[i] is None:
            raise ImageDecodeError("5.jpg: damaged")
        crop = np.zeros((16, 16, 3), np.uint8)
        crop[0, 0, :2] = answers[i]
        return crop

    ages, genders, groups = zip(*TRUE[: len(answers)], strict=True)
    names = [f"{i}.jpg" for i in range(len(answers))]
    return AttributeSet("told", names, np.array(ages), np.array(genders), list(groups), read, ("x.jpg",))


def test_errors_are_those_of_the_answers():
    report = evaluate_attributes(
        told((34, 10), (24, 60), (3, 40), (70, 0), (50, 90)), Told(), cut=lambda picture: picture
    )
    assert report.overall.n == 5
    assert report.overall.mae == pytest.approx((4 + 6 + 2 + 0) / 4)
    assert report.overall.bias == pytest.approx((4 - 6 + 2 + 0) / 4)
    assert report.overall.gender_accuracy == pytest.approx(2 / 4)  # the third and the last are wrong
    assert report.grown.gender_accuracy == 1.0
    assert report.by["group"]["a"].mae == pytest.approx(5)
    assert report.by["group"]["b"].gender_accuracy == 0
    assert report.by["age"]["0 to 2"].n == 1
    assert report.uncertain == pytest.approx(0.5)
    assert report.rest == pytest.approx(0.5)
    out = json.loads(json.dumps(report.to_dict()))
    assert out["age"]["mae"] == 3.0
    assert out["gender"]["accuracy"] == 0.5
    assert out["left_out"] == 1
    assert rows(report)[0] == ("all", "5", "3.00", "+0.00", "50.00%")


def test_what_cannot_be_measured_is_counted():
    report = evaluate_attributes(
        told((34, 10), (0, 0), (3, 40), None), Told(), cut=lambda picture: picture if picture.any() else None
    )
    assert (report.overall.n, report.missed, len(report.unreadable)) == (2, 1, 1)
    with pytest.raises(DataError, match="not one of 2 pictures can be measured: no face found in 2"):
        evaluate_attributes(told((0, 0), (0, 0)), Told(), cut=lambda _: None)


def test_the_command_on_real_photographs(mien, tmp_path):
    shutil.copy(PHOTOS / "astronaut.jpg", tmp_path / "36_1_0_2000.jpg")
    shutil.copy(PHOTOS / "grace_hopper.jpg", tmp_path / "72_1_0_1984.jpg")
    picture, page = tmp_path / "ages.png", tmp_path / "report.md"
    done = mien("evaluate", "attributes", tmp_path, "--json", "--plot", picture, "--out", page)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert out["n"] == 2
    assert out["age"]["mae"] < 15
    assert out["gender"]["accuracy"] == 1.0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "group: White" in page.read_text()
    rounded = json.loads(mien("evaluate", "attributes", tmp_path, "--json", "--precision", "int8").stdout)
    assert 0 < abs(rounded["age"]["mae"] - out["age"]["mae"]) < 1.5
    (tmp_path / "40_0_0_2000.jpg").write_bytes(b"no picture")
    done = mien("evaluate", "attributes", tmp_path)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"cannot be read" in done.stderr
    nothing = mien("evaluate", "attributes", PHOTOS)
    assert nothing.returncode == 2
    assert b"no picture with a label" in nothing.stderr
