"""Trained classifiers of face crops: one ONNX file that says all about itself, in a card of JSON.

The file takes `crops` (N, S, S, 3) uint8 RGB and gives `logits` (N, C) float32; scaling of pixels is inside. Its
metadata hold, under `METADATA_KEY`, the card: what the classes are called, how faces are cut for it, how logits become
honest confidences, when to say "uncertain", and where it comes from. `mien.training` writes such files; anybody's are
read here, and none is trusted.

Beside a network that comes with mien lies its card again, as a file of its own (see `write_card_beside`): listing
models parses no network.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mien.errors import ModelError
from mien.models import _onnx
from mien.models.base import BundledSource, CropSpec, RuntimeOptions, WeightsFile
from mien.models.runtime import Port, Session
from mien.ops.atomic import written_whole
from mien.types import UNCERTAIN, FloatArray, ImageArray

__all__ = [
    "METADATA_KEY",
    "ClassifierCard",
    "CropClassifier",
    "check_labels",
    "embed_card",
    "read_card_beside",
    "write_card_beside",
]

METADATA_KEY = "mien"
SCHEMA = 1

_BATCH = 32
_MAX_CARD = 1_000_000  # characters
_MAX_WORD, _MAX_TEXT = 100, 10_000
_MAX_DEPTH = 4
_SIZES = range(16, 513)
_COUNTS = range(2, 1001)
_NUMBER = 1e15  # beyond it, no metric and no coordinate


@dataclass(frozen=True)
class ClassifierCard:
    """What a trained classifier says about itself.

    Attributes:
        name: of the model.
        task: what its classes are; "expression".
        labels: the C classes, in the order of its logits.
        crop: how faces are cut for it.
        temperature: logits are divided by it before the softmax, so that confidences are honest.
        threshold: confidence below which its answer is "uncertain"; 0 for a model that always answers.
        architecture: name of the network.
        training_data: what it was trained on.
        licence: of the weights.
        limits: what it must not be used for, and where it is known to fail.
        summary: one line; made from the labels if empty.
        origin: who made it, and how.
        calibration: the data that temperature and threshold were set on.
        commercial_use: whether the weights allow it.
        recipe_sha256: SHA-256 of the recipe (settings) that it was trained by, or "".
        data_sha256: SHA-256 of each data set, by name.
        parents: SHA-256 of each file of weights that it started from, by name (a pretrained backbone).
        metrics: what was measured: by data set, by metric; under "per_class" by label and metric.

    Raises:
        ModelError: a value is none that a card can have.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    crop: CropSpec
    temperature: float
    threshold: float
    architecture: str
    training_data: str
    licence: str
    limits: str
    summary: str = ""
    origin: str = ""
    calibration: str = ""
    commercial_use: bool = True
    recipe_sha256: str = ""
    data_sha256: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))

    def to_json(self) -> str:
        """As one JSON object that `from_json` reads."""
        return json.dumps(_to_dict(self), ensure_ascii=False, allow_nan=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> ClassifierCard:
        """Read a card that is not trusted.

        Raises:
            ModelError: not such a card; the message is one line.
        """
        return _from_dict(_parsed(text))


def check_labels(labels: Sequence[str]) -> None:
    """Refuse names of classes that no card can have: said before a training run, not after it.

    Raises:
        ModelError: too few or many, empty, not printable, twice, or what mien says when it is not sure.
    """
    _check_labels("labels", tuple(labels))


def embed_card(model: bytes, card: ClassifierCard) -> bytes:
    """The bytes of an ONNX file with this card in its metadata, in place of one that was there.

    Raises:
        WeightsError: not an ONNX file.
    """
    proto = _onnx.parsed(model, "the model")
    kept = [entry for entry in proto.metadata_props if entry.key != METADATA_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    proto.metadata_props.add(key=METADATA_KEY, value=card.to_json())
    return bytes(proto.SerializeToString())


def write_card_beside(model: Path) -> Path:
    """Write the card of NAME.onnx to NAME.json beside it, with the hash and the size of the file.

    That is the card's own object and one key more: `"file": {"sha256": "...", "size": ...}`.

    Returns:
        The path of the JSON file.

    Raises:
        ModelError: not a classifier that mien can run, or its card has another name than the file.
    """
    _, data = _onnx.read_own(model)
    card = CropClassifier(data).card
    if card.name != model.stem:
        raise ModelError(f"{model} holds a model called {card.name!r}: name the file {card.name}.onnx")
    beside = _to_dict(card) | {"file": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    target = model.with_suffix(".json")
    with written_whole(target) as temporary:
        temporary.write_text(json.dumps(beside, ensure_ascii=False, allow_nan=False, indent=2) + "\n", encoding="utf-8")
    return target


def read_card_beside(path: Path) -> tuple[ClassifierCard, WeightsFile]:
    """Read what `write_card_beside` wrote.

    Returns:
        The card, and the file of a network that comes with mien, beside the card.

    Raises:
        ModelError: not such a file.
    """
    try:
        values = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the card {path}") from error
    about = values.pop("file", None)
    if not isinstance(about, dict) or set(about) != {"sha256", "size"} or not _is_count(about["size"]):
        _refuse("file", "is not the hash and size of the network")
    _check_sha256("file", about["sha256"])
    card = _from_dict(values)
    name = f"{card.name}.onnx"
    return card, WeightsFile(name, about["sha256"], about["size"], (BundledSource(name),))


class CropClassifier:
    """A trained classifier, ready to run; safe to call from several threads.

    Args:
        model: path of an ONNX file, or its bytes; not trusted.
        options: threads and device.

    Attributes:
        card: what the file says about itself.

    Raises:
        WeightsError: no such file, or not an ONNX file of its own that onnxruntime can run.
        ModelError: it has no card, or is not what its card says.
        DeviceError: the device is not there.
    """

    def __init__(self, model: str | Path | bytes, options: RuntimeOptions | None = None) -> None:
        where, data = ("the model", model) if isinstance(model, bytes) else _onnx.read_own(model)
        _onnx.refuse_outside(data, str(where))  # also where the bytes are given: they can point to files as well
        self._session = Session(data, options or RuntimeOptions(), name=str(where))
        text = self._session.metadata(METADATA_KEY)
        if text is None:
            raise ModelError(f"{where} is no classifier that mien trained: its metadata hold no card")
        try:
            self.card = ClassifierCard.from_json(text)
        except ModelError as error:
            raise ModelError(f"{where}: {error}") from error
        self._check(str(where))

    @property
    def name(self) -> str:
        """Of the model, as its card says."""
        return self.card.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The C classes, in the order of the scores."""
        return self.card.labels

    @property
    def size(self) -> int:
        """Side of its crops in pixels."""
        return self.card.crop.size

    @property
    def threshold(self) -> float:
        """The confidence below which its answer is "uncertain"."""
        return self.card.threshold

    def __call__(self, crops: ImageArray) -> FloatArray:
        """Classify.

        Args:
            crops: (N, S, S, 3) uint8 RGB, cut as the card's crop says.

        Returns:
            (N, C) float32, calibrated probabilities: rows sum to 1.

        Raises:
            ModelError: the network fails, or gives what are no logits.
            ValueError: these are no such crops.
        """
        logits = self.logits(crops).astype(np.float64) / self.card.temperature
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: FloatArray = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
        return probabilities

    def logits(self, crops: ImageArray) -> FloatArray:
        """What the network gives, before temperature and softmax: (N, C) float32; see `__call__`."""
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (self.size, self.size, 3):
            raise ValueError(f"crops are {crops.shape} {crops.dtype}, not (N, {self.size}, {self.size}, 3) uint8")
        logits = np.zeros((len(crops), len(self.labels)), dtype=np.float32)
        for start in range(0, len(crops), _BATCH):
            batch = crops[start : start + _BATCH]
            found = self._session(batch, ["logits"])[0]
            if found.shape != (len(batch), len(self.labels)):
                raise ModelError(
                    f"model {self.name!r} gives {found.shape} for {len(batch)} crops of {len(self.labels)} classes"
                )
            logits[start : start + _BATCH] = found
        if not np.isfinite(logits).all():
            raise ModelError(f"model {self.name!r} gives scores that are not finite: its weights are damaged")
        return logits

    def _check(self, where: str) -> None:
        """Compare what the graph takes and gives with the card."""
        size, count = self.size, len(self.labels)
        takes, gives = f"crops (N, {size}, {size}, 3) uint8", f"logits (N, {count}) float32"
        inputs, outputs = self._session.inputs, self._session.outputs
        if len(inputs) != 1 or not _fits(inputs[0], "crops", "tensor(uint8)", (size, size, 3)):
            raise ModelError(f"{where} should take {takes}, and takes {_told(inputs)}")
        logits = [port for port in outputs if port.name == "logits"]
        if not logits or not _fits(logits[0], "logits", "tensor(float)", (count,)):
            raise ModelError(f"{where} should give {gives}, and gives {_told(outputs)}")


def _fits(port: Port, name: str, kind: str, shape: tuple[int, ...]) -> bool:
    """Whether a port has this name, type and shape after the batch axis, which takes any number."""
    if port.name != name or port.kind != kind or len(port.shape) != 1 + len(shape):
        return False
    first, *rest = port.shape
    return not isinstance(first, int) and all(
        not isinstance(have, int) or have == want for have, want in zip(rest, shape, strict=True)
    )


def _told(ports: Sequence[Port]) -> str:
    shown = [
        f"{port.name[:_MAX_WORD]!r} ({', '.join('any' if n is None else str(n)[:20] for n in port.shape)}) {port.kind}"
        for port in ports[:3]
    ]
    return " and ".join(shown)[:300] or "nothing"


# Cards from outside


def _to_dict(card: ClassifierCard) -> dict[str, Any]:
    """JSON-ready."""
    values = {"schema": SCHEMA} | {f.name: getattr(card, f.name) for f in fields(card)}
    values["labels"] = list(card.labels)
    values["crop"] = {"size": card.crop.size, "template": [list(map(float, point)) for point in card.crop.template]}
    return values


def _from_dict(values: dict[str, Any]) -> ClassifierCard:
    if values.pop("schema", None) != SCHEMA:
        _refuse("schema", f"is not {SCHEMA}: written by another version of mien")
    known = {f.name for f in fields(ClassifierCard)}
    if odd := sorted(set(values) - known):
        _refuse(_short(odd[0]), "is nothing that a card has")
    required = ("name", "task", "labels", "crop", "temperature", "threshold", "architecture", "training_data",
                "licence", "limits")  # fmt: skip
    if missing := [name for name in required if name not in values]:
        _refuse(missing[0], "is missing")
    labels, crop = values["labels"], values["crop"]
    if not isinstance(labels, list):
        _refuse("labels", "is not a list")
    if not isinstance(crop, dict) or set(crop) != {"size", "template"} or not isinstance(crop["template"], list):
        _refuse("crop", "is not a size and a template")
    points = crop["template"]
    if not all(isinstance(point, list) and all(map(_is_number, point)) for point in points):
        _refuse("crop", "has a template that is not five points")
    template = tuple(tuple(map(float, point)) for point in points)
    return ClassifierCard(**{**values, "labels": tuple(labels), "crop": CropSpec(crop["size"], template)})  # type: ignore[arg-type]


def _parsed(text: str) -> dict[str, Any]:
    """The object of a JSON text; every way in which it can be odd is one line."""
    if len(text) > _MAX_CARD:
        raise ModelError(f"the card is longer than {_MAX_CARD:,} characters")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            raise ModelError("the card says something twice")
        return values

    def no_number(word: str) -> NoReturn:
        raise ModelError(f"the card holds {word}, which is no number")

    try:
        values = json.loads(text, object_pairs_hook=unique, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise ModelError("the card is not JSON") from error
    if not isinstance(values, dict):
        raise ModelError("the card is not a JSON object")
    return values


def _refuse(name: str, problem: str) -> NoReturn:
    raise ModelError(f"the card is damaged or not one of mien's: {name!r} {problem}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _is_number(value: object) -> bool:
    """A finite number that is not absurd; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _NUMBER


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def _check_word(name: str, value: object) -> None:
    if not _is_text(value, _MAX_WORD) or not str(value).strip():
        _refuse(name, f"is not a word of at most {_MAX_WORD} printable characters")


def _check_text(name: str, value: object) -> None:
    if not _is_text(value, _MAX_TEXT):
        _refuse(name, f"is not one line of at most {_MAX_TEXT:,} printable characters")


def _check_name(name: str, value: object) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        _refuse(name, "is not 1 to 100 letters, digits, dots, dashes and underscores")


def _check_labels(name: str, value: object) -> None:
    if not isinstance(value, tuple) or len(value) not in _COUNTS:
        _refuse(name, f"are not {_COUNTS.start} to {_COUNTS.stop - 1:,} classes")
    for label in value:
        if not _is_text(label, _MAX_WORD) or not label.strip():
            _refuse(name, f"hold {_short(label)!r}, which is not a word of at most {_MAX_WORD} printable characters")
        if label.strip() != label:
            _refuse(name, f"hold {_short(label)!r}, which begins or ends with a space")
    if len(set(value)) != len(value):
        _refuse(name, "hold one class twice")
    if UNCERTAIN in value:
        _refuse(name, f"hold {UNCERTAIN!r}, which is what mien says when it is not sure: call that class otherwise")


def _check_crop(name: str, crop: CropSpec) -> None:
    if not _is_count(crop.size) or crop.size not in _SIZES:
        _refuse(name, f"has no size from {_SIZES.start} to {_SIZES.stop - 1}")
    points = crop.template
    if len(points) != 5 or not all(len(p) == 2 and all(_is_number(x) and math.isfinite(x) for x in p) for p in points):
        _refuse(name, "has a template that is not five points")
    places = np.array(points, dtype=np.float64)
    if np.abs(places).max() > 2 * crop.size or np.ptp(places, axis=0).min() < 1:
        _refuse(name, "has a template that lies far outside of the crop, or on one line")


def _check_temperature(name: str, value: object) -> None:
    if not _is_number(value) or not 0.01 <= float(value) <= 100:  # type: ignore[arg-type]
        _refuse(name, "is not a number from 0.01 to 100")


def _check_threshold(name: str, value: object) -> None:
    if not _is_number(value) or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        _refuse(name, "is not a number from 0 to 1")


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        _refuse(name, "is neither true nor false")


def _check_sha256(name: str, value: object) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        _refuse(name, "is no SHA-256 in 64 lower-case hex digits")


def _check_optional_sha256(name: str, value: object) -> None:
    if value != "":
        _check_sha256(name, value)


def _check_hashes(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        _refuse(name, "is not a mapping of names to hashes")
    for key, digest in value.items():
        _check_word(name, key)
        _check_sha256(name, digest)


def _check_metrics(name: str, value: object, depth: int = _MAX_DEPTH) -> None:
    """Words, numbers, and mappings of words to these."""
    if depth == _MAX_DEPTH and not isinstance(value, Mapping):
        _refuse(name, "is not a mapping of data sets to figures")
    if isinstance(value, Mapping) and depth:
        for key, part in value.items():
            _check_word(name, key)
            _check_metrics(name, part, depth - 1)
    elif not _is_number(value) and not _is_text(value, _MAX_WORD):
        _refuse(name, "holds what is neither a figure nor a word nor a mapping of these")


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "name": _check_name,
    "task": _check_name,
    "labels": _check_labels,
    "crop": _check_crop,
    "temperature": _check_temperature,
    "threshold": _check_threshold,
    "architecture": _check_word,
    "training_data": _check_text,
    "licence": _check_text,
    "limits": _check_text,
    "summary": _check_text,
    "origin": _check_text,
    "calibration": _check_text,
    "commercial_use": _check_flag,
    "recipe_sha256": _check_optional_sha256,
    "data_sha256": _check_hashes,
    "parents": _check_hashes,
    "metrics": _check_metrics,
}
