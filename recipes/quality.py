"""Fits the score of a face's quality, and measures it.

    python recipes/quality.py faces --data ../shared/data --cache DIR     # finds and embeds the faces of lfw_dev, once
    python recipes/quality.py shape --cache DIR                           # the face of mien.ops.pose
    python recipes/quality.py report --cache DIR                          # cross-fitted by people in two halves
    python recipes/quality.py limits --cache DIR                          # where advice begins
    python recipes/quality.py fit --cache DIR --out src/mien/models/weights/quality.npz

A pair's squared distance is foretold as the sum of what both faces add, by ridge regression over all pairs of one
person; somebody with many pictures counts for 15 pairs. Figures: docs/quality.md.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mien import FaceAnalyzer, load_image
from mien.evaluation import metrics
from mien.evaluation.describe import subject
from mien.models.dlib_landmarks import CENTERFACE_TEMPLATE
from mien.models.quality import embedding_features, measure, occlusion_features, picture_features, spread_features
from mien.ops import align, quality
from mien.ops.atomic import written_whole
from mien.types import Faces

Floats = npt.NDArray[np.float64]
EMBEDDER = "dlib-resnet"
MOST_PAIRS = 15  # of a person
THUMB_COMPONENTS = 50
PENALTIES = {
    "measures": 100.0,
    "thumbs": 300.0,
    "lengths": 20.0,
    "embedding": 300.0,
    "spread": 20.0,
}  # of standardised features
FMR = 1e-3
FIRST_SPLIT = 100  # features and penalties were chosen by looking at the first ones
MEASURES = 25  # columns of picture_features before the thumbnail
say = sys.stdout.write


# --- Data


def find_faces(data: Path, cache: Path) -> None:
    """Write cache/faces.npz: paths, names, fast (N, 128), spread, box, score, landmarks of each picture's subject."""
    if not (cache / "lfw").exists():
        with zipfile.ZipFile(data / "lfw_dev.zip") as archive:
            archive.extractall(cache)
    paths = sorted((cache / "lfw").rglob("*.jpg"))
    analyzer = FaceAnalyzer(only=("detect", "embed"))
    rows = []
    for result in analyzer.files(paths):
        index = None if result.faces is None else subject(result.faces)
        f = result.faces
        if index is not None and f is not None and f.embeddings is not None and f.spreads is not None:
            described = (f.embeddings, f.spreads, f.boxes, f.scores, f.landmarks)
            rows.append((result.path, *(array[index] for array in described)))
    path, fast, spread, box, score, landmarks = (np.array(column) for column in zip(*rows, strict=True))
    names = np.array([Path(p).parent.name for p in path])
    with written_whole(cache / "faces.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, paths=path, names=names, fast=fast, spread=spread, box=box, score=score, landmarks=landmarks)


def picture(faces: dict[str, Any], i: int) -> tuple[npt.NDArray[np.uint8], Faces]:
    """A picture and its subject."""
    image = load_image(str(faces["paths"][i]))
    size = (image.shape[1], image.shape[0])
    return image, Faces(faces["box"][i][None], faces["score"][i][None], faces["landmarks"][i][None], size)


def read(cache: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The faces, and what is measured of them (cached)."""
    faces = dict(np.load(cache / "faces.npz"))
    file = cache / "measures.npz"
    if not file.exists():
        found = []
        for i in range(len(faces["paths"])):
            image, face = picture(faces, i)
            found.append(vars(measure(image, face)))
        np.savez(file, **{name: np.concatenate([m[name] for m in found]) for name in found[0]})
    return faces, dict(np.load(file))


# --- The score


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of one person, and the threshold of all pairs of two."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    distance: Floats
    weight: Floats
    threshold: float
    n: int

    @classmethod
    def of(cls, embeddings: Floats, names: npt.NDArray[np.str_]) -> Pairs:
        """Compare everybody with everybody."""
        squares = (embeddings**2).sum(axis=1)
        d = np.sqrt(np.maximum(squares[:, None] + squares - 2 * embeddings @ embeddings.T, 0)).astype(np.float32)
        same = names[:, None] == names
        far = d[np.triu(~same, 1)]
        place = int(FMR * len(far))
        threshold = float(np.partition(far, place)[place])
        i, j = np.nonzero(np.triu(same, 1))
        _, person, count = np.unique(names[i], return_inverse=True, return_counts=True)
        weight = np.minimum(MOST_PAIRS, count)[person] / count[person]
        return cls(i, j, d[i, j].astype(np.float64), weight, threshold, len(d))

    @cached_property
    def missed(self) -> npt.NDArray[np.bool_]:
        """Which pairs are not recognised."""
        return self.distance > self.threshold

    def fnmr(self, score: Floats, discard: float) -> tuple[float, float]:
        """FNMR of all pairs, and with people weighted, when the worst faces are left out."""
        kept = np.ones(self.n, dtype=bool)
        kept[np.argsort(score, kind="stable")[: int(discard * self.n)]] = False
        pairs = kept[self.first] & kept[self.second]
        weight = self.weight[pairs]
        return float(self.missed[pairs].mean()), float((self.missed[pairs] * weight).sum() / weight.sum())


@dataclass(frozen=True, eq=False)
class Design:
    """Features as the regression sees them: standardised, thumbnails as principal components."""

    x: Floats
    penalties: Floats
    back: Floats  # (K, F): from weights of x to weights of the features
    offset: Floats  # (F,): the means


def design(features: Floats, *, embedded: int = 0, views: int = 0) -> Design:
    """Features (N, F) of pictures, then `embedded` of embeddings, four lengths first, then `views` of their spread."""
    width = features.shape[1]
    mean = features.mean(axis=0)
    pixels = slice(MEASURES, MEASURES + quality.THUMB**2)
    centred = features - mean
    _, _, basis = np.linalg.svd(centred[:, pixels], full_matrices=False)
    maps = np.zeros((width - (pixels.stop - pixels.start) + THUMB_COMPONENTS, width))
    maps[:MEASURES, :MEASURES] = np.eye(MEASURES)
    maps[MEASURES : MEASURES + THUMB_COMPONENTS, pixels] = basis[:THUMB_COMPONENTS]
    maps[MEASURES + THUMB_COMPONENTS :, pixels.stop :] = np.eye(width - pixels.stop)
    spread = (centred @ maps.T).std(axis=0)[:, None]
    maps = np.where(spread > 1e-6, maps / np.maximum(spread, 1e-6), 0.0)  # what is the same everywhere says nothing
    kinds = [("measures", MEASURES), ("thumbs", THUMB_COMPONENTS)]
    if embedded:
        kinds += [("lengths", 4), ("embedding", embedded - 4), ("spread", views)]
    penalties = np.concatenate([np.full(count, PENALTIES[kind]) for kind, count in kinds])
    return Design(centred @ maps.T, penalties, maps, mean)


def ridge(x: Floats, penalties: Floats, pairs: Pairs, chosen: npt.NDArray[np.bool_]) -> tuple[Floats, float]:
    """Weights and bias, so that the sum over both faces is the squared distance."""
    i, j, w = pairs.first[chosen], pairs.second[chosen], pairs.weight[chosen]
    rows = np.concatenate([x[i] + x[j], np.full((len(i), 1), 2.0)], axis=1) / 2
    left = (rows * w[:, None]).T @ rows + np.diag([*penalties, 0.0])
    solution = np.linalg.solve(left, (rows * w[:, None]).T @ pairs.distance[chosen] ** 2)
    return solution[:-1], float(solution[-1])


def halves(names: npt.NDArray[np.str_], seed: int) -> npt.NDArray[np.int64]:
    """(N,) 0 or 1: by person."""
    return np.array([hashlib.sha256(f"{seed} {name}".encode()).digest()[0] % 2 for name in names])


def cross_fitted(d: Design, pairs: Pairs, half: npt.NDArray[np.int64]) -> Floats:
    """(N,) scores (higher is better), of each half by what was fitted to the other."""
    score = np.zeros(len(d.x))
    for h in (0, 1):
        weights, bias = ridge(d.x, d.penalties, pairs, half[pairs.first] == h)
        score[half != h] = -(d.x @ weights + bias)[half != h]
    return score


def features_of(faces: dict[str, Any], m: dict[str, Any]) -> tuple[Floats, Floats, Floats]:
    """Features of the pictures, those with the embeddings, and the mean embedding."""
    plain = picture_features(quality.Measures(**m), faces["landmarks"], faces["score"])
    mean = faces["fast"].mean(axis=0, dtype=np.float64)
    return plain, np.concatenate([plain, embedding_features(faces["fast"], mean)], axis=1), mean


def designs(faces: dict[str, Any], m: dict[str, Any]) -> dict[str, Design]:
    plain, both, _ = features_of(faces, m)
    embedded, spread = both.shape[1] - plain.shape[1], spread_features(faces["spread"])
    viewed = np.concatenate([both, spread], axis=1)
    return {
        "picture": design(plain),
        "embedded": design(both, embedded=embedded),
        "viewed": design(viewed, embedded=embedded, views=spread.shape[1]),
    }


def report(cache: Path, splits: int) -> None:
    """Error versus discard, cross-fitted."""
    faces, m = read(cache)
    pairs = Pairs.of(faces["fast"].astype(np.float64), faces["names"])
    base = pairs.fnmr(np.zeros(pairs.n), 0.0)
    say(f"threshold {pairs.threshold:.4f}, {len(pairs.distance):,}, FNMR {base[0]:.4f}, by people {base[1]:.4f}\n")
    for name, d in designs(faces, m).items():
        gains = []
        for seed in range(FIRST_SPLIT, FIRST_SPLIT + splits):
            score = cross_fitted(d, pairs, halves(faces["names"], seed))
            gains.append([1 - a / b for a, b in zip(pairs.fnmr(score, 0.1), base, strict=True)])
            if seed == FIRST_SPLIT:
                curve = [pairs.fnmr(score, share) for share in (0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)]
                say(f"{name}: all pairs  " + " ".join(f"{100 * all_:.2f}" for all_, _ in curve) + "\n")
                say(f"{name}: by people  " + " ".join(f"{100 * person:.2f}" for _, person in curve) + "\n")
        low, mean, high = np.min(gains, axis=0), np.mean(gains, axis=0), np.max(gains, axis=0)
        say(f"{name}: the worst tenth takes {100 * mean[0]:.1f} % ({100 * low[0]:.0f} to {100 * high[0]:.0f}) of all")
        say(f" errors, {100 * mean[1]:.1f} % ({100 * low[1]:.0f} to {100 * high[1]:.0f}) by people; {splits} splits\n")


def fit(cache: Path, out: Path) -> None:
    """Fit to everybody, and write the coefficients."""
    faces, m = read(cache)
    pairs = Pairs.of(faces["fast"].astype(np.float64), faces["names"])
    arrays: dict[str, Any] = {"embedder": np.array(EMBEDDER), "mode": np.array("fast")}
    everybody = np.ones(len(pairs.first), dtype=bool)
    for name, d in designs(faces, m).items():
        weights, bias = ridge(d.x, d.penalties, pairs, everybody)
        folded = weights @ d.back
        logistic = calibrated(cross_fitted(d, pairs, halves(faces["names"], 0)), pairs)
        arrays[name] = np.float32([*-folded, float(folded @ d.offset) - bias, *logistic])
        say(f"{name}: logistic {logistic}\n")
    arrays["mean"] = features_of(faces, m)[2].astype(np.float32)
    arrays["occlusion"] = fit_occlusion(faces).astype(np.float16)
    with written_whole(out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def calibrated(score: Floats, pairs: Pairs) -> tuple[float, float]:
    """(slope, intercept) of the chance that a face matches another one, by its cross-fitted score."""
    each = np.concatenate([score[pairs.first], score[pairs.second]])
    matched = np.concatenate([~pairs.missed, ~pairs.missed])
    weight = np.concatenate([pairs.weight, pairs.weight])
    chosen = np.random.default_rng(0).choice(len(each), 40_000, p=weight / weight.sum())
    slope, intercept = metrics.fit_logistic(each[chosen], matched[chosen])  # at even odds
    share = float((matched * weight).sum() / weight.sum())
    return slope, intercept + float(np.log(share / (1 - share)))


# --- Occlusion: things drawn on


def fit_occlusion(faces: dict[str, Any]) -> Floats:
    """Ridge regression of the covered share; prints how it fares on the other half of the people."""
    grey = np.stack(list(grey_crops(faces)))
    half = halves(faces["names"], 0)
    rng = np.random.default_rng(0)
    drawn = [covered(crop, grey[int(rng.integers(len(grey)))], rng) for crop in grey]
    thumbs = quality.thumbnails(np.concatenate([grey, np.stack([crop for crop, _, _ in drawn])]))
    share = np.array([0.0] * len(grey) + [share for _, share, _ in drawn])
    kind = np.array(["clean"] * len(grey) + [kind for _, _, kind in drawn])
    x, half = occlusion_features(_thumbs_only(thumbs)), np.concatenate([half, half])
    for name in ("mask", "glasses", "side", "patch", "all"):
        train, test = half == 0, (half == 1) & np.isin(kind, ["clean", name] if name != "all" else kind)
        train &= (kind != name) | (name == "all")  # each kind by what was fitted without it
        answer = np.clip(x @ _solve(x[train], share[train]), 0, 1)
        shown = answer[test & (share > 0.15)], answer[test & (share == 0)]
        auc = metrics.auc(metrics.roc(np.concatenate(shown), np.arange(sum(map(len, shown))) < len(shown[0])))
        told = [f"{100 * (part > 0.3).mean():.1f} %" for part in shown]
        error = np.abs(answer - share)[test].mean()
        say(f"occlusion {name}: AUC {auc:.3f}; over 0.3: {told[0]} covered, {told[1]} not; mean error {error:.3f}\n")
    return _solve(x, share)


def _solve(x: Floats, y: Floats) -> Floats:
    return np.linalg.solve(x.T @ x + 300.0 * np.eye(x.shape[1]), x.T @ y)


def _thumbs_only(thumbs: Floats) -> quality.Measures:
    none = np.zeros(len(thumbs))
    return quality.Measures(*([none] * 11), thumbs=thumbs)


def grey_crops(faces: dict[str, Any]) -> Iterator[npt.NDArray[np.uint8]]:
    template = np.array(CENTERFACE_TEMPLATE, dtype=np.float32)
    for i in range(len(faces["paths"])):
        image, face = picture(faces, i)
        crop = align.extract_crops(image, align.crop_transforms(face, template, quality.SIDE), quality.SIDE)[0]
        yield cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)


def covered(crop: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], rng: np.random.Generator) -> tuple[Any, ...]:
    """A crop with a mask, glasses, a covered side or a patch drawn on: (crop, share of the face, kind)."""
    mask = np.zeros(crop.shape, np.uint8)
    kind = str(rng.choice(["mask", "glasses", "side", "patch"]))
    jitter = lambda spread: int(rng.normal(0, spread))  # noqa: E731
    if kind == "mask":
        top = 74 + jitter(5)
        outline = [
            (22 + jitter(4), top),
            (74, top - 8),
            (127 + jitter(4), top),
            (118, 150),
            (30, 150),
        ]
        cv2.fillPoly(mask, [np.array(outline)], 1)
    elif kind == "glasses":
        for x in (47, 102):
            cv2.ellipse(mask, (x + jitter(2), 48 + jitter(2)), (24 + jitter(2), 17 + jitter(2)), 0, 0, 360, 1, -1)
        cv2.line(mask, (60, 44), (90, 44), 1, 4)
    elif kind == "side":
        edge = 75 + jitter(12)
        mask[:, :edge] = 1
        if rng.random() < 0.5:
            mask[:] = mask[:, ::-1].copy()
    else:
        box = ((75 + jitter(25), 80 + jitter(25)), (55 + jitter(15), 60 + jitter(15)), float(rng.uniform(0, 180)))
        cv2.fillPoly(mask, [cv2.boxPoints(box).astype(np.int32)], 1)
    drawn = np.where(mask > 0, filling(other, rng, dark=kind == "glasses"), crop)
    return drawn.astype(np.uint8), float(mask[20:130, 25:125].mean()), kind


def filling(other: npt.NDArray[np.uint8], rng: np.random.Generator, *, dark: bool) -> Floats:
    """What covers: an even tone, a slope, noise, or a piece of another picture."""
    level = rng.uniform(0, 60) if dark else rng.uniform(0, 255)
    slope = np.add.outer(np.linspace(-1, 1, 150) * rng.normal(0, 25), np.linspace(-1, 1, 150) * rng.normal(0, 25))
    plain = level + slope + rng.normal(0, rng.uniform(0, 8), (150, 150))
    turned = np.rot90(other, int(rng.integers(1, 4))).astype(np.float64)
    return np.clip(turned if not dark and rng.random() < 0.3 else plain, 0, 255)


# --- Where advice begins


def limits(cache: Path, people: int) -> None:
    """FNMR of pictures made worse, against the other pictures of the person, by what is measured of them."""
    faces, _ = read(cache)
    names, first, count = np.unique(faces["names"], return_index=True, return_counts=True)
    several = np.flatnonzero((count >= 2) & (count <= 10))[:people]
    pairs = Pairs.of(faces["fast"].astype(np.float64), faces["names"])
    embedder = FaceAnalyzer(only=("detect", "embed"), threads=1).embedder
    worse: dict[str, tuple[Callable[[Any, Any], Any], tuple[float, ...]]] = {
        "dark": (lambda x, image: (image * x).astype(np.uint8), (1, 0.5, 0.3, 0.2, 0.1, 0.05)),
        "bright": (lambda x, image: np.clip(image * x, 0, 255).astype(np.uint8), (1.5, 2.0, 3.0, 4.0)),
        "blur": (lambda x, image: cv2.GaussianBlur(image, (0, 0), x), (1, 2, 3, 4, 5)),
        "side": (side_lit, (0.5, 0.7, 0.85, 0.95)),
        "eyes": (shrunk, (0.5, 0.35, 0.25, 0.2, 0.15)),
    }
    for name, (change, levels) in worse.items():
        for level in levels:
            which = zip(first[several], names[several], strict=True)
            say(f"{name} {level:g}: {degraded(faces, which, partial(change, level), pairs, embedder)}\n")


def degraded(faces: Any, chosen: Any, change: Any, pairs: Pairs, embedder: Any) -> str:
    distances, measured = [], []
    for i, name in chosen:
        image, face = picture(faces, int(i))
        image = np.ascontiguousarray(change(image))
        measured.append(measure(image, face))
        vector = embedder([image], [face])[0].embeddings[0]
        others = np.flatnonzero((faces["names"] == name) & (np.arange(len(faces["names"])) != i))
        distances.append(np.mean(np.linalg.norm(faces["fast"][others] - vector, axis=1) > pairs.threshold))
    shown = [
        f"{key} {np.median([getattr(m, key)[0] for m in measured]):.3g}"
        for key in ("detail", "brightness", "bright", "eyes")
    ]
    side = np.median([abs(m.side_light[0]) for m in measured])
    return f"FNMR {np.mean(distances):.3f}; medians: {', '.join(shown)}, side {side:.2f}"


def side_lit(strength: float, image: Any) -> Any:
    """Darker to the left."""
    ramp = np.clip(np.linspace(-0.5, 1.5, image.shape[1]), 0, 1)[None, :, None]
    return (image * (1 - strength * (1 - ramp))).astype(np.uint8)


def shrunk(scale: float, image: Any) -> Any:
    """As far away: made small, and large again."""
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


# --- The generic face


def shape(cache: Path, rounds: int = 10) -> None:
    """Print the face of mien.ops.pose: factorisation of the landmarks and their mirror images."""
    found = np.load(cache / "faces.npz")["landmarks"].astype(np.float64)
    mirrored = (found * [-1, 1])[:, [1, 0, 2, 4, 3]]
    points = np.concatenate([found, mirrored])
    points -= points.mean(axis=1, keepdims=True)
    points /= np.linalg.norm(points, axis=(1, 2), keepdims=True)
    kept = np.ones(len(points), dtype=bool)
    for _ in range(rounds):  # without the twentieth that fits worst
        face = factorised(points[kept])
        affine = np.einsum("kp,npd->ndk", np.linalg.pinv(face - face.mean(axis=0)), points)
        left, scales, right = np.linalg.svd(affine, full_matrices=False)
        fitted = scales.mean(axis=1)[:, None, None] * np.einsum("pk,ndk->npd", face - face.mean(axis=0), left @ right)
        error = np.linalg.norm(points - fitted, axis=(1, 2))
        kept = error < np.quantile(error, 0.95)
    say(f"{np.round(face, 3).tolist()}\n")


def factorised(points: Floats) -> Floats:
    """(5, 3) by Tomasi and Kanade; x along the eyes, y down, the nose towards the camera."""
    u, s, v = np.linalg.svd(points.transpose(0, 2, 1).reshape(-1, 5), full_matrices=False)
    rows = (u[:, :3] * s[:3]).reshape(-1, 2, 3)
    a, b = rows[:, 0], rows[:, 1]
    equations = np.concatenate([_products(a, a) - _products(b, b), _products(a, b)])
    size = (_products(a, a) + _products(b, b)).mean(axis=0)
    metric = np.linalg.solve(equations.T @ equations / len(equations) + 1e-12 * np.eye(6), size)
    q = np.zeros((3, 3))
    q[np.triu_indices(3)] = metric / (size @ metric)
    values, vectors = np.linalg.eigh(q + q.T - np.diag(np.diag(q)))
    face = np.linalg.solve(vectors * np.sqrt(np.maximum(values, 1e-9)), v[:3]).T
    across = face[1] - face[0]
    x = across / np.linalg.norm(across)
    down = face[3] + face[4] - face[0] - face[1]
    down -= x * (down @ x)
    y = down / np.linalg.norm(down)
    face = (face - face[:2].mean(axis=0)) @ np.stack([x, y, np.cross(x, y)], axis=1) / np.linalg.norm(across)
    face[:, 2] *= -np.sign(face[2, 2])  # scaled orthography cannot tell near from far
    return face


def _products(a: Floats, b: Floats) -> Floats:
    """(N, 6): coefficients of a symmetric 3 x 3 matrix q, of its upper half, in a q b."""
    outer = np.einsum("ni,nj->nij", a, b)
    outer = outer + outer.transpose(0, 2, 1)
    return outer[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]] * [0.5, 1, 1, 0.5, 1, 0.5]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["faces", "shape", "report", "limits", "fit"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("src/mien/models/weights/quality.npz"))
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--people", type=int, default=100)
    a = parser.parse_args()
    a.cache.mkdir(parents=True, exist_ok=True)
    run: dict[str, Callable[[], None]] = {
        "faces": lambda: find_faces(a.data, a.cache),
        "shape": lambda: shape(a.cache),
        "report": lambda: report(a.cache, a.splits),
        "limits": lambda: limits(a.cache, a.people),
        "fit": lambda: fit(a.cache, a.out),
    }
    run[a.what]()


if __name__ == "__main__":
    main()
