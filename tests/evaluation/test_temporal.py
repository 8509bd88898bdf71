"""Reports on expressions over time: on tracks whose right answers are worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mien.datasets.labels import EXPRESSIONS
from mien.datasets.tracks import Track, TrackSet
from mien.errors import DataError
from mien.evaluation.smoothing import (
    MARGINS,
    Tuning,
    accuracy_of,
    counted,
    frame_by_frame,
    macro_f1_of,
    probabilities_of,
    segment_f1_of,
    states_of,
    tuned_moving_average,
)
from mien.evaluation.temporal import FRAME_BY_FRAME, evaluate_temporal, gain_lines, rows, to_markdown
from mien.models.smoothing import MovingAverage

C = len(EXPRESSIONS)


def track(truth, said, seen=None, step=0.1):
    scores = np.full((len(said), C), 0.2 / (C - 1), np.float32)
    scores[np.arange(len(said)), said] = 0.8
    there = np.ones(len(said), bool) if seen is None else np.array(seen, bool)
    return Track(np.arange(len(said)) * step, scores, there, np.array(truth, np.int64))


def noisy(n=12, seed=0, wrong=0.2):
    """Tracks of 60 frames: neutral, an expression, neutral; a fifth of the frames say something else."""
    rng = np.random.default_rng(seed)
    tracks = []
    for _ in range(n):
        truth = np.repeat([0, rng.integers(1, C), 0], 20)
        said = np.where(rng.random(60) < wrong, rng.integers(0, C, 60), truth)
        tracks.append(track(truth, said))
    return TrackSet("noisy", EXPRESSIONS, tracks)


class Knowing:
    """A smoother that is always right, one frame late."""

    labels, margin, reset_after = EXPRESSIONS, 0.0, 2.0

    def begin(self, n=1):
        return np.zeros((n, 1), np.float32)

    def step(self, states, scores, elapsed, seen=None):
        return np.asarray(scores), states


def test_frame_by_frame_holds_what_was_last_seen():
    one = track([0, 1, 1, 1], [0, 1, 2, 1], seen=[0, 1, 0, 1])
    (answer,) = frame_by_frame([one])
    assert np.allclose(answer[0], 1 / C)
    assert answer.argmax(axis=1).tolist()[1:] == [1, 1, 1]


def test_counts_leave_out_what_nobody_knows():
    one = track([-1, 0, 1, 1, -1], [3, 0, 1, 0, 3])
    c = counted(one, states_of(frame_by_frame([one]), 0.0)[0], C)
    assert c.confusion.sum() == 3
    assert (c.confusion[0, 0], c.confusion[1, 1], c.confusion[1, 0]) == (1, 1, 1)
    assert (c.hits, c.found, c.true) == (1, 1, 1)
    assert np.allclose(c.onsets, [0])
    assert np.allclose(c.latencies, [0])


def test_the_margin_over_others_is_that_of_the_largest_smaller_gain():
    """Every margin is tried by hand; the best mean of both figures is at another one."""
    data = noisy(wrong=0.35)
    unsure = np.random.default_rng(1)
    answers = [(a + unsure.dirichlet(np.ones(C), len(a))) / 2 for a in frame_by_frame(data.tracks)]
    others = states_of(frame_by_frame(data.tracks), 0.0)
    tuning = Tuning(data.tracks)
    theirs = tuning.figures(others)
    gains = {}
    for margin in MARGINS:
        ours = tuning.figures(states_of(answers, margin))
        gains[margin] = min(ours[0] - theirs[0], ours[1] - theirs[1])
    chosen = tuning.margin_over(answers, others)
    assert gains[chosen] == max(gains.values())
    assert len(set(gains.values())) > 3
    assert chosen == min(margin for margin, gain in gains.items() if gain == gains[chosen])


def test_a_segment_that_is_never_answered_is_infinitely_late():
    one = track([0, 0, 1, 1], [0, 0, 0, 0])
    assert counted(one, np.zeros(4, np.int64), C).latencies == (np.inf,)
    begins_with_it = track([1, 1, 0, 0], [0, 0, 0, 0])
    assert counted(begins_with_it, np.zeros(4, np.int64), C).latencies == ()


def test_metrics_by_hand():
    confusion = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert accuracy_of(confusion) == 5 / 6
    assert np.isclose(macro_f1_of(confusion), (6 / 7 + 4 / 5) / 2)
    assert segment_f1_of(np.array(2), np.array(4), np.array(3)) == 4 / 7
    assert segment_f1_of(np.array(0), np.array(0), np.array(0)) == 1


def test_tracks_of_different_lengths_run_side_by_side():
    tracks = [track([0] * n, [k % C for k in range(n)]) for n in (3, 9, 1, 6)]
    average = MovingAverage(EXPRESSIONS, 0.35)
    together = probabilities_of(average, tracks)
    for alone, answer in zip(tracks, together, strict=True):
        assert np.allclose(probabilities_of(average, [alone])[0], answer, atol=1e-6)
    assert probabilities_of(average, []) == []


def test_a_tuned_average_is_better_than_none_and_margin_keeps_still():
    data = noisy()
    average = tuned_moving_average(data)
    report = evaluate_temporal(data, average, {}, name="average")
    plain = report.rows[FRAME_BY_FRAME]
    assert report.rows["average"].segment_f1.value > plain.segment_f1.value + 0.3
    assert report.rows["average"].accuracy.value > plain.accuracy.value
    margin, _ = Tuning(data.tracks).margin(frame_by_frame(data.tracks))
    assert margin == 0.0 or margin < 0.8
    with pytest.raises(DataError, match="no tracks"):
        tuned_moving_average(TrackSet("none", EXPRESSIONS, []))


def test_a_report_says_what_is_better_and_by_how_much():
    data = noisy()
    truths = TrackSet("truths", EXPRESSIONS, [track(t.truth, t.truth) for t in data.tracks])
    report = evaluate_temporal(truths, Knowing(), {"average": MovingAverage(EXPRESSIONS, 1.0)}, name="knowing")
    assert report.rows["knowing"].accuracy.value == 1
    assert report.rows["knowing"].segment_f1.to_list() == [1, 1, 1]
    assert report.rows["knowing"].latency == 0
    accuracy, segment = report.gains["average"]
    assert accuracy.low > 0
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert segment.value >= 0
    assert report.rows["average"].latency > 0.2
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["methods"]["knowing"]["frame_accuracy"] == [1, 1, 1]
    assert plain["segments"] == 12
    assert len(rows(report)) == 3
    assert any("knowing over average" in line for line in gain_lines(report))
    assert "| knowing | 100.0% (100.0% to 100.0%)" in to_markdown(report).replace("\\", "")


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Of tracks that are drawn again and again, the interval should miss the mean of all about once in twenty."""
    missed = 0
    everything = evaluate_temporal(noisy(200, 99), Knowing(), {}, name="k").rows["k"].accuracy.value
    for seed in range(20):
        figure = evaluate_temporal(noisy(15, seed), Knowing(), {}, name="k").rows["k"].accuracy
        missed += not figure.low <= everything <= figure.high
    assert missed <= 5


def test_what_cannot_be_measured_is_said():
    with pytest.raises(DataError, match="no tracks to measure"):
        evaluate_temporal(TrackSet("none", EXPRESSIONS, []), Knowing(), {}, name="k")
    other = TrackSet("other", EXPRESSIONS[::-1], noisy(2).tracks)
    with pytest.raises(DataError, match="its labels are not those of k"):
        evaluate_temporal(other, Knowing(), {}, name="k")


def test_a_picture_of_it(tmp_path):
    from mien.evaluation.temporal_plots import plot_temporal

    report = evaluate_temporal(noisy(), Knowing(), {"average": MovingAverage(EXPRESSIONS, 1.0)}, name="knowing")
    plot_temporal(report, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
