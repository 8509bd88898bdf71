"""The seam of temporal networks: files that are not trusted, states of tracks that come and go."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto

from mien.datasets.labels import EXPRESSIONS
from mien.errors import ModelError, UnknownModelError, WeightsError
from mien.models import registry
from mien.models.base import RuntimeOptions
from mien.models.cards import embed_card, read_card_beside, write_card_beside
from mien.models.smoothing import NOTHING_YET, steadied
from mien.models.store import WeightsStore
from mien.models.temporal import TemporalCard, TemporalNetwork, bundled, entry_from_file, opened
from tests.models import tiny_classifier
from tests.models.tiny_temporal import C, card, graph, network

ONE = RuntimeOptions(threads=1)


@pytest.fixture(scope="module")
def tiny():
    return opened(network(), ONE)


def random_scores(rng, n):
    return rng.dirichlet(np.ones(C), n).astype(np.float32)


def test_probabilities_are_those_of_the_graph(tiny):
    scores = np.eye(C, dtype=np.float32)[[1, 3]]
    probabilities, states = tiny.step(tiny.begin(2), scores, 0.0)
    assert np.allclose(states, scores / 2)
    expected = np.exp(4 * scores / 2)
    assert np.allclose(probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    assert tiny.answers(probabilities).names == ["happiness", "sadness"]


def test_no_tracks_at_all(tiny):
    probabilities, states = tiny.step(tiny.begin(0), np.zeros((0, C), np.float32), np.zeros(0))
    assert probabilities.shape == (0, C)
    assert states.shape == (0, C)


def test_tracks_come_and_go_without_a_trace_on_others(tiny):
    """Rows are independent: a track among others is answered as it is alone."""
    rng = np.random.default_rng(0)
    frames = [random_scores(rng, 3) for _ in range(6)]
    alone = []
    states = tiny.begin()
    for frame in frames:
        probabilities, states = tiny.step(states, frame[:1], 0.1)
        alone.append(probabilities[0])
    states = tiny.begin(2)
    for t, frame in enumerate(frames):
        if t == 3:  # the second track ends, a third one begins
            states = np.concatenate([states[:1], tiny.begin()])
        probabilities, states = tiny.step(states, frame[[0, 1]], 0.1)
        assert np.allclose(probabilities[0], alone[t], atol=1e-6)


def test_a_track_begins_anew_after_a_long_gap(tiny):
    scores = random_scores(np.random.default_rng(1), 2)
    _, states = tiny.step(tiny.begin(2), scores, 0.0)
    after, _ = tiny.step(states, scores, [2.5, 0.5])
    fresh, _ = tiny.step(tiny.begin(2), scores, 0.0)
    assert np.allclose(after[0], fresh[0])
    assert not np.allclose(after[1], fresh[1])


def test_a_face_that_is_not_seen_says_nothing(tiny):
    nonsense = np.full((1, C), np.nan, np.float32)
    blank, _ = tiny.step(tiny.begin(), nonsense, 0.1, seen=[False])
    assert np.allclose(blank, 1 / C)


@pytest.mark.parametrize(
    ("scores", "elapsed", "seen", "message"),
    [
        (np.zeros((1, C - 1)), 0.1, None, "are not"),
        (np.full((1, C), np.nan), 0.1, None, "must be probabilities"),
        (np.full((1, C), 7.0), 0.1, None, "must be probabilities"),
        (np.full((1, C), -0.5), 0.1, None, "must be probabilities"),
        (np.full((1, C), 1 / C), -0.1, None, "time goes on"),
        (np.full((1, C), 1 / C), np.nan, None, "time goes on"),
        (np.full((1, C), 1 / C), [0.1, 0.2], None, "broadcast"),
    ],
)
def test_what_is_no_frame_is_refused(tiny, scores, elapsed, seen, message):
    with pytest.raises(ValueError, match=message):
        tiny.step(tiny.begin(), scores.astype(np.float32), elapsed, seen)


def test_states_of_another_network_are_refused(tiny):
    with pytest.raises(ValueError, match="states"):
        tiny.step(np.zeros((1, C + 1), np.float32), random_scores(np.random.default_rng(0), 1), 0.1)


@pytest.mark.parametrize(
    "changes", [{"classes": 7}, {"state": 5}, {"batch": 1}, {"kind": TensorProto.DOUBLE}, {"gives": "scores_out"}]
)
def test_a_graph_that_is_not_what_its_card_says(changes):
    with pytest.raises((ModelError, WeightsError)):
        TemporalNetwork(network(**changes), ONE)


def test_weights_that_are_no_numbers():
    with pytest.raises(ModelError, match="not finite"):
        opened(network(scale=float("inf")), ONE).step(np.zeros((1, C), np.float32), np.zeros((1, C)), 0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": 0}, "'state' is not a whole number"),
        ({"reset_after": 0}, "'reset_after'"),
        ({"average_kind": "median"}, "'average_kind' is none of box, exponential"),
        ({"margin": 2}, "'margin'"),
        ({"crop": {"size": 48}}, "'crop' is nothing that a card of this kind has"),
    ],
)
def test_a_card_that_makes_no_sense(changes, message):
    values = json.loads(card().to_json()) | changes
    with pytest.raises(ModelError, match=message):
        TemporalCard.from_json(json.dumps(values))


def test_a_card_survives_its_file(tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(network())
    beside = write_card_beside(path, card())
    again, weights = read_card_beside(beside, TemporalCard)
    assert again == card()
    assert weights.size == path.stat().st_size
    assert "crop" not in json.loads(beside.read_text())


def test_a_file_of_the_users_own(tmp_path):
    path = tmp_path / "own.onnx"
    path.write_bytes(network())
    entry = registry.entry(str(path), "temporal")
    assert entry.record.name.startswith("temporal:own@")
    assert entry.record.labels == EXPRESSIONS
    smoother = registry.load_temporal(entry, WeightsStore(tmp_path / "cache"), ONE)
    assert smoother.begin(3).shape == (3, C)
    with pytest.raises(UnknownModelError):
        registry.entry(f"temporal:{path}", "detection")
    with pytest.raises(ModelError):
        entry_from_file(_written(tmp_path / "faces.onnx", tiny_classifier.network()))
    with pytest.raises(ModelError, match="no network for expressions over time"):
        entry_from_file(_written(tmp_path / "bare.onnx", graph().SerializeToString()))
    with pytest.raises(ModelError, match="is for 'expression'"):
        entry_from_file(
            _written(tmp_path / "task.onnx", embed_card(graph().SerializeToString(), card(task="expression")))
        )


def _written(path, data):
    path.write_bytes(data)
    return path


# The one that ships


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return registry.load_temporal(bundled(), WeightsStore(tmp_path_factory.mktemp("cache")), ONE)


def test_the_shipped_network_follows_an_expression_and_gets_over_a_slip(shipped):
    """Neutral, one frame of surprise that was a mistake and is forgotten within a second, then a smile that stays."""
    states, current = shipped.begin(), np.array([NOTHING_YET])
    said = []
    for t in range(60):
        label = 2 if t == 20 else (1 if t >= 40 else 0)
        scores = np.full((1, C), 0.1 / (C - 1), np.float32)
        scores[0, label] = 0.9
        probabilities, states = shipped.step(states, scores, 0.1 if t else 0.0)
        current = steadied(probabilities, current, shipped.margin)
        said.append(int(current[0]))
    assert said[10:20] == [0] * 10
    assert said[30:40] == [0] * 10
    assert said[45:] == [1] * 15


def test_the_shipped_network_bears_every_rate_and_hours_of_frames(shipped):
    rng = np.random.default_rng(3)
    states = shipped.begin(4)
    largest = 0.0
    for _ in range(3000):
        scores = random_scores(rng, 4)
        probabilities, states = shipped.step(
            states, scores, rng.choice([0.005, 0.03, 0.2, 1.5, 30]), rng.random(4) < 0.9
        )
        largest = max(largest, float(np.abs(states).max()))
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert largest < 1e3


def test_the_shipped_card_says_what_it_was_measured_on():
    record = bundled().record
    assert record.commercial_use is False
    assert "sequences" in record.training_data
    assert any("validation" in name for name in record.metrics)
    assert record.crop is None
