"""Videos made for tests: each picture shows its own number, so that a test can tell which one it was given."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from mien.errors import VideoError
from mien.types import ImageArray
from mien.video.frames import Frame, open_frames

_BITS = 12


def numbered(number: int, width: int = 96, height: int = 64) -> ImageArray:
    """A picture that shows a number: a row of blocks, black or white; and whose upper left corner is red."""
    image = np.full((height, width, 3), 96, np.uint8)
    block = width // _BITS
    for bit in range(_BITS):
        image[height // 2 :, bit * block : (bit + 1) * block] = 235 if number >> bit & 1 else 20
    image[: height // 4, : width // 4] = (220, 30, 30)
    return image


def number_of(image: ImageArray) -> int:
    """The number that a picture shows, whatever became of its size."""
    height, width = image.shape[:2]
    row = image[int(height * 0.7) : int(height * 0.8) + 1].mean((0, 2))
    blocks = [
        row[int((bit + 0.35) * width / _BITS) : int((bit + 0.65) * width / _BITS) + 1].mean() for bit in range(_BITS)
    ]
    return sum(int(value > 128) << bit for bit, value in enumerate(blocks))


def red_corner(image: ImageArray) -> str:
    """Where the red corner is: "upper left", ..."""
    height, width = image.shape[:2]
    redness = image[..., 0].astype(int) - image[..., 1]
    y, x = np.argwhere(redness > 60).mean(0)
    return f"{'upper' if y < height / 2 else 'lower'} {'left' if x < width / 2 else 'right'}"


def outcome(path: Path, **options: Any) -> tuple[list[Frame], str]:
    """The frames of a source, or what is said where there are none."""
    try:
        with open_frames(path, **options) as frames:
            return list(frames), ""
    except VideoError as error:
        return [], str(error)


def write_video(
    path: Path,
    pictures: Iterable[ImageArray],
    *,
    times: Sequence[float] | None = None,
    fps: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: bool = False,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Encode pictures; `times` in seconds, in steps of a millisecond, else evenly at `fps`."""
    with av.open(path, "w", options=container or {}) as out:
        stream = None
        track = out.add_stream("aac", rate=16000) if sound else None
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = out.add_stream(codec, rate=fps, options=_options(codec) | (options or {}))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixels
                stream.codec_context.time_base = stream.time_base = Fraction(1, 1000 if times else fps)
                stream.codec_context.thread_count = 1
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round(times[index] * 1000) if times else index
            frame.time_base = stream.codec_context.time_base
            out.mux(stream.encode(frame))
        if stream is not None:
            out.mux(stream.encode(None))
        if track is not None:
            _write_silence(out, track)
    return path


def write_numbered(path: Path, count: int, *, width: int = 96, height: int = 64, **options: object) -> Path:
    """A video of `count` numbered pictures."""
    return write_video(path, (numbered(i, width, height) for i in range(count)), **options)  # type: ignore[arg-type]


def write_sound(path: Path) -> Path:
    """A file with sound alone."""
    with av.open(path, "w") as out:
        _write_silence(out, out.add_stream("aac", rate=16000))
    return path


def write_sounds(folder: Path) -> list[Path]:
    """Files with sound alone, of kinds that no video has."""
    kinds = {
        ".wav": "pcm_s16le",
        ".aiff": "pcm_s16be",
        ".flac": "flac",
        ".mp3": "mp3",
        ".aac": "aac",
        ".au": "pcm_s16be",
    }
    for suffix, codec in kinds.items():
        with av.open(folder / f"sound{suffix}", "w", format={".aac": "adts"}.get(suffix)) as out:
            track = out.add_stream(codec, rate=16000)
            kind = track.codec_context.codec.audio_formats[0].name
            sound = np.zeros((1, 16000), {"flt": np.float32, "s32": np.int32}.get(kind[:3], np.int16))
            frame = av.AudioFrame.from_ndarray(sound, format=kind, layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            for packet in (*track.encode(frame), *track.encode(None)):
                out.mux(packet)
    return [folder / f"sound{suffix}" for suffix in kinds]


def turn_track(path: Path, matrix: Sequence[int]) -> Path:
    """Set the display matrix (a, b, c, d; 1 is 65536 in the file) in the header of an MP4 file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def _options(codec: str) -> dict[str, str]:
    return {"preset": "ultrafast", "qp": "12"} if codec == "libx264" else {}


def _write_silence(out: av.container.OutputContainer, track: av.AudioStream) -> None:
    for index in range(8):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 1024 * index
        out.mux(track.encode(frame))
    out.mux(track.encode(None))
