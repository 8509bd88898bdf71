from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.liveness.challenge import ACTIONS, GUESSES, PAUSES, TEXTS, TURNS, Challenge, draw, recorded, sequences
from mien.liveness.reasons import ADVICE, SENTENCES

subsets = st.sets(st.sampled_from(ACTIONS), max_size=2)


@given(subsets)
def test_what_is_drawn_asks_for_variety_and_leaves_out_what_one_cannot_do(without):
    challenge = draw(without=without)
    kinds = set(challenge.actions)
    assert not kinds & without
    assert len(kinds) >= 3
    assert all(a != b for a, b in pairwise(challenge.actions))
    assert kinds & TURNS or without == TURNS
    assert kinds - TURNS
    assert all(PAUSES[0] <= pause <= PAUSES[1] for pause in challenge.pauses)
    allowed = tuple(a for a in ACTIONS if a not in without)
    assert len(sequences(allowed, len(challenge.actions))) >= GUESSES


def test_every_sequence_is_drawn_and_no_nonce_twice():
    drawn = [draw() for _ in range(1500)]
    assert {challenge.actions for challenge in drawn} == set(sequences(ACTIONS, 3))
    assert len({challenge.nonce for challenge in drawn}) == len(drawn)
    assert len({challenge.pauses for challenge in drawn}) > 1400


def test_three_kinds_of_action_have_to_remain():
    with pytest.raises(ValueError, match="leave out two"):
        draw(without=("smile", "blink", "open-mouth"))
    with pytest.raises(ValueError, match="no action"):
        draw(without=("wink",))  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [0, 2, 9])
def test_lengths_that_are_none(length):
    with pytest.raises(ValueError, match="length"):
        draw(length=length)


@pytest.mark.parametrize(
    ("actions", "asked"),
    [((), None), (("wink",), None), (("smile",), (1.0, 2.0)), (("smile", "blink"), (2.0, 1.0)), (("smile",), (-1.0,))],
)
def test_recordings_that_make_no_sense(actions, asked):
    with pytest.raises(ValueError):  # noqa: PT011  (what is wrong differs)
        recorded(actions, asked)


def test_pauses_are_checked():
    with pytest.raises(ValueError, match="pauses"):
        Challenge("", ("smile",), (float("nan"),))


def test_everything_is_said_in_both_languages():
    for texts in (TEXTS, SENTENCES, ADVICE):
        assert all(set(said) == {"en", "zh"} and all(said.values()) for said in texts.values())
