"""ONNX files that are not trusted: reading, parsing, telling inputs from weights, refusing what reads other files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mien.errors import WeightsError
from mien.models.base import FileSource, WeightsFile

_MAX_BYTES = (1 << 31) - 1  # what one ONNX file can be


def read_own(path: str | Path) -> tuple[Path, bytes]:
    """The content of an ONNX file of the user's own.

    Args:
        path: of the file; may start with `~`.

    Returns:
        The path, expanded, and the bytes.

    Raises:
        WeightsError: no such file, or not a plain file that can be read whole.
    """
    try:
        path = Path(path).expanduser()
        if path.exists() and not (path.is_file() and path.stat().st_size <= _MAX_BYTES):  # a device never ends
            raise WeightsError(f"{path} is not a file of at most {_MAX_BYTES:,} bytes")
        return path, path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def own_weights(path: Path, data: bytes) -> WeightsFile:
    """The weights record of a file of the user's own: used where it lies, and pinned to what it holds now."""
    # In the cache, file names are plain ASCII that starts with a letter or digit.
    filename = re.sub(r"[^A-Za-z0-9._-]|^[._-]", "_", path.name)
    filename = f"own{filename}" if filename.startswith("_") else filename
    return WeightsFile(filename, hashlib.sha256(data).hexdigest(), len(data), (FileSource(str(path.absolute())),))


def refuse_outside(data: bytes, name: str) -> None:
    """Refuse a file whose weights, at any depth, lie in other files: onnxruntime would read whatever it points to.

    Args:
        data: the bytes of an ONNX file, or of something else.
        name: what the error calls the file.

    Raises:
        WeightsError: it points to other files, or is in onnxruntime's own format.
    """
    if data[4:8] == b"ORTM":
        raise WeightsError(f"{name} is in onnxruntime's own format: save it as ONNX")
    if b"location" not in data:  # the key that every such pointer has; without it there is no need to parse
        return
    if any(tensor.data_location or tensor.external_data for tensor in _tensors(parsed(data, name))):
        raise WeightsError(f"{name} keeps its weights in other files: save it as one ONNX file")


def _tensors(message: Any) -> Iterator[Any]:
    """Every TensorProto in a protobuf message: weights, constants, those of branches, loops and functions."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _tensors(part)


def parsed(data: bytes, name: str) -> Any:
    """The `onnx.ModelProto` of the bytes of a file.

    Args:
        data: the bytes.
        name: what the error calls the file.

    Raises:
        WeightsError: not an ONNX file.
    """
    import onnx

    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own types
        raise WeightsError(f"{name} is not an ONNX file") from error


def inputs(graph: Any) -> list[Any]:
    """The inputs of an `onnx.GraphProto` that are not weights; old exporters list these too, which forbids folding."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]
