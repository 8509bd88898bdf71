from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.evaluation import metrics, plots
from mien.evaluation.plots import plot_roc, plot_similarities
from mien.evaluation.verification import FixedThreshold, VerificationReport
from mien.reports import drawing


def report(model: str = "toy", *, missed: int = 0, fixed: bool = False, gap: float = 0.4) -> VerificationReport:
    rng = np.random.default_rng(0)
    same = np.arange(1200) % 2 == 0
    similarities = rng.normal(np.where(same, 0.1 + gap, 0.1), 0.1)
    similarities[:missed] = -np.inf
    kept = same | (similarities > -np.inf)
    curve = metrics.roc(similarities[kept], same[kept])
    return VerificationReport(
        protocol="toy",
        model=model,
        setup={"mode": "fast"},
        n=1200,
        pictures=2400,
        missed=missed,
        missed_pairs=missed,
        accuracy=0.98,
        accuracy_se=0.01,
        fold_accuracies=(0.97, 0.99),
        fold_thresholds=(0.3, 0.32),
        impostors=curve.impostors,
        tar_at_far=metrics.tar_at_far(curve),
        tar_at_zero=metrics.tar_at_zero(curve),
        auc=metrics.auc(curve),
        eer=metrics.eer(curve),
        fixed={"1e-2": FixedThreshold(0.35, 0.97, 0.01, (0.0, 0.02), 0.05)} if fixed else {},
        similarities=similarities,
        same=same,
    )


@pytest.fixture
def drawn(monkeypatch):
    """The axes of what was drawn last."""
    made = []
    save = plots._save

    def keep(figure, path):
        made.append(figure.axes[0])
        save(figure, path)

    monkeypatch.setattr(plots, "_save", keep)
    return lambda: made[-1]


class TestRoc:
    def test_one_and_several_curves(self, tmp_path, drawn):
        plot_roc(report(), tmp_path / "one.png")
        assert len(drawn().get_legend().texts) == 1
        plot_roc([report("a"), report("b", gap=0.3)], tmp_path / "two.png")
        assert [text.get_text().split(",")[0] for text in drawn().get_legend().texts] == ["a", "b"]
        assert drawn().get_xscale() == "log"
        with Image.open(tmp_path / "two.png") as image:
            assert min(image.size) > 500
            assert len(image.convert("RGB").getcolors(1 << 20)) > 20

    @pytest.mark.parametrize("missed", [0, 7])
    def test_the_curve_says_what_the_report_says(self, missed):
        shown = report(missed=missed)
        curve = shown.roc
        fmr, tmr = plots._steps(curve)
        assert fmr[0] == pytest.approx(1 / curve.impostors)
        assert tmr[0] == shown.tar_at_zero
        for far in (0.002, 0.01, 0.1, 0.5):
            assert tmr[fmr <= far][-1] == metrics.tar_at_far(curve, {"x": far})["x"]
        assert tmr[-1] == curve.tmr[curve.thresholds > -np.inf][-1]

    def test_measurable_rates_have_a_dot(self, tmp_path, drawn):
        plot_roc(report(), tmp_path / "roc.png")
        dots = [line.get_xdata()[0] for line in drawn().lines if line.get_marker() == "o"]
        assert dots == [1e-2]
        assert {1e-2, 1e-3, 1e-4} <= {line.get_xdata()[0] for line in drawn().lines if line.get_linestyle() != "-"}

    def test_a_perfect_model(self, tmp_path, drawn):
        plot_roc(report(gap=9), tmp_path / "roc.svg")
        low, high = drawn().get_ylim()
        assert low < 0.99
        assert high > 1


class TestSimilarities:
    def test_the_records_thresholds_are_marked(self, tmp_path, drawn):
        plot_similarities(report(fixed=True, missed=3), tmp_path / "s.png")
        assert [text.get_text() for text in drawn().texts] == ["FMR 1e-2"]
        assert drawn().lines[0].get_xdata()[0] == 0.35
        assert "3 pairs missed" in drawn().get_title(loc="left")
        with Image.open(tmp_path / "s.png") as image:
            assert len(image.convert("RGB").getcolors(1 << 20)) > 20

    def test_without_thresholds_the_best_is(self, tmp_path, drawn):
        plot_similarities(report(), tmp_path / "s.png")
        assert [text.get_text() for text in drawn().texts] == ["best accuracy"]
        assert drawn().lines[0].get_xdata()[0] == pytest.approx(0.31)

    def test_all_alike(self, tmp_path):
        plot_similarities(replace(report(), similarities=np.full(1200, 0.5)), tmp_path / "s.png")
        assert (tmp_path / "s.png").stat().st_size > 0


class TestMistakes:
    def test_without_matplotlib(self, tmp_path, monkeypatch):
        for name in [name for name in sys.modules if name.startswith("matplotlib")]:
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MienError, match=r"needs matplotlib: pip install matplotlib"):
            plot_roc(report(), tmp_path / "roc.png")

    def test_unknown_format(self, tmp_path):
        with pytest.raises(MienError, match=r"roc.xyz: not a format for plots"):
            plot_roc(report(), tmp_path / "roc.xyz")
        with pytest.raises(MienError, match="not a format"):
            plot_roc(report(), tmp_path / "roc")

    def test_folder_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(MienError, match=r"roc.png: cannot be written \(No such file"):
            plot_roc(report(), tmp_path / "no" / "roc.png")


def test_no_global_state(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_roc(report(), tmp_path / "roc.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path):
    figure, axes = drawing.figure_and_axes()
    axes.set_title("中文 हिन्दी 微笑 \U0010fffd")
    drawing.save(figure, tmp_path / "plot.png")  # warnings are errors here
    assert drawing.png(figure).startswith(b"\x89PNG")
