"""Undo: whatever was done, taking it all back leads to where it began, one step at a time."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import GalleryError
from mien.gallery import editing, enrolment, privacy, undoing
from mien.gallery.enrolment import Terms
from mien.gallery.gallery import Gallery
from mien.gallery.records import NewFace
from tests.gallery.galleries import fresh_url, vectors

NAMES = ("Ada", "Bea", "Cleo", "Dora")
LATER = datetime(2040, 1, 1, tzinfo=UTC)


class Enough(Exception):
    """Leaves a transaction, which is then rolled back."""


def state(reader) -> tuple:
    """All that undo has to bring back."""
    everybody = sorted(reader.people(), key=lambda person: person.id)
    return everybody, [(face.id, face.person) for face in reader.faces()], sorted(reader.forbidden())


def who(writer, i):
    """Somebody of the gallery, by id."""
    people = sorted(writer.people(), key=lambda person: person.created)
    return people[i % len(people)].id


def enrol(writer, i, j, name):
    change, _ = enrolment.enrol(writer, name, [NewFace(row) for row in vectors(1 + j % 3, 100 * i + j, 128)], Terms())
    return change


def split(writer, i, j, name):
    person = who(writer, i)
    theirs = [face.id for face in writer.faces(person=person)]
    return editing.split(writer, person, theirs[: 1 + j % 3], name if i % 2 else None)


EDITS = {
    "enrol": enrol,
    "rename": lambda writer, i, j, name: editing.rename(writer, who(writer, i), name),
    "merge": lambda writer, i, j, name: editing.merge(writer, who(writer, i), who(writer, j)),
    "split": split,
    "move": lambda writer, i, j, name: editing.move(writer, [1 + i % 8], who(writer, j) if j % 4 else None),
    "forbid": lambda writer, i, j, name: editing.forbid(writer, 1 + i % 8, who(writer, j)),
    "consent": lambda writer, i, j, name: privacy.consent(writer, who(writer, i), name, None),
    "expire": lambda writer, i, j, name: privacy.expire(writer, who(writer, i), LATER if j % 2 else None),
}
NUMBER = st.integers(0, 15)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gallery(request, tmp_path_factory):
    """A gallery of four people, two of two faces."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    with Gallery.open(fresh_url(request.param, tmp_path_factory.mktemp("undo"), server), actor="tester") as opened:
        for i, name in enumerate(NAMES):
            opened.enrol(name, vectors(1 + i % 2, i, 128))
        yield opened


@settings(max_examples=60, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.sampled_from(sorted(EDITS)), NUMBER, NUMBER, st.sampled_from((*NAMES, "Eve"))), max_size=12
    )
)
def test_undoing_all_leads_back_to_the_start(gallery, edits):
    with suppress(Enough), gallery.store.write() as writer:
        before = [state(writer)]
        for edit, *how in edits:
            with suppress(GalleryError):
                change = EDITS[edit](writer, *how)
                if change is not None:
                    editing.note(writer, change, "tester")
                    before.append(state(writer))
            assert state(writer) == before[-1]  # what is refused changes nothing
        before.pop()
        while before:
            undoing.take_back(writer)
            assert state(writer) == before.pop()
        raise Enough


def test_undo_goes_past_a_merge_to_renames_of_before(tmp_path):
    rows = vectors(3, dimension=128)
    with Gallery.open(tmp_path / "people.db") as opened:
        for name, row in zip(("Ada", "Bea", "Cleo"), rows, strict=True):
            opened.enrol(name, row[None])
        opened.rename("Ada", "Countess")
        opened.rename("Bea", "Ada")  # the name is free now ...
        opened.merge("Ada", "Cleo")
        assert [opened.undo() for _ in range(3)] == ["merge", "rename", "rename"]  # ... and has to be free again
        assert {person.name for person in opened.people()} == {"Ada", "Bea", "Cleo"}
