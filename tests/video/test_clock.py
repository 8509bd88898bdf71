from __future__ import annotations

import pytest

from mien.video.clock import Clock
from mien.video.losses import Losses


def times(stamps: list[float | None], end: float | None = None) -> tuple[list[float], tuple[str, ...]]:
    losses = Losses()
    clock = Clock(losses, step=0.1, end=end)
    return [clock(stamp) for stamp in stamps], losses.sentences()


@pytest.mark.parametrize("stamps", [[], [0.0], [5.0, 5.1], [0.0, 0.04, 0.05, 7.0, 7.001], [-0.5, 0.0, 90.0]])
def test_good_timestamps_are_left_as_they_are(stamps):
    assert times(stamps) == (stamps, ())


def test_missing_timestamps_follow_the_frame_rate():
    got, losses = times([None, None, None])
    assert got == pytest.approx([0.0, 0.1, 0.2])
    assert losses == ("3 timestamps were missing or impossible, and were made from their neighbours",)


def test_one_that_slips_does_not_move_the_others():
    for slipped in (0.1, 0.05, None):
        got, losses = times([0.0, 0.1, slipped, 0.3, 0.4])
        assert got[:2] + got[3:] == [0.0, 0.1, 0.3, 0.4]
        assert 0.1 < got[2] < 0.3
        assert len(losses) == 1


def test_a_count_that_begins_anew_goes_on():
    got, _ = times([0.0, 0.1, 0.2, 0.3, 0.0, 0.1, 0.2, 0.3])
    assert got == sorted(set(got))
    assert got[-1] == pytest.approx(0.7, abs=0.1)
    got, _ = times([10.0, 10.1, 0.0, 0.1, 0.2])
    assert got == pytest.approx([10.0, 10.1, 10.2, 10.3, 10.4])


def test_timestamps_that_all_say_the_same():
    got, _ = times([3.0] * 20)
    assert got == sorted(set(got))
    assert got[-1] - got[-2] == pytest.approx(0.1)


def test_a_leap_beyond_the_end_is_damage():
    got, losses = times([0.0, 0.1, 50_000.0, 0.3, 0.4, 0.5], end=1.0)
    assert got == sorted(set(got))
    assert got[-1] < 1.0
    assert losses
    assert times([0.0, 60.0], end=61.0) == ([0.0, 60.0], ())
