"""The expression network that ships, on real faces."""

import numpy as np
import pytest
from PIL import Image

import mien
from mien.datasets import EXPRESSIONS, open_image_set
from mien.evaluation.expression import evaluate_expression
from mien.models import registry
from mien.models.base import RuntimeOptions
from mien.models.classifier import CropClassifier
from mien.models.store import WeightsStore


@pytest.fixture(scope="module")
def network() -> CropClassifier:
    return registry.load_classifier("mien-s", WeightsStore(), RuntimeOptions(threads=1))


@pytest.fixture(scope="module")
def analyzer() -> mien.FaceAnalyzer:
    return mien.FaceAnalyzer(only=("detect", "expression"), threads=1)


def test_its_card_says_what_a_user_must_know(network):
    card = network.card
    assert card.labels == EXPRESSIONS
    assert registry.record("mien-s").weights.size <= 12_000_000
    assert "not what a person feels" in card.limits
    assert 0.2 < card.threshold < 0.9
    (figures,) = card.metrics.values()
    assert figures["n"] == 3191
    assert set(figures["per_class"]) == set(EXPRESSIONS)


def test_a_smile_is_happiness_whatever_the_size(analyzer, astronaut):
    photo = Image.open(astronaut).convert("RGB")
    for scale in (0.5, 1, 2):
        size = (round(photo.width * scale), round(photo.height * scale))
        expressions = analyzer(np.asarray(photo.resize(size, Image.Resampling.LANCZOS))).largest().expressions
        assert expressions.names == ["happiness"]
        assert expressions.confidence[0] > 0.8


def test_colour_makes_no_difference(analyzer, astronaut, portrait):
    for path in (astronaut, portrait):
        photo = Image.open(path)
        faces = analyzer(np.asarray(photo.convert("RGB")))
        grey = np.asarray(photo.convert("L").convert("RGB"))
        again = analyzer.expression([grey], [faces])[0]
        np.testing.assert_allclose(again.expressions.scores, faces.expressions.scores, atol=0.02)


def test_a_mirrored_smile_is_a_smile(network, two_crops):
    smile = two_crops[:1]
    answers, mirrored = network(smile), network(np.ascontiguousarray(smile[:, :, ::-1]))
    np.testing.assert_allclose(mirrored, answers, atol=0.1)


def test_faces_in_a_batch_answer_as_alone(network, two_crops):
    together = network(np.concatenate([two_crops] * 8))
    alone = np.concatenate([network(crop[None]) for crop in two_crops])
    np.testing.assert_allclose(together, np.concatenate([alone] * 8), atol=1e-5)


@pytest.fixture(scope="module")
def two_crops(astronaut, portrait):
    """(2, 48, 48, 3) uint8: a smile, and a sober look."""
    from mien.ops import align

    card = registry.load_classifier("mien-s", WeightsStore(), RuntimeOptions(threads=1)).card
    finder = mien.FaceAnalyzer(only=("detect",), threads=1)
    crops = []
    for path in (astronaut, portrait):
        image = mien.load_image(path)
        transforms = align.crop_transforms(finder(image).largest(), card.crop.template_array(), card.crop.size)
        crops.append(align.extract_crops(image, transforms, card.crop.size)[0])
    return np.stack(crops)


@pytest.mark.data
@pytest.mark.parametrize("name", ["obama_1.jpg", "biden_2.jpg", "alex_1.png"])
def test_smiling_portraits(analyzer, shared_photos, name):
    expressions = analyzer(shared_photos / name).largest().expressions
    assert expressions.names == ["happiness"]
    assert expressions.confidence[0] > 0.8


@pytest.mark.data
def test_ferplus_validation_is_as_good_as_the_card_says(network, shared):
    """Every fifth picture: 639; the card's accuracy lies within three standard errors."""
    images = open_image_set(shared / "ferplus_valid.zip").for_measuring()
    report = evaluate_expression(images.subset(range(0, len(images), 5)), network)
    (said,) = network.card.metrics.values()
    error = np.sqrt(said["accuracy"] * (1 - said["accuracy"]) / report.figures.n)
    assert report.figures.accuracy == pytest.approx(said["accuracy"], abs=3 * error)
    assert report.figures.ece < 0.06
    assert report.figures.accuracy_on_rest > report.figures.accuracy + 0.01  # of all 3,191: 0.037
