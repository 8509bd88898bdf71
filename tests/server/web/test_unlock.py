"""Somebody simulated unlocks the page: they read what it asks and do it, before a camera; nothing else is simulated."""

import pytest

from mien import load_image
from mien.liveness.challenge import ACTIONS
from tests.conftest import PHOTOS
from tests.liveness.acting import Actor
from tests.server.web.conftest import serving
from tests.server.web.standing import films, read_by, stand_before

GRACE = PHOTOS / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def person(server_analyzer):
    picture = load_image(GRACE)
    return films(Actor(picture, server_analyzer.with_tasks(("detect",))(picture).landmarks[0]))


def test_who_does_what_is_asked_is_let_in(visit, tmp_path, server_analyzer, person):
    with serving(tmp_path, server_analyzer, Grace_Hopper=GRACE) as server:
        visitor = visit(server)
        stand_before(visitor.page, person, {action: visitor.t(f"action.{action}") for action in ACTIONS})
        visitor.go("unlock")
        visitor.button("unlock.start").click()
        visitor.page.locator(".outcome").wait_for(timeout=90_000)
        print(read_by(visitor.page))
        print(visitor.page.locator(".outcome").inner_text(), visitor.refusals)
        with server.client() as c: print(c.get("/metrics").text[:10])
        for a in server.app.state.context.attempts._attempts.values(): print(a.session.report)
        visitor.shot("unlock-yes")
        assert 0
