"""From a trained temporal network to an ONNX file that takes one frame at a time, and the proof that both agree."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mien.datasets.tracks import Track
from mien.errors import ModelError
from mien.evaluation.smoothing import probabilities_of
from mien.models.base import RuntimeOptions
from mien.models.cards import embed_card
from mien.models.temporal import TemporalCard, opened
from mien.training.temporal_loop import answers_of
from mien.training.temporal_networks import Several
from mien.types import FloatArray

PARITY = 2e-3
"""Largest difference of a probability between torch over whole tracks and the exported graph frame by frame."""
_OPSET = 17
_INPUTS, _OUTPUTS = ("scores", "elapsed", "seen", "states"), ("logits", "next_states")


class _OneFrame(nn.Module):
    """What is exported."""

    def __init__(self, network: Several) -> None:
        super().__init__()
        self.network = network

    def forward(self, scores: Tensor, elapsed: Tensor, seen: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.step(scores, elapsed, seen, states)


def export_temporal(network: Several, card: TemporalCard, tracks: Sequence[Track]) -> bytes:
    """Write a network as ONNX, with its card inside, and check that it answers frame by frame as it learnt to.

    Args:
        network: in evaluation mode, on the CPU.
        card: what the file says of itself.
        tracks: on which both must agree.

    Returns:
        The ONNX file.

    Raises:
        ModelError: the exported graph answers differently.
    """
    data = embed_card(_graph(network), card)
    exported = opened(data, RuntimeOptions(threads=1))
    expected = answers_of(network, tracks, card.temperature)
    difference = largest_difference(expected, probabilities_of(exported, tracks))
    if not difference <= PARITY:
        raise ModelError(f"the exported graph differs from the network by {difference:.2g} in a probability")
    return data


def largest_difference(expected: Sequence[FloatArray], found: Sequence[FloatArray]) -> float:
    """Of a probability, over all tracks."""
    return max((float(np.abs(e - f).max()) for e, f in zip(expected, found, strict=True)), default=0.0)


def _graph(network: Several) -> bytes:
    import onnx

    buffer = io.BytesIO()
    two = (torch.full((2, network.classes), 0.1), torch.zeros(2), torch.ones(2), torch.zeros(2, network.state))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further packages is called legacy
        torch.onnx.export(
            _OneFrame(network).eval(),
            two,
            buffer,  # type: ignore[arg-type]  # files are taken, too
            input_names=list(_INPUTS),
            output_names=list(_OUTPUTS),
            dynamic_axes={name: {0: "N"} for name in (*_INPUTS, *_OUTPUTS)},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name, model.producer_version = "mien", ""
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
