"""A process may be killed at any moment: what it acknowledged is there, and nothing is there by half.

A few kills each; `recipes/gallery_kill.py` has the 200 that were published.
"""

from __future__ import annotations

import os
import random
import signal

import pytest

from mien.errors import GalleryError
from mien.gallery.records import Person
from mien.gallery.stores.opening import open_store
from tests.gallery.galleries import AT, an_info, faces, fresh_url
from tests.gallery.killing import kill_once, prepare, start

KILLS = 2
WORKERS, TIMES = 8, 6


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return fresh_url(request.param, tmp_path, server)


@pytest.mark.parametrize("work", ["enrol", "merge", "reembed", "rotate"])
def test_killed(url, work):
    prepare(url, work)
    for _ in range(KILLS):
        assert kill_once(url, work, random.randrange(1, 2**60), longest=0.3).acknowledged > 0


def test_eight_processes_at_once(url):
    store = open_store(url, create=an_info())
    with store.write() as writer:
        writer.add_person(Person("0" * 32, "counter", AT))
    workers = [start(url, "increment", seed, TIMES) for seed in range(WORKERS)]
    for worker in workers:
        out, err = worker.communicate(timeout=240)
        assert (worker.returncode, out, err) == (0, f"done {TIMES}\n", "")
    with store.read() as reader:
        [counter] = reader.people()
        assert int(counter.consent) == counter.faces == WORKERS * TIMES
        found = reader.changes(0)
        assert sorted(found.vectors[:, 0].tolist()) == sorted(list(range(WORKERS)) * TIMES)
    store.close()


def test_the_server_crashes_in_mid_transaction(request, tmp_path):
    """One of its processes is killed: the server ends all connections and recovers, and the gallery goes on."""
    url = fresh_url("postgres", tmp_path, request.getfixturevalue("postgres"))
    store = open_store(url, create=an_info(), timeout=60)
    with store.write() as writer:
        writer.add_faces(faces(3))
    with pytest.raises(
        GalleryError, match="the server ended the connection, and this was not done, try again"
    ) as error:
        with store.write() as writer:
            writer.add_person(Person("0" * 32, "half", AT))
            os.kill(backend(url), signal.SIGKILL)
            while True:
                writer.add_faces(faces(1))
    assert "\n" not in str(error.value)
    with store.read() as reader:  # waits until it has recovered
        assert reader.count() == (0, 3)
    with pytest.raises(GalleryError, match="look whether it is there"), store.write() as writer:
        writer.add_person(Person("0" * 32, "half", AT))
        ended(url, backend(url))
    with store.write() as writer:
        writer.add_faces(faces(1))
        assert writer.count() == (0, 4)
    store.close()


def test_a_server_that_ends_a_connection_at_once_is_asked_again(request, tmp_path, monkeypatch):
    """As one does that has crashed and does not know it yet."""
    from mien.gallery.stores.postgres import PostgresConnection

    url = fresh_url("postgres", tmp_path, request.getfixturevalue("postgres"))
    open_store(url, create=an_info()).close()
    learn, tries = PostgresConnection.learn_vectors, []

    def crashing(connection):
        tries.append(connection._raw.info.backend_pid)
        if len(tries) < 3:
            ended(url, tries[-1])
        learn(connection)

    monkeypatch.setattr(PostgresConnection, "learn_vectors", crashing)
    store = open_store(url, timeout=60)
    assert len(set(tries)) == 3
    store.close()
    tries.clear()
    with pytest.raises(GalleryError, match="the server ended the connection, and this was not done") as error:
        open_store(url, timeout=0)
    assert "\n" not in str(error.value)


def ended(url, process):
    """End a process of the server, and wait until it is gone."""
    import psycopg

    with psycopg.connect(url.partition("&schema=")[0]) as server:
        assert server.execute("SELECT pg_terminate_backend(%s, 60000)", (process,)).fetchone() == (True,)


def backend(url):
    """The process of the server for the transaction that is open."""
    import psycopg

    with psycopg.connect(url.partition("&schema=")[0]) as server:
        [(process,)] = server.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'mien' AND state = 'idle in transaction'"
        ).fetchall()
    return process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_child_goes_on_with_connections_of_its_own(url):
    store = open_store(url, create=an_info())
    with store.read():
        pass
    if (child := os.fork()) == 0:
        try:
            with store.write() as writer:
                writer.add_person(Person("0" * 32, "child", AT))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    with store.write() as writer:
        writer.add_person(Person("1" * 32, "parent", AT))
        assert [person.name for person in writer.people()] == ["child", "parent"]
    store.close()
