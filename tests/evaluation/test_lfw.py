"""The main claim, measured: LFW's protocol on the development pairs, end to end from the original pictures."""

from __future__ import annotations

import json

import pytest


@pytest.mark.data
@pytest.mark.slow
def test_accuracy_on_lfw_dev_pairs(mien, lfw, shared, tmp_path):
    roc = tmp_path / "roc.png"
    arguments = ["--root", lfw, "--pairs", shared / "lfw_dev_pairs.txt", "--json", "--roc", roc]
    done = mien("evaluate", "verification", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["n"] == 1200
    assert report["model"] == "dlib-resnet"
    assert report["missed"] == 0
    assert report["accuracy"]["mean"] >= 0.99
    assert report["tar_at_far"]["1e-2"] >= 0.985
    assert roc.stat().st_size > 10_000
    for rate, fixed in report["at_thresholds"].items():
        low, high = fixed["fmr_interval"]
        assert low <= float(rate) <= max(high, 0.02), rate  # thresholds keep their promise on pairs they never saw
    assert report["probability"]["brier"] < 0.02
