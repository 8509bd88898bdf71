"""`mien gallery`, as a user runs it: exit code 0 done, 2 refused in one line."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mien.cli import console, options
from mien.cli.app import app
from mien.gallery.encryption import new_key
from mien.gallery.gallery import Gallery


@pytest.fixture
def at(tmp_path):
    """`at("list", ...)`: `mien gallery list ...` on a gallery of its own, in this process, for speed."""

    def run(command, *arguments, code=0):
        words = ["gallery", command, *map(str, arguments)]
        done = CliRunner().invoke(app, words, env={"MIEN_GALLERY": str(tmp_path / "people.db")})
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def known(at, tmp_path, analyzer, portrait, astronaut):
    """`at`, on a gallery that knows two people by one face each."""
    with Gallery.open(tmp_path / "people.db") as gallery:
        for name, path in (("Grace", portrait), ("Eileen", astronaut)):
            gallery.enrol(name, analyzer.largest_face(path), sources=[path])
    return at


@pytest.fixture
def both(tmp_path, portrait, astronaut):
    """A picture of two people, Grace larger than Eileen."""
    path = tmp_path / "both.png"
    sizes = {portrait: (512, 600), astronaut: (300, 600)}
    Image.fromarray(np.hstack([np.asarray(Image.open(p).convert("RGB").resize(s)) for p, s in sizes.items()])).save(
        path
    )
    return path


def said(done) -> str:
    """Standard output and standard error."""
    return done.output


def answer(done) -> dict:
    return json.loads(done.stdout)


def test_enrol_makes_the_gallery_and_says_what_became_of_each_picture(at, tmp_path, portrait, both):
    done = at("enrol", "Grace", portrait, portrait, both, tmp_path / "nowhere.jpg", "--consent", "a letter", code=2)
    assert "Grace: 1 face enrolled, 1 in all" in said(done)
    assert f"{portrait}: the same picture is in the gallery already, as face 1" in said(done)
    assert "both.png: shows 2 faces; --largest takes the largest" in said(done)
    assert "nowhere.jpg: no such file" in said(done)
    assert (tmp_path / "people.db").stat().st_mode & 0o077 == 0
    with Gallery.open(tmp_path / "people.db") as gallery:
        (face,) = gallery.faces("Grace")
        assert gallery.person("Grace").consent == "a letter"
    assert (face.source, len(face.source_sha256)) == (str(portrait), 64)


def test_enrol_the_largest_with_its_crop_and_as_json(at, tmp_path, both, analyzer):
    told = answer(at("enrol", "Grace", both, "--largest", "--keep-crops", "--accurate", "--expires", "30d", "--json"))
    assert told["person"]["name"] == "Grace"
    assert told["enrolled"] == [{"path": str(both), "face": 1, "warnings": []}]
    assert told["skipped"] == []
    assert told["person"]["expires"] > told["person"]["created"]
    with Gallery.open(tmp_path / "people.db", embedder=None, mode=None) as gallery:
        assert gallery.info.mode == "accurate"
        (again,) = analyzer.all_faces(gallery.crop(1))
        assert gallery.faces("Grace")[0].box[0] < 300
    assert len(again) == 1


def test_enrol_without_a_usable_picture_makes_no_gallery(at, tmp_path):
    Image.new("RGB", (300, 300), "white").save(tmp_path / "blank.png")
    done = at("enrol", "Ann", tmp_path / "blank.png", code=2)
    assert "blank.png: no face found" in said(done)
    assert not (tmp_path / "people.db").exists()
    assert "cannot" in said(at("enrol", "0" * 32, tmp_path / "blank.png", code=2))


def test_a_picture_of_somebody_else_is_not_enrolled_twice(known, portrait):
    done = known("enrol", "Anna", portrait, code=2)
    assert "in the gallery already, as face 1 of Grace" in said(done)
    done = known("enrol", "Eileen", portrait, code=2)
    assert "face 1 of Grace; if that is wrong: mien gallery move 1 --to" in said(done)


def test_list_and_show(known, tmp_path, portrait):
    columns, *rows = [line.split("\t") for line in known("list").stdout.splitlines()]
    assert columns == ["name", "faces", "since", "consent", "expires", "id"]
    assert [row[:2] for row in rows] == [["Grace", "1"], ["Eileen", "1"]]
    listed = answer(known("list", "--json"))
    assert [person["name"] for person in listed["people"]] == ["Grace", "Eileen"]
    assert listed["gallery"]["embedder"] == "dlib-resnet"
    columns, *faces = [line.split("\t") for line in known("show", "Grace").stdout.splitlines()]
    assert [dict(zip(columns, face, strict=True))["source"] for face in faces] == [str(portrait)]
    shown = answer(known("show", rows[0][-1], "--json"))
    assert (shown["person"]["name"], [face["id"] for face in shown["faces"]]) == ("Grace", [1])
    assert answer(known("show", "--nobody", "--json"))["faces"] == []
    known("show", code=2)
    known("show", "Grace", "--nobody", code=2)
    assert "nobody called 'Ann' in the gallery; `mien gallery list`" in said(known("show", "Ann", code=2))
    assert "nobody called 'grace' in the gallery; do you mean 'Grace'?" in said(known("show", "grace", code=2))


def test_on_a_terminal_a_name_leaves_no_room_for_its_id(known, monkeypatch):
    ids = {row.split("\t")[0]: row.split("\t")[-1] for row in known("list").stdout.splitlines()}
    known("split", "Eileen", "2")
    monkeypatch.setattr(console.stdout(), "_force_terminal", True)
    shown = " ".join(said(known("list")).split())
    assert "Grace" in shown
    assert ids["Grace"] not in shown
    assert "(unnamed)" in shown


def test_enrol_doubts_a_name(known, tmp_path, portrait, astronaut):
    copy = tmp_path / "copy.png"
    Image.open(portrait).resize((410, 480)).save(copy)
    told = known("enrol", "GRACE", copy)
    assert f"{copy}: the same face is enrolled as Grace: which name is right?" in said(told)
    assert "GRACE is new, beside Grace: the same person?" in said(told)
    assert "`mien gallery undo` takes this back" in said(told)
    assert "undone: enrol\ngone: GRACE" in said(known("undo"))
    (face,) = answer(known("enrol", "Eileen", copy, "--json"))["enrolled"]
    assert [line.split(":")[0].split(" (")[0] for line in face["warnings"]] == [
        "the same face is enrolled as Grace",
        "unlike the other face of this person",
    ]
    known("undo")
    small = tmp_path / "small.jpg"
    Image.open(astronaut).convert("RGB").rotate(8).save(small)
    assert "undo" not in said(known("enrol", "Eileen", small))


def test_corrections_and_undo(known):
    assert "Rear Admiral Hopper; 1 face" in said(known("rename", "Grace", "Rear Admiral Hopper"))
    assert "undone: rename\nnow Grace; 1 face" in said(known("undo"))
    assert "taken" in said(known("rename", "Grace", "Eileen", code=2))
    assert answer(known("merge", "Eileen", "Grace", "--json"))["person"]["faces"] == 2
    assert "Eileen; 1 face" in said(known("split", "Grace", "2", "--name", "Eileen"))
    known("move", "2", "--to", "Grace")
    known("move", "2", "--to-nobody")
    assert "faces without a name: 1" in said(known("list"))
    known("forbid", "2", "Grace")
    assert answer(known("show", "Grace", "--json"))["not_this_person"] == [2]
    person = answer(known("show", "Grace", "--json"))["person"]["id"]
    assert answer(known("undo", "--json")) == {"schema": 1, "undone": "forbid", "people": []}
    known("move", "2", "--to", "Grace")
    assert answer(known("undo", "--json"))["people"] == [person]
    known("move", "2", code=2)
    known("move", "99", "--to", "Grace", code=2)


def test_removal_asks_first(known, mien, tmp_path):
    done = known("remove", "Grace", code=2)
    assert "--yes" in said(done)
    assert "Grace" in said(known("list"))
    asked = mien("gallery", "remove", "Grace", "--gallery", tmp_path / "people.db", stdin=b"y\n")
    assert asked.returncode == 0
    assert b"removed: Grace and 1 face" in asked.stdout
    person = re.search(r"by the id ([0-9a-f]{32})", asked.stdout.decode()).group(1)
    assert [event["action"] for event in answer(known("audit", person, "--json"))["events"]] == ["enrol", "remove"]
    assert "the id that `mien gallery remove` said" in said(known("audit", "Grace", code=2))
    assert "Grace" not in said(known("list"))
    assert b"Grace" not in (tmp_path / "people.db").read_bytes()
    assert "gone for good" in said(known("undo", code=2))
    assert answer(known("remove", "--face", "2", "--yes", "--json"))["removed"] == {"face": 2}
    known("remove", code=2)


def test_consent_expiry_and_purge(known):
    assert "consent: signed form" in said(known("consent", "Grace", "signed form"))
    assert "consent withdrawn (" in said(known("consent", "Grace", "--withdrawn"))
    assert "withdrawn 20" in said(known("list"))
    assert answer(known("show", "Grace", "--json"))["person"]["withdrawn_at"].startswith("20")
    assert answer(known("show", "Eileen", "--json"))["person"]["withdrawn_at"] is None
    known("consent", "Grace", code=2)
    assert "expires 2099-05-01 00:00 UTC" in said(known("expire", "Grace", "2099-05-01"))
    assert "nobody has expired" in said(known("purge"))
    known("expire", "Grace", "2020-01-01")
    assert "--yes" in said(known("purge", code=2))
    assert "expired, and still known: 1; `mien gallery purge`" in said(known("list"))
    assert answer(known("purge", "--yes", "--json"))["removed"][0]["person"] == "Grace"
    for bad in ("soon", "2020-13-01", "99999999d"):
        assert "no date" in said(known("expire", "Eileen", bad, code=2))
    assert answer(known("expire", "Eileen", "never", "--json"))["person"]["expires"] is None


def test_export_and_audit(known, tmp_path):
    assert "1 face" in said(known("export", "Grace", tmp_path / "grace"))
    assert json.loads((tmp_path / "grace" / "person.json").read_text())["person"]["name"] == "Grace"
    assert np.load(tmp_path / "grace" / "vectors.npy").shape == (1, 128)
    assert "name a new folder" in said(known("export", "Grace", tmp_path / "grace", code=2))
    events = answer(known("audit", "--json"))["events"]
    assert [event["action"] for event in events] == ["enrol", "enrol", "export"]
    assert [line.split("\t")[0] for line in known("audit", "--last", "1").stdout.splitlines()] == ["event", "3"]
    assert "Grace" not in said(known("audit"))


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_cannot_be_written_can_be_looked_at(known, tmp_path):
    tmp_path.chmod(0o555)
    top = Path(tempfile.gettempdir())
    for folder in [parent for parent in tmp_path.parents if top in parent.parents]:  # so that somebody else gets in
        folder.chmod(folder.stat().st_mode | 0o011)
    (tmp_path / "people.db").chmod(0o444)
    before, root = (tmp_path / "people.db").read_bytes(), os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        told = [said(known(*words)) for words in (("list",), ("show", "Grace"), ("audit",))]
        refused = said(known("rename", "Grace", "G. H.", code=2))
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o755)
    assert all(word in text for word, text in zip(("Eileen", "1 face", "enrol"), told, strict=True))
    assert "read-only" in refused
    assert (tmp_path / "people.db").read_bytes() == before


def test_what_is_no_gallery_is_refused_in_one_line(at, tmp_path, portrait):
    assert "there is no gallery" in said(at("list", code=2))
    for content in (b"", b"not a gallery", os.urandom(8192)):
        (tmp_path / "people.db").write_bytes(content)
        for arguments in (("list",), ("enrol", "Ann", portrait)):
            done = at(*arguments, code=2)
            assert len(done.stderr.strip().splitlines()) == 1
        assert (tmp_path / "people.db").read_bytes() == content
    (tmp_path / "people.db").unlink()
    with sqlite3.connect(tmp_path / "people.db") as other:
        other.execute("CREATE TABLE mine (x)")
    assert len(at("list", code=2).stderr.strip().splitlines()) == 1


def test_a_key_that_is_missing_or_wrong_is_said_before_the_work(known, at, tmp_path, portrait, monkeypatch):
    def worked(*_, **__):
        raise AssertionError("an analyzer was made")

    monkeypatch.setattr(options, "make_analyzer", worked)
    (tmp_path / "short.key").write_text("abc")
    (tmp_path / "short.key").chmod(0o600)
    (tmp_path / "pictures" / "Ann").mkdir(parents=True)
    (tmp_path / "pictures" / "Ann" / "1.jpg").write_bytes(portrait.read_bytes())
    new_key(f"file:{tmp_path / 'new.key'}")
    missing, short, other = (f"file:{tmp_path / name}" for name in ("none.key", "short.key", "new.key"))
    for arguments in (("enrol", "Ann", portrait), ("import", tmp_path / "pictures")):
        for key, complaint in ((missing, "no such file"), (short, "is no key"), (other, "is not encrypted")):
            done = known(*arguments, "--key", key, code=2)
            assert complaint in said(done)
            assert len(done.stderr.strip().splitlines()) == 1
        for key, complaint in ((missing, "no such file"), (short, "is no key")):
            done = at(*arguments, "--key", key, "--gallery", tmp_path / "later.db", code=2)
            assert complaint in said(done)
    assert not (tmp_path / "later.db").exists()


def test_another_embedder_is_refused(known, portrait):
    assert "reembed" in said(known("enrol", "Ann", portrait, "--embedder", "sface", code=2))
    assert "reembed" in said(known("enrol", "Ann", portrait, "--accurate", code=2))
