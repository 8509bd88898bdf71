"""Frames that were seen in an earlier attempt: no camera gives the same picture of a face twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from mien.liveness.observing import Observation
from mien.liveness.reasons import Reason

__all__ = ["FrameMemory", "Replays"]

MOST = 100_000
"""Frames that are remembered: some 500 attempts, and 15 MB."""
_BYTES = 16  # of a digest
_FREE = 2  # frames: one is a slip of a network that sent it again


class FrameMemory:
    """Digests of the frames of lately judged attempts, shared by all sessions of a process; from any thread.

    Args:
        most: frames that are remembered; the oldest are forgotten.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._attempts: OrderedDict[bytes, str] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._attempts)

    def of_another(self, digest: bytes, nonce: str) -> bool:
        """Whether a frame was seen in another attempt than this one; it is remembered."""
        key = digest[:_BYTES]
        with self._lock:
            first = self._attempts.setdefault(key, nonce)
            if len(self._attempts) > self._most:
                self._attempts.popitem(last=False)
        return first != nonce


class Replays:
    """A guard: frames with a face that another attempt had.

    Args:
        memory: of the attempts that are compared.
        nonce: of this attempt.
    """

    def __init__(self, memory: FrameMemory, nonce: str) -> None:
        self._memory, self._nonce = memory, nonce
        self._replayed = 0

    def see(self, observation: Observation) -> Reason | None:
        """See `mien.liveness.guards.Guard`. Frames without a face, such as black ones, may be the same."""
        if observation.look is not None:
            self._replayed += self._memory.of_another(observation.digest, self._nonce)
        return "stream" if self._replayed > _FREE else None

    @property
    def measures(self) -> Mapping[str, float]:
        """Frames that another attempt had."""
        return {"replayed": self._replayed}
