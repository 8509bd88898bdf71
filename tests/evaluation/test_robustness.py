from __future__ import annotations

import json
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mien.cli import evaluate, options
from mien.errors import DataError, MienError, ModelError
from mien.evaluation import robustness as room
from mien.evaluation.pairs import read_pairs
from mien.evaluation.robustness_pages import limits, rows, to_html, to_markdown
from mien.evaluation.robustness_plots import plot_curves, sample_sheet
from mien.models.base import Calibration, CropSpec
from mien.ops.degrade import KINDS
from mien.ops.image import load_image
from mien.types import Faces
from tests.evaluation.test_expression import pictures
from tests.models.tiny_classifier import TEMPLATE

SQUARE = CropSpec(48, TEMPLATE)


@pytest.fixture(scope="module")
def lfw(tmp_path_factory, portrait, astronaut):
    """Two real people, two pictures each, laid out as LFW is."""
    root = tmp_path_factory.mktemp("lfw")
    for name, photo in {"Hopper": portrait, "Collins": astronaut}.items():
        (root / name).mkdir()
        for i, size in enumerate((300, 240), 1):
            Image.open(photo).convert("RGB").resize((size, size)).save(root / name / f"{name}_{i:04}.jpg")
    lines = ["1\t2", "Hopper\t1\t2", "Collins\t1\t2", "Hopper\t1\tCollins\t2", "Collins\t1\tHopper\t2"]
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def pairs(lfw):
    return read_pairs(lfw / "pairs.txt", lfw)


@pytest.fixture(scope="module")
def report(pairs, analyzer):
    """Two real people, a good many ways to hide them."""
    return room.evaluate_verification_robustness(pairs, analyzer, load_image, kinds=["dark", "mask", "rotation"])


class Counting:
    """The analyzer, and how many pictures it saw; breaks off after so many."""

    def __init__(self, analyzer, most=10**9):
        self.analyzer, self.most, self.seen = analyzer, most, 0
        self.detector, self.embedder, self.similarity = analyzer.detector, analyzer.embedder, analyzer.similarity

    def __call__(self, images):
        self.seen += len(images)
        if self.seen > self.most:
            raise KeyboardInterrupt
        return self.analyzer(images)


class TestVerification:
    def test_real_faces(self, report):
        assert report.n == 4
        assert report.clean == {"tar": 1.0, "fmr": 0.0, "accuracy": 1.0, "missed": 0.0}
        assert list(report.curves) == ["dark", "mask", "rotation"]
        assert [point.strength for point in report.curves["mask"]] == [0.5, 0.75, 1]
        assert report.curves["dark"][0].figures["tar"] == 1  # a stop less light is nothing
        on_its_side = report.curves["rotation"][-1].figures
        assert on_its_side["missed"] > 0  # the detector's limit is about 45 degrees
        assert on_its_side["tar"] < 1
        assert on_its_side["accuracy"] < 1
        assert report.limit("rotation") >= 20
        assert report.limit("dark") >= 1

    def test_the_report_says_what_was_done(self, report):
        out = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert "the second picture of each pair made worse, the first as it is" in out["protocol"]
        assert "the record's threshold for FMR 0.001 (0.5702)" in out["protocol"]
        assert (out["task"], out["headline"], out["detector"], out["mode"]) == (
            "verification",
            "tar",
            "centerface",
            "fast",
        )
        assert out["kinds"]["rotation"]["unit"] == "degrees"
        assert out["kinds"]["rotation"]["holds_to"] == report.limit("rotation")
        assert out["clean"]["tar_interval"][0] < 0.5  # two pairs prove little
        assert len(out["kinds"]["dark"]["points"]) == len(KINDS["dark"].strengths)

    def test_an_interrupted_run_goes_on(self, report, pairs, analyzer, tmp_path):
        keep = tmp_path / "run.keep"
        run = partial(
            room.evaluate_verification_robustness, pairs, load=load_image, kinds=["dark", "mask", "rotation"], keep=keep
        )
        with pytest.raises(KeyboardInterrupt):
            run(analyzer=Counting(analyzer, most=4 + 2 * 3))
        assert len(keep.read_text().splitlines()) == 1 + 3
        with keep.open("a") as file:
            file.write('{"name": "mask 1", "figur')  # killed while it wrote
        seen = []
        again = Counting(analyzer)
        whole = run(analyzer=again, progress=lambda *at: seen.append(at))
        strengths = sum(len(points) for points in report.curves.values())
        assert again.seen == 4 + 2 * (strengths - 3)
        assert seen[-1] == (4 + 2 * strengths, 4 + 2 * strengths)
        assert whole.to_dict() == report.to_dict()
        done = Counting(analyzer)
        assert run(analyzer=done).to_dict() == report.to_dict()
        assert done.seen == 4

    def test_what_is_kept_is_of_one_run(self, pairs, analyzer, tmp_path):
        keep, other = tmp_path / "run.keep", tmp_path / "letter.txt"
        other.write_text("Dear Ann,\n")
        run = partial(room.evaluate_verification_robustness, pairs, analyzer, load_image, kinds=["mask"])
        run(keep=keep)
        with pytest.raises(MienError, match=r"run.keep: holds figures of another run .*; name another file, or delete"):
            run(keep=keep, fmr=1e-4)
        with pytest.raises(MienError, match=r"letter.txt: holds no figures to go on from"):
            run(keep=other)
        assert other.read_text() == "Dear Ann,\n"

    def test_mistakes(self, pairs, analyzer, lfw, tmp_path):
        run = partial(room.evaluate_verification_robustness, analyzer=analyzer, load=load_image)
        with pytest.raises(DataError, match="no such kind of degradation: rain; choose from dark, bright, blur"):
            run(pairs, kinds=["dark", "rain"])
        with pytest.raises(ModelError, match=r"no threshold for a false match rate of 0\.5; choose one of 1e-2, 1e-3"):
            run(pairs, fmr=0.5)
        (tmp_path / "same.csv").write_text("Hopper/Hopper_0001.jpg,Hopper/Hopper_0002.jpg,1\n")
        with pytest.raises(DataError, match=r"same.csv: no pair of two people; verification needs both kinds"):
            run(read_pairs(tmp_path / "same.csv", lfw))

    def test_no_faces(self, analyzer, tmp_path):
        for name in ("a", "b", "c"):
            Image.new("RGB", (64, 64), (90, 120, 30)).save(tmp_path / f"{name}.png")
        (tmp_path / "pairs.csv").write_text("a.png,b.png,1\na.png,c.png,0\n")
        nobody = read_pairs(tmp_path / "pairs.csv", tmp_path)
        with pytest.raises(DataError, match="no face found in 3 of 3 pictures; not one pair of each kind"):
            room.evaluate_verification_robustness(nobody, analyzer, load_image, kinds=["mask"])


class Brightness:
    """Embeds a picture as its brightness; sees no face where it is under 30."""

    def __init__(self, calibrations):
        record = SimpleNamespace(name="toy", calibrations=calibrations)
        self.detector = self.embedder = SimpleNamespace(record=record)

    def __call__(self, images):
        return [self.faces(image) for image in images]

    def faces(self, image):
        if image.mean() < 30:
            return Faces.empty((8, 8))
        landmarks = np.array([[[2, 2], [5, 2], [3, 4], [2, 6], [5, 6]]])
        box = np.array([[0, 0, 8, 8]])
        return Faces(box, np.ones(1), landmarks, (8, 8), embeddings=np.full((1, 1), image.mean()))

    def similarity(self, a, b):
        return 1 - np.abs(a - b)[:, 0] / 255


def test_thresholds_stay_those_of_clean_pictures(tmp_path):
    for name, grey in {"a1": 200, "a2": 190, "b1": 100, "b2": 110}.items():
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(tmp_path / f"{name}.png")
    (tmp_path / "pairs.csv").write_text("a1.png,a2.png,1\nb1.png,b2.png,1\na1.png,b2.png,0\nb1.png,a2.png,0\n")
    listed = read_pairs(tmp_path / "pairs.csv", tmp_path)

    def run(calibrations):
        return room.evaluate_verification_robustness(listed, Brightness(calibrations), load_image, kinds=["dark"])

    strict = run({"fast": Calibration({"1e-3": 0.9}, (1.0, 0.0), "toy")})
    first, *_, last = strict.curves["dark"]
    # a stop under, 190 is 139 and 110 is 79: similarities .76, .92 of one person; .53, .85 of two; best when clean: .80
    assert first.figures == {"tar": 0.5, "fmr": 0.0, "accuracy": 0.5, "missed": 0.0}
    assert last.figures == {"tar": 0.0, "accuracy": 0.0, "missed": 1.0}  # no false match where nothing was compared
    assert strict.limit("dark") is None
    assert limits(strict) == [("dark", "stops under", "not even 1")]
    without = run({})
    assert "the threshold that is best when clean (0.8039)" in without.protocol


def test_a_sample_keeps_both_kinds_and_only_its_own_pictures(pairs):
    two = room.sample_pairs(pairs, 2)
    assert two.same.tolist() == [True, False]
    assert len(two.paths) == 3
    for of in (two, room.sample_pairs(pairs, 100)):
        listed = [(of.paths[a].name, of.paths[b].name) for a, b in zip(of.first, of.second, strict=True)]
        known = [(pairs.paths[a].name, pairs.paths[b].name) for a, b in zip(pairs.first, pairs.second, strict=True)]
        assert set(listed) <= set(known)
    assert len(room.sample_pairs(pairs, 100)) == 4


class Light:
    """Pictures are light or dark, and those between 100 and 155 uncertain."""

    name, size, threshold, labels = "toy", 48, 0.6, ("dark", "light")

    def __call__(self, crops):
        light = np.clip((crops.mean(axis=(1, 2, 3)) - 127.5) / 137.5 + 0.5, 0, 1)
        return np.column_stack([1 - light, light]).astype(np.float32)


class TestExpression:
    def run(self, images, **more):
        find = partial(room.landmarks_in_square, SQUARE)
        return room.evaluate_expression_robustness(images, Light(), find=find, **more)

    def test_curves(self):
        images = pictures(["dark", "light"], [20, 60, 200, 180], [0, 0, 1, 1], size=(48, 48))
        seen = []
        report = self.run(images, kinds=["dark", "size", "dark"], progress=lambda *at: seen.append(at))
        assert report.clean == {"accuracy": 1.0, "uncertain": 0.0, "accuracy_on_rest": 1.0}
        # a stop under, 200 is 147: still light; 180 is 132: uncertain
        one, two, *_ = (point.figures for point in report.curves["dark"])
        assert one == {"accuracy": 1.0, "uncertain": 0.25, "accuracy_on_rest": 1.0}
        assert two["accuracy"] == 0.5
        assert report.limit("dark") == 1
        assert report.limit("size") == 8  # flat pictures lose nothing
        assert seen[-1] == (4 * 13, 4 * 13)
        assert [row[:3] for row in rows(report)[:2]] == [
            ("nothing", "", "100.0%"),
            ("dark (stops under)", "1", "100.0%"),
        ]

    def test_faces_that_are_searched_for(self, analyzer, portrait, astronaut):
        from mien.evaluation.expression import FaceCutter

        photos = [*(load_image(path) for path in (portrait, astronaut)), np.full((64, 64, 3), 90, np.uint8)]
        images = pictures(["light", "dark"], [0, 0, 0], [0, 1, 0])
        images = images.__class__(**{**vars(images), "read": photos.__getitem__})
        find = partial(room.subject_landmarks, analyzer.detector)
        report = room.evaluate_expression_robustness(
            images, Light(), find=find, cut=FaceCutter(analyzer.detector, SQUARE), kinds=["mask"]
        )
        missed = [figures["missed"] for figures in (report.clean, *(p.figures for p in report.curves["mask"]))]
        assert missed[0] == pytest.approx(1 / 3)  # the plain one, which no strength can make worse
        assert min(missed) == missed[0]
        assert report.clean["accuracy"] <= 2 / 3  # a face that is not found is an error

    def test_kept_and_gone_on_from(self, tmp_path):
        images = pictures(["dark", "light"], [20, 200], [0, 1], size=(48, 48))
        keep = tmp_path / "keep"
        first = self.run(images, kinds=["blur"], keep=keep)
        again = self.run(images, kinds=["blur", "dark"], keep=keep)  # more kinds may be asked for later
        assert again.curves["blur"] == first.curves["blur"]
        assert len(keep.read_text().splitlines()) == 1 + 6 + 6

    def test_unreadable_pictures_are_listed(self):
        images = pictures(["dark", "light"], [20, 60, 200], [0, 0, 1], size=(48, 48), broken={1})
        report = self.run(images, kinds=["dark"])
        assert report.n == 2
        assert report.to_dict()["unreadable"] == [{"path": "p1.png", "error": "p1.png: not an image"}]

    def test_mistakes(self):
        with pytest.raises(DataError, match=r"every picture is of one class \(light\)"):
            self.run(pictures(["dark", "light"], [200, 210], [1, 1], size=(48, 48)))
        with pytest.raises(DataError, match="no picture has an answer"):
            self.run(pictures(["dark", "light"], [200, 210], [-1, -1], size=(48, 48)))

    def test_a_sample_is_spread_over_the_set(self):
        images = pictures(["a", "b"], list(range(10)), [0, 1, -1, 0, 1, 0, 1, 0, 1, 0])
        assert room.sample_images(images, 3).items == ["p0.png", "p4.png", "p7.png"]
        assert len(room.sample_images(images, 100)) == 9


def test_landmarks_of_a_cut_face_lie_as_in_the_crop():
    np.testing.assert_allclose(room.landmarks_in_square(SQUARE, np.zeros((48, 48, 3), np.uint8)), TEMPLATE, rtol=1e-6)
    wide = room.landmarks_in_square(SQUARE, np.zeros((96, 200, 3), np.uint8))
    np.testing.assert_allclose(wide, (np.array(TEMPLATE) + 0.5) * 2 - 0.5 + [52, 0], rtol=1e-6)


class TestPages:
    def test_markdown_and_html(self, report):
        text = to_markdown(report)
        assert "## What does little harm" in text
        assert re.search(r"\| rotation \(degrees\) \| 10 \|", text.replace("\\", ""))
        page = to_html(report, {"Curves": b"png"})
        assert page.count("<tr>") >= len(rows(report))
        assert "data:image/png;base64,cG5n" in page
        assert "<script" not in page

    def test_plot_and_samples(self, report, tmp_path, portrait, analyzer):
        plot_curves(report, tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as drawn:
            assert min(drawn.size) > 300
        photo = load_image(portrait)
        sheet = sample_sheet(photo, analyzer(photo).landmarks[0], ["mask", "size"])
        assert sheet.shape[2] == 3
        assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(evaluate.app, ["robustness", *map(str, arguments)])

    def test_verification(self, lfw, analyzer, tmp_path, monkeypatch):
        monkeypatch.setattr(options, "make_analyzer", lambda **_: analyzer)  # loaded once for all tests
        files = {name: tmp_path / name for name in ("r.html", "curves.svg", "sheet.png", "run.keep")}
        result = self.run(
            "--pairs", lfw / "pairs.txt", "--root", lfw, "--kinds", "mask, mask", "--most", 3, "--json",
            "--out", files["r.html"], "--plot", files["curves.svg"], "--samples", files["sheet.png"], "--keep",
            files["run.keep"],
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        out = json.loads(result.stdout)
        assert (out["n"], list(out["kinds"])) == (3, ["mask"])
        assert all(path.stat().st_size > 200 for path in files.values())
        table = self.run("--pairs", lfw / "pairs.txt", "--root", lfw, "--kinds", "mask", "--keep", tmp_path / "k")
        assert "mask (share worn)" in table.stdout
        assert "within 1 point of clean" in " ".join(table.stdout.split())

    def test_expression(self, tiny_expressions, portrait, astronaut, tmp_path):
        for label, photo in {"happiness": portrait, "neutral": astronaut}.items():
            (tmp_path / "faces" / label).mkdir(parents=True)
            Image.open(photo).convert("RGB").save(tmp_path / "faces" / label / "1.png")
        (tmp_path / "faces" / "neutral" / "broken.png").write_bytes(b"no picture")
        out = tmp_path / "report.json"
        result = self.run(
            "--expression", tmp_path / "faces", "--model", tiny_expressions, "--kinds", "dark", "--out", out
        )
        assert result.exit_code == 2  # one picture cannot be read
        assert "broken.png" in result.stderr
        assert json.loads(out.read_text())["clean"]["accuracy"] == 0.5  # to it, all that is not black is happy
        assert "dark (stops under)" in result.stdout

    def test_mistakes_come_before_the_models(self, lfw, tmp_path):
        data = ["--pairs", lfw / "pairs.txt", "--root", lfw]
        mistakes = {
            "say what to measure: either --pairs FILE --root FOLDER, or --expression DATA": ["--root", lfw],
            "either --pairs": [*data, "--expression", tmp_path],
            "--pairs and --root go together": data[:2],
            "no such kind of degradation: rain": [*data, "--kinds", "rain"],
            "absent.txt: cannot be read": ["--pairs", tmp_path / "absent.txt", "--root", lfw],
            "not a format for samples": [*data, "--samples", tmp_path / "x.gif"],
            "not a format for reports": [*data, "--out", tmp_path / "x.txt"],
            "its folder does not exist": [*data, "--keep", tmp_path / "no" / "keep"],
            "not a format for plots": [*data, "--plot", tmp_path / "x.xyz"],
        }
        for says, arguments in mistakes.items():
            result = self.run(*arguments)
            assert result.exit_code == 2, says
            assert says in result.stderr
            assert result.stderr.count("\n") == 1
