"""Networks that carry a card: how their files are opened, whatever they take and give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Generic, cast

from mien.errors import ModelError
from mien.models import _onnx
from mien.models.base import RuntimeOptions
from mien.models.cards import METADATA_KEY, AnyCard, Card
from mien.models.runtime import Port, Session

_SHOWN = 100  # characters of a name that is not trusted


class CardNetwork(Generic[AnyCard]):
    """A network that mien trained, ready to run; safe to call from several threads.

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

    CARD: ClassVar[type[Card]]
    """The kind of card."""
    WHAT: ClassVar[str] = "network"
    """What it is called in messages."""

    def __init__(self, model: str | Path | bytes, options: RuntimeOptions | None = None) -> None:
        where, data = ("the model", model) if isinstance(model, bytes) else _onnx.read_own(model)
        _onnx.refuse_outside(data, str(where))  # also where the bytes are given: they can point to files as well
        self._session = Session(data, options or RuntimeOptions(), name=str(where))
        text = self._session.metadata(METADATA_KEY)
        if text is None:
            raise ModelError(f"{where} is no {self.WHAT} that mien trained: its metadata hold no card")
        try:
            self.card = cast(AnyCard, self.CARD.from_json(text))
        except ModelError as error:
            raise ModelError(f"{where}: {error}") from error
        self.check(str(where))

    @classmethod
    def card_kind(cls) -> type[AnyCard]:
        """The kind of card that such a file carries."""
        return cast(type[AnyCard], cls.CARD)

    @property
    def name(self) -> str:
        """Of the model, as its card says."""
        return self.card.name

    def check(self, where: str) -> None:
        """Compare what the graph takes and gives with the card.

        Raises:
            ModelError: they differ.
        """
        raise NotImplementedError

    def try_out(self) -> None:
        """Run once, on anything.

        Raises:
            ModelError: the network fails.
        """
        raise NotImplementedError


def fits(port: Port, name: str, kind: str, shape: tuple[int, ...]) -> bool:
    """Whether a port has this name, type and shape after the batch axis, which takes any number."""
    if port.name != name or port.kind != kind or len(port.shape) != 1 + len(shape):
        return False
    first, *rest = port.shape
    return not isinstance(first, int) and all(
        not isinstance(have, int) or have == want for have, want in zip(rest, shape, strict=True)
    )


def told(ports: Sequence[Port]) -> str:
    """What a graph takes or gives, for a message."""
    shown = [
        f"{port.name[:_SHOWN]!r} ({', '.join('any' if n is None else str(n)[:20] for n in port.shape)}) {port.kind}"
        for port in ports[:3]
    ]
    return " and ".join(shown)[:300] or "nothing"
