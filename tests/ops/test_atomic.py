"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.ops.atomic import written_whole


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
