"""Videos labelled by their names."""

import pytest

from mien.datasets.clips import find_clips, held_out
from mien.datasets.labels import EXPRESSIONS
from mien.errors import DataError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def told(clips):
    return {clip.path.name: (EXPRESSIONS[clip.label], clip.person) for clip in clips}


def test_crema_d(tmp_path):
    touch(tmp_path, "1001_DFA_ANG_XX.flv", "1002_IEO_HAP_HI.flv", "1002_IEO_NEU_XX.flv", "1002_IEO_ZZZ_XX.flv")
    assert told(find_clips(tmp_path)) == {
        "1001_DFA_ANG_XX.flv": ("anger", "CREMA-D 1001"),
        "1002_IEO_HAP_HI.flv": ("happiness", "CREMA-D 1002"),
        "1002_IEO_NEU_XX.flv": ("neutral", "CREMA-D 1002"),
    }


def test_ravdess(tmp_path):
    touch(
        tmp_path,
        "Actor_12/01-01-08-01-02-01-12.mp4",
        "Actor_12/02-01-02-01-02-01-12.mp4",
        "Actor_03/03-01-05-01-02-01-03.mp4",
    )
    assert told(find_clips(tmp_path)) == {
        "01-01-08-01-02-01-12.mp4": ("surprise", "RAVDESS 12"),
        "02-01-02-01-02-01-12.mp4": ("neutral", "RAVDESS 12"),
    }


def test_a_folder_for_each_class(tmp_path):
    touch(tmp_path, "Happy/a.MP4", "angry/b.webm", "other/c.mp4", "Happy/notes.txt", "Happy/.hidden.mp4")
    clips = find_clips(tmp_path)
    assert {name: label for name, (label, _) in told(clips).items()} == {"a.MP4": "happiness", "b.webm": "anger"}
    assert len({clip.person for clip in clips}) == 2


def test_pictures_are_no_videos_and_videos_without_names_are_said(tmp_path):
    touch(tmp_path, "happy/1.jpg")
    assert find_clips(tmp_path) == []
    touch(tmp_path, "holiday/1.mp4")
    with pytest.raises(DataError, match="1 videos, but neither names as"):
        find_clips(tmp_path)


def test_people_are_set_aside_whole(tmp_path):
    touch(tmp_path, *(f"{1000 + p}_DFA_{e}_XX.flv" for p in range(20) for e in ("ANG", "HAP", "NEU")))
    rest, aside = held_out(find_clips(tmp_path), 0.1)
    assert len(aside) == 6
    assert len(rest) == 54
    assert not {c.person for c in rest} & {c.person for c in aside}
    with pytest.raises(DataError, match="one person"):
        held_out(rest[:1], 0.1)
