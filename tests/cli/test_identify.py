"""`mien identify`: names, or unknown; exit code 0 either way."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mien import load_image
from mien.gallery.gallery import Gallery
from tests.models.test_arcface import published


@pytest.fixture
def people(tmp_path, analyzer, portrait):
    """A gallery that knows Grace Hopper."""
    path = tmp_path / "people.db"
    with Gallery.open(path) as gallery:
        gallery.enrol("Grace", analyzer.largest_face(portrait))
    return path


@pytest.fixture
def copy(tmp_path, portrait):
    path = tmp_path / "copy.png"
    Image.open(portrait).resize((256, 300)).save(path)
    return path


def identities(done) -> list[dict]:
    assert done.returncode == 0, done.stderr.decode()
    return [face["identity"] for line in done.stdout.splitlines() for face in json.loads(line)["faces"]]


def test_known_and_unknown_as_json(mien, people, copy, astronaut):
    done = mien("identify", copy, astronaut, "--gallery", people, "--json")
    grace, unknown = identities(done)
    assert grace["person"] == "Grace"
    assert grace["similarity"] > 0.8
    assert grace["probability"] > 0.99
    assert unknown["person"] is None
    assert unknown["similarity"] < 0.55
    assert unknown["probability"] > 0.9
    first = json.loads(done.stdout.splitlines()[0])
    assert first["schema"] == 1
    assert first["image"] == {"path": str(copy), "width": 256, "height": 300}
    assert set(first["faces"][0]) == {"box", "score", "landmarks", "identity"}


def test_the_table_and_candidates(mien, people, astronaut):
    table = mien("identify", astronaut, "--gallery", people, "--candidates", "1", COLUMNS="100").stdout.decode()
    assert "unknown" in table
    assert "Grace" in table
    assert "Grace" not in mien("identify", astronaut, "--gallery", people).stdout.decode()


def test_a_long_name_stays_in_one_line(mien, people, portrait):
    name = "Grace Brewster Murray Hopper of Arlington"
    with Gallery.open(people) as gallery:
        gallery.rename("Grace", name)
    shown = mien("identify", portrait, "--gallery", people, "--candidates", "1", COLUMNS="80").stdout.decode()
    assert sum(name in line for line in shown.splitlines()) == 2


def test_annotated_pictures_carry_names(mien, people, copy, tmp_path):
    done = mien("identify", copy, "--save", tmp_path / "out", MIEN_GALLERY=str(people))
    assert done.returncode == 0
    assert b"annotated pictures: 1" in done.stderr
    saved = load_image(tmp_path / "out" / "copy.png")
    assert (saved != load_image(copy)).any()


def test_standard_input_and_pictures_without_faces(mien, people, portrait, tmp_path):
    (grace,) = identities(mien("identify", "-", "--gallery", people, "--json", stdin=portrait.read_bytes()))
    assert grace["person"] == "Grace"
    Image.new("RGB", (300, 300), "white").save(tmp_path / "blank.png")
    assert identities(mien("identify", tmp_path / "blank.png", "--gallery", people, "--json")) == []


def test_a_bad_file_does_not_stop_the_others(mien, people, portrait, tmp_path):
    done = mien("identify", tmp_path / "nowhere.jpg", portrait, "--gallery", people, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["faces"][0]["identity"]["person"] == "Grace"
    assert b"nowhere.jpg: no such file" in done.stderr


def test_searches_are_audited_unless_they_are_not(mien, people, portrait):
    before = people.read_bytes()
    assert identities(mien("identify", portrait, "--gallery", people, "--json", "--no-audit"))[0]["person"] == "Grace"
    assert people.read_bytes() == before
    mien("identify", portrait, "--gallery", people)
    with Gallery.open(people) as gallery:
        assert [event.action for event in gallery.audit()] == ["enrol", "identify"]


@pytest.mark.parametrize("fpir", ["0", "1", "-1", "nan"])
def test_a_rate_out_of_range_is_refused(mien, people, portrait, fpir):
    done = mien("identify", portrait, "--gallery", people, "--fpir", fpir)
    assert done.returncode == 2
    assert b"between 0 and 1" in done.stderr


def test_no_gallery_is_one_line_before_any_work(mien, portrait, tmp_path):
    done = mien("identify", portrait, "--gallery", tmp_path / "people.db")
    assert done.returncode == 2
    (line,) = done.stderr.decode().strip().splitlines()
    assert "people.db: there is no gallery" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.data
def test_real_people(mien, tmp_path, analyzer, shared_photos):
    path = tmp_path / "people.db"
    with Gallery.open(path) as gallery:
        for name in ("obama", "biden", "rose"):
            gallery.enrol(name, analyzer.largest_face(shared_photos / f"{name}_1.jpg"))
    probes = [shared_photos / f"{name}_2.jpg" for name in ("obama", "biden", "rose", "kit")]
    done = mien("identify", *probes, "--gallery", path, "--json")
    largest = []
    for line in done.stdout.splitlines():
        faces = json.loads(line)["faces"]
        widths = [face["box"][2] - face["box"][0] for face in faces]
        largest.append(faces[int(np.argmax(widths))]["identity"]["person"])
    assert largest == ["obama", "biden", "rose", None]


def test_a_threshold_by_hand(mien, people, copy):
    low, high = (
        identities(mien("identify", copy, "--gallery", people, "--json", "--threshold", at))[0]["person"]
        for at in ("-1", "1")
    )
    assert (low, high) == ("Grace", None)
    refused = mien("identify", copy, "--gallery", people, "--threshold", "0.5", "--fpir", "0.1")
    assert refused.returncode == 2
    assert b"either --fpir or --threshold" in refused.stderr


def test_an_embedder_that_nobody_has_measured_needs_a_threshold(mien, tmp_path, portrait, copy):
    path, own = tmp_path / "other.db", tmp_path / "own.onnx"
    own.write_bytes(published())
    model = ("--gallery", path, "--embedder", f"arcface:{own}")
    assert mien("gallery", "enrol", "Grace", portrait, *model).returncode == 0
    refused = mien("identify", copy, *model)
    (line,) = refused.stderr.decode().strip().splitlines()
    assert refused.returncode == 2
    assert "--threshold" in line
    table = mien("identify", copy, *model, "--threshold", "-1").stdout.decode()
    assert "Grace" in table
    assert "%" not in table
    (identity,) = identities(mien("identify", copy, *model, "--threshold", "-1", "--json"))
    assert set(identity) == {"person", "id", "similarity"}
