"""Names of tracks: votes of looks against a real gallery."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mien import Gallery
from mien.types import FloatArray
from mien.video import naming
from mien.video.appearance import Look
from mien.video.naming import Names

SEEN, BOTH = [True], [True, True]


def person(seed: int) -> FloatArray:
    """(128,) as long as embeddings are, and far from those of other seeds."""
    vector = np.random.default_rng(seed).normal(size=128)
    return (1.4 * vector / np.linalg.norm(vector)).astype(np.float32)


def look(seed: int, shot: int = 0, quality: float = 0.9) -> Look:
    """One of many looks at somebody."""
    return Look(person(seed) + 0.15 * person(1000 + shot), quality, float(shot))


def between(one: int, other: int, share: float) -> Look:
    """A look like nobody, or like both."""
    return Look((share * person(one) + (1 - share) * person(other)).astype(np.float32), 0.9, 0.0)


@pytest.fixture
def names(tmp_path: Path) -> Iterator[Names]:
    with Gallery.open(tmp_path / "people.db") as gallery:
        gallery.enrol("Ada", np.stack([look(1, 1).embedding, look(1, 2).embedding]))
        gallery.enrol("Bea", look(2, 1).embedding[None])
        yield Names(gallery)


def test_a_good_look_names_and_poor_ones_add_up(names: Names) -> None:
    names.vote([(1, look(1)), (2, look(2, quality=0.3))])
    assert names.of([1, 2], BOTH) == ("Ada", None)
    names.vote([(2, look(2, 3, 0.3))])
    assert names.of([2], SEEN) == (None,)
    names.vote([(2, look(2, 4, 0.3))])
    assert names.of([2], SEEN) == ("Bea",)


def test_strangers_and_tracks_without_votes_have_no_name(names: Names) -> None:
    for shot in range(20):
        names.vote([(1, look(9, shot))])
    names.vote([])
    assert names.of([1, 7], BOTH) == (None, None)


def test_one_look_like_somebody_else_changes_nothing(names: Names) -> None:
    for shot in range(4):
        names.vote([(1, look(1, shot))])
    for shot in range(4, 40):
        names.vote([(1, look(2 if shot % 4 == 0 else 1, shot))])
        assert names.of([1], SEEN) == ("Ada",)


def test_much_stronger_evidence_changes_a_name_once(names: Names) -> None:
    names.vote([(1, look(1, quality=0.9))])
    said = []
    for shot in range(12):
        names.vote([(1, look(2, shot))])
        said += names.of([1], SEEN)
    assert said[0] == "Ada"
    assert said[-1] == "Bea"
    assert sum(a != b for a, b in pairwise(said)) == 1


def test_a_name_that_was_wrong_is_taken_back(names: Names) -> None:
    names.vote([(1, look(1))])
    for shot in range(6):
        names.vote([(1, look(9, shot))])
    assert names.of([1], SEEN) == (None,)


def test_who_could_be_two_people_has_no_name(names: Names) -> None:
    for _ in range(6):
        names.vote([(1, between(1, 2, 0.5))])
    assert names.of([1], SEEN) == (None,)


def test_one_person_is_one_track_at_a_time(names: Names) -> None:
    names.vote([(1, look(1, 1)), (2, look(1, 2))])
    assert names.of([1, 2], BOTH).count("Ada") == 1
    names.vote([(2, look(1, 3))])
    assert names.of([1, 2], BOTH) == ("Ada", None)  # who has it keeps it
    for shot in range(4, 10):
        names.vote([(2, look(1, shot))])
    assert names.of([1, 2], BOTH) == (None, "Ada")
    assert names.of([2, 1], [False, True]) == (None, "Ada")  # one who is seen comes before one who is hidden
    assert names.of([1], SEEN) == ("Ada",)


def test_settled_when_more_votes_would_change_nothing(names: Names) -> None:
    assert not names.settled(1)
    for shot in range(5):
        names.vote([(1, look(1, shot))])
    assert names.settled(1)


def test_tracks_that_were_one_person_share_their_votes(names: Names) -> None:
    names.vote([(1, look(1, 1)), (2, look(1, 2, 0.2))])
    assert names.of([2], SEEN) == (None,)
    names.merge(2, 1)
    assert names.of([2], SEEN) == ("Ada",)
    names.renumber(2, 1)
    assert names.of([1, 2], BOTH) == ("Ada", None)
    names.merge(5, 4)  # of which nobody knows anything
    assert names.of([5], SEEN) == (None,)


def test_votes_of_long_ago_are_forgotten(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "REMEMBERED", 3)
    for track in range(1, 6):
        names.vote([(track, look(1, track))])
    assert [names.of([track], SEEN)[0] for track in range(1, 6)] == [None, None, "Ada", "Ada", "Ada"]


def test_a_threshold_set_by_hand_is_held(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "people.db") as gallery:
        gallery.enrol("Ada", look(1, 1).embedding[None])
        strict = Names(gallery, threshold=0.999)
        strict.vote([(1, look(1, 2)), (1, look(1, 3))])
        assert strict.of([1], SEEN) == (None,)


def test_a_person_who_is_renamed_meanwhile_has_the_new_name(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "people.db") as gallery:
        gallery.enrol("Ada", look(1, 1).embedding[None])
        names = Names(gallery)
        names.vote([(1, look(1, 2))])
        assert names.of([1], SEEN) == ("Ada",)
        gallery.rename("Ada", "Ada Lovelace")
        names.vote([(1, look(1, 3))])
        assert names.of([1], SEEN) == ("Ada Lovelace",)
