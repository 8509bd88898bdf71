"""What temporal networks are told to get right."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from mien.datasets.base import NO_ANSWER  # noqa: E402
from mien.training.temporal_losses import sequence_loss, stretch_lengths  # noqa: E402

N = NO_ANSWER


def some_logits(b, t, c=3):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(b, t, c)).astype(np.float32)).requires_grad_()


def test_stretches_are_counted_row_by_row():
    truth = torch.tensor([[1, 1, 1, 0, 0, 1], [2, 0, 0, 0, N, N]])
    assert stretch_lengths(truth).tolist() == [[3, 3, 3, 2, 2, 1], [1, 3, 3, 3, 2, 2]]


def test_plain_is_the_cross_entropy_of_frames_that_have_an_answer():
    truth = torch.tensor([[0, 0, 1, N], [2, N, N, N]])
    logits = some_logits(2, 4)
    expected = functional.cross_entropy(logits.flatten(0, 1), truth.flatten(), ignore_index=N)
    assert sequence_loss(logits, truth).item() == pytest.approx(expected.item(), rel=1e-6)


def test_short_stretches_can_weigh_as_much_as_long_ones():
    """Four frames are right, one is wrong: a fifth of the frames, but half of the stretches."""
    truth = torch.tensor([[0, 0, 0, 0, 1]])
    logits = torch.zeros(1, 5, 3)
    logits[..., 0] = 9.0
    wrong = sequence_loss(logits[:, 4:], truth[:, 4:]).item()
    right = sequence_loss(logits[:, :4], truth[:, :4]).item()
    assert sequence_loss(logits, truth).item() == pytest.approx((4 * right + wrong) / 5, rel=1e-5)
    assert sequence_loss(logits, truth, evenness=1.0).item() == pytest.approx((right + wrong) / 2, rel=1e-5)


def test_changes_cost_as_much_as_their_square_up_to_a_limit():
    truth = torch.zeros((1, 2), dtype=torch.int64)
    for high in (0.5, 30.0):
        logits = torch.tensor([[[0.0, 0.0], [high, 0.0]]])
        logs = logits.log_softmax(dim=-1)[0]
        step = (logs[1] - logs[0]).clamp(-4, 4).square().mean().item()
        extra = (sequence_loss(logits, truth, steady=0.5) - sequence_loss(logits, truth)).item()
        assert extra == pytest.approx(0.5 * step, rel=1e-5)


def test_what_was_said_before_is_not_blamed():
    """Of two frames of which the first has no answer of its own, only the second learns."""
    logits = some_logits(1, 2)
    sequence_loss(logits, torch.tensor([[N, 1]]), steady=0.5).backward()
    assert not logits.grad[0, 0].any()
    assert logits.grad[0, 1].any()


def test_frames_after_a_track_ends_change_nothing():
    truth = torch.tensor([[0, 1, 1]])
    logits = some_logits(1, 6)
    longer = torch.cat([truth, torch.full((1, 3), N)], dim=1)
    how = {"steady": 0.3, "evenness": 0.5}
    assert sequence_loss(logits, longer, **how).item() == pytest.approx(
        sequence_loss(logits[:, :3], truth, **how).item(), rel=1e-6
    )


def test_a_batch_without_answers_has_nothing_to_learn():
    loss = sequence_loss(some_logits(1, 3), torch.full((1, 3), N), steady=0.3, evenness=0.5)
    assert math.isfinite(loss.item())
    assert loss.item() == 0
