"""Folders and patterns of pictures, and iterables of them, as frames."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mien.errors import VideoError
from mien.ops.image import save_image
from mien.video.frames import open_frames
from tests.video.making import number_of, numbered


@pytest.fixture
def folder(tmp_path) -> Path:
    """frame1.png to frame12.png, and things that are no frames."""
    path = tmp_path / "frames"
    (path / "more").mkdir(parents=True)
    for i in range(12):
        save_image(path / f"frame{i + 1}.png", numbered(i))
    save_image(path / "more" / "frame0.png", numbered(99))
    (path / "notes.txt").write_text("notes")
    return path


def test_a_folder_in_natural_order_at_its_rate(folder):
    with open_frames(folder, fps=5) as frames:
        got = list(frames)
        info = frames.info
    assert [number_of(frame.image) for frame in got] == list(range(12))
    assert [frame.time for frame in got] == pytest.approx([i / 5 for i in range(12)])
    assert (info.fps, info.frames, info.width, info.height, info.live) == (5, 12, 96, 64, False)
    assert info.duration == pytest.approx(2.4)


def test_a_pattern(folder):
    with open_frames(str(folder / "frame1?.png"), fps=10) as frames:
        assert [number_of(frame.image) for frame in frames] == [9, 10, 11]


def test_selected_and_scaled(folder):
    with open_frames(folder, fps=5, start=1.0, end=2.0, every=2, longest=48) as frames:
        got = list(frames)
    assert [(frame.index, number_of(frame.image)) for frame in got] == [(0, 5), (2, 7), (4, 9)]
    assert {frame.image.shape for frame in got} == {(32, 48, 3)}


def test_a_picture_that_cannot_be_read_leaves_a_gap(folder):
    (folder / "frame3.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    (folder / "frame5.png").unlink()
    with open_frames(folder, fps=4) as frames:
        got = list(frames)
        losses = frames.losses
    assert [number_of(frame.image) for frame in got] == [0, 1, 3, 5, 6, 7, 8, 9, 10, 11]
    assert [frame.time for frame in got][:4] == pytest.approx([0, 0.25, 0.75, 1.0])
    assert losses[0] == "1 picture could not be read (at 0.5 s)"
    assert "frame3.png" in losses[1]


def test_a_picture_that_disappears(folder):
    with open_frames(folder, every=1) as frames:
        next(frames)
        (folder / "frame12.png").unlink(missing_ok=True)
        got = list(frames)
    assert len(got) in (10, 11)  # read ahead before it went, or not


def test_without_pictures(tmp_path):
    (tmp_path / "text.txt").write_text("text")
    for source in (tmp_path, tmp_path / "*.png"):
        with pytest.raises(VideoError, match="there are no pictures in it"):
            open_frames(source)


def test_only_damaged_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"none")
    with pytest.raises(VideoError, match="no picture can be read from it: 1 picture could not be read"):
        open_frames(tmp_path)


def test_over_the_pixel_limit(folder):
    with pytest.raises(VideoError, match="12 pictures could not be read"):
        open_frames(folder, max_pixels=100)


# Iterables


def test_an_iterable_of_times_and_pictures(portrait):
    pairs = [(0.5, numbered(1)), (0.7, portrait), (2.0, portrait.read_bytes())]
    with open_frames(pairs) as frames:
        assert frames.info.width is None
        got = list(frames)
        assert (frames.info.width, frames.info.height) == (96, 64)
    assert [(frame.index, frame.time) for frame in got] == [(0, 0.5), (1, 0.7), (2, 2.0)]
    assert [frame.image.shape for frame in got] == [(64, 96, 3), (600, 512, 3), (600, 512, 3)]


def test_an_iterable_is_taken_from_as_frames_are_wanted():
    taken: list[int] = []
    threads: set[int] = set()

    def pairs() -> Iterator[tuple[float, np.ndarray]]:
        for i in range(1000):
            taken.append(i)
            threads.add(threading.get_ident())
            yield i / 10, numbered(i)

    with open_frames(pairs(), longest=48, every=10, start=5) as frames:
        assert taken == []
        frame = next(frames)
    assert (frame.index, frame.time, number_of(frame.image), frame.image.shape) == (0, 5.0, 50, (32, 48, 3))
    assert taken == list(range(51))
    assert threads == {threading.get_ident()}
    assert next(frames, None) is None


def test_pictures_of_an_iterable_that_cannot_be_read():
    with open_frames([(0.0, numbered(0)), (1.0, b"none"), (2.0, numbered(2))]) as frames:
        assert [frame.index for frame in frames] == [0, 2]
        assert frames.losses[0] == "1 picture could not be read (at 1.0 s)"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([1, 2], "not pairs of a time in seconds and a picture"),
        ([("now", numbered(0))], "not pairs of a time in seconds and a picture"),
        ([(1.0, numbered(0)), (1.0, numbered(1))], r"times must rise, and 1\.0 s does not follow 1\.0 s"),
        ([(float("nan"), numbered(0))], "times must rise"),
    ],
)
def test_what_is_no_iterable_of_pictures(pairs, message):
    with open_frames(pairs) as frames, pytest.raises(VideoError, match=message):
        list(frames)


def test_an_error_of_the_iterable_is_its_own():
    def pairs() -> Iterator[tuple[float, np.ndarray]]:
        yield 0.0, numbered(0)
        raise RuntimeError("its own")

    with open_frames(pairs()) as frames, pytest.raises(RuntimeError, match="its own"):
        list(frames)
