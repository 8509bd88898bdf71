"""Rekeying: the old key or the new one opens a gallery, whatever happens, and nothing in its files opens otherwise."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryBusyError, GalleryError, GalleryKeyError
from mien.gallery.encryption import new_key
from mien.gallery.gallery import Gallery
from mien.gallery.records import NewFace
from tests.gallery.galleries import fresh_url
from tests.gallery.test_search_cache import FACES, PEOPLE, enrol_all, holds, names

ROOT = Path(__file__).parents[2]
CROP = b"\x89PNG a picture of a face, in its way" * 3
KILLS = 3


@pytest.fixture
def keys(tmp_path) -> list[str]:
    (tmp_path / "keys").mkdir()
    sources = [f"file:{tmp_path / 'keys' / name}" for name in ("one", "two")]
    for source in sources:
        new_key(source)
    return sources


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path) -> str:
    (tmp_path / "gallery").mkdir()
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return fresh_url(request.param, tmp_path / "gallery", server)


def filled(place: str, key: str | None) -> Gallery:
    gallery = Gallery.open(place, key=key, keep_crops=True, actor="tester")
    enrol_all(gallery)
    gallery.enrol("Crop", [NewFace(np.full(128, 0.1, np.float32), crop=CROP)])
    return gallery


def check(place: str, key: str | None) -> None:
    """All is there, and opens with this key."""
    with Gallery.open(place, key=key, create=False) as gallery:
        assert gallery.count() == (PEOPLE + 1, 2 * PEOPLE + 1)
        ids = [face.id for face in gallery.faces()]
        np.testing.assert_array_equal(gallery.vectors(ids[:-1]), FACES)
        assert gallery.crop(ids[-1]) == CROP
        assert names(gallery, FACES[:1]) == ["Person 0"]


@pytest.mark.parametrize(("before", "after"), [(None, 0), (0, 1), (0, None)])
def test_a_gallery_gets_another_key(place, keys, tmp_path, before, after):
    old, new = (None if i is None else keys[i] for i in (before, after))
    with filled(place, old) as gallery:
        names(gallery, FACES[:1])
        gallery.rename("Person 1", "Somebody")
        gallery.rekey(new)
        assert (gallery.info.key_id is None) == (new is None)
        event = gallery.audit()[-1]
        assert (event.action, event.actor, event.details["key"]) == ("rekey", "tester", gallery.info.key_id)
        if new is not None and "://" not in place:
            for face in FACES[::9]:
                assert holds(tmp_path / "gallery", face) == []
            assert not any(CROP in file.read_bytes() for file in (tmp_path / "gallery").iterdir())
        assert names(gallery, FACES[4:5]) == ["Person 2"]  # the same object goes on
        gallery.undo()
    check(place, new)
    with pytest.raises(GalleryKeyError):
        Gallery.open(place, key=old)


def test_others_who_have_it_open_are_told(place, keys):
    with filled(place, None) as gallery, Gallery.open(place) as other:
        names(other, FACES[:1])
        gallery.rekey(keys[0])
        with pytest.raises(GalleryKeyError, match="encrypted"):
            other.identify(FACES[:1])
        with pytest.raises(GalleryKeyError):
            other.enrol("Late", FACES[:1])
    check(place, keys[0])


def test_the_same_key_a_missing_one_and_a_read_only_gallery_change_nothing(place, keys):
    with filled(place, None) as gallery:
        with pytest.raises(GalleryKeyError, match="not encrypted already"):
            gallery.rekey(None)
        with pytest.raises(GalleryKeyError, match="no such file"):
            gallery.rekey(f"{keys[0]}-lost")
        gallery.rekey(keys[0])
        with pytest.raises(GalleryKeyError, match="with this key"):
            gallery.rekey(keys[0])
        revision = gallery.audit()[-1].id
    with Gallery.open(place, key=keys[0], readonly=True) as gallery, pytest.raises(GalleryError, match="read"):
        gallery.rekey(keys[1])
    with Gallery.open(place, key=keys[0]) as gallery:
        assert gallery.audit()[-1].id == revision
    check(place, keys[0])


def test_readers_that_stay_are_said_and_purge_clears_later(tmp_path, keys):
    place = tmp_path / "people.db"
    with filled(str(place), None):
        pass
    with Gallery.open(place, timeout=0.2) as gallery, Gallery.open(place) as other:
        names(gallery, FACES[:1])
        with other.store.read(), pytest.raises(GalleryBusyError, match=r"key was changed; but.*purge"):
            gallery.rekey(keys[0])
        assert not place.with_name("people.db-vectors").exists()
        gallery.purge()
        assert holds(tmp_path, FACES[0]) == []
    check(str(place), keys[0])


WORK = """
import sys
from mien.gallery.gallery import Gallery
place, now, then = sys.argv[1:]
gallery = Gallery.open(place, key=now)
print("open", flush=True)
while True:
    gallery.rekey(then)
    now, then = then, now
    print(now, flush=True)
"""


def test_killed_in_the_middle_one_of_the_two_keys_opens_it(place, keys):
    filled(place, keys[0]).close()
    chance, now = random.Random(0), keys[0]
    for _ in range(KILLS):
        then = next(key for key in keys if key != now)
        command = [sys.executable, "-c", WORK, place, now, then]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "open\n"
            time.sleep(chance.uniform(0, 0.15))
            worker.kill()
            said = [line.strip() for line in worker.stdout if line.endswith("\n")]
        acknowledged = said[-1] if said else now
        other = next(key for key in keys if key != acknowledged)
        now = acknowledged
        try:
            check(place, now)
        except GalleryKeyError:  # committed, and killed before it could say so
            now = other
            check(place, now)
