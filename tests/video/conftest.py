"""Videos that several tests use."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.video.making import write_numbered


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for videos that are made once."""
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="session")
def clip(videos: Path) -> Path:
    """H.264 in MP4: 100 numbered pictures of 96 x 64, 25 a second, every 20th decodable by itself, B-frames between."""
    return write_numbered(videos / "clip.mp4", 100, options={"g": "20", "bf": "2"})


@pytest.fixture(autouse=True)
def _no_thread_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if not request.module.__name__.rpartition(".")[2].startswith("test_frames"):
        return  # others may keep a source open for several tests
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _readers():
        time.sleep(0.01)
    assert not _readers()


def _readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mien-frames"]
