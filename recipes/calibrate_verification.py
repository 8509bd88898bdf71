"""Sets the thresholds and probabilities of the default embedder, and measures them.

    python recipes/calibrate_verification.py --data ../shared/data --cache DIR

Prints the calibrations of mien.models.dlib_resnet, from lfw_dev: thresholds from all pairs of different people who are
in no pair of lfw_dev_pairs.txt; probabilities from those and the genuine pairs that it does not list.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien import FaceAnalyzer, load_image
from mien.evaluation import metrics
from mien.evaluation.describe import SubjectDescriber
from mien.models.embedding import FaceEmbedder

RATES = (1e-2, 1e-3, 1e-4)
Floats = npt.NDArray[np.float32]


def embeddings(pictures: list[Path], mode: str, cache: Path) -> tuple[FaceEmbedder, Floats]:
    """(N, D) of every picture's subject; NaN where no face was found."""
    analyzer = FaceAnalyzer(only=("detect", "embed"), accurate=mode == "accurate")
    file = cache / f"{mode}.npy"
    if not file.exists():
        describe = SubjectDescriber(analyzer.load(), load_image, mode=mode)
        found = describe(pictures, progress=lambda done, total: sys.stderr.write(f"\r{mode} {done}/{total}"))
        np.save(file, np.stack([np.full(128, np.nan, np.float32) if e is None else e for e in found]))
    return analyzer.embedder, np.load(file)


def listed(pairs: Path) -> tuple[set[str], set[frozenset[str]]]:
    """People and genuine pairs (as picture stems) of an LFW pairs file."""
    people: set[str] = set()
    genuine: set[frozenset[str]] = set()
    for words in (line.split("\t") for line in pairs.read_text().splitlines()[1:]):
        people |= {words[0], words[2]} if len(words) == 4 else {words[0]}
        if len(words) == 3:
            genuine.add(frozenset(f"{words[0]}_{int(n):04}" for n in words[1:]))
    return people, genuine


def impostors(embedder: FaceEmbedder, x: Floats, person: npt.NDArray[np.str_]) -> Floats:
    """Similarities of all pairs of different people."""
    parts = []
    for i in range(len(x) - 1):
        other = person[i + 1 :] != person[i]
        parts.append(embedder.similarity(x[i], x[i + 1 :][other]))
    return np.concatenate(parts)


def genuine_pairs(
    stems: list[str], person: npt.NDArray[np.str_], reported: set[frozenset[str]]
) -> tuple[list[tuple[int, int]], Floats]:
    """Indices of the unreported pairs of one person, and weights: a person counts for 15 pairs at most."""
    pairs: list[tuple[int, int]] = []
    weights: list[float] = []
    for name in np.unique(person):
        own = [(i, j) for i, j in combinations(np.flatnonzero(person == name), 2)]
        own = [(i, j) for i, j in own if frozenset((stems[i], stems[j])) not in reported]
        pairs += own
        weights += [min(15, len(own)) / max(1, len(own))] * len(own)
    return pairs, np.array(weights, dtype=np.float32)


def calibrate(mode: str, pictures: list[Path], pairs_file: Path, cache: Path) -> None:
    """Print the calibration of one mode."""
    embedder, x = embeddings(pictures, mode, cache)
    stems = [p.stem for p in pictures]
    person = np.array([p.parent.name for p in pictures])
    people, reported = listed(pairs_file)
    found = np.isfinite(x).all(axis=1)
    free = found & ~np.isin(person, list(people))
    far = impostors(embedder, x[free], person[free])
    say = sys.stdout.write
    say(f"{mode}: faces in {found.sum()} of {len(found)}; {len(far):,} pairs of {len(set(person[free]))} people\n")
    pairs, weights = genuine_pairs(stems, person, reported)
    a, b = np.array([p for p in pairs if found[p[0]] and found[p[1]]]).T
    near = embedder.similarity(x[a], x[b])
    for rate in RATES:
        threshold = metrics.threshold_at_fmr(far, rate)
        tar = float(weights[near >= threshold].sum() / weights.sum())
        say(f"  FMR {rate:g}: threshold {np.ceil(threshold * 1e4) / 1e4:.4f}, TAR of unreported pairs {tar:.4f}\n")
    rng = np.random.default_rng(0)
    sample = rng.choice(len(near), 3000, p=weights / weights.sum())
    values = np.concatenate([near[sample], rng.choice(far, 100_000, replace=False)])
    same = np.arange(len(values)) < len(sample)
    slope, intercept = metrics.fit_logistic(values, same)
    say(f"  logistic: ({slope:.3f}, {intercept:.3f})\n")


def main() -> None:
    """Parse, unpack, calibrate both modes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    root = arguments.cache / "lfw"
    if not root.exists():
        with zipfile.ZipFile(arguments.data / "lfw_dev.zip") as archive:
            archive.extractall(arguments.cache)
    pictures = sorted(root.glob("*/*.jpg"))
    for mode in ("fast", "accurate"):
        calibrate(mode, pictures, arguments.data / "lfw_dev_pairs.txt", arguments.cache)


if __name__ == "__main__":
    main()
