"""For everybody: by keyboard, by screen reader (axe-core), in light and dark, on small screens, without motion."""

import pytest

from tests.conftest import PHOTOS
from tests.server.web.conftest import DESKTOP, STILL, asked

VIEWS = ("look", "live", "people", "groups", "video", "unlock", "models", "welcome")
GRAVE = {"serious", "critical"}


def faults(page) -> list[str]:
    """What axe-core holds against a page as it is."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.wait_for_function(STILL)  # what fades in has little contrast meanwhile
    found = axe.run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:120]}" for one in found if one["impact"] in GRAVE for node in one["nodes"]]


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("zh", "dark")])
def test_axe_finds_nothing_grave_in_any_view(visit, grace, language, scheme):
    visitor = visit(grace, language, color_scheme=scheme)
    found = []
    for view in VIEWS:
        visitor.go(view).settled()
        visitor.shot(f"view-{view}-{scheme}")
        found += [f"{view}: {fault}" for fault in faults(visitor.page)]
    person = asked(grace, "/v1/gallery/people")["people"][0]["id"]
    visitor.go(f"people/{person}").settled()
    found += [f"person: {fault}" for fault in faults(visitor.page)]
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_grave_in_results_and_dialogs(visit, grace, scheme):
    visitor = visit(grace, color_scheme=scheme).go("look")
    visitor.choose(PHOTOS / "astronaut.jpg")
    visitor.page.locator(".face-card").wait_for()
    found = faults(visitor.page)
    visitor.button("face.enrol").click()
    found += faults(visitor.page)
    visitor.page.keyboard.press("Escape")
    visitor.button("settings.title").click()
    visitor.shot(f"settings-{scheme}")
    found += faults(visitor.page)
    visitor.page.keyboard.press("Escape")
    visitor.go("live").button("live.start").click()
    visitor.page.locator(".layer .frame").wait_for()
    found += faults(visitor.page)
    assert found == []


@pytest.mark.parametrize(("language", "scheme"), [("en", "dark"), ("zh", "light")])
def test_no_view_is_wider_than_a_small_phone(visit, grace, language, scheme):
    visitor = visit(grace, language, size={"width": 360, "height": 740}, color_scheme=scheme)
    for view in VIEWS:
        visitor.go(view).settled()
        visitor.shot(f"phone-{view}-{scheme}")
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 360, view
        for link in visitor.page.locator("nav a span").all():
            assert link.evaluate("span => span.scrollWidth <= span.parentElement.clientWidth"), view


def tab_to(visitor, name: str, most: int = 40) -> None:
    """Press Tab until what has the focus is called that."""
    for _ in range(most):
        visitor.page.keyboard.press("Tab")
        focused = visitor.page.evaluate(
            "(() => { const e = document.activeElement;"
            " return (e.labels?.[0]?.innerText ?? e.getAttribute('aria-label') ?? e.innerText ?? '').trim(); })()"
        )
        if focused == name:
            outline = visitor.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"the focus on {name} cannot be seen"
            return
    raise AssertionError(f"Tab never came to {name}")


def test_enrolling_needs_nothing_but_a_keyboard(visit, nobody):
    visitor = visit(nobody, size=DESKTOP, reduced_motion="reduce").go()
    keyboard = visitor.page.keyboard
    tab_to(visitor, visitor.t("nav.skip"))
    keyboard.press("Enter")
    assert visitor.page.evaluate("document.activeElement.id") == "main"
    tab_to(visitor, visitor.t("welcome.begin"))
    keyboard.press("Enter")
    visitor.heading("welcome.who").wait_for()
    keyboard.type("Eileen")  # the name has the focus already
    tab_to(visitor, visitor.t("consent.agreed.self"))
    keyboard.press("Space")
    tab_to(visitor, visitor.t("next"))
    keyboard.press("Enter")
    visitor.heading("welcome.pictures", name="Eileen").wait_for()
    tab_to(visitor, visitor.t("enrol.camera"))
    keyboard.press("Space")
    visitor.page.locator(".taken li").nth(2).wait_for()
    tab_to(visitor, visitor.t("welcome.save"))
    keyboard.press("Enter")
    visitor.heading("greet.hello", name="Eileen").wait_for()
    assert visitor.page.evaluate("document.activeElement.tagName") == "H1"


def test_dialogs_keep_the_focus_and_give_it_back(visit, grace):
    visitor = visit(grace).go("look")
    settings = visitor.button("settings.title")
    settings.focus()
    visitor.page.keyboard.press("Enter")
    for _ in range(12):
        visitor.page.keyboard.press("Tab")
        focused = "(e => e === document.body || document.querySelector('dialog').contains(e))(document.activeElement)"
        assert visitor.page.evaluate(focused)
    visitor.page.keyboard.press("Escape")
    visitor.page.locator("dialog").wait_for(state="detached")
    assert settings.evaluate("button => button === document.activeElement")


def test_who_wants_no_motion_sees_none(visit, grace):
    visitor = visit(grace, reduced_motion="reduce").go("look")
    longest = visitor.page.evaluate(
        "Math.max(...[...document.querySelectorAll('*')].map(e => parseFloat(getComputedStyle(e).transitionDuration)))"
    )
    assert longest < 0.01


def test_faults_are_found_where_there_are_some(visit, grace):
    visitor = visit(grace).go("look")
    visitor.page.evaluate("document.querySelector('h1').style.color = '#eee'")
    visitor.page.evaluate("document.querySelector('nav a').removeAttribute('href')")
    assert any(fault.startswith("color-contrast") for fault in faults(visitor.page))
