"""What search keeps beside a gallery: shared by processes, never of an encrypted gallery, and nothing removed in it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryError
from mien.gallery.encryption import new_key
from mien.gallery.gallery import Gallery
from mien.gallery.records import NewFace
from mien.gallery.rules import rule_for
from mien.gallery.search import approximate, searching
from mien.gallery.search.index import ExactIndex
from mien.models import registry
from tests.gallery.galleries import fresh_url, vectors

PEOPLE = 30
RULE = rule_for(registry.entry("dlib-resnet", "embedding").record, "fast")


def embeddings(n: int, seed: int = 0) -> np.ndarray:
    """(N, 128), about as long as real ones."""
    return vectors(n, seed, 128) / 8


FACES = embeddings(2 * PEOPLE)


def enrol_all(gallery: Gallery) -> None:
    for i in range(PEOPLE):
        gallery.enrol(f"Person {i}", FACES[2 * i : 2 * i + 2])


@pytest.fixture
def place(tmp_path) -> Path:
    path = tmp_path / "people.db"
    with Gallery.open(path) as gallery:
        enrol_all(gallery)
    return path


def cache(place: Path) -> Path:
    return place.with_name("people.db-vectors")


def holds(folder: Path, face: np.ndarray) -> list[str]:
    """The files in which an embedding is found, as it is or as it is compared."""
    forms = [form.tobytes() for form in (face, face.astype(np.float16), *RULE.prepare(face[None]))]
    forms.append(RULE.prepare(face[None])[0].astype(np.float16).tobytes())
    return [file.name for file in folder.iterdir() if file.is_file() and _any(forms, file)]


def _any(forms: list[bytes], file: Path) -> bool:
    content = file.read_bytes()
    return any(form in content for form in forms)


def names(gallery: Gallery, probes: np.ndarray) -> list[str | None]:
    return [answer.candidates[0].name for answer in gallery.identify(probes, k=1)]


def test_processes_share_a_file_that_only_the_owner_reads(place):
    with Gallery.open(place) as one, Gallery.open(place) as other:
        assert names(one, FACES[:4:2]) == names(other, FACES[:4:2]) == ["Person 0", "Person 1"]
        assert cache(place).stat().st_mode & 0o077 == 0
        written = cache(place).stat().st_ino
        one.enrol("New", embeddings(1, seed=5))
        assert names(other, embeddings(1, seed=5)) == ["New"]
        assert cache(place).stat().st_ino == written  # brought up to date, not written anew
        other.merge("New", "Person 0")
        assert names(one, embeddings(1, seed=5)) == ["Person 0"]


def test_a_reader_who_sees_less_than_the_file_holds_leaves_it_there(place):
    with Gallery.open(place) as one, Gallery.open(place) as other:
        with one.store.read() as before:
            other.enrol("New", embeddings(1, seed=5))
            assert names(other, embeddings(1, seed=5)) == ["New"]
            written = cache(place).stat()
            (ranked, _), roster = one._search(RULE).rank(before, embeddings(1, seed=5), 3)
            assert "New" not in {roster.people[i][1] for i in ranked[0]}
        after = cache(place).stat()
        assert (after.st_ino, after.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_gallery_that_was_brought_back_from_a_copy_is_searched_as_it_is(place, tmp_path):
    shutil.copy(place, tmp_path / "copy.db")
    with Gallery.open(place) as gallery:
        for i in range(3):
            gallery.enrol(f"Lost {i}", embeddings(1, seed=10 + i))
        names(gallery, FACES[:1])
    shutil.copy(tmp_path / "copy.db", place)
    with Gallery.open(place) as gallery:
        for i in range(4):
            gallery.enrol(f"Later {i}", embeddings(1, seed=20 + i))
        assert names(gallery, embeddings(1, seed=20)) == ["Later 0"]
        assert "Lost 0" not in {c.name for c in gallery.identify(embeddings(1, seed=10))[0].candidates}


def test_nothing_is_written_where_the_gallery_is_read_only(place, tmp_path):
    with Gallery.open(place, readonly=True) as gallery:
        assert names(gallery, FACES[:1]) == ["Person 0"]
    assert not cache(place).exists()


def test_a_link_leads_to_the_same_file(place, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(place)
    with Gallery.open(link) as gallery:
        names(gallery, FACES[:1])
    assert cache(place).exists()
    assert list(link.parent.iterdir()) == [link]


@pytest.mark.parametrize("searched_by", ["nobody", "who removes", "another"])
@pytest.mark.parametrize("graph", [False, True])
def test_removal_removes_from_every_file(place, tmp_path, searched_by, graph, monkeypatch):
    """The embeddings of whoever is removed, as they are and as they are compared, are in no file any more."""
    if graph:
        pytest.importorskip("usearch")
        monkeypatch.setattr(approximate, "_FEW", 20)
        monkeypatch.setattr(approximate, "_UNSAVED", 0)
    with Gallery.open(place, approximate=graph) as gallery, Gallery.open(place, approximate=graph) as other:
        if searched_by != "nobody":
            names(gallery if searched_by == "who removes" else other, FACES[:1])
            files = holds(tmp_path, FACES[7])
            assert {"people.db", "people.db-vectors"} <= set(files)
            assert ("people.db-vectors-graph" in files) == graph
        (tmp_path / ".people.db-vectors-0123.tmp").write_bytes(b"mien" + FACES[7].tobytes())  # of a killed process
        cache(place).touch()
        assert holds(tmp_path, FACES[7])
        gallery.remove("Person 3")
        assert holds(tmp_path, FACES[6]) == holds(tmp_path, FACES[7]) == []
        assert holds(tmp_path, FACES[8])
        assert "Person 3" not in names(other, FACES[6:8])
        assert names(other, FACES[8:9]) == names(gallery, FACES[8:9]) == ["Person 4"]
        assert holds(tmp_path, FACES[7]) == []
        gallery.enrol("Undone", embeddings(1, seed=7))
        names(other, FACES[:1])
        gallery.undo()
        assert holds(tmp_path, embeddings(1, seed=7)[0]) == []


def test_a_file_that_cannot_be_brought_up_to_date_goes(place, tmp_path):
    with Gallery.open(place) as gallery:
        names(gallery, FACES[:1])
        with gallery.store.write() as writer:  # as a model would be that is not here any more
            info = writer.info
            writer.set_info(type(info)(**{**info.__dict__, "embedder": "gone", "embedder_sha256": "00" * 32}))
    with Gallery.open(place, embedder=None, mode=None) as gallery:
        gallery.remove("Person 3")
    assert not cache(place).exists()
    assert holds(tmp_path, FACES[7]) == []


def test_a_file_that_cannot_be_cleared_is_said(place):
    with Gallery.open(place) as gallery:
        cache(place).mkdir()
        cache(place).with_name("people.db-vectors-graph").mkdir()
        with pytest.raises(GalleryError, match=r"vectors: .*cannot be cleared.*remove it"):
            gallery.remove("Person 3")
        assert gallery.count()[0] == PEOPLE - 1


def test_an_encrypted_gallery_has_no_file_and_one_that_was_left_goes(tmp_path):
    place, key = tmp_path / "people.db", f"file:{tmp_path / 'key'}"
    new_key(key)
    with Gallery.open(place, key=key) as gallery:
        enrol_all(gallery)
        assert names(gallery, FACES[:1]) == ["Person 0"]
    assert not cache(place).exists()
    cache(place).write_bytes(FACES.tobytes())
    Gallery.open(place, key=key).close()
    assert not cache(place).exists()
    assert holds(tmp_path, FACES[0]) == []


# Approximate search


def test_approximate_search_answers_alike(place, monkeypatch):
    pytest.importorskip("usearch")
    monkeypatch.setattr(approximate, "_FEW", 20)
    with Gallery.open(place) as exact, Gallery.open(place, approximate=True) as gallery:
        probes = FACES[::2] + embeddings(PEOPLE, seed=1) / 10
        for one, other in zip(exact.identify(probes, k=3), gallery.identify(probes, k=3), strict=True):
            assert one == other


def test_above_a_million_faces_it_is_the_default(place, monkeypatch):
    """With a lower number of faces; whoever chooses is obeyed."""
    pytest.importorskip("usearch")
    monkeypatch.setattr(searching, "APPROXIMATE_ABOVE", 2 * PEOPLE)
    monkeypatch.setattr(approximate, "_FEW", 20)
    kinds = (None, ExactIndex), (False, ExactIndex), (True, approximate.ApproximateIndex)
    for chosen, kind in kinds:
        with Gallery.open(place, approximate=chosen) as gallery:
            assert names(gallery, FACES[:1]) == ["Person 0"]
            assert type(gallery._searcher._index) is kind
    with Gallery.open(place) as gallery, Gallery.open(place, approximate=False) as exact:
        names(gallery, FACES[:1])
        gallery.enrol("One more", embeddings(1, seed=5))
        for each, kind in ((gallery, approximate.ApproximateIndex), (exact, ExactIndex)):
            assert names(each, np.concatenate([FACES[:1], embeddings(1, seed=5)])) == ["Person 0", "One more"]
            assert type(each._searcher._index) is kind


def test_without_usearch_a_larger_gallery_is_searched_exactly(place, monkeypatch, caplog):
    monkeypatch.setattr(searching, "APPROXIMATE_ABOVE", 10)
    monkeypatch.setitem(sys.modules, "usearch", None)
    with Gallery.open(place) as gallery:
        assert names(gallery, FACES[:1]) == ["Person 0"]
        gallery.enrol("One more", embeddings(1, seed=5))
        assert names(gallery, FACES[:1]) == ["Person 0"]
    [said] = caplog.messages
    assert said == "60 faces are compared with every one: approximate search needs usearch: pip install 'mien[ann]'"


def test_without_usearch_it_is_refused_at_once(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    with pytest.raises(GalleryError, match=r"pip install 'mien\[ann\]'"):
        Gallery.open(place, approximate=True)
    Gallery.open(place).close()


@pytest.mark.parametrize("indexed", [False, True])
def test_postgresql_searches_by_itself(postgres, tmp_path, monkeypatch, indexed):
    monkeypatch.setitem(sys.modules, "usearch", None)  # it needs none
    monkeypatch.setattr(searching, "_ASKED_FOR", 8)
    if indexed:
        monkeypatch.setattr("mien.gallery.stores.postgres.INDEX_FROM", 50)
    url = fresh_url("postgres", tmp_path, postgres)
    with Gallery.open(url) as exact, Gallery.open(url, approximate=True) as gallery:
        enrol_all(exact)
        with exact.store.write() as writer:  # a crowd of nobody around one of them
            writer.add_faces([NewFace(FACES[0] + row) for row in embeddings(20, seed=3) / 1000])
        probes = FACES[::2] + embeddings(PEOPLE, seed=1) / 10
        assert names(gallery, probes) == names(exact, probes) == [f"Person {i}" for i in range(PEOPLE)]
        assert gallery.store.has_index() == indexed
        gallery.remove("Person 3")
        assert "Person 3" not in names(gallery, probes)
        assert len(gallery.identify(FACES[:1], k=PEOPLE)[0].candidates) == PEOPLE - 1
        assert gallery._searcher._index is None
    monkeypatch.setattr(searching, "APPROXIMATE_ABOVE", 10)
    with Gallery.open(url) as gallery:
        assert names(gallery, FACES[:1]) == ["Person 0"]
        assert gallery._searcher._index is None
    assert postgres


def test_an_encrypted_gallery_in_postgresql_is_searched_here(postgres, tmp_path):
    pytest.importorskip("usearch")
    key = f"file:{tmp_path / 'key'}"
    new_key(key)
    with Gallery.open(fresh_url("postgres", tmp_path, postgres), key=key, approximate=True) as gallery:
        enrol_all(gallery)
        assert names(gallery, FACES[:1]) == ["Person 0"]
        assert gallery._searcher._index is not None
