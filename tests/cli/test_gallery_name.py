"""`mien gallery name` and `mien gallery key`, as a user runs them."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli.app import app
from mien.gallery.gallery import Gallery
from mien.gallery.grouping.face_file import MadeBy, write_faces
from mien.gallery.grouping.groups import Groups, embeddings_path, write_groups
from mien.gallery.kept_crops import read_crop
from mien.models import registry
from mien.ops.image import load_image, save_image
from mien.types import Faces

RECORD = registry.entry("dlib-resnet", "embedding").record
MADE_BY = MadeBy("dlib-resnet", RECORD.weights.sha256, "fast", 128, "l2", "centerface", "640")


@pytest.fixture
def at(tmp_path):
    """`at("name", ...)`: `mien gallery name ...` in this process."""

    def run(*words, code=0):
        done = CliRunner().invoke(app, ["gallery", *map(str, words)], env={"MIEN_GALLERY": str(tmp_path / "people.db")})
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def pictures(tmp_path, portrait):
    """Four pictures, which differ."""
    image = load_image(portrait)
    for i in range(4):
        save_image(tmp_path / f"{i}.png", image[i : 400 + i, :400])
    return [tmp_path / f"{i}.png" for i in range(4)]


@pytest.fixture
def groups(tmp_path, pictures):
    """Two groups of two faces."""
    rng, found = np.random.default_rng(0), {}
    paths = {hashlib.sha256(path.read_bytes()).hexdigest(): [str(path)] for path in pictures}
    landmarks = np.array([[[150, 180], [230, 180], [190, 230], [160, 270], [220, 270]]], np.float32)
    for digest in paths:
        embedding = rng.normal(size=(1, 128)).astype(np.float32) / 8
        found[digest] = Faces(np.array([[120, 120, 260, 310]]), np.array([0.9]), landmarks, (400, 400), embedding)
    keys = [(digest, 0) for digest in paths]

    def write(**changes):
        made_by = replace(MADE_BY, **changes)
        path = tmp_path / "groups.json"
        write_faces(embeddings_path(path), found, made_by)
        write_groups(path, Groups(made_by, 0.5, 2, {1: keys[:2], 2: keys[2:]}, paths=paths), found)
        return path

    return write


def test_groups_get_names_all_at_once(at, groups, pictures, tmp_path):
    done = at("name", groups(), "1=Ada Lovelace", "2=Grace", "--consent", "a letter", "--expires", "30d")
    assert "Ada Lovelace: 2 faces enrolled, 2 in all" in done.output
    with Gallery.open(tmp_path / "people.db") as gallery:
        assert [(one.name, one.faces, one.consent) for one in gallery.people()] == [
            ("Ada Lovelace", 2, "a letter"),
            ("Grace", 2, "a letter"),
        ]
        assert all(one.expires for one in gallery.people())
        (face, _) = gallery.faces("Ada Lovelace")
        assert (face.source, face.box) == (str(pictures[0]), (120.0, 120.0, 260.0, 310.0))
        assert [event.action for event in gallery.audit()] == ["enrol", "enrol"]
        gallery.undo()
        assert [one.name for one in gallery.people()] == ["Ada Lovelace"]


def test_naming_again_adds_nothing_and_names_nobody_twice(at, groups, tmp_path):
    at("name", groups(), "1=Ada", "2=Ada")
    told = json.loads(at("name", groups(), "1=Ada", "--json").stdout)["named"]
    assert [(one["group"], one["person"]["faces"], one["enrolled"]) for one in told] == [(1, 4, [])]
    assert [one["reason"] for one in told[0]["skipped"]] == ["same picture"] * 2
    done = at("name", groups(), "1=Bea", code=2)
    assert "in the gallery already, as face 1 of Ada" in done.output
    with Gallery.open(tmp_path / "people.db") as gallery:
        assert [one.name for one in gallery.people()] == ["Ada"]


def test_all_of_them_or_none(at, groups, tmp_path):
    at("name", groups(), "1=Ada")
    at("name", groups(), "2=Bea", "1=Carl", code=2)
    with Gallery.open(tmp_path / "people.db") as gallery:
        assert [one.name for one in gallery.people()] == ["Ada"]


def test_faces_of_somebody_else_are_told(at, groups, tmp_path):
    at("name", groups(), "1=Ada", "2=Grace")
    with Gallery.open(tmp_path / "people.db") as gallery:
        gallery.move([2], "Grace")
    done = at("name", groups(), "1=Ada", code=2)
    assert "as face 2 of Grace; if that is wrong: mien gallery move 2 --to" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Ada"], "not GROUP=NAME"),
        (["x=Ada"], "not GROUP=NAME"),
        (["1="], "1 to 200 characters"),
        (["1=Ada", "1=Bea"], "named twice"),
        (["3=Ada"], "no group 3; their numbers are from 1 to 2"),
    ],
)
def test_what_names_nobody_is_refused_and_makes_no_gallery(at, groups, tmp_path, words, said):
    assert said in " ".join(at("name", groups(), *words, code=2).output.replace("│", " ").split())
    assert not (tmp_path / "people.db").exists()


def test_groups_of_other_embeddings_are_refused(at, groups, tmp_path):
    done = at("name", groups(embedder="own", embedder_sha256="ab" * 32), "1=Ada", code=2)
    assert "no model that comes with mien" in done.output
    assert not (tmp_path / "people.db").exists()
    Gallery.open(tmp_path / "people.db").close()
    done = at("name", groups(mode="accurate"), "1=Ada", code=2)
    assert "embeddings of dlib-resnet (accurate), the gallery those of dlib-resnet (fast): group" in done.output
    assert len(done.output.splitlines()) == 1


def test_a_new_gallery_takes_the_mode_of_the_groups(at, groups, tmp_path):
    at("name", groups(mode="accurate"), "1=Ada")
    with Gallery.open(tmp_path / "people.db", mode=None) as gallery:
        assert gallery.info.mode == "accurate"


def test_crops_are_kept_where_the_picture_is_what_it_was(at, groups, pictures, tmp_path):
    path = groups()
    pictures[0].write_bytes(pictures[1].read_bytes())  # no longer the same bytes
    pictures[2].unlink()
    done = at("name", path, "1=Ada", "2=Grace", "--keep-crops")
    assert "without a kept crop, because their pictures are gone or have changed: 2" in done.output
    with Gallery.open(tmp_path / "people.db") as gallery:
        assert [face.has_crop for face in gallery.faces()] == [False, True, False, True]
        image, face = read_crop(gallery.crop(2))
    assert image.shape[0] > 100
    assert len(face) == 1


# Keys


def test_a_key_is_made_once(at, tmp_path):
    done = at("key", "new", tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert "keep a copy elsewhere" in done.output
    assert (tmp_path / "key").read_text().strip() not in done.output
    assert "never overwritten" in at("key", "new", tmp_path / "key", code=2).output
    at("key", "new", code=2)
    at("key", "new", tmp_path / "other", "--keyring", "other", code=2)
    assert json.loads(at("key", "new", tmp_path / "third", "--json").stdout)["id"]


def test_keys_are_rotated(at, groups, tmp_path):
    one, two = (f"file:{tmp_path / name}" for name in ("one", "two"))
    for name in ("one", "two"):
        at("key", "new", tmp_path / name)
    at("name", groups(), "1=Ada")
    assert "2 faces, encrypted with the key of id" in at("key", "rotate", "--new-key", one).output
    assert "name its key (--key, or MIEN_GALLERY_KEY)" in at("list", code=2).output
    told = json.loads(at("key", "rotate", "--key", one, "--new-key", two, "--json").stdout)
    assert (told["gallery"]["encrypted"], told["faces"]) == (True, 2)
    assert "another key" in at("list", "--key", one, code=2).output
    assert "already" in at("key", "rotate", "--key", two, "--new-key", two, code=2).output
    assert "not encrypted any more" in at("key", "rotate", "--key", two, "--plain").output
    assert "Ada" in at("list").output
    at("key", "rotate", code=2)
    at("key", "rotate", "--plain", "--new-key", one, code=2)


def test_approximate_search_without_usearch_is_one_line(at, groups, tmp_path, pictures, monkeypatch):
    at("name", groups(), "1=Ada")
    monkeypatch.setitem(sys.modules, "usearch", None)
    words = ["identify", str(pictures[0]), "--approximate", "--gallery", str(tmp_path / "people.db")]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 2
    assert said.output.strip() == "mien: approximate search needs usearch: pip install 'mien[ann]'"
