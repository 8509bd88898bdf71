"""What temporal networks are told to get right: every frame, short stretches as much as long ones, and no flicker."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mien.datasets.base import NO_ANSWER

_LARGEST_STEP = 4.0  # of a logarithm between frames; what is larger is a change that is meant
_TINY = 1e-9


def sequence_loss(logits: Tensor, truth: Tensor, *, steady: float = 0.0, evenness: float = 0.0) -> Tensor:
    """Cross-entropy of frames, and what it costs to change one's mind.

    Args:
        logits: (B, T, C).
        truth: (B, T) labels; `NO_ANSWER` where there is none, and after a track's end.
        steady: weight of the truncated mean squared difference of the logarithms of probabilities of adjacent frames
            (Farha and Gall 2019, "MS-TCN"); 0 for none.
        evenness: frames of a stretch of n frames that show the same weigh n to the power of minus this: 0 lets all
            frames weigh alike, 1 all stretches.

    Returns:
        A scalar.
    """
    known = (truth != NO_ANSWER).float()
    weights = known * stretch_lengths(truth).float() ** -evenness
    of_frames = functional.cross_entropy(
        logits.flatten(0, 1), truth.flatten(), ignore_index=NO_ANSWER, reduction="none"
    )
    loss = (of_frames * weights.flatten()).sum() / weights.sum().clamp(min=_TINY)
    if not steady:
        return loss
    logarithms = logits.log_softmax(dim=-1)
    # Only the later frame is moved: what was said before was said without knowing what comes.
    steps = (logarithms[:, 1:] - logarithms[:, :-1].detach()).clamp(-_LARGEST_STEP, _LARGEST_STEP)
    return loss + steady * (steps.square().mean(dim=-1) * known[:, 1:]).sum() / known[:, 1:].sum().clamp(min=1)


def stretch_lengths(truth: Tensor) -> Tensor:
    """(B, T) int64: of how many frames the stretch of one label is that each frame of (B, T) labels is in."""
    begins = torch.zeros_like(truth)
    begins[:, 1:] = truth[:, 1:] != truth[:, :-1]
    number = begins.cumsum(dim=1)
    counts = torch.zeros_like(truth).scatter_add_(1, number, torch.ones_like(truth))
    return counts.gather(1, number)
