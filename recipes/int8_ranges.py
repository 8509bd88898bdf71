"""Calibrate the int8 forms of the shipped networks: the ranges of their tensors, a few kilobytes each.

`python recipes/int8_ranges.py NAME NUMBER PICTURES... [--float LAYER...]` writes NAME.int8.json among the weights of
the models, calibrated on at most NUMBER pictures of each of PICTURES: folders of photographs (a detector, an
embedder), or FER+'s training part (mien-s). Layers named after --float stay in float32. What the form is worth is
measured by `mien evaluate ... --precision int8`.
"""

import sys
from pathlib import Path

import numpy as np

from mien.analyzer import FaceAnalyzer
from mien.compression.calibration import calibration_pictures, corrected, readable, tensor_ranges
from mien.compression.subjects import DetectorSubject, EmbedderSubject, network_bytes
from mien.datasets.photographs import open_unlabelled
from mien.evaluation.expression import SquareCutter
from mien.evaluation.pairs import Pairs
from mien.models import registry
from mien.models.quantized import Quantization, float_graph
from mien.models.store import WeightsStore

WEIGHTS = Path("src/mien/models/weights")
NO_PAIRS = Pairs("none", (), *(np.zeros(0, kind) for kind in (np.int64, np.int64, np.bool_, np.int64)))


def main(name: str, most: int, places: list[Path], float_layers: tuple[str, ...]) -> None:
    """Calibrate, and write what was found."""
    store, model = WeightsStore(), registry.entry(name)
    pictures = [picture for place in places for picture in readable(calibration_pictures(place, most))]
    match model.record.task:
        case "detection":
            subject = DetectorSubject(model, open_unlabelled(places[:1], ("face", "other")), store)
            batches = subject.batches(pictures)
        case "embedding":
            detector = FaceAnalyzer(only=("detect",), threads=1, precision="float32").detector
            batches = EmbedderSubject(model, NO_PAIRS, store, detector).batches(pictures)
        case _:
            cut = SquareCutter(model.record.crop.size)
            crops = [cut(picture) for picture in pictures]
            batches = [np.stack(crops[i : i + 16]) for i in range(0, len(crops), 16)]
    graph = float_graph(network_bytes(model, store), name)
    ranges = tensor_ranges(graph, batches, progress=lambda done, total: print(f"{done} of {total}", end="\r"))
    target = WEIGHTS / f"{name}.int8.json"
    target.write_text(corrected(graph, Quantization(ranges, float_layers), batches).to_json())
    print(f"{target}: {len(ranges)} tensors on {sum(map(len, batches))} inputs, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    given = sys.argv[3:]
    cut_at = given.index("--float") if "--float" in given else len(given)
    main(sys.argv[1], int(sys.argv[2]), [Path(place) for place in given[:cut_at]], tuple(given[cut_at + 1 :]))
