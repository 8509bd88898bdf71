from __future__ import annotations

import json

import pytest

from mien import FaceAnalyzer, load_image
from mien.errors import DataError
from mien.evaluation.liveness import NO_END, LivenessReport, Species, read_recordings

pytest.importorskip("av")

from tests.liveness.acting import Actor
from tests.liveness.recordings import record_person, record_print


def test_rates_are_those_of_the_standard():
    report = LivenessReport(
        "networks",
        Species(20, 19, {"not-done": 1}),
        {"print": Species(200, 0, {"not-done": 200}), "mask": Species(4, 1, {NO_END: 2, "too-early": 1})},
    )
    assert report.bpcer == pytest.approx(0.05)
    assert report.apcer == pytest.approx(0.25)
    told = report.to_dict()
    assert told["n"] == 224
    assert told["genuine"]["bpcer"] == 0.05
    assert told["attacks"]["mask"]["apnrr"] == 0.5
    low, high = told["attacks"]["print"]["apcer_interval"]
    assert low == 0
    assert high < 0.02


@pytest.fixture
def folders(tmp_path):
    for name in ("genuine", "attacks/print"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def video(path, sidecar=None):
    path.write_bytes(b"")
    if sidecar is not None:
        path.with_suffix(".json").write_text(sidecar)


def read(folders):
    return read_recordings(folders / "genuine", folders / "attacks")


def test_what_was_asked_is_read(folders):
    video(folders / "genuine" / "a.mp4", '{"challenge": ["smile", "blink"], "asked": [1, 4.5]}')
    video(folders / "attacks" / "print" / "b.mkv")
    genuine, attack = read(folders)
    assert genuine.challenge.actions == ("smile", "blink")
    assert genuine.challenge.asked == (1.0, 4.5)
    assert attack.kind == "print"
    assert read(folders)[1].challenge.actions == attack.challenge.actions  # drawn by name: the same again


@pytest.mark.parametrize(
    "sidecar",
    [None, "", "[]", "{}", '{"challenge": "smile"}', '{"challenge": ["wink"]}', '{"challenge": [], "asked": []}',
     '{"challenge": ["smile"], "asked": [1, 2]}', '{"challenge": ["smile"], "asked": 3}', '{"challenge": [["smile"]]}'],
)  # fmt: skip
def test_genuine_recordings_need_to_say_what_was_asked(folders, sidecar):
    video(folders / "genuine" / "a.mp4", sidecar)
    video(folders / "attacks" / "print" / "b.mp4")
    with pytest.raises(DataError, match="asked"):
        read(folders)


def test_folders_without_videos(folders):
    with pytest.raises(DataError, match="no video"):
        read(folders)
    with pytest.raises(DataError, match="no such folder"):
        read_recordings(folders / "nowhere", folders)
    video(folders / "genuine" / "a.mp4", '{"challenge": ["smile"]}')
    with pytest.raises(DataError, match="no folder"):
        read_recordings(folders / "genuine", folders / "attacks" / "print")


@pytest.mark.slow
def test_command(folders, mien, portrait):
    image = load_image(portrait)
    actor = Actor(image, FaceAnalyzer(only=("detect",), threads=1)(image).landmarks[0])
    record_person(folders / "genuine" / "a.mp4", actor, {"open-mouth": 2.0})
    record_print(folders / "attacks" / "print" / "a.mp4", actor, seconds=2.0)
    (folders / "attacks" / "print" / "torn.mp4").write_bytes(b"no video")
    out = folders / "report.json"
    done = mien(
        "evaluate", "liveness", folders / "genuine", folders / "attacks", "--json", "--out", out, "--threads", 1
    )
    assert done.returncode == 2, done.stderr  # one could not be read
    told = json.loads(done.stdout)
    assert told == json.loads(out.read_text())
    assert told["genuine"] == {**told["genuine"], "n": 1, "accepted": 1}, told
    assert told["attacks"]["print"]["accepted"] == 0
    assert "torn.mp4" in told["unreadable"][0]["path"]
