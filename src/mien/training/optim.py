"""Optimisers, the course of the learning rate, and the moving average of the weights."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from mien.training.options import TrainingOptions

_HEAD = "head."
_ONE_CYCLE_RISE = 0.3  # part of the run in which the rate rises
_STEPS = (0.5, 0.75)  # parts of the run after which the rate falls to a tenth
_LONGEST_WARMUP = 5  # one part in so many of a run
_LAST = 0.01  # of the highest rate, where a cosine ends


def make_optimizer(
    network: nn.Module, options: TrainingOptions, rate: float, *, pretrained: bool
) -> torch.optim.Optimizer:
    """The optimiser over what is not frozen.

    Biases and norms do not decay, and a new head on a backbone learns faster.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            key = (parameter.ndim > 1, pretrained and name.startswith(_HEAD))
            groups.setdefault(key, []).append(parameter)
    parameters: list[dict[str, Any]] = [
        {
            "params": members,
            "lr": rate * (options.head_rate if head else 1.0),
            "weight_decay": options.weight_decay if decays else 0.0,
        }
        for (decays, head), members in groups.items()
    ]
    for group in parameters:
        group["highest"] = group["lr"]
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate)


def set_rate(optimizer: torch.optim.Optimizer, part: float) -> None:
    """Set every group to a part of its highest rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * part


def rate_at(step: int, total: int, options: TrainingOptions) -> float:
    """The part of the highest learning rate at which step `step` of `total` is taken, in (0, 1].

    A short run warms up in a fifth of its steps at most; "one-cycle" rises by itself.
    """
    warmup = min(options.warmup, total // _LONGEST_WARMUP)
    warm = min(1.0, (step + 1) / warmup) if warmup else 1.0
    done = step / max(total, 1)
    if options.schedule == "cosine":
        return warm * _cosine(done)
    if options.schedule == "one-cycle":
        if done < _ONE_CYCLE_RISE:
            return max(_LAST, 1 - _cosine(done / _ONE_CYCLE_RISE) + _LAST)
        return _cosine((done - _ONE_CYCLE_RISE) / (1 - _ONE_CYCLE_RISE))
    if options.schedule == "step":
        return warm * 0.1 ** sum(done >= part for part in _STEPS)
    return warm


def _cosine(done: float) -> float:
    """From 1 to `_LAST`."""
    return _LAST + (1 - _LAST) * 0.5 * (1 + math.cos(math.pi * done))


class MovingAverage:
    """An exponential moving average of a network's weights: steadier than the last step, and mostly better.

    Args:
        network: whose weights are averaged.
        decay: 0 follows the network exactly.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step; the first steps count more, so that the start is soon forgotten."""
        decay = min(self._decay, (step + 1) / (step + 20))
        for mean, new in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)
        for kept, other in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(other)
