"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from mien.ops.atomic import folder_written_whole, new_file, write_whole, written_whole


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with written_whole(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_fails_leaves_the_old_and_nothing_else(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(TypeError), written_whole(target) as temporary, temporary.open("w") as file:
        file.writelines(["half", None])
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("target", [".", "folder"])
def test_a_folder_is_not_replaced(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), written_whole(Path(target)) as temporary:  # noqa: PT011  each system has its own
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_private_files_are_their_owners_whatever_the_umask(tmp_path):
    opened = tmp_path / "opened"
    opened.write_text("for all")
    opened.chmod(0o666)
    with umask(0):
        write_whole(opened, "mine", private=True)
        write_whole(tmp_path / "other", "ours")
        with folder_written_whole(tmp_path / "folder", private=True) as folder:
            assert mode(folder) == 0o700
            with new_file(folder / "file", private=True) as file:
                assert mode(folder / "file") == 0o600
                file.write(b"mine")
    assert opened.read_text() == "mine"
    assert [mode(tmp_path / name) for name in ("opened", "other", "folder")] == [0o600, 0o666, 0o700]
    with pytest.raises(FileExistsError):
        new_file(opened, private=True)
