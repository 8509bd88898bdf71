"""Networks that go over the frames of a track and remember: LSTM, GRU and a causal convolution.

Each is written twice over the same weights: `forward` over whole tracks, to learn, and `step` over one frame, which is
what is exported. Their difference is measured at export.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEAST = 1e-4  # probability that still counts
_SHORTEST, _LONGEST = 0.02, 2.0  # seconds between frames that are told apart
_USUAL = 0.1
_MORE = 2  # inputs beside the scores: seen, and the time


class Temporal(nn.Module):
    """What all of them share: what they see of a frame, and how they answer.

    Args:
        classes: C.
        width: numbers that the network keeps of a frame.
        dropout: share of these that are hidden while it learns.
    """

    def __init__(self, classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.classes = classes
        self.inputs = classes + _MORE
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        self.direct = nn.Linear(self.inputs, classes)

    @property
    def state(self) -> int:
        """S, numbers that are remembered of a track."""
        raise NotImplementedError

    def seen_of(self, scores: Tensor, elapsed: Tensor, seen: Tensor) -> Tensor:
        """What is seen of frames: (..., C) scores, (...) seconds, (...) 1 or 0, to (..., C + 2)."""
        logs = scores.clamp(min=_LEAST).log()
        logs = (logs - logs.mean(dim=-1, keepdim=True)) * seen.unsqueeze(-1) / 2
        waited = (elapsed.clamp(_SHORTEST, _LONGEST) / _USUAL).log()
        return torch.cat([logs, seen.unsqueeze(-1), waited.unsqueeze(-1)], dim=-1)

    def forward(self, scores: Tensor, elapsed: Tensor, seen: Tensor) -> Tensor:
        """Whole tracks that begin: (B, T, C), (B, T), (B, T) to (B, T, C) logits."""
        frames = self.seen_of(scores, elapsed, seen)
        logits: Tensor = self.head(self.dropout(self.remembered(frames))) + self.direct(frames)
        return logits

    def step(self, scores: Tensor, elapsed: Tensor, seen: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """One frame of N tracks: (N, C), (N,), (N,), (N, S) to (N, C) logits and (N, S) states."""
        frames = self.seen_of(scores, elapsed, seen)
        kept, states = self.remember(frames, states)
        return self.head(kept) + self.direct(frames), states

    def remembered(self, frames: Tensor) -> Tensor:
        """(B, T, I) frames to (B, T, width)."""
        raise NotImplementedError

    def remember(self, frame: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """(N, I) frame and (N, S) states to (N, width) and (N, S)."""
        raise NotImplementedError


class Lstm(Temporal):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), two layers; see `Temporal`."""

    def __init__(self, classes: int, width: int = 48, dropout: float = 0.2, layers: int = 2) -> None:
        super().__init__(classes, width, dropout)
        self.memory = nn.LSTM(self.inputs, width, layers, batch_first=True, dropout=dropout)

    @property
    def state(self) -> int:
        """Each layer's output and its cell."""
        return 2 * self.memory.num_layers * self.memory.hidden_size

    def remembered(self, frames: Tensor) -> Tensor:
        """See `Temporal`."""
        kept: Tensor = self.memory(frames)[0]
        return kept

    def remember(self, frame: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """See `Temporal`."""
        parts = torch.split(states, self.memory.hidden_size, dim=1)
        following = []
        for layer in range(self.memory.num_layers):
            outside, inside = _gates(self.memory, layer, frame, parts[2 * layer])
            i, f, g, o = (outside + inside).chunk(4, dim=1)
            cell = f.sigmoid() * parts[2 * layer + 1] + i.sigmoid() * g.tanh()
            frame = o.sigmoid() * cell.tanh()
            following += [frame, cell]
        return frame, torch.cat(following, dim=1)


class Gru(Temporal):
    """Gated recurrent units (Cho et al. 2014), two layers; see `Temporal`."""

    def __init__(self, classes: int, width: int = 56, dropout: float = 0.2, layers: int = 2) -> None:
        super().__init__(classes, width, dropout)
        self.memory = nn.GRU(self.inputs, width, layers, batch_first=True, dropout=dropout)

    @property
    def state(self) -> int:
        """Each layer's output."""
        return self.memory.num_layers * self.memory.hidden_size

    def remembered(self, frames: Tensor) -> Tensor:
        """See `Temporal`."""
        kept: Tensor = self.memory(frames)[0]
        return kept

    def remember(self, frame: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """See `Temporal`."""
        following = []
        for layer, before in enumerate(torch.split(states, self.memory.hidden_size, dim=1)):
            outside, inside = _gates(self.memory, layer, frame, before)
            (r, z, n), (hr, hz, hn) = outside.chunk(3, dim=1), inside.chunk(3, dim=1)
            kept = (z + hz).sigmoid()
            frame = (1 - kept) * (n + (r + hr).sigmoid() * hn).tanh() + kept * before
            following.append(frame)
        return frame, torch.cat(following, dim=1)


class Tcn(Temporal):
    """A causal convolution over the last 32 frames, dilated (Bai et al. 2018); see `Temporal`.

    It counts frames, and knows of seconds only what each frame says.
    """

    def __init__(self, classes: int, width: int = 40, dropout: float = 0.2, depth: int = 5) -> None:
        super().__init__(classes, width, dropout)
        self.enter = nn.Linear(self.inputs, width)
        self.now = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.before = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.reaches = [2**k for k in range(depth)]
        self._width = width

    @property
    def state(self) -> int:
        """What each layer saw in as many frames as it reaches back."""
        return int(self._width * sum(self.reaches))

    def remembered(self, frames: Tensor) -> Tensor:
        """See `Temporal`."""
        x: Tensor = self.enter(frames)
        for now, before, reach in zip(self.now, self.before, self.reaches, strict=True):
            earlier = functional.pad(x, (0, 0, reach, 0))[:, : x.shape[1]]
            x = x + self.dropout(functional.relu(now(x) + before(earlier)))
        return x

    def remember(self, frame: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """See `Temporal`."""
        x = self.enter(frame)
        following = []
        kept = torch.split(states, [reach * self._width for reach in self.reaches], dim=1)
        for now, before, seen in zip(self.now, self.before, kept, strict=True):
            following.append(torch.cat([seen[:, self._width :], x], dim=1))  # the oldest is first, and leaves
            x = x + functional.relu(now(x) + before(seen[:, : self._width]))
        return x, torch.cat(following, dim=1)


def _gates(memory: nn.LSTM | nn.GRU, layer: int, frame: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer's gates get from the frame, and from what the layer gave before."""
    weights = [getattr(memory, f"{name}_l{layer}") for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
    return functional.linear(frame, weights[0], weights[1]), functional.linear(before, weights[2], weights[3])


ARCHITECTURES: Mapping[str, Callable[[int], Temporal]] = MappingProxyType({"lstm": Lstm, "gru": Gru, "tcn": Tcn})
"""By name, from the number of classes."""
