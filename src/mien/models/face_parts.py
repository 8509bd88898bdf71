"""Eyes and mouth, open or closed: tiny networks on parts of faces, which the detector's landmarks lead to.

Networks are trained by recipes/face_parts.py (recipes/eyes.md). Both are classifiers of the classes "closed" and
"open"; an eye on the right of the picture is shown to its network mirrored, so that it sees one kind of eye only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.answers import Eyes, Mouths
from mien.errors import ModelError
from mien.models import trained
from mien.models.base import CropSpec, ModelEntry, Record, RuntimeOptions, WeightsFile
from mien.models.classifier import ClassifierCard, CropClassifier
from mien.ops import align
from mien.types import Faces, FloatArray, ImageArray, Transforms

Part = Literal["eyes", "mouth"]
LABELS = ("closed", "open")
SHIPPED: dict[Part, str] = {"eyes": "mien-eyes", "mouth": "mien-mouth"}
"""Names of the networks that come with mien."""

_OPEN = LABELS.index("open")
_LEFT_EYE, _RIGHT_EYE, _MOUTH = (0,), (1,), (3, 4)
_OTHER_SIDE = [1, 0, 2, 4, 3]  # the landmarks of a mirrored face


class EyeStates:
    """Says of both eyes of the faces of pictures whether they are open.

    Args:
        record: of the network.
        network: classifies crops of eyes.

    Raises:
        ModelError: the network is for something else.
    """

    def __init__(self, record: Record, network: CropClassifier) -> None:
        check_part(network.card, "eyes")
        self.record = record
        self.network = network

    def __call__(self, images: Sequence[ImageArray], faces: Sequence[Faces]) -> list[Faces]:
        """Look at all eyes of all faces of all pictures in as few network calls as the batch size allows.

        Args:
            images: RGB uint8 (H, W, 3).
            faces: those of each picture.

        Returns:
            The same faces with the state of their eyes.

        Raises:
            ModelError: the network fails, or gives what are no scores.
        """
        crop = self.network.card.crop
        sides = [chance_open(self.network, cut(images, faces, crop)) for cut in (left_eyes, right_eyes)]
        return [f.with_answers(eyes=Eyes(left, right)) for f, left, right in zip(faces, *sides, strict=True)]


class MouthStates:
    """Says of the mouths of the faces of pictures whether they are open.

    Args:
        record: of the network.
        network: classifies crops of mouths.

    Raises:
        ModelError: the network is for something else.
    """

    def __init__(self, record: Record, network: CropClassifier) -> None:
        check_part(network.card, "mouth")
        self.record = record
        self.network = network

    def __call__(self, images: Sequence[ImageArray], faces: Sequence[Faces]) -> list[Faces]:
        """As `EyeStates.__call__`, for mouths."""
        crop = self.network.card.crop
        found = chance_open(self.network, mouths(images, faces, crop))
        return [f.with_answers(mouths=Mouths(chances)) for f, chances in zip(faces, found, strict=True)]


def left_eyes(images: Sequence[ImageArray], faces: Sequence[Faces], crop: CropSpec) -> list[ImageArray]:
    """The eyes on the left of each picture, as a card's crop frames them: (N, S, S, 3) uint8 of its N faces."""
    return _cut(images, faces, crop.template_array(), crop.size, _LEFT_EYE)


def right_eyes(images: Sequence[ImageArray], faces: Sequence[Faces], crop: CropSpec) -> list[ImageArray]:
    """The same of the eyes on the right, mirrored."""
    template = crop.template_array()[_OTHER_SIDE]
    template[:, 0] = crop.size - 1 - template[:, 0]
    return [eyes[:, :, ::-1] for eyes in _cut(images, faces, template, crop.size, _RIGHT_EYE)]


def mouths(images: Sequence[ImageArray], faces: Sequence[Faces], crop: CropSpec) -> list[ImageArray]:
    """The mouths, likewise."""
    return _cut(images, faces, crop.template_array(), crop.size, _MOUTH)


def part_transforms(faces: Faces, template: FloatArray, size: int, centre: Sequence[int]) -> Transforms:
    """From picture to the crop of a part: scale and angle as all landmarks say, place as those of the part do.

    All five together would put the eyes of a turned face beside their crops.

    Args:
        faces: N faces.
        template: (5, 2), xy in crop pixels.
        size: side of the crop.
        centre: positions of the landmarks whose mean comes to lie where the template has it.

    Returns:
        (N, 2, 3) float64, always finite; see `align.crop_transforms`.
    """
    transforms = align.crop_transforms(faces, template, size)
    chosen = list(centre)
    places: npt.NDArray[np.float64] = np.nan_to_num(align.apply(transforms, faces.landmarks)[:, chosen].mean(axis=1))
    off = template[chosen].mean(axis=0) - places
    near = np.abs(off).max(axis=1, initial=0) < size  # else these landmarks are no face's: the others' word counts
    transforms[near, :, 2] += off[near]
    return transforms


def chance_open(network: CropClassifier, crops: Sequence[ImageArray]) -> list[FloatArray]:
    """Several stacks of (N, S, S, 3) crops to (N,) probabilities of "open" for each stack."""
    if not crops:
        return []
    chances = network(np.concatenate(crops))[:, _OPEN]
    return np.split(chances, np.cumsum([len(stack) for stack in crops])[:-1])


def _cut(
    images: Sequence[ImageArray], faces: Sequence[Faces], template: FloatArray, size: int, centre: Sequence[int]
) -> list[ImageArray]:
    """Of all pictures; their transforms are found together, which takes no longer than for one."""
    if not faces:
        return []
    boxes, scores, landmarks = (
        np.concatenate([getattr(f, n) for f in faces]) for n in ("boxes", "scores", "landmarks")
    )
    transforms = part_transforms(Faces(boxes, scores, landmarks, faces[0].image_size), template, size, centre)
    each = np.split(transforms, np.cumsum([len(f) for f in faces])[:-1])
    return [align.extract_crops(image, part, size) for image, part in zip(images, each, strict=True)]


def check_part(card: ClassifierCard, part: Part) -> None:
    """Refuse a network that is not for this part of a face.

    Raises:
        ModelError: its task is another, or its classes are.
    """
    if card.task != part:
        raise ModelError(f"model {card.name!r} is for {card.task!r}, not for {part!r}")
    if card.labels != LABELS:
        raise ModelError(f"model {card.name!r} tells {', '.join(card.labels)} apart, not {' and '.join(LABELS)}")


def open_network(part: Part, path: str | Path, options: RuntimeOptions) -> CropClassifier:
    """A network of the user's own.

    Raises:
        WeightsError: no such file, or not an ONNX file that onnxruntime can run.
        ModelError: it has no card of mien's, or is for something else.
    """
    network = CropClassifier(path, options)
    check_part(network.card, part)
    return network


def bundled(part: Part, folder: Path = trained.WEIGHTS) -> ModelEntry:
    """The entry of the network that comes with mien; see `trained.bundled`."""

    def record(card: ClassifierCard, weights: WeightsFile) -> Record:
        check_part(card, part)
        return trained.record_of(
            card,
            weights,
            part,
            summary=f"tells {' and '.join(LABELS)} {part} apart",
            threshold=card.threshold,
            labels=card.labels,
            temperature=card.temperature,
        )

    return trained.bundled(SHIPPED[part], part, CropClassifier, record, folder)
