"""Losses of classification towards shares: one class, the raters' votes, or a teacher's answer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """(N, C) shares with a part spread over all classes (Szegedy et al. 2016)."""
    return targets * (1 - smoothing) + smoothing / targets.shape[1] if smoothing else targets


def soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy towards shares.

    Args:
        logits: (N, C).
        targets: (N, C), rows sum to 1.
        weights: (C,) of the classes, or None; a picture counts as its target's mean weight.

    Returns:
        The mean over the batch, weighted.
    """
    losses = -(targets * functional.log_softmax(logits.float(), dim=1)).sum(dim=1)
    if weights is None:
        return losses.mean()
    of_picture = targets @ weights
    return (losses * of_picture).sum() / of_picture.sum()


def class_weights(frequencies: Tensor, power: float) -> Tensor:
    """(C,) weights of rare classes: frequency to the minus `power`, 1 on average over the pictures."""
    weights = frequencies.clamp_min(1e-12) ** -power
    weights = torch.where(frequencies > 0, weights, torch.zeros_like(weights))
    return weights / (weights * frequencies).sum() * frequencies.sum()


def mixed(inputs: Tensor, targets: Tensor, share: float, order: Tensor) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018): every picture and its target, blended with those of another of the batch."""
    return inputs * share + inputs[order] * (1 - share), targets * share + targets[order] * (1 - share)
