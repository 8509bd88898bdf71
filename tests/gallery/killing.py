"""Kills a process in the middle of its work on a gallery, and looks at what is left."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.gallery.records import NewFace, Person
from mien.gallery.stores.opening import open_store
from mien.gallery.stores.protocol import Reader
from tests.gallery.galleries import AT, an_info
from tests.gallery.worker import CIPHERS, PER_PERSON, generation_dimension, opened, vector

ROOT = Path(__file__).parents[2]
PEOPLE = 8
"""In a gallery before the work begins."""


@dataclass(frozen=True)
class Outcome:
    """What one kill showed."""

    acknowledged: int
    found: int


def start(url: str, work: str, seed: int, *more: object) -> subprocess.Popen[str]:
    """A worker, see `tests.gallery.worker`."""
    command = [sys.executable, "-m", "tests.gallery.worker", url, work, str(seed), *map(str, more)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def prepare(url: str, work: str) -> None:
    """A gallery of a few people, for work that changes what is there."""
    cipher = CIPHERS[0] if work == "rotate" else None
    info = an_info(embedder="0", dimension=generation_dimension(1), key_id=cipher and cipher.key_id)
    store = open_store(url, create=info, cipher=cipher)
    if work != "enrol":
        with store.write() as writer:
            for i in range(PEOPLE):
                person = f"{0:016x}{i:016x}"
                writer.add_person(Person(person, person, AT))
                writer.add_faces([NewFace(vector(person, j), person, crop=crop(j)) for j in range(PER_PERSON)])
    if work == "reembed":  # from here on, generation 0
        with store.write() as writer:
            ids = [face.id for face in writer.faces()]
            writer.set_info(an_info(id=writer.info.id, embedder="0", dimension=generation_dimension(0)))
            writer.replace_vectors(ids, np.zeros((len(ids), generation_dimension(0)), np.float32))
    store.close()


def kill_once(url: str, work: str, seed: int, longest: float) -> Outcome:
    """Let a worker begin, kill it within `longest` seconds after its first acknowledgement, and check the gallery."""
    worker = start(url, work, seed)
    assert worker.stdout is not None
    assert worker.stderr is not None
    lines = [worker.stdout.readline()]
    reader = threading.Thread(target=lambda: lines.extend(worker.stdout or ()))
    reader.start()
    time.sleep(random.Random(seed).uniform(0, longest))
    worker.kill()
    worker.wait()
    reader.join()
    said = worker.stderr.read()
    worker.stdout.close()
    worker.stderr.close()
    assert not said, said  # it was killed, it did not fail
    acknowledged = [line.split() for line in lines if line.endswith("\n")]
    store = opened(url, work)
    try:
        with store.read() as view:
            return CHECKS[work](view, seed, acknowledged)
    finally:
        store.close()


def check_enrol(view: Reader, seed: int, acknowledged: list[list[str]]) -> Outcome:
    people = {person.id: person for person in view.people() if person.id.startswith(f"{seed:016x}")}
    for person, *faces in acknowledged:
        assert person in people, f"{person} was acknowledged and is not there"
        assert [str(face.id) for face in view.faces(person=person)] == faces
    trail = {event.person for event in view.events()}
    for person in people:
        ids = [face.id for face in view.faces(person=person)]
        assert len(ids) == PER_PERSON, f"half an enrolment: {len(ids)} faces of {person}"
        assert person in trail
        np.testing.assert_array_equal(view.vectors(ids), [vector(person, j) for j in range(PER_PERSON)])
    assert len(people) - len(acknowledged) in (0, 1)  # one more may have been committed than it could say
    return Outcome(len(acknowledged), len(people))


def check_merge(view: Reader, seed: int, acknowledged: list[list[str]]) -> Outcome:
    people, faces = view.people(), view.faces()
    assert len(faces) == PEOPLE * PER_PERSON, "a merge lost faces"
    assert all(face.person is not None for face in faces)
    assert sum(person.faces for person in people) == len(faces)
    assert all(person.faces == PER_PERSON for person in people[1:]), "half a merge"
    assert people[0].faces == (PEOPLE - len(people) + 1) * PER_PERSON, "half a merge"
    merged = {words[2] for words in acknowledged if words[0] == "merged"}
    assert merged.isdisjoint(person.id for person in people), "an acknowledged merge is not there"
    if acknowledged[-1][0] == "split":
        assert len(people) in (PEOPLE, PEOPLE - 1)
    return Outcome(len(acknowledged), len(people))


def check_reembed(view: Reader, seed: int, acknowledged: list[list[str]]) -> Outcome:
    changes, generation = view.changes(0), int(view.info.embedder)
    assert generation - int(acknowledged[-1][0]) in (0, 1)
    assert changes.vectors.shape == (PEOPLE * PER_PERSON, generation_dimension(generation))
    assert (changes.vectors == generation).all(), "embeddings of two generations"
    return Outcome(len(acknowledged), generation)


def check_rotate(view: Reader, seed: int, acknowledged: list[list[str]]) -> Outcome:
    """That one of the two keys opens the gallery, and the other does not, is known: see `opened`."""
    people = view.people()
    assert len(people) == PEOPLE
    for person in people:
        ids = [face.id for face in view.faces(person=person.id)]
        np.testing.assert_array_equal(view.vectors(ids), [vector(person.id, j) for j in range(PER_PERSON)])
        assert [view.crop(face) for face in ids] == [crop(j) for j in range(PER_PERSON)]
    keys = [event.details["key"] for event in view.events()]
    assert keys[-1] == view.info.key_id, "the trail knows another key"
    assert acknowledged[-1][0] in keys[-2:]  # one more may have been committed than it could say
    return Outcome(len(acknowledged), len(keys))


def crop(j: int) -> bytes:
    """The picture that is kept of a person's face j."""
    return b"\x89PNG %d" % j * 500


CHECKS = {"enrol": check_enrol, "merge": check_merge, "reembed": check_reembed, "rotate": check_rotate}
