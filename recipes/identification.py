"""Fits and measures how a gallery decides, for the default embedder.

    python recipes/identification.py --data ../shared/data --cache DIR

Writes src/mien/models/weights/dlib-resnet.identification.npz and prints the figures of LOG.md, "Identification". Those
come from random halves of the people of lfw_dev: all is fitted on one half and measured on the other. Thresholds and
probabilities are fitted on people whom the landmarks of their embedding space have not seen; only the landmarks that
are written are fitted on everybody, each the mean of at least five people.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from calibrate_verification import embeddings

from mien.gallery.decision import Rule, match
from mien.models.density import DensityScale
from mien.models.dlib_resnet import RECORD

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]
OUT = Path(__file__).parents[1] / "src/mien/models/weights/dlib-resnet.identification.npz"
RATES = (3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
SIZES = {3: 20, 10: 10, 30: 5, 100: 2, 300: 1, 700: 1}  # people: galleries drawn
FACES = (2, 3, 5, 10)
PER_CENTRE, LEAST, NEIGHBOURS, STRENGTH = 9, 5, 2, 0.4
MOST_PROBES = 15  # of one person that count


@dataclass
class Data:
    x: Vectors  # (N, D)
    person: Ints  # (N,)
    fast: Vectors  # (N, D), of the mode whose landmarks serve both

    def one_each(self, people: Ints, rng: np.random.Generator) -> Ints:
        """A random picture of each."""
        shuffled = rng.permutation(len(self.person))
        first = dict(zip(self.person[shuffled].tolist(), shuffled.tolist(), strict=True))
        return np.array([first[p] for p in people.tolist()])

    def several(self, people: Ints, m: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """(P * m) pictures to enrol, person by person, and the others, of people who have more than m."""
        own = [rng.permutation(np.flatnonzero(self.person == p)) for p in people]
        return np.concatenate([o[:m] for o in own]), np.concatenate([o[m:] for o in own])


def fit_scale(x: Vectors) -> DensityScale:
    """Landmarks from one embedding of each person; clusters of fewer than LEAST people are left out."""
    from sklearn.cluster import KMeans

    centres, seed = len(x) // PER_CENTRE, 0
    found = KMeans(centres, n_init=1, max_iter=30, random_state=seed).fit(x)
    kept = np.bincount(found.labels_, minlength=centres) >= LEAST
    landmarks = found.cluster_centers_[kept].astype(np.float32)
    reference = float(DensityScale.nearness(x, landmarks, NEIGHBOURS).mean())
    return DensityScale(x.mean(axis=0), landmarks, reference, NEIGHBOURS, STRENGTH)


def pair_similarities(y: Vectors) -> Floats:
    """Of all pairs of rows."""
    a, b = np.triu_indices(len(y), 1)
    squared = (y**2).sum(axis=1)
    d = np.maximum(squared[:, None] + squared - 2 * y @ y.T, 0)[a, b]
    return ((1 - d) / (1 + d)).astype(np.float64)


def fit_rule(data: Data, people: Ints, scale: DensityScale | None, rng: np.random.Generator) -> Rule:
    """Tail, gain of several faces, and probability, on people whom the landmarks have not seen."""
    y = data.x if scale is None else scale(data.x)
    far = np.sort(pair_similarities(y[data.one_each(people, rng)]))[::-1]
    tail = tuple((float(far[int(len(far) * rate)]), rate) for rate in RATES)
    rule = replace(Rule(tail, (1.0, 0.0)), scale=scale)
    rule = replace(rule, faces_gain=fit_gain(data, people, rule, rng))
    return replace(rule, logistic=fit_logistic(*trials(data, people, rule, rng)))


def fit_gain(data: Data, people: Ints, rule: Rule, rng: np.random.Generator) -> float:
    """How much easier people of m faces are taken for a stranger, at FMR 1e-2 to 1e-3 of one face."""
    count = np.bincount(data.person)
    gains = []
    for m in FACES:
        known = people[count[people] > m]
        strangers = data.one_each(people[count[people] <= m], rng)
        enrolled, _ = data.several(known, m, rng)
        _, s = match(rule, data.x[strangers], data.x[enrolled], np.repeat(np.arange(len(known)), m), len(known))
        for at, rate in rule.tail:
            if 1e-3 <= rate <= 1e-2:
                gains.append(np.log((s >= at).mean() / rate) / (1 - 1 / m))
    return float(np.mean(gains))


def trials(data: Data, people: Ints, rule: Rule, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, Floats]:
    """Searches in galleries of several sizes: similarity of the first, whether it is right, log people, weight."""
    parts = []
    count = np.bincount(data.person)
    for size in (10, 100, 400):
        for _ in range(max(1, 200 // size)):
            group = rng.permutation(people)[:size]
            enrolled, rest = data.several(group, 1, rng)
            strangers = data.one_each(rng.permutation(np.setdiff1d(people, group))[:300], rng)
            for probes, prior in ((rest, 0.5), (strangers, 0.5)):
                if not len(probes):
                    continue
                top, s = match(rule, data.x[probes], data.x[enrolled], np.arange(size), 1)
                right = (group[top[:, 0]] == data.person[probes]).astype(np.float64)
                weight = np.minimum(1.0, MOST_PROBES / np.maximum(count[data.person[probes]] - 1, 1))
                parts.append((s[:, 0], right, np.full(len(s), np.log(size)), prior * weight / weight.sum()))
    columns = zip(*parts, strict=True)
    s, right, size_log, weight = (np.concatenate(column).astype(np.float64) for column in columns)
    return s, right, size_log, weight


def fit_logistic(s: Floats, right: Floats, size_log: Floats, weight: Floats) -> tuple[float, float]:
    """Slope and intercept of the log likelihood ratio: logistic regression whose offset is minus log people."""
    x = np.zeros(2)
    centre, spread = s.mean(), s.std()
    design = np.stack([(s - centre) / spread, np.ones_like(s)], axis=1)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ x - size_log, -500, 500)))
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (weight * (p - right)))
        x -= np.clip(step, -2, 2)
    return float(x[0] / spread), float(x[1] - x[0] * centre / spread)


def fitted(data: Data, people: Ints, rng: np.random.Generator, repeats: int) -> Rule:
    """The procedure: what `main` does with everybody, and `measure` with half of them."""
    rules = []
    for _ in range(repeats):
        shuffled = rng.permutation(people)
        for fit, test in (np.array_split(shuffled, 2), np.array_split(shuffled, 2)[::-1]):
            rules.append(fit_rule(data, test, fit_scale(data.fast[data.one_each(fit, rng)]), rng))
    return replace(mean(rules), scale=fit_scale(data.fast[data.one_each(people, rng)]))


def mean(rules: list[Rule]) -> Rule:
    """Of their numbers."""
    tail = np.mean([[s for s, _ in rule.tail] for rule in rules], axis=0)
    slope, intercept = np.mean([rule.logistic for rule in rules], axis=0)
    gain = float(np.mean([rule.faces_gain for rule in rules]))
    return Rule(tuple(zip(tail.tolist(), RATES, strict=True)), (float(slope), float(intercept)), gain)


def halves(data: Data, repeats: int) -> Iterator[tuple[Ints, Ints, np.random.Generator]]:
    """Random halves of the people, each against the other."""
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        people = rng.permutation(data.person.max() + 1)
        a, b = people[: len(people) // 2], people[len(people) // 2 :]
        yield a, b, rng
        yield b, a, rng


def figures(
    data: Data, people: Ints, rule: Rule, rng: np.random.Generator, *, size: int, m: int = 1
) -> dict[str, float]:
    """A gallery of `size` people with m faces each (one, where they have no more) against the rest of the people."""
    count = np.bincount(data.person)
    group = rng.permutation(people)[:size]
    many = group[count[group] > m]
    few = np.setdiff1d(group, many)
    strangers = data.one_each(np.setdiff1d(people, group), rng)
    enrolled, probes = data.several(many, m, rng) if len(many) else (np.zeros(0, np.intp), np.zeros(0, np.intp))
    enrolled = np.concatenate([enrolled, data.one_each(few, rng)]).astype(np.intp)
    names, owners = np.unique(data.person[enrolled], return_inverse=True)
    faces = np.bincount(owners)
    top, s = match(rule, data.x[probes], data.x[enrolled], owners, 10)
    right = names[top[:, 0]] == data.person[probes]
    weight = np.minimum(1.0, MOST_PROBES / np.maximum(count[data.person[probes]] - m, 1))
    weight /= max(weight.sum(), 1e-12)
    top_far, far = match(rule, data.x[strangers], data.x[enrolled], owners, 10)
    out = {"rank1": float((weight * right).sum())} if len(probes) else {}
    for fpir in (0.01, 0.1):
        at = rule.threshold(faces, fpir)
        out[f"FPIR {fpir}"] = float((far[:, 0] >= at).mean())
        if len(probes):
            out[f"FNIR {fpir}"] = 1 - float((weight * (right & (s[:, 0] >= at))).sum())
            oracle = np.sort(far[:, 0])[::-1][int(len(far) * fpir)]
            out[f"FNIR {fpir} oracle"] = 1 - float((weight * (right & (s[:, 0] > oracle))).sum())
    if len(probes):
        known, unknown = (
            rule.probabilities(values, faces[who], size)[:, 0] for values, who in ((s, top), (far, top_far))
        )
        out |= calibration(known, right, weight, unknown)
    return out


def calibration(known: Floats, right: npt.NDArray[np.bool_], weight: Floats, unknown: Floats) -> dict[str, float]:
    """ECE (10 bins) and Brier score of the first candidate's probability, half of the probes being strangers."""
    p = np.concatenate([known, unknown])
    truth = np.concatenate([right, np.zeros(len(unknown))])
    w = np.concatenate([weight / 2, np.full(len(unknown), 0.5 / len(unknown))])
    bins = np.minimum((p * 10).astype(int), 9)
    ece = sum(abs((w * (p - truth))[bins == b].sum()) for b in range(10))
    return {"ECE": float(ece), "Brier": float((w * (p - truth) ** 2).sum())}


def measure(data: Data, repeats: int) -> None:
    """Print the figures."""
    table: dict[tuple[str, int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for fit, test, rng in halves(data, repeats):
        rules = {"raw": fit_rule(data, fit, None, rng), "scaled": fitted(data, fit, rng, 1)}
        rules["record"] = Rule.of(RECORD.calibrations["fast"])
        for name, rule in rules.items():
            cases = [(size, 1, draws) for size, draws in SIZES.items()] + [(400, m, 1) for m in FACES]
            for size, m, draws in cases:
                drawn = [figures(data, test, rule, rng, size=size, m=m) for _ in range(draws)]
                for key in {key: None for row in drawn for key in row}:
                    table[name, size, m][key].append(float(np.mean([row[key] for row in drawn if key in row])))
    for (name, size, m), row in table.items():
        cells = [f"{key} {100 * np.mean(v):.2f} ± {100 * np.std(v) / np.sqrt(len(v)):.2f}" for key, v in row.items()]
        sys.stdout.write(f"{name}, {size} people, {m} faces: {'; '.join(cells)}\n")
    sys.stdout.flush()


def summary(rule: Rule) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "tail": [[round(s, 4), rate] for s, rate in rule.tail],
        "logistic": [round(number, 2) for number in rule.logistic],
        "faces_gain": round(rule.faces_gain, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True, help="as calibrate_verification.py leaves it")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    pictures = sorted((arguments.cache / "lfw").glob("*/*.jpg"))
    person = np.unique([p.parent.name for p in pictures], return_inverse=True)[1]
    vectors = {mode: embeddings(pictures, mode, arguments.cache)[1] for mode in ("fast", "accurate")}
    data = {mode: Data(x, person, vectors["fast"]) for mode, x in vectors.items()}
    everybody = np.arange(person.max() + 1)
    rules = {m: fitted(d, everybody, np.random.default_rng(0), arguments.repeats) for m, d in data.items()}
    write(arguments.out, rules, len(everybody))
    for mode, rule in rules.items():
        sys.stdout.write(f"{mode}: {json.dumps(summary(rule))}\n")
        measure(data[mode], arguments.repeats)


def write(path: Path, rules: dict[str, Rule], people: int) -> None:
    scale = rules["fast"].scale
    assert scale is not None
    about = {
        "embedder": RECORD.name,
        "embedder_sha256": RECORD.weights.sha256,
        "made_by": "recipes/identification.py",
        "data": f"lfw_dev (Labeled Faces in the Wild), {people} people, one picture each",
        "landmarks": f"{len(scale.centroids)} k-means centres, each of at least {LEAST} people",
        "modes": {mode: summary(rule) for mode, rule in rules.items()},
    }
    np.savez(path, about=json.dumps(about), **scale.to_arrays())
    sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes, {len(scale.centroids)} landmarks\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
