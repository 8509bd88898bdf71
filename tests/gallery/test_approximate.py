"""The approximate index: finds nearly all that exact search finds, and forgets what is removed."""

from __future__ import annotations

import numpy as np
import pytest

from mien.evaluation.search_benchmark import faces_like_real
from mien.gallery.search import approximate, graph
from mien.gallery.search.index import ExactIndex, catch_up, erase_cache, open_index
from mien.gallery.search.table import MemoryTable
from tests.gallery.test_index import GALLERY, Faces, agree, person

pytest.importorskip("usearch")

D = 32


@pytest.fixture
def faces(monkeypatch) -> Faces:
    """1,500 faces, more than are compared one by one."""
    monkeypatch.setattr(approximate, "_FEW", 200)
    monkeypatch.setattr(approximate, "_UNSAVED", 100)
    gallery, rng = Faces(D), np.random.default_rng(0)
    for i, vector in enumerate(faces_like_real(1500, rng, rng.standard_normal((1, D)).astype(np.float32)), 1):
        gallery.faces[i] = (person(i // 4), vector)
    gallery.log.append(set(gallery.faces))
    return gallery


def vectors(faces: Faces) -> np.ndarray:
    return np.array([v for _, v in faces.faces.values()], np.float32)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_finds_what_exact_search_finds(faces, metric):
    index = open_index(D, metric, approximate=True)
    exact = ExactIndex(D, metric, MemoryTable(D, metric))
    for each in (index, exact):
        catch_up(each, faces.changes)
    queries = vectors(faces)[::7] + 0.01
    assert index.recall(queries) >= 0.99
    found, truth = index.search(queries, 5), exact.search(queries, 5)
    same = found[1] == truth[1]
    assert same.mean() > 0.98
    assert (found[0][same] == truth[0][same]).all()  # distances are exact
    people, truth_people = index.top_people(queries, 3)[1], exact.top_people(queries, 3)[1]
    assert np.mean([a == b for a, b in zip(people, truth_people, strict=True)]) > 0.98
    with pytest.raises(ValueError, match="one query or more"):
        index.recall(np.zeros((0, D)))


def test_follows_changes(faces):
    index = open_index(D, "l2", approximate=True)
    catch_up(index, faces.changes)
    for face in range(1, 600, 3):
        faces.remove(face)
    for face in range(2, 600, 3):
        faces.put(face, person(9), 5 + np.random.default_rng(face).standard_normal(D))
    for face in range(2000, 2100):
        faces.put(face, None, np.random.default_rng(face).standard_normal(D))
    catch_up(index, faces.changes)
    assert len(index) == len(faces.faces)
    assert index.recall(vectors(faces)[::5]) >= 0.98
    _, ids = index.search(vectors(faces)[::5], 20)
    assert set(ids.ravel().tolist()) <= set(faces.faces)


def test_few_faces_are_all_compared(faces):
    for face in range(150, 1501):
        faces.remove(face)
    index = open_index(D, "l2", approximate=True)
    catch_up(index, faces.changes)
    agree(index, faces, vectors(faces)[:3])


def test_graph_is_kept_in_a_file_that_forgets(faces, tmp_path):
    cache = tmp_path / "people.db-vectors"
    index = open_index(D, "l2", cache=cache, gallery_id=GALLERY, approximate=True)
    catch_up(index, faces.changes)
    file = tmp_path / "people.db-vectors-graph"
    assert file.stat().st_mode & 0o777 == 0o600
    loaded = graph.Graph(D)
    rows = index._exact.read(lambda rows: rows)
    assert loaded.load(file, GALLERY, rows)
    assert len(loaded.ids) == 1500
    assert not graph.Graph(D).load(file, "cd" * 16, rows)
    secret = faces.faces[77][1].astype(np.float16).tobytes()
    assert secret in file.read_bytes()
    faces.remove(77)
    catch_up(index, faces.changes)
    assert secret not in file.read_bytes()
    secret = faces.faces[78][1].astype(np.float16).tobytes()
    faces.remove(78)
    catch_up(open_index(D, "l2", cache=cache, gallery_id=GALLERY), faces.changes)  # by one that knows no graph
    assert not file.exists()
    assert index.recall(vectors(faces)[::5]) >= 0.99
    assert secret not in file.read_bytes()
    erase_cache(cache)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("harm", [lambda d: b"", lambda d: d[:-1], lambda d: d[:500] + b"x" + d[501:]])
def test_a_broken_graph_is_built_anew(faces, tmp_path, harm):
    cache, file = tmp_path / "v", tmp_path / "v-graph"
    catch_up(open_index(D, "l2", cache=cache, approximate=True), faces.changes)
    file.write_bytes(harm(file.read_bytes()))
    index = open_index(D, "l2", cache=cache, approximate=True)
    assert index.recall(vectors(faces)[::5]) >= 0.99
    assert graph.Graph(D).load(file, "", index._exact.read(lambda rows: rows))


def test_width_is_what_the_faces_need_and_is_kept(faces, tmp_path, monkeypatch):
    """The width is measured, anew when the gallery has grown, and comes back with the file."""
    monkeypatch.setattr(graph, "_WIDTHS", (1, 400))
    monkeypatch.setattr(graph, "_ENOUGH", 0.9999)
    index = open_index(D, "l2", cache=tmp_path / "v", approximate=True)
    assert index.quality is None
    catch_up(index, faces.changes)
    width, recall = index.quality
    assert width == 400
    assert recall > 0.99
    monkeypatch.setattr(graph, "_ENOUGH", 0.2)
    for i, vector in enumerate(faces_like_real(300, np.random.default_rng(1), vectors(faces)[:1]), 3000):
        faces.put(i, person(i // 4), vector)
    catch_up(index, faces.changes)
    width, narrower = index.quality
    assert width == 1
    assert 0.2 < narrower < recall
    again = open_index(D, "l2", cache=tmp_path / "v", approximate=True)
    again.search(vectors(faces)[:1], 1)
    assert again.quality == pytest.approx(index.quality)


def test_progress_counts_the_faces(faces):
    said = []
    index = open_index(D, "l2", approximate=True, progress=lambda done, total: said.append((done, total)))
    catch_up(index, faces.changes)
    assert said == [(1500, 1500)]


def test_strays_are_found(faces):
    """Faces to which no way leads are compared with every query, one by one."""
    index = open_index(D, "l2", approximate=True)
    catch_up(index, faces.changes)
    made, rows = index._graph, index._exact.read(lambda rows: rows)
    lost = made.ids[100:160]
    made._index.remove(lost.astype(np.uint64))
    made.stray[100:160] = True
    made._note_strays(rows)
    _, ids = index.search(rows.matrix[rows.places(lost)], 1)
    assert ids[:, 0].tolist() == lost.tolist()
