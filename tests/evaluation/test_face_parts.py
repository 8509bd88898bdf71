"""Measuring eyes and mouths: patches as arrays and as folders, and what cannot be measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mien import DataError, FaceAnalyzer, load_image
from mien.datasets.patches import open_patches, squared
from mien.evaluation.face_parts import evaluate_part
from mien.models import face_parts, registry


class Brightness:
    """Brighter pictures look open."""

    name, labels, size, threshold = "brightness", ("closed", "open"), 32, 0.0

    def __call__(self, crops):
        p = crops.mean(axis=(1, 2, 3), dtype=np.float64) / 255
        return np.column_stack([1 - p, p]).astype(np.float32)


def saved(path, images, is_open):
    np.savez(path, images=images, open=is_open)
    return path


@pytest.fixture
def patches(tmp_path):
    """Ten patches of 26 x 34; a bright one is closed, a dark one open."""
    levels = np.array([10, 20, 30, 40, 200, 60, 210, 220, 230, 240], np.uint8)
    images = np.broadcast_to(levels[:, None, None], (10, 26, 34)).copy()
    return saved(tmp_path / "eyes.npz", images, np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]))


def test_figures_are_those_of_the_answers(patches):
    report = evaluate_part(open_patches(patches), Brightness())
    assert report.figures.n == 10
    assert report.figures.accuracy == pytest.approx(0.8)
    assert report.tpr == pytest.approx(0.8)
    assert report.fpr == pytest.approx(0.2)
    assert report.auc == pytest.approx(1 - 1 / 25)  # one pair of 25 is the wrong way round
    assert report.to_dict()["data"] == "eyes"


def test_a_folder_measures_as_the_same_arrays_do(patches, tmp_path):
    arrays = open_patches(patches)
    for i in range(len(arrays)):
        place = tmp_path / "folder" / ("closed", "open")[arrays.truth[i]] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(arrays.read(i)).save(place)
    folder = open_patches(tmp_path / "folder")
    assert folder.labels == arrays.labels
    one, other = (evaluate_part(images, Brightness()).to_dict() for images in (arrays, folder))
    assert {k: v for k, v in one.items() if k not in ("data", "protocol")} == {
        k: v for k, v in other.items() if k not in ("data", "protocol")
    }


def test_a_picture_that_cannot_be_read_is_listed_and_not_measured(patches, tmp_path):
    for name, value in {"closed/1.png": 5, "closed/2.png": 9, "open/1.png": 250}.items():
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (34, 26), value).save(tmp_path / "f" / name)
    (tmp_path / "f" / "open" / "zz.png").write_bytes(b"no picture")
    report = evaluate_part(open_patches(tmp_path / "f"), Brightness())
    assert (report.figures.n, len(report.unreadable), report.figures.accuracy) == (3, 1, 1.0)
    (tmp_path / "f" / "open" / "1.png").write_bytes(b"none either")
    with pytest.raises(DataError, match="open and closed ones are needed"):
        evaluate_part(open_patches(tmp_path / "f"), Brightness())


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": np.zeros((3, 26, 34), np.uint8)}, "an array is missing"),
        ({"images": np.zeros((3, 26, 34), np.float32), "open": np.array([0, 1, 1])}, "uint8"),
        ({"images": np.zeros((3, 26), np.uint8), "open": np.array([0, 1, 1])}, r"\(3, 26\)"),
        ({"images": np.zeros((3, 26, 34), np.uint8), "open": np.array([0, 1])}, "not a 0 or 1 for each"),
        ({"images": np.zeros((3, 26, 34), np.uint8), "open": np.array([0, 1, 2])}, "not a 0 or 1 for each"),
        ({"images": np.zeros((3, 26, 34), np.uint8), "open": np.ones(3)}, "no picture that is closed"),
        ({"images": np.zeros((3, 26, 34), np.uint8), "open": np.array([{}, 1, 1], object)}, "plain arrays"),
    ],
)
def test_arrays_that_are_no_patches_are_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=said):
        open_patches(tmp_path / "x.npz")


def test_files_and_folders_that_are_no_patches_are_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError, match=r"x\.npz"):
        open_patches(tmp_path / "x.npz")
    with pytest.raises(DataError, match="cannot be read"):
        open_patches(tmp_path / "nowhere.npz")
    for name in ("happy/1.png", "sad/1.png"):
        (tmp_path / "faces" / name).parent.mkdir(parents=True)
        Image.new("L", (34, 26)).save(tmp_path / "faces" / name)
    with pytest.raises(DataError, match="'closed' and 'open' are needed"):
        open_patches(tmp_path / "faces")


def test_patches_are_seen_whole():
    patch = np.zeros((26, 34, 3), np.uint8)
    patch[:, :2] = 255
    crop = squared(patch, 32)
    assert crop.shape == (32, 32, 3)
    assert crop[:, 0].min() > 200  # the edge is repeated above and below
    assert squared(np.zeros((60, 20, 3), np.uint8), 32).shape == (32, 32, 3)


def test_the_command_measures_the_shipped_network_on_real_patches(mien, shared):
    result = mien("evaluate", "eyes", shared / "eyes.npz", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["n"], report["model"]) == (200, "mien-eyes")
    assert report["accuracy"] > 0.95  # it has seen them: recipes/eyes.md has the figure on those that it has not
    assert report["auc"] > 0.98
    assert report["fpr"] < 0.08


def test_the_command_writes_and_shows_its_report(mien, tmp_path, portrait, astronaut):
    crop = registry.record("mien-mouth").crop
    find = FaceAnalyzer(only=("detect",), threads=1)
    for label, path in {"closed": portrait, "open": astronaut}.items():
        image = load_image(path)
        (tmp_path / "m" / label).mkdir(parents=True)
        Image.fromarray(face_parts.mouths([image], [find(image).largest()], crop)[0][0]).save(
            tmp_path / "m" / label / "1.png"
        )
    result = mien("evaluate", "mouth", tmp_path / "m", "--out", tmp_path / "report.json")
    assert result.returncode == 0, result.stderr
    assert b"area under the ROC curve" in result.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["per_class"]["closed"]["recall"] == 1
    assert report["tpr"] == 0  # a smile with closed teeth is called closed: the label is wrong
    wrong = mien("evaluate", "eyes", tmp_path / "m", "--model", "mien-mouth")
    assert wrong.returncode == 2
    assert b"no eyes model called 'mien-mouth'" in wrong.stderr
