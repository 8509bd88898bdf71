"""`mien train classical`: from a folder of classes to a model and its report; mistakes are one line, leave nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mien.cli import train_classical
from mien.cli.train import app
from mien.models.classifier import CropClassifier
from mien.ops.atomic import folder_written_whole
from mien.training import classical
from tests.training.portraits import mirrored_people, variants

FILES = ["confusion.png", "model.onnx", "reliability.png", "report.html", "report.json", "report.md"]


def run(*arguments: object):
    return CliRunner().invoke(app, ["classical", *map(str, arguments)])


def save(folder: Path, crops: list[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for i, crop in enumerate(crops):
        Image.fromarray(crop).save(folder / f"{i}.png")


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Four people of 8 pictures, in PEOPLE/Name/0.png."""
    root = tmp_path_factory.mktemp("sets") / "people"
    for name, crops in mirrored_people(8).items():
        save(root / name, crops)
    return root


def refused(result, says: str) -> None:
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("mien: ")


def test_makes_a_folder_with_model_report_and_picture(people, tmp_path):
    out = tmp_path / "runs" / "one"
    result = run(people, "--task", "people", "--out", out, "--validation-fraction", "0.25", "--json")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert [path.name for path in out.parent.iterdir()] == ["one"]
    report = json.loads(result.stdout)
    assert report == json.loads((out / "report.json").read_text())
    assert report["n"] == 8
    assert report["accuracy"] > 0.7
    assert "Collins" in (out / "report.md").read_text()
    assert "<html" in (out / "report.html").read_text()
    card = CropClassifier(out / "model.onnx").card
    assert (card.task, card.architecture) == ("people", "hog + linear-svm")
    (figures,) = card.metrics.values()
    assert figures["accuracy"] == pytest.approx(report["accuracy"], abs=1e-4)


def test_a_validation_part_is_what_it_is_measured_on(tmp_path):
    for part, seed in (("train", 0), ("validation", 1)):
        for name in ("Collins", "Hopper"):
            save(tmp_path / "set" / part / name, variants(name, 6 - 2 * seed, seed=seed))
    result = run(tmp_path / "set", "--out", tmp_path / "out", "--classifier", "knn", "--neighbours", 3)
    assert result.exit_code == 0, result.output
    assert "Accuracy" in result.stdout
    assert "learnt from 12 pictures" in result.stderr
    assert json.loads((tmp_path / "out" / "report.json").read_text())["n"] == 8
    other = run(tmp_path / "set" / "train", "--validation", tmp_path / "set" / "validation", "--out", tmp_path / "two")
    assert other.exit_code == 0, other.output
    assert json.loads((tmp_path / "two" / "report.json").read_text())["n"] == 8


def test_align_finds_the_largest_face_and_tells_where_there_is_none(portrait, astronaut, tmp_path):
    for name, photo in (("Hopper", portrait), ("Collins", astronaut)):
        (tmp_path / "set" / name).mkdir(parents=True)
        picture = Image.open(photo).convert("RGB")
        for i, angle in enumerate((-8, 0, 8)):
            picture.rotate(angle).save(tmp_path / "set" / name / f"{i}.jpg")
    Image.new("RGB", (300, 300), "grey").save(tmp_path / "set" / "Hopper" / "wall.jpg")
    result = run(tmp_path / "set", "--task", "people", "--align", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "wall.jpg" in result.stderr
    assert "1 pictures show no face" in result.stderr
    assert "learnt from 4 pictures" in result.stderr


def test_mistakes_are_one_line_and_leave_nothing(people, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "one" / "Ann").mkdir(parents=True)
    shutil.copy(people / "Collins" / "0.png", tmp_path / "one" / "Ann")
    shutil.copytree(people, tmp_path / "empty")
    (tmp_path / "empty" / "Nobody").mkdir()
    shutil.copytree(people, tmp_path / "corrupt")
    (tmp_path / "corrupt" / "Hopper" / "3.png").write_bytes(b"\x89PNG no more")
    cases = {
        "no such file": tmp_path / "absent",
        "one class only": tmp_path / "one",
        "class without pictures": tmp_path / "empty",
        "--skip-unreadable": tmp_path / "corrupt",
    }
    for says, data in cases.items():
        refused(run(data, "--task", "people", "--out", out), says)
    assert not out.exists()
    assert not list(tmp_path.glob(".mien*"))
    skipped = run(tmp_path / "corrupt", "--task", "people", "--out", out, "--skip-unreadable")
    assert skipped.exit_code == 0
    assert "3.png" in skipped.stderr
    assert run(people, "--out", tmp_path / "x", "--classifier", "perceptron").exit_code == 2


def test_what_is_there_is_not_overwritten(people, tmp_path):
    (tmp_path / "kept").write_text("mine")
    refused(run(people, "--out", tmp_path), "exists already")
    refused(run(people, "--out", tmp_path / "kept"), "exists already")
    assert (tmp_path / "kept").read_text() == "mine"


def test_a_full_disk_leaves_nothing_and_keeps_the_figures(people, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mien.training.reports.plot_confusion", full)
    result = run(people, "--task", "people", "--out", tmp_path / "out", "--json")
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert json.loads(result.stdout)["n"] == 4
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(people, tmp_path, monkeypatch):
    def interrupted(*_):
        raise SystemExit(130)

    monkeypatch.setattr(train_classical, "_measured", interrupted)
    assert run(people, "--task", "people", "--out", tmp_path / "out").exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra(people, tmp_path, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name, name="sklearn")

    monkeypatch.setattr(classical, "import_module", absent)
    refused(run(people, "--out", tmp_path / "out"), "sklearn is not installed: pip install 'mien[train]'")


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a" / "b"
    with folder_written_whole(target) as folder:
        (folder / "file").touch()
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["file"]
    with pytest.raises(OSError, match="b"), folder_written_whole(target) as folder:  # not empty
        (folder / "other").touch()
    with pytest.raises(RuntimeError), folder_written_whole(tmp_path / "c"):
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "file"]
