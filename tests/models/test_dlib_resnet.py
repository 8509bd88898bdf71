"""The converted network answers as dlib itself does, and a broken file is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien import WeightsError, WeightsStore
from mien.models import registry
from mien.models.base import RuntimeOptions
from mien.models.dlib_format import Reader, read_network
from mien.models.dlib_resnet import RECORD, to_onnx

REFERENCE = Path(__file__).parents[1] / "fixtures" / "dlib_reference.npz"


@pytest.fixture(scope="module")
def original() -> bytes:
    return WeightsStore().path(RECORD.weights).read_bytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_parity_with_dlib_on_the_same_chips(threads):
    with np.load(REFERENCE) as reference:
        chips, expected = reference["chips"], reference["embeddings"]
    network = registry.load(registry.entry("dlib-resnet"), WeightsStore(), RuntimeOptions(threads, precision="float32"))
    assert np.linalg.norm(network(chips) - expected, axis=1).max() < 1e-4
    one_by_one = np.concatenate([network(chip[None]) for chip in chips])
    assert np.linalg.norm(one_by_one - expected, axis=1).max() < 1e-4
    assert np.linalg.norm(expected[0] - expected[1]) > 0.1  # the reference is not degenerate


def test_the_architecture_is_read_from_the_file(original):
    network = read_network(original)
    kinds = [layer.kind for layer in network.layers]
    assert network.size == (150, 150)
    assert kinds.count("con") == 29
    assert kinds.count("add_prev") == 14
    assert kinds[-1] == "fc"


@pytest.mark.parametrize("end", [0, 1, 20, 400, 1_000_000])
def test_a_truncated_file_is_refused(original, end):
    with pytest.raises(WeightsError, match="not a dlib file"):
        to_onnx(original[:end])


def test_garbage_is_refused_in_one_line(original):
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(original[:20_000])
        broken[int(rng.integers(330))] ^= int(rng.integers(1, 256))
        with pytest.raises(WeightsError) as caught:
            read_network(bytes(broken))
        assert "\n" not in str(caught.value)


def test_integers_of_every_length():
    assert Reader(b"\x01\x05").integer() == 5
    assert Reader(b"\x81\x05").integer() == -5
    assert Reader(b"\x02\x00\x01").integer() == 256
    with pytest.raises(WeightsError, match="9 bytes"):
        Reader(b"\x09" + b"\x00" * 9).integer()


def test_a_tensor_larger_than_the_file_is_refused_before_it_is_allocated():
    huge = b"\x01\x02" + b"\x08" + b"\xff" * 7 + b"\x0f" + b"\x01\x01" * 3
    with pytest.raises(WeightsError, match="announced"):
        Reader(huge).tensor()
