"""Whether a network runs in float32 or in int8 here: what the user says, or what this processor is faster at.

Measured when a network with an int8 form is first used on a machine, in under a second, and kept in the weights cache:
one small JSON file for each network, processor and version of onnxruntime.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast, get_args

from mien.errors import MienError, ModelError
from mien.models.base import Precision, RuntimeOptions
from mien.models.quantized import probe
from mien.models.runtime import Session, version
from mien.models.store import WeightsStore
from mien.ops.atomic import write_whole

ENVIRONMENT = "MIEN_PRECISION"
WORTH = 1.3
"""How many times faster int8 must be to be chosen: what it rounds should buy something."""
_SECONDS = 0.8  # for one network
_ROUNDS = (3, 15)  # at least, at most
_BATCH = 4  # crops; pictures are searched one by one


@dataclass(frozen=True)
class Measured:
    """Processor time of both forms of a network.

    Attributes:
        float32_ms: milliseconds a crop or picture, one thread.
        int8_ms: the same.
    """

    float32_ms: float
    int8_ms: float

    @property
    def int8_wins(self) -> bool:
        """Whether int8 is worth it."""
        return self.float32_ms >= WORTH * self.int8_ms


def wanted(options: RuntimeOptions) -> Precision:
    """What the options say, else the environment (`MIEN_PRECISION`), else "float32": the same answers on every machine.

    Raises:
        ModelError: it is none of "auto", "float32" and "int8".
    """
    said = options.precision or os.environ.get(ENVIRONMENT, "").strip().lower() or "float32"
    for known in get_args(Precision):
        if said == known:
            return cast(Precision, known)
    raise ModelError(f"precision {said!r}: choose one of {', '.join(get_args(Precision))}")


def measured(float32: Path, int8: Path, store: WeightsStore) -> Measured:
    """How long both forms of a network take on this machine: from the cache, or measured now.

    Args:
        float32: path of an ONNX file.
        int8: of its other form.
        store: in whose folder the answer is kept; where that cannot be written, it is measured each time.

    Raises:
        WeightsError: onnxruntime cannot load one of them.
        ModelError: it cannot run one of them.
    """
    here = sha256(f"{_processor()} {version()}".encode()).hexdigest()[:12]
    place = store.root / "measured" / f"{int8.name}.{here}.json"
    with suppress(OSError, ValueError, TypeError):  # not there, or not what was written
        return Measured(**json.loads(place.read_text(encoding="utf-8")))
    found = _measure(float32, int8)
    with suppress(OSError, MienError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps(asdict(found)) + "\n")
    return found


def _measure(float32: Path, int8: Path) -> Measured:
    sessions = [Session(path, RuntimeOptions(threads=1)) for path in (float32, int8)]
    crops = isinstance(sessions[0].inputs[0].shape[1], int)
    pictures = probe(sessions[0], _BATCH if crops else 1)
    best = [float("inf"), float("inf")]
    for session in sessions:
        session(pictures)  # the first call lays out memory
    began = time.perf_counter()
    for done in range(1, _ROUNDS[1] + 1):  # in turns, so that what else the machine does hits both
        for i, session in enumerate(sessions):
            best[i] = min(best[i], _processor_seconds(lambda session=session: session(pictures)))  # type: ignore[misc]
        if done >= _ROUNDS[0] and time.perf_counter() - began > _SECONDS:
            break
    return Measured(*(1e3 * seconds / len(pictures) for seconds in best))


def _processor_seconds(work: Callable[[], object]) -> float:
    """Of this thread, in which networks of one thread run: waiting for a busy core does not count."""
    began = time.thread_time()
    work()
    return max(time.thread_time() - began, 1e-9)


def _processor() -> str:
    """What names the kind of processor."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        told = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in reversed(lines)}
        if name := f"{told.get('model name', '')} {told.get('flags', told.get('Features', ''))}".strip():
            return name
    return f"{platform.machine()} {platform.processor()}"
