"""Hours of video that never were: does memory stay flat, how long does a frame take, do times stay true?

    PYTHONPATH=.:src python recipes/video_long.py --hours 2 --fps 5

Two heads from the photographs in tests/photos come, cross, hide behind a bar and go, once a minute, at uneven times.
Everything that `mien video` does for each frame is done: detection, tracking, expressions, smoothing, rows on the disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tests.video.scenes import Actor, bar, moving, scene

from mien.analyzer import FaceAnalyzer
from mien.cli.options import make_smoother
from mien.video.analysis import VIDEO_TASKS, VideoAnalyzer
from mien.video.frames import Frame
from mien.video.running import Run

MINUTE = 60
SHOWN = 8  # times that memory is looked at
say = sys.stdout.write


def film(fps: int, minutes: int) -> Iterator[Frame]:
    """Frames at uneven times; each minute plays the same film."""
    n, rng = fps * MINUTE, np.random.default_rng(0)
    frames = scene(
        [Actor("eileen", moving(-60, 440, n)), Actor("grace", moving(440, -60, n, y=125))], n, over=bar(170, 215)
    )
    for minute in range(minutes):
        for i, frame in enumerate(frames):
            late = 0.0 if i == 0 else float(rng.uniform(0, 0.4 / fps))
            yield Frame(minute * n + i, minute * MINUTE + i / fps + late, frame.image)


def resident() -> float:
    """Megabytes of this process in memory (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def main(hours: float, fps: int, threads: int) -> None:
    minutes = max(round(hours * MINUTE / SHOWN), 1) * SHOWN
    faces = FaceAnalyzer(only=VIDEO_TASKS, threads=threads)
    labels = faces.expression.network.labels
    analyzer, spent, drift, memory = VideoAnalyzer(faces), [], 0.0, []
    with tempfile.TemporaryDirectory() as folder:
        run = Run.start(
            Path(folder) / "long.part",
            name="long",
            labels=labels,
            setup={},
            smoother=make_smoother(None, labels, threads=threads),
        )
        for frame in film(fps, minutes):
            start = time.process_time()
            moment = analyzer.feed(frame)
            run.add(moment)
            spent.append(time.process_time() - start)
            drift = max(drift, abs(moment.time - frame.time), abs(moment.frame - frame.index))
            if (frame.index + 1) % (fps * MINUTE * minutes // SHOWN) == 0:
                memory.append(resident())
                say(f"{frame.time / MINUTE:.0f} minutes: {memory[-1]:.1f} MB\n")
        run.finish()
        people = len(run.summary().people)
        run.close(remove=True)
    ms = np.percentile(np.array(spent) * 1e3, [50, 99, 100])
    say(f"memory from {memory[0]:.1f} to {memory[-1]:.1f} MB: {memory[-1] / memory[0] - 1:+.1%}\n")
    say(f"a frame: median {ms[0]:.1f} ms, p99 {ms[1]:.1f} ms, longest {ms[2]:.1f} ms of processor time\n")
    say(f"times of frames and of moments differ by {drift:g} at most; people counted: {people}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--fps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    main(options.hours, options.fps, options.threads)
