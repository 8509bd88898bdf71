"""The training loop: one plain pass over batches, measured after every epoch, resumed exactly where it stopped."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import DataError
from mien.ops.atomic import write_whole
from mien.training import losses
from mien.training.batches import Batches, plain_inputs
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.crops import Crops
from mien.training.interrupts import interrupts_wait
from mien.training.objectives import Objective
from mien.training.optim import MovingAverage, make_optimizer, rate_at, set_rate
from mien.training.options import TrainingOptions
from mien.types import FloatArray

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
TENSORBOARD = "tensorboard"
_MEASURED_AT_ONCE = 128
_MIXING = 2  # a stream of random numbers apart from those of batches
Progress = Callable[..., None]


class Trainer:
    """Trains one network.

    Args:
        network: on the CPU; its parameters that need no gradient stay as they are.
        training: crops to learn from.
        validation: crops that choose the best epoch; never learnt from.
        objective: what is learnt.
        options: everything else.
        size: side of the network's input.
        folder: of the run: checkpoint, log, TensorBoard.
        rate: the highest learning rate.
        backbone: SHA-256 of the weights that the network started from, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        training: Crops,
        validation: Crops,
        objective: Objective,
        options: TrainingOptions,
        *,
        size: int,
        folder: Path,
        rate: float,
        backbone: str | None = None,
    ) -> None:
        self._device = torch.device(options.device)
        self.network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = MovingAverage(self.network, options.ema)
        self._optimizer = make_optimizer(self.network, options, rate, pretrained=backbone is not None)
        self._objective = objective
        self._batches = Batches(training, options, size, strata=objective.strata(training), framing=objective.framing)
        self._validation = validation
        self._options = options
        self._size = size
        self._folder = folder
        self._backbone = backbone
        self._fingerprint = {"options": options.to_dict(), "training": training.digest, "validation": validation.digest}
        self._epoch, self._step, self._loss_sum = 0, 0, 0.0  # _step counts within the epoch
        self._seconds = 0.0
        self._best: tuple[float, int] | None = None  # value of the metric (higher is better), epoch
        self._best_weights: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []

    def run(
        self,
        *,
        progress: Progress | None = None,
        on_epoch: Callable[[Mapping[str, float]], None] | None = None,
        checkpoint_every: float = 300.0,
    ) -> nn.Module:
        """Train to the end, or until patience is lost.

        Args:
            progress: called with (steps done, steps in all, what happens).
            on_epoch: called with the row of each epoch: "epoch", "train_loss", what the objective measures,
                "learning_rate" and "seconds".
            checkpoint_every: seconds between checkpoints within an epoch.

        Returns:
            The moving average of the best epoch, in evaluation mode, on the CPU.

        Raises:
            DataError: the loss is no number any more, or a file cannot be written.
            KeyboardInterrupt: passed on, after a checkpoint; so is the SystemExit that the command line makes of it.
        """
        if not self._epoch and not self._step:
            torch.manual_seed(self._options.seed)
        try:
            while self._epoch < self._options.epochs and not self._patience_lost():
                self._train_epoch(progress, checkpoint_every)
                self._measure_epoch()
                if on_epoch is not None:
                    on_epoch(self.history[-1])
        except (KeyboardInterrupt, SystemExit):
            self.save()
            raise
        self._average.network.load_state_dict(self._best_weights)
        return self._average.network.cpu().eval()

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights `run` gives back, from 1 on."""
        return self._best[1] + 1 if self._best else 0

    def _train_epoch(self, progress: Progress | None, checkpoint_every: float) -> None:
        self.network.train()
        per_epoch = len(self._batches)
        total = per_epoch * self._options.epochs
        started = saved = time.monotonic()
        with closing(self._batches.epoch(self._epoch, self._step)) as batches:
            for inputs, targets in batches:
                done = self._epoch * per_epoch + self._step
                set_rate(self._optimizer, rate_at(done, total, self._options))
                with interrupts_wait():
                    self._loss_sum += self._train_step(inputs.to(self._device), targets.to(self._device))
                    self._average.update(self.network, done)
                    self._step += 1
                if progress is not None:
                    progress(done + 1, total, f"epoch {self._epoch + 1}, loss {self._loss_sum / self._step:.3f}")
                if time.monotonic() - saved > checkpoint_every:
                    self.save()
                    saved = time.monotonic()
        self._seconds = time.monotonic() - started

    def _train_step(self, inputs: Tensor, targets: Tensor) -> float:
        options = self._options
        if options.mixup:
            random = np.random.default_rng([options.seed, self._epoch, _MIXING, self._step])
            share = float(random.beta(options.mixup, options.mixup))
            inputs, targets = losses.mixed(inputs, targets, share, torch.randperm(len(inputs), device=self._device))
        try:
            with self._autocast():
                logits = self.network(inputs)
        except ValueError as error:  # torch's norms, where one picture has one number for each channel
            raise DataError(
                f"--batch {len(inputs)}: {options.architecture} cannot be trained so ({error}); use 2 or more"
            ) from error
        loss = self._objective.loss(logits, targets)
        value = loss.item()
        if not math.isfinite(value):
            raise DataError(
                f"the loss is {value} in epoch {self._epoch + 1}: training diverged; lower --learning-rate"
                " (checkpoint and log of the epochs before are kept)"
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if options.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), options.clip)
        self._optimizer.step()
        return value

    def _autocast(self) -> AbstractContextManager[object]:
        if self._options.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def _measure_epoch(self) -> None:
        """Measure the moving average on the validation part, and end the epoch."""
        logits = predict(self._average.network, self._validation, self._size, device=self._device)
        scores = self._objective.score(logits, self._validation)
        row = {
            "epoch": self._epoch + 1,
            "train_loss": self._loss_sum / max(self._step, 1),
            **scores,
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "seconds": round(self._seconds, 1),
        }
        with interrupts_wait():
            self._end_epoch(row)

    def _end_epoch(self, row: dict[str, float]) -> None:
        """Keep the weights if they are the best, write checkpoint and log."""
        self.history.append(row)
        value = -row["loss"] if self._options.metric == "loss" else row[self._options.metric]
        if self._best is None or value > self._best[0]:
            self._best = (value, self._epoch)
            self._best_weights = {k: v.detach().cpu().clone() for k, v in self._average.network.state_dict().items()}
        self._epoch, self._step, self._loss_sum = self._epoch + 1, 0, 0.0
        self.save()
        write_log(self._folder / LOG, self.history)
        write_tensorboard(self._folder / TENSORBOARD, row)

    def _patience_lost(self) -> bool:
        patience = self._options.patience
        return bool(patience and self._best is not None and self._epoch - 1 - self._best[1] >= patience)

    def save(self) -> None:
        """Write the checkpoint."""
        state: dict[str, Any] = {
            "fingerprint": self._fingerprint,
            "network": self.network.state_dict(),
            "average": self._average.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if self._device.type == "cuda" else [],
            "backbone": self._backbone,
            "epoch": self._epoch,
            "step": self._step,
            "loss_sum": self._loss_sum,
            "history": self.history,
            "best": list(self._best) if self._best else None,
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
        self._refuse_another_run(state.get("fingerprint"), path)
        if state.get("backbone", self._backbone) != self._backbone:
            raise DataError(f"{path}: a run from another backbone; use that again, or another --out")
        try:
            self._restore(state)
        except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: the checkpoint is damaged; start again in another --out") from error

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._average.network.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if random := state.get("random_cuda"):
            torch.cuda.set_rng_state_all(random)
        self._epoch, self._step, self._loss_sum = state["epoch"], state["step"], state["loss_sum"]
        self.history, self._best_weights = state["history"], state["best_weights"]
        self._best = tuple(state["best"]) if state["best"] else None

    def _refuse_another_run(self, found: Any, path: Path) -> None:
        if found == self._fingerprint:
            return
        theirs = found.get("options", {}) if isinstance(found, dict) else {}
        mine = self._options.to_dict()
        changed = [
            f"{name} was {theirs.get(name)!r}, is {mine[name]!r}" for name in mine if theirs.get(name) != mine[name]
        ]
        what = "; ".join(changed) or "the pictures or their labels have changed"
        raise DataError(f"{path}: a run with other settings or data ({what}); use those again, or another --out")


def refuse_nothing_to_resume(folder: Path) -> None:
    """Say that a folder holds no checkpoint.

    Raises:
        DataError: it holds none.
    """
    if not (folder / CHECKPOINT).exists():
        raise DataError(f"{folder / CHECKPOINT}: there is no checkpoint to resume from")


@torch.no_grad()
def predict(network: nn.Module, crops: Crops, size: int, *, device: torch.device | None = None) -> FloatArray:
    """(N, C) float32 logits of all crops, in order, unaugmented."""
    network.eval()
    parts = [network(inputs.to(device)).float().cpu() for inputs in plain_inputs(crops, size, _MEASURED_AT_ONCE)]
    logits: FloatArray = torch.cat(parts).numpy()
    return logits


def write_tensorboard(folder: Path, row: Mapping[str, float]) -> None:
    """Add an epoch to TensorBoard's log; what an interrupted run wrote of it counts no more.

    Raises:
        DataError: it cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    epoch = int(row["epoch"])
    try:
        with SummaryWriter(str(folder), purge_step=epoch) as writer:
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(name, value, epoch)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from error


def write_log(path: Path, history: list[dict[str, float]]) -> None:
    """Write the log of all epochs, as CSV.

    Raises:
        MienError: it cannot be written.
    """
    text = StringIO(newline="")
    writer = csv.DictWriter(text, list(history[0]))
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in history)
    write_whole(path, text.getvalue())
