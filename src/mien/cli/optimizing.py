"""What the commands of `mien optimize` share: what is optimised, the gate's answer, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import DownloadBars, megabytes, note, print_json, print_rows
from mien.cli.targets import check_target as check_path
from mien.errors import MienError

if TYPE_CHECKING:
    from mien.compression.gate import Comparison, Side
    from mien.compression.subjects import Subject
    from mien.models.detection import ScaledDetector
    from mien.models.store import WeightsStore

Evaluate = Annotated[
    Path,
    typer.Option(
        "--evaluate",
        metavar="DATA",
        help="Your evaluation data: labelled faces for a classifier, a list of pairs for an embedder, photographs for"
        " a detector.",
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The new network (.onnx).")]
MaxLoss = Annotated[
    float,
    typer.Option("--max-loss", min=0.0, max=100.0, help="Points of accuracy it may lose; beyond, nothing is written."),
]
Split = Annotated[
    str | None, typer.Option("--split", help="Part of the evaluation data: train, validation or test, where they have.")
]
Root = Annotated[
    Path | None, typer.Option("--root", help="Folder of the pictures of the pairs; by default that of the list.")
]
Align = Annotated[
    bool, typer.Option("--align", help="Find the faces and cut them; by default a classifier's pictures are cut faces.")
]


def check_target(out: Path) -> None:
    """Refuse what cannot be written before minutes of work.

    Raises:
        MienError: not a place for an ONNX file.
    """
    if out.suffix.lower() != ".onnx":
        raise MienError(f"{out}: give the new network a name that ends in .onnx")
    check_path(out)


def open_subject(model: str, evaluate: Path, *, split: str | None, root: Path | None, align: bool) -> Subject:
    """The network, and what it is measured by.

    Raises:
        UnknownModelError: no such model.
        ModelError: it cannot be optimised.
        DataError: the evaluation data cannot be used.
    """
    from mien.compression.subjects import DetectorSubject, EmbedderSubject, network_bytes
    from mien.datasets.photographs import open_unlabelled
    from mien.evaluation.pairs import read_pairs
    from mien.models import registry
    from mien.models._onnx import parsed, read_own
    from mien.models.store import WeightsStore

    store = WeightsStore(progress=DownloadBars())
    path = model.removeprefix("expression:").removeprefix("attributes:")
    if path.lower().endswith(".onnx") and not path.startswith("arcface:"):
        file, network = read_own(path)
        parsed(network, str(file))  # so that an error names the file
        return _of_crops(network, evaluate, split=split, align=align)
    entry = registry.entry(model)
    match entry.record.task:
        case "expression" | "attributes":
            return _of_crops(network_bytes(entry, store), evaluate, split=split, align=align)
        case "embedding":
            pairs = read_pairs(evaluate, root or evaluate.parent)
            return EmbedderSubject(entry, pairs, store, _detector(store))
        case "detection":
            return DetectorSubject(entry, open_unlabelled([evaluate], ("face", "other")), store)
        case task:
            raise MienError(f"{model}: models for {task} are not networks that can be made smaller")


def tell(comparison: Comparison, out: Path, *, as_json: bool) -> None:
    """Before and after, as a table or JSON."""
    if as_json:
        print_json({**comparison.to_dict(), "path": str(out)})
        return
    metric = comparison.before.score.metric
    rows = [(f"{metric}, %", *(f"{100 * side.score.value:.2f}" for side in _sides(comparison)))]
    for name, value in comparison.before.score.more.items():
        rows.append((name.replace("_", " "), f"{value:.4f}", f"{comparison.after.score.more.get(name, 0):.4f}"))
    rows.append(("file", *(megabytes(side.size) for side in _sides(comparison))))
    rows.append(("ms each, one thread", *(f"{side.ms:.2f}" for side in _sides(comparison))))
    if comparison.before.multiply_adds is not None and comparison.after.multiply_adds is not None:
        rows.append(
            ("multiply-adds, million", *(f"{(side.multiply_adds or 0) / 1e6:.1f}" for side in _sides(comparison)))
        )
    print_rows((f"{comparison.model}, {comparison.before.score.n:,} answers", "Before", "After"), rows)
    faster = comparison.before.ms / comparison.after.ms
    note(f"{faster:.2f} times as fast here; loses {100 * comparison.loss:.2f} points; written to {out}")


def _sides(comparison: Comparison) -> tuple[Side, Side]:
    return comparison.before, comparison.after


def _of_crops(network: bytes, evaluate: Path, *, split: str | None, align: bool) -> Subject:
    """A network with a card; one for age and gender always finds and cuts its faces."""
    from mien.cli.evaluate_expression import open_data
    from mien.cli.options import face_cut
    from mien.compression.subjects import AttributesSubject, ClassifierSubject
    from mien.datasets.attributes import open_attributes
    from mien.models.attributes import TASK, AttributesNetwork
    from mien.models.cards import task_of
    from mien.models.classifier import CropClassifier

    if task_of(network) == TASK:
        crop = AttributesNetwork(network).card.crop
        cut = face_cut(crop.size, crop.template, threads=1)
        return AttributesSubject(network, open_attributes(evaluate), cut=cut)
    card = CropClassifier(network).card
    found = face_cut(card.crop.size, card.crop.template, threads=1) if align else None
    return ClassifierSubject(network, open_data(evaluate, split), cut=found)


def _detector(store: WeightsStore) -> ScaledDetector:
    from mien.cli.options import DETECTOR
    from mien.models import registry
    from mien.models.base import RuntimeOptions
    from mien.models.detection import DEFAULT_SIZE

    entry = registry.entry(DETECTOR, "detection")
    options = RuntimeOptions(threads=1, precision="float32")
    return registry.load_detector(entry, store, options, size=DEFAULT_SIZE, threshold=None)
