"""Cards: what a network that mien trained says about itself, as JSON in the metadata of its ONNX file.

Each kind of network has a kind of card of its own: `Card`, and what only that kind has to say. `mien.training` writes
them; anybody's are read here, and none is trusted.

Beside a network that comes with mien lies its card again, as a file of its own (see `write_card_beside`): listing
models parses no network.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn, Self, TypeVar

import numpy as np

from mien.answers import UNCERTAIN
from mien.errors import ModelError
from mien.models import _onnx
from mien.models.base import BundledSource, CropSpec, WeightsFile
from mien.ops.atomic import written_whole

METADATA_KEY = "mien"
SCHEMA = 1

_MAX_CARD = 1_000_000  # characters
_MAX_WORD, _MAX_TEXT = 100, 10_000
_MAX_DEPTH = 4
_SIZES = range(16, 513)
_COUNTS = range(2, 1001)
_NUMBER = 1e15  # beyond it, no metric and no coordinate
AnyCard = TypeVar("AnyCard", bound="Card")
Check = Callable[[str, Any], None]


def refuse(name: str, problem: str) -> NoReturn:
    """Say what is wrong with a value of a card.

    Raises:
        ModelError: always.
    """
    raise ModelError(f"the card is damaged or not one of mien's: {name!r} {problem}")


def short(value: object) -> str:
    """What is not trusted, for a message."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def is_number(value: object) -> bool:
    """A finite number that is not absurd; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _NUMBER


def is_count(value: object) -> bool:
    """A number of things."""
    return isinstance(value, int) and is_number(value) and value >= 0


def is_text(value: object, longest: int) -> bool:
    """Characters that a terminal shows."""
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


# Checks: (name of the value, value), raise ModelError


def check_word(name: str, value: object) -> None:
    """A word or a few."""
    if not is_text(value, _MAX_WORD) or not str(value).strip():
        refuse(name, f"is not a word of at most {_MAX_WORD} printable characters")


def check_text(name: str, value: object) -> None:
    """A line."""
    if not is_text(value, _MAX_TEXT):
        refuse(name, f"is not one line of at most {_MAX_TEXT:,} printable characters")


def check_name(name: str, value: object) -> None:
    """A name that users type, and that files can have."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        refuse(name, "is not 1 to 100 letters, digits, dots, dashes and underscores")


def check_labels(name: str, value: object) -> None:
    """Classes: a tuple of different words."""
    if not isinstance(value, tuple) or len(value) not in _COUNTS:
        refuse(name, f"are not {_COUNTS.start} to {_COUNTS.stop - 1:,} classes")
    for label in value:
        if not is_text(label, _MAX_WORD) or not label.strip():
            refuse(name, f"hold {short(label)!r}, which is not a word of at most {_MAX_WORD} printable characters")
        if label.strip() != label:
            refuse(name, f"hold {short(label)!r}, which begins or ends with a space")
    if len(set(value)) != len(value):
        refuse(name, "hold one class twice")
    if UNCERTAIN in value:
        refuse(name, f"hold {UNCERTAIN!r}, which is what mien says when it is not sure: call that class otherwise")


def check_crop(name: str, crop: CropSpec) -> None:
    """A side, and five landmarks that span something."""
    if not is_count(crop.size) or crop.size not in _SIZES:
        refuse(name, f"has no size from {_SIZES.start} to {_SIZES.stop - 1}")
    points = crop.template
    if len(points) != 5 or not all(len(p) == 2 and all(is_number(x) and math.isfinite(x) for x in p) for p in points):
        refuse(name, "has a template that is not five points")
    places = np.array(points, dtype=np.float64)
    if np.abs(places).max() > 2 * crop.size or np.ptp(places, axis=0).min() < 1:
        refuse(name, "has a template that lies far outside of the crop, or on one line")


def check_temperature(name: str, value: object) -> None:
    """What logits can be divided by."""
    if not is_number(value) or not 0.01 <= float(value) <= 100:  # type: ignore[arg-type]
        refuse(name, "is not a number from 0.01 to 100")


def check_threshold(name: str, value: object) -> None:
    """A probability."""
    if not is_number(value) or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        refuse(name, "is not a number from 0 to 1")


def check_flag(name: str, value: object) -> None:
    """True or false."""
    if not isinstance(value, bool):
        refuse(name, "is neither true nor false")


def check_sha256(name: str, value: object) -> None:
    """A hash."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        refuse(name, "is no SHA-256 in 64 lower-case hex digits")


def _check_optional_sha256(name: str, value: object) -> None:
    if value != "":
        check_sha256(name, value)


def _check_hashes(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        refuse(name, "is not a mapping of names to hashes")
    for key, digest in value.items():
        check_word(name, key)
        check_sha256(name, digest)


def _check_metrics(name: str, value: object, depth: int = _MAX_DEPTH) -> None:
    """Words, numbers, and mappings of words to these."""
    if depth == _MAX_DEPTH and not isinstance(value, Mapping):
        refuse(name, "is not a mapping of data sets to figures")
    if isinstance(value, Mapping) and depth:
        for key, part in value.items():
            check_word(name, key)
            _check_metrics(name, part, depth - 1)
    elif not is_number(value) and not is_text(value, _MAX_WORD):
        refuse(name, "holds what is neither a figure nor a word nor a mapping of these")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What every network that mien trained says about itself.

    Attributes:
        name: of the model.
        task: what it is for: "expression", "attributes", ...
        architecture: name of the network.
        training_data: what it was trained on.
        licence: of the weights.
        limits: what it must not be used for, and where it is known to fail.
        summary: one line; made from the rest if empty.
        origin: who made it, and how.
        calibration: the data that temperatures and thresholds were set on.
        commercial_use: whether the weights allow it.
        recipe_sha256: SHA-256 of the recipe (settings) that it was trained by, or "".
        data_sha256: SHA-256 of each data set, by name.
        parents: SHA-256 of each file of weights that it started from, by name (a pretrained backbone).
        metrics: what was measured: by data set, by metric; under "per_class" by label and metric.

    Raises:
        ModelError: a value is none that a card can have.
    """

    CHECKS: ClassVar[Mapping[str, Check]] = MappingProxyType(
        {
            "name": check_name,
            "task": check_name,
            "architecture": check_word,
            "training_data": check_text,
            "licence": check_text,
            "limits": check_text,
            "summary": check_text,
            "origin": check_text,
            "calibration": check_text,
            "commercial_use": check_flag,
            "recipe_sha256": _check_optional_sha256,
            "data_sha256": _check_hashes,
            "parents": _check_hashes,
            "metrics": _check_metrics,
        }
    )
    """By the name of a value: what refuses it where a card cannot have it."""

    name: str
    task: str
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
        for name, check in self.CHECKS.items():
            check(name, getattr(self, name))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = {"schema": SCHEMA} | {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: _jsonable(value) for name, value in values.items()}

    def to_json(self) -> str:
        """As one JSON object that `from_json` reads."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a card that is not trusted.

        Raises:
            ModelError: not such a card; the message is one line.
        """
        return cls.from_dict(_parsed(text))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The card of a JSON object that is not trusted; see `from_json`."""
        values = dict(values)
        if values.pop("schema", None) != SCHEMA:
            refuse("schema", f"is not {SCHEMA}: written by another version of mien")
        known = {f.name: f for f in fields(cls)}
        if odd := sorted(values.keys() - known.keys()):
            refuse(
                short(odd[0]),
                f"is nothing that a card of this kind has; it says it is for {short(values.get('task'))!r}",
            )
        for name, about in known.items():
            if name not in values and about.default is MISSING and about.default_factory is MISSING:
                refuse(name, "is missing")
        given: dict[str, Any] = {name: _given(str(known[name].type), name, value) for name, value in values.items()}
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class CropCard(Card):
    """What a network that takes crops of faces says about itself.

    Attributes:
        crop: how faces are cut for it.

    Raises:
        ModelError: a value is none that a card can have.
    """

    CHECKS: ClassVar[Mapping[str, Check]] = MappingProxyType({**Card.CHECKS, "crop": check_crop})

    crop: CropSpec


def _jsonable(value: object) -> object:
    if isinstance(value, CropSpec):
        return {"size": value.size, "template": [list(map(float, point)) for point in value.template]}
    return list(value) if isinstance(value, tuple) else value


def _given(kind: str, name: str, value: object) -> object:
    """A value of a JSON object as the field has it."""
    if kind == "CropSpec":
        return _crop(value)
    return _tuple(name, value) if kind.startswith("tuple") else value


def _tuple(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        refuse(name, "is not a list")
    return tuple(value)


def _crop(crop: object) -> CropSpec:
    if not isinstance(crop, dict) or set(crop) != {"size", "template"} or not isinstance(crop["template"], list):
        refuse("crop", "is not a size and a template")
    points = crop["template"]
    if not all(isinstance(point, list) and all(map(is_number, point)) for point in points):
        refuse("crop", "has a template that is not five points")
    return CropSpec(crop["size"], tuple(tuple(map(float, point)) for point in points))  # type: ignore[misc]


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


def refuse_labels(labels: Sequence[str]) -> None:
    """Refuse names of classes that no card can have: said before a training run, not after it.

    Raises:
        ModelError: too few or many, empty, not printable, twice, or what mien says when it is not sure.
    """
    check_labels("labels", tuple(labels))


def embed_card(model: bytes, card: Card) -> bytes:
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


def task_of(model: bytes) -> str:
    """What the card of an ONNX file says that it is for; "" where it has none that can be read.

    Raises:
        WeightsError: not an ONNX file.
    """
    texts = [entry.value for entry in _onnx.parsed(model, "the model").metadata_props if entry.key == METADATA_KEY]
    try:
        return str(_parsed(texts[0]).get("task", "")) if texts else ""
    except ModelError:
        return ""


def write_card_beside(model: Path, card: Card) -> Path:
    """Write the card of NAME.onnx to NAME.json beside it, with the hash and the size of the file.

    That is the card's own object and one key more: `"file": {"sha256": "...", "size": ...}`.

    Args:
        model: path of the ONNX file.
        card: what it says of itself, from a network that could be loaded.

    Returns:
        The path of the JSON file.

    Raises:
        ModelError: the card has another name than the file.
    """
    _, data = _onnx.read_own(model)
    if card.name != model.stem:
        raise ModelError(f"{model} holds a model called {card.name!r}: name the file {card.name}.onnx")
    beside = card.to_dict() | {"file": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    target = model.with_suffix(".json")
    with written_whole(target) as temporary:
        temporary.write_text(json.dumps(beside, ensure_ascii=False, allow_nan=False, indent=2) + "\n", encoding="utf-8")
    return target


def read_card_beside(path: Path, kind: type[AnyCard]) -> tuple[AnyCard, WeightsFile]:
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
    if not isinstance(about, dict) or set(about) != {"sha256", "size"} or not is_count(about["size"]):
        refuse("file", "is not the hash and size of the network")
    check_sha256("file", about["sha256"])
    card = kind.from_dict(values)
    name = f"{card.name}.onnx"
    return card, WeightsFile(name, about["sha256"], about["size"], (BundledSource(name),))
