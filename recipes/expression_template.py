"""Where the detector's five landmarks fall in the pictures of FER+: the framing that the expression model is made for.

    python recipes/expression_template.py ferplus_train.zip

FER+ pictures are 48 x 48 grey crops that an old detector framed. A model that learns from them must see faces of real
photographs framed alike, so its crop template is the place of our detector's landmarks in them: the mean over upright
frontal faces, made symmetric about the vertical centre line. Prints it with its spread, before and after aligning
each face to it: what aligning takes away is framing, what is left are the faces themselves and the detector's error.
"""

import argparse
import zipfile
from pathlib import Path

import cv2
import numpy as np

from mien.analyzer import FaceAnalyzer
from mien.ops.align import apply, similarity_transforms

SIDE = 48
ZOOM = 4
BORDER = 12  # of replicated pixels on each side: the detector wants some room about a face
BATCH = 16
NAMES = ["left eye", "right eye", "nose", "left mouth corner", "right mouth corner"]
MIRRORED = [1, 0, 2, 4, 3]  # where each landmark is in the mirrored picture


def pictures(path: Path, count: int, seed: int) -> list[np.ndarray]:
    """(48, 48) uint8 pictures of the training part, chosen at random."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        chosen = np.random.default_rng(seed).choice(len(names), min(count, len(names)), replace=False)
        return [
            cv2.imdecode(np.frombuffer(archive.read(names[i]), np.uint8), cv2.IMREAD_GRAYSCALE) for i in sorted(chosen)
        ]


def enlarged(picture: np.ndarray) -> np.ndarray:
    """(S, S, 3): with a border, `ZOOM` times as large."""
    bordered = cv2.copyMakeBorder(picture, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
    large = cv2.resize(bordered, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    return np.repeat(large[:, :, None], 3, axis=2)


def reduced(points: np.ndarray) -> np.ndarray:
    """From pixels of the enlarged picture to pixels of the 48 x 48 one; pixel centres at integers in both."""
    return (points + 0.5) / ZOOM - 0.5 - BORDER


def frontal(points: np.ndarray) -> np.ndarray:
    """(N,) bool: which (N, 5, 2) landmarks are those of an upright face that looks at the camera, roughly."""
    eyes = points[:, 1] - points[:, 0]
    distance = np.linalg.norm(eyes, axis=1)
    tilt = np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))
    along = eyes / distance[:, None]
    middle = points[:, [0, 1, 3, 4]].mean(axis=1)
    turned = ((points[:, 2] - middle) * along).sum(axis=1) / distance  # the nose, off the middle
    return (np.abs(tilt) < 10) & (np.abs(turned) < 0.12)


def table(title: str, points: np.ndarray) -> list[str]:
    """The landmarks' places and spread."""
    deviation = 1.4826 * np.median(np.abs(points - np.median(points, axis=0)), axis=0)
    lines = [title, f"  {'':20} {'mean':>14} {'median':>14} {'sd':>12} {'1.48 mad':>12}"]
    pairs = zip(NAMES, points.mean(0), np.median(points, axis=0), points.std(0), deviation, strict=True)
    for name, *values in pairs:
        lines.append(f"  {name:20} " + " ".join(f"{x:6.2f},{y:6.2f} " for x, y in values))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="ferplus_train.zip")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--min-score", type=float, default=0.5, help="lowest score of a face that counts")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    detector = FaceAnalyzer(only=["detect"], threads=1).detector
    chosen = pictures(options.archive, options.count, options.seed)
    found, scores = [], []
    for start in range(0, len(chosen), BATCH):
        for faces in detector([enlarged(picture) for picture in chosen[start : start + BATCH]]):
            good = faces[faces.scores >= options.min_score]
            centres = reduced(good.boxes.reshape(-1, 2, 2)).mean(axis=1)
            good = good[np.abs(centres - (SIDE - 1) / 2).max(axis=1) < SIDE / 6]
            if len(good) == 1:
                found.append(reduced(good.landmarks[0]))
                scores.append(good.scores[0])
    everyone = np.array(found, dtype=np.float64)
    points = everyone[frontal(everyone)]

    flipped = np.stack([SIDE - 1 - points[..., 0], points[..., 1]], axis=-1)[:, MIRRORED]
    template = np.median(np.concatenate([points, flipped]), axis=0)
    template = np.round((template + np.stack([SIDE - 1 - template[:, 0], template[:, 1]], -1)[MIRRORED]) / 2, 2)
    transforms = similarity_transforms(points, template)
    aligned = apply(transforms, points)
    scale = np.hypot(transforms[:, 0, 0], transforms[:, 1, 0])
    angle = np.degrees(np.arctan2(transforms[:, 1, 0], transforms[:, 0, 0]))
    centre = np.full((len(points), 1, 2), (SIDE - 1) / 2)
    shift = apply(transforms, centre)[:, 0] - centre[:, 0]

    print(f"pictures {len(chosen)}, one central face of score >= {options.min_score}: {len(everyone)}")
    print(f"mean score {np.mean(scores):.3f}; upright and frontal, used: {len(points)}")
    print("\n".join(table("all of them, 48-pixel coordinates", everyone)))
    print("\n".join(table("used", points)))
    print("\n".join(table("used, each aligned to the template", aligned)))
    (x, y), (sd_x, sd_y) = shift.mean(axis=0), shift.std(axis=0)
    print("framing, mean and standard deviation:")
    print(f"  scale x {scale.mean():.3f} +- {scale.std():.3f}, angle {angle.mean():.2f} +- {angle.std():.2f} degrees")
    print(f"  shift of the centre {x:.2f} +- {sd_x:.2f}, {y:.2f} +- {sd_y:.2f} pixels")
    print("mean of both mirrorings:", np.round(np.concatenate([points, flipped]).mean(axis=0), 2).tolist())
    print("template (median, symmetric):", tuple(map(tuple, template.tolist())))


if __name__ == "__main__":
    main()
