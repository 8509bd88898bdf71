"""The search index: always what a dictionary of all faces says, whatever befalls its file."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import GalleryError
from mien.gallery.records import Changes
from mien.gallery.search import exact, table, vector_file
from mien.gallery.search.exact import prepared
from mien.gallery.search.index import catch_up, erase_cache, open_index

D = 8
GALLERY = "ab" * 16


def person(number: int) -> str:
    return f"{number:032x}"


class Faces:
    """A gallery as a dictionary, and what happened to it."""

    def __init__(self, dimension: int = D) -> None:
        self.faces: dict[int, tuple[str | None, np.ndarray]] = {}
        self.log: list[set[int]] = [set()]
        self.dimension = dimension

    def put(self, face: int, who: str | None, vector: np.ndarray) -> None:
        self.faces[face] = (who, np.asarray(vector, np.float32))
        self.log.append({face})

    def remove(self, face: int) -> None:
        del self.faces[face]
        self.log.append({face})

    def changes(self, since: int) -> Changes:
        complete = since == 0 or since >= len(self.log)
        touched = set(self.faces) if complete else set().union(*self.log[since + 1 :])
        ids = sorted(touched & set(self.faces))
        vectors = np.array([self.faces[i][1] for i in ids], dtype=np.float32).reshape(len(ids), self.dimension)
        gone = np.array(sorted(touched - set(self.faces)), dtype=np.int64)
        people = [self.faces[i][0] for i in ids]
        return Changes(len(self.log) - 1, np.array(ids, dtype=np.int64), people, vectors, gone, complete)

    def distances(self, query: np.ndarray, metric: str) -> list[tuple[np.float32, int]]:
        rows = {i: prepared(v[None], self.dimension, metric)[0].astype(np.float64) for i, (_, v) in self.faces.items()}
        probe = prepared(query[None], self.dimension, metric)[0].astype(np.float64)
        squared = {i: ((row - probe) ** 2).sum() for i, row in rows.items()}
        return sorted((np.float32(np.sqrt(d) if metric == "l2" else d / 2), i) for i, d in squared.items())


def many(count: int, people: int = 50, dimension: int = D, seed: int = 0) -> Faces:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((people, dimension))
    faces = Faces(dimension)
    for i in range(1, count + 1):
        who = int(rng.integers(people))
        vector = centres[who] + 0.3 * rng.standard_normal(dimension)
        faces.faces[i] = (person(who) if who else None, vector.astype(np.float32))
    faces.log.append(set(faces.faces))
    return faces


def agree(index, faces: Faces, queries: np.ndarray, metric: str = "l2", k: int = 4) -> None:
    distances, ids = index.search(queries, k)
    assert distances.dtype == np.float32
    assert ids.dtype == np.int64
    assert len(index) == len(faces.faces)
    for query, got_distances, got_ids in zip(queries, distances, ids, strict=True):
        truth = faces.distances(query, metric)[:k]
        missing = k - len(truth)
        assert got_ids.tolist() == [i for _, i in truth] + missing * [-1]
        assert np.allclose(got_distances, [d for d, _ in truth] + missing * [np.inf], rtol=1e-6, atol=0)
        top = index.top_people(query[None], k)
        owners = [(faces.faces[i][0], d) for d, i in faces.distances(query, metric) if faces.faces[i][0]]
        first = dict(reversed(owners))
        order = list(dict.fromkeys(who for who, _ in owners))[:k]
        assert top[1][0] == order
        assert np.allclose(top[0][0, : len(order)], [first[who] for who in order], rtol=1e-6, atol=0)
        assert np.isinf(top[0][0, len(order) :]).all()


# Few values, so that equal distances, equal faces and zeros come up; large ones, so that float32 cancels.
VALUES = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1.0000001, 3000.0, 3000.0005])
VECTORS = st.lists(VALUES, min_size=D, max_size=D).map(lambda v: np.array(v, np.float32))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 12), st.integers(-1, 3), VECTORS),
        st.tuples(st.just("move"), st.integers(1, 12), st.integers(-1, 3), st.none()),
        st.tuples(st.just("remove"), st.integers(1, 12), st.none(), st.none()),
        st.tuples(st.sampled_from(["follow", "reopen", "forget"]), st.none(), st.none(), st.none()),
    ),
    max_size=25,
)


@pytest.mark.parametrize("place", ["memory", "file"])
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_any_changes_give_the_answers_of_a_dictionary(place, metric, tmp_path_factory):
    @settings(max_examples=40, deadline=None)
    @given(steps=STEPS, query=VECTORS)
    def check(steps, query):
        cache = tmp_path_factory.mktemp("gallery") / "people.db-vectors" if place == "file" else None
        faces, index = Faces(), open_index(D, metric, cache=cache, gallery_id=GALLERY)
        for step, face, who, vector in steps:
            match step:
                case "put":
                    faces.put(face, None if who < 0 else person(who), vector)
                case "move" if face in faces.faces:
                    faces.put(face, None if who < 0 else person(who), faces.faces[face][1])
                case "remove" if face in faces.faces:
                    faces.remove(face)
                case "reopen" if cache:
                    index = open_index(D, metric, cache=cache, gallery_id=GALLERY)
                case "forget":
                    index.apply(faces.changes(0))
                case "follow":
                    catch_up(index, faces.changes)
        catch_up(index, faces.changes)
        assert index.revision == len(faces.log) - 1
        agree(index, faces, np.stack([query, np.ones(D, np.float32)]), metric)

    check()


def test_exact_where_float32_cannot_tell(monkeypatch):
    """Faces a thousandth apart, a thousand away from the origin: the product alone would err by more than that."""
    monkeypatch.setattr(exact, "_GROUP", 16)
    rng = np.random.default_rng(1)
    faces = Faces(128)
    centre = 100 * rng.standard_normal(128)
    for i in range(1, 2001):
        faces.faces[i] = (person(i % 7), (centre + 1e-3 * rng.standard_normal(128)).astype(np.float32))
    index = open_index(128, "l2")
    index.apply(faces.changes(0))
    agree(index, faces, np.array([faces.faces[5][1], faces.faces[9][1]]), k=3)


def test_many_faces_and_queries(monkeypatch, tmp_path):
    monkeypatch.setattr(exact, "_BLOCK", 20_000)  # several products
    faces = many(6000)
    for i in range(1, 3000, 2):
        faces.remove(i)
    index = open_index(D, "l2", cache=tmp_path / "v")
    index.apply(faces.changes(0))
    queries = np.random.default_rng(2).standard_normal((5, D)).astype(np.float32)
    agree(index, faces, queries, k=5)
    distances, ids = index.search(queries, 5000)
    assert (ids[:, len(faces.faces) :] == -1).all()
    assert (np.diff(distances[:, : len(faces.faces)], axis=1) >= 0).all()


def test_nothing_to_find(tmp_path):
    for cache in (None, tmp_path / "v"):
        index = open_index(D, "l2", cache=cache)
        assert (index.revision, len(index)) == (0, 0)
        distances, ids = index.search(np.zeros((2, D)), 3)
        assert np.isinf(distances).all()
        assert (ids == -1).all()
        assert index.search(np.zeros((0, D)), 3)[0].shape == (0, 3)
        assert index.top_people(np.zeros((1, D)), 2)[1] == [[]]


def test_what_cannot_be_searched_is_refused():
    index = open_index(D, "l2")
    index.apply(many(3).changes(0))
    with pytest.raises(ValueError, match=r"shape \(1, 3\), expected \(N, 8\)"):
        index.search(np.zeros((1, 3)), 1)
    with pytest.raises(ValueError, match="not finite"):
        index.search(np.full((1, D), np.nan), 1)
    with pytest.raises(ValueError, match="too large"):
        index.search(np.full((1, D), 1e30), 1)
    with pytest.raises(ValueError, match="0 cannot be found"):
        index.search(np.zeros((1, D)), 0)
    with pytest.raises(ValueError, match="no metric 'hamming'"):
        open_index(D, "hamming")
    with pytest.raises(ValueError, match="not finite"):
        index.apply(Changes(9, np.array([1]), [None], np.full((1, D), np.inf, np.float32), np.array([], np.int64)))
    assert len(index) == 3


def test_news_that_are_known_change_nothing():
    faces = many(5)
    index = open_index(D, "l2")
    index.apply(faces.changes(0))
    old = faces.changes(1)
    faces.remove(2)
    catch_up(index, faces.changes)
    index.apply(old)
    agree(index, faces, np.ones((1, D), np.float32))


# The file


@pytest.fixture
def cached(tmp_path):
    faces, path = many(300), tmp_path / "people.db-vectors"
    index = open_index(D, "l2", cache=path, gallery_id=GALLERY)
    catch_up(index, faces.changes)
    return faces, path, index


QUERY = np.ones((1, D), np.float32)


def test_file_is_private_and_serves_the_next_process(cached):
    faces, path, _ = cached
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = open_index(D, "l2", cache=path, gallery_id=GALLERY)
    assert again.revision == len(faces.log) - 1
    agree(again, faces, QUERY)


def test_what_is_removed_or_replaced_is_gone_from_the_file(cached):
    faces, path, index = cached
    removed, replaced, who = faces.faces[7][1].tobytes(), faces.faces[8][1].tobytes(), faces.faces[9][0].encode()
    assert all(secret in path.read_bytes() for secret in (removed, replaced, who))
    before = path.stat().st_ino
    faces.remove(7)
    faces.put(8, person(1), np.full(D, 9))
    for face in [i for i, (p, _) in faces.faces.items() if p == who.decode()]:
        faces.remove(face)
    catch_up(index, faces.changes)
    assert path.stat().st_ino == before  # in place, not by another file
    assert not any(secret in path.read_bytes() for secret in (removed, replaced, who))
    agree(index, faces, QUERY)


def test_a_file_that_is_replaced_is_left_blank(cached):
    faces, path, index = cached
    with path.open("rb") as old:
        index.apply(faces.changes(0))
        assert faces.faces[7][1].tobytes() not in old.read()
    assert faces.faces[7][1].tobytes() in path.read_bytes()


def test_rows_are_packed_when_many_are_free(monkeypatch, cached):
    faces, path, index = cached
    monkeypatch.setattr(table, "_SPARE", 10)
    other = open_index(D, "l2", cache=path, gallery_id=GALLERY)
    agree(other, faces, QUERY)
    for i in range(1, 150):
        faces.remove(i)
        if i % 10 == 0:
            catch_up(index, faces.changes)
    catch_up(index, faces.changes)
    assert index.read(lambda rows: len(rows.ids)) < 250
    agree(index, faces, QUERY)
    agree(other, faces, QUERY)  # notices that another file took its place


def test_grows(monkeypatch, cached):
    faces, path, index = cached
    other = open_index(D, "l2", cache=path, gallery_id=GALLERY)
    before = path.stat().st_size
    rng = np.random.default_rng(3)
    for start in range(1000, 3000, 400):
        for i in range(start, start + 400):
            faces.put(i, person(i), rng.standard_normal(D))
        catch_up(index, faces.changes)
        agree(other, faces, QUERY)
    assert path.stat().st_size > before


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: b"no cache at all\n" * 1000,
        lambda data: data[: len(data) // 2],
        lambda data: data[:60],
        lambda data: data[:80] + bytes([data[80] ^ 1]) + data[81:],
        lambda data: data.replace(b"mienvec1", b"mienvec2"),
    ],
    ids=["empty", "foreign", "truncated", "header cut", "bit flipped", "another version"],
)
def test_a_broken_file_is_written_anew(cached, harm):
    faces, path, index = cached
    path.write_bytes(harm(path.read_bytes()))
    for reader in (index, open_index(D, "l2", cache=path, gallery_id=GALLERY)):
        catch_up(reader, faces.changes)
        agree(reader, faces, QUERY)
    assert open_index(D, "l2", cache=path, gallery_id=GALLERY).revision == len(faces.log) - 1


def test_the_file_of_another_gallery_is_not_used(cached):
    faces, path, _ = cached
    assert open_index(D, "l2", cache=path, gallery_id="cd" * 16).revision == 0
    assert open_index(D, "cosine", cache=path, gallery_id=GALLERY).revision == 0
    assert open_index(D + 1, "l2", cache=path, gallery_id=GALLERY).revision == 0
    assert open_index(D, "l2", cache=path, gallery_id=GALLERY).revision == len(faces.log) - 1


def test_a_gallery_from_a_backup_is_followed_back(cached):
    faces, _, index = cached
    faces.put(400, None, np.ones(D))
    catch_up(index, faces.changes)
    backup = many(20)
    catch_up(index, backup.changes)
    agree(index, backup, QUERY)


def test_a_file_that_cannot_be_written_leaves_memory(tmp_path):
    faces, index = many(30), open_index(D, "l2", cache=tmp_path / "no such folder" / "v")
    catch_up(index, faces.changes)
    faces.remove(3)
    catch_up(index, faces.changes)
    agree(index, faces, QUERY)


def test_erased(cached):
    faces, path, _ = cached
    with path.open("rb") as old:
        erase_cache(path)
        assert faces.faces[7][1].tobytes() not in old.read()
    assert list(path.parent.iterdir()) == []
    erase_cache(path)  # nothing is there: nothing to do


def test_a_writer_that_died_between_search_and_changes(cached):
    faces, path, index = cached
    assert index.revision
    with vector_file._opened(path) as file:
        header = vector_file._Header.of(os.pread(file, 4096, 0))
        vector_file._put_header(file, vector_file.replace(header, sequence=header.sequence + 1))
    with pytest.raises(GalleryError, match="half-written"):
        index.search(QUERY, 1)
    catch_up(index, faces.changes)
    agree(index, faces, QUERY)


# Several processes. Face i of the gallery that they follow is vector(i), of person(i % 5); at revision r it has the
# faces from r // 2 to r.

PROCESS = """
import sys, time
from tests.gallery.test_index import *
path, until, every = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
index = open_index(D, "l2", cache=path, gallery_id=GALLERY)
print("ready", flush=True)
while (now := index.revision) < until:
    index.apply(window(now, min(now + every, until)))
"""


def vector(face: int) -> np.ndarray:
    return np.random.default_rng(face).standard_normal(D).astype(np.float32)


def window(since: int, now: int) -> Changes:
    first = now // 2
    ids = np.arange(max(since + 1, first) if since else first, now + 1)
    gone = np.arange(since // 2, first) if since else np.array([], np.int64)
    vectors = np.array([vector(i) for i in ids.tolist()], np.float32).reshape(len(ids), D)
    return Changes(now, ids, [person(i % 5) for i in ids.tolist()], vectors, gone, complete=since == 0)


def follower(path: Path, until: int, every: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROCESS, str(path), str(until), str(every)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


def check_window(rows) -> int:
    """Whether rows are those of one revision, whichever: no face lost, none twice, each with its own vector."""
    ids = rows.ids[rows.live]
    assert sorted(ids.tolist()) == list(range(rows.revision // 2, rows.revision + 1)) or not rows.revision
    for row, face in zip(rows.live.tolist(), ids.tolist(), strict=True):
        assert (rows.matrix[row] == vector(face)).all()
        assert rows.people[rows.codes[row]] == person(face % 5)
    return rows.revision


def test_two_processes_follow_one_gallery_while_a_third_reads(tmp_path):
    path = tmp_path / "v"
    processes = [follower(path, 800, every) for every in (3, 7)]
    for process in processes:
        ready(process)
    index, seen = open_index(D, "l2", cache=path, gallery_id=GALLERY), set()
    while any(process.poll() is None for process in processes):
        seen.add(index.read(lambda rows: rows.revision))
        _, ids = index.search(np.zeros((1, D)), 2000)
        found = sorted(ids[ids >= 0].tolist())
        assert found == list(range(found[0], found[-1] + 1)) if found else True
        assert not found or found[0] == found[-1] // 2
    for process in processes:
        assert process.wait() == 0
        process.stdout.close()
    assert index.read(check_window) == 800
    assert seen, "it was read meanwhile"


def test_killed_while_writing(tmp_path):
    path, rng, reached, last = tmp_path / "v", np.random.default_rng(5), set(), 0
    for turn in range(20):
        if turn >= 4 and max(reached):  # on a busy machine nearly all are torn
            break
        process = follower(path, 10**9, 2)
        ready(process)
        watcher = open_index(D, "l2", cache=path, gallery_id=GALLERY)
        while watcher.read(lambda rows: rows.revision) <= last:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        index = open_index(D, "l2", cache=path, gallery_id=GALLERY)
        reached.add(index.revision)
        last = max(index.revision, 1) + 1
        index.apply(window(index.revision, last))
        assert index.read(check_window) == last
    assert max(reached) > 0, "most leave a whole file; one torn in mid-write is noticed, and starts at 0 again"
