from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from mien import FaceAnalyzer, Gallery, load_image
from mien.liveness.lockout import FREE, Lockout
from mien.liveness.reasons import SENTENCES

pytest.importorskip("av")

from tests.liveness.acting import Actor, Shown, camera
from tests.liveness.recordings import record_person, record_print
from tests.video.serving import Server

ASKED = {"smile": 2.0, "turn-left": 5.0}


@pytest.fixture(scope="module")
def actor(portrait):
    image = load_image(portrait)
    return Actor(image, FaceAnalyzer(only=("detect",), threads=1)(image).landmarks[0])


@pytest.fixture(scope="module")
def door(tmp_path_factory, mien, portrait, actor):
    """A folder with a gallery and recordings."""
    folder = tmp_path_factory.mktemp("door")
    done = mien("gallery", "enrol", "Grace", portrait, "--gallery", folder / "people.db")
    assert done.returncode == 0, done.stderr
    record_person(folder / "genuine.mp4", actor, ASKED)
    record_print(folder / "print.mp4", actor)
    (folder / "torn.mp4").write_bytes((folder / "print.mp4").read_bytes()[:300])
    return folder


@pytest.fixture
def unlock(door, mien, tmp_path):
    def run(*arguments, **environment):
        where = ("--gallery", door / "people.db", "--threads", 1)
        return mien("unlock", "Grace", *where, *arguments, MIEN_STATE=str(tmp_path), **environment)

    return run


@pytest.mark.slow
def test_a_rehearsal_says_what_would_have_been_and_never_unlocks(door, unlock, tmp_path):
    done = unlock("--frames", door / "genuine.mp4", "--challenge", "smile@2,turn-left@5", "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["reason"] == "rehearsal"
    assert not told["accepted"]
    assert told["rehearsal"] == {"passed": True}, told
    assert told["verification"]["same"]
    assert told["challenge"] == ["smile", "turn-left"]
    assert "Smile  请微笑" in done.stderr.decode()
    [line] = (tmp_path / "unlock" / "attempts.jsonl").read_text().splitlines()
    assert "Grace" not in line
    assert json.loads(line)["reason"] == "rehearsal"


@pytest.mark.slow
def test_a_print_does_not_pass(door, unlock):
    done = unlock("--frames", door / "print.mp4", "--challenge", "smile", "--language", "zh")
    assert done.returncode == 1, done.stderr
    assert "It would have been refused." in done.stdout.decode()
    assert "Smile" not in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--frames", "film.mp4"], "go together"),
        (["--challenge", "smile"], "go together"),
        (["--source", "film.mp4"], "--frames"),
        (["--frames", "film.mp4", "--challenge", "wink"], "no action"),
        (["--frames", "film.mp4", "--challenge", "smile@2,blink"], "each action"),
        (["--frames", "film.mp4", "--challenge", "smile@x"], "could not convert"),
        (["--language", "fr"], "none of both"),
        (["--without", "smile", "--without", "blink", "--without", "open-mouth"], "remain"),
        (["--fmr", "0.5"], "false match rate"),
        (["--frames", "nowhere.mp4", "--challenge", "smile"], "nowhere.mp4"),
    ],
)
def test_usage(unlock, arguments, says):
    done = unlock(*arguments)
    assert done.returncode == 2, done.stdout
    assert says in " ".join(done.stderr.decode().replace("│", " ").split())


def test_who_fails_three_times_waits(door, unlock, tmp_path):
    with Gallery.open(door / "people.db") as gallery:
        who = gallery.person("Grace").id
        for _ in range(FREE):
            with Lockout(gallery.info.id, who, folder=tmp_path).attempt():
                pass
    done = unlock("--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["reason"] == "locked"
    assert 0 < told["wait"] <= 30


@pytest.fixture
def unwilling(door):
    """Somebody else with the same face, who withdrew their consent, or whose time is over."""
    with Gallery.open(door / "people.db") as gallery:
        [face] = gallery.faces(gallery.person("Grace").id)
        gallery.enrol("Ada", gallery.vectors([face.id]))

        def becomes(reason):
            if reason == "withdrawn":
                gallery.consent("Ada", None)
            else:
                gallery.expire("Ada", datetime.now(UTC) - timedelta(days=1))

        yield becomes
        gallery.remove("Ada")


@pytest.mark.parametrize("reason", ["withdrawn", "expired"])
def test_who_may_not_be_recognised_is_refused_before_the_camera_is_opened(door, mien, tmp_path, unwilling, reason):
    """There is no camera here: whoever gets so far gets exit code 2."""
    unwilling(reason)
    form = ["--json"] if reason == "withdrawn" else []
    done = mien("unlock", "Ada", "--gallery", door / "people.db", "--threads", 1, *form, MIEN_STATE=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert not (tmp_path / "unlock").exists()  # no attempt, no failure
    if form:
        told = json.loads(done.stdout)
        assert told == {"schema": 1, "accepted": False, "reason": reason, "text": dict(SENTENCES["withdrawn"])}
    else:
        assert done.stdout.decode().strip() == "  ".join(SENTENCES["expired"].values())


def test_a_file_that_is_no_video(door, unlock):
    done = unlock("--frames", door / "torn.mp4", "--challenge", "smile")
    assert done.returncode == 2
    assert done.stdout == b""


def test_somebody_who_is_not_in_the_gallery(door, mien):
    done = mien("unlock", "Nemo", "--gallery", door / "people.db", "--threads", 1)
    assert done.returncode == 2
    assert b"nobody called" in done.stderr


class Camera(Server):
    """A live stream of a photograph that is held in front of a camera."""

    def __init__(self, actor):
        super().__init__(fps=12)
        self._shown, self._picture, self._random = Shown(actor.photo[::-1]), actor.photo, np.random.default_rng(0)

    def next_jpeg(self):
        self._number += 1
        sway = (5 * np.sin(self._number / 12), 0.0)
        file = io.BytesIO()
        Image.fromarray(camera(self._shown(self._picture, move=sway), self._random)).save(file, "JPEG", quality=90)
        return file.getvalue()


@pytest.mark.slow
def test_a_print_before_a_live_camera(actor, unlock, tmp_path):
    with Camera(actor) as live:
        done = unlock("--source", live.url("stream"), "--json", "--size", "256")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["reason"] in ("not-done", "presentation", "stream"), told
    assert told["steps"] == 0
    assert "rehearsal" not in told
    [line] = (tmp_path / "unlock" / "attempts.jsonl").read_text().splitlines()
    assert json.loads(line)["nonce"] == told["nonce"]
    [kept] = (tmp_path / "unlock").glob("*.json")
    assert json.loads(kept.read_text())["failures"] == 1


def test_a_recording_is_no_camera_though_it_comes_over_the_network(door, unlock, tmp_path):
    with Server({"film.mp4": (door / "print.mp4").read_bytes()}) as server:
        done = unlock("--source", server.url("film.mp4"))
    assert done.returncode == 2
    assert "recording is no camera" in " ".join(done.stderr.decode().replace("│", " ").split())
    assert not (tmp_path / "unlock" / "attempts.jsonl").exists()
