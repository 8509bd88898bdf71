"""Pruning: torch computes what the runtime does, channels go where nothing else sees them, and the gate holds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.compression.fine_tuning import PruneOptions, answers, divergence, squared_error
from mien.compression.graph_network import GraphNetwork, multiply_adds
from mien.compression.pruning import Link, chosen, cut, importance, links, prune
from mien.compression.subjects import ClassifierSubject, EmbedderSubject
from mien.datasets import open_image_set
from mien.errors import DataError, GateError, ModelError
from mien.models import registry
from mien.models.base import RuntimeOptions
from mien.models.classifier import CropClassifier
from mien.models.quantized import float_graph
from mien.models.runtime import Session
from mien.models.store import WeightsStore
from mien.training.architectures import ARCHITECTURES
from mien.training.export import export
from tests.compression.networks import SIZE, card, faces, network, save
from tests.models import tiny_classifier

QUICK = PruneOptions(reduce=0.3, max_loss=0.0, epochs=2, batch=16, augment=0.3)


def quiet(*_) -> None:
    pass


def outputs(graph: bytes, crops: np.ndarray) -> np.ndarray:
    return Session(graph, RuntimeOptions(threads=1))(crops)[0].reshape(len(crops), -1)


@pytest.fixture(scope="module")
def graph():
    return float_graph(network(), "portraits")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    images = open_image_set(save(tmp_path_factory.mktemp("sets") / "evaluation", 12, seed=7))
    return ClassifierSubject(network(), images)


@pytest.mark.parametrize("name", ["mien-s", "resnet18", "cnn2"])
def test_torch_answers_as_the_runtime_does(name):
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    built = architecture.build(1, architecture.size, 2).eval()
    crops = faces(2)[0]
    graph = float_graph(export(built, architecture.size, card(), CropClassifier, colour=False, half=False), name)
    again = GraphNetwork(graph, crops)
    expected = outputs(graph, crops)
    np.testing.assert_allclose(answers(again, crops).numpy(), expected, atol=1e-3 * np.abs(expected).max())
    again.settle(torch.from_numpy(crops).float())
    np.testing.assert_allclose(answers(again, crops).numpy(), expected, atol=1e-3 * np.abs(expected).max())
    np.testing.assert_allclose(outputs(again.exported(), crops), expected, atol=1e-3 * np.abs(expected).max())
    assert links(graph)


def test_the_embedder_can_be_run_by_torch_too():
    entry = registry.entry("dlib-resnet")
    graph = float_graph(entry.convert(WeightsStore().read(entry.record.weights)), "dlib-resnet")
    crops = np.random.default_rng(0).integers(0, 256, (2, 150, 150, 3), dtype=np.uint8)
    np.testing.assert_allclose(answers(GraphNetwork(graph, crops), crops).numpy(), outputs(graph, crops), atol=1e-4)
    assert len(links(graph)) == 14


def test_multiply_adds_are_those_of_the_convolutions_and_the_head(graph):
    counts = multiply_adds(graph, faces(1)[0])
    assert counts["y0"] == 48 * 48 * 16 * 3 * 9
    assert counts["y1"] == 24 * 24 * 16 * 16 * 9
    assert counts["logits"] == 32 * 2


def test_channels_go_between_neighbours_alone(graph):
    assert links(graph) == [Link("y0", "y1", 16), Link("y1", "y2", 16), Link("y2", "y3", 32)]
    with pytest.raises(ModelError, match="no two convolutions"):
        links(tiny_classifier.network())


def test_the_least_missed_for_what_they_cost_go_first():
    found = [Link("a", "b", 16), Link("c", "d", 16)]
    missed = {"a": np.r_[np.full(8, 1.0), np.full(8, 9.0)], "c": np.r_[np.full(8, 5.0), np.full(8, 2.0)]}
    costs = {"a": 100, "b": 100, "c": 100, "d": 100}
    kept = chosen(found, missed, costs, 0.2)
    assert kept["a"].tolist() == list(range(8, 16))
    assert len(kept["c"]) == 16
    both = chosen(found, missed, costs, 0.4)
    assert both["c"].tolist() == list(range(8))
    with pytest.raises(ModelError, match="only 50% of the multiply-adds"):
        chosen(found, missed, costs, 0.6)


def test_a_channel_that_does_nothing_is_not_missed(graph):
    crops = faces(4)[0]
    student = GraphNetwork(graph, crops)
    with torch.no_grad():
        student.layer("y1").weight[:, 3] = 0
    missed = importance(student, links(graph), crops, quiet)
    assert missed["y0"].argmin() == 3
    assert missed["y0"][3] == 0
    student.settle(torch.from_numpy(crops).float())
    before = answers(student, crops)
    keep = {link.first: np.arange(link.channels) for link in links(graph)}
    keep["y0"] = np.delete(keep["y0"], 3)
    cut(student, links(graph), keep)
    np.testing.assert_allclose(answers(student, crops), before, atol=1e-4)
    np.testing.assert_allclose(outputs(student.exported(), crops), before, atol=1e-4)


def test_a_pruned_network_is_smaller_and_answers_the_same(subject):
    done = prune(subject, faces(40, seed=2)[0], replace(QUICK, epochs=4))
    before, after = done.comparison.before, done.comparison.after
    assert after.multiply_adds <= 0.7 * before.multiply_adds
    assert done.comparison.loss <= 0
    assert min(row["loss"] for row in done.history) < done.history[0]["loss"]  # the best epoch is what is kept
    classifier = CropClassifier(done.network, RuntimeOptions(threads=1))
    crops, truth = faces(6, seed=13)
    assert classifier(crops).shape == (12, 2)
    assert (classifier(crops).argmax(axis=1) == truth).mean() >= 11 / 12


def test_the_gate_holds(subject):
    """One picture, again and again, teaches it nothing."""
    black = np.zeros((32, SIZE, SIZE, 3), np.uint8)
    with pytest.raises(GateError, match="pruned, loses"):
        prune(subject, black, PruneOptions(reduce=0.6, max_loss=0.0, epochs=1, batch=16, augment=0.0))


def test_too_few_faces_are_refused(subject):
    with pytest.raises(DataError, match="too few"):
        prune(subject, faces(5)[0], QUICK)


class Interrupted(Exception):
    pass


def test_an_interrupted_run_goes_on_to_the_same_network(subject, tmp_path):
    crops, keep = faces(40, seed=2)[0], tmp_path / "kept.pt"
    whole = prune(subject, crops, QUICK)

    def stop(row):
        raise Interrupted

    with pytest.raises(Interrupted):
        prune(subject, crops, QUICK, keep=keep, on_epoch=stop)
    rows = []
    resumed = prune(subject, crops, QUICK, keep=keep, on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [2]  # the first was not learnt again
    assert resumed.network == whole.network
    again = prune(subject, crops, QUICK, keep=keep, on_epoch=rows.append)
    assert len(rows) == 1
    assert again.network == whole.network


def test_what_was_kept_of_another_run_or_is_damaged_is_refused(subject, tmp_path):
    crops, keep = faces(40, seed=2)[0], tmp_path / "kept.pt"
    prune(subject, crops, replace(QUICK, epochs=1), keep=keep)
    for other in ({"crops": crops[:-1]}, {"options": QUICK}):
        with pytest.raises(DataError, match="another name"):
            prune(subject, **{"crops": crops, "options": replace(QUICK, epochs=1), "keep": keep} | other)
    keep.write_bytes(keep.read_bytes()[:1000])
    with pytest.raises(DataError, match="not a checkpoint"):
        prune(subject, crops, replace(QUICK, epochs=1), keep=keep)


def test_classifiers_are_taught_by_probabilities_and_others_by_numbers():
    logits = torch.tensor([[4.0, 0.0, -3.0]])
    shifted, reordered = logits + 7, torch.tensor([[4.0, 0.0, -9.0]])
    assert float(divergence(shifted, logits)) == pytest.approx(0, abs=1e-6)  # the same probabilities
    assert float(squared_error(shifted, logits)) == pytest.approx(49)
    assert float(squared_error(reordered, logits)) == pytest.approx(12)
    assert float(divergence(reordered, logits)) < 5e-3  # nobody would have named that class
    assert ClassifierSubject.logits
    assert not EmbedderSubject.logits
