"""Timelines: what is found in moments, from none upward."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.video.columns import UNCERTAIN, UNKNOWN, Rows
from mien.video.counting import Line
from mien.video.pages import to_html
from mien.video.story import Band, Rules, Story, steady
from mien.video.timeline import Timeline
from tests.video.made_up import LABELS, scene


def told(*args, **options) -> Timeline:
    lines = options.pop("lines", ())
    return Timeline.of(scene(*args, **options), lines=lines, name="scene.mp4")


def kinds(timeline: Timeline, kind: str) -> list:
    return [event for event in timeline.events if event.kind == kind]


def test_no_moments():
    empty = Timeline.of([])
    assert len(empty) == 0
    assert empty.people == []
    assert empty.events == []
    assert empty.source.seconds == 0
    assert empty.summary.to_dict()["counts"]["people"] == 0
    assert "0 people" in repr(empty)


def test_moments_without_faces():
    nobody = told({}, seconds=3)
    assert len(nobody) == 0
    assert nobody.source.seconds == pytest.approx(3)
    assert nobody.source.moments == 30
    assert nobody.people == []


def test_one_moment_of_one_face():
    one = told({1: [(0, 1, "happiness")]}, fps=1, seconds=1)
    assert len(one) == 1
    assert [person.label for person in one.people] == ["person 1"]


def test_presence_is_from_the_first_moment_to_the_end_of_the_last():
    timeline = told({1: [(2, 5, "neutral")]}, names={1: "Anna"})
    assert timeline.presence["Anna"] == (pytest.approx((2, 5), abs=1e-3),)
    assert [(e.kind, round(e.time, 2)) for e in timeline.events] == [("enters", 2.0), ("leaves", 5.0)]


def test_whoever_is_there_at_the_end_does_not_leave():
    timeline = told({1: [(2, 10, "neutral")]})
    assert kinds(timeline, "leaves") == []


def test_a_short_absence_is_no_leaving_and_a_long_one_is():
    short = told({1: [(0, 3, "neutral"), (3.8, 9, "neutral")]})
    long = told({1: [(0, 3, "neutral"), (4.5, 9, "neutral")]})
    assert len(short.presence["person 1"]) == 1
    assert len(long.presence["person 1"]) == 2
    assert [e.kind for e in long.events] == ["enters", "leaves", "enters", "leaves"]


def test_who_is_there_at_a_time():
    timeline = told({1: [(2, 5, "neutral")], 2: [(4, 9, "neutral")]}, names={1: "Anna"})
    there = {time: [person.label for person in timeline.at(time)] for time in (1, 3, 4.5, 6, 99)}
    assert there == {1: [], 3: ["Anna"], 4.5: ["Anna", "person 2"], 6: ["person 2"], 99: []}


def test_expectation_at_the_end_of_a_track_is_no_presence():
    timeline = told({1: [(0, 6, "neutral")]}, hidden=[(1, 4, 6)])
    assert timeline.presence["person 1"] == (pytest.approx((0, 4), abs=1e-3),)


def test_a_smile_goes_on_through_an_occlusion():
    timeline = told({1: [(0, 8, "happiness")]}, hidden=[(1, 3, 3.8)])
    (smile,) = kinds(timeline, "expression")
    assert (smile.time, smile.end) == (pytest.approx(0, abs=0.3), pytest.approx(8, abs=0.11))
    assert timeline.summary.people[0].time_in(LABELS.index("happiness")) < 7.5  # nobody saw what the hidden part showed


def test_a_smile_begins_peaks_and_ends():
    timeline = told({1: [(0, 3, "neutral"), (3, 6, "happiness"), (6, 10, "neutral")]}, names={1: "Anna"})
    (smile,) = kinds(timeline, "expression")
    assert (smile.label, smile.person, smile.named) == ("happiness", "Anna", True)
    assert 3 <= smile.time <= 3.7
    assert 6 <= smile.end <= 6.7
    assert smile.peak == pytest.approx(0.9, abs=0.02)
    assert smile.time <= smile.peak_time <= smile.end
    assert len(timeline.summary.smiles(timeline.people[0])) == 1


def test_one_wrong_frame_is_no_event():
    acts = [(0, 4, "neutral"), (4, 4.1, "anger"), (4.1, 9, "neutral")]
    assert kinds(told({1: acts}), "expression") == []


def test_neutral_and_uncertain_are_no_events():
    assert kinds(told({1: [(0, 9, "neutral")]}), "expression") == []


def test_shares_add_up_and_transitions_are_counted():
    acts = [(0, 2, "neutral"), (2, 5, "happiness"), (5, 8, "surprise"), (8, 10, "neutral")]
    timeline = told({1: acts})
    person = timeline.people[0]
    shares = timeline.summary.shares(person)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["happiness"] == pytest.approx(0.3, abs=0.08)
    counts = timeline.summary.transitions
    pairs = {(LABELS[i], LABELS[j]) for i, j in zip(*np.nonzero(counts), strict=True)}
    assert pairs == {("neutral", "happiness"), ("happiness", "surprise"), ("surprise", "neutral")}
    assert counts.sum() == 3


def test_coming_back_is_no_transition():
    timeline = told({1: [(0, 3, "happiness"), (6, 9, "anger")]})
    assert timeline.summary.transitions.sum() == 0


def test_tracks_of_one_name_are_one_person():
    timeline = told(
        {1: [(0, 3, "neutral")], 2: [(5, 9, "neutral")], 3: [(0, 9, "neutral")]}, names={1: "Anna", 2: "Anna"}
    )
    assert [person.label for person in timeline.people] == ["Anna", "person 3"]
    assert timeline.people[0].seconds == pytest.approx(7, abs=0.01)
    assert timeline.summary.to_dict()["counts"] == {
        "people": 2,
        "at_least": 2,
        "named": 1,
        "at_once": 2,
        "fleeting_tracks": 0,
    }


def test_who_is_never_seen_well_could_be_one_of_the_others():
    acts = {1: [(0, 3, "neutral")], 2: [(0, 3, "neutral")], 3: [(4, 9, "neutral")], 4: [(4, 9, "neutral")]}
    summary = told(acts, unclear=[(2, 0, 2), (3, 0, 9), (4, 0, 9)]).summary  # 2 is seen well in the end
    assert [person.clear for person in summary.people] == [True, True, False, False]
    assert (summary.at_least, summary.how_many) == (2, "2 to 4 people")
    assert summary.doubt.endswith("one of the others: person 3, person 4")
    assert summary.to_dict()["people"][2]["unclear"] is True
    assert "unclear" not in summary.to_dict()["people"][1]
    named = told(acts, unclear=[(3, 0, 9), (4, 0, 9)], names={3: "Anna"}).summary
    assert (named.at_least, named.people[2].clear) == (3, True)


def test_who_is_there_at_once_is_as_many_people_however_they_are_seen():
    acts = {track: [(0, 9, "neutral")] for track in (1, 2, 3)}
    summary = told(acts, unclear=[(track, 0, 9) for track in acts]).summary
    assert (summary.at_least, summary.how_many, summary.doubt) == (3, "3 people", "")


def test_where_nobody_can_be_told_from_anybody_none_is_named_as_the_one():
    acts = {1: [(0, 3, "neutral")], 2: [(4, 9, "neutral")]}
    summary = told(acts, unclear=[(track, 0, 9) for track in acts]).summary
    assert summary.doubt.startswith("nobody was seen well enough")
    page = to_html(summary)
    assert "Nobody was seen well enough" in page
    assert "one of the others: person" not in page


def test_of_many_who_were_not_seen_well_a_few_are_listed():
    acts = {track: [(track, track + 1, "neutral")] for track in range(1, 14)}
    summary = told(acts, seconds=15, unclear=[(track, 0, 15) for track in range(2, 14)]).summary
    assert summary.how_many == "1 to 13 people"
    assert summary.doubt.endswith("person 10, person 11 and 2 more")


def test_the_last_name_of_a_track_holds():
    moments = [*scene({1: [(0, 5, "neutral")]}, seconds=5)]
    named = [replace(moment, people=("Ann" if i < 10 else "Bo",)) for i, moment in enumerate(moments)]
    assert Timeline.of(named).people[0].label == "Bo"
    taken_back = [replace(moment, people=("Ann" if i < 10 else None,)) for i, moment in enumerate(moments)]
    assert Timeline.of(taken_back).people[0].label == "person 1"


def test_somebody_who_is_recognised_late_is_one_person():
    moments = [*scene({1: [(0, 3, "neutral")], 2: [(5, 9, "neutral")]})]
    late = [replace(moment, came_back=((2, 1),) if moment.time == 7.0 else ()) for moment in moments]
    (person,) = Timeline.of(late).people
    assert [track.number for track in person.tracks] == [1, 2]
    assert person.label == "person 1"
    assert person.seconds == pytest.approx(7, abs=0.01)


def test_somebody_can_be_called_person_2():
    acts = {1: [(0, 9, "happiness")], 2: [(0, 9, "neutral")]}
    summary = told(acts, names={1: "person 2"}).summary
    assert [(p.label, p.name) for p in summary.people] == [("person 2", "person 2"), ("person 2", None)]
    assert [len(summary.smiles(person)) for person in summary.people] == [1, 0]


def test_a_glimpse_is_nobody_unless_it_is_named():
    acts = {1: [(0, 9, "neutral")], 2: [(4, 4.3, "neutral")]}
    assert len(told(acts).people) == 1
    assert len(told(acts, names={2: "Bo"}).people) == 2
    assert told(acts).summary.to_dict()["counts"]["fleeting_tracks"] == 1


def test_blinks_are_short():
    timeline = told({1: [(0, 9, "neutral")]}, fps=25, eyes_closed=[(1, 2, 2.2), (1, 4, 6), (1, 7, 7.3)])
    assert [round(e.time, 2) for e in kinds(timeline, "blink")] == [2.0, 7.0]
    assert timeline.people[0].attention.to_dict()["eyes_open"]["share"] == pytest.approx(6.5 / 9, abs=0.02)


def test_facing_is_a_share_of_the_time_seen():
    timeline = told({1: [(0, 8, "neutral")]}, turned=[(1, 2, 4)], hidden=[(1, 6, 7)])
    facing = timeline.people[0].attention.to_dict()["facing_camera"]
    assert facing == {
        "share": pytest.approx(5 / 7, abs=0.01),
        "of_seconds": pytest.approx(7, abs=0.01),
        "degrees": 25.0,
    }


def test_what_was_not_asked_for_is_absent():
    told_of = told({1: [(0, 5, "neutral")]}).summary.to_dict()["people"][0]
    assert {"facing_camera", "eyes_open", "blinks"}.isdisjoint(told_of)
    rows = Rows.of((), 1, time=[0.0], frame=[0], track=[1], seen=[True], boxes=[[0, 0, 1, 1]], scores=[0.9])
    timeline = Timeline(rows)
    assert "expression" not in timeline.summary.to_dict()["people"][0]
    assert "transitions" not in timeline.summary.to_dict()


def test_a_line_is_crossed_in_and_out():
    places = {1: ((100, 50), (100, 300)), 2: ((300, 300), (300, 50)), 3: ((500, 50), (500, 100))}
    acts = {track: [(0, 10, "neutral")] for track in places}
    timeline = told(acts, places=places, lines=[Line((0, 50), (100, 50), percent=True)])
    crossed = kinds(timeline, "crosses")
    assert [(e.person, e.label, e.line) for e in crossed] == [("person 2", "out", 1), ("person 1", "in", 1)]
    assert timeline.summary.to_dict()["lines"] == [{"line": [0, 180, 640, 180], "in": 1, "out": 1}]


def test_a_cut_is_no_crossing_in_a_timeline():
    """A track that is carried over a cut in a tenth of a second: once walked, once shown from elsewhere."""
    walk = {"places": {1: ((100, 50), (100, 300))}, "lines": [Line((0, 180), (640, 180))]}
    acts = {1: [(0, 1, "neutral")]}
    line = 0.1 + (180 - 50) / 250  # seconds at which the face is clearly beyond
    at_cut = [round(time / 10, 1) for time in range(1, 10)]
    assert len(kinds(told(acts, seconds=1, **walk), "crosses")) == 1
    assert kinds(told(acts, seconds=1, cuts=at_cut, **walk), "crosses") == []
    assert len(kinds(told(acts, seconds=1, cuts=[0.1], **walk), "crosses")) == 1
    cut = told(acts, seconds=1, cuts=[0.1, round(line, 1)], **walk)
    assert cut.rows.scene.tolist() == sorted(cut.rows.scene.tolist())
    assert cut.rows.scene[-1] == 2


def test_a_blink_is_not_cut_together():
    shut = told({1: [(0, 2, "neutral")]}, seconds=2, eyes_closed=[(1, 0.9, 1.1)])
    assert len(kinds(shut, "blink")) == 1
    cut = told({1: [(0, 2, "neutral")]}, seconds=2, eyes_closed=[(1, 0.9, 1.1)], cuts=[1.1])
    assert kinds(cut, "blink") == []


def test_people_who_come_together_are_in_the_order_of_their_tracks():
    acts = {1: [(0, 9, "neutral")], 3: [(2, 5, "neutral")], 2: [(2, 8, "neutral")]}
    assert [person.label for person in told(acts).people] == ["person 1", "person 2", "person 3"]


def test_selecting_by_person_and_time():
    timeline = told({1: [(0, 9, "neutral")], 2: [(0, 9, "happiness")]}, names={1: "Anna"})
    anna = timeline.select(person="Anna", start=2, end=4)
    assert set(anna.rows.track.tolist()) == {1}
    assert anna.rows.time.min() == pytest.approx(2)
    assert anna.rows.time.max() < 4
    assert anna.source.seconds == pytest.approx(2)
    assert set(timeline.select(person="person 2").rows.track.tolist()) == {2}
    assert len(timeline.select(track=7)) == 0
    with pytest.raises(KeyError, match="Bo"):
        timeline.select(person="Bo")


def test_slow_pictures_stand_for_their_time():
    timeline = told({1: [(0, 100, "neutral")]}, fps=0.2, seconds=100)
    assert timeline.source.seconds == pytest.approx(100)


def test_a_pause_of_the_source_is_nobodys_presence():
    moments = [m for m in scene({1: [(0, 60, "neutral")]}, seconds=60) if not 20 < m.time < 50]
    timeline = Timeline.of(moments)
    assert timeline.people[0].seconds == pytest.approx(31, abs=1.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": [1.0, 0.0]},
        {"time": [0.0, np.nan]},
        {"track": [0, 1]},
        {"seconds": [-1.0, 0.0]},
        {"boxes": [[0, 0, 1, 1]]},
        {"state": [7, 0]},
    ],
)
def test_rows_that_cannot_be(wrong):
    right = {"time": [0.0, 1.0], "frame": [0, 1], "track": [1, 1], "seen": [True, True], "scores": [1, 1]}
    with pytest.raises(ValueError, match=r"\w"):
        Rows.of((), 2, **{**right, "boxes": [[0, 0, 1, 1]] * 2, **wrong})


def test_rows_cannot_be_changed():
    rows = told({1: [(0, 1, "neutral")]}, seconds=1).rows
    with pytest.raises(ValueError, match="read-only"):
        rows.time[0] = 5


STATES = st.sampled_from([UNKNOWN, UNCERTAIN, 0, 1, 2])


@st.composite
def tracks(draw):
    """Rows of one track, of random states, some of them not seen, at a steady pace with random gaps."""
    n = draw(st.integers(0, 30))
    steps = draw(st.lists(st.sampled_from([0.125, 0.125, 0.125, 0.5, 3.0]), min_size=n, max_size=n))
    states = draw(st.lists(STATES, min_size=n, max_size=n))
    seen = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    time = np.cumsum(steps) if n else np.zeros(0)
    return Rows.of(
        ("neutral", "happiness", "anger"),
        n,
        time=time,
        seconds=np.minimum(np.append(np.diff(time), 0.125), 0.5) if n else [],
        frame=np.arange(n),
        track=np.ones(n),
        seen=seen,
        boxes=np.zeros((n, 4)),
        scores=np.ones(n),
        smoothed=np.full((n, 3), 0.5),
        state=states,
    )


@given(tracks())
@settings(max_examples=150, deadline=None)
def test_bands_fill_presence_exactly(rows):
    story = Story(rows.labels)
    story.add(rows)
    for track in story.tracks.values():
        assert sum(b.end - b.start for b in track.bands) == pytest.approx(sum(b - a for a, b in track.presence))
        assert all(b.start >= a.end - 1e-9 for a, b in pairwise(track.bands))
        assert all(b[0] - a[1] > 1 for a, b in pairwise(track.presence))


@given(tracks(), st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_blocks_make_no_difference(rows, size):
    whole, parts = Story(rows.labels), Story(rows.labels)
    whole.add(rows)
    for start in range(0, len(rows), size):
        parts.add(rows[start : start + size])
    assert whole.tracks == parts.tracks


@given(tracks())
@settings(max_examples=100, deadline=None)
def test_seconds_in_states_are_the_seconds_seen(rows):
    story = Story(rows.labels, Rules())
    story.add(rows)
    seconds = sum(track.seconds for track in story.tracks.values())
    assert seconds == pytest.approx(float(rows.seconds[rows.seen].sum()), abs=1e-4)


def seconds_of(bands, state: int) -> float:
    return sum(b.end - b.start for b in bands if b.state == state)


@given(st.lists(st.tuples(st.sampled_from([0.125, 0.25, 1.0]), st.integers(-1, 2)), max_size=15))
def test_steady_bands_cover_the_same_time_and_claim_little(parts):
    bands, time = [], 0.0
    for length, state in parts:
        bands.append(Band(time, time + length, state, 0.5, time))
        time += length
    made = steady(bands, 0.3)
    assert sum(b.end - b.start for b in made) == pytest.approx(time)
    assert all(a.end == b.start and a.state != b.state for a, b in pairwise(made))
    assert all(b.end - b.start >= 0.3 for b in made if b.state >= 0)
    for state in range(3):
        times = len([b for b in bands if b.state == state])
        assert seconds_of(made, state) <= seconds_of(bands, state) + 0.3 * times
    long = [b for b in bands if b.end - b.start >= 0.3]
    assert all(any(a.start <= b.start and b.end <= a.end and a.state == b.state for a in made) for b in long)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([(1, 0), (0.25, 1), (1, 0)], [(0, 2.25, 0)]),
        ([(1, 0), (0.25, 1), (1, 2)], [(0, 1, 0), (1, 1.25, UNCERTAIN), (1.25, 2.25, 2)]),
        ([(0.125, 0), (0.125, 1), (0.125, 2)], [(0, 0.375, UNCERTAIN)]),
        ([(0.25, 0), (0.125, 1), (0.25, 0)], [(0, 0.625, 0)]),
    ],
)
def test_what_is_short_is_passed_over_or_uncertain(lengths, expected):
    bands, time = [], 0.0
    for length, state in lengths:
        bands.append(Band(time, time + length, state))
        time += length
    assert [(b.start, b.end, b.state) for b in steady(bands, 0.3)] == expected


def test_bands_with_a_gap_between_them_stay_apart():
    bands = [Band(0, 1, 0), Band(1.1, 2, 0)]
    assert steady(bands, 0.3) == bands
