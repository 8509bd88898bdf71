"""`mien train expression` as a user types it."""

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
    """Two classes with a training and a validation part, from two portraits in many lights."""
    root = tmp_path_factory.mktemp("faces")
    boxes = {"happiness": (astronaut, (160, 40, 300, 200)), "neutral": (portrait, (130, 60, 390, 330))}
    for label, (path, box) in boxes.items():
        face = Image.open(path).convert("RGB").crop(box)
        for i in range(24):
            place = root / ("validation" if i % 4 == 0 else "train") / label
            place.mkdir(parents=True, exist_ok=True)
            ImageEnhance.Brightness(face).enhance(0.5 + 0.04 * i).save(place / f"{i}.png")
    return root


SMALL = ["--architecture", "cnn2", "--epochs", "8", "--batch", "8", "--warmup", "2", "--ema", "0.5", "--threads", "1"]


def test_a_folder_of_classes_becomes_a_model_that_analyze_uses(run, faces, tmp_path, astronaut):
    out = tmp_path / "my model"
    done = run("train", "expression", str(faces), "--out", str(out), *SMALL, "--json")
    report = json.loads(done.stdout)
    assert report["labels"] == ["happiness", "neutral"]
    assert report["accuracy"] >= 0.8
    assert report["model"] == "my-model"
    written = {path.name for path in out.iterdir()}
    assert written >= {
        "model.onnx", "weights.safetensors", "settings.json", "log.csv", "checkpoint.pt", "tensorboard", "report.json",
        "report.md", "report.html", "confusion.png", "reliability.png", "curves.png",
    }  # fmt: skip
    with Image.open(out / "curves.png") as curves:
        assert curves.size[0] > 300
    model = str(out / "model.onnx")
    answer = json.loads(run("analyze", str(astronaut), "--json", "--expression-model", model).stdout)
    assert set(answer["faces"][0]["expression"]["scores"]) == {"happiness", "neutral"}
    measured = json.loads(
        run("evaluate", "expression", str(faces), "--split", "validation", "--model", model, "--json").stdout
    )
    assert measured["accuracy"] == report["accuracy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--architecture", "resnet50"], "no architecture called 'resnet50'; choose one of: mien-s"),
        (["--optimizer", "lion"], "--optimizer 'lion': choose one of adamw, adam, sgd"),
        (["--device", "abacus"], "--device 'abacus'"),
        (["--resume"], "there is no checkpoint to resume from"),
        (["--unlabelled", "nowhere"], "nowhere"),
        (["--teacher", "nowhere.onnx"], "nowhere.onnx"),
        (["--backbone", "nowhere.safetensors"], "the backbone cannot be read"),
        (["--validation", "nowhere"], "nowhere: no such file or folder"),
        (["--name", "my model"], "1 to 100 letters, digits"),
    ],
)
def test_bad_arguments_are_one_line_and_leave_nothing(faces, tmp_path, arguments, message):
    out = tmp_path / "run"
    said = refused("train", "expression", faces, "--out", out, *SMALL, *arguments)
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not (out / "model.onnx").exists()
    assert not (out / "checkpoint.pt").exists()


def test_bad_folders_are_one_line(faces, tmp_path):
    def message(folder):
        said = refused("train", "expression", folder, "--out", tmp_path / "run", *SMALL)
        assert len(said.strip().splitlines()) == 1
        return said

    assert "no such file or folder" in message(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no folders in it, so no classes" in message(tmp_path / "empty")
    bad = tmp_path / "bad"
    for label in ("happiness", "neutral"):
        (bad / label).mkdir(parents=True)
    for i, picture in enumerate(sorted((faces / "train" / "neutral").iterdir())[:4]):
        Image.open(picture).save(bad / "neutral" / f"{i}.png")
    assert "happiness" in message(bad)
    for i, picture in enumerate(sorted((faces / "train" / "happiness").iterdir())[:4]):
        Image.open(picture).save(bad / "happiness" / f"{i}.png")
    (bad / "happiness" / "0.png").write_bytes(b"not a picture")
    assert "0.png" in message(bad)


def test_a_run_is_not_overwritten(run, faces, tmp_path):
    out = tmp_path / "run"
    run("train", "expression", str(faces), "--out", str(out), *SMALL)
    before = (out / "model.onnx").read_bytes()
    done = run("train", "expression", str(faces), "--out", str(out), *SMALL, code=2)
    assert "holds a training run already" in done.stderr
    assert (out / "model.onnx").read_bytes() == before
