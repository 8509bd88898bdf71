"""Quantisation of a network: calibrate, round, measure; leave the worst layers in float32 until the gate holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mien.compression.calibration import corrected, tensor_ranges
from mien.compression.gate import Comparison, Score, Side, holds, milliseconds, refusal
from mien.compression.sensitivity import by_harm
from mien.compression.subjects import Subject
from mien.models.quantized import Quantization, Ranges, float_graph, layers, quantized
from mien.types import ImageArray

_JUDGED_ON = 8  # pictures by which single layers are judged
Progress = Callable[..., None]


@dataclass(frozen=True, eq=False)
class Quantized:
    """A network that passed the gate.

    Attributes:
        network: the ONNX file, with all that the original says about itself.
        quantization: by which it was made.
        comparison: before and after.
    """

    network: bytes
    quantization: Quantization
    comparison: Comparison


def quantize(
    subject: Subject,
    batches: Sequence[ImageArray],
    *,
    max_loss: float,
    progress: Progress | None = None,
) -> Quantized:
    """Make the int8 form of a network.

    Args:
        subject: the network and what it is measured by.
        batches: (N, H, W, 3) uint8 calibration pictures, as the network gets them.
        max_loss: what its score may lose, in parts of 1.
        progress: called with (done, total, what).

    Raises:
        GateError: it loses more, also with every second layer left in float32.
        ModelError: its graph cannot be quantised.
        DataError: the evaluation data cannot be used.
    """
    told = progress or (lambda *_: None)
    graph = float_graph(subject.network, subject.name)
    before = subject.measure(subject.network, lambda done, total: told(done, total, "measuring the original"))
    ranges = tensor_ranges(graph, batches, progress=lambda done, total: told(done, total, "calibrating"))
    after: Score | None = None
    best: Score | None = None
    for left_out in _attempts(graph, lambda: _order(graph, ranges, batches, told)):
        quantization = corrected(graph, Quantization(ranges, left_out), batches)
        network = quantized(graph, quantization)
        what = f"measuring int8, {len(left_out)} layers in float32"
        after = subject.measure(network, lambda done, total, what=what: told(done, total, what))  # type: ignore[misc]
        if holds(before, after, max_loss):
            return _passed(subject, network, quantization, (before, after), max_loss)
        best = after if best is None or after.value > best.value else best
    assert best is not None  # noqa: S101 - a graph has at least one layer, and so an attempt
    advice = "calibrate on pictures more like those it is for, or allow more with --max-loss"
    raise refusal(f"{subject.name} in int8", before, best, max_loss, advice)


def _order(graph: bytes, ranges: Ranges, batches: Sequence[ImageArray], told: Progress) -> list[str]:
    harms = by_harm(
        graph,
        ranges,
        batches[0][:_JUDGED_ON],
        progress=lambda done, total: told(done, total, "judging layers"),
    )
    return [name for name, _ in harms]


def _attempts(graph: bytes, order: Callable[[], list[str]]) -> Iterator[tuple[str, ...]]:
    """The layers that are left in float32: none, then the worst, twice as many each time, up to half of them."""
    yield ()
    most = len(layers(graph)) // 2
    count, worst = 1, order() if most else []
    while count <= most:
        yield tuple(worst[:count])
        count *= 2


def _passed(
    subject: Subject, network: bytes, quantization: Quantization, scores: tuple[Score, Score], max_loss: float
) -> Quantized:
    before, after = scores
    finished = subject.finished(network, after)
    float_ms, int8_ms = milliseconds(subject.network, finished)
    comparison = Comparison(
        subject.name,
        Side(before, len(subject.network), float_ms),
        Side(after, len(finished), int8_ms),
        max_loss,
        {"precision": "int8", "float_layers": list(quantization.float_layers)},
    )
    return Quantized(finished, quantization, comparison)
