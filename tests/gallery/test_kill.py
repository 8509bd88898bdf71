"""A process may be killed at any moment: what it acknowledged is there, and nothing is there by half.

A few kills each; `recipes/gallery_kill.py` has the 200 that were published.
"""

from __future__ import annotations

import os
import random
import signal
import time

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
        out, err = worker.communicate(timeout=120)
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
        os.kill(backend(url), signal.SIGTERM)
        time.sleep(0.5)
    with store.write() as writer:
        writer.add_faces(faces(1))
        assert writer.count() == (0, 4)
    store.close()


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
