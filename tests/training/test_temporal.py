"""A whole small run of each temporal network: it learns to smooth, resumes to the bit, and exports what it learnt."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.datasets.base import NO_ANSWER  # noqa: E402
from mien.datasets.labels import EXPRESSIONS  # noqa: E402
from mien.datasets.tracks import Track, TrackSet  # noqa: E402
from mien.errors import DataError, ModelError  # noqa: E402
from mien.evaluation.smoothing import probabilities_of  # noqa: E402
from mien.models.temporal import opened  # noqa: E402
from mien.training import temporal_export  # noqa: E402
from mien.training.temporal import MOVING_AVERAGE, train_temporal  # noqa: E402
from mien.training.temporal_batches import TrackAugmentation, joined  # noqa: E402
from mien.training.temporal_networks import ARCHITECTURES, MEMBERS  # noqa: E402
from mien.training.temporal_options import TemporalOptions  # noqa: E402

C = len(EXPRESSIONS)
SMALL = TemporalOptions(epochs=8, batch=8, learning_rate=1e-2, augment=0.3, patience=0)
SHA256 = {"mien-s": "0" * 64}


def tracks(n, seed):
    """The network takes every sixth frame for surprise, and sadness for neutral where faces are not quite sure."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        parts = rng.choice([0, 1, 3], 4)
        truth = np.repeat(parts, rng.integers(6, 14, 4))
        said = np.where(rng.random(len(truth)) < 1 / 6, 2, truth)
        scores = np.full((len(truth), C), 0.02, np.float32)
        scores[np.arange(len(truth)), said] = 0.86
        sad = said == 3
        scores[sad] = 0.02
        scores[sad, 0], scores[sad, 3] = 0.5, 0.38
        times = np.cumsum(rng.uniform(0.05, 0.15, len(truth)))
        made.append(Track(times, scores, rng.random(len(truth)) < 0.95, truth))
    return TrackSet(f"made {seed}", EXPRESSIONS, made)


@pytest.fixture(scope="module")
def data():
    return tracks(16, 0), tracks(6, 1)


def run(folder, data, options=SMALL, **more):
    folder.mkdir(exist_ok=True)
    return train_temporal(*data, options, folder, name="small", classifier=SHA256, threads=1, **more)


@pytest.fixture(scope="module")
def model(tmp_path_factory, data):
    return run(tmp_path_factory.mktemp("runs") / "lstm", data)


def test_it_learns_what_a_moving_average_cannot(model):
    """That sadness is not neutral takes weights; that surprise is a slip takes memory."""
    ours, average = model.report.rows["small"], model.report.rows[MOVING_AVERAGE]
    assert ours.accuracy.value > average.accuracy.value + 0.05
    assert ours.accuracy.value > 0.85
    assert model.history[-1]["train_loss"] < model.history[0]["train_loss"]


def test_what_a_run_leaves(model):
    assert {p.name for p in model.folder.iterdir()} >= {
        "model.onnx",
        "report.json",
        "report.md",
        "log.csv",
        "checkpoint.pt",
    }
    assert json.loads((model.folder / "report.json").read_text())["model"] == "small"
    card = opened(model.model).network.card
    assert card == model.card
    assert card.parents == {"scores of mien-s": "0" * 64}
    assert card.average_window > 0
    assert 0 < card.threshold < 1
    assert set(card.data_sha256) == {"training", "held"}


def test_members_learn_for_themselves_and_answer_together(data):
    torch.manual_seed(0)
    several = ARCHITECTURES["gru"](C).eval()
    batch = joined(data[1].tracks)
    given = batch.scores, batch.elapsed, batch.seen
    each = several.each(*given)
    assert len(each) == MEMBERS
    assert not torch.allclose(each[0], each[1], atol=1e-3)
    assert torch.allclose(several(*given), sum(each) / MEMBERS, atol=1e-5)
    assert several.state == MEMBERS * several.members[0].state
    each[0].sum().backward()
    learnt = [any(p.grad is not None for p in member.parameters()) for member in several.members]
    assert learnt == [True, False, False]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_frame_by_frame_is_what_was_learnt_over_whole_tracks(architecture, data, tmp_path):
    """Streaming through the ONNX file with a state, against torch over whole tracks."""
    torch.manual_seed(0)
    network = ARCHITECTURES[architecture](C).eval()
    options = TemporalOptions(architecture=architecture, epochs=1, batch=20, patience=0)
    trained = run(tmp_path / architecture, data, options)
    smoother = opened(trained.model)
    batch = joined(data[1].tracks)
    assert smoother.begin(2).shape == (2, network.state)
    found = probabilities_of(smoother, data[1].tracks)
    state = torch.zeros(len(data[1]), network.state)
    with torch.no_grad():
        whole = network(batch.scores, batch.elapsed, batch.seen)
        for t in range(5):
            logits, state = network.step(batch.scores[:, t], batch.elapsed[:, t], batch.seen[:, t], state)
            assert torch.allclose(logits, whole[:, t], atol=1e-4)
    assert all(np.allclose(p.sum(axis=1), 1, atol=1e-4) for p in found)


def test_a_run_that_was_stopped_ends_as_if_it_had_not(model, data, tmp_path):
    class Stop(Exception):
        pass

    def stop(row):
        if row["epoch"] == 5:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "run", data, on_epoch=stop)
    again = run(tmp_path / "run", data, resume=True)
    theirs, ours = opened(model.model), opened(again.model)
    first = probabilities_of(theirs, data[1].tracks[:3])
    assert all(np.array_equal(a, b) for a, b in zip(first, probabilities_of(ours, data[1].tracks[:3]), strict=True))
    with pytest.raises(DataError, match="other settings or data"):
        run(tmp_path / "run", data, TemporalOptions(epochs=3), resume=True)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="not a checkpoint"):
        run(tmp_path / "run", data, resume=True)


def test_patience_ends_a_run(data, tmp_path):
    trained = run(tmp_path / "run", data, TemporalOptions(epochs=50, batch=20, learning_rate=1e-6, patience=2))
    assert len(trained.history) < 50


def test_an_export_that_answers_otherwise_is_not_written(data, tmp_path, monkeypatch):
    monkeypatch.setattr(temporal_export, "PARITY", -1.0)
    with pytest.raises(ModelError, match="differs from the network"):
        run(tmp_path / "run", data, TemporalOptions(epochs=1))
    assert not (tmp_path / "run" / "model.onnx").exists()


def test_what_cannot_be_learnt_is_said_first(data, tmp_path):
    unknown = TrackSet(
        "unknown", EXPRESSIONS, [Track(t.times, t.scores, t.seen, 0 * t.truth + NO_ANSWER) for t in data[0].tracks]
    )
    with pytest.raises(DataError, match="no frame whose expression is known"):
        run(tmp_path / "run", (unknown, data[1]))
    with pytest.raises(DataError, match="different labels"):
        run(tmp_path / "run", (data[0], TrackSet("other", EXPRESSIONS[::-1], data[1].tracks)))
    with pytest.raises(DataError, match="choose one of lstm, gru, tcn"):
        TemporalOptions.checked(architecture="transformer")
    nothing = [Track(t.times, t.scores * np.nan, t.seen, t.truth) for t in data[0].tracks]
    with pytest.raises(DataError, match="diverged"):
        run(tmp_path / "run", (TrackSet("nothing", EXPRESSIONS, nothing), data[1]))


def test_augmentation_keeps_tracks_whole(data):
    rng = np.random.default_rng(0)
    some = data[0].tracks
    for i in range(60):
        track = TrackAugmentation()(some[i % 16], some[(7 * i) % 16], rng)
        assert len(track) >= 3
        assert (np.diff(track.times) > 0).all()
        assert np.allclose(track.scores.sum(axis=1), 1, atol=1e-5)
        assert set(track.truth) <= {0, 1, 3}
    assert TrackAugmentation(0.0)(some[0], some[1], rng) is some[0]
