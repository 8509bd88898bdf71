"""Train, cross-validate and ship the networks of eyes and mouths: see recipes/eyes.md.

`python recipes/face_parts.py eyes DATA runs/eyes` reads eyes.npz, lfw_dev.zip, utkface_train.zip and ferplus_train.zip
in DATA, and recipes/eyes_labels.csv; `mouth` does the same with recipes/mouth_labels.csv. It cross-validates in five
folds (by person), then trains once more on all of it, and writes src/mien/models/weights/mien-eyes.onnx (or mien-mouth)
and its card.
"""

import csv
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np

import mien
from mien.datasets.base import one_hot
from mien.datasets.patches import LABELS, open_patches, squared
from mien.evaluation.classification import classification_report
from mien.evaluation.metrics import auc, roc
from mien.models import face_parts
from mien.models.base import CropSpec, RuntimeOptions
from mien.models.cards import embed_card, write_card_beside
from mien.models.classifier import CropClassifier
from mien.training.crops import Crops
from mien.training.options import TrainingOptions
from mien.training.run import TrainingData, train
from mien.types import Faces, ImageArray

WEIGHTS = Path("src/mien/models/weights")
ARCHIVES = {"lfw": "lfw_dev.zip", "utk": "utkface_train.zip", "fer": "ferplus_train.zip"}
SIZE = 32
FOLDS = 5
ASSUMED_OPEN = {"lfw": 350, "utk": 350, "fer": 300}
"""Faces drawn at random; nearly all have open eyes (recipes/eyes.md says how many have not)."""

# Landmarks in units of the distance between the eyes, as in dlib's crops, from the left eye
FACE = np.array([(0.0, 0.0), (1.0, 0.0), (0.5, 0.583), (0.077, 1.03), (0.923, 1.03)])
FRAMES = {"eyes": (FACE[0], 0.7), "mouth": (np.array([0.5, 1.102]), 1.2)}
"""What lies in the middle of the crop, and how much its side shows."""

OPTIONS = {
    "eyes": TrainingOptions(
        architecture="tiny-wide", crop_size=SIZE, epochs=14, batch=64, augment=1.0, balance_power=0.7, metric="loss"
    ),
    "mouth": TrainingOptions(
        architecture="tiny", crop_size=SIZE, epochs=9, batch=64, augment=1.2, balance_power=0.8, metric="loss"
    ),
}


@dataclass
class Samples:
    """Crops with what they show, whose they are, and where they come from."""

    pixels: ImageArray
    is_open: np.ndarray
    people: np.ndarray
    source: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "Samples":
        return Samples(self.pixels[chosen], self.is_open[chosen], self.people[chosen], self.source[chosen])


def crop_spec(part: str) -> CropSpec:
    """How faces are cut for this part."""
    middle, side = FRAMES[part]
    places = (FACE - middle) / side * SIZE + (SIZE - 1) / 2
    return CropSpec(SIZE, tuple((round(float(x), 2), round(float(y), 2)) for x, y in places))


class Pictures:
    """Faces of the pictures in the archives, by names such as lfw/NAME_0001.jpg."""

    def __init__(self, folder: Path) -> None:
        self._archives = {key: zipfile.ZipFile(folder / name) for key, name in ARCHIVES.items()}
        self.members = {
            f"{key}/{Path(member).name}": (key, member)
            for key, archive in self._archives.items()
            for member in archive.namelist()
            if member.endswith((".jpg", ".png"))
        }
        self._detector = mien.FaceAnalyzer(only=["detect"], threshold=0.4, threads=1)

    def face(self, name: str) -> tuple[ImageArray, Faces]:
        """The picture and its central face; FER+'s are enlarged four times, with a margin, to find it."""
        key, member = self.members[name]
        image = mien.load_image(self._archives[key].read(member))
        if key == "fer":
            margin = cv2.copyMakeBorder(image, 12, 12, 12, 12, cv2.BORDER_REPLICATE)
            image = np.asarray(cv2.resize(margin, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR))
        faces = self._detector(image)
        if not len(faces):
            return image, faces
        middle = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - np.array(faces.image_size) / 2
        return image, faces[int(np.abs(middle).sum(axis=1).argmin())]


def person(name: str, same_as: dict[str, str]) -> str:
    """Whose picture it is; other sets than LFW do not say, and FER+ has many pictures twice."""
    return name.rpartition("_")[0] if name.startswith("lfw/") else same_as.get(name) or name


def code(name: str) -> str:
    """What the labels call a picture: LFW's names are people's, and stand there as hashes."""
    return f"lfw/{sha256(name.encode()).hexdigest()[:20]}" if name.startswith("lfw/") else name


def labelled(part: str, column: str, pictures: Pictures) -> dict[str, str]:
    """A column of the labels, by the name of the picture."""
    names = {code(name): name for name in pictures.members}
    with Path(f"recipes/{part}_labels.csv").open(encoding="utf-8", newline="") as file:
        return {names[row["picture"]]: row.get(column, "") for row in csv.DictReader(file)}


def cut_all(part: str, answers: dict[str, bool], pictures: Pictures, source: str) -> Samples:
    """The crops of this part of all these faces."""
    same_as = labelled(part, "same_as", pictures)
    crop = crop_spec(part)
    cuts: list[Callable[..., list[ImageArray]]] = (
        [face_parts.left_eyes, face_parts.right_eyes] if part == "eyes" else [face_parts.mouths]
    )
    pixels, is_open, people = [], [], []
    for name, answer in answers.items():
        image, faces = pictures.face(name)
        for cut in cuts:
            pixels += [cv2.cvtColor(found, cv2.COLOR_RGB2GRAY) for found in cut([image], [faces], crop)[0]]
            is_open += [answer] * len(faces)
            people += [person(name, same_as)] * len(faces)
    print(f"{source}: {len(pixels)} crops of {len(answers)} pictures, {sum(is_open)} open", flush=True)
    return Samples(np.stack(pixels), np.array(is_open), np.array(people), np.array([source] * len(pixels)))


def samples(part: str, folder: Path) -> Samples:
    """All that is learnt from."""
    pictures = Pictures(folder)
    labels, found = labelled(part, "label", pictures), labelled(part, "found", pictures)
    parts = []
    for how in sorted(set(found.values())):
        known = {name: label == "open" for name, label in labels.items() if label in LABELS and found[name] == how}
        parts.append(cut_all(part, known, pictures, how or "chosen"))
    if part == "eyes":
        drawn = drawn_at_random(pictures, labels)
        parts += [cut_all(part, dict.fromkeys(drawn, True), pictures, "assumed open"), patches(folder)]
    return Samples(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("pixels", "is_open", "people", "source")))


def drawn_at_random(pictures: Pictures, labels: dict[str, str]) -> list[str]:
    """Names of pictures that nobody looked at."""
    rng = np.random.default_rng(0)
    names = sorted(pictures.members.keys() - labels.keys())
    return [
        str(name)
        for key, count in ASSUMED_OPEN.items()
        for name in rng.choice([name for name in names if name.startswith(key)], count, replace=False)
    ]


def patches(folder: Path) -> Samples:
    """The labelled patches; nobody says whose they are."""
    found = open_patches(folder / "eyes.npz")
    pixels = np.stack([squared(found.read(i), SIZE)[:, :, 0] for i in range(len(found))])
    names = np.array([f"patch {sha256(pixels[i]).hexdigest()}" for i in range(len(found))])
    return Samples(pixels, found.truth == 1, names, np.array(["patches"] * len(found)))


def share(people: np.ndarray, parts: int, salt: str) -> np.ndarray:
    """(N,) the part in which each person is, by a hash of the name."""
    return np.array([int(sha256(f"{salt}{name}".encode()).hexdigest(), 16) % parts for name in people])


def crops(found: Samples, name: str, *, repeat: bool) -> Crops:
    """As the loop takes them; patches, and mouths, are shown more often."""
    often = {"patches": 8, "chosen": 1 if "patches" in found.source else 3, "drawn": 3}
    times = np.array([often.get(source, 1) if repeat else 1 for source in found.source])
    chosen = np.repeat(np.arange(len(times)), times)
    truth = found.is_open[chosen].astype(np.int64)
    return Crops(LABELS, found.pixels[chosen], one_hot(truth, 2), truth, name, "as labelled")


def fit(part: str, found: Samples, folder: Path) -> CropClassifier:
    """Train on nine tenths of the people; the other tenth chooses the epoch and sets the temperature."""
    held = share(found.people, 10, "held") == 0
    data = TrainingData(crops(found[~held], part, repeat=True), crops(found[held], "a tenth", repeat=False))
    folder.mkdir(parents=True, exist_ok=True)
    options = replace(OPTIONS[part], threads=1)
    return CropClassifier(train(data, options, folder, name=face_parts.SHIPPED[part]).model, RuntimeOptions(threads=1))


def cross_validated(part: str, found: Samples, folder: Path) -> dict[str, dict[str, float]]:
    """Figures on crops of people whom the network that answers has not seen, by where the crops come from."""
    fold = share(found.people, FOLDS, "fold")
    chances = np.zeros(len(fold))
    for i in range(FOLDS):
        network = fit(part, found[fold != i], folder / f"fold-{i}")
        chances[fold == i] = network(np.repeat(found.pixels[fold == i, :, :, None], 3, axis=3))[:, 1]
        print(f"fold {i}: {np.mean((chances >= 0.5)[fold == i] == found.is_open[fold == i]):.4f}", flush=True)
    np.savez(folder / "cross-validation.npz", chances=chances, **vars(found))
    groups = {"patches": "eyes.npz, 5-fold", "drawn": "faces drawn at random, 5-fold by person"}
    groups["chosen"] = "faces chosen as hard, 5-fold by person"
    return {
        title: figures(chances[found.source == source], found.is_open[found.source == source])
        for source, title in groups.items()
        if source in found.source
    }


def figures(chances: np.ndarray, is_open: np.ndarray) -> dict[str, float]:
    """What the card says."""
    report = classification_report(np.column_stack([1 - chances, chances]), is_open.astype(np.int64), LABELS)
    found = {
        "accuracy": report.accuracy,
        "tpr": report.per_class["open"].recall,
        "fpr": 1 - report.per_class["closed"].recall,
        "auc": auc(roc(chances, is_open)),
        "ece": report.ece,
    }
    return {name: round(float(value), 4) for name, value in found.items()} | {"n": len(chances)}


ABOUT = {
    "eyes": {
        "summary": "eyes open or closed, from crops of single eyes; trained by this project",
        "training_data": (
            "200 labelled patches of eyes; eyes of faces of LFW, UTKFace and FER+ that were labelled by eye"
            " (recipes/eyes_labels.csv), and of faces drawn at random, which were taken for open"
        ),
        "limits": (
            "For blinks and liveness challenges, not for judging whether somebody is tired, drunk, or attentive. Eyes"
            " that look down, squint or laugh are between open and closed, and answered either way. Weak behind glasses"
            " that reflect, unknown behind sunglasses; eyes in the dark look closed to it; weak in profile, where the"
            " far eye is hidden, and on faces under about 40 pixels."
        ),
    },
    "mouth": {
        "summary": "mouth open or closed, from crops of mouths; trained by this project",
        "training_data": "mouths of faces of LFW and UTKFace that were labelled by eye (recipes/mouth_labels.csv)",
        "limits": (
            "Open means that the jaw is lowered; smiles with closed teeth are closed. Lips that are slightly parted are"
            " between, and answered either way. Misses a third of plainly open mouths among faces drawn at random, and"
            " most in profile or behind a microphone. Weak behind beards and hands, and on faces under about 40 pixels."
        ),
    },
}


def main(part: str, data: Path, folder: Path) -> None:
    """Measure, train, and put the network into the package."""
    found = samples(part, data)
    measured = cross_validated(part, found, folder)
    for title, row in measured.items():
        print(title, row)
    network = fit(part, found, folder / "shipped")
    card = replace(
        network.card,
        task=part,
        crop=crop_spec(part),
        threshold=0.0,
        metrics=measured,
        calibration="a tenth of the people",
        licence="Apache-2.0 for the weights; the pictures of LFW, UTKFace and FER2013 are for research",
        commercial_use=False,
        origin="trained by this project: recipes/eyes.md",
        **ABOUT[part],
    )
    target = WEIGHTS / f"{card.name}.onnx"
    target.write_bytes(embed_card((folder / "shipped" / "model.onnx").read_bytes(), card))
    write_card_beside(target, card)
    print(target, target.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
