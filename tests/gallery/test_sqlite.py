"""Galleries in files: what else may lie there, what may be wrong with them, and what stays in them."""

from __future__ import annotations

import os
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryBusyError, GalleryError
from mien.gallery.records import Event, NewFace, Undo
from mien.gallery.stores.opening import open_store
from mien.gallery.stores.sqlite import APPLICATION_ID
from tests.gallery.galleries import AT, DIMENSION, LANDMARKS, a_cipher, a_person, an_info, faces, vectors

ROOT = Path(__file__).parents[2]
POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")


DOUBLED = """INSERT INTO faces SELECT id + 100, person, revision, vector, sealed, created, source, source_sha256, box,
    landmarks, score FROM faces"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


@pytest.fixture
def made(path):
    """A closed gallery of one person with 20 faces."""
    store = open_store(path, create=an_info())
    person = a_person("A")
    with store.write() as writer:
        writer.add_person(person)
        writer.add_faces(faces(20, person.id, box=(1, 2, 3, 4), landmarks=LANDMARKS, source="a.jpg"))
        writer.push_undo(Undo("rename", AT, [{"do": "rename"}], (person.id,)))
        writer.add_event(Event(AT, "enrol", "me", person.id))
    store.close()
    return path


def altered(path, statement, *values):
    """Change a gallery behind mien's back."""
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        raw.execute(statement, values)
    raw.close()
    return path


def files(path):
    return {part.name: part.read_bytes() for part in path.parent.iterdir() if part.is_file()}


def refused(path, message, **options):
    """Opening fails with one line, and changes nothing."""
    before = files(path)
    with pytest.raises(GalleryError, match=message) as error:
        open_store(path, **options)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert files(path) == before


class TestFiles:
    @POSIX
    def test_is_for_its_owner_only(self, path):
        before = os.umask(0)
        try:
            store = open_store(path, create=an_info())
            with store.write() as writer:
                writer.add_faces(faces(1))
            assert {stat.S_IMODE(part.stat().st_mode) for part in path.parent.iterdir()} == {0o600}
            store.close()
        finally:
            os.umask(before)
        assert [part.name for part in path.parent.iterdir()] == ["people.db"]

    @pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
    def test_addresses(self, tmp_path, form):
        path = tmp_path / "a b%20c?d#é.db"
        open_store(form.format(path), create=an_info()).close()
        assert [part.name for part in tmp_path.iterdir()] == [path.name]

    def test_relative_and_home(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        open_store("sqlite:///a.db", create=an_info()).close()
        open_store("~/b.db", create=an_info()).close()
        assert {part.name for part in tmp_path.iterdir()} == {"a.db", "b.db"}

    @pytest.mark.parametrize(
        ("url", "message"),
        [("", "names no file"), ("sqlite:///", "names no file"), ("mysql://x/y", "knows sqlite"), ("a\0b", "names no")],
    )
    def test_no_address(self, url, message):
        with pytest.raises(GalleryError, match=message):
            open_store(url, create=an_info())

    def test_no_folder(self, tmp_path):
        with pytest.raises(GalleryError, match="cannot be made: no such file or directory"):
            open_store(tmp_path / "none" / "people.db", create=an_info())

    def test_the_wal_of_another_is_not_taken_over(self, path):
        Path(f"{path}-wal").write_bytes(b"something")
        refused(path, "belongs to a gallery that is not there any more", create=an_info())

    def test_a_link_is_followed(self, made):
        link = made.parent / "link.db"
        link.symlink_to(made)
        open_store(link).close()


class TestRefused:
    @pytest.mark.parametrize("create", [None, an_info()])
    @pytest.mark.parametrize("content", [b"", b"hello", bytes(4096), b"SQLite format 3\0", os.urandom(5000)])
    def test_something_else(self, path, content, create):
        path.write_bytes(content)
        refused(path, "is not a gallery", create=create)

    def test_a_folder(self, path):
        path.mkdir()
        refused(path, "is a folder", create=an_info())

    @POSIX
    def test_a_pipe_is_not_waited_for(self, path):
        os.mkfifo(path)
        end = os.open(path, os.O_RDWR)  # whoever would open it does not hang here
        try:
            with pytest.raises(GalleryError, match="is a pipe or a device"):
                open_store(path)
        finally:
            os.close(end)

    @POSIX
    @pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
    def test_links_beside_it_are_not_followed(self, made, tmp_path, suffix):
        victim = tmp_path / "victim"
        victim.write_bytes(b"of somebody else" * 1000)
        Path(f"{made}{suffix}").symlink_to(victim)
        refused(made, f"{suffix}: is not a file")

    def test_a_database_of_another_program(self, path):
        with sqlite3.connect(path) as raw:
            raw.execute("CREATE TABLE people (name)")
        raw.close()
        refused(path, "of another program", create=an_info())

    def test_a_later_version(self, made):
        altered(made, "PRAGMA user_version = 2")
        refused(made, r"later mien \(format 2; this one knows 1\); update mien", create=an_info())

    def test_no_version(self, made):
        refused(altered(made, "PRAGMA user_version = 0"), "is not a gallery")

    @pytest.mark.parametrize("share", [0.3, 0.9])
    def test_truncated(self, made, share):
        whole = made.read_bytes()
        made.write_bytes(whole[: int(share * len(whole))])
        refused(made, "the file is damaged")

    def test_not_whole_in_its_first_page(self, made):
        made.write_bytes(made.read_bytes()[:3000])
        refused(made, "damaged|not a gallery")

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TRIGGER evil AFTER INSERT ON faces BEGIN DELETE FROM people; END",
            "CREATE VIEW evil AS SELECT 1",
            "ALTER TABLE faces ADD COLUMN more",
            "DROP TABLE events",
            "DROP INDEX faces_by_revision",
        ],
    )
    def test_tables_that_are_not_ours(self, made, statement):
        refused(altered(made, statement), "its tables are not those of a gallery")

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE gallery SET metric = 'manhattan'",
            "UPDATE gallery SET dimension = 1000000000000",
            "UPDATE gallery SET dimension = 'many'",
            "UPDATE gallery SET created = 'yesterday'",
            "UPDATE gallery SET created = '2024-01-01'",
            "UPDATE gallery SET embedder = x'00ff'",
            "DELETE FROM gallery",
            "UPDATE gallery SET revision = 'many'",
            "UPDATE gallery SET revision = 9e999",
            "UPDATE gallery SET revision = -1",
            "UPDATE gallery SET revision = 9223372036854775807",
            "UPDATE gallery SET horizon = x'00ff'",
            "UPDATE gallery SET created = '0001-01-01T00:00:00+14:00'",
        ],
    )
    def test_a_gallery_that_says_nonsense_of_itself(self, made, statement):
        refused(altered(made, statement), "damaged or tampered with")

    def test_random_damage_is_one_line_or_goes_unnoticed(self, made):
        whole = made.read_bytes()
        random = np.random.default_rng(0)
        for _ in range(60):
            spoilt = bytearray(whole)
            for position in random.integers(100, len(whole), size=40):
                spoilt[position] = random.integers(256)
            made.write_bytes(spoilt)
            said = complaint(made)
            assert "\n" not in said
            assert len(said) < 600


def run(program, *arguments):
    """What a process of its own prints."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout


def complaint(path):
    """What is said of a gallery when all of it is read; nothing where it can be."""
    try:
        everything(open_store(path))
    except GalleryError as error:
        return str(error)
    return ""


def everything(store):
    """Read all there is."""
    with store.read() as reader:
        reader.changes(0), reader.changes(1), reader.people(), reader.count()
        for face in reader.faces():
            reader.crop(face.id)
        reader.events(), reader.last_undo(), reader.forbidden()
    store.close()


class TestTamperedValues:
    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"abc",
            bytes(4 * DIMENSION + 4),
            bytes(10**6),
            "text",
            7,
            struct.pack("<f", float("nan")) * DIMENSION,
            struct.pack("<f", float("inf")) * DIMENSION,
            struct.pack("<f", 3e38) * DIMENSION,
        ],
    )
    def test_vectors(self, made, value):
        store = open_store(altered(made, "UPDATE faces SET vector = ? WHERE id = 7", value))
        for read in (lambda reader: reader.changes(0), lambda reader: reader.vectors([6, 7])):
            with pytest.raises(GalleryError, match="damaged or tampered with") as error, store.read() as reader:
                read(reader)
            assert len(str(error.value)) < 400
            assert "\n" not in str(error.value)
        store.close()

    @pytest.mark.parametrize(
        ("table", "column"),
        [("faces", "box"), ("faces", "landmarks"), ("undo", "steps"), ("undo", "people"), ("events", "details")],
    )
    @pytest.mark.parametrize(
        "value",
        [
            "[" * 100_000,
            "{" + '"a":{' * 10_000,
            '"text"',
            "[1e999, 0, 0, 0]",
            "[1, 2]",
            "[[1], [2]]",
            "[NaN, 0, 0, 0]",
            "[true, 0, 0, 0]",
            f"[{'9' * 400}, 0, 0, 0]",
            "9" * 10_000,
            "x" * 10**6,
            b"\xff\xfe",
        ],
    )
    def test_json(self, made, table, column, value):
        said = complaint(altered(made, f"UPDATE {table} SET {column} = ?", value))
        assert "damaged or tampered with" in said
        assert len(said) < 400

    @pytest.mark.parametrize(
        ("statement", "value"),
        [
            ("UPDATE people SET name = ?", b"bytes"),
            ("UPDATE people SET created = ?", "x" * 10**6),
            ("UPDATE faces SET score = ?", "high"),
            ("UPDATE faces SET score = ?", 9e999),
            ("UPDATE events SET at = ?", 12),
            ("UPDATE events SET at = ?", "9999-12-31T23:59:59-14:00"),
            ("INSERT INTO forbidden VALUES (?, 1)", "face"),
        ],
    )
    def test_values_of_another_type(self, made, statement, value):
        store = open_store(altered(made, statement, value))
        with pytest.raises(GalleryError, match="damaged or tampered with") as error:
            everything(store)
        assert len(str(error.value)) < 400
        store.close()

    @pytest.mark.parametrize("value", ["many", 9e999, 2**63 - 1, -5])
    def test_numbers_of_faces(self, made, value):
        store = open_store(altered(made, "UPDATE gallery SET next_face = ?", value))
        with pytest.raises(GalleryError, match=r"damaged|cannot be"), store.write() as writer:
            writer.add_faces(faces(1))
        store.close()

    def test_text_that_is_no_text(self, made):
        store = open_store(altered(made, "UPDATE people SET name = CAST(x'ff00fe' AS TEXT)"))
        with pytest.raises(GalleryError, match="cannot be used"):
            everything(store)
        store.close()

    def test_a_huge_value(self, made):
        store = open_store(altered(made, "UPDATE people SET name = zeroblob(100000000)"))
        with pytest.raises(GalleryError, match="larger than 64 MB"):
            everything(store)
        store.close()

    @pytest.mark.parametrize("since", [0, 1])
    @pytest.mark.parametrize("statement", ["DELETE FROM faces WHERE id > 10", DOUBLED])
    def test_an_index_that_contradicts_its_table(self, made, statement, since):
        """As where pages of a file were exchanged: SQLite counts and looks up by an index, and reads another tree."""
        with closing(open_store(made)) as store, store.write() as writer:
            writer.add_faces(faces(20))
        ours = "type = 'index' AND name LIKE 'faces%'"
        with closing(sqlite3.connect(made)) as raw, raw:
            indices = raw.execute(f"SELECT * FROM sqlite_master WHERE {ours}").fetchall()
            raw.execute("PRAGMA writable_schema = ON")
            raw.execute(f"DELETE FROM sqlite_master WHERE {ours}")
        altered(made, statement)
        with closing(sqlite3.connect(made)) as raw, raw:
            raw.execute("PRAGMA writable_schema = ON")
            raw.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", indices)
        complaint = "(its indices contradict its tables|the file is damaged); restore it from a copy"
        with closing(open_store(made)) as store, store.read() as reader, pytest.raises(GalleryError, match=complaint):
            reader.changes(since)

    @pytest.mark.parametrize("which", [0, -1])
    def test_a_gallery_that_lost_its_encryption(self, path, which):
        cipher = a_cipher()
        store = open_store(path, create=an_info(key_id=cipher.key_id), cipher=cipher)
        with store.write() as writer:
            ids = writer.add_faces(faces(3)).tolist()
        store.close()
        altered(path, "UPDATE gallery SET key_id = NULL")
        refused(path, "tampered with: it says that it is not encrypted, but its embeddings are; restore")
        refused(path, "tampered with", cipher=cipher)
        altered(path, "UPDATE faces SET vector = ?, sealed = NULL WHERE id <> ?", bytes(64), ids[which])
        refused(path, "tampered with: it says that it is not encrypted")

    def test_a_gallery_that_says_it_is_encrypted_and_is_not(self, made):
        cipher = a_cipher()
        altered(made, "UPDATE gallery SET key_id = ?", cipher.key_id)
        refused(made, "tampered with: it says that it is encrypted, but its embeddings are not", cipher=cipher)


class TestRemoved:
    @pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="/proc")
    def test_cleaning_writes_no_file_elsewhere(self, path):
        """Temporary files of SQLite are removed at once: they are seen while they are open."""
        store = open_store(path, create=an_info(dimension=1024))
        with store.write() as writer:
            ids = writer.add_faces([NewFace(vector) for vector in vectors(4000, dimension=1024)])
            writer.remove_faces(ids[::2].tolist())
        seen, done = set(), threading.Event()
        watching = threading.Thread(target=watch, args=(seen, done))
        watching.start()
        store.clean()
        done.set()
        watching.join()
        store.close()
        assert any(name.startswith(str(path)) for name in seen)
        assert not [name for name in seen if "etilqs" in name]  # how SQLite calls its own

    def test_nothing_is_left_in_any_file(self, path):
        store = open_store(path, create=an_info())
        people = [a_person(f"Secretive Person {i}", consent=f"signed by {i}") for i in range(40)]
        embeddings = vectors(400)
        with store.write() as writer:
            for person in people:
                writer.add_person(person)
            ids = writer.add_faces(
                [
                    NewFace(v, people[i % 40].id, source=f"from-{i % 40}-.jpg", crop=b"crop-%d-" % (i % 40) * 50)
                    for i, v in enumerate(embeddings)
                ]
            )
            writer.push_undo(Undo("rename", AT, [{"name": "Secretive Person 7"}], (people[7].id,)))
        with store.write() as writer:
            writer.remove_person(people[7].id)
            writer.remove_faces(ids[8::40].tolist())
        with store.write() as writer:
            writer.replace_vectors(ids[9::40].tolist(), vectors(10, seed=5))
        present = b"".join(files(path).values())
        store.clean()
        left = b"".join(files(path).values())
        assert b"Secretive Person 8" in left
        assert embeddings[10].tobytes() in left
        for gone in (b"Secretive Person 7", b"signed by 7", b"from-7-", b"crop-7-", b"from-8-", b"crop-8-"):
            assert gone not in left
        for i in (*range(7, 400, 40), *range(8, 400, 40), *range(9, 400, 40)):
            assert embeddings[i, :4].tobytes() not in left
        assert any(embeddings[i, :4].tobytes() in present for i in range(7, 400, 40))  # cleaning is what did it
        assert len(left) < len(present)
        store.close()

    def test_a_reader_is_in_the_way(self, made):
        store, other = open_store(made, timeout=0.2), open_store(made)
        with other.read():
            with store.write() as writer:
                writer.remove_faces([1])
            with pytest.raises(GalleryBusyError, match=r"longer than 0\.2 s"):
                store.clean()
        store.clean()
        other.close()
        store.close()


def watch(seen, done):
    """Note the names of all files that this process has open, until it is done."""
    while not done.is_set():
        for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a Path has more to do
            with suppress(OSError):
                seen.add(os.readlink(f"/proc/self/fd/{entry}"))  # noqa: PTH115
        time.sleep(0.0005)


AS_NOBODY = """
import os, sys
from mien.errors import GalleryError
from mien.gallery.stores import sqlite
from mien.gallery.stores.opening import open_store
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    store = open_store(sys.argv[1], readonly=sys.argv[2] == "readonly")
    with store.read() as reader:
        print(reader.count(), len(reader.changes(0).ids))
except GalleryError as error:
    print(error)
"""


@POSIX
class TestReadOnlyDisk:
    @pytest.fixture
    def place(self):
        """A folder that everybody can reach, with a gallery that nobody else can write."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            root.chmod(0o755)
            path = root / f"{uuid.uuid4().hex}.db"
            store = open_store(path, create=an_info())
            with store.write() as writer:
                writer.add_faces(faces(3))
            store.close()
            path.chmod(0o444)
            root.chmod(0o555)
            yield path
            root.chmod(0o755)

    def told(self, path, mode):
        """What somebody is told who has no right to write (root always has it)."""
        return run(AS_NOBODY, path, mode)

    def test_to_write(self, place):
        before = files(place)
        assert (
            self.told(place, "write")
            == f"{place}: the file or its folder is read-only; it can be opened to read only\n"
        )
        assert files(place) == before

    def test_to_read(self, place):
        before = files(place)
        assert self.told(place, "readonly") == "(0, 3) 3\n"
        assert files(place) == before

    def test_no_right_to_read(self, place):
        place.chmod(0)
        assert self.told(place, "readonly") == f"{place}: cannot be read: permission denied\n"


FULL = """
import resource, sys
from mien.errors import GalleryError
from mien.gallery.stores.opening import open_store
from tests.gallery.galleries import faces
store = open_store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with store.write() as writer:
        writer.add_faces(faces(20_000))
except GalleryError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
with store.write() as writer:
    print(writer.add_faces(faces(1)).tolist(), writer.count())
"""


@POSIX
def test_no_more_room(made):
    first, second = run(FULL, made).splitlines()
    assert first == f"{made}: the disk cannot be read or written; nothing was changed"
    assert second == "[21] (1, 21)"


def test_a_second_store_leaves_the_locks_of_the_first(made):
    first = open_store(made)
    with first.write() as writer:
        writer.add_faces(faces(1))
    open_store(made).close()  # the system drops all locks of a process on a file that it closes, unless one is careful
    run("import sys; from mien.gallery.stores.opening import open_store; open_store(sys.argv[1]).close()", made)
    assert Path(f"{made}-wal").stat().st_size > 0  # nobody else took it for a file that is not in use
    first.close()
    assert not Path(f"{made}-wal").exists()


def test_the_header_says_mien(made):
    assert made.read_bytes()[68:72] == struct.pack(">I", APPLICATION_ID) == b"Mien"
