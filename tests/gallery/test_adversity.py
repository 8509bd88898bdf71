"""Galleries under adversity: full disks, notes that were tampered with, many hands at once."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryBusyError, GalleryError
from mien.gallery.gallery import Gallery
from mien.gallery.records import NewFace
from tests.gallery.test_search_cache import holds

ROOT = Path(__file__).parents[2]
resource = pytest.importorskip("resource", reason="limits of POSIX")


def embeddings(n, seed=0):
    """(N, 128) float32, far from each other."""
    return np.random.default_rng(seed).normal(0, 0.2, (n, 128)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


@pytest.fixture
def gallery(path):
    with Gallery.open(path, actor="tester") as opened:
        yield opened


@contextmanager
def no_file_beyond(size):
    """As on a full disk: files cannot grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_removal_says_what_it_could_not_clean(gallery, path):
    gallery.enrol("Unmistakable", embeddings(2))
    crowd = gallery.enrol("Crowd", embeddings(1, 1)).person.id
    with gallery.store.write() as writer:
        writer.add_faces([NewFace(row, crowd) for row in embeddings(1500, 2)])
    gallery.close()  # moves all that was written into the file
    with Gallery.open(path) as again:
        with no_file_beyond(300_000), pytest.raises(GalleryError, match=r"^removed; but traces may be left") as error:
            again.remove("Unmistakable")
        assert "nothing was changed" not in str(error.value)
        assert [person.name for person in again.people()] == ["Crowd"]
        again.purge()
    assert b"Unmistakable" not in b"".join(file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize(
    "steps",
    [
        [{"do": "conquer"}],
        [{"do": ["move"]}],
        [{}],
        [{"do": "move"}],
        [{"do": "move", "faces": 5, "person": None}],
        [{"do": "move", "faces": ["one", None], "person": None}],
        [{"do": "set_person", "person": 5}],
        [{"do": "set_person", "person": {}}],
        [{"do": "add_person", "person": {"id": 1, "created": 2, "consent_at": None, "expires": None}}],
        [{"do": "add_person", "person": {"id": "x", "more": 1, "created": "?", "consent_at": "", "expires": ""}}],
        [{"do": "forbid", "face": "one", "person": None}],
        [{"do": "remove_faces", "faces": None}],
    ],
)
def test_notes_of_undo_that_were_tampered_with(gallery, path, steps):
    gallery.enrol("A", embeddings(2))
    gallery.rename("A", "B")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE undo SET steps = ? WHERE id = (SELECT max(id) FROM undo)", [json.dumps(steps)])
    raw.close()
    with pytest.raises(GalleryError) as error:
        gallery.undo()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    assert [person.name for person in gallery.people()] == ["B"]


MIXED = """
import json, sys, time
import numpy as np
from mien.errors import GalleryBusyError, GalleryError
from mien.gallery.gallery import Gallery
path, me, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
random = np.random.default_rng(me)
done = dict.fromkeys(("enrol", "merge", "remove", "undo", "identify", "move", "refused"), 0)
end = time.monotonic() + seconds
with Gallery.open(path, timeout=60, actor=f"p{me}") as gallery:
    print("ready", flush=True)
    n = 0
    while time.monotonic() < end:
        n += 1
        kind = random.choice(["enrol", "enrol", "merge", "remove", "undo", "identify", "move"])
        try:
            people = gallery.people()
            names = [person.name for person in people] or ["nobody"]
            if kind == "enrol":
                gallery.enrol(f"p{me} {n}", random.normal(0, 0.2, (3, 128)).astype(np.float32))
            elif kind == "merge":
                gallery.merge(random.choice(names), random.choice(names))
            elif kind == "remove":
                gallery.remove(random.choice(names))
            elif kind == "undo":
                gallery.undo()
            elif kind == "identify":
                gallery.identify(random.normal(0, 0.2, (2, 128)).astype(np.float32))
            else:
                gallery.move([face.id for face in gallery.faces()[:1]], random.choice(names))
            done[kind] += 1
        except GalleryError as error:
            if isinstance(error, GalleryBusyError) and not str(error).startswith("removed"):
                raise
            if "tampered" in str(error) or "damaged" in str(error):
                raise
            if str(error).startswith("removed"):
                done["remove"] += kind == "remove"
                done["undo"] += kind == "undo"
            else:
                done["refused"] += 1
print(json.dumps(done))
"""


def test_many_hands_lose_nothing(gallery, path):
    processes, seconds = 3, float(os.environ.get("MIEN_TEST_SECONDS", "1.5"))
    command = [sys.executable, "-c", MIXED, str(path)]
    workers = [
        subprocess.Popen(
            [*command, str(i), str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for i in range(processes)
    ]
    done: dict[str, int] = {}
    for worker in workers:
        said, complaint = worker.communicate(timeout=300)
        assert worker.returncode == 0, complaint
        for kind, n in json.loads(said.splitlines()[-1]).items():
            done[kind] = done.get(kind, 0) + n
    events = gallery.audit()
    for kind in ("enrol", "merge", "remove", "undo", "identify", "move"):
        assert sum(event.action == kind for event in events) == done[kind], kind
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    raw.close()
    people, faces = gallery.count()
    assert sum(person.faces for person in gallery.people()) + len(gallery.unassigned()) == faces
    assert people == len(gallery.people())


def test_a_clock_that_goes_back(gallery, monkeypatch):
    from mien.gallery import editing

    gallery.enrol("A", embeddings(1), expires=datetime.now(UTC) + timedelta(days=2))
    monkeypatch.setattr(editing, "now", lambda: datetime(1999, 1, 1, tzinfo=UTC))
    gallery.rename("A", "B")
    gallery.consent("B", "agreed")
    assert gallery.purge() == []
    assert [event.action for event in gallery.audit()] == ["enrol", "rename", "consent"]
    assert [gallery.undo(), gallery.undo()] == ["consent", "rename"]
    assert gallery.person("A").consent is None


def test_bytes_that_are_no_text(path, tmp_path):
    with Gallery.open(path, actor="\udcff") as gallery:
        gallery.enrol("A", embeddings(1))
        assert gallery.audit()[0].actor == "\\udcff"
        for ask in (gallery.person, gallery.audit, gallery.remove):
            with pytest.raises(GalleryError, match="nobody called"):
                ask("\udcff")
        for words in ("\udcff", "a\0b"):
            with pytest.raises(GalleryError, match="no text"):
                gallery.consent("A", words)


def test_numbers_that_no_face_has(gallery):
    gallery.enrol("A", embeddings(1))
    for face in (-1, 0, 10**30):
        with pytest.raises(GalleryError, match=f"no face {face} in the gallery"):
            gallery.remove_face(face)


def test_embeddings_whose_squares_are_not_finite(gallery):
    with pytest.raises(ValueError, match="values that none has"):
        gallery.enrol("A", np.full((1, 128), 3e38, np.float32))
    with pytest.raises(ValueError, match="values that none has"):
        gallery.identify(np.full((1, 128), 3e38, np.float32))


ONLOOKER = """
import sys
from contextlib import ExitStack
import numpy as np
from mien.gallery.gallery import Gallery
path, how = sys.argv[1:]
with Gallery.open(path) as gallery, ExitStack() as stack:
    gallery.identify(np.ones((1, 128), np.float32))  # maps the file in which search keeps embeddings
    if how == "reading":
        stack.enter_context(gallery.store.read()).count()
    print("ready", flush=True)
    sys.stdin.readline()
    stack.close()
    print("read", flush=True)
    sys.stdin.readline()
    print(gallery.count(), flush=True)
"""


@pytest.mark.parametrize("how", ["open", "reading"])
def test_who_was_removed_is_in_no_file_while_another_process_looks_on(path, how):
    """Gone at once where others have the gallery open; where one is reading, that is said, and `purge` clears it."""

    def left():
        named = [file.name for file in path.parent.iterdir() if file.is_file() and b"nmistakable" in file.read_bytes()]
        return sorted({*named, *holds(path.parent, face)})

    rest, face = embeddings(4), embeddings(1, 7)[0]
    command = [sys.executable, "-c", ONLOOKER, str(path), how]
    with (
        Gallery.open(path, timeout=0.3) as gallery,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as onlooker,
    ):
        gallery.enrol("Unmistakable", face[None], consent="unmistakable too", sources=["unmistakable.jpg"])
        gallery.enrol("Rest", rest)
        gallery.identify(rest)
        assert onlooker.stdin is not None
        assert onlooker.stdout is not None
        assert onlooker.stdout.readline() == "ready\n"
        assert "people.db-vectors" in left()
        if how == "reading":
            with pytest.raises(GalleryBusyError, match=r"^removed; but others use .*purge` clears them later"):
                gallery.remove("Unmistakable")
            assert left() != []
        else:
            gallery.remove("Unmistakable")
            assert left() == []
        onlooker.stdin.write("\n")
        onlooker.stdin.flush()
        assert onlooker.stdout.readline() == "read\n"
        gallery.purge()
        assert left() == []
        assert onlooker.communicate("\n", timeout=60)[0] == "(1, 4)\n"


FULL_DISK = """
import json, os, sys
from pathlib import Path
import numpy as np
from mien.errors import MienError
from mien.gallery.gallery import Gallery
from mien.gallery.encryption import new_key
folder, keys = map(Path, sys.argv[1:])
path, ballast = folder / "people.db", folder / "ballast"
faces = np.random.default_rng(0).normal(0, 0.2, (60, 128)).astype(np.float32)
new_key(f"file:{keys}")
told = {}

def fill():
    ballast.write_bytes(bytes(os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize))

def attempt(what, do):
    try:
        told[what] = str(do())
    except MienError as error:
        told[what] = f"refused: {error}"

with Gallery.open(path) as gallery:
    for i in range(3):
        gallery.enrol(f"Person {i}", faces[10 * i : 10 * i + 10])
fill()
attempt("open", lambda: Gallery.open(path))
ballast.unlink()
with Gallery.open(path) as gallery:
    people = gallery.people()
    fill()
    attempt("enrol", lambda: gallery.enrol("New", faces[30:]))
    attempt("merge", lambda: gallery.merge("Person 0", "Person 1"))
    attempt("export", lambda: gallery.export("Person 0", folder / "out"))
    attempt("rekey", lambda: gallery.rekey(f"file:{keys}"))
    attempt("remove", lambda: gallery.remove("Person 2"))
    told["same"] = people == gallery.people()
told["left"] = sorted(file.name for file in folder.iterdir())
ballast.unlink()
with Gallery.open(path) as gallery:
    gallery.merge("Person 0", "Person 1")
    gallery.remove("Person 2")
    told["after"] = gallery.count()
print(json.dumps(told))
"""


def test_a_disk_that_is_full_changes_nothing(tmp_path):
    """A small disk of its own, in a namespace that ends with the process."""
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    mounted = ["sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"', str(tmp_path / "disk")]
    (tmp_path / "disk").mkdir()
    if not shutil.which("unshare") or subprocess.run([*apart, *mounted, "true"], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    command = [*apart, *mounted, sys.executable, "-c", FULL_DISK, str(tmp_path / "disk"), str(tmp_path / "key")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for what in ("open", "enrol", "merge", "rekey", "remove"):
        assert told[what].endswith("people.db: the disk is full; nothing was changed"), told[what]
    assert told["export"].endswith("out: cannot be written (No space left on device)")
    assert (told["same"], told["after"]) == (True, [1, 20])
    assert told["left"] == ["ballast", "people.db"]
