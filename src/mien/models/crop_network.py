"""Networks that take crops of faces and carry a card: what all kinds of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from mien.errors import ModelError
from mien.models.base import CropSpec
from mien.models.card_network import CardNetwork, fits, told
from mien.models.cards import CropCard
from mien.ops import align
from mien.ops.softmax import softmax
from mien.types import Faces, FloatArray, ImageArray

_BATCH = 32
AnyCropCard = TypeVar("AnyCropCard", bound=CropCard)


class CropNetwork(CardNetwork[AnyCropCard]):
    """A trained network that takes crops, ready to run; safe to call from several threads.

    Args:
        model: path of an ONNX file, or its bytes; not trusted.
        options: threads and device.

    Attributes:
        card: what the file says about itself.

    Raises:
        WeightsError: no such file, or not an ONNX file of its own that onnxruntime can run.
        ModelError: it has no card, or is not what its card says.
        DeviceError: the device is not there.
    """

    @property
    def size(self) -> int:
        """Side of its crops in pixels."""
        return self.card.crop.size

    @classmethod
    def outputs_of(cls, card: Any) -> Mapping[str, int]:
        """By name: how many logits each output has, by the card."""
        raise NotImplementedError

    def __call__(self, crops: ImageArray) -> Any:
        """Answer for (N, S, S, 3) uint8 RGB crops, each kind of network in its own way."""
        raise NotImplementedError

    def run(self, crops: ImageArray) -> dict[str, FloatArray]:
        """What the network gives, as it is.

        Args:
            crops: (N, S, S, 3) uint8 RGB, cut as the card's crop says.

        Returns:
            By the name of the output: (N, C) float32, finite.

        Raises:
            ModelError: the network fails, or gives what are no logits.
            ValueError: these are no such crops.
        """
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (self.size, self.size, 3):
            raise ValueError(f"crops are {crops.shape} {crops.dtype}, not (N, {self.size}, {self.size}, 3) uint8")
        wanted = self.outputs_of(self.card)
        logits = {name: np.zeros((len(crops), count), dtype=np.float32) for name, count in wanted.items()}
        for start in range(0, len(crops), _BATCH):
            batch = crops[start : start + _BATCH]
            for (name, count), found in zip(wanted.items(), self._session(batch, list(wanted)), strict=True):
                if found.shape != (len(batch), count):
                    raise ModelError(
                        f"model {self.name!r} gives {found.shape} for {len(batch)} crops of {count} classes"
                    )
                logits[name][start : start + _BATCH] = found
        if not all(np.isfinite(values).all() for values in logits.values()):
            raise ModelError(f"model {self.name!r} gives scores that are not finite: its weights are damaged")
        return logits

    def try_out(self) -> None:
        """See `CardNetwork`."""
        self.run(np.zeros((1, self.size, self.size, 3), dtype=np.uint8))

    def check(self, where: str) -> None:
        """Compare what the graph takes and gives with the card."""
        size, outputs = self.size, self._session.outputs
        takes = f"crops (N, {size}, {size}, 3) uint8"
        inputs = self._session.inputs
        if len(inputs) != 1 or not fits(inputs[0], "crops", "tensor(uint8)", (size, size, 3)):
            raise ModelError(f"{where} should take {takes}, and takes {told(inputs)}")
        for name, count in self.outputs_of(self.card).items():
            found = [port for port in outputs if port.name == name]
            if not found or not fits(found[0], name, "tensor(float)", (count,)):
                raise ModelError(f"{where} should give {name} (N, {count}) float32, and gives {told(outputs)}")


def probabilities(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    """(N, C) logits to (N, C) float32 probabilities: rows sum to 1."""
    shares: FloatArray = softmax(logits, temperature).astype(np.float32)
    return shares


def over_faces(
    images: Sequence[ImageArray],
    faces: Sequence[Faces],
    crop: CropSpec,
    run: Callable[[ImageArray], Mapping[str, FloatArray]],
) -> list[dict[str, FloatArray]]:
    """Cut all faces of all pictures, and run a network on them in as few calls as the batch size allows.

    Args:
        images: RGB uint8 (H, W, 3).
        faces: those of each picture.
        crop: how they are cut.
        run: takes (N, S, S, 3) crops, gives arrays of N rows.

    Returns:
        For each picture: the arrays, with a row for each of its faces.
    """
    template = crop.template_array()
    transforms = [align.crop_transforms(f, template, crop.size) for f in faces]
    pending = [(i, k) for i, f in enumerate(faces) for k in range(len(f))]
    parts = []
    for start in range(0, max(len(pending), 1), _BATCH):  # once also where there is no face: for the arrays' shapes
        chunk = pending[start : start + _BATCH]
        crops = [align.extract_crops(images[i], transforms[i][k : k + 1], crop.size) for i, k in chunk]
        parts.append(run(np.concatenate([np.zeros((0, crop.size, crop.size, 3), np.uint8), *crops])))
    ends = np.cumsum([len(f) for f in faces])
    joined = {name: np.split(np.concatenate([part[name] for part in parts]), ends[:-1]) for name in parts[0]}
    return [{name: arrays[i] for name, arrays in joined.items()} for i in range(len(faces))]
