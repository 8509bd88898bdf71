"""A server that needs keys: the page asks for one, keeps it for this tab only, and offers what it allows."""

import pytest

from tests.conftest import PHOTOS
from tests.server.web.conftest import serving


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, server_analyzer):
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder, server_analyzer, keys=True, Eileen_Collins=PHOTOS / "astronaut.jpg") as server:
        yield server


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_key_is_asked_for_and_kept_for_this_tab(visit, guarded, language):
    visitor = visit(guarded, language)
    visitor.page.goto(f"{guarded.url}/")
    visitor.heading("key.title").wait_for()
    visitor.shot("key")
    visitor.field("key.label").fill("mien_wrong")
    visitor.page.keyboard.press("Enter")
    visitor.says("error.bad-key")
    visitor.field("key.label").fill(guarded.keys["admin"])
    visitor.button("key.use").click()
    visitor.heading("look.title").wait_for()
    assert visitor.page.evaluate("Object.values(localStorage).some((value) => value.includes('mien_'))") is False
    assert visitor.page.evaluate("sessionStorage.getItem('mien.key')") == guarded.keys["admin"]
    visitor.choose(PHOTOS / "astronaut.jpg")
    visitor.page.get_by_role("heading", name="Eileen Collins").wait_for()
    visitor.go("people")
    visitor.page.locator(".avatar img").wait_for()  # pictures are fetched with the key, too
    visitor.go("live")
    visitor.button("live.start").click()
    visitor.page.locator(".layer .tag", has_text="Eileen Collins").wait_for()
    assert {status for status, _ in visitor.refusals} == {401}


def test_what_a_key_does_not_allow_is_not_offered(visit, guarded):
    visitor = visit(guarded)
    visitor.page.goto(f"{guarded.url}/#/people")
    visitor.field("key.label").fill(guarded.keys["reader"])
    visitor.button("key.use").click()
    visitor.page.locator(".person").click()
    visitor.page.get_by_role("heading", name="Eileen Collins").wait_for()
    assert not visitor.button("person.rename").count()
    assert not visitor.button("people.enrol").count()


def test_a_key_is_changed_in_the_settings(visit, guarded):
    visitor = visit(guarded)
    visitor.page.goto(f"{guarded.url}/#/people")
    visitor.field("key.label").fill(guarded.keys["admin"])
    visitor.button("key.use").click()
    visitor.page.locator(".person").wait_for()
    visitor.button("settings.title").click()
    visitor.field("key.label").fill("mien_wrong")
    visitor.button("key.use").click()
    visitor.says("error.bad-key")
    visitor.field("key.label").fill(guarded.keys["analyze"])
    visitor.button("key.use").click()
    visitor.says("key.works")
    visitor.button("close").click()
    visitor.says("gallery.closed")
    assert visitor.page.locator(".person").count() == 0


def test_a_key_that_is_refused_leaves_a_way_back(visit, guarded):
    visitor = visit(guarded)
    visitor.page.goto(f"{guarded.url}/")
    visitor.button("cancel").click()
    visitor.heading("failure.title").wait_for()
    visitor.button("again").click()
    visitor.heading("key.title").wait_for()
