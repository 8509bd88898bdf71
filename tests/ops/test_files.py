from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from mien.errors import ImageError
from mien.ops.files import list_images, natural_key, subfolders


@pytest.fixture
def tree(tmp_path) -> Path:
    names = [
        "img10.jpg", "img2.JPG", "img1.png", "notes.txt", ".hidden.jpg", ".cache/a.jpg",
        "sub/b.webp", "sub/deep/c.tiff", "sub/d.mp4", "sub2/e.gif",
    ]  # fmt: skip
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(root: Path, *paths: object, **options: object) -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_images(paths, **options)]


def test_nothing_gives_nothing(tmp_path):
    assert names(tmp_path) == []
    assert names(tmp_path, tmp_path) == []


def test_a_folder_is_walked_in_natural_order(tree):
    assert names(tree, tree) == [
        "img1.png", "img2.JPG", "img10.jpg", "sub/b.webp", "sub/deep/c.tiff", "sub2/e.gif"
    ]  # fmt: skip


def test_a_folder_alone(tree):
    assert names(tree, str(tree), recursive=False) == ["img1.png", "img2.JPG", "img10.jpg"]


def test_other_extensions(tree):
    assert names(tree, tree, extensions={".txt", ".mp4"}) == ["notes.txt", "sub/d.mp4"]


def test_what_is_named_is_given(tree):
    named = ["notes.txt", ".hidden.jpg", "missing.jpg"]
    assert names(tree, *(tree / name for name in named)) == named
    assert names(tree, tree / ".cache") == [".cache/a.jpg"]


def test_patterns(tree):
    assert names(tree, tree / "img*") == ["img1.png", "img2.JPG", "img10.jpg"]
    assert names(tree, tree / "*.txt") == ["notes.txt"]
    assert names(tree, tree / "sub*") == ["sub/b.webp", "sub/deep/c.tiff", "sub2/e.gif"]
    assert names(tree, tree / "**" / "*.w?bp") == ["sub/b.webp"]
    assert names(tree, tree / "sub" / "**") == ["sub/b.webp", "sub/d.mp4", "sub/deep/c.tiff"]
    assert names(tree, tree / "*.heic") == ["*.heic"]


def test_names_that_look_like_patterns(tree):
    (tree / "a[1]*.jpg").touch()
    (tree / "a1.jpg").touch()
    assert names(tree, tree / "a[1]*.jpg") == ["a[1]*.jpg"]


def test_links_to_folders_are_not_followed(tree):
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "sub" / "again").symlink_to(tree / "sub2")
    (tree / "loop.jpg").symlink_to(tree / "loop.jpg")
    found = names(tree, tree)
    assert not [name for name in found if "up/" in name or "again/" in name]
    assert "img1.png" in found
    assert names(tree, tree / "sub" / "again") == ["sub/again/e.gif"]  # unless it is what was given


def test_pictures_of_kinds_that_are_not_read_are_told(tree):
    (tree / "sub" / "phone.HEIC").write_bytes(b"")
    unread = []
    list(list_images([tree], on_unread=unread.append))
    assert [path.name for path in unread] == ["phone.HEIC"]


def test_the_same_folder_twice_is_given_twice(tree):
    assert len(names(tree, tree / "sub", tree / "sub")) == 4


def test_folders_are_listed_lazily(tree):
    assert next(list_images(itertools.repeat(tree))) == tree / "img1.png"


def test_a_folder_that_cannot_be_listed(tree, monkeypatch):
    listed = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ImageError, match="sub: the folder cannot be listed: permission denied"):
        names(tree, tree)
    errors: list[OSError] = []
    assert names(tree, tree, on_error=errors.append)[-1] == "sub2/e.gif"
    assert [Path(error.filename).name for error in errors] == ["sub"]


def test_natural_order():
    ordered = ["", "1", "2", "02", "10", "a", "A2", "a2b", "a10", "b", "é", "脸1", "脸10"]
    backwards = ordered[::-1]
    assert sorted(backwards, key=natural_key) == ordered


def test_names_too_long_for_the_system_are_given_as_they_are():
    assert [str(path) for path in list_images(["a" * 5000])] == ["a" * 5000]


def test_folders_in_a_folder(tmp_path):
    for name in ("10", "9", "Ann", ".hidden", "__MACOSX"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    assert [path.name for path in subfolders(tmp_path)] == ["9", "10", "Ann"]
    with pytest.raises(ImageError, match="file: the folder cannot be listed"):
        subfolders(tmp_path / "file")
