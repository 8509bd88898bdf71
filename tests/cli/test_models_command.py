"""`mien models` with a small registry of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mien.cli.console import DownloadBars, stdout
from mien.cli.models import make_app
from mien.errors import UnknownModelError
from mien.models.base import Calibration, FileSource, Record, WeightsFile

RUNNER = CliRunner()


class SmallRegistry:
    def __init__(self, folder: Path) -> None:
        self.DEFAULTS: tuple[str, ...] = ("finder",)
        self._records = {name: _record(name, folder) for name in ("finder", "embedder")}

    def records(self) -> Mapping[str, Record]:
        return self._records

    def record(self, name: str) -> Record:
        if name not in self._records:
            raise UnknownModelError(f"there is no model [{name}]: run `mien models list`")
        return self._records[name]


def _record(name: str, folder: Path) -> Record:
    content = name.encode() * 1000
    return Record(
        name=name,
        task="detection" if name == "finder" else "embedding",
        summary=f"the {name}",
        weights=WeightsFile(
            f"{name}.onnx",
            hashlib.sha256(content).hexdigest(),
            len(content),
            (FileSource(str(folder / name)),),
        ),
        licence_code="MIT",
        licence_weights="CC0",
        commercial_use=name == "finder",
        origin="a test",
        training_data="none",
        limits="[not] for people",
        calibrations={"fast": Calibration({"1e-3": 0.5}, (10.0, -5.0), "a test")},
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIEN_HOME", str(tmp_path / "cache"))
    for name in ("finder", "embedder"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    return tmp_path


@pytest.fixture
def app(folder: Path) -> typer.Typer:
    return make_app(lambda: SmallRegistry(folder))


def test_list(app: typer.Typer, folder: Path) -> None:
    (folder / "embedder").unlink()
    result = RUNNER.invoke(app, ["list", "--json"])
    assert result.exit_code == 0
    finder, embedder = json.loads(result.stdout)
    assert finder == {
        "name": "finder",
        "task": "detection",
        "bytes": 6000,
        "licence_weights": "CC0",
        "commercial_use": True,
        "default": True,
        "cached": True,
        "summary": "the finder",
    }
    assert (embedder["default"], embedder["cached"], embedder["commercial_use"]) == (False, False, False)


def test_list_in_a_pipe_is_lines_with_tabs(app: typer.Typer) -> None:
    lines = RUNNER.invoke(app, ["list"]).stdout.splitlines()
    assert lines[0].split("\t")[:3] == ["name", "task", "size"]
    assert lines[1].split("\t")[:3] == ["finder", "detection", "0.0 MB"]
    assert len(lines) == 3


def test_list_on_a_terminal_is_a_table(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout(), "_force_terminal", True)
    answer = RUNNER.invoke(app, ["list"]).stdout
    assert "finder" in answer
    assert "licence" in answer  # titles, which a pipe does not get


def test_pull(app: typer.Typer, folder: Path) -> None:
    result = RUNNER.invoke(app, ["pull", "--json"])
    assert json.loads(result.stdout) == {"finder": str(folder / "finder")}
    assert RUNNER.invoke(app, ["pull", "embedder"]).stdout == f"model\tfile\nembedder\t{folder / 'embedder'}\n"


def test_info(app: typer.Typer) -> None:
    facts = json.loads(RUNNER.invoke(app, ["info", "finder", "--json"]).stdout)
    assert facts["weights"]["filename"] == "finder.onnx"
    assert facts["cached"] is True
    lines = RUNNER.invoke(app, ["info", "finder"]).stdout.splitlines()
    assert "limits\t[not] for people" in lines
    assert "commercial_use\tyes" in lines
    assert not any(line.startswith("crop") for line in lines)


@pytest.mark.parametrize("command", [["info", "nobody"], ["pull", "nobody"], ["export", "x.tar", "nobody"]])
def test_an_unknown_model(app: typer.Typer, command: list[str]) -> None:
    result = RUNNER.invoke(app, command)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "mien: there is no model [nobody]: run `mien models list`\n"


def test_export_and_import(app: typer.Typer, folder: Path) -> None:
    archive = folder / "weights.tar"
    result = RUNNER.invoke(app, ["export", str(archive), "finder", "embedder", "--json"])
    assert json.loads(result.stdout) == {"archive": str(archive), "files": ["finder.onnx", "embedder.onnx"]}
    (folder / "finder").unlink()
    assert RUNNER.invoke(app, ["pull"]).exit_code == 2
    assert RUNNER.invoke(app, ["import", str(archive)]).stdout == "file\nfinder.onnx\nembedder.onnx\n"
    pulled = RUNNER.invoke(app, ["pull"])
    assert pulled.stdout == f"model\tfile\nfinder\t{folder / 'cache' / 'weights' / 'finder.onnx'}\n"


def test_an_import_that_is_refused(app: typer.Typer, folder: Path) -> None:
    (folder / "junk").write_text("junk")
    result = RUNNER.invoke(app, ["import", str(folder / "junk")])
    assert result.exit_code == 2
    assert result.stderr.startswith("mien: ")
    assert result.stderr.count("\n") == 1


def test_progress_without_a_terminal_is_one_line_per_file(capsys: pytest.CaptureFixture[str]) -> None:
    progress = DownloadBars()
    for done in (0, 500_000, 1_000_000):
        progress(done, 1_000_000, "net[1].onnx")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "fetching net[1].onnx (1.0 MB)\n"
