"""Runs: rows on disk as they come, resumed after anything."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mien.errors import DataError, MienError
from mien.video import running
from mien.video.columns import COLUMNS, Rows
from mien.video.counting import Line
from mien.video.journal import alone
from mien.video.running import Run
from mien.video.state import State
from mien.video.timeline import Timeline
from tests.video.made_up import LABELS, scene

ACTS = {
    1: [(0, 4, "neutral"), (4, 8, "happiness"), (8, 20, "neutral")],
    2: [(3, 18, "surprise")],
    3: [(2, 6, "neutral")],
}
UNCLEAR = [(1, 0, 6), (2, 0, 20), (3, 0, 4)]
SETUP = {"source": "scene.mp4", "every": 5}


def moments():
    return list(scene(ACTS, seconds=20, names={1: "Anna"}, states=True, unclear=UNCLEAR))


def started(path, **how) -> Run:
    return Run.start(path, name="scene.mp4", labels=LABELS, setup=SETUP, **how)


def all_rows(run: Run) -> Rows:
    return Rows.joined(run.blocks(), LABELS)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(running, "_ROWS", 20)


def test_a_run_says_what_a_timeline_says(tmp_path):
    lines = [Line((0, 180), (640, 180))]
    run = started(tmp_path / "run.part", lines=lines)
    for moment in moments():
        run.add(moment)
    run.finish()
    whole = Timeline.of(moments(), lines=lines, name="scene.mp4")
    rows = all_rows(run)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(rows, name), getattr(whole.rows, name), err_msg=name)
    assert run.summary().to_dict() == whole.summary.to_dict()
    assert run.content().known == whole.rows.known
    assert len(list(run.blocks())) > 5
    run.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_nothing_came(tmp_path):
    with started(tmp_path / "run.part") as run:
        run.finish()
        assert run.summary().people == []
        assert len(all_rows(run)) == 0


@pytest.mark.parametrize("kept", [30, 111, 200])
@pytest.mark.parametrize("finished", [False, True])
def test_a_run_goes_on_after_the_last_state(tmp_path, kept, finished):
    path = tmp_path / "run.part"
    run = started(path)
    for moment in moments()[:kept]:
        run.add(moment)
    if finished:
        run.finish()  # as after a Ctrl-C; else as where the process is killed: what waited in memory is lost
    run.close(remove=False)
    with Run.resume(path, setup=SETUP) as again:
        assert kept / 10 - 3 < again.state.time < kept / 10
        assert all_rows(again).time.max() == again.state.time
        for moment in moments():
            if moment.time > again.state.time:
                again.add(moment)
        again.finish()
        rows = all_rows(again)
        summary = again.summary()
    whole = Timeline.of(moments(), name="scene.mp4")
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(rows, name), getattr(whole.rows, name), atol=1e-5, err_msg=name)
    assert again.source == whole.source
    assert summary.to_dict() == whole.summary.to_dict()


def test_before_the_first_state_a_run_begins_anew(tmp_path):
    path = tmp_path / "run.part"
    with started(path) as run:
        run.add(replace(moments()[0], state=None))
        run.finish()
    with Run.resume(path, setup=SETUP) as again:
        assert again.state is None
        assert len(all_rows(again)) == 0
        assert again.source.name == "scene.mp4"


def test_large_states_are_kept_rarely(tmp_path):
    """As many bytes of rows are written as of states: a crowd does not fill the disk."""
    path = tmp_path / "run.part"
    crowd = {"embedding": np.random.default_rng(0).normal(size=(200, 128)).astype(np.float32)}
    with started(path) as run:
        for moment in moments():
            run.add(replace(moment, state=moment.state and State(moment.time, {}, crowd)))
        run.finish()
    data = path.read_bytes()
    assert 1 <= data.count(b"_state_embedding.npy") // 2 <= 2  # each name stands twice in an archive
    with Run.resume(path, setup=SETUP) as again:
        np.testing.assert_array_equal(again.state.arrays["embedding"], crowd["embedding"])


def test_one_run_at_a_time(tmp_path):
    path = tmp_path / "t.csv.part"
    with alone(path):
        with pytest.raises(MienError, match=r"t\.csv: another run is writing it"), alone(path):
            pass
        assert [p.name for p in tmp_path.iterdir()] == ["t.csv.part.lock"]
    assert list(tmp_path.iterdir()) == []
    with alone(path):
        pass


@pytest.mark.parametrize("lost", [1, 7, 40, 500])
def test_a_block_that_was_not_written_whole_is_cut_off(tmp_path, lost):
    path = tmp_path / "run.part"
    run = started(path)
    for moment in moments():
        run.add(moment)
    before = run.state.time
    run.close(remove=False)
    data = path.read_bytes()
    path.write_bytes(data[:-lost])
    with Run.resume(path, setup=SETUP) as again:
        assert again.state.time < before
        again.finish()
        assert len(all_rows(again))
    with Run.resume(path, setup=SETUP) as third:
        assert third.state.time == again.state.time  # what follows a cut is whole


def test_damage_in_the_middle_ends_there(tmp_path):
    path = tmp_path / "run.part"
    run = started(path)
    for moment in moments():
        run.add(moment)
    run.close(remove=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with Run.resume(path, setup=SETUP) as again:
        assert again.state.time < 19


def test_another_task_is_refused(tmp_path):
    path = tmp_path / "run.part"
    started(path).close(remove=False)
    with pytest.raises(DataError, match="that run had every 5, this one has 1"):
        Run.resume(path, setup={**SETUP, "every": 1})


@pytest.mark.parametrize("data", [b"", b"x", b"something else entirely", b"mien video run 2\n"])
def test_what_is_no_run_is_refused(tmp_path, data):
    path = tmp_path / "run.part"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"not left by|nothing was done"):
        Run.resume(path, setup=SETUP)
    with pytest.raises(DataError, match="no run to go on with"):
        Run.resume(tmp_path / "none.part", setup=SETUP)


def test_objects_in_blocks_are_not_loaded(tmp_path):
    """A pickle in a block, with the right checksum, is refused unread."""
    import io
    import zlib

    from mien.video.journal import _BLOCK, _HEAD

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / "run.part"
    started(path).close(remove=False)
    buffer = io.BytesIO()
    trap = np.array(Trap(), dtype=object)
    np.savez(buffer, _progress=trap, _state_told=trap)
    payload = buffer.getvalue()
    with path.open("ab") as file:
        file.write(_HEAD.pack(_BLOCK, len(payload), zlib.crc32(payload)) + payload)
    with pytest.raises(DataError, match="damaged"):
        Run.resume(path, setup=SETUP)
    assert not (tmp_path / "executed").exists()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(MienError, match="cannot be written"):
        started(tmp_path / "none" / "run.part")


def test_only_the_owner_reads_a_run(tmp_path):
    started(tmp_path / "run.part").close(remove=False)
    assert os.name != "posix" or (tmp_path / "run.part").stat().st_mode & 0o077 == 0


def test_memory_does_not_grow_with_the_video(tmp_path):
    """More of the same takes no more memory."""
    import tracemalloc

    calm = {1: [(0, 1e9, "neutral")], 2: [(0, 1e9, "happiness")]}
    first = next(iter(scene(calm, fps=1, seconds=1)))
    sizes = []
    with started(tmp_path / "run.part") as run:
        tracemalloc.start()
        for i in range(900):
            run.add(replace(first, frame=i, time=i * 1.0))
            if i in (599, 899):  # both at the same distance from the last block
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    # 600 rows more: each that was kept would be 150 bytes at least; what little else grows was not traced to mien
    assert sizes[1] - sizes[0] < 600 * 50


KILLED = """
import sys
from pathlib import Path
from mien.video import running
from tests.video.test_running import started, moments
running._ROWS = 20
run = started(Path(sys.argv[1]))
for moment in moments():
    run.add(moment)
    print(moment.time, flush=True)
    sys.stdin.readline()  # no further than it is told to
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_run_that_is_killed_goes_on(tmp_path):
    path = tmp_path / "run.part"
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        while float(process.stdout.readline()) <= 6:
            process.stdin.write("\n")
        process.send_signal(signal.SIGKILL)
    with Run.resume(path, setup=SETUP) as run:
        assert 3 < run.state.time <= 7
        run.finish()
        assert run.summary().people[0].label == "Anna"
