"""`mien train temporal` and `mien evaluate temporal` as a user types them."""

import json
from types import SimpleNamespace

import pytest
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from mien.cli.app import app

pytest.importorskip("torch")


@pytest.fixture
def run(mien):
    """Runs a command, checks its exit code, and gives what it printed as text."""

    def command(*arguments, code=0):
        done = mien(*arguments)
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, err
        return SimpleNamespace(stdout=out, stderr=err)

    return command


def refused(*arguments):
    """What is said where a command is refused; here in this process: torch takes seconds to load in each."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    return done.stderr


@pytest.fixture(scope="module")
def faces(tmp_path_factory, portrait, astronaut):
    """A folder for each of two expressions, from two portraits in many lights."""
    root = tmp_path_factory.mktemp("faces")
    boxes = {"happy": (astronaut, (150, 40, 310, 200)), "neutral": (portrait, (130, 60, 390, 320))}
    for label, (path, box) in boxes.items():
        face = Image.open(path).convert("RGB").crop(box).resize((60, 60))
        for i in range(12):
            (root / label).mkdir(parents=True, exist_ok=True)
            ImageEnhance.Brightness(face).enhance(0.6 + 0.05 * i).save(root / label / f"{i}.png")
    return root


SMALL = ["--sequences", "6", "--held-sequences", "3", "--epochs", "2", "--threads", "1"]


def test_faces_become_a_network_that_is_measured_on_others(run, faces, tmp_path, tiny_expressions):
    out = tmp_path / "my run"
    with_tiny = ["--expression-model", str(tiny_expressions), "--threads", "1"]
    done = run("train", "temporal", str(faces), "--out", str(out), *SMALL, *with_tiny, "--json")
    report = json.loads(done.stdout)
    assert report["model"] == "my-run"
    assert set(report["methods"]) == {"frame by frame", "moving average", "my-run"}
    assert {path.name for path in out.iterdir()} >= {"model.onnx", "report.json", "report.md", "log.csv", "tracks"}
    again = run("train", "temporal", str(faces), "--out", str(out), *SMALL, *with_tiny, code=2)
    assert "go on with --resume" in again.stderr
    resumed = run("train", "temporal", str(faces), "--out", str(out), *SMALL, *with_tiny, "--resume", "--json")
    assert json.loads(resumed.stdout)["methods"] == report["methods"]

    model, page, picture = str(out / "model.onnx"), tmp_path / "report.md", tmp_path / "plot.png"
    done = run(
        "evaluate", "temporal", str(faces), "--model", model, "--beside", "mien-t", *with_tiny, "--sequences", "4",
        "--out", str(page), "--plot", str(picture),
    )  # fmt: skip
    assert "moving average" in done.stdout
    assert "mien-t" in done.stdout
    assert "over moving average: frame accuracy" in done.stderr
    assert page.read_text().startswith("# temporal:model@")
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "temporal", "nowhere"], "no such file or folder"),
        (["evaluate", "temporal", ".", "--split", "best"], "choose one of train, validation, test"),
        (["evaluate", "temporal", ".", "--out", "report.txt"], "not a format for reports"),
        (["evaluate", "temporal", ".", "--model", "mien-s"], "no temporal model called 'mien-s'"),
        (["train", "temporal", "nowhere", "--out", "OUT"], "no such file or folder"),
        (["train", "temporal", "nowhere", "--out", "OUT", "--architecture", "rnn"], "choose one of lstm, gru, tcn"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, arguments, message):
    said = refused(*[tmp_path / "out" if a == "OUT" else a for a in arguments])
    assert message in said.strip().splitlines()[-1]  # before it, licences may be told, once
    assert "Traceback" not in said


def test_videos_of_which_nobody_says_what_they_show(tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "1.mp4").touch()
    said = refused("train", "temporal", tmp_path, "--out", tmp_path / "out")
    assert "1 videos, but neither names as CREMA-D's" in said
