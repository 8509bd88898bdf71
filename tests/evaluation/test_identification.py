from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import evaluate, evaluate_identification, options
from mien.errors import DataError
from mien.evaluation.identification import evaluate_identification as identify
from mien.evaluation.identification import split_people
from mien.evaluation.identification_pages import to_html, to_markdown
from mien.evaluation.identification_plots import plot_cmc, plot_det
from mien.evaluation.people import read_people
from mien.gallery.decision import Rule

RULE = Rule(tail=((-1.0, 1e-1), (-0.1, 1e-3)), logistic=(8.0, 4.0))


class OnALine:
    """The embedding of a picture is the number that its name starts with: "1.5 b.jpg"; "none.jpg" has no face."""

    model = "toy"
    setup = MappingProxyType({"detector": "none", "mode": "fast"})
    calibration = None

    def __init__(self):
        self.asked: list[Path] = []

    def __call__(self, paths, *, progress=None):
        self.asked = list(paths)
        if progress:
            progress(len(paths), len(paths))
        words = [path.stem.split()[0] for path in paths]
        return [None if word == "none" else np.array([float(word)], np.float32) for word in words]

    def similarity(self, a, b):
        return -np.abs(a - b)[:, 0]


def folder(root: Path, people: dict[str, list[str]]) -> Path:
    for name, pictures in people.items():
        (root / name).mkdir(parents=True)
        for picture in pictures:
            (root / name / f"{picture}.jpg").touch()
    return root


def spread(strangers: int = 100) -> dict[str, list[str]]:
    """Ten people of three pictures each, at 0, 10, 20, ..., and strangers from 1000 on, one of them near 0."""
    known = {f"known {i}": [f"{10 * i}", f"{10 * i + 0.1:.1f}", f"{10 * i + 0.2:.1f}"] for i in range(10)}
    return known | {f"stranger {i}": [f"{1000 + i}"] for i in range(1, strangers)} | {"stranger 0": ["1.2"]}


def evaluated(root, **given):
    return identify(read_people(root), OnALine(), **given)


class TestSplit:
    def test_people_with_one_picture_are_strangers(self, tmp_path):
        people = read_people(folder(tmp_path, spread(20)))
        split = split_people(people)
        assert (len(split.enrolled), len(split.probes), len(split.strangers)) == (10, 20, 20)
        assert {people.names[p] for p in people.person[split.strangers]} == {f"stranger {i}" for i in range(20)}
        assert sorted({*split.enrolled, *split.probes, *split.strangers}) == list(range(50))

    def test_enrolled_with_two(self, tmp_path):
        split = split_people(read_people(folder(tmp_path, spread(20))), enrol=2)
        assert (len(split.enrolled), len(split.probes)) == (20, 10)

    def test_the_seed_chooses(self, tmp_path):
        people = read_people(folder(tmp_path, spread(20)))
        chosen = [split_people(people, strangers=5, seed=seed) for seed in (0, 0, 1)]
        assert len(chosen[0].strangers) == 5
        assert chosen[0].strangers.tolist() == chosen[1].strangers.tolist() != chosen[2].strangers.tolist()
        assert chosen[0].enrolled.tolist() == chosen[1].enrolled.tolist() != chosen[2].enrolled.tolist()

    def test_where_everybody_has_many_a_quarter_stays_outside(self, tmp_path):
        known = {name: pictures for name, pictures in spread().items() if name.startswith("known")}
        people = read_people(folder(tmp_path, known))
        split = split_people(people)
        assert len(np.unique(people.person[split.strangers])) == 2
        assert not set(people.person[split.strangers]) & set(people.person[split.enrolled])

    def test_pictures_may_lie_in_folders_of_their_own(self, tmp_path):
        root = folder(tmp_path, {"Ann": ["1"], "Bo/2024": ["2", "3"], ".trash/Cy": ["4"]})
        people = read_people(root)
        assert people.names == ("Ann", "Bo")
        assert people.person.tolist() == [0, 1, 1]

    def test_what_is_no_such_folder(self, tmp_path):
        with pytest.raises(DataError, match="no such folder"):
            read_people(tmp_path / "absent")
        with pytest.raises(DataError, match="one folder with pictures for each person"):
            read_people(folder(tmp_path, {"Ann": ["1"], "empty": []}))
        with pytest.raises(DataError, match="nobody has more than 1"):
            split_people(read_people(folder(tmp_path, {"Bo": ["2"]})))


class TestFigures:
    def test_everybody_is_found(self, tmp_path):
        report = evaluated(folder(tmp_path, spread()))
        assert [report.rank[k].value for k in (1, 5, 10)] == [1, 1, 1]
        assert report.cmc.tolist() == [1] * 10
        assert (report.people, report.enrolled, report.probes, report.strangers, report.missed) == (10, 10, 20, 100, 0)
        # one stranger lies about 1 from somebody: at FPIR 1e-2 of 100 it may, and the others are far away
        at = report.measured["1e-2"]
        assert at.fnir.value == 0
        assert at.fpir.value == pytest.approx(0.01)

    def test_against_a_plain_loop(self, tmp_path):
        rng = np.random.default_rng(0)
        names = {f"p{i}": [f"{i + rng.normal(0, 0.4):.4f} {k}" for k in range(4)] for i in range(30)}
        names |= {f"s{i}": [f"{rng.uniform(-5, 35):.4f}"] for i in range(200)}
        people = read_people(folder(tmp_path, names))
        report = identify(people, OnALine(), seed=3)
        split = split_people(people, seed=3)
        value = [np.float32(path.stem.split()[0]) for path in people.paths]  # as it is compared

        def ranked(i):
            return sorted((abs(value[i] - value[e]), people.person[e]) for e in split.enrolled)

        position = [[p for _, p in ranked(i)].index(people.person[i]) + 1 for i in split.probes]
        assert report.positions.tolist() == position
        for k in (1, 5, 10):
            assert report.rank[k].value == pytest.approx(np.mean(np.array(position) <= k))
            assert report.rank[k].low <= report.rank[k].value <= report.rank[k].high
        at = report.measured["1e-1"]
        near = [-ranked(i)[0][0] for i in split.strangers]
        assert np.mean(np.array(near) >= at.threshold) == pytest.approx(at.fpir.value)
        assert at.fpir.value <= 0.1 < np.mean(np.array(near) >= at.threshold - 0.05)
        right = [pos == 1 and -ranked(i)[0][0] >= at.threshold for i, pos in zip(split.probes, position, strict=True)]
        assert at.fnir.value == pytest.approx(1 - np.mean(right))
        fpir, fnir = report.det
        assert (np.diff(fpir) > 0).all()
        assert (np.diff(fnir) <= 0).all()
        assert fnir[np.searchsorted(fpir, at.fpir.value - 1e-9)] == pytest.approx(at.fnir.value, abs=0.02)

    def test_pictures_without_a_face_are_errors(self, tmp_path):
        names = spread()
        names["known 0"] = ["0", "none", "none 2"]
        for seed in range(6):
            root = folder(tmp_path / str(seed), names)
            report = evaluated(root, seed=seed)
            # enrolled without a face: both probes are lost; enrolled with one: both probes have none
            assert report.rank[10].value == pytest.approx(18 / 20)
            assert report.measured["1e-1"].fnir.value == pytest.approx(18 / 20 * 0 + 2 / 20)
            assert report.missed == 2

    def test_a_stranger_without_a_face_does_not_flatter(self, tmp_path):
        names = spread(10) | {f"faceless {i}": ["none"] for i in range(90)}
        report = evaluated(folder(tmp_path, names))
        assert report.strangers == 10
        assert report.missed == 90
        assert report.measured.keys() == {"1e-1"}
        assert "cannot measure FPIR 1e-2" in report.notes[0]

    def test_nothing_found_to_enrol(self, tmp_path):
        with pytest.raises(DataError, match="no face found in any of the 1 pictures to enrol"):
            evaluated(folder(tmp_path, {"a": ["none", "none 2"], "b": ["none"]}))

    def test_the_interval_is_over_people(self, tmp_path):
        """One person with a hundred bad probes: a share of pictures hides that it is one person."""
        names = spread()
        names["known 0"] = [f"{10 * (1 + i % 9)}.05 {i}" for i in range(80)]
        rate = evaluated(folder(tmp_path, names), seed=1).rank[1]
        assert rate.value < 0.3
        assert rate.high > 0.8  # samples without that person

    def test_recommended_threshold(self, tmp_path):
        root = folder(tmp_path, spread())
        report = evaluated(root, target_fpir=0.05)
        assert report.recommended is not None
        assert report.recommended.fpir.value <= 0.05
        assert evaluated(root, target_fpir=0.001).recommended is None

    def test_a_rule_is_held_against_these_pictures(self, tmp_path):
        report = evaluated(folder(tmp_path, spread()), rule=RULE, threshold=0.5)
        assert report.shipped["1e-2"].threshold == pytest.approx(RULE.threshold([1] * 10, 0.01))
        assert report.fixed is not None
        assert report.fixed.fpir.value == pytest.approx(np.mean(report.far >= 0.5))
        assert 0 <= report.brier < 0.1
        assert evaluated(tmp_path).shipped == {}

    def test_no_strangers(self, tmp_path):
        report = evaluated(folder(tmp_path, spread()), strangers=0, rule=RULE)
        assert report.rank[1].value == 1
        assert (report.measured, report.shipped, report.recommended, report.brier) == ({}, {}, None, None)
        assert set(report.to_dict()) >= {"protocol", "n", "model", "rank"}

    def test_to_dict_is_json(self, tmp_path):
        report = evaluated(folder(tmp_path, spread()), rule=RULE)
        out = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert (out["n"], out["model"], out["mode"]) == (120, "toy", "fast")
        assert out["rank"]["1"] == {"value": 1, "interval": [1, 1]}
        assert set(out["at_fpir"]["1e-2"]) == {"threshold", "fpir", "fnir"}
        assert set(out["probability"]) == {"brier", "ece"}


def test_pages_and_plots(tmp_path):
    report = evaluated(folder(tmp_path / "people", spread()), rule=RULE)
    page = to_markdown(report)
    assert "100.00% \\(100.00% to 100.00%\\)" in page
    assert "mien's own for FPIR 1e\\-2" in page
    assert "<h2>Thresholds</h2>" in to_html(report)
    for draw, name in ((plot_det, "det.png"), (plot_cmc, "cmc.png")):
        draw(report, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


class TestCommand:
    @pytest.fixture
    def asked(self, monkeypatch):
        given = {}

        def make(**asked):
            given.update(asked)
            return OnALine()

        monkeypatch.setattr(options, "make_describer", make)
        return given

    @pytest.fixture
    def ruled(self, monkeypatch):
        monkeypatch.setattr(evaluate_identification, "find_rule", lambda *_: RULE)

    def run(self, *args):
        return CliRunner().invoke(evaluate.app, ["identification", *map(str, args)])

    def test_json_and_nothing_else_on_stdout(self, asked, ruled, tmp_path):
        result = self.run(folder(tmp_path, spread()), "--json", "--strangers", 50, "--accurate", "--enrol", 2)
        assert result.exit_code == 0
        out = json.loads(result.stdout)
        assert (out["people"], out["enrolled"], out["probes"], out["strangers"]) == (10, 20, 10, 50)
        assert asked["accurate"]
        assert asked["embedder"] == options.EMBEDDER

    def test_table_and_files(self, asked, ruled, tmp_path):
        root = folder(tmp_path / "people", spread())
        files = {"--out": "report.html", "--det": "det.svg", "--cmc": "cmc.png"}
        named = [word for option, name in files.items() for word in (option, tmp_path / name)]
        result = self.run(root, "--target-fpir", "0.02", *named)
        assert result.exit_code == 0, result.stderr
        assert "Rank 1" in result.stdout
        assert "recommended for FPIR 0.02" in " ".join(result.stdout.split())
        assert (tmp_path / "report.html").read_text().count("data:image/png") == 2
        assert (tmp_path / "det.svg").exists()

    def test_mistakes_come_before_the_models(self, asked, tmp_path):
        root = folder(tmp_path / "people", spread())
        mistakes = {
            "no such folder": [tmp_path / "absent"],
            "nobody has more than 9": [root, "--enrol", 9],
            "not a format for reports": [root, "--out", tmp_path / "x.pdf"],
            "its folder does not exist": [root, "--det", tmp_path / "no" / "x.png"],
            "between 0 and 1": [root, "--target-fpir", "1"],
            "no embedding model called": [root, "--embedder", "absent"],
        }
        for says, arguments in mistakes.items():
            result = self.run(*arguments)
            assert result.exit_code == 2, says
            assert says in " ".join(result.stderr.split()), result.stderr
        assert asked == {}


def test_real_pictures(analyzer, portrait, astronaut, tmp_path):
    """Three views of each of two people, with the embedder's own rule."""
    from PIL import Image

    from mien.evaluation.describe import SubjectDescriber
    from mien.gallery.rules import rule_for
    from mien.ops.image import load_image

    for name, path in {"Hopper": portrait, "Collins": astronaut}.items():
        (tmp_path / name).mkdir()
        for side in (512, 400, 300):
            Image.open(path).convert("RGB").resize((side, side)).save(tmp_path / name / f"{side}.jpg")
    describe = SubjectDescriber(analyzer, load_image)
    rule = rule_for(analyzer.embedder.record, "fast")
    report = identify(read_people(tmp_path), describe, rule=rule, strangers=1)
    assert report.rank[1].value == 1
    assert report.scores.min() > rule.threshold([1], 1e-4) > report.far.max()
