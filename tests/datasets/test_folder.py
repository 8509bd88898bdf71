from __future__ import annotations

import os
from pathlib import Path

import pytest

from mien.datasets import has_split, open_image_set
from mien.errors import DataError, ImageError


@pytest.fixture
def tree(tmp_path: Path, face: bytes):
    """`tree("train/happy/1.png", ...)` writes pictures."""

    def write(*names: str) -> Path:
        for name in names:
            path = tmp_path / "mine" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(face)
        return tmp_path / "mine"

    return write


def test_classes(tree):
    part = open_image_set(
        tree("sad/10.png", "sad/2.png", "sad/.hidden.png", "sad/notes.txt", "Happy/1.png", ".x/1.png")
    )
    assert part.labels == ("happiness", "sadness")
    assert [Path(item).name for item in part.items] == ["1.png", "2.png", "10.png"]
    assert part.truth.tolist() == [0, 1, 1]
    assert part.targets.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert part.read(2).shape == (48, 48, 3)


def test_chinese_names_and_people(tree):
    root = tree("高兴/1.png", "生气/1.png", "轻蔑/1.png", "odd/1.png")
    assert open_image_set(root).labels == ("anger", "contempt", "happiness", "odd")
    assert set(open_image_set(root, task="people").labels) == {"高兴", "生气", "轻蔑", "odd"}


@pytest.mark.parametrize("name", ["validation", "valid", "val", "Val"])
def test_parts(tree, name):
    root = tree("training/happy/1.png", "training/sad/1.png", f"{name}/sad/1.png", "__MACOSX/x/1.png")
    validation = open_image_set(root, split="validation")
    assert validation.labels == ("happiness", "sadness")
    assert validation.truth.tolist() == [1]
    assert validation.name == "mine validation"
    assert has_split(root, "validation")
    assert not has_split(root, "test")
    with pytest.raises(DataError, match="several parts"):
        open_image_set(root)


def test_a_set_without_parts(tree):
    root = tree("Val/1.png", "Tom/1.png")
    assert open_image_set(root, split="train", task="people").labels == ("Tom", "Val")
    assert not has_split(root, "validation")


def test_damaged_picture_is_found_when_it_is_read(tree):
    root = tree("a/1.png", "b/1.png")
    (root / "a/1.png").write_bytes(b"no picture")
    part = open_image_set(root)
    with pytest.raises(ImageError, match=r"a/1\.png: not a JPEG"):
        part.read(0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png"], "no folders in it.*understood are"),
        (["a/1.png"], "one class only, a"),
        (["a/1.png", "b/notes.txt"], "b: a class without pictures"),
        (["happy/1.png", "happiness/1.png"], "happiness is happy already|happy: happiness is"),
        (["train/a/1.png", "train/b/1.png", "val/c/1.png"], "val/c: the training part has no class c"),
        (["train/a/1.png", "train/b/1.png", "val/1.png"], "val: no folders in it"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"], "is the validation part already"),
    ],
)
def test_wrong_folders(tree, names, message):
    with pytest.raises(DataError, match=message):
        open_image_set(tree(*names), split="validation" if names[0].startswith("train") else None)


def test_links(tree):
    root = tree("a/1.png", "b/1.png")
    (root / "c").symlink_to(root / "a")
    assert open_image_set(root).labels == ("a", "b", "c")
    (root / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="loop: a link that leads nowhere"):
        open_image_set(root)


def test_folders_that_cannot_be_listed(tree, monkeypatch):
    root, scandir = tree("a/1.png", "b/1.png"), os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"b: the folder cannot be listed \(permission denied\)"):
        open_image_set(root)


def test_paths_that_are_no_data_set(tmp_path, portrait):
    with pytest.raises(DataError, match="no such file or folder"):
        open_image_set(tmp_path / "absent")
    with pytest.raises(DataError, match=r"not a data set .*understood are"):
        open_image_set(portrait)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a file or a folder"):
        open_image_set(tmp_path / "pipe")


def test_expressions_are_not_people(zipped):
    with pytest.raises(DataError, match="expressions, not people"):
        open_image_set(zipped(), task="people")
