"""Fine-tuning without labels: a pruned network learns to answer as the unpruned one does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.compression.graph_network import GraphNetwork
from mien.errors import DataError
from mien.training.augment import Augmentation
from mien.types import ImageArray

_AT_ONCE = 64  # crops that are answered
_NORMS_ON = 1024  # crops by which norms are estimated
_CLIP = 2.0  # largest norm of the gradient
_LEAST_SIZE = 1e-3  # of a tensor of zeros
Progress = Callable[..., None]


@dataclass(frozen=True)
class PruneOptions:
    """How a network is pruned and trained again.

    Attributes:
        reduce: share of the multiply-adds that goes.
        max_loss: what the score may lose, in parts of 1.
        epochs: passes over the pictures; 0 leaves it as it is pruned.
        batch: crops a step.
        learning_rate: the highest, of AdamW, in parts of the size (root mean square) of each tensor of weights, as
            these differ by orders of magnitude (relative steps: Shazeer & Stern 2018, arXiv:1804.04235).
        patience: epochs without gain after which it stops.
        held_out: share of the pictures by which the best epoch is chosen.
        augment: strength of the augmentation.
        seed: of everything random.
        threads: of torch.
    """

    reduce: float = 0.3
    max_loss: float = 0.005
    epochs: int = 10
    batch: int = 64
    learning_rate: float = 1.5e-3
    patience: int = 2
    held_out: float = 0.1
    augment: float = 1.0
    seed: int = 0
    threads: int = 1


def squared_error(answered: Tensor, wanted: Tensor) -> Tensor:
    """Mean square of the differences between (N, K) answers: for numbers, whatever they mean."""
    return functional.mse_loss(answered, wanted)


def divergence(answered: Tensor, wanted: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence, in nats, of what (N, K) logits stand for.

    Unlike the squared error of logits it does not spend a small network's strength on the order of classes that the
    teacher finds improbable (Hinton et al. 2015, arXiv:1503.02531, at a temperature of 1).
    """
    return functional.kl_div(
        functional.log_softmax(answered, dim=1),
        functional.log_softmax(wanted, dim=1),
        log_target=True,
        reduction="batchmean",
    )


Distance = Callable[[Tensor, Tensor], Tensor]
"""Of (N, K) answers from those that are wanted: a number, the less the better."""


@dataclass(eq=False)
class Lessons:
    """What a pruned network is taught by.

    Attributes:
        student: with norms; `run` leaves it with the weights of its best epoch.
        teacher: stays as it is.
        learnt: (N, H, W, 3) uint8 crops to learn from.
        held: crops that choose the best epoch.
        options: how.
        distance: of answers, see `squared_error` and `divergence`.
    """

    student: GraphNetwork
    teacher: GraphNetwork
    learnt: ImageArray
    held: ImageArray
    options: PruneOptions
    distance: Distance = squared_error

    def run(
        self,
        told: Progress,
        *,
        state: dict[str, Any] | None = None,
        after_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> list[dict[str, float]]:
        """Teach.

        Args:
            told: called with (steps done, steps in all, what happens).
            state: what `after_epoch` was given: teaching goes on from there.
            after_epoch: called with all that goes on needs.

        Returns:
            Of each epoch: "epoch", "train_loss", "loss": the distance from the teacher's answers, in parts of that
            of their mean. Epoch 0 is before any training, when only the norms have been estimated anew.

        Raises:
            DataError: the loss is no number any more.
        """
        self._expected = answers(self.teacher, self.held)
        mean = self._expected.mean(dim=0, keepdim=True).expand_as(self._expected)
        self._scale = max(float(self.distance(mean, self._expected)), 1e-12)
        optimizer = torch.optim.AdamW(_by_size(self.student), weight_decay=0.0)
        if state is None:
            _estimate_norms(self.student, self.learnt[:: -(-len(self.learnt) // _NORMS_ON)], self.options.batch)
            history = [{"epoch": 0.0, "train_loss": math.nan, "loss": self._error()}]
            best, weights = 0, copy.deepcopy(self.student.state_dict())
        else:
            self.student.load_state_dict(state["student"])
            optimizer.load_state_dict(state["optimizer"])
            history, best, weights = state["history"], state["best"], state["best_weights"]
        for epoch in range(len(history), self.options.epochs + 1):
            if epoch - 1 - best >= self.options.patience:
                break
            loss = self._epoch(epoch, optimizer, told)
            history.append({"epoch": float(epoch), "train_loss": loss, "loss": self._error()})
            if history[-1]["loss"] < history[best]["loss"]:
                best, weights = epoch, copy.deepcopy(self.student.state_dict())
            if after_epoch is not None:
                after_epoch(
                    {
                        "student": self.student.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "history": history,
                        "best": best,
                        "best_weights": weights,
                    }
                )
        self.student.load_state_dict(weights)
        self.student.eval()
        return history

    def _epoch(self, epoch: int, optimizer: torch.optim.Optimizer, told: Progress) -> float:
        """One pass; returns the mean loss."""
        self.student.eval()  # norms keep their statistics: what is learnt is what will run, also from few pictures
        steps = max(len(self.learnt) // self.options.batch, 1)
        all_steps, total = steps * self.options.epochs, 0.0
        for step, batch in enumerate(self._batches(epoch)):
            done = (epoch - 1) * steps + step
            for group in optimizer.param_groups:
                group["lr"] = self.options.learning_rate * group["size"] * _course(done / all_steps)
            total += self._step(batch, optimizer)
            if not math.isfinite(total):
                raise DataError(f"the loss is no number any more in epoch {epoch}: lower --learning-rate")
            told(done + 1, all_steps, f"epoch {epoch}, loss {total / (step + 1):.4f}")
        return total / steps

    def _step(self, batch: Tensor, optimizer: torch.optim.Optimizer) -> float:
        with torch.no_grad():
            wanted = self.teacher(batch)
        loss = self.distance(self.student(batch), wanted) / self._scale
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.student.parameters(), _CLIP)
        optimizer.step()
        return float(loss.item())

    def _batches(self, epoch: int) -> Iterator[Tensor]:
        """Augmented crops, (B, H, W, 3) float32, in another order each epoch; both see the same."""
        options, size = self.options, self.learnt.shape[1]
        rng = np.random.default_rng([options.seed, epoch])
        order, augment = rng.permutation(len(self.learnt)), Augmentation(strength=options.augment)
        for start in range(0, max(len(order) // options.batch, 1) * options.batch, options.batch):
            now = order[start : start + options.batch]
            yield torch.from_numpy(np.stack([augment(self.learnt[i], size, rng) for i in now])).float()

    def _error(self) -> float:
        return float(self.distance(answers(self.student, self.held), self._expected)) / self._scale


@torch.no_grad()
def answers(network: GraphNetwork, crops: ImageArray) -> Tensor:
    """(N, K) float32: what a network says of (N, H, W, 3) uint8 crops, unaugmented; leaves it in evaluation mode."""
    network.eval()
    return torch.cat(
        [network(torch.from_numpy(crops[i : i + _AT_ONCE]).float()) for i in range(0, len(crops), _AT_ONCE)]
    )


def _by_size(network: nn.Module) -> list[dict[str, object]]:
    """Groups of parameters for an optimiser: each by itself, with its size."""
    return [
        {"params": [tensor], "size": max(float(tensor.detach().square().mean().sqrt()), _LEAST_SIZE)}
        for tensor in network.parameters()
    ]


def _course(part: float) -> float:
    """Of the learning rate: up over the first twentieth of the way, then down as a cosine."""
    return min(1.0, 20 * part + 0.05) * 0.5 * (1 + math.cos(math.pi * part))


@torch.no_grad()
def _estimate_norms(network: GraphNetwork, crops: ImageArray, batch: int) -> None:
    """Average the norms' statistics anew over what the pruned network computes."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average
    network.train()
    for start in range(0, len(crops), batch):
        if len(part := crops[start : start + batch]) > 1:
            network(torch.from_numpy(part).float())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
