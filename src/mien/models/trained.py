"""Networks that mien trained, as models: those that come along, and files of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from mien.errors import ModelError, WeightsError
from mien.models import _onnx
from mien.models.base import ModelEntry, Network, Record, RuntimeOptions, Task, WeightsFile, int8_ranges
from mien.models.card_network import CardNetwork
from mien.models.cards import AnyCard, Card, CropCard, read_card_beside

WEIGHTS = Path(__file__).with_name("weights")
"""Where the networks that come along lie, each with its card beside it."""
PER_CLASS = "per_class"

ToRecord = Callable[[AnyCard, WeightsFile], Record]


def bundled(
    name: str, task: Task, network: type[CardNetwork[AnyCard]], to_record: ToRecord[AnyCard], folder: Path = WEIGHTS
) -> ModelEntry:
    """The entry of a network that comes with mien.

    Args:
        name: of the model and its files.
        task: what it is for.
        network: how it is loaded.
        to_record: makes its record.
        folder: where it lies.

    Raises:
        ModelError: its card is missing or damaged.
    """
    path = folder / f"{name}.json"
    card, weights = read_card_beside(path, network.card_kind())
    if card.task != task or card.name != name:
        raise ModelError(f"{path} is the card of {card.name!r} for {card.task!r}")
    return ModelEntry(to_record(card, weights), _loader(network), int8=int8_ranges(name))


def entry_from_file(
    path: str | Path, task: Task, network: type[CardNetwork[AnyCard]], to_record: ToRecord[AnyCard]
) -> ModelEntry:
    """A model entry for a network of the user's own, as `mien train` writes them.

    The model's name carries the start of the file's hash, so that two files are never taken for one.

    Args:
        path: of the ONNX file; may start with `~`.
        task: what it must be for.
        network: how it is loaded.
        to_record: makes its record.

    Raises:
        WeightsError: no such file, or not an ONNX file that onnxruntime can run.
        ModelError: no network that mien trained, or for something else.
    """
    path, data = _onnx.read_own(path)
    loaded = network(path, RuntimeOptions(threads=1))
    if loaded.card.task != task:
        raise ModelError(f"{path} is for {loaded.card.task!r}, not for {task!r}")
    try:
        loaded.try_out()
    except ModelError as error:
        raise WeightsError(f"{path}: {error}") from error
    weights = _onnx.own_weights(path, data)
    record = to_record(loaded.card, weights)
    return ModelEntry(replace(record, name=f"{task}:{path.stem}@{weights.sha256[:8]}"), _loader(network))


def _loader(network: type[CardNetwork[AnyCard]]) -> Callable[[Path, RuntimeOptions], Network]:
    """How the network is made from its file; each kind of network is one of `Network`."""
    return cast(Callable[[Path, RuntimeOptions], Network], network)


def record_of(card: Card, weights: WeightsFile, task: Task, *, summary: str, **more: Any) -> Record:
    """What every card says, as a record; `more` is what only that kind of card says."""
    if isinstance(card, CropCard):
        more |= {"crop": card.crop, "input_notes": "RGB uint8 0..255, no mean or scale (both inside the graph)"}
    return Record(
        name=card.name,
        task=task,
        summary=card.summary or summary,
        weights=weights,
        licence_code="Apache-2.0",
        licence_weights=card.licence,
        commercial_use=card.commercial_use,
        origin=card.origin or f"trained with mien; {card.architecture}",
        training_data=card.training_data,
        limits=card.limits,
        architecture=card.architecture,
        calibrated_on=card.calibration,
        parents=card.parents,
        metrics=dict(figures_of(card.metrics)),
        **more,
    )


def figures_of(metrics: Mapping[str, Any], *above: str) -> Iterator[tuple[str, str]]:
    """Every figure of a card but those of single classes, under its full name."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            if name != PER_CLASS:
                yield from figures_of(value, *above, name)
        else:
            yield ", ".join((*above, name.replace("_", " "))), value if isinstance(value, str) else f"{value:.4g}"
