"""Galleries on PostgreSQL: what a server can refuse, what an address may say, and the index of pgvector."""

from __future__ import annotations

import time
import traceback
import uuid

import numpy as np
import psycopg
import pytest

from mien.errors import GalleryError
from mien.gallery.stores import postgres as module
from mien.gallery.stores.address import Address
from mien.gallery.stores.opening import open_store
from tests.gallery.galleries import a_cipher, a_person, an_info, faces, fresh_url, vectors
from tests.gallery.postgres_server import SECRET, SECRETIVE

QUOTED = "open%25sesame%407"


@pytest.fixture
def url(postgres, tmp_path):
    return fresh_url("postgres", tmp_path, postgres)


@pytest.fixture
def store(url):
    store = open_store(url, create=an_info())
    yield store
    store.close()


@pytest.fixture
def server(postgres):
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield connection


def schema_of(url):
    return Address.parse(url).schema


def secretive(url, password=QUOTED):
    """The same address for a user without rights."""
    return url.replace("postgres:@", f"{SECRETIVE}:{password}@")


def refused(url, message, **options):
    with pytest.raises(GalleryError, match=message) as error:
        open_store(url, **options)
    said = str(error.value)
    assert "\n" not in said
    whole = "".join(traceback.format_exception(error.value))
    assert SECRET not in whole
    assert QUOTED not in whole
    return said


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://me:secret@host:5433/db?schema=faces", "postgresql://me@host:5433/db?schema=faces"),
            ("postgresql://me@host/db?password=secret&sslmode=require", "postgresql://me@host/db?sslmode=require"),
            ("postgres://:secret@host", "postgresql://@host"),
            ("postgresql:///db?host=/tmp/a%20b", "postgresql:///db?host=/tmp/a%20b"),
            ("postgresql://me:se%40cret@[::1]/db", "postgresql://me@[::1]/db"),
            ("postgresql://me:secret@a:1,b:2/db", "postgresql://me@a:1,b:2/db"),
            ("postgresql://host/db?Password=secret&pasword=secret&options=-csecret", "postgresql://host/db"),
        ],
    )
    def test_is_shown_without_what_is_secret(self, url, shown):
        address = Address.parse(url)
        assert address.shown == shown
        assert "secret" not in repr(address)

    def test_the_schema_is_ours_the_rest_is_for_the_server(self):
        address = Address.parse("postgresql://me:secret@host/db?schema=faces&connect_timeout=3")
        assert address.schema == "faces"
        assert address.conninfo == "postgresql://me:secret@host/db?connect_timeout=3"
        assert Address.parse("postgresql://host/db").schema == "mien"

    @pytest.mark.parametrize("schema", ["", "A", "a b", 'a"; drop table x', "1a", "pg_x", "a" * 64, "é"])
    def test_schemas_are_plain_names(self, schema):
        with pytest.raises(GalleryError, match="is named with a-z"):
            Address.parse(f"postgresql://me:secret@host/db?schema={schema}")

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://me:secret@[host/db",
            "postgresql://me:secret@host/db?what",
            "postgresql://me:a@secret@host/db",  # what was not escaped, which would put the password elsewhere
            "postgresql://me:secret/a@host/db",
            "postgresql://me:a/secret@host/db",
            "postgresql://me:secret#a@host/db",
            "postgresql://me:secret?a@host/db",
            "postgresql://me:100%secret@host/db",
            "postgresql://me:%00secret@host/db",
            "postgresql://me:a:secret@host/db",
            "postgresql://me:secret/db",
            "postgresql://localhost:1/db?pasword=secret",  # libpq's own complaint
            "postgresql:/me:secret@host/db",
            "postgresql:me:secret@host/db",
            "postgres//me:secret@host/db",
            "POSTGRESQL://me:secret@host/db",
            "jdbc:postgresql://me:secret@host/db",
            "host=host user=me password=secret",
        ],
    )
    def test_none(self, url):
        with pytest.raises(GalleryError, match="not one of PostgreSQL") as error:
            open_store(url)
        assert "secret" not in "".join(traceback.format_exception(error.value))


class TestRefused:
    def test_no_server(self, tmp_path):
        said = refused(f"postgresql://{SECRETIVE}:{QUOTED}@localhost:1/db", "cannot be reached")
        assert "refused" in said
        refused(f"postgresql://{SECRETIVE}:{QUOTED}@/db?host={tmp_path}", "cannot be reached")

    def test_an_address_the_server_library_does_not_know(self, url):
        refused(f"{url}&nonsense=1", "not one of PostgreSQL")

    def test_wrong_password(self, url):
        refused(secretive(url, "wrong"), "password authentication failed")
        assert "no password" in refused(secretive(url, ""), "cannot be reached")

    def test_no_such_database(self, url):
        refused(url.replace("/postgres?", "/nothing?"), 'database "nothing" does not exist')

    def test_no_rights_to_make_one(self, url, store):
        refused(f"{secretive(url)}x", "the user may not do this: permission denied", create=an_info())

    def test_no_rights_to_read_one(self, url, store):
        refused(secretive(url), "the user may not do this: permission denied")

    def test_rights_to_read_only(self, url, store, server):
        with store.write() as writer:
            writer.add_faces(faces(2))
        server.execute(f"GRANT USAGE ON SCHEMA {schema_of(url)} TO {SECRETIVE}")
        server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema_of(url)} TO {SECRETIVE}")
        other = open_store(secretive(url))
        with other.read() as reader:
            assert reader.count() == (0, 2)
        with pytest.raises(GalleryError, match="may not do this"), other.write() as writer:
            writer.add_faces(faces(1))
        other.close()

    def test_no_pgvector_and_no_right_to_enable_it(self, postgres, url, server):
        name = f"d{uuid.uuid4().hex}"
        server.execute(f"CREATE DATABASE {name} OWNER {SECRETIVE}")
        bare = secretive(url.replace("/postgres?", f"/{name}?"))
        refused(bare, "have an administrator run CREATE EXTENSION vector", create=an_info())
        refused(bare, "there is no gallery")
        open_store(url.replace("/postgres?", f"/{name}?"), create=an_info()).close()
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def test_something_else_is_there(self, url, server):
        server.execute(f"CREATE SCHEMA {schema_of(url)}")
        with pytest.raises(GalleryError, match="there is no gallery"):
            open_store(url)
        server.execute(f"CREATE TABLE {schema_of(url)}.gallery (one int)")
        refused(url, "holds something else than a gallery", create=an_info())
        refused(url, "holds something else than a gallery")

    def test_a_schema_that_was_prepared(self, url, server):
        server.execute(f"CREATE SCHEMA {schema_of(url)}")
        open_store(url, create=an_info()).close()

    def test_a_later_version(self, url, store, server):
        server.execute(f"COMMENT ON TABLE {schema_of(url)}.gallery IS 'mien gallery, format 2'")
        refused(url, r"later mien \(format 2; this one knows 1\)", create=an_info())

    def test_tampered(self, url, store, server):
        with store.write() as writer:
            [face] = writer.add_faces(faces(1, box=(1, 2, 3, 4))).tolist()
        table = f"{schema_of(url)}.faces"
        server.execute(f"UPDATE {table} SET vector = '[1,2,3]'")
        with pytest.raises(GalleryError, match="damaged or tampered with"), store.read() as reader:
            reader.vectors([face])
        server.execute(f"UPDATE {table} SET box = '[1, 2]'")
        with pytest.raises(GalleryError, match="damaged or tampered with"), store.read() as reader:
            reader.faces()

    def test_a_name_that_the_server_cannot_keep(self, store):
        with pytest.raises(GalleryError, match="NUL"), store.write() as writer:
            writer.add_person(a_person("a\0b"))


class TestConnections:
    def test_two_galleries_in_one_database(self, store, postgres, tmp_path):
        other = open_store(fresh_url("postgres", tmp_path, postgres), create=an_info(), timeout=1)
        with store.write() as writer, other.write() as another:  # they do not wait for each other
            writer.add_faces(faces(1))
            another.add_faces(faces(2))
        with store.read() as reader, other.read() as another:
            assert (reader.count(), another.count()) == ((0, 1), (0, 2))
        other.close()

    def test_goes_on_after_the_server_dropped_it(self, store, server):
        with store.read():
            pass
        end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'mien'"
        server.execute(end)
        with store.read() as reader:
            assert reader.count() == (0, 0)
        with pytest.raises(GalleryError, match="terminat"), store.write() as writer:
            writer.add_faces(faces(1))
            server.execute(end)
            writer.add_faces(faces(1))
        with store.write() as writer:
            assert writer.count() == (0, 0)

    def test_what_is_acknowledged_is_on_the_disk_whatever_the_server_is_set_to(self, url, server):
        server.execute("ALTER ROLE postgres SET synchronous_commit = off")
        try:
            connection = module.PostgresConnection(module.Session(Address.parse(url), 1, readonly=False))
            assert connection.rows("SHOW synchronous_commit") == [("on",)]
            connection.close()
        finally:
            server.execute("ALTER ROLE postgres RESET synchronous_commit")


class TestIndex:
    N = 1500

    @pytest.mark.parametrize("metric", ["l2", "cosine"])
    def test_nearest_by_the_index(self, url, metric, monkeypatch):
        monkeypatch.setattr(module, "INDEX_FROM", self.N)
        store = open_store(url, create=an_info(metric=metric))
        with store.write() as writer:
            ids = writer.add_faces(faces(self.N - 1))
        store.nearest(vectors(1), 1)
        assert not store.has_index()
        with store.write() as writer:
            ids = np.append(ids, writer.add_faces(faces(1, seed=1)))
        gallery = np.concatenate([vectors(self.N - 1), vectors(1, seed=1)])
        probes = gallery[::50] + 0.01 * vectors(len(gallery[::50]), seed=2)
        distances, found = store.nearest(probes, 5)
        assert store.has_index()
        exact = distance(probes, gallery, metric)
        best = np.sort(exact, axis=1)[:, :5]
        assert (found[:, 0] == ids[::50]).mean() >= 0.99
        assert np.isclose(distances, best, rtol=1e-4, atol=1e-5).mean() > 0.95
        store.close()

    def test_is_used(self, store, url, server):
        with store.write() as writer:
            writer.add_faces(faces(self.N))
        store.build_index()
        store.nearest(vectors(3), 5)
        store.close()  # the server counts when a connection ends
        scans = "SELECT idx_scan FROM pg_stat_all_indexes WHERE schemaname = %s AND indexrelname = 'faces_nearest'"
        end = time.monotonic() + 30
        while (count := server.execute(scans, (schema_of(url),)).fetchone()[0]) < 3:
            assert time.monotonic() < end, count
            time.sleep(0.05)

    def test_follows_another_embedder_and_a_key(self, store):
        with store.write() as writer:
            ids = writer.add_faces(faces(20))
        store.build_index()
        store.build_index()  # is there already
        with store.write() as writer:
            writer.replace_vectors(ids, vectors(20, dimension=8))
            writer.set_info(an_info(id=writer.info.id, dimension=8))
        assert not store.has_index()
        store.build_index()
        _, found = store.nearest(vectors(20, dimension=8), 1)
        assert found[:, 0].tolist() == ids.tolist()
        with store.write() as writer:
            writer.rewrap(a_cipher())
        assert not store.has_index()
        with pytest.raises(GalleryError, match="cannot be indexed"):
            store.build_index()

    def test_more_than_there_are(self, store):
        with store.write() as writer:
            writer.add_faces(faces(2))
        distances, found = store.nearest(vectors(1), 1200)
        assert found.shape == distances.shape == (1, 1200)
        assert (found[0, 2:] == -1).all()
        assert (distances[0, 2:] == -1).all()


def distance(probes, gallery, metric):
    if metric == "l2":
        return np.linalg.norm(probes[:, None] - gallery[None], axis=2)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (probes, gallery)]
    return 1 - unit[0] @ unit[1].T
