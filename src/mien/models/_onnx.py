"""Published ONNX files, before they are converted: parsing, and telling inputs from weights."""

from __future__ import annotations

from typing import Any

from mien.errors import WeightsError


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
