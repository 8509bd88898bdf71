"""What all kinds of sources have in common: they read pictures, with the time at which each is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mien.types import ImageArray

__all__ = ["Picture", "Reader", "SourceInfo", "scaled_size"]


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source. Files can lie about all of it but the size, which is measured.

    Attributes:
        name: path, address (never with a password) or number, for messages.
        width: of the first picture as it is given out, in pixels: upright, and scaled if that was asked for.
        height: likewise; None before the first picture.
        fps: mean pictures per second, as the source says; None where it does not say.
        duration: seconds, as the source says; None for live sources and where it does not say.
        frames: number of pictures, as the source says.
        live: whether pictures come as time passes, so that a slow reader has to miss some.
    """

    name: str
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    duration: float | None = None
    frames: int | None = None
    live: bool = False


class Picture(NamedTuple):
    """One picture that a reader has come to, not yet made into an array: it may not be wanted.

    Attributes:
        time: seconds since the start of the source.
        image: makes (H, W, 3) uint8 RGB, upright; None if it cannot be read, which is then among the losses.
    """

    time: float
    image: Callable[[], ImageArray | None]


class Reader(Protocol):
    """Goes through a source once, in one thread."""

    @property
    def info(self) -> SourceInfo:
        """What the source says of itself."""
        ...

    def __iter__(self) -> Iterator[Picture]:
        """The pictures in order of display, their times rising strictly. A picture is valid until the next is taken."""
        ...

    def interrupt(self) -> None:
        """Make a read that waits in another thread end soon; can be called from any thread, and more than once."""
        ...

    def close(self) -> None:
        """Let go of files and connections; called once, by the thread that read."""
        ...


def scaled_size(width: int, height: int, longest: int | None) -> tuple[int, int]:
    """(width, height) after scaling down so that no side is longer than `longest`; never enlarged, never 0."""
    if longest is None or max(width, height) <= longest:
        return width, height
    scale = longest / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
