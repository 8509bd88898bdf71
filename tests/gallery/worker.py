"""A process that changes a gallery until it is killed, and says what it has done: `python -m tests.gallery.worker`.

After each committed transaction it prints one line, the acknowledgement; whoever reads that may rely on the change.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from mien.errors import GalleryBusyError, GalleryKeyError
from mien.gallery.records import Event, NewFace, Person
from mien.gallery.rekeying import rekey
from mien.gallery.stores.opening import open_store
from mien.gallery.stores.protocol import Store
from tests.gallery.galleries import a_cipher

DIMENSION = 16
CIPHERS = a_cipher(0), a_cipher(32)
"""Of the two keys that `rotate` exchanges."""
PER_PERSON = 5
"""Faces that a person is enrolled with: another number of them is half an enrolment."""


def main() -> None:
    url, work, seed, *number = sys.argv[1:]
    store = opened(url, work, timeout=10 if work == "load" else 60)
    JOBS[work](store, int(seed), *map(int, number))


def opened(url: str, work: str, timeout: float = 60) -> Store:
    """The gallery; where keys are exchanged (`rotate`), with the one of the two that opens it: never both, nor none."""
    if work != "rotate":
        return open_store(url, timeout=timeout)
    open_with: list[Store] = []
    for cipher in CIPHERS:
        with suppress(GalleryKeyError):
            open_with.append(open_store(url, cipher=cipher, timeout=timeout))
    [store] = open_with
    return store


def enrol(store: Store, seed: int, times: int = sys.maxsize) -> None:
    """Add somebody with their faces, again and again."""
    for i in range(times):
        person, now = Person(f"{seed:016x}{i:016x}", f"worker {seed}, person {i}", datetime.now(UTC)), datetime.now(UTC)
        with store.write() as writer:
            writer.add_person(person)
            ids = writer.add_faces([NewFace(vector(person.id, j), person.id) for j in range(PER_PERSON)])
            writer.add_event(Event(now, "enrol", "worker", person.id))
        say(person.id, *ids)


def merge(store: Store, seed: int) -> None:
    """Give the faces of the second oldest person to the oldest and remove the second; then take them apart again."""
    for i in range(sys.maxsize):
        with store.read() as reader:
            first, *others = reader.people()
        if others:
            with store.write() as writer:
                writer.move_faces([face.id for face in writer.faces(person=others[0].id)], first.id)
                writer.remove_person(others[0].id)
            say("merged", first.id, others[0].id)
        else:
            with store.write() as writer:
                faces = [face.id for face in writer.faces(person=first.id)]
                for k in range(PER_PERSON, len(faces), PER_PERSON):
                    person = f"{seed:016x}{i:08x}{k:08x}"
                    writer.add_person(Person(person, person, datetime.now(UTC)))
                    writer.move_faces(faces[k : k + PER_PERSON], person)
            say("split", first.id)


def reembed(store: Store, seed: int) -> None:
    """Replace every embedding by one of the next generation, whose dimension differs."""
    while True:
        with store.write() as writer:
            ids = [face.id for face in writer.faces()]
            after = int(writer.info.embedder) + 1
            writer.set_info(replace(writer.info, embedder=str(after), dimension=generation_dimension(after)))
            writer.replace_vectors(ids, np.full((len(ids), generation_dimension(after)), after, np.float32))
        say(after)


def rotate(store: Store, seed: int) -> None:
    """Encrypt the gallery with the other of two keys, again and again, and clean it."""
    while True:
        with store.write() as writer:
            [after] = [cipher for cipher in CIPHERS if cipher.key_id != writer.info.key_id]
            rekey(writer, after, "worker")
        say(after.key_id)
        store.clean()


def increment(store: Store, seed: int, times: int) -> None:
    """Count up a number that all workers share, in somebody's record, and enrol a face; read in between."""
    known = 0
    for _ in range(times):
        count_up(store, seed)
        known = look(store, known)
    say("done", times)


def load(store: Store, seed: int, seconds: int) -> None:
    """`increment` for a while, trying again where the gallery is busy: says how often each, and the longest wait."""
    done, busy, longest, known, end = 0, 0, 0.0, 0, time.monotonic() + seconds
    while (begin := time.monotonic()) < end:
        try:
            count_up(store, seed)
            done += 1
        except GalleryBusyError:
            busy += 1
        longest = max(longest, time.monotonic() - begin)
        known = look(store, known)
    say(done, busy, longest)


def count_up(store: Store, seed: int) -> None:
    with store.write() as writer:
        [counter] = writer.people()
        count = int(counter.consent or 0) + 1
        writer.update_person(Person(counter.id, counter.name, counter.created, consent=str(count)))
        writer.add_faces([NewFace(np.full(DIMENSION, seed, np.float32), counter.id)])


def look(store: Store, known: int) -> int:
    """Read what is new since revision `known`; the revision it leads to."""
    with store.read() as reader:
        [counter] = reader.people()
        if int(counter.consent or 0) != counter.faces or reader.count()[1] != counter.faces:
            raise SystemExit(f"half a change: {counter}")
        return reader.changes(known).revision


def vector(person: str, j: int) -> np.ndarray:
    """The embedding that a person's face j has: whoever reads it back knows what it should be."""
    return np.random.default_rng([int(person, 16), j]).normal(size=DIMENSION).astype(np.float32)


def generation_dimension(generation: int) -> int:
    return 8 + 8 * (generation % 2)


def say(*words: object) -> None:
    print(*words, flush=True)


JOBS = {"enrol": enrol, "merge": merge, "reembed": reembed, "rotate": rotate, "increment": increment, "load": load}

if __name__ == "__main__":
    main()
