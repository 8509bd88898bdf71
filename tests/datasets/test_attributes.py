"""Ages and genders: in UTKFace's names, in tables, and where they are not what they should be."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest

from mien.datasets.attributes import open_attributes
from mien.errors import DataError, ImageError
from tests.conftest import PHOTOS

NAMES = ("52_1_0_2017.jpg", "50_0_0_2018.jpg", "9_0_4_2018.jpg", "61_1_2017.jpg", "old_1_0_2017.jpg", "40_2_0_2017.jpg")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        shutil.copy(PHOTOS / "astronaut.jpg", tmp_path / name)
    return tmp_path


@pytest.fixture
def archive(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "utk.zip"
    with zipfile.ZipFile(path, "w") as out:
        for name in NAMES:
            out.write(folder / name, f"utkface/{name}")
    return path


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_labels_are_in_the_names(kind, request):
    found = open_attributes(request.getfixturevalue(kind))
    assert len(found) == 3
    assert sorted(zip(found.ages, found.genders, found.groups, strict=True)) == [
        (9, 0, "other"),
        (50, 0, "White"),
        (52, 1, "White"),
    ]
    assert len(found.left_out) == 3
    assert found.read(0).shape[2] == 3
    last = found.subset([2, 0])
    assert last.items == [found.items[2], found.items[0]]
    np.testing.assert_array_equal(last.read(1), found.read(0))


def test_a_table_of_ones_own(folder):
    table = folder / "faces.csv"
    table.write_text("\ufefffile,age,gender,group\n52_1_0_2017.jpg,52,Female,east\n50_0_0_2018.jpg,,男,\nno.jpg,7,,\n")
    found = open_attributes(table)
    assert found.ages.tolist() == [52, -1, 7]
    assert found.genders.tolist() == [1, 0, -1]
    assert found.groups == ["east", "", ""]
    found.read(0)
    with pytest.raises(ImageError, match=r"no\.jpg"):
        found.read(2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,age\na.jpg,3\n", "must name the columns file"),
        ("file\na.jpg\n", "must name the columns file"),
        ("file,age\n,3\n", "line 2: names no file"),
        ("file,age\na.jpg,3.5\n", "'3.5' is no age"),
        ("file,age\na.jpg,131\n", "'131' is no age"),
        ("file,gender\na.jpg,robot\n", "'robot' is no gender"),
        ("file,age,gender\n", "no picture with a label"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, text, problem):
    table = tmp_path / "faces.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=problem) as caught:
        open_attributes(table)
    assert "\n" not in str(caught.value)


def test_what_is_no_such_set(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match="not a folder, a zip archive or a csv table"):
        open_attributes(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="no picture with a label; names must be AGE_GENDER_RACE_DATE"):
        open_attributes(tmp_path)
    (tmp_path / "latin.csv").write_bytes("file,age\ncafé.jpg,3\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        open_attributes(tmp_path / "latin.csv")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="not a zip archive"):
        open_attributes(tmp_path / "cut.zip")
