"""Somebody simulated unlocks the page: they read what it asks and do it. Page, server and judge are what they are."""

import json
import time

import pytest

from mien import load_image
from mien.liveness.audit import audit_path
from mien.liveness.challenge import ACTIONS
from tests.conftest import PHOTOS
from tests.liveness.acting import Actor
from tests.server.web.conftest import DESKTOP, PHONE, serving
from tests.server.web.standing import EYES, Camera, begin, films, read_by, stand_before

GRACE = PHOTOS / "grace_hopper.jpg"
SPEEDS = (1.0, 0.3, 0.1)
"""Of time, at each try: a machine that has other work to do is too slow for somebody who lives as fast as we do. So
they live more slowly at the next try, and the server's clock goes more slowly, too; the page knows nothing of it. After
three failures nobody may try for a while."""
LONGEST = 400_000  # milliseconds; the server ends an attempt after 75 seconds of its time


@pytest.fixture(scope="module")
def person(server_analyzer):
    picture = load_image(GRACE)
    return films(Actor(picture, server_analyzer.with_tasks(("detect",))(picture).landmarks[0], EYES))


def unlock(visitor, attempts):
    """Try to unlock; what the page says in the end, and all that it showed at this try."""
    outcome = visitor.page.locator(".outcome")
    for speed in SPEEDS:
        begin(visitor.page, speed)
        attempts.clock = lambda speed=speed: time.monotonic() * speed
        visitor.button("unlock.start").click()
        visitor.page.locator(".dots li.done").or_(outcome).first.wait_for(timeout=LONGEST)
        visitor.shot("unlock-asked")
        outcome.wait_for(timeout=LONGEST)
        said, read = outcome.inner_text(), read_by(visitor.page)
        if said.splitlines()[0] != visitor.t("unlock.no"):
            break
        visitor.shot("unlock-no")
        visitor.button("unlock.again").click()
        visitor.field("unlock.who").wait_for()
    return said, read


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("language", "size", "lens"),
    [("en", DESKTOP, Camera()), ("zh", PHONE, Camera(360, 640, reaction=0.5))],
    ids=["en", "zh"],
)
def test_who_does_what_is_asked_is_let_in(visit, tmp_path, server_analyzer, person, language, size, lens):
    with serving(tmp_path, server_analyzer, Grace_Hopper=GRACE) as server:
        visitor = visit(server, language, size=size)
        asked = {action: visitor.t(f"action.{action}") for action in ACTIONS}
        stand_before(visitor.page, person, asked, lens)
        visitor.go("unlock")
        said, read = unlock(visitor, server.app.state.context.attempts)
        assert said.splitlines()[0] == visitor.t("unlock.yes"), (said, read, visitor.refusals)
        assert visitor.t("greet.welcome", name="Grace Hopper") in said
        assert visitor.page.locator(".outcome .dots li.done").count() == 3
        visitor.shot("unlock-yes")
        tried = audit_path(server.settings.folder).read_text().splitlines()
    line = json.loads(tried[-1])
    assert line["accepted"]
    # what was asked is what could be read, one after the other, and each thing done was a dot
    assert [moment["text"] for moment in read if moment["text"] in asked.values()] == [
        asked[action] for action in line["challenge"]
    ]
    assert [moment["done"] for moment in read] == sorted(moment["done"] for moment in read)
    assert {moment["done"] for moment in read} >= {0, 1, 2}


def test_who_does_nothing_is_not(visit, tmp_path, server_analyzer, person):
    """The same film, the same page: what lets in is what is done."""
    with serving(tmp_path, server_analyzer, Grace_Hopper=GRACE) as server:
        visitor = visit(server)
        stand_before(visitor.page, person, {})
        visitor.go("unlock")
        begin(visitor.page, 1.0)
        visitor.button("unlock.start").click()
        outcome = visitor.page.locator(".outcome")
        outcome.wait_for(timeout=LONGEST)
        assert outcome.inner_text().splitlines()[0] == visitor.t("unlock.no")
        assert outcome.locator(".dots li").count() == 3
        assert outcome.locator(".dots li.done").count() == 0
