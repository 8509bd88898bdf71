"""Calibrate the int8 forms of the networks that come with mien: the ranges of their tensors, a few kilobytes each.

    python recipes/int8_ranges.py mien-s ferplus_train.zip
    python recipes/int8_ranges.py mien-age utk/fit.zip
    python recipes/int8_ranges.py dlib-resnet lfw_dev.zip lfw_dev_pairs.txt

write NAME.int8.json among the weights of the models, calibrated on 256 pictures that are evenly chosen: of FER+'s
training part, of the part of UTKFace that was learnt from (recipes/split_utkface.py), of LFW's people who are in no
pair. Layers named after --float stay in float32. To be run again whenever a network's weights change; what its form is
worth is measured by `mien evaluate ... --precision int8`, and tests/models/test_precision.py.
"""

import sys
import zipfile
from pathlib import Path

import numpy as np

import mien
from mien.analyzer import FaceAnalyzer
from mien.cli.options import face_cut
from mien.compression.calibration import MOST, calibration_pictures, corrected, readable, tensor_ranges
from mien.compression.subjects import EmbedderSubject, network_bytes
from mien.datasets.attributes import open_attributes
from mien.evaluation.expression import SquareCutter
from mien.evaluation.pairs import Pairs
from mien.models import registry
from mien.models.base import ModelEntry
from mien.models.quantized import Quantization, float_graph
from mien.models.store import WeightsStore
from mien.types import ImageArray

WEIGHTS = Path("src/mien/models/weights")
NO_PAIRS = Pairs("none", (), *(np.zeros(0, kind) for kind in (np.int64, np.int64, np.bool_, np.int64)))
BATCH = 16


def evenly(number: int) -> list[int]:
    """Positions of at most 256 of so many pictures."""
    return [int(i) for i in np.unique(np.linspace(0, number - 1, MOST).astype(np.int64))]


def of_no_pair(archive: Path, pairs: Path) -> list[ImageArray]:
    """Pictures of LFW's people whom the pairs do not show."""
    shown = {word for line in pairs.read_text(encoding="utf-8").splitlines() for word in line.split("\t")}
    with zipfile.ZipFile(archive) as lfw:
        names = [
            name for name in sorted(lfw.namelist()) if name.endswith(".jpg") and Path(name).parent.name not in shown
        ]
        return [mien.load_image(lfw.read(names[i])) for i in evenly(len(names))]


def inputs(model: ModelEntry, places: list[Path], store: WeightsStore) -> list[ImageArray]:
    """What the network gets of the calibration pictures: (N, S, S, 3) uint8 each."""
    crop = model.record.crop
    match model.record.task:
        case "embedding":
            detector = FaceAnalyzer(only=("detect",), threads=1, precision="float32").detector
            return EmbedderSubject(model, NO_PAIRS, store, detector).batches(of_no_pair(*places))
        case "attributes":
            known, cut = open_attributes(places[0]), face_cut(crop.size, crop.template, threads=1)
            crops = [cut(known.read(i)) for i in evenly(len(known))]
        case _:
            crops = [SquareCutter(crop.size)(picture) for picture in readable(calibration_pictures(places[0]))]
    found = [crop for crop in crops if crop is not None]
    return [np.stack(found[i : i + BATCH]) for i in range(0, len(found), BATCH)]


def main(name: str, places: list[Path], float_layers: tuple[str, ...]) -> None:
    """Calibrate, and write what was found."""
    store, model = WeightsStore(), registry.entry(name)
    batches = inputs(model, places, store)
    graph = float_graph(network_bytes(model, store), name)
    ranges = tensor_ranges(graph, batches, progress=lambda done, total: print(f"{done} of {total}", end="\r"))
    target = WEIGHTS / f"{name}.int8.json"
    found = corrected(graph, Quantization(ranges, float_layers, weights=model.record.weights.sha256), batches)
    target.write_text(found.to_json())
    print(f"{target}: {len(ranges)} tensors on {sum(map(len, batches))} inputs, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    given = sys.argv[2:]
    cut_at = given.index("--float") if "--float" in given else len(given)
    main(sys.argv[1], [Path(place) for place in given[:cut_at]], tuple(given[cut_at + 1 :]))
