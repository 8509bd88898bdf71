"""Derives the constants of face verification from lfw_dev, and measures them.

    python recipes/verification.py --data ../shared/data --cache DIR

Needs `pip install dlib-bin` (development only: its detector and points are the reference). Writes
DIR/dlib_density.npz and prints the constants of mien.models.dlib_landmarks, the view sets, and the figures of LOG.md.

Tuned on T2: all genuine pairs of lfw_dev that lfw_dev_pairs.txt does not list (22,833 of 241 people, 15 a person at
most by weight), against 1.6 million pairs of different people.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import dlib
import numpy as np
import numpy.typing as npt

from mien.models import registry
from mien.models.base import CropView, RuntimeOptions
from mien.models.centerface import CenterFace
from mien.models.density import DensityScale
from mien.models.dlib_landmarks import (
    CENTERFACE_TEMPLATE,
    CHIP_TEMPLATE,
    RECORD,
    DlibLandmarks,
    chip_transforms,
    dlib_boxes,
    read_forests,
)
from mien.models.store import WeightsStore
from mien.ops import align
from mien.ops.tint import tint_grey

Array = npt.NDArray[np.float64]
SIZE = 250
FAST = (CropView(scale=1.05, rotation=3, mirrored=True), CropView(scale=1.05, rotation=-3))
ACCURATE = (
    CropView(),
    CropView(mirrored=True),
    CropView(scale=1.05, rotation=3),
    *FAST,
    CropView(scale=1.05, rotation=-3, mirrored=True),
    CropView(scale=1.06),
    CropView(scale=1.06, mirrored=True),
    CropView(shift=(-0.02, -2 / 150), scale=1.03, mirrored=True),
    CropView(shift=(0.02, 2 / 150), scale=1.03),
)


@dataclass
class Lfw:
    """Pictures, the person of each, and the listed pairs."""

    images: npt.NDArray[np.uint8]
    person: npt.NDArray[np.intp]
    pairs: npt.NDArray[np.intp]  # (P, 2)
    same: npt.NDArray[np.bool_]
    fold: npt.NDArray[np.intp]


def load(data: Path) -> Lfw:
    with zipfile.ZipFile(data / "lfw_dev.zip") as archive:
        files = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        decoded = [cv2.imdecode(np.frombuffer(archive.read(f), np.uint8), cv2.IMREAD_COLOR) for f in files]
    images = np.stack(decoded)[..., ::-1]
    stems = [Path(f).stem for f in files]
    index = {stem: i for i, stem in enumerate(stems)}
    lines = [line.split() for line in (data / "lfw_dev_pairs.txt").read_text().splitlines()]
    a, b, same = [], [], []
    for words in lines[1:]:
        first, last = words[0], words[0] if len(words) == 3 else words[2]
        a.append(index[f"{first}_{int(words[1]):04d}"])
        b.append(index[f"{last}_{int(words[-1]):04d}"])
        same.append(len(words) == 3)
    fold = np.arange(len(a)) // (2 * int(lines[0][1]))
    person = np.unique([stem[:-5] for stem in stems], return_inverse=True)[1]
    return Lfw(images, person, np.stack([a, b], axis=1), np.array(same), fold)


def detect(images: npt.NDArray[np.uint8], store: WeightsStore) -> Array:
    """(N, 5, 2) landmarks of the central face, at the pictures' own size; NaN where there is none."""
    network = registry.load(registry.entry("centerface"), store, RuntimeOptions())
    assert isinstance(network, CenterFace)
    found = np.full((len(images), 5, 2), np.nan)
    picture = np.zeros((1, 256, 256, 3), np.uint8)
    for i, image in enumerate(images):
        picture[0, :SIZE, :SIZE] = image
        boxes, _, landmarks = network(picture, 0.5)[0]
        if len(boxes):
            found[i] = landmarks[central(boxes)]
    return found


def central(boxes: Array) -> int:
    """The face nearest to the centre; a large one may be a little farther away."""
    away = np.hypot(*((boxes[:, :2] + boxes[:, 2:]) / 2 - (SIZE - 1) / 2).T)
    return int((away - 0.3 * (boxes[:, 2] - boxes[:, 0])).argmin())


def dlib_reference(images: npt.NDArray[np.uint8]) -> Array:
    """(N, 4) boxes of dlib's own detector around the central face."""
    detector = dlib.get_frontal_face_detector()
    boxes = np.full((len(images), 4), np.nan)
    for i, image in enumerate(images):
        found = np.array([[r.left(), r.top(), r.right(), r.bottom()] for r in detector(np.ascontiguousarray(image), 1)])
        if len(found):
            boxes[i] = found[central(found)]
    return boxes


def box_constants(landmarks: Array, boxes: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Shift of the box centre and log of its side in units of the landmarks' spread; and which faces agree."""
    side = boxes[:, 2] - boxes[:, 0]
    relative = (landmarks.mean(axis=1) - boxes[:, :2]) / side[:, None]
    agree = np.abs(relative - np.nanmedian(relative, axis=0)).max(axis=1) < 0.25
    centre = landmarks.mean(axis=1)
    spread = np.sqrt(((landmarks - centre[:, None]) ** 2).sum(axis=(1, 2)) / 5)
    shift = ((boxes[:, :2] + boxes[:, 2:]) / 2 - centre) / spread[:, None]
    return np.column_stack([shift, np.log(side / spread)])[agree].mean(axis=0), agree


def embed(images: npt.NDArray[np.uint8], transforms: Array, view: CropView, store: WeightsStore) -> Array:
    network = registry.load(registry.entry("dlib-resnet"), store, RuntimeOptions())
    moved = [(view.transform(150) @ np.vstack([t, [0, 0, 1]]))[:2] for t in transforms]
    parts = []
    for start in range(0, len(images), 32):
        chunk = zip(images[start : start + 32], moved[start : start + 32], strict=True)
        crops = np.concatenate([align.extract_crops(image, [m], 150) for image, m in chunk])
        crops = np.ascontiguousarray(crops[:, :, ::-1]) if view.mirrored else crops
        parts.append(network(tint_grey(crops)))
    return np.concatenate(parts).astype(np.float64)


def kmeans(x: Array, k: int, seed: int = 0) -> Array:
    """Centres of clusters of at least three faces."""
    rng = np.random.default_rng(seed)
    centres = x[rng.permutation(len(x))[:k]]
    for _ in range(30):
        nearest = ((centres**2).sum(axis=1) - 2 * x @ centres.T).argmin(axis=1)
        centres = np.stack(
            [x[nearest == j].mean(axis=0) if (nearest == j).any() else x[rng.integers(len(x))] for j in range(k)]
        )
    nearest = ((centres**2).sum(axis=1) - 2 * x @ centres.T).argmin(axis=1)
    return centres[np.bincount(nearest, minlength=k) >= 3]


def fit_density(x: Array, person: npt.NDArray[np.intp]) -> DensityScale:
    """Landmarks from one embedding per person."""
    one = x[np.unique(person, return_index=True)[1]]
    centres = kmeans(one, 256)
    distances = (one**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * one @ centres.T
    reference = float(np.partition(distances, 3, axis=1)[:, :4].mean())
    return DensityScale(one.mean(axis=0).astype(np.float32), centres.astype(np.float32), reference, 4, 0.3)


def distance(x: Array, pairs: npt.NDArray[np.intp]) -> Array:
    blocks = np.array_split(pairs, max(1, len(pairs) // 100_000))
    return np.concatenate([np.linalg.norm(x[b[:, 0]] - x[b[:, 1]], axis=1) for b in blocks])


def listed_accuracy(x: Array, lfw: Lfw) -> float:
    """Mean over the folds of lfw_dev_pairs, each with the threshold of the other."""
    d = distance(x, lfw.pairs)
    scores = []
    for fold in (0, 1):
        other, here = lfw.fold != fold, lfw.fold == fold
        order = np.argsort(d[other])
        right = np.cumsum(np.where(lfw.same[other][order], 1, -1))
        best = np.flatnonzero(right == right.max())
        threshold = d[other][order][best[len(best) // 2]]
        scores.append(((d[here] <= threshold) == lfw.same[here]).mean())
    return float(np.mean(scores))


def tuning_figures(x: Array, lfw: Lfw) -> dict[str, float]:
    """Best balanced accuracy, TAR at low false match rates, and the thresholds there, on T2."""
    listed = {tuple(sorted(pair)) for pair in lfw.pairs[lfw.same].tolist()}
    genuine, weight = [], []
    for p in np.unique(lfw.person):
        own = np.flatnonzero(lfw.person == p)
        pairs = [(i, j) for a, i in enumerate(own) for j in own[a + 1 :] if (int(i), int(j)) not in listed]
        genuine += pairs
        weight += [min(15.0 / max(len(pairs), 1), 1.0)] * len(pairs)
    impostor = np.random.default_rng(0).integers(0, len(x), (1_600_000, 2))
    impostor = impostor[lfw.person[impostor[:, 0]] != lfw.person[impostor[:, 1]]]
    far = np.sort(distance(x, impostor))
    d, w = distance(x, np.array(genuine)), np.array(weight) / np.sum(weight)
    order = np.argsort(d)
    balanced = (np.cumsum(w[order]) + 1 - np.searchsorted(far, d[order]) / len(far)) / 2
    figures = {"accuracy": float(balanced.max()), "threshold": float(d[order][balanced.argmax()])}
    for rate in (1e-2, 1e-3, 1e-4):
        threshold = float(far[int(len(far) * rate)])
        figures |= {f"threshold at {rate:g}": threshold, f"TAR at {rate:g}": float(w[d < threshold].sum())}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True)
    arguments = parser.parse_args()
    say = sys.stdout.write
    lfw, store = load(arguments.data), WeightsStore()
    landmarks = detect(lfw.images, store)
    found = np.isfinite(landmarks).all(axis=(1, 2))
    say(f"central faces found: {found.sum()} of {len(found)}\n")

    boxes = dlib_reference(lfw.images)
    constants, agree = box_constants(landmarks, boxes)
    say(f"dlib's boxes: shift and log side {constants.round(4).tolist()} from {agree.sum()} faces\n")
    finder = DlibLandmarks(read_forests(store.path(RECORD.weights).read_bytes()))
    faces = landmarks.astype(np.float32)
    points = np.stack([finder(i, dlib_boxes(f[None]))[0] for i, f in zip(lfw.images, faces, strict=True)])
    chips = align.similarity_transforms(points, np.array(CHIP_TEMPLATE, dtype=np.float32))
    template = np.median(align.apply(chips, faces)[agree], axis=0)
    template = (template + (template * [-1, 1] + [149, 0])[[1, 0, 2, 4, 3]]) / 2
    say(f"CenterFace's landmarks in dlib's chips: {template.round(2).tolist()}, in use {CENTERFACE_TEMPLATE}\n")

    transforms = chip_transforms(points, faces)
    views = {view: embed(lfw.images, transforms, view, store) for view in ACCURATE}
    fast, accurate = (np.mean([views[v] for v in chosen], axis=0) for chosen in (FAST, ACCURATE))
    density = fit_density(fast, lfw.person)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    np.savez(arguments.cache / "dlib_density.npz", **density.to_arrays())
    for name, x in (("fast", fast), ("accurate", accurate)):
        for how, y in (("plain", x), ("density (seen people)", density(x.astype(np.float32)))):
            say(f"{name}, {how}: lfw_dev_pairs {listed_accuracy(y, lfw):.4f}, T2 {tuning_figures(y, lfw)}\n")


if __name__ == "__main__":
    main()
