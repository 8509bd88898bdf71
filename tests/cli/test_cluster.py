"""`mien cluster`, as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mien import load_image
from mien.cli.app import app
from mien.gallery.grouping.face_file import read_faces, write_faces
from mien.gallery.grouping.groups import new_faces, read_groups


@pytest.fixture
def album(tmp_path, portrait, astronaut) -> Path:
    """Two people, three pictures of each (one of both), a copy, and two files that are no pictures."""
    folder = tmp_path / "album"
    (folder / "day2").mkdir(parents=True)
    one, other = (Image.open(path).convert("RGB") for path in (astronaut, portrait))
    one.save(folder / "one.jpg")
    one.resize((400, 400)).save(folder / "day2" / "one small.jpg")
    other.save(folder / "other.jpg")
    other.crop((60, 20, 460, 420)).save(folder / "day2" / "other cut.png")
    both = np.hstack([np.asarray(picture.resize((400, 400))) for picture in (one, other)])
    Image.fromarray(both).save(folder / "both.jpg")
    shutil.copy(folder / "one.jpg", folder / "one copy.jpg")
    (folder / "bad.jpg").write_bytes(b"not a picture")
    (folder / "cut off.jpg").write_bytes((folder / "other.jpg").read_bytes()[:9000])
    return folder


def names(group) -> list[str]:
    return sorted(Path(face["path"]).name for face in group["faces"])


def test_a_folder_is_grouped_and_extended(mien, album, tmp_path):
    out, sheets = tmp_path / "groups.json", tmp_path / "sheets"
    done = mien("cluster", album, "--out", out, "--sheets", sheets, "--json")
    assert done.returncode == 2  # of the bad files
    errors = done.stderr.decode()
    assert "bad.jpg" in errors
    assert "cut off.jpg" in errors
    assert "Traceback" not in errors
    answer = json.loads(done.stdout)
    assert answer == json.loads(out.read_text())
    assert answer["schema"] == 1
    assert sorted(map(names, answer["groups"])) == [
        ["both.jpg", "one copy.jpg", "one small.jpg"],
        ["both.jpg", "other cut.png", "other.jpg"],
    ]
    (copied,) = [face for group in answer["groups"] for face in group["faces"] if "copies" in face]
    assert [Path(path).name for path in copied["copies"]] == ["one.jpg"]
    assert sorted(path.name for path in sheets.iterdir()) == ["group-1.png", "group-2.png", "overview.png"]
    sheet = load_image(sheets / "group-1.png")
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000  # faces, not grey boxes

    groups, pictures = read_groups(out)
    enrolled = new_faces(groups, pictures, 1)
    assert len(enrolled) == 3
    assert np.linalg.norm(enrolled[0].embedding - enrolled[1].embedding) < 0.5

    more = tmp_path / "more"
    more.mkdir()
    load = Image.open(album / "other.jpg")
    load.resize((300, 350)).save(more / "later.png")
    done = mien("cluster", more, "--extend", out)
    assert done.returncode == 0, done.stderr
    grown = {group["group"]: group for group in json.loads(out.read_text())["groups"]}
    assert sorted(grown) == [1, 2]
    (joined,) = [number for number, group in grown.items() if "later.png" in names(group)]
    for group in answer["groups"]:
        kept = names(group) + (["later.png"] if group["group"] == joined else [])
        assert names(grown[group["group"]]) == sorted(kept)
    assert "other cut.png" in names(grown[joined])
    assert "7 faces" in done.stderr.decode()

    other_model = mien("cluster", more, "--extend", out, "--accurate")
    assert other_model.returncode == 2
    assert b"was made with" in other_model.stderr


def test_a_killed_run_goes_on(album, tmp_path, mien):
    """Killed as soon as the first faces are on the disk: they are not looked for again."""
    for i in range(400):
        # what follows the end of a JPEG is not read, but makes it another file
        (album / f"a{i:03}.jpg").write_bytes((album / "one.jpg").read_bytes() + bytes(i + 1))
    out = tmp_path / "groups.json"
    faces = out.with_suffix(".npz")
    command = [sys.executable, "-m", "mien", "cluster", str(album), "--out", str(out), "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 200  # of a busy machine, too
        while not faces.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    kept, made_by = read_faces(faces)
    assert 3 < len(kept) < 400
    for i in range(5, 400):
        (album / f"a{i:03}.jpg").unlink()
    # a box that no detector gives shows where the faces of the second run come from
    write_faces(faces, {digest: replace(of, boxes=of.boxes * 0 + 7) for digest, of in kept.items()}, made_by)
    assert mien("cluster", album, "--out", out).returncode == 2  # of the bad files
    groups, pictures = read_groups(out)
    again = set(pictures) & set(kept)
    assert len(again) >= 3
    assert all((pictures[digest].boxes == 7).all() == (digest in kept) for digest in pictures if len(pictures[digest]))
    assert set(pictures) == set(groups.paths) | {digest for digest in pictures if not len(pictures[digest])}


def test_what_is_refused_is_one_line_and_changes_nothing(album, tmp_path):
    other = tmp_path / "notes.json"
    other.write_text('{"my": "notes"}')
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    (tmp_path / "empty").mkdir()
    foreign = tmp_path / "x.npz"
    foreign.write_bytes(b"something of the user's")
    cases = {
        "no such folder": [tmp_path / "nowhere"],
        "no pictures in": [tmp_path / "empty", "--out", tmp_path / "g.json"],
        "stays as it is": [album, "--out", other],
        "ends in .json": [album, "--out", tmp_path / "groups.txt"],
        "holds other files": [album, "--out", tmp_path / "g.json", "--sheets", tmp_path / "full"],
        "outside of it": [album, "--out", tmp_path / "g.json", "--sheets", album / "sheets"],
        "no file of faces": [album, "--out", tmp_path / "x.json"],
        "cannot be read": [album, "--extend", tmp_path / "g.json"],
        "does not exist": [album, "--out", tmp_path / "a" / "g.json"],
    }
    for message, arguments in cases.items():
        done = CliRunner().invoke(app, ["cluster", *map(str, arguments)])
        assert done.exit_code == 2, message
        assert message in " ".join(done.stderr.replace("│", " ").split()), done.stderr
        assert isinstance(done.exception, SystemExit)
    assert other.read_text() == '{"my": "notes"}'
    assert foreign.read_bytes() == b"something of the user's"
    assert not (album / "sheets").exists()
    assert not os.path.lexists(tmp_path / "g.json")


@pytest.mark.data
def test_photographs_of_known_people(mien, shared_photos, tmp_path):
    done = mien("cluster", shared_photos, "--out", tmp_path / "g.json", "--json")
    assert done.returncode == 0, done.stderr
    for group in json.loads(done.stdout)["groups"]:
        people = {name.split("_")[0] for name in names(group)} - {"two"}
        assert len(people) == 1, names(group)
    assert len(json.loads(done.stdout)["groups"]) == 5
