"""Live sources: streams of real servers that are killed and started again, and the seam of cameras."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

from mien.errors import VideoError
from mien.video.cameras import CameraConnection, camera_number
from mien.video.container import Limits
from mien.video.frames import FrameSource, open_frames
from mien.video.live import Backoff, LiveReader
from mien.video.losses import Losses
from tests.video.making import number_of, write_numbered
from tests.video.rtsp import RtspServer
from tests.video.serving import Server

LIMITS = Limits(max_pixels=10**6, longest=None, threads=1)


def outage_of(frames: FrameSource) -> tuple[float, float, str]:
    """Seconds without pictures, from when on, and why; of the first time."""
    loss, *_ = [loss for loss in frames.losses if loss.startswith("no pictures")]
    match = re.fullmatch(r"no pictures for ([\d.]+) s, from ([\d.]+) s on: (.*)", loss)
    assert match is not None, loss
    return float(match[1]), float(match[2]), match[3]


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# Streams over HTTP


def test_a_stream_has_every_picture_at_its_time():
    with Server(fps=40) as server, open_frames(server.url("stream?key=secret")) as frames:
        got = list(islice(frames, 30))
        info = frames.info
    assert [number_of(frame.image) for frame in got] == [frame.index for frame in got]  # some dropped on a busy machine
    assert got[0].time == 0 or got[0].index > 0
    assert all(a.time < b.time for a, b in pairwise(got))
    assert got[-1].time >= 0.5  # 0.75 s, but for the pictures that had arrived before the first was decoded
    assert (info.live, info.duration, info.width) == (True, None, 96)
    assert "secret" not in info.name


def test_a_server_that_is_killed_and_comes_back():
    with Server(fps=50) as server, open_frames(server.url("stream")) as frames:
        before = list(islice(frames, 20))
        server.kill()
        threading.Timer(0.8, server.start).start()
        after = list(islice(frames, 20))
        seconds, since, why = outage_of(frames)
    got = before + after
    (gap,) = [b.time - a.time for a, b in pairwise(got) if a.time <= since + 0.06 < b.time]
    assert gap >= seconds - 0.06  # what was dropped at its edges lengthens it
    assert seconds > 0.7
    assert "connection refused" in why
    assert all(a.index < b.index for a, b in pairwise(got))
    assert number_of(got[-1].image) >= got[-1].index


def test_a_stream_that_stalls_is_connected_anew():
    with Server() as server, open_frames(server.url("stalls"), timeout=2) as frames:
        got = [next(frames)]
        while got[-1].index < 7:  # five come, and five more over the next connection
            got.append(next(frames))
        seconds, _, why = outage_of(frames)
    assert why == "no answer in time"
    assert seconds > 1.9
    assert server.requests == ["/stalls"] * 2


def test_a_stream_that_does_not_come_back_is_given_up():
    server = Server(fps=50).start()
    with open_frames(server.url("stream"), patience=0.6) as frames:
        next(frames)
        server.kill()
        for _ in frames:
            pass
        (loss,) = frames.losses
    assert re.fullmatch(r"no pictures from [\d.]+ s on, and given up: connection refused", loss)


def test_what_was_never_there_is_an_error_at_once():
    with Server() as server:
        server.away = "file:///etc/passwd"
        for path, timeout, message in (
            ("none", 60, "the server answers 404 Not Found"),
            ("silent", 0.3, "no answer in time"),
            ("trickles", 0.3, "no answer in time"),
            ("secret", 60, "the server answers 401 Unauthorized"),
            ("away", 60, "is not allowed"),
        ):
            with pytest.raises(VideoError, match=message):
                open_frames(server.url(path), timeout=timeout)
        gone = server.url("stream")
    with pytest.raises(VideoError, match="connection refused"):
        open_frames(gone)
    with pytest.raises(VideoError, match=r"nowhere\.invalid"):
        open_frames("http://nowhere.invalid/a.mp4")


def test_passwords_open_and_are_never_shown():
    with Server() as server:
        address = server.url("secret", "user:pass%20word@")
        with open_frames(address) as frames:
            assert number_of(next(frames).image) == 0
            assert "pass" not in frames.info.name
        with pytest.raises(VideoError) as raised:
            open_frames(server.url("secret", "user:guessed@"))
        assert "guessed" not in f"{raised.value!r} {raised.value.__cause__!r}"
    with pytest.raises(VideoError) as raised:
        open_frames("rtsp://user:guessed@127.0.0.1:1/")
    assert "guessed" not in f"{raised.value!r} {raised.value.__cause__!r}"


def test_frames_that_nobody_takes_are_dropped_oldest_first():
    with Server(fps=100) as server, open_frames(server.url("stream")) as frames:
        wait_for(lambda: frames.dropped > 20)
        late = next(frames)
        dropped = frames.dropped
        assert late.index >= dropped > 20
        assert number_of(late.image) == late.index
        assert f"{dropped:,} frames were dropped: not taken in time" in frames.losses


def test_closing_while_a_stream_is_silent():
    with Server() as server:
        frames = open_frames(server.url("stalls"), timeout=1000)  # longer than a test may take
        threading.Timer(0.3, frames.close).start()
        assert len(list(frames)) <= 5
        assert not any(loss.startswith("no pictures") for loss in frames.losses)


def test_closing_while_a_stream_is_connected_anew():
    server = Server(fps=50).start()
    frames = open_frames(server.url("stream"))
    next(frames)
    server.kill()
    threading.Timer(0.5, frames.close).start()
    begin = time.monotonic()
    for _ in frames:
        pass
    assert time.monotonic() - begin < 30  # else it would be tried for a minute


# Files over HTTP


def test_a_file_over_http(clip):
    with Server({"clip.mp4": clip.read_bytes()}) as server:
        with open_frames(server.url("clip.mp4")) as frames:
            assert [number_of(frame.image) for frame in frames] == list(range(100))
            assert (frames.info.live, frames.losses) == (False, ())
        with open_frames(server.url("clip.mp4"), start=3, end=3.2) as frames:
            assert [number_of(frame.image) for frame in frames] == list(range(75, 80))


def test_a_file_over_http_that_breaks_off_is_resumed(videos):
    data = write_numbered(videos / "http.mkv", 600, codec="mjpeg", pixels="yuvj420p").read_bytes()
    server = Server({"a.mkv": data})
    server.pause = 0.001
    with server, open_frames(server.url("a.mkv")) as frames:
        got = [number_of(next(frames).image)]
        server.kill()
        threading.Timer(0.5, server.start).start()
        got += [number_of(frame.image) for frame in frames]
        assert got == list(range(600))
        assert frames.losses == ()
        assert len(server.requests) > 1


def test_a_file_over_http_in_one_piece(videos, clip):
    data = write_numbered(videos / "fast.mp4", 50, container={"movflags": "faststart"}).read_bytes()
    with Server({"fast.mp4": data}) as server:
        server.ranges = False
        with open_frames(server.url("fast.mp4"), start=1, end=1.2) as frames:
            assert [number_of(frame.image) for frame in frames] == list(range(25, 30))


def test_a_file_over_http_of_unknown_length_is_no_live_stream(videos):
    data = write_numbered(videos / "fast.mp4", 50, container={"movflags": "faststart"}).read_bytes()
    server = Server({"fast.mp4": data})
    server.ranges = server.lengths = False
    with server, open_frames(server.url("fast.mp4")) as frames:
        assert not frames.info.live
        assert [number_of(frame.image) for frame in frames] == list(range(50))
        assert frames.losses == ()


# RTSP


def test_rtsp(tmp_path):
    with RtspServer(tmp_path, count=30) as server, open_frames(server.url) as frames:
        got = list(islice(frames, 15))
        assert frames.info.live
    assert [number_of(frame.image) for frame in got] == [frame.index for frame in got]
    assert [frame.time for frame in got] == pytest.approx([frame.index / 25 for frame in got], abs=0.05)


def test_rtsp_that_hangs_up_is_connected_anew(tmp_path):
    with RtspServer(tmp_path, count=20, hang_up=True) as server, open_frames(server.url) as frames:
        got = [next(frames)]
        while got[-1].index < 25:
            got.append(next(frames))
        seconds, _, why = outage_of(frames)
    assert [number_of(frame.image) for frame in got] == [frame.index % 20 for frame in got]
    assert why == "the source ended"
    assert max(b.time - a.time for a, b in pairwise(got)) >= seconds - 0.06


def test_rtsp_that_is_not_there():
    with pytest.raises(VideoError, match=r"rtsp://127\.0\.0\.1:1/camera: connection refused"):
        open_frames("rtsp://127.0.0.1:1/camera")


# Cameras: OpenCV's captures read files as well, so that one that ends stands for one that is unplugged


def capture(path: Path) -> CameraConnection:
    return CameraConnection(0, LIMITS, capture=cv2.VideoCapture(str(path)))


def test_a_camera_that_is_unplugged_and_plugged_in_again(clip):
    tries = []

    def connect() -> CameraConnection:
        tries.append(time.monotonic())
        return capture(clip if len(tries) == 3 else clip.parent / "none.mp4")

    losses = Losses()
    reader = LiveReader(capture(clip), connect, losses, Backoff(first=0.1))
    got = list(islice(((picture.time, picture.image()) for picture in reader), 150))
    reader.close()
    assert [number_of(image) for _, image in got] == [*range(100), *range(50)]
    assert all(a[0] < b[0] for a, b in pairwise(got))
    assert len(tries) == 3
    (loss,) = losses.sentences()
    assert re.fullmatch(r"no pictures for \d+\.\d s, from \d\.\d s on: cannot be opened; is it plugged in, .*", loss)


def test_a_camera_that_stays_unplugged(clip):
    def connect() -> CameraConnection:
        return capture(clip.parent / "none.mp4")

    losses = Losses()
    reader = LiveReader(capture(clip), connect, losses, Backoff(first=0.1, patience=0.3))
    assert len(list(reader)) == 100
    assert "given up: cannot be opened; is it plugged in" in losses.sentences()[0]


def test_no_such_camera(capfd):
    for source in (97, "97", "/dev/video97"):
        with pytest.raises(VideoError, match="camera 97: "):
            open_frames(source)
    with pytest.raises(VideoError, match="cameras are counted from 0"):
        open_frames(-1)
    assert capfd.readouterr().err == ""


def test_what_stands_for_a_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [camera_number(source) for source in (0, "1", "/dev/video2", Path("/dev/video3"))] == [0, 1, 2, 3]
    assert [camera_number(source) for source in (True, "a1", "1.mp4", "/dev/null", 1.0, b"1")] == [None] * 6
    (tmp_path / "1").touch()
    assert camera_number("1") is None


# Waiting


def test_waits_double_up_to_a_limit_and_vary():
    delays = list(islice(Backoff(first=1, most=4).delays(random.Random(1)), 40))
    limits = [1, 2, 4, *[4] * 37]
    assert all(limit / 2 <= delay <= limit for delay, limit in zip(delays, limits, strict=True))
    assert len({round(delay, 6) for delay in delays[2:]}) == 38


def test_patience_ends(monkeypatch):
    assert list(Backoff(patience=0).delays(random.Random(1))) == []
    now = [1000.0]
    monkeypatch.setattr("mien.video.live.time", SimpleNamespace(monotonic=lambda: now[0]))
    for delay in Backoff(first=0.05, patience=0.2).delays(random.Random(1)):
        now[0] += delay
    assert now[0] == pytest.approx(1000.2)
