"""`mien video`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien.video.timeline import Timeline
from tests.video.clips import clip
from tests.video.serving import Server

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def two_people(tmp_path_factory, portrait, astronaut) -> Path:
    """A second of one, nobody, a second of the other."""
    path = tmp_path_factory.mktemp("video") / "two people.mp4"
    return clip(path, [portrait, None, astronaut])


@pytest.fixture(scope="module")
def gallery(tmp_path_factory, portrait, mien) -> Path:
    path = tmp_path_factory.mktemp("people") / "people.db"
    assert mien("gallery", "enrol", "<Grace> & 王", portrait, "--gallery", path).returncode == 0
    return path


def clean(environment=None) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "MIEN_GALLERY"} | (environment or {})


def test_everything_at_once(two_people, gallery, mien, tmp_path):
    names = ("t.parquet", "t.csv", "t.jsonl", "t.vtt")
    outs = [part for name in names for part in ("--out", tmp_path / name)]
    done = mien(
        "video", two_people, "--gallery", gallery, *outs, "--plot", tmp_path / "t.png", "--report", tmp_path / "t.html",
        "--render", tmp_path / "t.mp4", "--line", "50%,0%,50%,100%", "--json", "--every", "1", "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [person["who"] for person in told["people"]] == ["<Grace> & 王", "person 2"]
    assert told["counts"] == {"people": 2, "at_least": 2, "named": 1, "at_once": 1, "fleeting_tracks": 0}
    assert told["lines"] == [{"line": [120, 0, 120, 240], "in": 0, "out": 0}]
    assert told["video"]["end"] == pytest.approx(3, abs=0.1)
    assert 0.7 < told["people"][0]["seconds"] < 1.3
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {*names, "t.png", "t.html", "t.mp4"}  # and nothing that is left over
    timelines = [Timeline.load(tmp_path / name) for name in names[:3]]
    assert len({len(timeline) for timeline in timelines}) == 1
    people = {tuple(person.label for person in timeline.people) for timeline in timelines}
    assert people == {("<Grace> & 王", "person 2")}
    assert "&lt;Grace&gt; &amp; 王" in (tmp_path / "t.vtt").read_text("utf-8")
    assert "&lt;Grace&gt; &amp; 王" in (tmp_path / "t.html").read_text("utf-8")


def test_a_table_without_a_gallery(two_people, mien):
    done = mien("video", two_people, "--only", "detect,expression,embed", "--threads", "1")
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.decode().splitlines()
    assert head.split("\t") == ["person", "present", "mostly", "smiles"]
    assert [row.split("\t")[0] for row in rows] == ["person 1", "person 2"]
    assert b"2 people, at most 1 at once" in done.stderr
    assert b"one of the others" not in done.stderr  # both are seen well


def test_nobody(tmp_path, mien):
    empty = clip(tmp_path / "grey.mp4", [None], seconds=0.4)
    done = mien("video", empty, "--out", tmp_path / "t.csv", "--plot", tmp_path / "t.png", "--threads", "1")
    assert done.returncode == 0
    assert done.stdout == b""
    assert b"nobody was seen" in done.stderr
    assert len(Timeline.load(tmp_path / "t.csv")) == 0
    assert json.loads(mien("video", empty, "--json", "--threads", "1").stdout)["people"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.mp4"], "none.mp4: no such file"),
        (["v.mp4", "--out", "t.xlsx"], "use .parquet, .csv"),
        (["v.mp4", "--out", "none/t.csv"], "its folder does not exist"),
        (["v.mp4", "--out", "a.csv", "--out", "./a.csv"], "same name"),
        (["v.mp4", "--plot", "t.doc"], "not a format for plots"),
        (["v.mp4", "--plot", "t.gif"], "t.gif: not a format for plots; use .png, .svg, .pdf"),
        (["sound.wav"], "sound.wav: there is only sound in it, and no picture"),
        (["v.mp4", "--report", "t.txt"], "use .html"),
        (["v.mp4", "--render", "t.gif"], "not a format for videos"),
        (["v.mp4", "--render", "v.mp4"], "is the video itself"),
        (["v.mp4", "--line", "1,2,3"], "is no line"),
        (["v.mp4", "--gallery", "none.db"], "there is no gallery"),
        (["v.mp4", "--resume"], "--out"),
        (["v.mp4", "--resume", "--out", "t.csv"], "no run to go on with"),
        (["v.mp4", "--start", "5", "--end", "4"], "not after"),
        (["v.mp4", "--every", "often"], "neither a number"),
        (["v.mp4", "--only", "age"], "mien analyze"),
        (["v.mp4", "--only", "faces"], "unknown: faces; choose from detect, pose, expression, eyes"),
        ([""], "the name of the source is empty"),
        (["-"], "not from standard input"),
        (["text.mp4"], "text.mp4"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, message, two_people, tmp_path):
    (tmp_path / "v.mp4").write_bytes(two_people.read_bytes())
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "sound.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40))
    before = sorted(path.name for path in tmp_path.iterdir())
    from typer.testing import CliRunner

    from mien.cli.app import app

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.delenv("MIEN_GALLERY", raising=False)
        done = CliRunner().invoke(app, ["video", *arguments, "--threads", "1"])
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert "Traceback" not in done.stderr


def test_a_gallery_of_another_embedder(two_people, gallery, mien, tmp_path):
    done = mien("video", two_people, "--gallery", gallery, "--embedder", "sface", "--out", tmp_path / "t.csv")
    assert done.returncode == 2
    assert b"mien gallery reembed" in done.stderr
    assert len(done.stderr.decode().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def running(video: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mien", "video", str(video), *map(str, arguments), "--threads", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean())


def wait_for(path: Path, size: int, process: subprocess.Popen[bytes]) -> None:
    """Until a file is so large."""
    end = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < end:
        if path.exists() and path.stat().st_size > size:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path.name} did not come: {process.communicate()}")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupted_and_killed_runs_go_on(tmp_path, portrait, astronaut, mien):
    video = clip(tmp_path / "long.mp4", [portrait, None, astronaut] * 4, fps=12)
    whole = mien("video", video, "--every", "1", "--threads", "1", "--json")
    out, part = tmp_path / "t.csv", tmp_path / "t.csv.part"
    out.write_text("earlier")
    process = running(video, "--out", out, "--every", "1")
    wait_for(part, 10, process)
    process.send_signal(signal.SIGSTOP)  # else it could have ended before the other begins
    beside = mien("video", video, "--out", out, "--threads", "1")
    assert beside.returncode == 2
    assert beside.stderr.decode() == f"mien: {out}: another run is writing it; wait for it, or name another file\n"
    process.kill()
    process.communicate()
    assert out.read_text() == "earlier"
    assert part.exists()
    part.unlink()
    process = running(video, "--out", out, "--plot", tmp_path / "t.png", "--every", "1")
    wait_for(part, 10, process)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    table, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert b"goes on with --resume" in errors
    assert table.startswith(b"person\tpresent")
    half = Timeline.load(out)
    assert (tmp_path / "t.png").stat().st_size > 1000
    assert half.source.end < 12
    done = mien("video", video, "--out", out, "--every", "1", "--resume", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == json.loads(whole.stdout)
    assert told["video"]["moments"] == 144
    assert len(Timeline.load(out)) > len(half)
    assert not part.exists()
    wrong = mien("video", video, "--out", out, "--every", "1", "--resume", "--threads", "1")
    assert wrong.returncode == 2
    assert b"no run to go on with" in wrong.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_live_source_ends_with_ctrl_c(tmp_path):
    with Server(fps=20) as server:
        url = server.url("stream", "user:secret@")
        process = running(url, "--out", tmp_path / "t.jsonl", "--render", tmp_path / "t.mp4", "--json")
        wait_for(tmp_path / "t.jsonl.part", 10, process)
        assert b"secret" not in (tmp_path / "t.jsonl.part").read_bytes()
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=240)
        again = running(url, "--out", tmp_path / "t.jsonl", "--resume", "--json", "--render", tmp_path / "t.mp4")
        _, refusal = again.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert again.returncode == 2, refusal
    assert b"is live" in refusal
    video = json.loads(told)["video"]
    assert video["moments"] > 1
    assert "secret" not in told.decode() + errors.decode()
    with av.open(tmp_path / "t.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == video["moments"]
    assert json.loads((tmp_path / "t.jsonl").read_text().splitlines()[0])["source"]["moments"] == video["moments"]


@pytest.mark.data
def test_hamilton(shared_photos, mien, tmp_path):
    """A real video: 9 seconds, of several scenes."""
    done = mien("video", shared_photos / "hamilton.mp4", "--out", tmp_path / "t.parquet", "--json", "--threads", "1")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["video"] == {
        "source": str(shared_photos / "hamilton.mp4"), "width": 640, "height": 360, "start": 0.844, "end": 10.02,
        "moments": 275,
    }  # fmt: skip
    timeline = Timeline.load(tmp_path / "t.parquet")
    assert timeline.summary.to_dict()["people"] == told["people"]
    lin = [person for person in timeline.people if person.presence[0][0] < 5 < person.presence[-1][1]]
    assert len(lin) == 1  # one man alone on the stage, from 3.6 to 7.9 s
    assert lin[0].seconds > 4
