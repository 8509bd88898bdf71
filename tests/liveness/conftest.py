"""A door: a gallery of two people, networks that see, and sessions whose clock is that of their frames."""

from __future__ import annotations

import json

import pytest

from mien import FaceAnalyzer, Gallery, load_image
from mien.liveness.audit import audit_path
from mien.liveness.observing import TASKS
from mien.liveness.session import Session, limits_for, seeing_with
from tests.liveness.acting import Actor
from tests.liveness.staging import stage


@pytest.fixture(scope="module")
def seer():
    return FaceAnalyzer(only=TASKS, size=256, threads=1).load()


@pytest.fixture(scope="module")
def actor(seer, portrait):
    image = load_image(portrait)
    return Actor(image, seer(image).landmarks[0])


@pytest.fixture(scope="module")
def people(tmp_path_factory, seer, portrait, astronaut):
    with Gallery.open(tmp_path_factory.mktemp("door") / "people.db") as gallery:
        for name, photo in (("Grace", portrait), ("Eileen", astronaut)):
            gallery.enrol(name, seer(photo).largest())
        yield gallery


class Door:
    """Makes sessions whose clock is that of their frames."""

    def __init__(self, gallery, seer, folder):
        self.gallery, self.seer, self.folder, self.now = gallery, seer, folder, 0.0

    def __call__(self, who="Grace", **options):
        return Session(
            self.gallery,
            who,
            seeing_with(self.seer),
            alike=lambda a, b: float(self.seer.embedder.similarity(a, b)),
            limits=limits_for(self.seer.embedder),
            folder=self.folder,
            **{"clock": lambda: self.now} | options,
        )

    def play(self, scene, who="Grace", **options):
        def watched(status, time):
            self.now = time
            return scene(status, time)

        with self(who, **options) as session:
            stage(session, watched)
        return session

    def lines(self):
        return [json.loads(line) for line in audit_path(self.folder).read_text().splitlines()]


@pytest.fixture
def door(people, seer, tmp_path):
    return Door(people, seer, tmp_path)
