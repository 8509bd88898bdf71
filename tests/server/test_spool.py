"""Uploads on their way to files: in order, in pieces, and never while others wait for it."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from mien.server.spool import Spool


def test_what_comes_is_written_in_order_and_a_file_without_bytes_is_there(tmp_path):
    one, other, empty = (tmp_path / name for name in ("one", "other", "empty"))

    async def run():
        spool = Spool()
        held = []
        for path, data in ((one, b"ab"), (other, b"xyz"), (empty, b""), (one, b"cd"), (other, b"w")):
            spool.add(path, data)
            await spool.flush(5)
            held.append(spool.held)
        await spool.flush()
        await spool.flush()
        return [*held, spool.held]

    assert asyncio.run(run()) == [2, 0, 0, 2, 3, 0]
    assert [path.read_bytes() for path in (one, other, empty)] == [b"abcd", b"xyzw", b""]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have a name")
def test_a_disk_that_does_not_answer_keeps_nobody_else_waiting(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # whoever opens it for writing waits until somebody reads

    async def run():
        spool = Spool()
        spool.add(pipe, b"a video")
        writing = asyncio.create_task(spool.flush())
        began = time.monotonic()
        for _ in range(20):
            await asyncio.sleep(0.005)
        free = time.monotonic() - began
        assert not writing.done()
        read = await asyncio.to_thread(pipe.read_bytes)
        await writing
        return free, read

    free, read = asyncio.run(run())
    assert read == b"a video"
    assert free < 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_is_told(tmp_path):
    spool = Spool()
    spool.add(Path("/dev/full"), b"a video")
    with pytest.raises(OSError, match="space"):
        asyncio.run(spool.flush())
