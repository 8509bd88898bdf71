from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import evaluate, evaluate_expression
from mien.datasets.base import ImageSet
from mien.errors import DataError, ImageDecodeError, ModelError
from mien.evaluation import expression as room
from mien.evaluation.classification import classification_report
from mien.evaluation.classification_plots import plot_confusion, plot_learning_curves
from mien.evaluation.report_pages import to_html, to_markdown
from mien.models.base import CropSpec, CropView
from mien.types import Faces

HOSTILE = '<script>alert("x")</script>|`$a_b$`[bold]\n# x'


class ByBrightness:
    """The class of a crop is its brightness; brightness 9 makes it unsure."""

    name, size, threshold = "toy", 4, 0.6

    def __init__(self, *labels: str):
        self.labels = labels

    def __call__(self, crops):
        assert crops.shape[1:] == (4, 4, 3)
        assert crops.dtype == np.uint8
        value = crops[:, 0, 0, 0].astype(int) % 10
        p = np.full((len(crops), len(self.labels)), 0.1 / (len(self.labels) - 1))
        p[np.arange(len(crops)), value % len(self.labels)] = 0.9
        p[value == 9] = 1 / len(self.labels)
        return p.astype(np.float32)


def pictures(labels, values, truth, *, size=(4, 4), broken=()) -> ImageSet:
    def read(i):
        if i in broken:
            raise ImageDecodeError(f"p{i}.png: not an image")
        return np.full((*size, 3), values[i], np.uint8)

    n = len(values)
    items = [f"p{i}.png" for i in range(n)]
    targets = np.zeros((n, len(labels)), np.float32)
    return ImageSet("toy set", "as written", tuple(labels), items, targets, np.array(truth, np.int64), read)


def test_a_plain_run():
    seen = []
    images = pictures(["a", "b"], [0, 1, 1, 9, 0], [0, 1, 0, 0, -1])
    report = room.evaluate_expression(
        images, ByBrightness("a", "b"), batch=3, setup={"threads": 1}, progress=lambda *at: seen.append(at)
    )
    assert seen == [(3, 4), (4, 4)]
    assert report.figures.n == 4  # the one without an answer is not measured
    assert report.figures.accuracy == 0.75
    assert report.figures.uncertain == 0.25
    out = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (out["model"], out["protocol"], out["threads"], out["unreadable"]) == ("toy", "as written", 1, [])
    assert out["speed"]["ms_per_face"] > 0
    assert "missed" not in out


def test_classes_that_the_set_lacks_are_left_out():
    images = pictures(["b", "c"], [0, 1, 2], [0, 0, 1])
    report = room.evaluate_expression(images, ByBrightness("a", "b", "c"))
    assert report.figures.labels == ("b", "c")
    assert report.figures.accuracy == 1  # sure of "a", it still says which of the others is likelier: the first
    assert any("the data have no a" in note for note in report.notes)


def test_classes_that_the_model_lacks_are_errors():
    report = room.evaluate_expression(pictures(["a", "z", "b"], [0, 1, 1], [0, 1, 2]), ByBrightness("a", "b"))
    assert report.figures.labels == ("a", "b", "z")
    assert report.figures.accuracy == pytest.approx(2 / 3)
    assert report.figures.per_class["z"].recall == 0
    assert any("does not know z: each of its 1 pictures is an error" in note for note in report.notes)


def test_synonyms():
    match = room.match_labels(["Angry", "happy", "neutral"], ["neutral", "happiness", "anger", "fear"])
    assert match.labels == ("neutral", "happiness", "anger")
    assert match.from_set.tolist() == [2, 1, 0]
    assert match.from_model.tolist() == [0, 1, 2, -1]
    assert match.renamed == {"Angry": "anger", "happy": "happiness"}
    exact = room.match_labels(["happy", "happiness"], ["happiness", "happy"])  # two people of these names
    assert (exact.labels, exact.from_set.tolist()) == (("happiness", "happy"), [1, 0])


def test_sure_of_nothing_but_a_class_left_out():
    match = room.match_labels(["b", "c"], ["a", "b", "c"])
    np.testing.assert_allclose(match.to_report(np.array([[1, 0, 0]], np.float32)), [[0.5, 0.5]])


def test_nothing_in_common():
    with pytest.raises(DataError, match=r"no class in common: x in the data, a, b in the model"):
        room.evaluate_expression(pictures(["x"], [0], [0]), ByBrightness("a", "b"))


def test_unreadable_pictures_are_listed_and_not_measured():
    report = room.evaluate_expression(pictures(["a", "b"], [0, 1, 1], [0, 1, 1], broken={1}), ByBrightness("a", "b"))
    assert report.figures.n == 2
    assert [bad.item for bad in report.unreadable] == ["p1.png"]
    with pytest.raises(DataError, match=r"not one of 2 pictures .* 2 cannot be read \(p0.png: not an image\)"):
        room.evaluate_expression(pictures(["a", "b"], [0, 1], [0, 1], broken={0, 1}), ByBrightness("a", "b"))


def test_no_answers_in_the_set():
    with pytest.raises(DataError, match="no picture has an answer"):
        room.evaluate_expression(pictures(["a", "b"], [0], [-1]), ByBrightness("a", "b"))


def test_pictures_without_a_face_are_errors():
    def cut(picture):
        return picture if picture[0, 0, 0] else None

    images = pictures(["a", "b"], [0, 1, 1], [0, 1, 1])
    report = room.evaluate_expression(images, ByBrightness("a", "b"), cut=cut)
    assert (report.missed, report.figures.n, report.figures.accuracy) == (1, 3, pytest.approx(2 / 3))
    assert report.to_dict()["missed"] == 1


@pytest.mark.parametrize("wrong", [np.nan, -1.0, 5.0])
def test_answers_that_are_no_probabilities(wrong):
    broken = ByBrightness("a", "b")
    classifier = SimpleNamespace(name="bad", size=4, threshold=0.0, labels=broken.labels)
    with pytest.raises(ModelError, match="bad: its answers are no probabilities"):
        room.checked_answers(lambda_classifier(classifier, np.full((1, 2), wrong)), np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(ModelError, match="shape"):
        room.checked_answers(lambda_classifier(classifier, np.ones((1, 3))), np.zeros((1, 4, 4, 3), np.uint8))


def lambda_classifier(like, answers):
    made = type("Fixed", (), {"__call__": lambda self, crops: answers})()
    made.name, made.labels = like.name, like.labels
    return made


def test_squares():
    cutter = room.SquareCutter(4)
    same = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert cutter(same) is same
    assert cutter(np.full((9, 9, 3), 7, np.uint8)).tolist() == np.full((4, 4, 3), 7).tolist()
    wide = np.zeros((4, 10, 3), np.uint8)
    wide[:, 3:7] = 200
    assert (cutter(wide) == 200).all()
    assert cutter.oblong == 1


def test_face_cutter_takes_the_subject():
    template = ((1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (1.0, 3.0), (3.0, 3.0))
    landmarks = np.array(template, np.float32)[None] + [10, 20]
    found = Faces([[9, 19, 15, 25]], [0.9], landmarks, (40, 40))
    picture = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    crop = room.FaceCutter(lambda images: [found], CropSpec(4, template))(picture)
    np.testing.assert_array_equal(crop, picture[20:24, 10:14])
    assert room.FaceCutter(lambda images: [Faces.empty((40, 40))], CropSpec(4, template))(picture) is None


def test_views():
    crops = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(room.seen(crops, CropView()), crops)
    np.testing.assert_array_equal(room.seen(crops, CropView(mirrored=True)), crops[:, :, ::-1])
    shifted = room.seen(crops, CropView(shift=(0.125, 0)))
    np.testing.assert_array_equal(shifted[:, :, 1:], crops[:, :, :-1])


# Pages and pictures


@pytest.fixture
def hostile():
    images = pictures([HOSTILE, "b"], [0, 1], [0, 1])
    model = ByBrightness(HOSTILE, "b")
    model.name = HOSTILE
    return room.evaluate_expression(images, model)


def test_html_escapes_everything_and_needs_nothing_else(hostile):
    page = to_html(hostile, {HOSTILE: b"\x89PNG"})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "data:image/png;base64,iVBORw==" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_markdown_escapes_everything(hostile):
    page = to_markdown(hostile)
    assert "<script" not in page
    assert "\n# x" not in page
    rows = [line for line in page.splitlines() if line.startswith("| &lt;script")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6, 4}


def test_pictures_of_hostile_names(hostile, tmp_path):
    plot_confusion(hostile.figures, tmp_path / "c.png", title=HOSTILE)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_learning_curves(tmp_path):
    history = [{"epoch": 1, "train_loss": 1.0, "accuracy": 0.5}, {"epoch": 2, "train_loss": float("nan"), "lr": 0.1}]
    plot_learning_curves(history, tmp_path / "l.svg")
    assert "<svg" in (tmp_path / "l.svg").read_text()
    with pytest.raises(ValueError, match="no history"):
        plot_learning_curves([], tmp_path / "x.png")


def test_empty_bins_and_many_classes(tmp_path):
    labels = [f"person {i}" for i in range(70)]
    report = classification_report(np.eye(70), np.arange(70), labels)
    plot_confusion(report, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


# The command


@pytest.fixture
def asked(monkeypatch):
    """What the seams were asked for."""
    calls = {"broken": set()}

    def open_data(path, split):
        calls["data"] = (path.name, split)
        return pictures(["a", "b"], [0, 1, 1, 9], [0, 1, 0, 1], broken=calls["broken"])

    def open_classifier(name, **given):
        calls["model"] = (name, given)
        return ByBrightness("a", "b")

    monkeypatch.setattr(evaluate_expression, "open_data", open_data)
    monkeypatch.setattr(evaluate_expression, "open_classifier", open_classifier)
    return calls


def run(*args: object):
    return CliRunner().invoke(evaluate.app, ["expression", *map(str, args)])


def test_json_and_nothing_else_on_stdout(asked, tmp_path):
    out = tmp_path / "r.json"
    result = run("set.zip", "--model", "m.onnx", "--split", "validation", "--json", "--threads", 2, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == json.loads(out.read_text())
    assert asked["data"] == ("set.zip", "validation")
    assert asked["model"] == ("m.onnx", {"threads": 2, "device": "cpu", "precision": None})


def test_table_pages_and_pictures(asked, tmp_path):
    drawn = [tmp_path / f"{name}.png" for name in ("confusion", "reliability", "coverage")]
    options = [part for path in drawn for part in (f"--{path.stem}", path)]
    result = run("set.zip", "--out", tmp_path / "r.html", *options)
    assert result.exit_code == 0, result.stderr
    assert "Confusion matrix" in result.stdout
    assert "50.00%" in result.stdout
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert (tmp_path / "r.html").read_text().count("data:image/png;base64,") == 3
    assert run("set.zip", "--out", tmp_path / "r.md").exit_code == 0
    assert (tmp_path / "r.md").read_text().startswith("# toy")


def test_unreadable_pictures_end_with_2_after_the_report(asked):
    asked["broken"] = {2}
    result = run("set.zip", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["n"] == 3
    assert "p2.png: not an image" in result.stderr
    assert "1 of 4 pictures cannot be read" in result.stderr


def test_mistakes_come_before_the_work(asked, tmp_path):
    for says, arguments in {
        "its folder does not exist": ["--out", tmp_path / "no" / "r.json"],
        "not a format for reports": ["--out", tmp_path / "r.txt"],
        "not a format for plots": ["--confusion", tmp_path / "c.xyz"],
        "it is a folder": ["--reliability", tmp_path],
    }.items():
        result = run("set.zip", *arguments)
        assert result.exit_code == 2
        assert says in result.stderr
        assert result.stderr.count("\n") == 1
    assert asked == {"broken": set()}


def test_align_needs_a_card(asked):
    result = run("set.zip", "--align")
    assert result.exit_code == 2
    assert "leave out --align" in result.stderr


@pytest.mark.data
def test_real_pictures(shared, monkeypatch):
    """FER+ validation under a classifier that always says happiness: its share of the pictures is the accuracy."""
    constant = lambda_classifier(SimpleNamespace(name="constant", labels=("neutral", "happiness")), None)
    type(constant).__call__ = lambda self, crops: np.tile(np.float32([0.2, 0.8]), (len(crops), 1))
    constant.size, constant.threshold = 48, 0.0
    monkeypatch.setattr(evaluate_expression, "open_classifier", lambda name, **given: constant)
    result = run(shared / "ferplus_valid.zip", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["n"] == 3191
    happy = report["per_class"]["happiness"]
    assert happy["recall"] == 1
    assert report["accuracy"] == pytest.approx(happy["support"] / 3191, abs=1e-6)
