"""Damaged and lying files give what can be read, and say what was lost."""

from __future__ import annotations

import os
import random
import re
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mien.errors import VideoError
from mien.video.frames import FrameSource, open_frames
from tests.video.making import number_of, outcome, write_numbered, write_video


def damaged(path: Path, seed: int, flips: int, begin: int = 0) -> bytes:
    """The bytes of a file with some bits flipped."""
    rng, data = random.Random(seed), bytearray(path.read_bytes())
    for _ in range(flips):
        data[rng.randrange(begin, len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def patched(path: Path, source: Path, tag: bytes, offset: int, value: bytes) -> Path:
    """A copy of a file with some bytes behind a tag replaced."""
    data = bytearray(source.read_bytes())
    at = data.index(tag) + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


def counted(frames: FrameSource, pattern: str) -> int:
    found = [re.match(pattern, loss) for loss in frames.losses]
    return sum(int(match[1].replace(",", "")) for match in found if match)


# Cut off


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_truncated(videos, tmp_path, suffix):
    options = {"container": {"movflags": "faststart"}} if suffix == ".mp4" else {}
    whole = write_numbered(videos / f"whole{suffix}", 250, options={"g": "25"}, **options)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    with open_frames(path) as frames:
        got = [number_of(frame.image) for frame in frames]
        assert got == list(range(len(got)))
        assert 100 < len(got) < 180
        if suffix != ".ts":  # a transport stream claims no duration
            assert any("of the 10.0 s that it claims" in loss for loss in frames.losses)


def test_a_recording_that_was_never_finished(clip, tmp_path):
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip.read_bytes()[:-2000])
    with pytest.raises(VideoError, match=r"never finished, or its end is missing: no index \(moov\) in it"):
        open_frames(path)


def test_every_length_of_a_short_file_is_answered(videos, tmp_path):
    whole = write_numbered(videos / "short.mkv", 12).read_bytes()
    path, read = tmp_path / "cut.mkv", 0
    for length in range(1, len(whole), 41):
        path.write_bytes(whole[:length])
        got, said = outcome(path)
        assert "\n" not in said
        assert [number_of(frame.image) for frame in got] == list(range(len(got)))
        assert bool(said) != bool(got)
        read += bool(got)
    assert read > 5


# Flipped bits


def test_flipped_bits_are_told(shared_photos, tmp_path):
    source, path = shared_photos / "hamilton.mp4", tmp_path / "a.mp4"
    with open_frames(source, longest=160) as frames:
        clean = {frame.time: frame.image for frame in frames}
    path.write_bytes(damaged(source, seed=1, flips=20, begin=10_000))
    with open_frames(path, longest=160) as frames:
        got = {frame.time: frame.image for frame in frames}
        left_out = counted(frames, r"([\d,]+) pictures? (?:are|is) damaged")
        smeared = counted(frames, r"([\d,]+) pictures? builds? on damaged")
    assert set(got) <= set(clean)
    assert left_out > 0
    assert len(clean) - len(got) == left_out
    worse = [time for time in got if np.abs(got[time].astype(int) - clean[time]).mean() > 4]
    assert 0 < len(worse) <= smeared


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".mpg", ".webm", ".flv", ".gif", ".h264", ".mjpeg"])
def test_fuzz(videos, tmp_path, suffix):
    """Whatever becomes of a file, there are frames with times that rise, or one line that says why not."""
    codec, pixels = {
        ".mpg": ("mpeg2video", "yuv420p"), ".webm": ("libvpx", "yuv420p"), ".flv": ("flv", "yuv420p"),
        ".gif": ("gif", "rgb8"), ".mjpeg": ("mjpeg", "yuvj420p"),
    }.get(suffix, ("libx264", "yuv420p"))  # fmt: skip
    whole = write_numbered(videos / f"fuzz{suffix}", 20, codec=codec, pixels=pixels, options={"g": "8"})
    path = tmp_path / f"a{suffix}"
    for seed in range(12):
        data = damaged(whole, seed, flips=(1, 4, 30, 200)[seed % 4])
        path.write_bytes(data[: len(data) // 2] if seed % 3 == 0 else data)
        got, said = outcome(path, longest=48, threads=1 + seed % 2)
        assert "\n" not in said
        assert bool(said) != bool(got)
        assert all(a.time < b.time for a, b in pairwise(got))


def test_damage_prints_nothing(videos, tmp_path, capfd):
    whole = write_numbered(videos / "fuzz.mkv", 20, options={"g": "8"})
    for seed in range(10):
        (tmp_path / "a.mkv").write_bytes(damaged(whole, seed, flips=100))
        outcome(tmp_path / "a.mkv")
    assert capfd.readouterr() == ("", "")


# Headers that lie


def test_a_false_duration(clip, tmp_path):
    an_hour = struct.pack(">I", 3600 * 12800)
    path = patched(tmp_path / "a.mp4", clip, b"mdhd", 4 + 4 + 4 + 4 + 4, an_hour)
    with open_frames(path) as frames:
        assert [number_of(frame.image) for frame in frames] == list(range(100))
        if frames.info.duration == pytest.approx(3600, rel=0.01):
            assert frames.losses == ("it ends at 4.0 s, of the 3600.0 s that it claims",)


def test_a_false_duration_in_matroska(videos, tmp_path):
    whole = write_numbered(videos / "duration.mkv", 20)
    path = patched(tmp_path / "a.mkv", whole, b"\x44\x89\x88", 3, struct.pack(">d", 86_400_000.0))
    with open_frames(path) as frames:
        assert len(list(frames)) == 20
        assert frames.info.duration == pytest.approx(86_400)
        assert frames.losses == ("it ends at 0.8 s, of the 86400.0 s that it claims",)


def test_a_false_frame_rate(videos, tmp_path):
    whole = write_numbered(videos / "rate.mkv", 20)
    data = whole.read_bytes()
    at = data.index(b"\x23\xe3\x83") + 3  # DefaultDuration, in nanoseconds
    length = data[at] & 0x7F
    path = patched(tmp_path / "a.mkv", whole, b"\x23\xe3\x83", 4, (7).to_bytes(length, "big"))
    with open_frames(path) as frames:
        assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(20)], abs=2e-3)
        assert frames.info.fps is None or frames.info.fps <= 1000


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (65_535, 65_535), (0, 0), (9_000, 9_000)])
def test_a_false_size(tmp_path, width, height):
    """Raw pictures, whose size only the header says."""
    grey = [np.full((64, 96, 3), 90, np.uint8)] * 3
    whole = write_video(tmp_path / "raw.avi", grey, codec="rawvideo", pixels="bgr24")
    path = patched(tmp_path / "a.avi", whole, b"strf", 4 + 4 + 4, struct.pack("<ii", width, height))
    with pytest.raises(VideoError) as raised:
        open_frames(path)
    expected = "could not be decoded" if width * height < 100_000_000 else "over the limit of 100,000,000 pixels"
    assert expected in str(raised.value)


def test_the_pixel_limit_holds_where_pictures_grow_later(tmp_path):
    small, large = (
        write_numbered(tmp_path / "s.ts", 200),
        write_numbered(tmp_path / "l.ts", 20, width=1920, height=1080),
    )
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + bytes(188 * 40_000) + large.read_bytes())
    with open_frames(path, max_pixels=100_000) as frames:
        got = [frame.image.shape for frame in frames]
        assert set(got) == {(64, 96, 3)}
        assert counted(frames, r"([\d,]+) pictures? (?:could not be decoded|have more than)") > 0
    with open_frames(path) as frames:
        assert {frame.image.shape for frame in frames} == {(64, 96, 3), (1080, 1920, 3)}


def test_over_the_pixel_limit(clip):
    with pytest.raises(VideoError, match="pictures of 96 x 64 are over the limit of 6,000 pixels"):
        open_frames(clip, max_pixels=6000)
    with open_frames(clip, max_pixels=96 * 64) as frames:
        next(frames)


# Files that go away


def test_a_file_that_disappears_is_read_to_its_end(clip, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(clip.read_bytes())
    with open_frames(path) as frames:
        next(frames)
        path.unlink()
        assert len(list(frames)) == 99


def test_a_file_that_is_cut_while_it_is_read(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", 1500, container={"movflags": "faststart"}, options={"g": "25", "qp": "0"})
    size = path.stat().st_size
    with open_frames(path) as frames:
        next(frames)
        os.truncate(path, size // 2)
        got = [number_of(frame.image) for frame in frames]
        assert 500 < len(got) < 1400
        assert got == list(range(1, len(got) + 1))
        assert any("of the 60.0 s that it claims" in loss for loss in frames.losses)
