"""This machine, mien beside installed peers, in one run.

Every contestant runs in processes of its own, in turns with the others, so that memory is its own and a busy moment of
the machine does not fall on one of them alone. A peer that is not installed is listed as such, never guessed.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mien.errors import DataError, MienError
from mien.ops.image import load_image, save_image
from mien.types import ImageArray

Run = Callable[[], object]
_SECONDS = 2.0  # of timing in each turn
_MEGAPIXELS_12 = (4000, 3000)


@dataclass(frozen=True)
class Contestant:
    """Something that is timed.

    Attributes:
        group: what is compared: "detection", "embedding" or "end to end".
        name: who.
        needs: module that must be installed.
        prepare: from a picture and a number of threads to what is timed, and how many faces one run handles
            (0: the time of a whole run is reported).
    """

    group: str
    name: str
    needs: str
    prepare: Callable[[ImageArray, int], tuple[Run, int]]

    @property
    def installed(self) -> bool:
        """Whether it can run here."""
        return importlib.util.find_spec(self.needs) is not None


@dataclass(frozen=True)
class Result:
    """What one contestant needed.

    Attributes:
        group: what was compared.
        name: who.
        milliseconds: median of one run (per face, in the embedding group); None where it is not installed.
        peak_mb: peak resident memory of its process.
        first_ms: from the start of loading to the first result.
        note: why there is no figure.
    """

    group: str
    name: str
    milliseconds: float | None
    peak_mb: float | None = None
    first_ms: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what was not measured is absent."""
        values = {
            "group": self.group,
            "name": self.name,
            "milliseconds": self.milliseconds,
            "first_ms": self.first_ms,
            "peak_mb": self.peak_mb,
            "note": self.note or None,
        }
        return {
            key: round(value, 2) if isinstance(value, float) else value
            for key, value in values.items()
            if value is not None
        }


def _mien_detection(image: ImageArray, threads: int) -> tuple[Run, int]:
    from mien.analyzer import FaceAnalyzer

    analyzer = FaceAnalyzer(only=("detect",), threads=threads).load()
    return lambda: analyzer(image), 0


def _opencv_detection(image: ImageArray, threads: int) -> tuple[Run, int]:
    import cv2

    from mien.models import registry
    from mien.models.store import WeightsStore

    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromONNX(str(WeightsStore().path(registry.record("centerface").weights)))
    height, width = image.shape[:2]
    scale = min(1.0, 640 / max(height, width))
    size = tuple(-(-round(side * scale) // 32) * 32 for side in (width, height))

    def run() -> object:
        network.setInput(cv2.dnn.blobFromImage(image, 1.0, size, (0, 0, 0), swapRB=False))
        return network.forward(["537", "538", "539", "540"])

    return run, 0


def _dlib_detection(image: ImageArray, threads: int) -> tuple[Run, int]:
    import dlib

    detector = dlib.get_frontal_face_detector()
    return lambda: detector(image, 1), 0


def _chips(image: ImageArray, count: int) -> ImageArray:
    """(count, 150, 150, 3): the picture's middle, as crops of the size that the embedders take."""
    import cv2
    import numpy as np

    side = min(image.shape[:2])
    chip = cv2.resize(image[:side, :side], (150, 150), interpolation=cv2.INTER_AREA)
    return np.repeat(np.asarray(chip, dtype=np.uint8)[None], count, axis=0)


def _mien_embedding(count: int) -> Callable[[ImageArray, int], tuple[Run, int]]:
    def prepare(image: ImageArray, threads: int) -> tuple[Run, int]:
        from mien.models import registry
        from mien.models.base import RuntimeOptions
        from mien.models.store import WeightsStore

        entry = registry.entry("dlib-resnet")
        network = registry.load(entry, WeightsStore(), RuntimeOptions(threads=threads))
        chips = _chips(image, count)
        return lambda: network(chips), count  # type: ignore[call-arg, operator]

    return prepare


def _dlib_embedding(image: ImageArray, threads: int) -> tuple[Run, int]:
    import dlib

    from mien.models import registry
    from mien.models.store import WeightsStore

    weights = registry.record("dlib-resnet").weights
    network = dlib.face_recognition_model_v1(str(WeightsStore().path(weights)))
    chip = _chips(image, 1)[0]
    return lambda: network.compute_face_descriptor(chip), 1


def _mien_end_to_end(accurate: bool) -> Callable[[ImageArray, int], tuple[Run, int]]:
    def prepare(image: ImageArray, threads: int) -> tuple[Run, int]:
        from mien.analyzer import FaceAnalyzer

        analyzer = FaceAnalyzer(only=("detect", "embed"), threads=threads, accurate=accurate).load()
        return lambda: analyzer(image), 0

    return prepare


def _face_recognition(image: ImageArray, threads: int) -> tuple[Run, int]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its models package uses pkg_resources
        import face_recognition

    return lambda: face_recognition.face_encodings(image), 0


CONTESTANTS: tuple[Contestant, ...] = (
    Contestant("detection", "mien", "mien", _mien_detection),
    Contestant("detection", "OpenCV DNN, same network", "cv2", _opencv_detection),
    Contestant("detection", "dlib HOG, upsampled once", "dlib", _dlib_detection),
    Contestant("embedding", "mien, one crop", "mien", _mien_embedding(1)),
    Contestant("embedding", "mien, 16 crops at a time", "mien", _mien_embedding(16)),
    Contestant("embedding", "dlib, same weights", "dlib", _dlib_embedding),
    Contestant("end to end", "mien", "mien", _mien_end_to_end(accurate=False)),
    Contestant("end to end", "mien, accurate", "mien", _mien_end_to_end(accurate=True)),
    Contestant("end to end", "face_recognition", "face_recognition", _face_recognition),
)


def run_benchmark(
    photo: Path, *, threads: int, turns: int = 3, progress: Callable[[int, int, str], None] | None = None
) -> list[Result]:
    """Time every installed contestant on one photograph, then cold start and memory of the command itself.

    Args:
        photo: the picture.
        threads: threads of each contestant (those that can use more than one).
        turns: processes of each contestant, in turns with the others.
        progress: called with (done, total, what).

    Raises:
        MienError: the photograph cannot be read, or mien itself cannot run.
    """
    load_image(photo)  # said once, before any process starts
    present = [c for c in CONTESTANTS if c.installed]
    measured: dict[tuple[str, str], list[dict[str, Any]]] = {(c.group, c.name): [] for c in present}
    failed: dict[tuple[str, str], str] = {}
    total = turns * len(present)
    for done in range(total):
        contestant = present[done % len(present)]
        if progress:
            progress(done, total, f"{contestant.group}: {contestant.name}")
        turns_of = measured[contestant.group, contestant.name]
        try:
            turns_of.append(_turn(CONTESTANTS.index(contestant), photo, threads))
        except MienError as error:
            if contestant.needs == "mien":
                raise
            failed[contestant.group, contestant.name] = str(error)  # a peer that is broken stops nobody else
    if progress:
        progress(total, total, "cold start and memory")
    results = [_summary(c, measured.get((c.group, c.name)), failed.get((c.group, c.name))) for c in CONTESTANTS]
    return [*results, *_cold_start(photo, turns), _large_picture(photo)]


def _summary(contestant: Contestant, turns: Sequence[dict[str, Any]] | None, failure: str | None) -> Result:
    if failure or not turns:
        note = failure or f"{contestant.needs} is not installed"
        return Result(contestant.group, contestant.name, None, note=note)
    return Result(
        contestant.group,
        contestant.name,
        median(turn["milliseconds"] for turn in turns),
        peak_mb=max((turn["peak_mb"] for turn in turns if "peak_mb" in turn), default=None),
        first_ms=median(turn["first_ms"] for turn in turns),
    )


def _turn(index: int, photo: Path, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", __name__, str(index), str(photo), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout.strip().splitlines()
    if done.returncode != 0 or not (said and said[-1].startswith("{")):  # some peers leave with 0 when they give up
        last = (done.stderr.strip().splitlines() or said or ["no message"])[-1]
        raise MienError(f"benchmark of {CONTESTANTS[index].name!r} failed: {last}")
    result: dict[str, Any] = json.loads(said[-1])
    return result


def measure(contestant: Contestant, photo: Path, threads: int) -> dict[str, float]:
    """Time one contestant in this process.

    Returns:
        `milliseconds` (median of a run; per face where it says so), `first_ms`, `peak_mb`.
    """
    image = load_image(photo)
    start = time.perf_counter()
    run, faces = contestant.prepare(image, threads)
    run()
    first = time.perf_counter() - start
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end or len(times) < 3:
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    measured = {"milliseconds": 1e3 * median(times) / max(faces, 1), "first_ms": 1e3 * first}
    return measured | _peak()


def _peak() -> dict[str, float]:
    """`peak_mb`: peak resident memory of this process; nothing on systems that do not tell."""
    try:
        import resource  # not on Windows
    except ImportError:
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_mb": peak / (2**20 if sys.platform == "darwin" else 2**10)}


_COMMAND = (
    "import resource, subprocess, sys, time\n"
    "start = time.perf_counter()\n"
    "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n"
    "took = time.perf_counter() - start\n"
    "print(code, took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
)


def _timed_command(arguments: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak MB of a command in a process of its own.

    Raises:
        MienError: it failed.
    """
    shell = [sys.executable, "-c", _COMMAND, sys.executable, *arguments]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    code, seconds, peak = (done.stdout.split() or ["1", "0", "0"])[-3:]
    if code != "0":
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MienError(f"benchmark of `mien {' '.join(arguments[1:])}` failed: {last}")
    return float(seconds), float(peak) / (2**20 if sys.platform == "darwin" else 2**10)


def _cold_start(photo: Path, turns: int) -> Iterator[Result]:
    """A new process to its first JSON, and to `import mien`, weights cached."""
    commands = {
        "python -c pass": ["-c", "pass"],
        "import mien": ["-c", "import mien"],
        "mien analyze --json": ["-m", "mien", "analyze", str(photo), "--json"],
        "mien analyze --json --embeddings": ["-m", "mien", "analyze", str(photo), "--json", "--embeddings"],
    }
    for name, arguments in commands.items():
        runs = [_timed_command(arguments) for _ in range(turns)]
        yield Result(
            "cold start",
            name,
            1e3 * median(seconds for seconds, _ in runs),
            peak_mb=max(peak for _, peak in runs),
        )


def _large_picture(photo: Path) -> Result:
    """Memory of the command on a 12-megapixel picture: the photograph, enlarged."""
    import cv2
    import numpy as np

    large = cv2.resize(load_image(photo), _MEGAPIXELS_12, interpolation=cv2.INTER_CUBIC)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.jpg")
        save_image(path, np.asarray(large, dtype=np.uint8))
        seconds, peak = _timed_command(["-m", "mien", "analyze", str(path), "--json", "--embeddings"])
    return Result("memory", "mien analyze, 12-megapixel JPEG", 1e3 * seconds, peak_mb=peak)


def _main(arguments: Sequence[str]) -> None:
    """Run as a process of its own by `_turn`: contestant, photograph, threads."""
    index, photo, threads = arguments
    if not 0 <= int(index) < len(CONTESTANTS):
        raise DataError(f"no contestant {index}")
    sys.stdout.write(json.dumps(measure(CONTESTANTS[int(index)], Path(photo), int(threads))) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
