"""Batches of augmented crops, made ahead by a thread.

What batch b of epoch e holds depends on nothing but the seed: neither on threads, nor on where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread

import numpy as np
import torch
from torch import Tensor

from mien.datasets.base import IndexArray
from mien.training.augment import Augmentation, enlarge
from mien.training.crops import Crops
from mien.training.framing import Framing
from mien.training.options import TrainingOptions
from mien.types import FloatArray

_ORDER, _PICTURE = 0, 1  # streams of random numbers that must not meet
_AHEAD = 4
Batch = tuple[Tensor, Tensor]
"""(B, C, S, S) float32 in [0, 255] and (B, classes) float32."""


class Batches:
    """The batches of a training part.

    Args:
        crops: the training part.
        options: batch size, balance, strength of the augmentation, seed.
        size: side of the network's input.
        strata: (N,) which kind each crop is: with `balance` "sampling", rare kinds are shown more often.
        framing: how faces lie in the crops.
    """

    def __init__(
        self, crops: Crops, options: TrainingOptions, size: int, *, strata: IndexArray, framing: Framing
    ) -> None:
        self._crops = crops
        self._size = size
        self._seed = options.seed
        self._augment = Augmentation(strength=options.augment, framing=framing)
        self._batch = min(options.batch, len(crops))
        self._weights = _sampling_weights(strata, options.balance_power) if options.balance == "sampling" else None

    def __len__(self) -> int:
        """Batches of an epoch; the pictures that do not fill one are left out, others in each epoch."""
        return len(self._crops) // self._batch

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch, from batch `first` on; whoever leaves before the last closes the generator."""
        order = self._order(epoch)
        wanted = [order[b * self._batch : (b + 1) * self._batch] for b in range(first, len(self))]
        return _ahead(self._make(chosen, epoch, b * self._batch) for b, chosen in enumerate(wanted, start=first))

    def _order(self, epoch: int) -> IndexArray:
        rng = np.random.default_rng([self._seed, epoch, _ORDER])
        order = rng.permutation(len(self._crops))
        return order if self._weights is None else _resampled(order, self._weights, rng)

    def _make(self, chosen: IndexArray, epoch: int, position: int) -> Batch:
        pictures = [
            self._augment(
                self._crops.pixels[i], self._size, np.random.default_rng([self._seed, epoch, _PICTURE, position + k])
            )
            for k, i in enumerate(chosen)
        ]
        return to_input(np.stack(pictures)), torch.from_numpy(self._crops.targets[chosen])


def to_input(pictures: FloatArray) -> Tensor:
    """(N, S, S) grey or (N, S, S, 3) RGB to (N, C, S, S), in the memory layout that convolutions like."""
    if pictures.ndim == 3:
        return torch.from_numpy(pictures).unsqueeze(1).contiguous(memory_format=torch.channels_last)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def plain_inputs(crops: Crops, size: int, batch: int) -> Iterator[Tensor]:
    """All crops in order, unaugmented, as the exported graph enlarges them; (B, C, size, size) float32."""
    for start in range(0, len(crops), batch):
        part = crops.pixels[start : start + batch]
        yield to_input(np.stack([enlarge(crop, size) for crop in part]).astype(np.float32))


def _sampling_weights(strata: IndexArray, power: float) -> FloatArray:
    """(N,) chances that sum to 1: the frequency of a picture's kind, to the minus `power`."""
    frequency = np.bincount(strata) / len(strata)
    weights = frequency[strata] ** -power
    chances: FloatArray = (weights / weights.sum()).astype(np.float32)
    return chances


def _resampled(order: IndexArray, weights: FloatArray, rng: np.random.Generator) -> IndexArray:
    """Systematic resampling: every picture as often as its weight says, give or take one, then shuffled again."""
    edges = np.cumsum(weights[order], dtype=np.float64)
    points = (np.arange(len(order)) + rng.random()) / len(order) * edges[-1]
    drawn = order[np.minimum(np.searchsorted(edges, points), len(order) - 1)]
    return rng.permutation(drawn)


def _ahead(batches: Iterator[Batch]) -> Generator[Batch, None, None]:
    """The same batches, made by a thread while the last ones are in use."""
    queue: Queue[Batch | BaseException | None] = Queue(_AHEAD)
    stopped = Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=0.1)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = Thread(target=work, name="mien-batches", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while True:
            try:
                queue.get_nowait()
            except Empty:
                break
        thread.join()
