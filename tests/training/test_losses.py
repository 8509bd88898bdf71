import math

import pytest
import torch

from mien.training import losses


def test_cross_entropy_of_one_class_is_torchs():
    logits = torch.randn(6, 4)
    classes = torch.tensor([0, 1, 2, 3, 1, 1])
    expected = torch.nn.functional.cross_entropy(logits, classes)
    targets = torch.nn.functional.one_hot(classes, 4).float()
    torch.testing.assert_close(losses.soft_cross_entropy(logits, targets), expected)


def test_cross_entropy_towards_shares_is_least_at_the_shares():
    shares = torch.tensor([[0.7, 0.2, 0.1]])
    at_shares = losses.soft_cross_entropy(shares.log(), shares)
    assert at_shares < losses.soft_cross_entropy(torch.tensor([[0.6, 0.3, 0.1]]).log(), shares)
    assert float(at_shares) == pytest.approx(-sum(p * math.log(p) for p in (0.7, 0.2, 0.1)))


def test_weights_of_classes_are_torchs():
    logits, classes, weights = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 0, 0, 1, 0]), torch.tensor([0.5, 2.0, 3.0])
    targets = torch.nn.functional.one_hot(classes, 3).float()
    expected = torch.nn.functional.cross_entropy(logits, classes, weights)
    torch.testing.assert_close(losses.soft_cross_entropy(logits, targets, weights), expected)


def test_rare_classes_weigh_more_and_the_mean_is_one():
    frequencies = torch.tensor([0.8, 0.2, 0.0])
    weights = losses.class_weights(frequencies, 1.0)
    assert weights[1] == pytest.approx(4 * float(weights[0]))
    assert float((weights * frequencies).sum()) == pytest.approx(1)
    assert weights[2] == 0
    torch.testing.assert_close(losses.class_weights(frequencies[:2], 0.0), torch.ones(2))


def test_smoothing_spreads_a_part():
    torch.testing.assert_close(losses.smoothed(torch.tensor([[1.0, 0.0]]), 0.2), torch.tensor([[0.9, 0.1]]))


def test_mixup_blends_pictures_and_targets_alike():
    inputs, targets = torch.tensor([[0.0], [10.0]]), torch.eye(2)
    mixed, blended = losses.mixed(inputs, targets, 0.75, torch.tensor([1, 0]))
    torch.testing.assert_close(mixed, torch.tensor([[2.5], [7.5]]))
    torch.testing.assert_close(blended, torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
