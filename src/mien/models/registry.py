"""Every model by name. A new model is one file, and one line here."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import cast

from mien.errors import MienError, ModelError, UnknownModelError
from mien.models import (
    arcface,
    attributes,
    centerface,
    dlib_landmarks,
    dlib_resnet,
    expression,
    face_parts,
    precision,
    temporal,
    variants,
    yunet,
)
from mien.models.attributes import AttributesNetwork, FaceAttributes
from mien.models.base import (
    Aligner,
    DetectorNetwork,
    EmbedderNetwork,
    EmbeddingRecipe,
    ModelEntry,
    Network,
    Record,
    RuntimeOptions,
    Task,
)
from mien.models.classifier import CropClassifier
from mien.models.detection import InputSize, ScaledDetector
from mien.models.embedding import FaceEmbedder, Mode
from mien.models.expression import FaceClassifier
from mien.models.face_parts import EyeStates, MouthStates, Part
from mien.models.store import WeightsStore
from mien.models.temporal import TemporalExpression, TemporalNetwork

_log = logging.getLogger(__name__)

_ENTRIES: Mapping[str, ModelEntry] = MappingProxyType(
    {
        entry.record.name: entry
        for entry in (
            centerface.ENTRY,
            dlib_resnet.ENTRY,
            dlib_landmarks.ENTRY,
            yunet.ENTRY,
            arcface.ENTRY,
            expression.bundled(),
            attributes.bundled(),
            face_parts.bundled("eyes"),
            face_parts.bundled("mouth"),
            temporal.bundled(),
        )
    }
)
_QUANTIZER_VERSION = 2  # raised when `mien.models.quantized` makes other files of the same ranges
_OWN_FILE = "arcface:"
_OWN_CLASSIFIER = "expression:"
_OWN_ATTRIBUTES = "attributes:"
_OWN_TEMPORAL = "temporal:"
DEFAULTS: tuple[str, ...] = ("centerface", "dlib-resnet", "dlib-landmarks", expression.SHIPPED)
"""The models that `mien models pull` fetches when none is named."""


def records() -> Mapping[str, Record]:
    """All records by name, in the order in which they are listed."""
    return {name: entry.record for name, entry in _ENTRIES.items()}


def entry(name: str, task: Task | None = None) -> ModelEntry:
    """The entry of a model.

    Args:
        name: of the model; "arcface:PATH" for an ArcFace-style ONNX file of the user's own, "expression:PATH",
            "attributes:PATH" or "temporal:PATH" for a network that the user trained. Where one for that task is asked
            for, PATH.onnx alone will do; where a detector or an embedder is, PATH.onnx is a form of a registered one,
            as `mien optimize` writes them.
        task: what it must be for, if that matters.

    Raises:
        UnknownModelError: no such model, or it is for something else.
        ModelError: the user's own file cannot be read, or is no such model.
    """
    if name.startswith(_OWN_FILE) and task in (None, "embedding"):
        return arcface.entry_from_file(name.removeprefix(_OWN_FILE))
    if task in (None, "expression") and (own := _own_network(name, _OWN_CLASSIFIER, plain=task is not None)):
        return expression.entry_from_file(own)
    if task in (None, "attributes") and (own := _own_network(name, _OWN_ATTRIBUTES, plain=task is not None)):
        return attributes.entry_from_file(own)
    if task in (None, "temporal") and (own := _own_network(name, _OWN_TEMPORAL, plain=task is not None)):
        return temporal.entry_from_file(own)
    of_another_task = name.startswith((_OWN_FILE, _OWN_CLASSIFIER, _OWN_ATTRIBUTES, _OWN_TEMPORAL))
    if task in ("detection", "embedding") and name.lower().endswith(".onnx") and not of_another_task:
        return variants.entry_from_file(name, task, entry)
    found = _ENTRIES.get(name)
    if found is None or (task is not None and found.record.task != task):
        fitting = ", ".join(n for n, e in _ENTRIES.items() if task in (None, e.record.task))
        raise UnknownModelError(f"no {task + ' ' if task else ''}model called {name!r}; choose one of: {fitting}")
    return found


def _own_network(name: str, word: str, *, plain: bool) -> str:
    """The path in the name of a network of the user's own, or ""; `plain` allows it without the word in front."""
    if name.startswith(word):
        return name.removeprefix(word)
    return name if plain and name.lower().endswith(".onnx") else ""


def record(name: str) -> Record:
    """The record of a model.

    Raises:
        UnknownModelError: no such model.
    """
    return entry(name).record


def load(model: ModelEntry, store: WeightsStore, options: RuntimeOptions) -> Network:
    """Make a model's network, fetching and converting its weights where that was not done before.

    Raises:
        WeightsError: its weights cannot be fetched, or are not what they should be.
        DeviceError: the device asked for is not there.
    """
    weights = model.record.weights
    if not model.record.commercial_use and store.first_time(f"licence-{weights.sha256[:16]}"):
        _log.warning(
            "the weights of %s may not allow commercial use: see `mien models info %s` (said once)",
            model.record.name,
            model.record.name,
        )
    defaults = [record(name).weights for name in DEFAULTS]  # those in the same archive come along
    if model.convert is None:
        path = store.path(weights, siblings=defaults)
    else:
        path = store.derived(weights, model.converted_suffix, model.converter_version, model.convert, siblings=defaults)
    return model.network(_chosen(model, path, store, options), options)


def _chosen(model: ModelEntry, float32: Path, store: WeightsStore, options: RuntimeOptions) -> Path:
    """The float32 file, or its int8 form, where that is asked for or faster here."""
    asked = precision.wanted(options)
    if model.int8 is None or asked == "float32" or options.device != "cpu":
        return float32
    try:
        int8 = int8_form(model, model.int8, store)
        return int8 if asked == "int8" or precision.measured(float32, int8, store).int8_wins else float32
    except MienError as error:
        if asked == "int8":
            raise
        _log.warning("%s runs in float32: its int8 form cannot be made here (%s)", model.record.name, error)
        return float32


def int8_form(model: ModelEntry, ranges: Path, store: WeightsStore) -> Path:
    """The file of a model's int8 form, made once and cached by the store.

    Args:
        model: the model.
        ranges: file of what `Quantization.to_json` wrote.
        store: where its weights are.

    Raises:
        ModelError: the ranges are those of another graph, or of other weights.
        WeightsError: its weights cannot be had.
    """
    text = ranges.read_text(encoding="utf-8")

    def build(data: bytes) -> bytes:
        from mien.models.quantized import Quantization, float_graph, quantized

        quantization = Quantization.from_json(text)
        if quantization.weights != model.record.weights.sha256:
            raise ModelError(f"{ranges.name} is of other weights: make it again with recipes/int8_ranges.py")
        converted = data if model.convert is None else model.convert(data)
        return quantized(float_graph(converted, model.record.name), quantization)

    made_by = f"{model.converter_version or 0}-{_QUANTIZER_VERSION}-{sha256(text.encode()).hexdigest()[:8]}"
    return store.derived(model.record.weights, ".int8.onnx", made_by, build)


def load_detector(
    model: ModelEntry, store: WeightsStore, options: RuntimeOptions, *, size: InputSize, threshold: float | None
) -> ScaledDetector:
    """A detector for pictures of any size; see `ScaledDetector` and `load`."""
    network = cast(DetectorNetwork, load(model, store, options))
    return ScaledDetector(model.record, network, size=size, threshold=threshold)


def load_embedder(model: ModelEntry, store: WeightsStore, options: RuntimeOptions, *, mode: Mode) -> FaceEmbedder:
    """An embedder of faces, with the aligner that its recipe asks for; see `FaceEmbedder` and `load`."""
    network = cast(EmbedderNetwork, load(model, store, options))
    aligner = load_aligner(model.recipe, store, options)
    return FaceEmbedder(model.record, network, mode=mode, recipe=model.recipe, aligner=aligner)


def load_aligner(recipe: EmbeddingRecipe, store: WeightsStore, options: RuntimeOptions) -> Aligner | None:
    """The aligner that a recipe asks for, or None; see `load`."""
    name = recipe.aligner
    return cast(Aligner, load(entry(name, "landmarks"), store, options)) if name else None


def load_expression(model: ModelEntry, store: WeightsStore, options: RuntimeOptions) -> FaceClassifier:
    """What names the expressions of faces; see `FaceClassifier` and `load`."""
    return FaceClassifier(model.record, cast(CropClassifier, load(model, store, options)))


def load_attributes(
    model: ModelEntry, store: WeightsStore, options: RuntimeOptions, *, only: Sequence[str] = ("age", "gender")
) -> FaceAttributes:
    """What says how old faces look and how their gender is perceived; see `FaceAttributes` and `load`."""
    return FaceAttributes(model.record, cast(AttributesNetwork, load(model, store, options)), only=only)


def load_attributes_network(name: str, store: WeightsStore, options: RuntimeOptions) -> AttributesNetwork:
    """A trained network for age and gender, to measure it: see `load_classifier`."""
    if own := _own_network(name, _OWN_ATTRIBUTES, plain=True):
        return AttributesNetwork(own, options)
    return cast(AttributesNetwork, load(entry(name, "attributes"), store, options))


def load_temporal(model: ModelEntry, store: WeightsStore, options: RuntimeOptions) -> TemporalExpression:
    """What says what tracks show over time; see `TemporalExpression` and `load`."""
    return TemporalExpression(model.record, cast(TemporalNetwork, load(model, store, options)))


def load_eyes(model: ModelEntry, store: WeightsStore, options: RuntimeOptions) -> EyeStates:
    """What sees whether eyes are open; see `EyeStates` and `load`."""
    return EyeStates(model.record, cast(CropClassifier, load(model, store, options)))


def load_mouth(model: ModelEntry, store: WeightsStore, options: RuntimeOptions) -> MouthStates:
    """What sees whether mouths are open; see `MouthStates` and `load`."""
    return MouthStates(model.record, cast(CropClassifier, load(model, store, options)))


def load_part(part: Part, name: str, store: WeightsStore, options: RuntimeOptions) -> CropClassifier:
    """The network of a part of faces, to measure it: a registered one, or a path that ends in .onnx.

    Raises:
        UnknownModelError: no such model.
        WeightsError: its file cannot be had, or onnxruntime cannot run it.
        ModelError: it is for something else.
    """
    if name.lower().endswith(".onnx"):
        return face_parts.open_network(part, name, options)
    return cast(CropClassifier, load(entry(name, part), store, options))


def load_classifier(name: str, store: WeightsStore, options: RuntimeOptions) -> CropClassifier:
    """A trained classifier of crops, to measure it: a registered one, "expression:PATH", or a path that ends in .onnx.

    Raises:
        UnknownModelError: no such model.
        WeightsError: its file cannot be had, or onnxruntime cannot run it.
        ModelError: it is no classifier that mien trained.
    """
    if own := _own_network(name, _OWN_CLASSIFIER, plain=True):
        return CropClassifier(own, options)
    return cast(CropClassifier, load(entry(name, "expression"), store, options))
