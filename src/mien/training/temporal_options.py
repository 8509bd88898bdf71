"""Every setting of the training of a temporal network; frozen, and written into the run's folder and the card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from mien.errors import DataError

Architecture = Literal["lstm", "gru", "tcn"]


@dataclass(frozen=True)
class TemporalOptions:
    """How a network for expressions over time is trained.

    Attributes:
        architecture: "lstm", "gru" or "tcn" (a causal convolution).
        sequences: made of the training faces, where the data are faces.
        held_sequences: made of the faces that are set aside.
        epochs: passes over the training tracks, at most.
        batch: tracks a step.
        learning_rate: the highest.
        weight_decay: of all weights.
        clip: largest norm of the gradient.
        steady: weight of the part of the loss that keeps answers from changing between frames; see `sequence_loss`.
        evenness: from 0, all frames weigh alike in the loss, to 1, all stretches of one expression.
        augment: strength of the changes to tracks; 0 for none.
        patience: epochs without a better figure on the held-out tracks after which training stops; 0 never stops.
        seed: of everything random.
    """

    architecture: Architecture = "lstm"
    sequences: int = 1200
    held_sequences: int = 200
    epochs: int = 40
    batch: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    clip: float = 1.0
    steady: float = 0.15
    evenness: float = 0.5
    augment: float = 1.0
    patience: int = 12
    seed: int = 0

    @classmethod
    def checked(cls, **settings: Any) -> Self:
        """Options from what a user typed.

        Raises:
            DataError: no such architecture.
        """
        words = get_args(Architecture)
        if settings.get("architecture", words[0]) not in words:
            raise DataError(f"--architecture {settings['architecture']!r}: choose one of {', '.join(words)}")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)
