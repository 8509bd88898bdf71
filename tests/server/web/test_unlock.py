"""Somebody simulated unlocks the page: they read what it asks and do it. Page, server and judge are what they are."""

import pytest

from mien import load_image
from mien.liveness.challenge import ACTIONS
from tests.conftest import PHOTOS
from tests.liveness.acting import Actor
from tests.server.web.conftest import DESKTOP, PHONE, serving
from tests.server.web.standing import EYES, Camera, films, read_by, stand_before

GRACE = PHOTOS / "grace_hopper.jpg"
NAME = "Grace Hopper"
TRIES = 3  # before the server lets nobody try for a while
SLOW_MACHINE = ("stream", "too-long", "not-done")  # reasons for which somebody alive is refused where frames come late
LONGEST = 100_000  # milliseconds of an attempt; the server ends it after 75 seconds


@pytest.fixture(scope="module")
def person(server_analyzer):
    picture = load_image(GRACE)
    return films(Actor(picture, server_analyzer.with_tasks(("detect",))(picture).landmarks[0], EYES))


def unlock(visitor):
    """Try to unlock; what the page says of it, and what was read on it meanwhile."""
    for attempt in range(TRIES):
        if attempt:
            visitor.button("unlock.again").click()
        visitor.page.evaluate("person.read.length = 0")
        visitor.button("unlock.start").click()
        visitor.page.locator(".dots li.done").first.wait_for(timeout=LONGEST)
        visitor.shot("unlock-asked")
        outcome = visitor.page.locator(".outcome")
        outcome.wait_for(timeout=LONGEST)
        text = outcome.inner_text()
        if not any(visitor.t(f"reason.{reason}") in text for reason in SLOW_MACHINE):
            break
    return text, read_by(visitor.page)


@pytest.mark.slow
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
        text, read = unlock(visitor)
        print(text, read, visitor.refusals)
        for a in server.app.state.context.attempts._attempts.values():
            print(a.session.report)
        visitor.shot("unlock-yes")
        assert 0
