"""Frames of video files: which, when, how large and which way up."""

from __future__ import annotations

import gc
import io
import os
import resource
import struct
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mien.errors import VideoError
from mien.ops.image import load_image
from mien.video.frames import open_frames, start_again
from tests.video.making import (
    number_of,
    numbered,
    red_corner,
    turn_track,
    write_numbered,
    write_sound,
    write_sounds,
    write_video,
)

CONTAINERS = [
    ("a.mkv", "libx264", "yuv420p"),
    ("a.ts", "libx264", "yuv420p"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("a.webm", "libvpx", "yuv420p"),
    ("a.mpg", "mpeg2video", "yuv420p"),
    ("a.flv", "flv", "yuv420p"),
    ("a.wmv", "wmv2", "yuv420p"),
    ("a.mov", "prores", "yuv422p10le"),
    ("a.gif", "gif", "rgb8"),
    ("a.mjpeg", "mjpeg", "yuvj420p"),
    ("a.h264", "libx264", "yuv420p"),
]


def numbers(path: object, **options: object) -> list[int]:
    with open_frames(path, **options) as frames:  # type: ignore[arg-type]
        return [number_of(frame.image) for frame in frames]


def jpeg(number: int, orientation: int) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(numbered(number)).save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


# What a frame is


def test_all_frames_of_a_file_in_order(clip):
    with open_frames(clip) as frames:
        got = list(frames)
        assert frames.losses == ()
        assert frames.dropped == 0
    assert [number_of(frame.image) for frame in got] == list(range(100))
    assert [frame.index for frame in got] == list(range(100))
    assert [frame.time for frame in got] == pytest.approx([i / 25 for i in range(100)])
    assert {(frame.image.shape, frame.image.dtype.name) for frame in got} == {((64, 96, 3), "uint8")}


def test_info_says_what_is_known(clip):
    with open_frames(clip, longest=48) as frames:
        info = frames.info
    assert (info.width, info.height, info.fps, info.frames, info.live) == (48, 32, 25.0, 100, False)
    assert info.duration == pytest.approx(4.0)
    assert info.name == str(clip)


def test_colours_are_rgb(tmp_path, portrait):
    image = load_image(portrait)
    path = write_video(tmp_path / "a.mp4", [image] * 3)
    with open_frames(path) as frames:
        seen = next(frames).image
    assert seen.shape == image.shape
    assert np.abs(seen.astype(int) - image).mean() < 4


@pytest.mark.parametrize(("name", "codec", "pixels"), CONTAINERS)
def test_containers(videos, name, codec, pixels):
    path = write_numbered(videos / name, 60, codec=codec, pixels=pixels, options={"g": "12"})
    assert numbers(path) == list(range(60))
    assert numbers(path, start=1.0, end=1.4) == list(range(25, 35))


def test_raw_video_has_no_timestamps(videos):
    path = write_numbered(videos / "raw.h264", 30)
    with open_frames(path) as frames:
        assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(30)])
        assert frames.losses == ("there are no timestamps in it: 25 pictures per second were assumed",)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate_keeps_its_times(tmp_path, suffix):
    times = [0.0, 0.04, 0.05, 0.5, 0.51, 2.0, 2.001, 3.7]
    path = write_video(tmp_path / f"v{suffix}", [numbered(i) for i in range(8)], times=times)
    with open_frames(path) as frames:
        assert [frame.time for frame in frames] == pytest.approx(times, abs=1e-6)
    assert numbers(path, start=0.5, end=2.0) == [3, 4]


def test_time_is_that_of_the_sound_too(shared_photos):
    with open_frames(shared_photos / "hamilton.mp4", longest=64) as frames:
        got = list(frames)
        assert frames.losses == ()
    assert len(got) == 275
    assert got[0].time == pytest.approx(0.844, abs=1e-3)  # the sound begins first
    assert got[-1].time < frames.info.duration < got[-1].time + 0.05


# Which frames


def test_start_and_end_are_exact(clip):
    assert numbers(clip, start=0.0, end=0.04) == [0]
    assert numbers(clip, start=1.0, end=2.0) == list(range(25, 50))
    assert numbers(clip, start=3.96) == [99]
    assert numbers(clip, start=0.81, end=0.9) == [21, 22]  # just behind a picture that is decodable by itself


@pytest.mark.parametrize("first", range(15, 45))
def test_every_start_is_exact(clip, first):
    with open_frames(clip, start=first / 25, end=(first + 1) / 25) as frames:
        (frame,) = frames
    assert (number_of(frame.image), frame.index) == (first, 0)
    assert frame.time == pytest.approx(first / 25)


def test_seeking_does_not_decode_what_lies_before(clip, videos):
    path = write_numbered(videos / "long.mp4", 1500, options={"g": "25"})
    begin = time.process_time()
    assert len(numbers(path)) == 1500
    whole = time.process_time() - begin
    begin = time.process_time()
    assert numbers(path, start=59.0) == list(range(1475, 1500))
    assert time.process_time() - begin < whole / 2


def test_pictures_that_lead_a_start_are_no_losses(tmp_path):
    """Open groups of pictures: behind the one at which decoding begins come some that build on what was before it."""
    options = {"g": "12", "bf": "3", "preset": "medium", "x264-params": "open-gop=1:scenecut=0"}
    path = write_numbered(tmp_path / "open.mkv", 100, options=options)
    for first in range(20, 80, 3):
        with open_frames(path, start=first / 25, end=(first + 2) / 25) as frames:
            assert [number_of(frame.image) for frame in frames] == [first, first + 1]
            assert frames.losses == ()


def test_nothing_between_start_and_end(clip):
    with pytest.raises(VideoError, match=r"no picture between 9 s and its end, it lasts 4\.0 s"):
        open_frames(clip, start=9)


def test_every_nth_frame(clip):
    with open_frames(clip, every=30) as frames:
        got = list(frames)
    assert [number_of(frame.image) for frame in got] == [0, 30, 60, 90]
    assert [frame.index for frame in got] == [0, 30, 60, 90]


@pytest.mark.parametrize(("limit", "count"), [(10, 40), (20, 80), (24, 96), (25, 100), (30, 100), (1, 4), (0.5, 2)])
def test_no_more_frames_per_second_than_asked(clip, limit, count):
    with open_frames(clip, max_fps=limit) as frames:
        times = [frame.time for frame in frames]
    assert len(times) == count
    assert all(sum(begin <= time < begin + 1 - 1e-6 for time in times) <= max(1, limit) for begin in (0, 1, 2, 3))


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0}, {"max_fps": 0}, {"longest": 0}, {"start": -1}, {"start": 2, "end": 2}, {"fps": 0},
        {"max_pixels": 0}, {"timeout": 0}, {"max_fps": float("nan")}, {"start": float("inf")},
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense(clip, options):
    with pytest.raises(ValueError, match=next(iter(set(options) - {"start"} or {"start"}))):
        open_frames(clip, **options)


# Size and direction


def test_scaled_down_but_never_up(clip):
    for longest, shape in ((48, (32, 48, 3)), (1000, (64, 96, 3)), (1, (1, 1, 3))):
        with open_frames(clip, longest=longest, end=0.1) as frames:
            assert {frame.image.shape for frame in frames} == {shape}
    assert numbers(clip, longest=48, end=0.4) == list(range(10))


@pytest.mark.parametrize(
    ("matrix", "corner", "rotation"),
    [
        ((1, 0, 0, 1), "upper left", 0),
        ((0, 1, -1, 0), "upper right", -90),
        ((-1, 0, 0, -1), "lower right", 180),
        ((0, -1, 1, 0), "lower left", 90),
        ((-1, 0, 0, 1), "upper right", None),  # mirrored, as front cameras do
        ((1, 0, 0, -1), "lower left", None),
        ((0, 1, 1, 0), "upper left", None),
        ((0, -1, -1, 0), "lower right", None),
    ],
)
def test_turned_and_mirrored_upright(tmp_path, matrix, corner, rotation):
    path = turn_track(write_numbered(tmp_path / "a.mp4", 3), matrix)
    if rotation is not None:  # the matrix says what FFmpeg understands by it: degrees against the clock
        with av.open(path) as container:
            assert abs(next(container.decode(video=0)).rotation) % 360 == abs(rotation)
            assert rotation == 180 or next(container.decode(video=0)).rotation == rotation
    with open_frames(path) as frames:
        image = next(frames).image
        assert (frames.info.width, frames.info.height) == image.shape[1::-1]
    assert image.flags.c_contiguous
    assert red_corner(image) == corner
    assert image.shape == ((96, 64, 3) if matrix[0] == 0 else (64, 96, 3))


def test_rotation_that_changes_in_mid_file(tmp_path):
    path = tmp_path / "turning.mjpeg"
    path.write_bytes(b"".join(jpeg(i, orientation) for i, orientation in enumerate([1] * 5 + [6] * 5 + [3] * 5)))
    with open_frames(path) as frames:
        seen = [(frame.image.shape[:2], red_corner(frame.image)) for frame in frames]
    assert seen == [((64, 96), "upper left")] * 5 + [((96, 64), "upper right")] * 5 + [((64, 96), "lower right")] * 5


def test_size_that_changes_in_mid_file(tmp_path):
    small, large = write_numbered(tmp_path / "s.ts", 20), write_numbered(tmp_path / "l.ts", 20, width=192, height=128)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with open_frames(path) as frames:
        got = list(frames)
    assert [frame.image.shape[:2] for frame in got] == [(64, 96)] * 20 + [(128, 192)] * 20
    assert [number_of(frame.image) for frame in got] == [*range(20), *range(20)]
    steps = np.diff([frame.time for frame in got])  # the second file counts from 0 again
    assert (steps > 0.01).all()
    assert got[-1].time == pytest.approx(1.56, abs=0.05)


def test_a_video_that_was_trimmed(tmp_path):
    """Telephones cut by an edit list: the pictures before and after stay in the file, and are not shown."""
    path = write_numbered(tmp_path / "a.mp4", 100, options={"g": "20"})
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    begin = int.from_bytes(data[at + 4 : at + 8], "big")
    data[at : at + 8] = struct.pack(">II", 2000, begin + 12800)  # 2 s, from 1 s on
    path.write_bytes(data)
    with open_frames(path) as frames:
        got = list(frames)
        assert frames.losses == ()
    assert [number_of(frame.image) for frame in got] == list(range(25, 75))
    assert [frame.time for frame in got] == pytest.approx([i / 25 for i in range(50)])
    assert numbers(path, start=0.4, end=0.48) == [35, 36]


def test_pixels_that_are_not_square(tmp_path):
    path = tmp_path / "wide.mkv"
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for i in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(i), format="rgb24")))
        out.mux(stream.encode(None))
    with open_frames(path) as frames:
        assert {frame.image.shape for frame in frames} == {(64, 128, 3)}


def test_one_pixel(tmp_path):
    path = write_video(tmp_path / "1.avi", [np.full((1, 1, 3), 200, np.uint8)] * 3, codec="ffv1", pixels="bgr0")
    with open_frames(path) as frames:
        assert [frame.image.tolist() for frame in frames] == [[[[200, 200, 200]]]] * 3


def test_8k(tmp_path):
    path = write_video(tmp_path / "8k.avi", [numbered(5, 7680, 4320)], codec="mjpeg", pixels="yuvj420p")
    with open_frames(path, longest=640) as frames:
        (frame,) = frames
    assert (frame.image.shape, number_of(frame.image)) == ((360, 640, 3), 5)


# What is not a video, and what is not quite one


@pytest.mark.parametrize("start", [0.0, 0.33])
@pytest.mark.parametrize("max_fps", [None, 7.0, 10.0, 24.9])
def test_reading_goes_on_with_the_same_frames(clip, start, max_fps):
    with open_frames(clip, start=start, max_fps=max_fps) as frames:
        whole = [frame.time for frame in frames]
    for i in (1, len(whole) // 2, len(whole) - 1):
        again = start_again(whole[i], start=start, max_fps=max_fps)
        with open_frames(clip, start=again, max_fps=max_fps) as frames:
            assert [frame.time for frame in frames] == pytest.approx(whole[i:])


def test_clear_answers_for_what_is_no_video(tmp_path, portrait):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "photo.mp4").write_bytes(b"\0\0\0\x18ftypheic" + bytes(1000))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path / "none.mp4": "no such file",
        tmp_path / "empty.mp4": "the file is empty",
        tmp_path / "text.mp4": "not a video that mien reads, or damaged from its beginning",
        tmp_path / "photo.mp4": "a picture, not a video",
        tmp_path / "folder": "there are no pictures in it",
        tmp_path / "pipe": "is a pipe or a device, not a regular file",
        portrait: "a picture, not a video; give a folder of pictures, or use mien analyze",
        write_sound(tmp_path / "sound.m4a"): "there is only sound in it, and no picture",
        **dict.fromkeys(write_sounds(tmp_path), "there is only sound in it, and no picture"),
        "a\0b.mp4": "embedded null byte",
        "": "the name of the source is empty",
    }
    for path, message in cases.items():
        with pytest.raises(VideoError) as raised:
            open_frames(path)
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(VideoError, match="cannot read frames from float"):
        open_frames(1.5)  # type: ignore[arg-type]


def test_a_file_that_may_not_be_read(tmp_path, clip):
    path = tmp_path / "a.mp4"
    path.write_bytes(clip.read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(VideoError, match="permission denied"):
        open_frames(path)


def test_without_frames(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        out.start_encoding()
    with pytest.raises(VideoError, match="there is no video in it"):
        open_frames(path)


def test_the_cover_of_an_album_is_no_video(tmp_path, portrait):
    path = tmp_path / "song.m4a"
    with av.open(path, "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=16000)
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 96, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
        out.mux(cover.encode(av.VideoFrame.from_ndarray(numbered(1), format="rgb24")))
        out.mux(cover.encode(None))
    with pytest.raises(VideoError, match="there is only sound in it"):
        open_frames(path)


def test_without_pyav(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoError, match=r"reading video needs PyAV: pip install 'mien\[video\]'"):
        open_frames(clip)


def test_importing_is_light():
    code = "import sys, mien.video.frames; assert not {'av', 'cv2', 'onnxruntime'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Memory, threads, closing


def test_memory_stays_flat_over_many_frames(videos):
    path = write_numbered(videos / "many.mp4", 2400, width=192, height=128)
    frames = open_frames(path)
    for _ in range(300):
        next(frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in frames) == 2100  # 150 MB of pictures
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024  # kilobytes


def test_a_slow_taker_gets_every_frame_of_a_file(clip):
    with open_frames(clip, end=2.0) as frames:
        got = []
        for frame in frames:
            got.append(number_of(frame.image))
            time.sleep(0.002)
        assert frames.dropped == 0
    assert got == list(range(50))


def test_threads_are_as_many_as_asked(videos):
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("this system does not list threads")
    path = write_numbered(videos / "threads.mp4", 200, width=192, height=128)
    counts = {}
    for threads in (1, 4):
        before = len(list(tasks.iterdir()))
        with open_frames(path, threads=threads):
            counts[threads] = len(list(tasks.iterdir())) - before
    assert counts[1] == 1  # the reader
    assert counts[4] > 4


def test_closed_by_another_thread(clip):
    frames = open_frames(clip)
    taken: list[int] = []
    some, closed = threading.Event(), threading.Event()

    def take() -> None:
        for frame in frames:
            taken.append(frame.index)
            if len(taken) == 10:
                some.set()
                closed.wait(60)

    taker = threading.Thread(target=take)
    taker.start()
    assert some.wait(60)
    frames.close()
    frames.close()
    closed.set()
    taker.join(60)
    assert not taker.is_alive()
    assert len(taken) == 10
    assert next(frames, None) is None


def test_let_go_of_without_closing(clip):
    frames = open_frames(clip)
    next(frames)
    del frames
    gc.collect()  # the fixture looks for the thread


def test_no_file_stays_open(clip, tmp_path):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open files")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        with open_frames(clip) as frames:
            next(frames)
        with pytest.raises(VideoError):
            open_frames(clip, max_pixels=10)
        with pytest.raises(VideoError):
            open_frames(clip, start=100)
    assert len(list(descriptors.iterdir())) <= before


def test_a_program_that_ends_without_closing(clip):
    code = f"from mien.video.frames import open_frames; f = open_frames({str(clip)!r}); print(next(f).index)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n", b"")
