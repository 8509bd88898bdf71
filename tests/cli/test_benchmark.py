"""`mien benchmark`: every contestant in processes of its own, absent peers named, broken ones no end of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mien.errors import ImageError, MienError
from mien.evaluation import benchmark
from mien.evaluation.benchmark import CONTESTANTS, Contestant, measure, run_benchmark


def test_measures_a_contestant_in_this_process(portrait, monkeypatch):
    monkeypatch.setattr(benchmark, "_SECONDS", 0.05)
    calls = []
    contestant = Contestant("embedding", "toy", "mien", lambda image, threads: (lambda: calls.append(image.shape), 4))
    figures = measure(contestant, portrait, threads=1)
    assert len(calls) >= 4
    assert set(calls) == {(600, 512, 3)}
    assert 0 <= figures["milliseconds"] < 50
    assert figures["peak_mb"] > 10
    json.dumps(figures, allow_nan=False)


def test_peers_that_are_absent_or_broken_are_named_and_stop_nobody(portrait, monkeypatch):
    def turn(index, photo, threads):
        if CONTESTANTS[index].needs == "cv2":
            raise MienError("benchmark of 'OpenCV' failed: no such module")
        return {"milliseconds": 10.0 + index, "first_ms": 20.0}

    monkeypatch.setattr(benchmark, "_turn", turn)
    monkeypatch.setattr(benchmark, "_cold_start", lambda photo, turns: iter(()))
    monkeypatch.setattr(benchmark, "_large_picture", lambda photo: benchmark.Result("memory", "large", 1.0))
    results = {(r.group, r.name): r for r in run_benchmark(portrait, threads=1, turns=1)}
    assert results["detection", "mien"].milliseconds == 10.0
    broken = results["detection", "OpenCV DNN, same network"]
    assert broken.milliseconds is None
    assert "no such module" in broken.note
    for contestant in CONTESTANTS:
        if not contestant.installed:
            assert "not installed" in results[contestant.group, contestant.name].note
    assert "peak_mb" not in results["detection", "mien"].to_dict()


def test_mien_itself_failing_is_an_error(portrait, monkeypatch):
    def turn(index, photo, threads):
        raise MienError("broken")

    monkeypatch.setattr(benchmark, "_turn", turn)
    with pytest.raises(MienError, match="broken"):
        run_benchmark(portrait, threads=1, turns=1)


def test_a_picture_that_cannot_be_read_is_said_before_any_process_starts(tmp_path):
    with pytest.raises(ImageError, match=r"none\.jpg"):
        run_benchmark(tmp_path / "none.jpg", threads=1)


def test_search_needs_no_photograph(mien, tmp_path):
    done = mien("benchmark", "--search", "500", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["faces"] == 500
    assert {"mien, exact", "plain numpy product"} <= {r["name"] for r in said["results"] if r.get("p50_ms")}
    vectors = tmp_path / "vectors.npy"
    np.save(vectors, np.random.default_rng(0).standard_normal((3, 128)))
    shown = mien("benchmark", vectors, "--search", "50").stdout
    assert b"mien, exact" in shown
    assert b"enrolling in bulk" in shown


@pytest.mark.parametrize("content", [b"", b"no array", np.zeros((2, 3)), np.full((2, 128), np.nan)])
def test_embeddings_that_cannot_be_used_are_said(mien, tmp_path, content):
    file = tmp_path / "vectors.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    done = mien("benchmark", file, "--search", "50")
    assert done.returncode == 2
    assert b"vectors.npy: " in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_nothing_to_time_is_said(mien):
    done = mien("benchmark")
    assert done.returncode == 2
    assert b"needs a photograph" in done.stderr
