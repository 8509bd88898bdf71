"""A whole small run for age and gender on two real faces: it learns, resumes to the bit, and exports what it learnt."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from mien import FaceAnalyzer, Faces, load_image  # noqa: E402
from mien.datasets.attributes import AttributeSet  # noqa: E402
from mien.errors import DataError, ModelError  # noqa: E402
from mien.evaluation.expression import SquareCutter  # noqa: E402
from mien.models import registry  # noqa: E402
from mien.models.attributes import AGES, GENDERS, AttributesNetwork, years_of  # noqa: E402
from mien.models.classifier import CropClassifier  # noqa: E402
from mien.training import attributes as run  # noqa: E402
from mien.training import run_folder  # noqa: E402
from mien.training.objectives import AgeAndGender  # noqa: E402
from mien.training.options import TrainingOptions  # noqa: E402

SMALL = TrainingOptions(
    architecture="cnn2", crop_size=24, input_size=24, colour=True, epochs=8, batch=16, warmup=4, learning_rate=3e-3,
    ema=0.8, threads=1, metric="loss", augment=0.3,
)  # fmt: skip
CUT = SquareCutter(24)
KNOWN = {0: (36, 1), 1: (72, 0)}  # which portrait: age, gender


@pytest.fixture(scope="session")
def make_attributes(make_set):
    def make(n, seed=0, **changes):
        pictures = make_set(n, seed)
        known = [KNOWN[label] for label in pictures.truth]
        facts = {
            "ages": np.array([age for age, _ in known]),
            "genders": np.array([gender for _, gender in known]),
            "groups": ["east" if i % 4 < 2 else "" for i in range(n)],
        }
        return AttributeSet(pictures.name, pictures.items, **{**facts, **changes}, read=pictures.read)

    return make


def trained(folder, make_attributes, options=SMALL, **settings):
    run_folder.prepare_folder(folder, options, resume=settings.get("resume", False))
    data = run.read_data(make_attributes(96), make_attributes(32, seed=1), options, folder, cut=CUT)
    return run.train_attributes(data, options, folder, name="small", cut=CUT, backbone="none", **settings)


@pytest.fixture(scope="session")
def model(tmp_path_factory, make_attributes):
    return trained(tmp_path_factory.mktemp("run") / "run", make_attributes)


def test_learns_exports_and_reports(model):
    losses = [row["train_loss"] for row in model.history]
    assert losses[-1] < 0.7 * losses[0]
    assert model.report.overall.mae < 12  # one answer for both would be off by 18
    assert model.report.overall.gender_accuracy > 0.9
    network = AttributesNetwork(model.model)
    assert network.card.metrics["two faces 1"]["age"]["mae"] == pytest.approx(model.report.overall.mae, abs=1e-3)
    assert network.card.task == "attributes"
    saved = json.loads((model.folder / "report.json").read_text())
    assert saved["age"]["mae"] == pytest.approx(model.report.overall.mae, abs=1e-3)
    assert set(saved["by"]["age"]) == {"30 to 44", "60 and more"}
    assert set(saved["by"]["group"]) == {"east"}


def test_an_interrupted_run_ends_with_the_very_same_weights(tmp_path, make_attributes, model):
    def interrupt(done, _total, what=""):
        if what.startswith("epoch") and done == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", make_attributes, progress=interrupt)
    torch.manual_seed(12345)
    again = trained(tmp_path / "run", make_attributes, resume=True)
    one, other = (load_file(m.folder / run_folder.WEIGHTS) for m in (model, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_analyzer_says_what_the_network_says(model, portrait):
    analyzer = FaceAnalyzer(only=("detect", "age", "gender"), attributes=str(model.model), threads=1)
    faces = analyzer(load_image(portrait))
    assert len(faces) == len(faces.ages) == len(faces.genders) == 1
    (face,) = faces.to_dicts()
    assert set(face) == {"box", "score", "landmarks", "age", "gender"}
    assert 0 <= face["age"]["years"] <= 100
    assert face["age"]["sd"] > 0
    assert set(face["gender"]["scores"]) == set(GENDERS)
    only_age = FaceAnalyzer(only=("detect", "age"), attributes=f"attributes:{model.model}", threads=1)
    (face,) = only_age(load_image(portrait)).to_dicts()
    assert "gender" not in face
    (nobody,) = analyzer([np.zeros((64, 64, 3), np.uint8)])
    assert isinstance(nobody, Faces)
    assert len(nobody.ages) == 0


def test_other_networks_are_refused(model, tiny_expressions):
    with pytest.raises(ModelError, match="it says it is for 'attributes'"):
        CropClassifier(model.model)
    with pytest.raises(ModelError, match="the card is damaged or not one of mien's"):
        registry.entry(f"attributes:{tiny_expressions}")
    with pytest.raises(ModelError):
        FaceAnalyzer(only=("detect", "expression"), expression=str(model.model))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"genders": np.zeros(96, np.int64)}, "no picture of gender female"),
        ({"ages": np.full(96, -1)}, "no picture with an age"),
    ],
)
def test_what_cannot_be_learnt_is_said_first(tmp_path, make_attributes, changes, problem):
    with pytest.raises(DataError, match=problem):
        run.read_data(make_attributes(96, **changes), make_attributes(32, seed=1), SMALL, tmp_path, cut=CUT)


def test_what_nobody_labelled_counts_for_nothing():
    objective = AgeAndGender(replace(SMALL, smoothing=0.1))
    logits = torch.randn(2, len(AGES) + len(GENDERS), requires_grad=True)
    targets = torch.zeros_like(logits)
    targets[0, 30] = 1  # an age, no gender
    targets[1, len(AGES)] = 1  # a gender, no age
    objective.loss(logits, targets).backward()
    assert logits.grad[0, len(AGES) :].abs().max() == 0
    assert logits.grad[1, : len(AGES)].abs().max() == 0
    assert logits.grad[0, : len(AGES)].abs().max() > 0
    assert logits.grad[1, len(AGES) :].abs().max() > 0


def test_years_are_mean_and_spread_of_the_distribution():
    shares = np.zeros((2, len(AGES)), np.float32)
    shares[0, 40] = 1
    shares[1, [20, 40]] = 0.5
    years, sd = years_of(shares)
    np.testing.assert_allclose(years, [40, 30])
    np.testing.assert_allclose(sd, [0, 10], atol=1e-3)
