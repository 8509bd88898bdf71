"""What every store keeps of its promises: one suite, run against SQLite and PostgreSQL, plain and encrypted."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from mien.errors import GalleryBusyError, GalleryError, GalleryKeyError
from mien.gallery.records import Event, Face, NewFace, Undo
from mien.gallery.stores.opening import open_store
from tests.gallery.galleries import AT, DIMENSION, LANDMARKS, a_cipher, a_person, an_info, faces, fresh_url, vectors

KINDS = ["sqlite", "postgres"]


@pytest.fixture(params=KINDS)
def url(request, tmp_path):
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return fresh_url(request.param, tmp_path, server)


@pytest.fixture(params=["plain", "sealed"])
def cipher(request):
    return a_cipher() if request.param == "sealed" else None


@pytest.fixture
def info(cipher):
    return an_info(key_id=cipher and cipher.key_id)


@pytest.fixture
def store(url, info, cipher):
    store = open_store(url, create=info, cipher=cipher)
    yield store
    store.close()


@pytest.fixture
def plain(url):
    store = open_store(url, create=an_info())
    yield store
    store.close()


def added(store, n, person=None, seed=0, **more):
    with store.write() as writer:
        return writer.add_faces(faces(n, person, seed, **more)).tolist()


def known(store, name=None, **more):
    person = a_person(name, **more)
    with store.write() as writer:
        writer.add_person(person)
    return person


def changes(store, since=0):
    with store.read() as reader:
        return reader.changes(since)


class TestEmpty:
    def test_info_is_what_it_was_made_with(self, store, info):
        with store.read() as reader:
            assert reader.info == info

    def test_nothing_is_in_it(self, store):
        with store.read() as reader:
            assert reader.count() == (0, 0)
            assert reader.revision() == 0
            assert reader.people() == reader.faces() == reader.faces_by_id([]) == reader.faces_from("aa") == []
            assert reader.forbidden() == reader.events() == []
            assert reader.last_undo() is None
            assert reader.person("nobody") is None
            assert reader.person_named("Nobody") is None
            assert reader.crop(1) is None
            assert reader.vectors([]).shape == (0, DIMENSION)

    def test_changes(self, store):
        found = changes(store)
        assert found.complete
        assert found.vectors.shape == (0, DIMENSION)
        assert found.vectors.dtype == np.float32
        assert found.ids.dtype == found.removed.dtype == np.int64
        assert (len(found.ids), found.people, len(found.removed), found.revision) == (0, [], 0, 0)

    def test_empty_requests_change_nothing(self, store):
        with store.write() as writer:
            assert writer.add_faces([]).shape == (0,)
            writer.move_faces([], None)
            writer.remove_faces([])
            writer.replace_vectors([], np.empty((0, DIMENSION), np.float32))
            writer.pop_undo()
            assert writer.count() == (0, 0)

    def test_clean(self, store):
        store.clean()

    def test_nearest(self, plain):
        found = plain.nearest(vectors(2), 3)
        if found is not None:
            distances, ids = found
            assert distances.shape == ids.shape == (2, 3)
            assert (ids == -1).all()
            assert (distances == -1).all()


class TestPeople:
    def test_everything_comes_back(self, store):
        person = known(
            store, "Zoë Müller 王", consent="by e-mail", consent_at=AT, expires=AT + timedelta(days=365, microseconds=1)
        )
        with store.read() as reader:
            assert reader.person(person.id) == person
            assert reader.person_named("Zoë Müller 王") == person
            assert reader.person_named("zoë müller 王") is None
            assert reader.people() == [person]

    def test_many_may_be_unnamed(self, store):
        people = [known(store) for _ in range(3)]
        with store.read() as reader:
            assert reader.people() == people

    def test_in_order_of_creation_page_by_page(self, store):
        people = [known(store, name) for name in "CABD"]
        with store.read() as reader:
            assert [person.name for person in reader.people()] == list("CABD")
            assert reader.people(limit=2) == people[:2]
            assert reader.people(after=people[1].id, limit=1) == people[2:3]
            assert reader.people(after=people[3].id) == reader.people(limit=0) == []
            with pytest.raises(GalleryError, match="no person 'nobody'"):
                reader.people(after="nobody")

    def test_faces_are_counted(self, store):
        person = known(store, "A")
        added(store, 3, person.id)
        added(store, 2)
        with store.read() as reader:
            assert reader.person(person.id).faces == 3
            assert reader.count() == (1, 5)

    def test_names_are_unique(self, store):
        person, other = known(store, "A"), known(store, "B")
        with pytest.raises(GalleryError, match="'A' already"), store.write() as writer:
            writer.add_person(a_person("A"))
        with pytest.raises(GalleryError, match="'A' already"), store.write() as writer:
            writer.update_person(replace(other, name="A"))
        with store.write() as writer:
            writer.update_person(replace(person, name="A"))  # their own

    def test_ids_are_unique(self, store):
        person = known(store, "A")
        with pytest.raises(GalleryError, match="already"), store.write() as writer:
            writer.add_person(replace(person, name="B"))

    def test_update(self, store):
        person = known(store, "A", consent="yes", consent_at=AT)
        changed = replace(person, name="B", consent=None, consent_at=None, expires=AT)
        with store.write() as writer:
            writer.update_person(changed)
        with store.read() as reader:
            assert reader.people() == [changed]
            assert reader.person_named("A") is None

    def test_nobody_of_that_id(self, store):
        for change in (
            lambda writer: writer.update_person(a_person("A")),
            lambda writer: writer.remove_person("nobody"),
            lambda writer: writer.move_faces([], "nobody"),
            lambda writer: writer.add_faces(faces(1, "nobody")),
            lambda writer: writer.forbid(1, "nobody"),
        ):
            with pytest.raises(GalleryError, match="there is no person"), store.write() as writer:
                change(writer)
        assert changes(store).revision == 0

    def test_removal_takes_everything_along(self, store):
        person, other = known(store, "A"), known(store, "B")
        mine, others = added(store, 3, person.id, crop=b"picture"), added(store, 2, other.id)
        with store.write() as writer:
            writer.forbid(others[0], person.id)
            writer.forbid(mine[0], other.id)
            writer.push_undo(Undo("rename", AT, [{"name": "A"}], (person.id,)))
            writer.push_undo(Undo("merge", AT, [], (other.id,)))
            writer.push_undo(Undo("merge", AT, [], (other.id, person.id)))
            writer.add_event(Event(AT, "enrol", "me", person.id))
        before = changes(store).revision
        with store.write() as writer:
            writer.remove_person(person.id)
        with store.read() as reader:
            assert reader.people() == [replace(other, faces=2)]
            assert [face.id for face in reader.faces()] == others
            assert reader.crop(mine[0]) is None
            assert reader.forbidden() == []
            assert reader.last_undo().people == (other.id,)
            assert len(reader.events(person=person.id)) == 1  # the trail stays
            assert reader.changes(before).removed.tolist() == mine
        with store.write() as writer:
            writer.pop_undo()
            assert writer.last_undo() is None


class TestFaces:
    def test_everything_comes_back(self, store):
        person = known(store, "A")
        new = NewFace(
            vectors(1)[0],
            person.id,
            source="pictures/été 1.jpg",
            source_sha256="cd" * 32,
            box=(1.5, 2.1, 300.75, 400.0),
            landmarks=LANDMARKS,
            score=0.987654321,
            crop=b"\x89PNG\0\xff",
        )
        with store.write() as writer:
            [bare, full] = writer.add_faces([NewFace(vectors(2)[1]), new]).tolist()
        with store.read() as reader:
            first, second = reader.faces()
            assert first == Face(bare, None, first.created)
            assert second == Face(
                full, person.id, first.created, new.source, new.source_sha256, new.box, LANDMARKS, new.score, True
            )
            assert reader.crop(full) == new.crop
            assert reader.crop(bare) is None
            np.testing.assert_array_equal(reader.vectors([full, bare]), vectors(2)[:2])

    def test_a_path_that_is_no_utf8_is_escaped(self, store):
        [face] = added(store, 1, source="bad \udcff.jpg")
        with store.read() as reader:
            assert reader.faces_by_id([face])[0].source == "bad \\udcff.jpg"

    def test_found_by_person_source_and_number(self, store):
        person = known(store, "A")
        mine = added(store, 3, person.id, source_sha256="aa")
        free = added(store, 2, source_sha256="bb")
        with store.read() as reader:

            def ids(**which):
                return [face.id for face in reader.faces(**which)]

            assert ids() == mine + free
            assert ids(person=person.id) == mine
            assert ids(person=person.id, after=mine[0], limit=1) == mine[1:2]
            assert ids(person="nobody") == []
            assert ids(unassigned=True) == free
            assert ids(unassigned=True, after=free[0]) == free[1:]
            assert ids(after=mine[2], limit=1) == free[:1]
            assert [face.id for face in reader.faces_from("bb")] == free
            assert [face.id for face in reader.faces_by_id([free[0], mine[1], 10**6, mine[1]])] == [mine[1], free[0]]

    def test_vectors_in_the_order_asked_for(self, store):
        ids = added(store, 5)
        with store.read() as reader:
            wanted = [ids[3], ids[0], ids[3]]
            np.testing.assert_array_equal(reader.vectors(wanted), vectors(5)[[3, 0, 3]])
            with pytest.raises(GalleryError, match=r"no face 999 \(and 1 more\)"):
                reader.vectors([ids[0], 999, 1000])

    def test_numbers_are_never_used_again(self, store):
        first = added(store, 3)
        with store.write() as writer:
            writer.remove_faces(first)
        store.clean()
        assert min(added(store, 1)) > max(first)

    def test_more_than_a_statement_takes_at_once(self, plain):
        n = 12_001
        ids = added(plain, n)
        assert ids == list(range(ids[0], ids[0] + n))
        with plain.write() as writer:
            np.testing.assert_array_equal(writer.vectors(ids[::-1]), vectors(n)[::-1])
            writer.replace_vectors(ids, vectors(n, seed=1))
        np.testing.assert_array_equal(changes(plain).vectors, vectors(n, seed=1))
        with plain.write() as writer:
            writer.remove_faces(ids[1:])
        assert changes(plain).ids.tolist() == ids[:1]

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (vectors(1, dimension=8)[0], "has 8 numbers, this gallery keeps 16"),
            (np.full(DIMENSION, np.nan, np.float32), "not made of finite numbers"),
            (np.full(DIMENSION, np.inf, np.float32), "not made of finite numbers"),
            (np.zeros((2, DIMENSION), np.float32), "do not fit"),
            (np.zeros(0, np.float32), "do not fit"),
        ],
    )
    def test_embeddings_that_do_not_fit(self, store, wrong, message):
        with pytest.raises(GalleryError, match=message), store.write() as writer:
            writer.add_faces([NewFace(wrong)])
        with pytest.raises(GalleryError, match=r"differ in length|not made of finite"), store.write() as writer:
            writer.add_faces([NewFace(vectors(1)[0]), NewFace(wrong if wrong.ndim == 1 else vectors(1)[0][1:])])
        assert changes(store).revision == 0

    def test_what_is_not_there_cannot_be_changed(self, store):
        [face] = added(store, 1)
        for change in (
            lambda writer: writer.move_faces([face, 77], None),
            lambda writer: writer.remove_faces([face, 77]),
            lambda writer: writer.replace_vectors([face, 77], vectors(2)),
        ):
            with pytest.raises(GalleryError, match="no face 77"), store.write() as writer:
                change(writer)
        with pytest.raises(GalleryError, match="twice"), store.write() as writer:
            writer.replace_vectors([face, face], vectors(2))
        assert changes(store).ids.tolist() == [face]


class TestChanges:
    def test_one_revision_per_transaction(self, store):
        with store.write() as writer:
            writer.add_person(a_person("A"))
            writer.add_faces(faces(2))
            assert writer.revision() == 1
        with store.write() as writer:
            writer.add_event(Event(AT, "identify", "me"))
            writer.push_undo(Undo("x", AT, []))
        assert changes(store).revision == 1

    def test_every_change_counts(self, store):
        person, seen = known(store, "A"), []
        [face, other] = added(store, 2)
        for change in (
            lambda writer: writer.update_person(replace(person, name="B")),
            lambda writer: writer.move_faces([face], person.id),
            lambda writer: writer.replace_vectors([face], vectors(1, seed=3)),
            lambda writer: writer.forbid(face, person.id),
            lambda writer: writer.allow(face, person.id),
            lambda writer: writer.remove_faces([other]),
            lambda writer: writer.remove_person(person.id),
        ):
            with store.write() as writer:
                before = writer.revision()
                change(writer)
                seen.append(writer.revision() - before)
        assert seen == [1] * 7

    def test_only_what_changed(self, store):
        person = known(store, "A")
        ids = added(store, 6)
        start = changes(store).revision
        with store.write() as writer:
            writer.move_faces(ids[:2], person.id)
            writer.replace_vectors([ids[2]], vectors(1, seed=9))
            writer.remove_faces([ids[3]])
            [new] = writer.add_faces(faces(1, person.id, seed=8)).tolist()
        found = changes(store, start)
        assert not found.complete
        assert found.ids.tolist() == [ids[0], ids[1], ids[2], new]
        assert found.people == [person.id, person.id, None, person.id]
        assert found.removed.tolist() == [ids[3]]
        expected = np.stack([*vectors(2), vectors(1, seed=9)[0], vectors(1, seed=8)[0]])
        expected[:2] = vectors(6)[:2]
        np.testing.assert_array_equal(found.vectors, expected)
        nothing = changes(store, found.revision)
        assert (len(nothing.ids), len(nothing.removed), nothing.complete) == (0, 0, False)

    def test_everything(self, store):
        person = known(store, "A")
        ids = added(store, 4, person.id) + added(store, 1, seed=1)
        with store.write() as writer:
            writer.remove_faces(ids[1:2])
        found = changes(store)
        assert found.complete
        assert found.ids.tolist() == [ids[0], *ids[2:]]
        assert found.people == [person.id] * 3 + [None]
        assert len(found.removed) == 0
        np.testing.assert_array_equal(found.vectors, np.stack([*vectors(4)[[0, 2, 3]], vectors(1, seed=1)[0]]))

    def test_a_revision_of_the_future_gets_everything(self, store):
        added(store, 2)  # a copy of before was put back: the index knows more than the gallery
        assert changes(store, 99).complete

    def test_added_and_removed_between(self, store):
        added(store, 1)
        start = changes(store).revision
        gone = added(store, 1)
        with store.write() as writer:
            writer.remove_faces(gone)
        found = changes(store, start)
        assert found.removed.tolist() == gone
        assert len(found.ids) == 0


class TestForbidden:
    def test_noted_once_and_taken_back(self, store):
        person, other = known(store, "A"), known(store, "B")
        ids = added(store, 2, other.id)
        with store.write() as writer:
            for _ in range(2):
                writer.forbid(ids[1], person.id)
            writer.forbid(ids[0], person.id)
            writer.allow(ids[0], other.id)  # was never forbidden
            assert writer.forbidden() == [(ids[0], person.id), (ids[1], person.id)]
            writer.allow(ids[0], person.id)
        with store.read() as reader:
            assert reader.forbidden() == [(ids[1], person.id)]

    def test_goes_with_the_face(self, store):
        person = known(store, "A")
        ids = added(store, 1)
        with store.write() as writer:
            writer.forbid(ids[0], person.id)
            writer.remove_faces(ids)
            assert writer.forbidden() == []

    def test_no_such_face(self, store):
        person = known(store, "A")
        with pytest.raises(GalleryError, match="no face 5"), store.write() as writer:
            writer.forbid(5, person.id)


class TestTrail:
    def test_events_come_back_in_order(self, store):
        with store.write() as writer:
            for i in range(5):
                writer.add_event(Event(AT, f"action {i}", "me", "ab" * 16 if i % 2 else None, {"n": i, "ids": [1, 2]}))
        with store.read() as reader:
            events = reader.events()
            assert [event.action for event in events] == [f"action {i}" for i in range(5)]
            assert events[3] == Event(AT, "action 3", "me", "ab" * 16, {"n": 3, "ids": [1, 2]}, events[3].id)
            assert reader.events(person="ab" * 16) == [events[1], events[3]]
            assert reader.events(after=events[1].id, limit=2) == events[2:4]

    def test_undo_is_a_stack_of_limited_depth(self, store):
        with store.write() as writer:
            for i in range(5):
                writer.push_undo(Undo(f"change {i}", AT, [{"do": "rename", "name": "Ä"}], ("a", "b")), keep=3)
        seen = []
        for _ in range(4):
            with store.write() as writer:
                undo = writer.last_undo()
                seen.append(undo and undo.action)
                writer.pop_undo()
        assert seen == ["change 4", "change 3", "change 2", None]

    def test_undo_comes_back(self, store):
        undo = Undo("merge", AT, [{"do": "move", "faces": [1, 2], "person": None}], ("a",))
        with store.write() as writer:
            writer.push_undo(undo)
        with store.read() as reader:
            assert replace(reader.last_undo(), id=0) == undo


class TestTransactions:
    def test_nothing_is_written_where_the_block_raises(self, store):
        person = known(store, "A")
        ids = added(store, 2, person.id)
        with store.read() as reader:
            before = reader.people(), reader.faces(), reader.revision()
        with pytest.raises(ZeroDivisionError), store.write() as writer:
            writer.remove_faces(ids[:1])
            writer.add_faces(faces(3))
            writer.update_person(replace(person, name="B"))
            writer.push_undo(Undo("x", AT, []))
            writer.add_event(Event(AT, "x", "me"))
            raise ZeroDivisionError
        with store.read() as reader:
            assert (reader.people(), reader.faces(), reader.revision()) == before
            assert reader.last_undo() is None
            assert reader.events() == []

    def test_an_error_of_the_store_leaves_nothing_behind_either(self, store):
        known(store, "A")
        with pytest.raises(GalleryError), store.write() as writer:
            writer.add_faces(faces(1))
            writer.add_person(a_person("A"))
        assert len(changes(store).ids) == 0
        added(store, 1)  # and it goes on

    def test_a_writer_sees_what_it_wrote(self, store):
        with store.write() as writer:
            person = a_person("A")
            writer.add_person(person)
            ids = writer.add_faces(faces(2, person.id))
            assert writer.count() == (1, 2)
            assert writer.changes(0).ids.tolist() == ids.tolist()
            assert writer.person_named("A").faces == 2

    def test_a_reader_sees_one_state(self, url, store, cipher):
        added(store, 1)
        other = open_store(url, cipher=cipher)
        with other.read() as reader:
            added(store, 1)
            known(store, "A")
            assert reader.count() == (0, 1)
            assert reader.revision() == 1
            assert len(reader.changes(0).ids) == 1
            with store.read() as later:
                assert later.count() == (1, 2)
        other.close()

    def test_another_store_sees_what_was_committed(self, url, store, cipher, info):
        ids = added(store, 2)
        other = open_store(url, cipher=cipher)
        with other.read() as reader:
            assert reader.info == info
            np.testing.assert_array_equal(reader.vectors(ids), vectors(2))
        other.close()

    def test_threads_share_a_store(self, store):
        def enrol():
            for _ in range(10):
                added(store, 2)

        threads = [threading.Thread(target=enrol) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = changes(store)
        assert len(found.ids) == len(set(found.ids.tolist())) == 80
        assert found.revision == 40

    def test_busy_says_so_within_the_time_stated(self, url, store, cipher):
        impatient = open_store(url, cipher=cipher, timeout=0.3)
        with store.write() as writer:
            writer.add_person(a_person("A"))
            start = time.monotonic()
            with pytest.raises(GalleryBusyError, match=r"longer than 0\.3 s"), impatient.write():
                pass
            assert 0.2 < time.monotonic() - start < 20  # and not for ever
            with impatient.read() as reader:
                assert reader.count() == (0, 0)
        with impatient.write() as writer:
            writer.add_person(a_person("B"))
            assert writer.count() == (2, 0)
        impatient.close()

    def test_a_writer_that_waits_goes_on_from_what_the_other_wrote(self, url, store, cipher):
        started, seen = threading.Event(), []

        def wait():
            other = open_store(url, cipher=cipher)
            started.set()
            with other.write() as writer:
                seen.append(writer.count())
                writer.add_faces(faces(1))
            other.close()

        with store.write() as writer:
            thread = threading.Thread(target=wait)
            thread.start()
            started.wait()
            time.sleep(0.2)
            writer.add_faces(faces(1))
        thread.join()
        assert seen == [(0, 1)]
        assert changes(store).revision == 2

    def test_closed(self, store):
        store.close()
        store.close()
        with pytest.raises(GalleryError, match="closed"), store.read():
            pass


class TestOpening:
    def test_what_is_there_is_opened_not_made(self, url, store, cipher, info):
        other = open_store(url, create=replace(info, embedder="another"), cipher=cipher)
        with other.read() as reader:
            assert reader.info == info
        other.close()

    def test_there_is_none(self, url):
        for _ in range(2):
            with pytest.raises(GalleryError, match="there is no gallery"):
                open_store(url)
        with pytest.raises(GalleryError, match="there is no gallery"):
            open_store(url, create=an_info(), readonly=True)

    def test_two_make_it_at_once(self, url):
        stores = []
        threads = [threading.Thread(target=lambda: stores.append(open_store(url, create=an_info()))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = set()
        for store in stores:
            with store.read() as reader:
                ids.add(reader.info.id)
            store.close()
        assert (len(stores), len(ids)) == (4, 1)

    def test_to_read_only(self, url, store, cipher):
        added(store, 2)
        reader_store = open_store(url, cipher=cipher, readonly=True)
        assert len(changes(reader_store).ids) == 2
        with pytest.raises(GalleryError, match="to read only"), reader_store.write():
            pass
        with pytest.raises(GalleryError, match="to read only"):
            reader_store.clean()
        reader_store.close()

    @pytest.mark.parametrize(
        ("key", "given", "message"), [(1, None, "encrypted"), (1, 2, "another key"), (None, 1, "not")]
    )
    def test_the_key(self, url, key, given, message):
        right, wrong = key and a_cipher(key), given and a_cipher(given)
        open_store(url, create=an_info(key_id=right and right.key_id), cipher=right).close()
        with pytest.raises(GalleryKeyError, match=message):
            open_store(url, cipher=wrong)
        open_store(url, cipher=right).close()

    def test_a_new_one_with_the_wrong_key_is_not_made(self, url):
        with pytest.raises(GalleryKeyError):
            open_store(url, create=an_info(), cipher=a_cipher())
        with pytest.raises(GalleryError, match="there is no gallery"):
            open_store(url)


class TestWhatItIs:
    def test_another_embedder(self, store, info, cipher):
        ids = added(store, 3)
        after = replace(info, embedder="sface", embedder_sha256="cd" * 32, metric="cosine", dimension=8)
        with store.write() as writer:
            writer.set_info(after)
            writer.replace_vectors(ids, vectors(3, dimension=8))
        with store.read() as reader:
            assert reader.info == after
            found = reader.changes(1)
            assert found.complete
            np.testing.assert_array_equal(found.vectors, vectors(3, dimension=8))
            assert not reader.changes(found.revision).complete

    def test_the_vectors_first(self, store, info):
        ids = added(store, 3)
        with store.write() as writer:
            writer.replace_vectors(ids, vectors(3, dimension=8))
            writer.set_info(replace(info, dimension=8))
        assert changes(store).vectors.shape == (3, 8)

    @pytest.mark.parametrize("dimension", [8, DIMENSION])
    def test_not_all_were_replaced(self, store, info, dimension):
        ids = added(store, 3)
        with pytest.raises(GalleryError, match=f"not every face has an embedding of {dimension}"):
            with store.write() as writer:
                writer.set_info(replace(info, dimension=dimension))
                writer.replace_vectors(ids[:2], vectors(2, dimension=8))
        np.testing.assert_array_equal(changes(store).vectors, vectors(3))

    def test_the_id_stays(self, store, info):
        with pytest.raises(GalleryError, match="keeps its id"), store.write() as writer:
            writer.set_info(replace(info, id="00" * 16))

    def test_another_key(self, url, store, cipher, info):
        ids = added(store, 3, crop=b"picture")
        new = a_cipher(100)
        with store.write() as writer:
            writer.rewrap(new)
            assert writer.crop(ids[0]) == b"picture"
            np.testing.assert_array_equal(writer.vectors(ids), vectors(3))
        added(store, 1, seed=1)  # by the new key
        with pytest.raises(GalleryKeyError):
            open_store(url, cipher=cipher)
        other = open_store(url, cipher=new)
        with other.read() as reader:
            assert reader.info == replace(info, key_id=new.key_id)
            assert reader.crop(ids[2]) == b"picture"
            np.testing.assert_array_equal(reader.changes(0).vectors, np.stack([*vectors(3), vectors(1, seed=1)[0]]))
        with other.write() as writer:
            writer.rewrap(None)
        other.close()
        with pytest.raises(GalleryKeyError), store.read():
            pass
        bare = open_store(url)
        assert changes(bare).vectors.shape == (4, DIMENSION)
        bare.close()

    def test_a_rotation_that_fails_leaves_the_old_key(self, store):
        ids = added(store, 3, crop=b"picture")
        with pytest.raises(ZeroDivisionError), store.write() as writer:
            writer.rewrap(a_cipher(100))
            raise ZeroDivisionError
        with store.read() as reader:
            np.testing.assert_array_equal(reader.vectors(ids), vectors(3))
            assert reader.crop(ids[0]) == b"picture"

    def test_the_key_changes_with_what_it_encrypts_only(self, store, info):
        with pytest.raises(GalleryError, match="rewrap"), store.write() as writer:
            writer.set_info(replace(info, key_id="0" * 16))


class TestNearest:
    def test_finds_what_a_product_finds(self, plain):
        ids = added(plain, 50)
        found = plain.nearest(vectors(5, seed=4), 3)
        if found is None:
            assert plain.url.endswith(".db")
            return
        distances, faces_found = found
        expected = np.linalg.norm(vectors(5, seed=4)[:, None] - vectors(50)[None], axis=2)
        order = np.argsort(expected, axis=1)[:, :3]
        np.testing.assert_array_equal(faces_found, np.array(ids)[order])
        np.testing.assert_allclose(distances, np.take_along_axis(expected, order, 1), rtol=1e-5)

    def test_none_where_it_is_encrypted(self, url):
        store = open_store(url, create=an_info(key_id=a_cipher().key_id), cipher=a_cipher())
        assert store.nearest(vectors(1), 1) is None
        store.close()
