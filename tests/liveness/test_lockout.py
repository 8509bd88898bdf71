from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise

import pytest

from mien.errors import LivenessError
from mien.liveness.audit import add_line, audit_path
from mien.liveness.lockout import FIRST_WAIT, FORGET, FREE, LONGEST_WAIT, LockedError, Lockout, wait_after

GALLERY, PERSON = "a" * 32, "b" * 32


class Clock:
    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lockout(tmp_path, clock):
    return lambda person=PERSON, gallery=GALLERY: Lockout(gallery, person, folder=tmp_path, clock=clock)


def fail(lockout, times=1):
    for _ in range(times):
        with lockout().attempt():
            pass


def test_waits_grow_and_have_an_end():
    waits = [wait_after(n) for n in range(200)]
    assert waits[:FREE] == [0.0] * FREE
    assert waits[FREE] == FIRST_WAIT
    assert all(a <= b for a, b in pairwise(waits))
    assert waits[-1] == LONGEST_WAIT


def test_after_some_failures_one_has_to_wait(lockout, clock):
    fail(lockout, FREE)
    with pytest.raises(LockedError, match="30 s after 3"), lockout().attempt():
        pytest.fail("began")
    clock.now += FIRST_WAIT - 1
    assert lockout().wait().seconds == pytest.approx(1)
    clock.now += 1
    fail(lockout)
    assert lockout().wait().seconds == pytest.approx(2 * FIRST_WAIT)


def test_a_success_forgives(lockout):
    fail(lockout, FREE - 1)
    with lockout().attempt() as let_in:
        let_in()
    assert lockout().wait().failures == 0


def test_what_is_refused_for_waiting_does_not_count(lockout):
    fail(lockout, FREE)
    for _ in range(5):
        with pytest.raises(LockedError), lockout().attempt():
            pass
    assert lockout().wait().failures == FREE


def test_each_person_and_gallery_has_their_own(lockout):
    fail(lockout, FREE)
    assert lockout(person="c" * 32).wait().seconds == 0
    assert lockout(gallery="c" * 32).wait().seconds == 0


def test_a_clock_that_is_set_back_does_not_help(lockout, clock):
    fail(lockout, FREE)
    clock.now -= 10 * FIRST_WAIT
    assert lockout().wait().seconds == pytest.approx(FIRST_WAIT)


def test_failures_are_forgotten_in_the_end(lockout, clock):
    fail(lockout, FREE)
    clock.now += FORGET + 1
    assert lockout().wait().failures == 0


def test_a_process_that_is_killed_in_an_attempt_has_failed(tmp_path, lockout):
    code = (
        "import os, sys; from pathlib import Path; from mien.liveness.lockout import Lockout\n"
        f"with Lockout({GALLERY!r}, {PERSON!r}, folder=Path(sys.argv[1]), clock=lambda: 1.8e9).attempt(): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    assert lockout().wait().failures == 1
    fail(lockout)  # its lock went with it


def test_one_attempt_at_a_time(lockout):
    with lockout().attempt(), pytest.raises(LockedError, match="another attempt"), lockout().attempt():
        pytest.fail("began")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"failures": -1}', '{"format": "mien lockout 1", "failures": "0"}']
)
def test_a_damaged_file_opens_nothing(tmp_path, lockout, content):
    fail(lockout)
    [path] = (tmp_path / "unlock").glob("*.json")
    path.write_text(content)
    with pytest.raises(LivenessError, match="damaged"), lockout().attempt():
        pytest.fail("began")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_files_are_private_and_name_nobody(tmp_path, lockout):
    fail(lockout)
    add_line({"at": "now", "accepted": False}, tmp_path)
    files = list((tmp_path / "unlock").iterdir())
    assert {path.stat().st_mode & 0o077 for path in files if path.suffix != ".lock"} == {0}
    assert (tmp_path / "unlock").stat().st_mode & 0o077 == 0
    assert not any(PERSON in path.name or GALLERY in path.name for path in files)


def test_lines_are_added_one_by_one(tmp_path):
    for n in range(3):
        add_line({"n": n}, tmp_path)
    assert [json.loads(line)["n"] for line in audit_path(tmp_path).read_text().splitlines()] == [0, 1, 2]


def test_a_line_that_cannot_be_written(tmp_path):
    audit_path(tmp_path).mkdir(parents=True)
    with pytest.raises(LivenessError, match="nobody is let in"):
        add_line({}, tmp_path)


def test_an_attempt_may_begin_in_one_thread_and_end_in_another(lockout):
    stack = ExitStack()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(stack.enter_context, lockout().attempt()).result()
    with pytest.raises(LockedError, match="under way"), lockout().attempt():
        pytest.fail("began")
    stack.close()
    fail(lockout)
    assert lockout().wait().failures == 2
