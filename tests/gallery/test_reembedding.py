"""Reembedding: the gallery is wholly the old one or wholly the new one, whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from mien import FaceAnalyzer
from mien.cli.app import app
from mien.errors import GalleryBusyError, GalleryError, GalleryKeyError, GalleryModelError
from mien.gallery.encryption import AesCipher, new_key, read_key
from mien.gallery.gallery import Gallery
from mien.gallery.import_sources import read_entries
from mien.gallery.importing import import_pictures
from mien.gallery.kept_crops import make_crop
from mien.gallery.records import NewFace
from mien.gallery.reembedding import accuracy, reembed
from mien.models import arcface
from mien.models.base import RuntimeOptions
from mien.models.embedding import FaceEmbedder
from mien.ops.image import load_image, save_image
from tests.gallery.galleries import fresh_url
from tests.models.test_arcface import published


@pytest.fixture(scope="module")
def accurate():
    return FaceAnalyzer(only=("embed",), threads=1, accurate=True).embedder


@pytest.fixture(scope="module")
def other_embedder(tmp_path_factory):
    """An ArcFace-style network of the user's own, with embeddings of 64 numbers."""
    path = tmp_path_factory.mktemp("own") / "own.onnx"
    path.write_bytes(published(dimensions=64))
    entry = arcface.entry_from_file(str(path))
    return FaceEmbedder(entry.record, entry.network(arcface.open_batch(path.read_bytes()), RuntimeOptions(threads=1)))


@pytest.fixture(scope="module")
def seen(analyzer, shared_photos):
    """Two photographs each of three people: name, file, and the face in it."""
    found = []
    for name in ("Biden", "Kit", "Obama"):
        for path in (shared_photos / f"{name.lower()}_{i}.jpg" for i in (1, 2)):
            image = load_image(path)
            face = analyzer.embedder([image], [analyzer.detector([image])[0].largest()])[0]
            new = NewFace(
                embedding=face.embeddings[0],
                source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                box=tuple(face.boxes[0].tolist()),
                landmarks=tuple(map(tuple, face.landmarks[0].tolist())),
                score=float(face.scores[0]),
                crop=make_crop(image, face),
            )
            found.append((name, path, new))
    return found


@pytest.fixture
def pictures(tmp_path, seen):
    """A folder of their own with these photographs."""
    (tmp_path / "pictures").mkdir()
    for _, path, _ in seen:
        shutil.copy(path, tmp_path / "pictures")
    return tmp_path / "pictures"


@pytest.fixture
def make(tmp_path, seen, pictures):
    opened = []

    def make(**how):
        db = Gallery.open(tmp_path / "people.db", **how)
        opened.append(db)
        for name, path, new in seen:
            db.enrol(name, [replace(new, source=str(pictures / path.name))])
        assert db.count() == (3, 6)
        return db

    yield make
    for db in opened:
        db.close()


@pytest.fixture
def progress(tmp_path):
    return tmp_path / "people.db.reembed"


def again(db, **how):
    return Gallery.open(db.url, embedder=None, mode=None, create=False, **how)


def test_from_source_files(make, accurate, progress, pictures):
    db = make()
    steps = []
    result = reembed(db, accurate, progress, report=lambda done, total: steps.append((done, total)))
    assert (result.switched, result.faces, result.resumed, result.missing) == (True, 6, 0, ())
    assert steps[-1] == (6, 6)
    with again(db) as changed:
        assert (changed.info.mode, changed.info.id) == ("accurate", db.info.id)
        image = load_image(pictures / "biden_1.jpg")
        expected = FaceAnalyzer(only=("detect", "embed"), threads=1, accurate=True).largest_face(image)
        assert changed.vectors([1])[0] == pytest.approx(expected.embeddings[0], abs=1e-5)
        assert changed.audit()[-1].action == "reembed"
        assert [p.name for p in changed.people()] == ["Biden", "Kit", "Obama"]
    assert not progress.exists()
    assert result.accuracy_before.rank1 == result.accuracy_after.rank1 == 1.0
    assert result.accuracy_before.faces == 6
    assert result.accuracy_before.separation != result.accuracy_after.separation > 2


def test_from_kept_crops_and_another_dimension(make, other_embedder, progress, pictures):
    db = make(keep_crops=True)
    shutil.rmtree(pictures)
    assert reembed(db, other_embedder, progress).switched
    with again(db) as changed:
        assert (changed.info.dimension, changed.info.metric) == (64, "cosine")
        assert changed.vectors([1, 2, 3, 4, 5, 6]).shape == (6, 64)
        assert all(face.has_crop for face in changed.faces())


def test_missing_pictures_refuse_the_switch(make, accurate, progress, pictures):
    db = make()
    before = db.vectors(range(1, 7))
    (pictures / "biden_1.jpg").unlink()
    save_image(pictures / "obama_1.jpg", np.zeros((50, 50, 3), np.uint8))
    result = reembed(db, accurate, progress)
    assert not result.switched
    assert {face.face: face.reason.rpartition(" ")[2] for face in result.missing} == {1: "file", 5: "since"}
    with again(db) as unchanged:
        assert unchanged.info == db.info
        assert np.array_equal(unchanged.vectors(range(1, 7)), before)
    dropped = reembed(db, accurate, progress, drop_missing=True)
    assert (dropped.switched, dropped.faces, dropped.resumed, len(dropped.missing)) == (True, 4, 4, 2)
    with again(db) as changed:
        assert [face.id for face in changed.faces()] == [2, 3, 4, 6]
        assert changed.audit()[-1].details["dropped"] == [1, 5]
        with pytest.raises(GalleryError, match="gone for good"):
            changed.undo()


def test_faces_without_a_source(make, accurate, progress):
    db = make()
    db.enrol("Nobody", np.ones((1, 128), np.float32))
    (face,) = reembed(db, accurate, progress).missing
    assert (face.face, face.person) == (7, db.person("Nobody").id)
    assert "no crop of it is kept, and where its picture is was never noted" in face.reason


def test_the_same_embedder_is_refused(make, analyzer, progress):
    with pytest.raises(GalleryError, match="already"):
        reembed(make(), analyzer.embedder, progress)
    assert not progress.exists()


def test_an_empty_gallery_is_switched(tmp_path, accurate, progress):
    with Gallery.open(tmp_path / "people.db") as db:
        result = reembed(db, accurate, progress)
        assert (result.switched, result.faces, result.accuracy_before) == (True, 0, None)


class Interrupted(Exception):
    pass


def interrupted(db, embedder, progress, after=2, **how):
    """A run that breaks off after so many faces, two at a time."""

    def stop(done, _):
        if done >= after:
            raise Interrupted

    with pytest.raises(Interrupted):
        reembed(db, embedder, progress, report=stop, **how)


@pytest.fixture
def by_two(monkeypatch):
    monkeypatch.setattr("mien.gallery.reembedding._BATCH", 2)


@pytest.mark.usefixtures("by_two")
@pytest.mark.parametrize("damage", ["none", "cut", "changed", "grown", "all of it"])
def test_it_goes_on_where_it_stopped(damage, make, accurate, progress):
    db = make()
    interrupted(db, accurate, progress, after=4)
    data = progress.read_bytes()
    kept = {"none": 4, "cut": 3, "changed": 3, "grown": 4, "all of it": 0}[damage]
    progress.write_bytes(
        {
            "none": data,
            "cut": data[:-1],
            "changed": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
            "grown": data + b"\xff" * 100,
            "all of it": b"something else",
        }[damage]
    )
    result = reembed(db, accurate, progress)
    assert (result.switched, result.faces, result.resumed) == (True, 6, kept)


@pytest.mark.usefixtures("by_two")
def test_progress_of_another_embedder_is_of_no_use(make, accurate, other_embedder, progress):
    db = make()
    interrupted(db, accurate, progress)
    assert reembed(db, other_embedder, progress).resumed == 0


@pytest.mark.usefixtures("by_two")
def test_faces_that_come_and_go_meanwhile(make, accurate, progress, tmp_path, analyzer, shared_photos):
    db = make(keep_crops=True)
    done = []

    def meddle(*_):
        if not done:
            (tmp_path / "more" / "Rose").mkdir(parents=True)
            shutil.copy(shared_photos / "rose_1.jpg", tmp_path / "more" / "Rose")
            with again(db) as other:
                done.extend(import_pictures(other, analyzer, read_entries(tmp_path / "more")))
                other.remove_face(2)

    result = reembed(db, accurate, progress, report=meddle)
    assert (result.switched, [o.status for o in done]) == (True, ["enrolled"])
    with again(db) as changed:
        assert [face.id for face in changed.faces()] == [1, 3, 4, 5, 6, 7]


def test_an_encrypted_gallery(make, accurate, progress, tmp_path, monkeypatch):
    key = f"file:{tmp_path / 'key'}"
    new_key(key)
    db = make(key=key, keep_crops=True)
    for cipher in (None, AesCipher(new_key(f"file:{tmp_path / 'other'}"))):
        with pytest.raises(GalleryKeyError):
            reembed(db, accurate, progress, cipher=cipher)
    cipher = AesCipher(read_key(key))
    monkeypatch.setattr("mien.gallery.reembedding._BATCH", 2)
    interrupted(db, accurate, progress, after=4, cipher=cipher)
    if os.name == "posix":
        assert stat.S_IMODE(progress.stat().st_mode) == 0o600
    data = progress.read_bytes()
    result = reembed(db, accurate, progress, cipher=cipher)
    assert (result.switched, result.resumed) == (True, 4)
    with again(db, key=key) as changed:
        assert changed.info.key_id == db.info.key_id
        vectors = changed.vectors([1, 2])
        assert not any(vector.tobytes() in data for vector in vectors)  # embeddings are never in the clear


def test_whoever_has_it_open_is_told(make, other_embedder, progress, pictures, analyzer, portrait):
    db = make()
    reembed(db, other_embedder, progress)
    with pytest.raises(GalleryModelError, match="open it again"):
        db.enrol("Grace", np.zeros((1, 128), np.float32))
    shutil.copy(portrait, pictures)
    with pytest.raises(GalleryModelError, match="open it again"):
        list(import_pictures(db, analyzer, read_entries(pictures.parent)))


def test_two_at_once(make, accurate, progress):
    db = make()

    def second(*_):
        with pytest.raises(GalleryBusyError, match="another process"):
            reembed(db, accurate, progress)

    assert reembed(db, accurate, progress, report=second).switched


def test_a_progress_file_that_cannot_be(make, accurate, tmp_path):
    db = make()
    (tmp_path / "folder").mkdir()
    with pytest.raises(GalleryError, match="cannot be written"):
        reembed(db, accurate, tmp_path / "folder")


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_kill_leaves_the_old_gallery_or_the_new_one(after, make, accurate, progress):
    db = make()
    before = db.vectors(range(1, 7))
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom mien import FaceAnalyzer\n"
        "from mien.gallery import reembedding\nfrom mien.gallery.gallery import Gallery\n"
        "reembedding._BATCH = 1\n"
        "def report(done, total):\n    print(done, flush=True)\n    sys.stdin.readline()\n"
        "db = Gallery.open(sys.argv[1], embedder=None, mode=None, create=False)\n"
        "e = FaceAnalyzer(only=('embed',), threads=1, accurate=True).embedder\n"
        "reembedding.reembed(db, e, Path(sys.argv[2]), report=report)\n"
    )
    command = [sys.executable, "-c", program, db.url, str(progress)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        for _ in range(after):
            process.stdout.readline()
            process.stdin.write("go\n")
        process.send_signal(signal.SIGKILL)
    with again(db) as found:
        if found.info.mode == "accurate":  # the last one may be killed behind its switch
            assert after == 6
            return
        assert np.array_equal(found.vectors(range(1, 7)), before)
        result = reembed(found, accurate, progress)
        assert result.switched
        assert result.resumed >= after


def test_accuracy_by_hand():
    vectors = np.float32([[0, 0], [0.1, 0], [1, 0], [1.3, 0], [0.95, 0]])
    measured = accuracy(vectors, ["a", "a", "b", "b", "c"], "l2")
    assert (measured.faces, measured.people, measured.rank1) == (4, 2, 0.75)  # one of b is nearest to c
    assert measured.separation > 1
    assert accuracy(vectors, ["a", "b", "c", "d", "e"], "l2") is None
    assert accuracy(vectors[:2], ["a", "a"], "cosine").separation is None


def test_separation_is_d_prime():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 8)).astype(np.float32)
    people = [str(i % 100) for i in range(400)]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = units @ units.T
    same = np.equal.outer(people, people)
    own, other = alike[same & ~np.eye(400, dtype=bool)], alike[~same]
    expected = (own.mean() - other.mean()) / np.sqrt((own.var() + other.var()) / 2)
    assert accuracy(vectors, people, "cosine").separation == pytest.approx(expected, abs=1e-3)


@pytest.fixture
def run_command():
    return lambda *args: CliRunner().invoke(app, ["gallery", "reembed", "--threads", "1", *map(str, args)])


def test_the_command(run_command, make, pictures):
    db = make()
    moved = pictures / "biden_1.jpg"
    content = moved.read_bytes()
    moved.unlink()
    refused = run_command("--gallery", db.url, "--accurate")
    assert refused.exit_code == 2
    assert "1 faces cannot be embedded anew" in refused.stderr
    assert "no such file" in refused.stdout.replace("\n", " ")
    moved.write_bytes(content)
    done = run_command("--gallery", db.url, "--accurate", "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert (told["switched"], told["faces"], told["resumed"]) == (True, 6, 5)
    assert (told["before"]["mode"], told["after"]["mode"]) == ("fast", "accurate")
    assert told["accuracy"]["after"]["rank1"] == 1.0
    assert run_command("--gallery", db.url, "--accurate").exit_code == 2


def test_the_command_needs_a_gallery(run_command, tmp_path):
    done = run_command("--gallery", tmp_path / "none.db")
    assert done.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_on_postgresql(postgres, tmp_path, seen, other_embedder, progress):
    url = fresh_url("postgres", tmp_path, postgres)
    with Gallery.open(url, keep_crops=True) as db:
        for name, _, new in seen:
            db.enrol(name, [new])
        assert reembed(db, other_embedder, progress).switched
    with Gallery.open(url, embedder=None, mode=None, create=False) as changed:
        assert (changed.info.dimension, changed.info.metric) == (64, "cosine")
        assert changed.vectors([1, 6]).shape == (2, 64)
        assert changed.audit()[-1].action == "reembed"
