"""Every setting of a training run; frozen, and written into the run's folder and the model's card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args, get_type_hints

from mien.errors import DataError

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "one-cycle", "step", "constant"]
Loss = Literal["votes", "majority"]
Balance = Literal["none", "sampling", "loss"]
Precision = Literal["float32", "bf16"]
Metric = Literal["accuracy", "macro_f1", "loss"]


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Attributes:
        architecture: by name, see `mien.training.architectures`.
        input_size: side in pixels of what the network sees; 0 takes the architecture's.
        crop_size: side in pixels of the crops that the model gets in use; the exported graph enlarges them to
            `input_size`. FER+ has 48: more than the training data hold cannot be learnt from.
        colour: whether the network sees colours; without, colour and grey pictures give the same answer.
        freeze: the stem of a backbone and that many of its blocks stay as they are (99: all of it); -1: nothing does.
        epochs: passes over the training part.
        batch: pictures a step.
        optimizer: "adamw", "adam" or "sgd" (with Nesterov momentum of 0.9).
        learning_rate: the highest; 0 takes the architecture's, which suits AdamW.
        head_rate: how many times faster a new head on a backbone learns.
        weight_decay: of weights, not of biases and norms.
        schedule: of the learning rate after the warm-up.
        warmup: steps in which the learning rate rises from 0, a fifth of the run at most; "one-cycle" needs none.
        clip: largest norm of the gradient; 0 does not clip.
        ema: decay of the moving average of the weights, which is what is measured and exported; 0 for none.
        loss: "votes" trains towards the shares of the raters' votes, "majority" towards the class with the most.
        smoothing: share of the target that is spread over all classes.
        balance: "sampling" shows rare classes more often, "loss" weighs them more.
        balance_power: 0 leaves frequencies as they are, 1 makes all classes equal.
        mixup: parameter of the Beta distribution of mixup (Zhang et al. 2018); 0 for none.
        augment: strength of the augmentation; 0 for none, 1 as tuned for faces of 48 pixels.
        distil: share of the target that the teachers give, where there are teachers.
        patience: epochs without a better `metric` after which training stops; 0 never stops early.
        metric: of the validation part, by which the best epoch is chosen.
        precision: "bf16" runs under autocast: faster on processors that have it, slower on others.
        seed: of everything random.
        threads: of torch; 0 takes the cores there are.
        device: "cpu", "cuda", or "mps".
    """

    architecture: str = "mien-s"
    input_size: int = 0
    crop_size: int = 48
    colour: bool = False
    freeze: int = -1
    epochs: int = 12
    batch: int = 96
    optimizer: Optimizer = "adamw"
    learning_rate: float = 0.0
    head_rate: float = 6.0
    weight_decay: float = 0.05
    schedule: Schedule = "cosine"
    warmup: int = 300
    clip: float = 2.0
    ema: float = 0.998
    loss: Loss = "votes"
    smoothing: float = 0.0
    balance: Balance = "sampling"
    balance_power: float = 0.3
    mixup: float = 0.0
    augment: float = 1.0
    distil: float = 0.5
    patience: int = 0
    metric: Metric = "accuracy"
    precision: Precision = "float32"
    seed: int = 0
    threads: int = 0
    device: str = "cpu"

    @classmethod
    def checked(cls, **settings: Any) -> Self:
        """Options from what a user typed.

        Raises:
            DataError: a word is none of those that a setting can be.
        """
        for name, kind in get_type_hints(cls).items():
            if name in settings and (words := get_args(kind)) and settings[name] not in words:
                raise DataError(f"--{name.replace('_', '-')} {settings[name]!r}: choose one of {', '.join(words)}")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)
