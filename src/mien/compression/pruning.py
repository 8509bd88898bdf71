"""Structured pruning: whole channels between two convolutions go, the least missed for what they cost first.

How much a channel is missed is its second-order (Gauss-Newton) importance, the squared change of the outputs that its
removal makes to first order (Molchanov et al. 2019, arXiv:1906.10771), averaged over pictures; no labels are needed.
Then norms are estimated anew, and the network learns to answer as the unpruned one does (distillation: by the
divergence of probabilities for classifiers, Hinton et al. 2015, arXiv:1503.02531; by matching outputs for others,
Ba & Caruana 2014, arXiv:1312.6184).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mien.compression.fine_tuning import Distance, Lessons, PruneOptions, answers, divergence, squared_error
from mien.compression.gate import Comparison, Side, holds, milliseconds, refusal
from mien.compression.graph_network import GraphNetwork, _Convolution, constants, multiply_adds
from mien.compression.subjects import Subject
from mien.errors import DataError, ModelError
from mien.models import _onnx
from mien.models.base import RuntimeOptions
from mien.models.quantized import float_graph
from mien.models.runtime import Session
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.export import stored_halved
from mien.types import FloatArray, ImageArray

_PASSES_CHANNELS = ("Relu", "Clip", "MaxPool", "AveragePool", "Identity", "Sigmoid")
_BLOCK = 8  # channels that go at once: processors compute in such blocks
_KEPT_SHARE = 8  # at least one channel of so many stays
_JUDGED_AT_ONCE = 32
_JUDGED_ON = 512
_HALVING = 5e-3  # of the largest answer
Progress = Callable[..., None]


@dataclass(frozen=True)
class Link:
    """Two convolutions between which channels can go: nothing else sees them.

    Attributes:
        first: name of the output of the one that makes the channels.
        second: of the one that reads them.
        channels: how many there are.
    """

    first: str
    second: str
    channels: int


@dataclass(frozen=True, eq=False)
class Pruned:
    """A network that passed the gate.

    Attributes:
        network: the ONNX file.
        comparison: before and after.
        history: of each epoch: "epoch", "train_loss", "loss".
    """

    network: bytes
    comparison: Comparison
    history: list[dict[str, float]]


def prune(
    subject: Subject,
    crops: ImageArray,
    options: PruneOptions,
    *,
    keep: Path | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Pruned:
    """Prune a network and train it again.

    Args:
        subject: the network and what it is measured by.
        crops: (N, H, W, 3) uint8, as the network gets them, to learn from.
        options: how.
        keep: a file that holds what was learnt up to the last whole epoch: the same call goes on from there.
        progress: called with (done, total, what).
        on_epoch: called with the row of each epoch, see `Pruned.history`.

    Raises:
        GateError: it loses more than it may.
        ModelError: its graph cannot be pruned, or not by so much.
        DataError: the data cannot be used, or `keep` is of another run.
    """
    told = progress or (lambda *_: None)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    graph = float_graph(subject.network, subject.name)
    before = subject.measure(subject.network, lambda done, total: told(done, total, "measuring the original"))
    kept = KeptLessons(keep, _run_of(options, subject, graph, crops))
    distance = divergence if subject.logits else squared_error
    student, channels, history = _taught(graph, crops, options, kept, distance=distance, told=told, on_epoch=on_epoch)
    network = _halved(student.eval().exported(), crops[:8])
    after = subject.measure(network, lambda done, total: told(done, total, "measuring the pruned network"))
    if not holds(before, after, options.max_loss):
        advice = "prune less (--reduce), train longer (--epochs), or give more pictures"
        raise refusal(f"{subject.name}, pruned,", before, after, options.max_loss, advice)
    network = subject.finished(network, after)
    was, now = milliseconds(subject.network, network)
    comparison = Comparison(
        subject.name,
        Side(before, len(subject.network), was, sum(multiply_adds(graph, crops).values())),
        Side(after, len(network), now, sum(multiply_adds(student.exported(), crops).values())),
        options.max_loss,
        {"channels": channels},
    )
    return Pruned(network, comparison, history)


def _taught(
    graph: bytes,
    crops: ImageArray,
    options: PruneOptions,
    kept: KeptLessons,
    *,
    distance: Distance,
    told: Progress,
    on_epoch: Callable[[dict[str, float]], None] | None,
) -> tuple[GraphNetwork, dict[str, list[int]], list[dict[str, float]]]:
    """The pruned network, how many channels of how many each link has kept, and the row of each epoch."""
    learnt, held = _parted(crops, options)
    teacher, student = GraphNetwork(graph, crops[:2]), GraphNetwork(graph, crops[:2])
    _refuse_differences(teacher, graph, crops[:8])
    some = learnt[:: -(-len(learnt) // _JUDGED_ON)]
    student.settle(torch.from_numpy(some).float())
    found = links(graph)
    if kept.state is None:
        missed = importance(student, found, some, told)
        stay = chosen(found, missed, multiply_adds(graph, crops), options.reduce)
    else:
        stay = {name: np.array(channels) for name, channels in kept.state["channels"].items()}
    cut(student, found, stay)

    def after_epoch(state: dict[str, Any]) -> None:
        kept.save({**state, "channels": {name: channels.tolist() for name, channels in stay.items()}})
        if on_epoch is not None:
            on_epoch(state["history"][-1])

    lessons = Lessons(student, teacher, learnt, held, options, distance)
    history = lessons.run(told, state=kept.state, after_epoch=after_epoch)
    return student, {link.first: [len(stay[link.first]), link.channels] for link in found}, history


class KeptLessons:
    """The file from which an interrupted run goes on.

    Args:
        path: of the file, which need not be there yet; None keeps nothing.
        run: what has to be the same for going on.

    Attributes:
        state: what was saved last, or None.

    Raises:
        DataError: the file cannot be read, or is of another run.
    """

    def __init__(self, path: Path | None, run: dict[str, Any]) -> None:
        self._path, self._run = path, run
        self.state: dict[str, Any] | None = None
        if path is None or not path.exists():
            return
        self.state = load_checkpoint(path)
        if self.state.get("run") != run:
            raise DataError(
                f"{path}: of a run with another network, other pictures or settings; give --keep another name"
            )

    def save(self, state: dict[str, Any]) -> None:
        """Write what goes on needs, whole or not at all."""
        if self._path is not None:
            save_checkpoint(self._path, {**state, "run": self._run})


def _run_of(options: PruneOptions, subject: Subject, graph: bytes, crops: ImageArray) -> dict[str, Any]:
    """What two runs must have in common for one to go on where the other stopped."""
    free = ("max_loss", "threads")
    settings = {name: value for name, value in asdict(options).items() if name not in free}
    digests = [hashlib.sha256(data).hexdigest() for data in (graph, crops.tobytes())]
    return {"settings": settings, "logits": subject.logits, "network": digests[0], "crops": digests[1]}


def links(graph: bytes) -> list[Link]:
    """Where channels can go.

    Raises:
        ModelError: nowhere.
    """
    model = _onnx.parsed(graph, "the graph")
    known = constants(model)
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    given = {value.name for value in model.graph.output}
    found = [
        Link(node.output[0], last.output[0], known[node.input[1]].shape[0])
        for node in model.graph.node
        if _dense(node, known) and (last := _reader(node, readers, given)) is not None and _dense(last, known)
    ]
    if not found:
        raise ModelError("the graph has no two convolutions in a row: there are no channels that pruning could remove")
    return found


def _dense(node: Any, known: dict[str, npt.NDArray[Any]]) -> bool:
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return node.op_type == "Conv" and groups == 1 and node.input[1] in known


def _reader(node: Any, readers: dict[str, list[Any]], given: set[str]) -> Any | None:
    """The one node that reads a node's channels, through what changes each channel by itself."""
    while True:
        name = node.output[0]
        if name in given or len(readers.get(name, [])) != 1:
            return None
        node = readers[name][0]
        if node.op_type not in _PASSES_CHANNELS:
            return node


def importance(
    network: GraphNetwork, found: Sequence[Link], crops: ImageArray, told: Progress
) -> dict[str, npt.NDArray[np.float64]]:
    """How much each channel is missed: (channels,) of each link, by the name of its first convolution."""
    names = {link.first for link in found}
    total = {link.first: np.zeros(link.channels) for link in found}
    generator = torch.Generator().manual_seed(0)
    network.eval()
    for start in range(0, len(crops), _JUDGED_AT_ONCE):
        batch = torch.from_numpy(crops[start : start + _JUDGED_AT_ONCE]).float()
        gates: dict[str, Tensor] = {}

        def watch(name: str, value: Tensor, gates: dict[str, Tensor] = gates) -> Tensor:
            if name not in names:
                return value
            # the derivative by a factor of 1 on a channel is what the outputs lose when it goes, to first order
            gates[name] = torch.ones(len(value), value.shape[1], 1, 1, requires_grad=True)
            return value * gates[name]

        values = network.run(batch, watch)
        outputs = torch.cat([values[name].flatten(1) for name in network.outputs], dim=1)
        # A random sign for each output: on average, the square of the sum is the sum of the squares.
        signs = torch.randint(0, 2, outputs.shape, generator=generator) * 2.0 - 1
        order = list(gates)
        slopes = torch.autograd.grad((outputs * signs).sum(), [gates[name] for name in order])
        for name, slope in zip(order, slopes, strict=True):
            total[name] += (slope.double()[:, :, 0, 0] ** 2).sum(dim=0).numpy()
        told(min(start + _JUDGED_AT_ONCE, len(crops)), len(crops), "judging channels")
    return total


def chosen(
    found: Sequence[Link], missed: dict[str, npt.NDArray[np.float64]], costs: dict[str, int], reduce: float
) -> dict[str, npt.NDArray[np.int64]]:
    """The channels that stay, of each link, in order.

    Args:
        found: the links.
        missed: of each channel, see `importance`.
        costs: multiply-adds of each layer.
        reduce: share of all multiply-adds that goes, at least.

    Raises:
        ModelError: there are not so many to remove.
    """
    kept = {link.first: link.channels for link in found}
    order = {link.first: np.argsort(-missed[link.first], kind="stable") for link in found}
    limit = sum(costs.values()) * (1 - reduce)
    while (left := _cost(found, kept, costs)) > limit:
        best: tuple[float, str, int] | None = None
        for link in found:
            block = _BLOCK if link.channels >= 2 * _BLOCK else 1
            now = kept[link.first]
            if now - block < max(1, link.channels // _KEPT_SHARE):
                continue
            lost = float(missed[link.first][order[link.first][now - block : now]].sum())
            saved = left - _cost(found, {**kept, link.first: now - block}, costs)
            if best is None or lost / saved < best[0]:
                best = lost / saved, link.first, block
        if best is None:
            raise ModelError(
                f"only {1 - left / sum(costs.values()):.0%} of the multiply-adds can be pruned; reduce less"
            )
        kept[best[1]] -= best[2]
    return {name: np.sort(order[name][:count]) for name, count in kept.items()}


def _cost(found: Sequence[Link], kept: dict[str, int], costs: dict[str, int]) -> float:
    share = dict.fromkeys(costs, 1.0)
    for link in found:
        part = kept[link.first] / link.channels
        share[link.first] *= part
        share[link.second] *= part
    return sum(costs[name] * share[name] for name in costs)


@torch.no_grad()
def cut(network: GraphNetwork, found: Sequence[Link], keep: dict[str, npt.NDArray[np.int64]]) -> None:
    """Remove channels from a settled network, in place."""
    for link in found:
        stay = torch.from_numpy(keep[link.first])
        first, second = network.layer(link.first), network.layer(link.second)
        assert isinstance(first, _Convolution)  # noqa: S101 - links are between convolutions
        assert isinstance(second, _Convolution)  # noqa: S101
        first.weight = nn.Parameter(first.weight[stay])
        first.bias = nn.Parameter(first.bias[stay])
        second.weight = nn.Parameter(second.weight[:, stay])
        if (norm := first.norm) is not None:
            norm.num_features = len(stay)
            norm.weight, norm.bias = nn.Parameter(norm.weight[stay]), nn.Parameter(norm.bias[stay])
            norm.running_mean = None if norm.running_mean is None else norm.running_mean[stay]
            norm.running_var = None if norm.running_var is None else norm.running_var[stay]
    network.lay_out()


def _parted(crops: ImageArray, options: PruneOptions) -> tuple[ImageArray, ImageArray]:
    """What is learnt from, and what chooses the best epoch."""
    order = np.random.default_rng(options.seed).permutation(len(crops))
    held = max(round(options.held_out * len(crops)), 2)
    if len(crops) < 2 * held or len(crops) < 2 * _BLOCK:
        raise DataError(f"{len(crops)} faces are too few to train the pruned network with; give {2 * _BLOCK} or more")
    return crops[order[held:]], crops[order[:held]]


def _halved(network: bytes, crops: ImageArray) -> bytes:
    """With weights stored as float16, unless that would change its answers."""
    halved = stored_halved(network)
    exact, rounded = _outputs(network, crops), _outputs(halved, crops)
    return halved if np.abs(exact - rounded).max() <= _HALVING * max(1.0, np.abs(exact).max()) else network


def _outputs(network: bytes, crops: ImageArray) -> FloatArray:
    """(N, K) float32: all outputs, one after the other."""
    outputs = Session(network, RuntimeOptions(threads=1))(crops)
    joined: FloatArray = np.concatenate([output.reshape(len(crops), -1) for output in outputs], axis=1)
    return joined


def _refuse_differences(network: GraphNetwork, graph: bytes, crops: ImageArray) -> None:
    """Torch must compute what the runtime computes, or what is learnt is not what runs."""
    expected = _outputs(graph, crops)
    difference = float(np.abs(answers(network, crops).numpy() - expected).max())
    if not difference <= 1e-3 * max(1.0, float(np.abs(expected).max())):
        raise ModelError(f"the graph answers otherwise in torch (by {difference:.2g}): it cannot be pruned")
