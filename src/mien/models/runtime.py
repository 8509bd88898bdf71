"""The only door to onnxruntime: sessions with threads and devices set on purpose."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import DeviceError, ModelError, WeightsError
from mien.models.base import RuntimeOptions

DEVICES: Mapping[str, str] = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_MAX_DEFAULT_THREADS = 8  # small networks gain nothing from more


def default_threads() -> int:
    """Threads of one network call where the user did not say: the cores this process may use, 8 at most."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    return max(1, min(cores, _MAX_DEFAULT_THREADS))


def providers(device: str) -> list[str]:
    """The onnxruntime providers for a device name.

    Raises:
        DeviceError: unknown, or not offered by the installed onnxruntime: never replaced by the CPU in silence.
    """
    import onnxruntime as ort

    offered = ort.get_available_providers()
    if device == "auto":
        return [name for name in DEVICES.values() if name in offered]
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r}: choose one of auto, {', '.join(DEVICES)}")
    if DEVICES[device] not in offered:
        have = ", ".join(name for name, provider in DEVICES.items() if provider in offered)
        raise DeviceError(
            f"device {device!r} is not offered by the installed onnxruntime (it offers: {have});"
            " install the onnxruntime build for it, or use --device cpu"
        )
    return [DEVICES[device]]


def version() -> str:
    """Of the installed onnxruntime."""
    import onnxruntime as ort

    return str(ort.__version__)


@dataclass(frozen=True)
class Port:
    """An input or output of a network.

    Attributes:
        name: of the tensor.
        kind: as onnxruntime writes it, such as "tensor(float)".
        shape: a number, a name or None for each axis.
    """

    name: str
    kind: str
    shape: tuple[int | str | None, ...]


class Session:
    """One network, ready to run; safe to call from several threads.

    Args:
        model: path of an ONNX file, or its bytes.
        options: threads and device.
        name: what errors call it; the file's name by default.

    Attributes:
        inputs: what it takes.
        outputs: what it gives.

    Raises:
        WeightsError: not a model that onnxruntime can load.
        DeviceError: the device is not there, or cannot take the model.
    """

    def __init__(self, model: Path | bytes, options: RuntimeOptions, *, name: str | None = None) -> None:
        import onnxruntime as ort

        self._name = name or ("the model" if isinstance(model, bytes) else model.name)
        wanted = providers(options.device)
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads or default_threads()
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 4  # what fails is raised, and said by us; it would be said twice
        # Threads of one network that spin after its run take the cores from the next one: detector and embedder in
        # turns take 83 ms on two cores with that, and 36 ms without (see recipes/LOG.md).
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = ort.InferenceSession(
                model if isinstance(model, bytes) else os.fspath(model), settings, providers=wanted
            )
        except Exception as error:  # onnxruntime raises its own, undocumented types
            raise WeightsError(f"onnxruntime cannot load {self._name}: {_first_line(error)}") from error
        used = self._session.get_providers()
        if options.device not in ("auto", "cpu") and wanted[0] not in used:
            raise DeviceError(f"device {options.device!r} could not be started; use --device cpu")
        self.inputs = [Port(i.name, i.type, tuple(i.shape)) for i in self._session.get_inputs()]
        self.outputs = [Port(i.name, i.type, tuple(i.shape)) for i in self._session.get_outputs()]
        if not self.inputs:
            raise WeightsError(f"{self._name} takes no input")

    def metadata(self, key: str) -> str | None:
        """What the file says about itself under a key; None where it says nothing.

        Raises:
            WeightsError: its metadata are not text.
        """
        try:
            return dict(self._session.get_modelmeta().custom_metadata_map).get(key)
        except UnicodeDecodeError as error:
            raise WeightsError(f"the metadata of {self._name} are not text") from error

    def __call__(self, array: npt.NDArray[Any], outputs: Sequence[str] | None = None) -> list[npt.NDArray[Any]]:
        """Run on one input array; returns the named outputs (all of them by default).

        Raises:
            ModelError: the network fails: not enough memory, or a graph that contradicts itself.
        """
        return self.run({self.inputs[0].name: array}, outputs)

    def run(
        self, arrays: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> list[npt.NDArray[Any]]:
        """The same for a network of several inputs, by their names."""
        try:
            return list(
                self._session.run(outputs, {name: np.ascontiguousarray(array) for name, array in arrays.items()})
            )
        except Exception as error:  # onnxruntime raises its own, undocumented types
            raise ModelError(f"onnxruntime cannot run {self._name}: {_first_line(error)}") from error


def folded(model: bytes, *, name: str = "the model") -> bytes:
    """The same network with constants and norms folded, as onnxruntime does it on every processor alike.

    Raises:
        WeightsError: not a model that onnxruntime can load.
    """
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with TemporaryDirectory() as folder:
        written = Path(folder) / "folded.onnx"
        settings.optimized_model_filepath = os.fspath(written)
        try:
            ort.InferenceSession(model, settings, providers=[DEVICES["cpu"]])
        except Exception as error:  # onnxruntime raises its own, undocumented types
            raise WeightsError(f"onnxruntime cannot load {name}: {_first_line(error)}") from error
        return written.read_bytes()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
