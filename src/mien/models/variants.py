"""Forms of registered embedders and detectors that a user made with `mien optimize`: files that say what they are of.

Such a form is another model to a gallery: its name carries the start of its file's hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mien.errors import ModelError
from mien.models import _onnx
from mien.models.base import ModelEntry, Record, RuntimeOptions
from mien.models.runtime import Session

METADATA_KEY = "mien.form_of"


def embed_origin(network: bytes, record: Record) -> bytes:
    """The bytes of an ONNX file that says which registered model it is a form of.

    Raises:
        WeightsError: not an ONNX file.
    """
    model = _onnx.parsed(network, "the network")
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    origin = {"model": record.name, "task": record.task, "weights_sha256": record.weights.sha256}
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(origin))
    return bytes(model.SerializeToString())


def entry_from_file(path: str | Path, task: str, find: Callable[[str], ModelEntry]) -> ModelEntry:
    """A model entry for a form of a registered model.

    Args:
        path: of the ONNX file; may start with `~`.
        task: what it must be for.
        find: gives registered models by name.

    Raises:
        WeightsError: no such file, or not an ONNX file that onnxruntime can run.
        ModelError: it does not say what it is a form of, or is for something else.
        UnknownModelError: a form of a model that is not registered.
    """
    path, data = _onnx.read_own(path)
    _onnx.refuse_outside(data, str(path))
    text = Session(data, RuntimeOptions(threads=1), name=str(path)).metadata(METADATA_KEY)
    try:
        origin = json.loads(text or "")
        name, sha256 = str(origin["model"]), str(origin["weights_sha256"])
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} is no form of a registered model, as `mien optimize` writes them") from error
    original = find(name)
    if original.record.task != task:
        raise ModelError(f"{path} is for {original.record.task}, not for {task}")
    if original.record.weights.sha256 != sha256:
        raise ModelError(f"{path} was made of other weights of {name}: make it again with `mien optimize`")
    weights = _onnx.own_weights(path, data)
    record = replace(original.record, name=f"{name}:{path.stem[:60]}@{weights.sha256[:8]}", weights=weights)
    return replace(original, record=record, convert=None, int8=None)
