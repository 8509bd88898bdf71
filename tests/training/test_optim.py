import pytest
import torch
from torch import nn

from mien.training.optim import MovingAverage, make_optimizer, rate_at
from mien.training.options import TrainingOptions


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "step", "constant"])
def test_rates_rise_and_fall_within_bounds(schedule):
    options = TrainingOptions(schedule=schedule, warmup=10)
    rates = [rate_at(step, 100, options) for step in range(100)]
    assert all(0 < rate <= 1.02 for rate in rates)
    assert rates[0] < max(rates)
    assert max(rates) == pytest.approx(1, abs=0.05)
    assert rates[-1] == (1 if schedule == "constant" else pytest.approx(0.01, abs=0.005))


def test_no_warm_up_starts_at_the_top():
    assert rate_at(0, 100, TrainingOptions(warmup=0)) == 1


def test_a_short_run_gets_over_its_warm_up():
    rates = [rate_at(step, 60, TrainingOptions(warmup=300)) for step in range(60)]
    assert max(rates) > 0.9
    assert rates[0] < 0.1


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 2)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_biases_do_not_decay_and_a_new_head_is_faster(kind):
    net = Net()
    options = TrainingOptions(optimizer=kind, weight_decay=0.1, head_rate=5)
    optimizer = make_optimizer(net, options, 0.01, pretrained=True)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert of[id(net.trunk.weight)]["weight_decay"] == 0.1
    assert of[id(net.trunk.bias)]["weight_decay"] == of[id(net.norm.weight)]["weight_decay"] == 0
    assert of[id(net.head.weight)]["lr"] == pytest.approx(0.05)
    assert of[id(net.trunk.weight)]["lr"] == pytest.approx(0.01)
    plain = make_optimizer(net, options, 0.01, pretrained=False)
    assert {group["lr"] for group in plain.param_groups} == {0.01}


def test_frozen_parameters_are_left_out():
    net = Net()
    net.trunk.requires_grad_(False)
    optimizer = make_optimizer(net, TrainingOptions(), 0.01, pretrained=True)
    assert all(p is not net.trunk.weight for group in optimizer.param_groups for p in group["params"])


def test_the_average_follows_and_forgets_the_start():
    net = nn.Linear(1, 1)
    nn.init.zeros_(net.weight)
    average = MovingAverage(net, 0.9)
    nn.init.ones_(net.weight)
    for step in range(100):
        average.update(net, step)
    assert float(average.network.weight) == pytest.approx(1, abs=1e-3)
    assert not average.network.weight.requires_grad


def test_no_average_is_the_network_itself():
    net = nn.Linear(1, 1)
    average = MovingAverage(net, 0.0)
    nn.init.constant_(net.weight, 3)
    average.update(net, 0)
    torch.testing.assert_close(average.network.weight, net.weight)
