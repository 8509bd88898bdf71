"""Fitting: from crops, settings and weights to start from, to the trained network of the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from mien.errors import DataError, DeviceError
from mien.models.runtime import default_threads
from mien.models.store import WeightsStore
from mien.ops.atomic import write_whole
from mien.training.architectures import architecture
from mien.training.backbone import NONE, Backbone, load_backbone, read_backbone
from mien.training.batches import plain_inputs
from mien.training.crops import Crops
from mien.training.loop import Trainer, predict
from mien.training.objectives import Objective
from mien.training.options import TrainingOptions
from mien.training.run_folder import WEIGHTS
from mien.types import FloatArray

LONGEST_NAME = 100
"""Of what a card calls its parents and data, in characters."""
_SETTLE_ON = 512
_SGD_RATE = 0.05  # where the user names none; architectures name what suits AdamW


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network.

    Attributes:
        network: in evaluation mode, on the CPU.
        size: side of its input.
        epoch: the best one, from 1 on.
        history: what each epoch gave, see `Trainer.run`.
        validation_logits: (N, outputs) float32, what it says of the validation part.
    """

    network: nn.Module
    size: int
    epoch: int
    history: list[dict[str, float]]
    validation_logits: FloatArray


def prepare(
    options: TrainingOptions, *, backbone: str | None, backbone_sha256: str | None, store: WeightsStore | None
) -> Backbone | None:
    """Set threads and seed, and read the weights to start from: all that can be refused before data are read.

    Args:
        options: all settings.
        backbone: see `read_backbone`; "none" for random weights; by default the architecture's.
        backbone_sha256: what the file of the backbone must hash to.
        store: where registered weights are; the user's cache by default.

    Raises:
        DeviceError: the device is not there.
        DataError: the network cannot take so small pictures.
        WeightsError: the backbone cannot be read, or is not what its hash says.
    """
    _check_device(options.device)
    torch.set_num_threads(options.threads or default_threads())
    torch.manual_seed(options.seed)
    _input_size(options)
    name = backbone or architecture(options.architecture).backbone or NONE
    return None if name == NONE else read_backbone(name, store or WeightsStore(), sha256_expected=backbone_sha256)


def fit(
    lessons: Crops,
    validation: Crops,
    objective: Objective,
    options: TrainingOptions,
    folder: Path,
    *,
    outputs: int,
    start: Backbone | None,
    resume: bool = False,
    progress: Callable[..., None] | None = None,
    on_epoch: Callable[[Mapping[str, float]], None] | None = None,
) -> Fitted:
    """Train a network, and leave its weights in the folder of the run.

    Args:
        lessons: what it learns from.
        validation: what chooses the best epoch.
        objective: what it learns.
        options: all settings.
        folder: of the run; exists.
        outputs: numbers that the network gives for each crop.
        start: the weights that it starts from, or None.
        resume: go on from the folder's checkpoint.
        progress: called with (done, total, what).
        on_epoch: called with what each epoch gave.

    Raises:
        DataError: settings and data do not fit, the loss diverges, or a file cannot be written.
        WeightsError: the backbone is another network's.
    """
    chosen = architecture(options.architecture)
    size = _input_size(options)
    network = chosen.build(3 if options.colour else 1, size, outputs)
    if start is not None:
        few = replace(lessons, pixels=lessons.pixels[:: -(-len(lessons) // _SETTLE_ON)])
        load_backbone(network, start, next(plain_inputs(few, size, _SETTLE_ON)))
    if options.freeze >= 0:
        _freeze(network, options)
    trainer = Trainer(
        network,
        lessons,
        validation,
        objective,
        options,
        size=size,
        folder=folder,
        rate=options.learning_rate or (_SGD_RATE if options.optimizer == "sgd" else chosen.learning_rate),
        backbone=None if start is None else start.sha256,
    )
    if resume:
        trainer.resume()
    trained = trainer.run(progress=progress, on_epoch=on_epoch)
    write_whole(folder / WEIGHTS, save_safetensors({k: v.contiguous() for k, v in trained.state_dict().items()}))
    logits = predict(trained, validation, size)
    return Fitted(trained, size, trainer.best_epoch, trainer.history, logits)


def _check_device(name: str) -> None:
    try:
        (torch.zeros(1, device=name) + 1).item()  # some devices make tensors, and compute nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(f"--device {name!r}: torch does not offer it here; use cpu") from error


def _input_size(options: TrainingOptions) -> int:
    chosen = architecture(options.architecture)
    size = options.input_size or chosen.size
    if size < chosen.smallest:
        raise DataError(f"--input-size {size}: {options.architecture} needs {chosen.smallest} pixels or more")
    return size


def _freeze(network: nn.Module, options: TrainingOptions) -> None:
    trunk = getattr(network, "trunk", None)
    if trunk is None:
        raise DataError(f"--freeze: {options.architecture} has no trunk that can be frozen; mien-s and face-trunk have")
    trunk.freeze(options.freeze)
