"""The training loop of temporal networks: measured on held-out tracks after each epoch, resumed where it stopped."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mien.datasets.base import NO_ANSWER
from mien.datasets.tracks import Track, TrackSet
from mien.errors import DataError
from mien.evaluation.smoothing import Tuning
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.interrupts import interrupts_wait
from mien.training.loop import CHECKPOINT, LOG, refuse_nothing_to_resume, write_log
from mien.training.temporal_batches import TrackAugmentation, epoch_of, joined
from mien.training.temporal_losses import sequence_loss
from mien.training.temporal_networks import ARCHITECTURES, Several
from mien.training.temporal_options import TemporalOptions
from mien.types import FloatArray

Progress = Callable[..., None]
_RISE = 0.2  # part of the run in which the learning rate rises
_LAST = 0.01  # of the highest rate, where it ends
_MEASURED_AT_ONCE = 64


class TemporalTrainer:
    """Trains one temporal network.

    Args:
        training: tracks to learn from.
        held: tracks that choose the best epoch; never learnt from.
        options: all settings.
        folder: of the run: checkpoint and log.
    """

    def __init__(self, training: TrackSet, held: TrackSet, options: TemporalOptions, folder: Path) -> None:
        torch.manual_seed(options.seed)
        self.network = ARCHITECTURES[options.architecture](len(training.labels))
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self._training, self._held, self._options, self._folder = training, held, options, folder
        self._fingerprint = {"options": options.to_dict(), "training": training.digest, "held": held.digest}
        self._tuning = Tuning(held.tracks)
        self._best: tuple[float, int] = (-math.inf, 0)
        self._best_weights = copy.deepcopy(self.network.state_dict())
        self.history: list[dict[str, float]] = []

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights `run` gives back, from 1 on."""
        return self._best[1]

    def run(
        self, *, progress: Progress | None = None, on_epoch: Callable[[Mapping[str, float]], None] | None = None
    ) -> Several:
        """Train to the end, or until patience is lost.

        Args:
            progress: called with (epochs done, epochs in all, what happens).
            on_epoch: called with the row of each epoch.

        Returns:
            The network of the best epoch, in evaluation mode.

        Raises:
            DataError: the loss is no number any more, or a file cannot be written.
        """
        while len(self.history) < self._options.epochs and not self._patience_lost():
            with interrupts_wait():
                self._epoch()
            if progress is not None:
                progress(len(self.history), self._options.epochs, f"loss {self.history[-1]['train_loss']:.3f}")
            if on_epoch is not None:
                on_epoch(self.history[-1])
        self.network.load_state_dict(self._best_weights)
        return self.network.eval()

    def _epoch(self) -> None:
        """Learn from all tracks once, measure, and keep what is needed to go on."""
        options, epoch = self._options, len(self.history)
        began = time.monotonic()
        rng = np.random.default_rng([options.seed, epoch])
        torch.manual_seed(options.seed + 1000 * (epoch + 1))  # dropout; so a resumed run is the same
        self.network.train()
        per_epoch = -(-len(self._training) // options.batch)
        losses = []
        augment = TrackAugmentation(options.augment)
        for step, batch in enumerate(epoch_of(self._training.tracks, options.batch, augment, rng)):
            self._set_rate((epoch * per_epoch + step) / (options.epochs * per_epoch))
            said = self.network.each(batch.scores, batch.elapsed, batch.seen)
            how = {"steady": options.steady, "evenness": options.evenness}
            members = [sequence_loss(logits, batch.truth, **how) for logits in said]
            losses.append(self._take_step(torch.stack(members).mean()))
        answers = answers_of(self.network, self._held.tracks)
        row = {
            "epoch": epoch + 1.0,
            "train_loss": float(np.mean(losses)),
            "loss": cross_entropy(answers, self._held.tracks),
            "quality": self._tuning.margin(answers)[1],
            "seconds": round(time.monotonic() - began, 1),
        }
        self.history.append(row)
        if row["quality"] > self._best[0]:
            self._best = (row["quality"], epoch + 1)
            self._best_weights = copy.deepcopy(self.network.state_dict())
        self._save()
        write_log(self._folder / LOG, self.history)

    def _take_step(self, loss: torch.Tensor) -> float:
        value = loss.item()
        if not math.isfinite(value):
            raise DataError(f"the loss is {value}: training diverged; lower --learning-rate")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self._options.clip)
        self._optimizer.step()
        return value

    def _set_rate(self, done: float) -> None:
        """Up in the first fifth of the run, then down along a cosine."""
        if done < _RISE:
            part = (done + _LAST) / (_RISE + _LAST)
        else:
            part = _LAST + (1 - _LAST) * 0.5 * (1 + math.cos(math.pi * (done - _RISE) / (1 - _RISE)))
        for group in self._optimizer.param_groups:
            group["lr"] = part * self._options.learning_rate

    def _patience_lost(self) -> bool:
        patience = self._options.patience
        return bool(patience and len(self.history) - self._best[1] >= patience)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "fingerprint": self._fingerprint,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "history": self.history,
            "best": list(self._best),
            "best_weights": self._best_weights,
        }
        save_checkpoint(self._folder / CHECKPOINT, state)

    def resume(self) -> None:
        """Go on from the checkpoint in the folder.

        Raises:
            DataError: there is none, it belongs to other data or settings, or is damaged.
        """
        path = self._folder / CHECKPOINT
        refuse_nothing_to_resume(self._folder)
        state = load_checkpoint(path)
        if state.get("fingerprint") != self._fingerprint:
            raise DataError(f"{path}: a run with other settings or data; use those again, or another --out")
        try:
            self.network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.history, self._best_weights = list(state["history"]), state["best_weights"]
            quality_, epoch = state["best"]
            self._best = (float(quality_), int(epoch))
        except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: the checkpoint is damaged; start again in another --out") from error


@torch.no_grad()
def logits_of(network: Several, tracks: Sequence[Track]) -> list[FloatArray]:
    """(T, C) float32 logits of each track, unchanged."""
    network.eval()
    out: list[FloatArray] = []
    for start in range(0, len(tracks), _MEASURED_AT_ONCE):
        part = tracks[start : start + _MEASURED_AT_ONCE]
        batch = joined(part)
        logits = network(batch.scores, batch.elapsed, batch.seen).numpy()
        out += [logits[i, : len(track)] for i, track in enumerate(part)]
    return out


def answers_of(network: Several, tracks: Sequence[Track], temperature: float = 1.0) -> list[FloatArray]:
    """(T, C) float32 probabilities of each track."""
    found = logits_of(network, tracks)
    return [torch.from_numpy(logits / temperature).softmax(dim=-1).numpy() for logits in found]


def cross_entropy(answers: Sequence[FloatArray], tracks: Sequence[Track]) -> float:
    """Mean over the frames that have an answer."""
    chosen = [
        answer[np.flatnonzero(track.truth != NO_ANSWER), track.truth[track.truth != NO_ANSWER]]
        for answer, track in zip(answers, tracks, strict=True)
    ]
    return float(-np.log(np.maximum(np.concatenate(chosen), 1e-9)).mean())
