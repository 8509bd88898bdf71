"""The benchmark of search: every step has its figure, and what is missing is said."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from mien.errors import DataError
from mien.evaluation import search_benchmark
from mien.evaluation.search_benchmark import faces_like_real, run_search_benchmark
from mien.gallery.search import approximate

SEARCHES = ("reading the matrix once", "plain numpy product", "mien, exact", "mien, exact, people")


@pytest.fixture(autouse=True)
def few_turns(monkeypatch):
    monkeypatch.setattr(search_benchmark, "_TURNS", 1)


def test_fills_opens_and_searches_a_gallery(monkeypatch):
    pytest.importorskip("usearch")
    monkeypatch.setattr(approximate, "_FEW", 1000)
    monkeypatch.setattr(search_benchmark, "_ONE_BY_ONE", 40)
    said = []
    results = {
        r.name: r for r in run_search_benchmark(2_000, queries=10, progress=lambda *progress: said.append(progress))
    }
    for name in SEARCHES:
        assert 0 < results[name].p50_ms <= results[name].p99_ms
        assert "recall" not in results[name].to_dict()
    assert results["mien, exact"].times_reading > 0
    assert results["mien, approximate"].recall >= 0.9
    assert "recall@1" in results["building the graph"].note
    assert results["building the graph"].bytes_each > 2 * 128
    assert results["the gallery's file"].bytes_each > 4 * 128
    assert results["first search, which writes the search file"].bytes_each > 4 * 128
    for name in ("enrolling in bulk", "enrolling person by person"):
        assert results[name].per_second > 0
    assert (
        results["opening: process start to first answer"].seconds > results["opening again, and first answer"].seconds
    )
    assert {"enrolling", "building the graph", "searching"} <= {what for _, _, what in said}
    assert all(done <= total for done, total, _ in said)


def test_what_is_absent_is_said(monkeypatch):
    for peer in ("faiss", "usearch"):
        monkeypatch.setitem(sys.modules, peer, None)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("faiss", "usearch") else found(name))
    real = faces_like_real(3, np.random.default_rng(1))
    results = {r.name: r for r in run_search_benchmark(9, queries=1, real=real)}
    assert results["faiss, flat"].to_dict() == {"name": "faiss, flat", "note": "faiss is not installed"}
    assert results["mien, approximate"].note == "usearch is not installed"
    assert results["mien, exact"].p50_ms > 0


def test_what_cannot_be_measured_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="a face and a query"):
        run_search_benchmark(0)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(N, 128\)"):
        run_search_benchmark(5, real=np.zeros((2, 3), np.float32))
    with pytest.raises(DataError, match=r"10,000,000,000,000 faces needs 30000000.0 GB of disk.*TMPDIR"):
        run_search_benchmark(10_000_000_000_000)
