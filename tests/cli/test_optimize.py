"""`mien optimize`: a smaller network and its figures; mistakes are one line and leave nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mien.cli.optimize import app
from mien.errors import ModelError
from mien.models import registry
from mien.models.base import RuntimeOptions
from mien.models.classifier import CropClassifier
from mien.models.variants import embed_origin
from tests.compression.networks import black, card, faces, network, save
from tests.models import tiny_classifier


def run(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """Calibration pictures, an evaluation set, one class of it, and a network."""
    root = tmp_path_factory.mktemp("optimize")
    save(root / "calibration", 8, seed=9)
    save(root / "evaluation", 12, seed=7)
    save(root / "one", 4, seed=7, labels=("Hopper",))
    black(root / "black")
    (root / "empty").mkdir()
    (root / "net.onnx").write_bytes(network())
    return root


def quantize(sets: Path, out: Path, *more: object, model="net.onnx", calibration="calibration", evaluate="evaluation"):
    return run(
        "quantize",
        sets / model,
        "--calibration",
        sets / calibration,
        "--evaluate",
        sets / evaluate,
        "--out",
        out,
        *more,
    )


def refused(result, out: Path, says: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    assert says in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("mien: ")
    assert list(out.parent.iterdir()) == []


def test_quantize_writes_a_network_and_tells_before_and_after(sets, tmp_path):
    out = tmp_path / "small.onnx"
    result = quantize(sets, out, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["metric"] == "accuracy"
    assert told["n"] == 24
    assert told["before"]["score"]["value"] == told["after"]["score"]["value"] == 1.0
    assert told["after"]["bytes"] == out.stat().st_size < told["before"]["bytes"]
    assert told["before"]["ms"] > 0
    assert told["path"] == str(out)
    classifier = CropClassifier(out, RuntimeOptions(threads=1))
    assert classifier.card.labels == card().labels
    assert registry.entry(str(out), "expression").record.labels == card().labels
    assert list(tmp_path.iterdir()) == [out]


def test_quantize_prints_a_table(sets, tmp_path):
    result = quantize(sets, tmp_path / "small.onnx")
    assert result.exit_code == 0, result.output
    assert "accuracy, %\t100.00\t100.00" in result.stdout
    assert "times as fast here; loses 0.00 points" in result.stderr


def test_the_gate_answers_no(sets, tmp_path):
    refused(quantize(sets, tmp_path / "small.onnx", calibration="black"), tmp_path / "x", "nothing was written", code=1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"calibration": "empty"}, "no pictures"),
        ({"calibration": "missing"}, "no such file or folder"),
        ({"calibration": "net.onnx"}, "net.onnx"),
        ({"evaluate": "one"}, "one class only, Hopper"),
        ({"evaluate": "missing"}, "missing"),
        ({"model": "missing.onnx"}, "missing.onnx"),
        ({"model": "tiny.onnx"}, "no layer"),
        ({"model": "photo.onnx"}, "photo.onnx"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(sets, tmp_path, changes, says):
    (sets / "tiny.onnx").write_bytes(tiny_classifier.network(tiny_classifier.card(labels=card().labels), count=2))
    (sets / "photo.onnx").write_bytes(next((sets / "black").iterdir()).read_bytes())
    refused(quantize(sets, tmp_path / "small.onnx", **changes), tmp_path / "x", says)


def test_a_bad_place_is_refused_before_the_work(sets, tmp_path):
    refused(quantize(sets, tmp_path / "small.bin"), tmp_path / "x", "ends in .onnx")
    refused(quantize(sets, tmp_path / "none" / "small.onnx"), tmp_path / "x", "folder does not exist")


def test_what_has_no_faces_is_refused_where_faces_are_cut(sets, tmp_path):
    refused(quantize(sets, tmp_path / "small.onnx", "--align", calibration="black"), tmp_path / "x", "no face found")


def test_models_that_are_no_networks_are_refused(sets, tmp_path):
    result = run("quantize", "dlib-landmarks", "--calibration", sets / "black", "--evaluate", sets / "evaluation",
                 "--out", tmp_path / "x.onnx")  # fmt: skip
    refused(result, tmp_path / "x", "not networks that can be made smaller")


def test_an_interrupt_leaves_nothing(sets, tmp_path):
    given = {"--calibration": sets / "calibration", "--evaluate": sets / "evaluation", "--out": tmp_path / "x.onnx"}
    options = [str(part) for pair in given.items() for part in pair]
    command = [sys.executable, "-m", "mien", "optimize", "quantize", str(sets / "net.onnx"), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=dict(os.environ))
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=240)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_prune_writes_a_network_and_tells_before_and_after(sets, tmp_path):
    out = tmp_path / "pruned.onnx"
    data = ("--pictures", sets / "calibration", "--evaluate", sets / "evaluation")
    course = ("--epochs", "2", "--batch", "8", "--threads", "1", "--max-loss", "10")
    result = run("prune", sets / "net.onnx", *data, *course, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["after"]["multiply_adds"] <= 0.7 * told["before"]["multiply_adds"]
    assert told["channels"].keys() == {"y0", "y1", "y2"}
    assert CropClassifier(out, RuntimeOptions(threads=1))(faces(2)[0]).shape == (4, 2)
    assert "epoch 2" in result.stderr


def test_a_form_of_an_embedder_names_its_origin(tmp_path):
    model = registry.entry("dlib-resnet")
    path = tmp_path / "mine.onnx"
    path.write_bytes(embed_origin(network(), model.record))
    found = registry.entry(str(path), "embedding")
    assert found.record.name.startswith("dlib-resnet:mine@")
    assert found.record.weights.sha256 != model.record.weights.sha256
    assert found.record.calibrations == model.record.calibrations
    with pytest.raises(ModelError, match="is for embedding, not for detection"):
        registry.entry(str(path), "detection")
    path.write_bytes(network())
    with pytest.raises(ModelError, match="no form of a registered model"):
        registry.entry(str(path), "embedding")
