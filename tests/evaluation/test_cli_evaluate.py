from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import evaluate, options
from mien.models.base import Calibration


class ByName:
    """The embedding of a picture is its person: one axis each; picture 3 has no face."""

    model = "toy"
    setup = MappingProxyType({"detector": "none", "mode": "fast"})
    calibration = Calibration({"1e-2": 0.5}, (20.0, -10.0), "toy")

    def __call__(self, paths, *, progress=None):
        if progress:
            progress(len(paths), len(paths))
        people = sorted({p.parent.name for p in paths})
        axes = np.eye(len(people), dtype=np.float32)
        return [None if p.stem.endswith("3") else axes[people.index(p.parent.name)] for p in paths]

    def similarity(self, a, b):
        return (a * b).sum(axis=1)


@pytest.fixture
def asked(monkeypatch):
    """The options that the models were asked for with."""
    asked_with = {}

    def make(**given):
        asked_with.update(given)
        return ByName()

    monkeypatch.setattr(options, "make_describer", make)
    return asked_with


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    for person in ("Ann", "Bo"):
        (tmp_path / person).mkdir()
        for n in (1, 2, 3):
            (tmp_path / person / f"{person}_000{n}.jpg").touch()
    fold = "Ann\t1\t2\nBo\t1\t2\nAnn\t1\tBo\t1\nAnn\t2\tBo\t{}\n"
    (tmp_path / "pairs.txt").write_text("2\t2\n" + fold.format(2) + fold.format(3))
    return ["verification", "--root", str(tmp_path), "--pairs", str(tmp_path / "pairs.txt")]


def run(*args: str):
    return CliRunner().invoke(evaluate.app, list(args))


def test_json_and_nothing_else_on_stdout(asked, data):
    result = run(*data, "--json", "--accurate", "--threads", "2", "--embedder", "x")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["accuracy"]["mean"] == pytest.approx((1 + 3 / 4) / 2)
    assert (report["n"], report["model"], report["missed"]) == (8, "toy", 1)
    assert (asked["embedder"], asked["accurate"], asked["threads"]) == ("x", True, 2)
    assert (asked["detector"], asked["device"]) == (options.DETECTOR, "cpu")


def test_table(asked, data):
    result = run(*data)
    assert result.exit_code == 0
    assert "87.50% ± 12.50%" in result.stdout
    assert "1 of 5" in result.stdout
    assert "FMR 1e-2" in result.stdout


def test_report_and_plot_are_written(asked, data, tmp_path):
    out, roc = tmp_path / "report.json", tmp_path / "roc.png"
    result = run(*data, "--json", "--out", str(out), "--roc", str(roc))
    assert result.exit_code == 0
    assert json.loads(out.read_text()) == json.loads(result.stdout)
    assert roc.read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".report*"))


def test_mistakes_come_before_the_models(asked, data, tmp_path):
    mistakes = {
        "its folder does not exist": [*data, "--out", str(tmp_path / "no" / "x.json")],
        "absent.txt": [*data[:-1], str(tmp_path / "absent.txt")],
        "x.png: its folder": [*data, "--roc", str(tmp_path / "no" / "x.png")],
        "xyz": [*data, "--roc", str(tmp_path / "x.xyz")],
    }
    for says, arguments in mistakes.items():
        result = run(*arguments)
        assert result.exit_code == 2
        assert says in result.stderr
        assert result.stderr.count("\n") == 1
    assert run("verification").exit_code == 2
    assert asked == {}


def test_out_that_cannot_be_written(asked, data, tmp_path):
    (tmp_path / "taken").mkdir()
    result = run(*data, "--out", str(tmp_path / "taken"))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    assert not list(tmp_path.glob(".taken*"))
