"""Import of named pictures: what is enrolled, what is not and why, and that running it again goes on."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli.app import app
from mien.errors import DataError
from mien.gallery.gallery import Gallery
from mien.gallery.import_sources import read_entries
from mien.gallery.importing import Gate, import_pictures, sharpness
from mien.gallery.kept_crops import read_crop
from mien.ops.image import load_image, save_image

STRANGER = ("Hugo_Chavez", 1)


@pytest.fixture
def db(tmp_path):
    with Gallery.open(tmp_path / "people.db") as opened:
        yield opened


@pytest.fixture
def people(tmp_path):
    """A function that puts pictures into people/NAME/."""
    root = tmp_path / "people"
    root.mkdir()

    def add(name, *pictures):
        (root / name).mkdir(exist_ok=True)
        for picture in pictures:
            shutil.copy(picture, root / name)
        return root

    return add


@pytest.fixture
def run(db, analyzer):
    def run(source, gate=None, **how):
        return list(import_pictures(db, analyzer, read_entries(source, **how), gate=gate))

    return run


def table(folder, text, name="people.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def told(outcomes):
    return {outcome.path.replace(os.sep, "/"): (outcome.status, outcome.reason) for outcome in outcomes}


# Folders


def test_a_folder_for_each_person(run, db, people, portrait, astronaut):
    people("Grace Hopper", portrait)
    root = people("Eileen Collins", astronaut)
    outcomes = run(root)
    assert told(outcomes) == {
        "Eileen Collins/astronaut.jpg": ("enrolled", ""),
        "Grace Hopper/grace_hopper.jpg": ("enrolled", ""),
    }
    face = db.faces("Grace Hopper")[0]
    assert (face.id, face.score) == (outcomes[1].face, pytest.approx(outcomes[1].score, abs=1e-3))
    assert face.box[2] - face.box[0] == pytest.approx(outcomes[1].width, abs=0.1)
    assert outcomes[1].sharpness > 50
    assert not face.has_crop


def test_running_it_again_changes_nothing(run, db, people, portrait, astronaut):
    root = people("Grace Hopper", portrait)
    run(root)
    people("Eileen Collins", astronaut)
    before, events = db.vectors([1]), len(db.audit())
    outcomes = run(root)
    assert {outcome.name: (outcome.status, outcome.face) for outcome in outcomes} == {
        "Eileen Collins": ("enrolled", 2),
        "Grace Hopper": ("known", 1),
    }
    assert db.count() == (2, 2)
    assert np.array_equal(db.vectors([1]), before)
    assert [outcome.status for outcome in run(root)] == ["known", "known"]
    assert len(db.audit()) == events + 1  # an import that changes nothing leaves no trace


def test_copies_are_taken_once(run, db, people, tmp_path, portrait):
    root = people("Grace", portrait)
    shutil.copy(portrait, root / "Grace" / "same.jpg")
    save_image(root / "Grace" / "zz_encoded_anew.png", load_image(portrait))
    outcomes = run(root)
    assert [outcome.status for outcome in outcomes] == ["enrolled", "duplicate", "duplicate"]
    assert {outcome.face for outcome in outcomes} == {1}
    assert db.count() == (1, 1)


def test_the_same_picture_under_two_names_is_left_out(run, db, people, portrait):
    people("Amazing Grace", portrait)
    outcomes = run(people("Grace Hopper", portrait))
    assert told(outcomes)["Grace Hopper/grace_hopper.jpg"] == ("left out", "other name")
    assert "Amazing Grace" in outcomes[1].message
    assert db.count() == (1, 1)


def test_the_same_face_under_two_names_is_a_warning(run, db, people, portrait, tmp_path):
    people("Amazing Grace", portrait)
    save_image(tmp_path / "lighter.jpg", np.clip(load_image(portrait) * 1.1, 0, 255).astype(np.uint8))
    outcomes = run(people("Grace Hopper", tmp_path / "lighter.jpg"))
    assert [outcome.status for outcome in outcomes] == ["enrolled", "enrolled"]
    assert outcomes[0].warnings == ()
    assert len(outcomes[1].warnings) == 1
    assert "Amazing Grace" in outcomes[1].warnings[0]
    assert db.count() == (2, 2)


def test_a_bad_file_never_stops_the_rest(run, db, people, portrait, astronaut, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(portrait.read_bytes()[:20_000])
    (tmp_path / "empty.png").touch()
    (tmp_path / "words.jpg").write_text("no picture")
    save_image(tmp_path / "wall.png", np.full((200, 200, 3), 120, np.uint8))
    bad = [tmp_path / name for name in ("cut.jpg", "empty.png", "words.jpg", "wall.png")]
    outcomes = run(people("Grace", *bad, portrait))
    assert told(outcomes) == {
        "Grace/cut.jpg": ("failed", "unreadable"),
        "Grace/empty.png": ("failed", "unreadable"),
        "Grace/grace_hopper.jpg": ("enrolled", ""),
        "Grace/wall.png": ("left out", "no face"),
        "Grace/words.jpg": ("failed", "unreadable"),
    }
    assert all("\n" not in outcome.message and "cut.jpg" in outcome.message for outcome in outcomes[:1])
    assert db.count() == (1, 1)


def test_a_folder_that_is_no_name_is_refused(run, db, people, portrait, astronaut):
    people("0" * 32, astronaut)  # looks like an id
    outcomes = run(people("Grace", portrait))
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [("failed", "refused"), ("enrolled", "")]
    assert db.count() == (1, 1)


def test_odd_names_of_folders(run, db, people, portrait, astronaut):
    people("José [1] *?", portrait)
    outcomes = run(people(".hidden", astronaut))
    assert [outcome.status for outcome in outcomes] == ["enrolled"]
    assert db.people()[0].name == "José [1] *?"


@pytest.mark.parametrize("make", ["empty folder", "no folder", "folder of pictures"])
def test_no_pictures_is_one_line(make, tmp_path, portrait):
    place = tmp_path / "people"
    if make != "no folder":
        place.mkdir()
    if make == "folder of pictures":
        shutil.copy(portrait, place)
    with pytest.raises(DataError, match=r"people: (no folders|no such)"):
        read_entries(place)


# The gate


def test_small_and_blurred_faces_are_left_out(run, people, portrait, tmp_path):
    import cv2

    image = load_image(portrait)
    save_image(tmp_path / "small.png", cv2.resize(image, None, fx=0.13, fy=0.13, interpolation=cv2.INTER_AREA))
    save_image(tmp_path / "blurred.png", cv2.GaussianBlur(image, (0, 0), 12))
    root = people("Grace", tmp_path / "small.png", tmp_path / "blurred.png")
    assert told(run(root)) == {
        "Grace/blurred.png": ("left out", "blurred"),
        "Grace/small.png": ("left out", "small"),
    }
    assert told(run(root, Gate(min_face=10, min_sharpness=0, min_quality=0)))["Grace/small.png"][0] == "enrolled"


def test_faces_that_recognition_could_not_work_from_are_left_out(run, people, portrait, tmp_path):
    image = load_image(portrait)
    image[:, :270] = 0  # half of the face
    save_image(tmp_path / "half.png", image)
    root = people("Grace", portrait, tmp_path / "half.png")
    good, bad = sorted(run(root), key=lambda outcome: outcome.status)
    assert (good.status, bad.status, bad.reason) == ("enrolled", "left out", "poor")
    assert good.quality > 0.9 > 0.6 > bad.quality
    assert "uncover the face" in bad.message


def test_the_lowest_score(run, people, portrait):
    root = people("Grace", portrait)
    assert told(run(root, Gate(min_score=0.999))) == {"Grace/grace_hopper.jpg": ("left out", "low score")}


def test_of_several_faces_the_largest(run, db, people, shared_photos):
    root = people("Somebody", shared_photos / "two_people.jpg")
    (refused,) = run(root, Gate(refuse_several=True))
    assert (refused.status, refused.reason, refused.faces) == ("left out", "several faces", 2)
    (taken,) = run(root)
    assert taken.status == "enrolled"


def test_sharpness_falls_with_blur(analyzer, portrait):
    import cv2

    image = load_image(portrait)
    face = analyzer.detector([image])[0].largest()
    values = [sharpness(cv2.GaussianBlur(image, (0, 0), s) if s else image, face) for s in (0, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 10 * values[-1]


# Outliers


@pytest.fixture(scope="module")
def some_people(shared, tmp_path_factory):
    """Three pictures of one man, and one of another."""
    root = tmp_path_factory.mktemp("lfw")
    names = [f"lfw/{name}/{name}_000{i}.jpg" for name, i in (*(("Abdullah_Gul", i) for i in (1, 2, 3)), STRANGER)]
    with zipfile.ZipFile(shared / "lfw_dev.zip") as archive:
        paths = [Path(archive.extract(name, root)) for name in names]
    return paths[:3], paths[3]


def test_a_face_of_somebody_else_is_left_out(run, db, people, some_people):
    three, stranger = some_people
    root = people("Somebody", *three, stranger)
    outcomes = run(root)
    assert {Path(o.path).name: o.reason for o in outcomes} == {
        **{path.name: "" for path in three},
        stranger.name: "unlike the others",
    }
    assert db.count() == (1, 3)
    (again,) = [o for o in run(root, Gate(take_unlike=True)) if o.status != "known"]
    assert again.status == "enrolled"
    assert "name right" in again.warnings[0]


def test_a_wrong_picture_saved_twice_is_still_alone(run, db, people, some_people, tmp_path):
    three, stranger = some_people
    save_image(tmp_path / "copy.png", load_image(stranger))
    run(people("Somebody", *three, stranger, tmp_path / "copy.png"))
    assert db.count() == (1, 3)


def test_two_faces_that_disagree_are_both_taken_with_a_warning(run, db, people, portrait, astronaut):
    outcomes = run(people("Somebody", portrait, astronaut))
    assert [o.status for o in outcomes] == ["enrolled", "enrolled"]
    assert all("unlike the other face" in o.warnings[0] for o in outcomes)


# Tables


def test_a_table_with_terms(run, db, tmp_path, portrait, astronaut):
    shutil.copy(portrait, tmp_path / "a.jpg")
    shutil.copy(astronaut, tmp_path / "b.jpg")
    text = (
        "\ufeffPath, NAME ,consent,expires,other\r\n"
        'a.jpg,Grace Hopper,"signed, 2026",2099-01-31,x\r\n'
        "b.jpg,Eileen Collins,,,\r\n"
    )
    outcomes = run(table(tmp_path, text))
    assert [o.status for o in outcomes] == ["enrolled", "enrolled"]
    grace = db.person("Grace Hopper")
    assert (grace.consent, grace.expires.isoformat()) == ("signed, 2026", "2099-01-31T00:00:00+00:00")
    assert (db.person("Eileen Collins").consent, db.person("Eileen Collins").expires) == (None, None)


def test_bad_rows_never_stop_the_rest(run, db, tmp_path, portrait):
    inner = tmp_path / "table"
    inner.mkdir()
    shutil.copy(portrait, inner / "a.jpg")
    shutil.copy(portrait, tmp_path / "outside.jpg")
    (inner / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    rows = [
        ("A", "../outside.jpg", "", "leads out"),
        ("B", str(tmp_path / "outside.jpg"), "", "leads out"),
        ("C", "link.jpg", "", "leads out"),
        ("D", "", "", "no path"),
        ("", "a.jpg", "", "not a name"),
        ("E", "a.jpg", "soon", "no date"),
        ("F", "a.jpg", "2001-01-01", "has passed"),
        ("G", "none.jpg", "", "no such file"),
        ("H", "https://example.org/a.jpg", "", "a web address"),
        ("I", "a.jpg", "2030-01-01, or so", "4 fields, the header has 3"),
        ("Grace", "a.jpg", "", ""),
    ]
    text = "name,path,expires\n" + "".join(f"{name},{path},{expires}\n" for name, path, expires, _ in rows)
    path = table(inner, text)
    for outcome, (name, _, _, said) in zip(run(path), rows, strict=True):
        assert outcome.name == name
        assert (outcome.status == "enrolled") == (not said)
        assert said in outcome.message
    assert db.count() == (1, 1)
    statuses = {o.name: o.reason for o in run(path, anywhere=True) if o.name in ("A", "B", "C")}
    assert statuses == dict.fromkeys("ABC", "other name")  # the same bytes as Grace


def test_other_terms_of_one_person_are_refused(run, db, tmp_path, portrait, astronaut):
    shutil.copy(portrait, tmp_path / "a.jpg")
    shutil.copy(astronaut, tmp_path / "b.jpg")
    outcomes = run(table(tmp_path, "name,path,consent\nGrace,a.jpg,all\nGrace,b.jpg,research only\n"))
    assert [o.status for o in outcomes] == ["enrolled", "failed"]
    assert db.person("Grace").consent == "all"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column 'name'"),
        (b"name,path\n", "no rows"),
        (b"person,file\nA,a.jpg\n", "no column 'name'"),
        (b"name,name,path\nA,B,a.jpg\n", "twice"),
        ("name,path\nJosé,a.jpg\n".encode("latin-1"), "not UTF-8"),
        ("name,path\nA,a.jpg\n".encode("utf-16"), "not UTF-8"),
        (b"name,path\nA," + b"x" * 2_000_000 + b"\n", "longer than any row"),
        (b"name,path\nA," + b"x" * 200_000 + b"\n", "not a row"),
        (b'name,path\n"A,a.jpg\n', "not a row"),
        (os.urandom(5000), "people.csv"),
    ],
)
def test_what_is_no_table(content, said, tmp_path):
    with pytest.raises(DataError) as caught:
        read_entries(table(tmp_path, content))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# Kept crops, interruptions, the command


def test_crops_are_kept_where_the_gallery_keeps_them(tmp_path, analyzer, people, portrait):
    with Gallery.open(tmp_path / "crops.db", keep_crops=True) as db:
        list(import_pictures(db, analyzer, read_entries(people("Grace", portrait))))
        image, face = read_crop(db.crop(1))
        embedding = analyzer.embedder([image], [face])[0].embeddings[0]
        assert np.linalg.norm(embedding - db.vectors([1])[0]) < 0.06


def test_a_kill_loses_nothing_that_was_told(tmp_path, people, analyzer, portrait, astronaut):
    """SIGKILL in the middle: what was reported is there, the gallery opens, and a second run completes it."""
    root = people("Grace", portrait)
    for i in range(8):
        people(f"Copy {i}")
        save_image(root / f"Copy {i}" / "a.png", np.roll(load_image(astronaut), i * 3, axis=1))
    program = (
        "import sys\nfrom mien import FaceAnalyzer\nfrom mien.gallery.gallery import Gallery\n"
        "from mien.gallery.import_sources import read_entries\nfrom mien.gallery.importing import import_pictures\n"
        "db, a = Gallery.open(sys.argv[1]), FaceAnalyzer(only=('detect', 'embed'), threads=1)\n"
        "for o in import_pictures(db, a, read_entries(sys.argv[2])):\n    print(o.name, flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "people.db"), str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        first = []
        for _ in range(3):
            first.append(process.stdout.readline().strip())
            process.stdin.write("go\n")
        process.send_signal(signal.SIGKILL)
    with Gallery.open(tmp_path / "people.db") as db:
        assert set(first) <= {person.name for person in db.people()}
        statuses = [o.status for o in import_pictures(db, analyzer, read_entries(root))]
        assert set(statuses) == {"known", "enrolled"}
        assert db.count() == (9, 9)


@pytest.fixture
def mien_import():
    def call(*arguments):
        return CliRunner().invoke(app, ["gallery", "import", "--threads", "1", *map(str, arguments)])

    return call


def test_the_command(mien_import, tmp_path, people, portrait, astronaut):
    (tmp_path / "words.jpg").write_text("no picture")
    root = people("=cmd()", portrait, tmp_path / "words.jpg")
    report = tmp_path / "report.csv"
    done = mien_import(root, "--gallery", tmp_path / "new.db", "--report", report)
    assert done.exit_code == 2  # one file failed
    assert "new.db: enrolled: 1, known: 0, duplicate: 0, left out: 0, failed: 1, warnings: 0" in done.stderr
    columns, row = (line.split("\t") for line in done.stdout.splitlines())
    assert columns == ["picture", "person", "outcome", "why"]
    assert "words.jpg" in row[0]
    assert os.name != "posix" or report.stat().st_mode & 0o077 == 0
    rows = list(csv.DictReader(report.read_text(encoding="utf-8").splitlines()))
    assert [row["status"] for row in rows] == ["enrolled", "failed"]
    assert rows[0]["name"] == "'=cmd()"  # no spreadsheet computes it
    (root / "=cmd()" / "words.jpg").unlink()
    done = mien_import(root, "--gallery", tmp_path / "new.db", "--json", "--report", tmp_path / "report.json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["counts"]["known"] == 1
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(done.stdout)


@pytest.mark.parametrize("report", ["report.txt", "none/report.csv"])
def test_a_report_that_cannot_be_is_said_first(report, mien_import, tmp_path, people, portrait):
    done = mien_import(people("Grace", portrait), "--gallery", tmp_path / "new.db", "--report", tmp_path / report)
    assert done.exit_code == 2
    assert not (tmp_path / "new.db").exists()


def test_another_mode_is_refused(mien_import, tmp_path, people, portrait):
    root = people("Grace", portrait)
    mien_import(root, "--gallery", tmp_path / "new.db")
    done = mien_import(root, "--gallery", tmp_path / "new.db", "--accurate")
    assert done.exit_code == 2
    assert "reembed" in done.stderr
