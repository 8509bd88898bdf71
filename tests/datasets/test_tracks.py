"""Recorded tracks on a disk."""

import numpy as np
import pytest

from mien.datasets.tracks import Track, TrackSet, load_tracks, save_tracks
from mien.errors import DataError


def track(n, seed=0):
    rng = np.random.default_rng(seed)
    return Track(
        np.arange(n) / 10, rng.dirichlet(np.ones(3), n).astype(np.float32), rng.random(n) < 0.9, rng.integers(-1, 3, n)
    )


def test_tracks_survive_a_file(tmp_path):
    some = TrackSet("some", ("a", "b", "c"), [track(5), track(1, 1), track(9, 2)])
    save_tracks(tmp_path / "tracks.npz", some)
    again = load_tracks(tmp_path / "tracks.npz")
    assert again.digest == some.digest
    assert again.labels == some.labels
    assert [len(t) for t in again.tracks] == [5, 1, 9]
    assert np.allclose(again.tracks[2].elapsed, [0] + [0.1] * 8)
    assert TrackSet("some", ("a", "b", "c"), [track(5)]).digest != some.digest


@pytest.mark.parametrize("damage", ["cut", "nonsense", "other labels", "another archive"])
def test_a_damaged_file_is_one_line(tmp_path, damage):
    path = tmp_path / "tracks.npz"
    save_tracks(path, TrackSet("some", ("a", "b", "c"), [track(5)]))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif damage == "nonsense":
        path.write_bytes(b"PK\x03\x04 nonsense")
    elif damage == "other labels":
        with np.load(path) as archive:
            arrays = dict(archive)
        np.savez(path, **(arrays | {"truth": arrays["truth"] + 7}))
    else:
        np.savez(path, something=np.zeros(3))
    with pytest.raises(DataError, match="not a file of tracks, or damaged"):
        load_tracks(path)


def test_a_track_has_as_many_of_each():
    with pytest.raises(ValueError, match="2 times"):
        Track(np.zeros(2), np.zeros((3, 8), np.float32), np.ones(2, bool), np.zeros(2, np.int64))
