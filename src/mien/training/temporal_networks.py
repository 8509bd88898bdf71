"""Networks that go over the frames of a track and remember: LSTM, GRU and a causal convolution.

Each is written twice over the same weights: `forward` over whole tracks, to learn, and `step` over one frame, which is
what is exported. Their difference is measured at export. What is trained are three of a kind side by side (`Several`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

FADING = (0.12, 0.3, 0.8, 2.0)
"""Seconds after which what the moving averages saw has faded to 37 %."""

_STARTS_AS = 1  # the average that an untrained network answers
_LEAST = 1e-4  # probability that still counts
_FAINT = 1e-3  # weight below which an average knows nothing
_SHORTEST, _LONGEST = 0.02, 2.0  # seconds between frames that are told apart
_USUAL = 0.1
_MORE = 2  # inputs beside the scores: seen, and the time


class Temporal(nn.Module):
    """What all of them share: what they see of a frame, and how they answer.

    Beside the scores of a frame they see moving averages of these, so that what a moving average knows need not be
    learnt: a network starts as one, and gets better.

    Args:
        classes: C.
        width: numbers that the network keeps of a frame.
        dropout: share of these that are hidden while it learns.
    """

    fading: Tensor

    def __init__(self, classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.classes = classes
        self.inputs = classes * (1 + len(FADING)) + _MORE
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        self.direct = nn.Linear(self.inputs, classes)
        self.register_buffer("fading", torch.tensor(FADING).view(1, -1))
        nn.init.normal_(self.head.weight, std=0.02)
        for zeros in (self.head.bias, self.direct.weight, self.direct.bias):
            nn.init.zeros_(zeros)
        start = _MORE + classes * (1 + _STARTS_AS)
        with torch.no_grad():
            self.direct.weight[:, start : start + classes] = 2 * torch.eye(classes)

    @property
    def state(self) -> int:
        """S, numbers that are remembered of a track."""
        return self.averaged + self.memory_size

    @property
    def averaged(self) -> int:
        """Of these, those of the moving averages: sums, and what they weigh."""
        return len(FADING) * (self.classes + 1)

    @property
    def memory_size(self) -> int:
        """Of these, the network's own."""
        raise NotImplementedError

    def forward(self, scores: Tensor, elapsed: Tensor, seen: Tensor) -> Tensor:
        """Whole tracks that begin: (B, T, C), (B, T), (B, T) to (B, T, C) logits."""
        with torch.no_grad():
            sums = scores.new_zeros(len(scores), self.averaged)
            kept = []
            for t in range(scores.shape[1]):
                sums = self._averaged(sums, scores[:, t], elapsed[:, t], seen[:, t])
                kept.append(sums)
            frames = self._seen(scores, elapsed, seen, torch.stack(kept, dim=1))
        logits: Tensor = self.head(self.dropout(self.remembered(frames))) + self.direct(frames)
        return logits

    def step(self, scores: Tensor, elapsed: Tensor, seen: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """One frame of N tracks: (N, C), (N,), (N,), (N, S) to (N, C) logits and (N, S) states."""
        sums = self._averaged(states[:, : self.averaged], scores, elapsed, seen)
        frames = self._seen(scores, elapsed, seen, sums)
        kept, memory = self.remember(frames, states[:, self.averaged :])
        return self.head(kept) + self.direct(frames), torch.cat([sums, memory], dim=1)

    def remembered(self, frames: Tensor) -> Tensor:
        """(B, T, I) frames to (B, T, width)."""
        raise NotImplementedError

    def remember(self, frame: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(N, I) frame and (N, memory_size) to (N, width) and (N, memory_size)."""
        raise NotImplementedError

    def _averaged(self, sums: Tensor, scores: Tensor, elapsed: Tensor, seen: Tensor) -> Tensor:
        """(N, averaged): what was there fades, and a frame is added where a face is seen."""
        left = torch.exp(-elapsed.unsqueeze(1) / self.fading)
        there = seen.unsqueeze(1)
        new = torch.cat([(scores * there).repeat(1, len(FADING)), there.repeat(1, len(FADING))], dim=1)
        fades = left.unsqueeze(2).expand(-1, -1, self.classes).reshape(-1, len(FADING) * self.classes)
        return sums * torch.cat([fades, left], dim=1) + new

    def _seen(self, scores: Tensor, elapsed: Tensor, seen: Tensor, sums: Tensor) -> Tensor:
        """What is seen of frames: (..., C) scores, (...) seconds, (...) 1 or 0, (..., averaged) to (..., I)."""
        waited = (elapsed.clamp(_SHORTEST, _LONGEST) / _USUAL).log()
        parts = [seen.unsqueeze(-1), waited.unsqueeze(-1), _logarithms(scores) * seen.unsqueeze(-1)]
        weights = sums[..., len(FADING) * self.classes :]
        for k in range(len(FADING)):
            total = sums[..., k * self.classes : (k + 1) * self.classes]
            parts.append(_logarithms((total + _FAINT / self.classes) / (weights[..., k : k + 1] + _FAINT)))
        return torch.cat(parts, dim=-1)


class Lstm(Temporal):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); see `Temporal`."""

    def __init__(self, classes: int, width: int = 64, dropout: float = 0.4) -> None:
        super().__init__(classes, width, dropout)
        self.memory = nn.LSTM(self.inputs, width, batch_first=True)

    @property
    def memory_size(self) -> int:
        """The output and the cell."""
        return 2 * self.memory.hidden_size

    def remembered(self, frames: Tensor) -> Tensor:
        """See `Temporal`."""
        kept: Tensor = self.memory(frames)[0]
        return kept

    def remember(self, frame: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """See `Temporal`."""
        before, cell = memory.chunk(2, dim=1)
        outside, inside = _gates(self.memory, frame, before)
        i, f, g, o = (outside + inside).chunk(4, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        kept = o.sigmoid() * cell.tanh()
        return kept, torch.cat([kept, cell], dim=1)


class Gru(Temporal):
    """Gated recurrent units (Cho et al. 2014); see `Temporal`."""

    def __init__(self, classes: int, width: int = 72, dropout: float = 0.4) -> None:
        super().__init__(classes, width, dropout)
        self.memory = nn.GRU(self.inputs, width, batch_first=True)

    @property
    def memory_size(self) -> int:
        """The output."""
        return self.memory.hidden_size

    def remembered(self, frames: Tensor) -> Tensor:
        """See `Temporal`."""
        kept: Tensor = self.memory(frames)[0]
        return kept

    def remember(self, frame: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """See `Temporal`."""
        outside, inside = _gates(self.memory, frame, memory)
        (r, z, n), (hr, hz, hn) = outside.chunk(3, dim=1), inside.chunk(3, dim=1)
        stays = (z + hz).sigmoid()
        kept = (1 - stays) * (n + (r + hr).sigmoid() * hn).tanh() + stays * memory
        return kept, kept


class Tcn(Temporal):
    """A causal convolution over the last 32 frames, dilated (Bai et al. 2018); see `Temporal`.

    It counts frames, and knows of seconds only what each frame says.
    """

    def __init__(self, classes: int, width: int = 40, dropout: float = 0.3, depth: int = 5) -> None:
        super().__init__(classes, width, dropout)
        self.enter = nn.Linear(self.inputs, width)
        self.now = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.before = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.reaches = [2**k for k in range(depth)]
        self._width = width

    @property
    def memory_size(self) -> int:
        """What each layer saw in as many frames as it reaches back."""
        return int(self._width * sum(self.reaches))

    def remembered(self, frames: Tensor) -> Tensor:
        """See `Temporal`."""
        x: Tensor = self.enter(frames)
        for now, before, reach in zip(self.now, self.before, self.reaches, strict=True):
            earlier = functional.pad(x, (0, 0, reach, 0))[:, : x.shape[1]]
            x = x + self.dropout(functional.relu(now(x) + before(earlier)))
        return x

    def remember(self, frame: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """See `Temporal`."""
        x = self.enter(frame)
        following = []
        kept = torch.split(memory, [reach * self._width for reach in self.reaches], dim=1)
        for now, before, seen in zip(self.now, self.before, kept, strict=True):
            following.append(torch.cat([seen[:, self._width :], x], dim=1))  # the oldest is first, and leaves
            x = x + functional.relu(now(x) + before(seen[:, : self._width]))
        return x, torch.cat(following, dim=1)


class Several(nn.Module):
    """Networks side by side that learn each for itself, and answer together: the mean of their logits.

    Args:
        members: one or more, of as many classes.
    """

    def __init__(self, *members: Temporal) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes = members[0].classes
        self._states = [member.state for member in members]

    @property
    def state(self) -> int:
        """S, numbers that are remembered of a track: those of all members."""
        return sum(self._states)

    def each(self, scores: Tensor, elapsed: Tensor, seen: Tensor) -> list[Tensor]:
        """What each member answers: (B, T, C) logits."""
        return [member(scores, elapsed, seen) for member in self.members]

    def forward(self, scores: Tensor, elapsed: Tensor, seen: Tensor) -> Tensor:
        """See `Temporal`."""
        return _mean(self.each(scores, elapsed, seen))

    def step(self, scores: Tensor, elapsed: Tensor, seen: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """See `Temporal`."""
        parts = torch.split(states, self._states, dim=1)
        members = cast("list[Temporal]", list(self.members))
        answers = [m.step(scores, elapsed, seen, part) for m, part in zip(members, parts, strict=True)]
        return _mean([logits for logits, _ in answers]), torch.cat([kept for _, kept in answers], dim=1)


def _mean(logits: list[Tensor]) -> Tensor:
    return torch.stack(logits).mean(dim=0)


def _logarithms(shares: Tensor) -> Tensor:
    """Of probabilities, (..., C), about their mean."""
    logs = shares.clamp(min=_LEAST).log()
    return (logs - logs.mean(dim=-1, keepdim=True)) / 2


def _gates(memory: nn.LSTM | nn.GRU, frame: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """What the gates get from the frame, and from what was given before."""
    weights = [getattr(memory, f"{name}_l0") for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
    return functional.linear(frame, weights[0], weights[1]), functional.linear(before, weights[2], weights[3])


MEMBERS = 3
"""Networks of one kind side by side."""


def _several(kind: Callable[[int], Temporal]) -> Callable[[int], Several]:
    return lambda classes: Several(*(kind(classes) for _ in range(MEMBERS)))


ARCHITECTURES: Mapping[str, Callable[[int], Several]] = MappingProxyType(
    {"lstm": _several(Lstm), "gru": _several(Gru), "tcn": _several(Tcn)}
)
"""By name, from the number of classes."""
