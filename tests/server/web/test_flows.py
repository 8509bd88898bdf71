"""What people do on the page, in both languages, with a camera that plays a real face."""

import pytest

from tests.conftest import PHOTOS
from tests.server.attacking import wait_for
from tests.server.web.conftest import DESKTOP, PHONE, asked, serving

both = pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("zh", PHONE)], ids=["en", "zh"])
ASTRONAUT, GRACE = PHOTOS / "astronaut.jpg", PHOTOS / "grace_hopper.jpg"
NOT_A_PICTURE = {"name": "letter.png", "mimeType": "image/png", "buffer": b"dear all, this is no picture"}
SLOW = 120_000  # milliseconds that a job may take where others work on the machine, too
MOST_DOTS = """() => {
    window.mostDots = 0;
    const count = () => { window.mostDots = Math.max(window.mostDots, document.querySelectorAll(".dots li").length); };
    new MutationObserver(count).observe(document.body, { childList: true, subtree: true });
}"""
"""Remember what may be gone before somebody looks: how many dots were shown at once."""


CHART_DRAWN = """() => {
    const canvas = document.querySelector(".chart canvas");
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    return copy.getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value);
}"""


@both
def test_who_comes_first_enrols_themselves_and_is_greeted_by_name(visit, nobody, language, size):
    visitor = visit(nobody, language, size=size).go()
    visitor.heading("welcome.title").wait_for()
    visitor.shot("welcome")
    visitor.button("welcome.begin").click()
    visitor.field("enrol.name.self").fill("Eileen Collins")
    visitor.shot("welcome-name")
    visitor.button("next").click()
    assert visitor.heading("welcome.who").is_visible()  # nobody is enrolled who did not agree
    visitor.field("consent.agreed.self").check()
    visitor.button("next").click()
    visitor.heading("welcome.pictures", name="Eileen Collins").wait_for()
    assert visitor.button("welcome.save").is_disabled()
    visitor.button("enrol.camera").click()
    visitor.page.locator(".taken li").nth(2).wait_for()
    visitor.shot("welcome-pictures")
    visitor.button("welcome.save").click()
    visitor.heading("greet.hello", name="Eileen Collins").wait_for()
    visitor.shot("welcome-hello")
    person = asked(nobody, "/v1/gallery/people")["people"][0]
    assert person["name"] == "Eileen Collins"
    assert person["consent"] == visitor.t("consent.self")
    visitor.go()
    assert visitor.page.url.endswith("#/look")  # who is known is not asked again


@both
def test_faces_of_a_picture_are_found_named_and_enrolled(visit, tmp_path, server_analyzer, pair, language, size):
    with serving(tmp_path, server_analyzer, Grace_Hopper=GRACE) as server:
        visitor = visit(server, language, size=size).go("look")
        asked_for = []
        visitor.page.on(
            "request", lambda request: asked_for.append(request.method) if "?only=" in request.url else None
        )
        visitor.choose(pair)
        visitor.says("look.found", n=2)
        assert len(asked_for) == 1  # who they are and what they show are one question
        cards = visitor.page.locator(".face-card")
        assert cards.nth(0).get_by_role("heading").inner_text() == "Grace Hopper"
        assert cards.nth(1).get_by_role("heading").inner_text() == visitor.t("face.unknown")
        assert cards.nth(1).get_by_text(visitor.t("expression.happiness")).count() > 0
        assert not visitor.page.get_by_text(visitor.t("face.age")).count()  # nobody asked for it
        visitor.shot("look")
        visitor.page.get_by_role("button", name=visitor.t("face.show", who="Grace Hopper")).click()
        assert "pointed" in cards.nth(0).get_attribute("class")
        cards.nth(1).get_by_role("button", name=visitor.t("face.enrol")).click()
        visitor.field("enrol.name.other").fill("<b>Eileen</b>")  # a name is text
        visitor.shot("look-enrol")
        visitor.button("enrol.save").click()
        visitor.page.get_by_role("heading", name="<b>Eileen</b>").wait_for()
        assert not visitor.page.locator("main b").count()
        visitor.page.get_by_role("switch").check()
        visitor.page.get_by_text(visitor.t("face.age")).first.wait_for()
        visitor.shot("look-attributes")


@both
def test_who_is_taken_for_somebody_can_say_so(visit, tmp_path, server_analyzer, language, size):
    with serving(tmp_path, server_analyzer, Grace_Hopper=GRACE) as server:
        before = server.people()
        visitor = visit(server, language, size=size).go("look")
        visitor.choose(GRACE)
        grace = visitor.page.get_by_role("heading", name="Grace Hopper")
        grace.wait_for()
        visitor.button("face.not").click()
        visitor.heading("face.unknown").wait_for()
        assert visitor.page.locator(".face-card").evaluate("card => card === document.activeElement")
        visitor.says("face.not.here", name="Grace Hopper")
        visitor.shot("look-not")
        visitor.button("undo").click()
        grace.wait_for()
        visitor.button("face.not").click()
        visitor.page.get_by_role("switch").check()  # asks again
        visitor.page.get_by_text(visitor.t("face.age")).first.wait_for()
        assert visitor.heading("face.unknown").is_visible()
        assert server.people() == before  # nothing is kept of a face that nobody enrolled
        assert visitor.button("face.enrol").is_visible()


@both
def test_pictures_are_pasted_taken_and_refused(visit, grace, language, size):
    visitor = visit(grace, language, size=size).go("look")
    visitor.choose(NOT_A_PICTURE)
    visitor.page.get_by_role("alert").wait_for()
    visitor.says("error.not-a-picture")
    visitor.shot("look-refused")
    visitor.button("look.another").click()
    visitor.button("look.take").click()
    visitor.button("camera.take").click()
    visitor.says("look.found", n=1)
    visitor.button("look.another").click()
    visitor.page.evaluate(
        """async () => {
            const data = new DataTransfer();
            const blob = await (await fetch("/web/mien.svg")).blob();
            const picture = await createImageBitmap(new ImageData(40, 30));
            const canvas = Object.assign(document.createElement("canvas"), { width: 40, height: 30 });
            canvas.getContext("2d").drawImage(picture, 0, 0);
            const png = await new Promise((resolve) => canvas.toBlob(resolve));
            data.items.add(new File([png], "grey.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }"""
    )
    visitor.says("look.nobody")
    assert [status for status, _ in visitor.refusals] == [422] * len(visitor.refusals)


@both
def test_live_names_people_and_draws_what_they_show(visit, tmp_path, server_analyzer, language, size):
    with serving(tmp_path, server_analyzer, Eileen_Collins=ASTRONAUT) as server:
        visitor = visit(server, language, size=size).go("live")
        visitor.shot("live-off")
        visitor.button("live.start").click()
        visitor.page.locator(".layer .tag", has_text="Eileen Collins").wait_for()
        visitor.page.locator(".greeting", has_text=visitor.t("live.hello", names="Eileen Collins")).wait_for()
        visitor.page.locator(".live-faces", has_text=visitor.t("expression.happiness")).wait_for()
        visitor.page.wait_for_function(CHART_DRAWN)
        visitor.shot("live")
        visitor.button("live.stop").click()
        visitor.button("live.start").wait_for()


@both
def test_people_are_kept_in_order(visit, tmp_path, server_analyzer, language, size):
    with serving(tmp_path, server_analyzer, Grace_Hopper=GRACE, Eileen=ASTRONAUT) as server:
        visitor = visit(server, language, size=size).go("people")
        people = visitor.page.locator(".person")
        people.nth(1).wait_for()
        visitor.page.locator(".avatar img").nth(1).wait_for()  # kept crops
        visitor.shot("people")
        visitor.page.get_by_role("searchbox").fill("hop")
        people.nth(1).wait_for(state="detached")
        assert "Grace Hopper" in people.inner_text()
        people.click()
        visitor.page.get_by_role("heading", name="Grace Hopper").wait_for()
        visitor.page.locator(".crops img").wait_for()
        visitor.shot("person")
        visitor.button("person.rename").click()
        visitor.field("enrol.name.other").fill("Rear Admiral Hopper")
        visitor.button("save").click()
        visitor.page.get_by_role("heading", name="Rear Admiral Hopper").wait_for()
        visitor.button("undo").click()
        visitor.page.get_by_role("heading", name="Grace Hopper").wait_for()
        change_consent(visitor)
        more_pictures(visitor)
        take_away_a_face(visitor)
        merge_and_delete(visitor)
        assert [person["name"] for person in asked(server, "/v1/gallery/people")["people"]] == []


def change_consent(visitor) -> None:
    visitor.button("consent.edit").click()
    visitor.field("consent.words.other").fill("")
    visitor.field("expires.date").fill("2040-05-06")
    visitor.shot("person-consent")
    visitor.button("save").click()
    visitor.says("consent.withdrawn")
    visitor.page.get_by_text("2040").first.wait_for()


def more_pictures(visitor) -> None:
    visitor.button("person.add").click()
    visitor.choose(NOT_A_PICTURE)
    visitor.button("enrol.save").click()
    visitor.page.locator("dialog").get_by_text(visitor.t("error.not-a-picture"), exact=True).wait_for()
    visitor.shot("person-add")
    visitor.button("enrol.camera").click()
    visitor.page.locator(".taken li").nth(1).wait_for()
    visitor.button("camera.stop").click()
    visitor.page.locator("dialog").get_by_role("button", name=visitor.t("enrol.drop")).first.click()
    visitor.button("enrol.save").click()
    visitor.page.locator(".crops li").nth(1).wait_for()


def take_away_a_face(visitor) -> None:
    visitor.page.locator(".crops li").nth(1).get_by_role("button", name=visitor.t("face.not")).click()
    visitor.dialog_button("face.not.do").click()
    visitor.page.locator(".crops li").nth(1).wait_for(state="detached")
    visitor.go("people")
    visitor.says("people.loose", n=1)
    visitor.shot("people-loose")
    visitor.button("face.move").click()
    visitor.field("enrol.name.other").fill("Eileen")
    visitor.dialog_button("face.move").click()
    visitor.page.get_by_text(visitor.t("people.loose", n=1)).wait_for(state="detached")
    visitor.button("undo.last").click()
    visitor.says("undo.done")
    visitor.says("people.loose", n=1)
    visitor.button("face.remove").click()
    visitor.dialog_button("face.remove").click()
    visitor.page.get_by_text(visitor.t("people.loose", n=1)).wait_for(state="detached")


def merge_and_delete(visitor) -> None:
    visitor.page.locator(".person", has_text="Grace Hopper").click()
    visitor.button("person.merge").click()
    visitor.field("enrol.name.other").fill("Nobody Known")
    visitor.dialog_button("person.merge").click()
    visitor.says("people.nobody.found")
    visitor.field("enrol.name.other").fill("Eileen")
    visitor.dialog_button("person.merge").click()
    visitor.page.get_by_role("heading", name="Eileen", exact=True).wait_for()
    delete = visitor.page.get_by_role("button", name=visitor.t("person.delete.who", name="Eileen"))
    delete.click()
    visitor.shot("person-delete")
    visitor.button("cancel").click()
    delete.click()
    visitor.dialog_button("person.delete").click()
    visitor.says("people.nobody")
    visitor.shot("people-nobody")


@both
def test_groups_are_found_and_named(visit, tmp_path, server_analyzer, pair, language, size):
    with serving(tmp_path, server_analyzer) as server:
        visitor = visit(server, language, size=size).go("groups")
        visitor.shot("groups-off")
        visitor.choose(pair, GRACE, ASTRONAUT, NOT_A_PICTURE)
        visitor.page.get_by_text(visitor.t("groups.found", n=2)).wait_for(timeout=SLOW)
        visitor.page.locator(".crops img").nth(3).wait_for()
        visitor.page.get_by_text(visitor.t("groups.failed", n=1)).click()
        visitor.page.get_by_text(
            visitor.t("pair", name="letter.png", what=visitor.t("error.not-a-picture")), exact=True
        ).wait_for()
        visitor.shot("groups")
        visitor.field("groups.who.label", n=1).fill("Grace")
        visitor.page.locator(".groups li").first.get_by_role("button", name=visitor.t("groups.name")).click()
        visitor.page.locator(".named").wait_for()
        [person] = asked(server, "/v1/gallery/people")["people"]
        assert person["name"] == "Grace"
        assert person["faces"]  # nearly the same picture is not kept twice
        visitor.button("groups.again").click()
        visitor.choose({"name": "x.zip", "mimeType": "application/zip", "buffer": b"no archive"})
        visitor.says("error.not-an-archive")
        wait_for(lambda: asked(server, "/v1/jobs")["jobs"] == [])  # nothing is left of either


@both
def test_a_video_becomes_a_timeline(visit, grace, film, language, size):
    visitor = visit(grace, language, size=size).go("video")
    visitor.shot("video-off")
    visitor.choose(film)
    track = visitor.page.get_by_role("slider", name=visitor.t("timeline.label"))
    track.wait_for(timeout=SLOW)
    assert visitor.page.locator(".lane").count() == 2
    visitor.page.locator(".labels", has_text="Grace Hopper").wait_for()
    visitor.shot("video")
    track.focus()
    visitor.page.keyboard.press("End")
    visitor.page.keyboard.press("ArrowDown")
    visitor.page.locator(".tip").wait_for()
    said = track.get_attribute("aria-valuetext")
    assert said.startswith("0:0")
    assert said == visitor.page.locator(".tip").inner_text()
    visitor.page.keyboard.press("ArrowUp")
    assert track.get_attribute("aria-valuetext") != said
    narrow = track.bounding_box()["width"]
    visitor.page.keyboard.press("+")
    assert track.bounding_box()["width"] == pytest.approx(2 * narrow, rel=0.05)
    visitor.page.locator(".timeline").scroll_into_view_if_needed()
    visitor.shot("video-zoomed")
    visitor.page.locator(".lane").first.hover()
    visitor.page.locator(".tip").wait_for()
    with visitor.page.expect_download() as saved:
        visitor.page.get_by_role("button", name=visitor.t("file.timeline.csv")).click()
    assert saved.value.suggested_filename == "timeline.csv"
    visitor.button("video.again").click()
    visitor.choose(NOT_A_PICTURE)
    visitor.page.locator(".refusal").wait_for(timeout=SLOW)
    visitor.shot("video-refused")


@both
def test_a_photograph_does_not_unlock(visit, tmp_path, server_analyzer, language, size):
    with serving(tmp_path, server_analyzer, Eileen_Collins=ASTRONAUT) as server:
        visitor = visit(server, language, size=size).go("unlock")
        visitor.field("unlock.who").wait_for()
        visitor.page.get_by_text(visitor.t("unlock.without")).click()
        visitor.field("action.smile").check()
        visitor.field("action.blink").check()
        assert visitor.field("action.turn-left").is_disabled()  # two at most
        visitor.field("action.blink").uncheck()
        visitor.shot("unlock-off")
        visitor.page.evaluate(MOST_DOTS)
        visitor.button("unlock.start").click()
        visitor.shot("unlock")
        outcome = visitor.page.locator(".outcome")
        outcome.wait_for(timeout=SLOW)
        assert outcome.get_by_role("heading").inner_text() == visitor.t("unlock.no"), visitor.refusals
        assert visitor.page.evaluate("window.mostDots") >= 3  # a dot for each action that was to come
        visitor.shot("unlock-no")
        visitor.page.route("**/frames?*", lambda _: None)  # nothing ends it but the button
        visitor.button("unlock.again").click()
        visitor.button("unlock.start").click()
        visitor.button("cancel").click()
        visitor.field("unlock.who").wait_for()
        visitor.page.unroute_all(behavior="ignoreErrors")


def test_what_was_stopped_before_it_began_is_not_sent(visit, grace):
    """Else a frame that is made while somebody cancels is waited for, on a network that is gone for ever."""
    visitor = visit(grace).go("look")
    became = visitor.page.evaluate(
        """async () => {
            const { upload } = await import("/web/lib/api.js");
            const options = { body: new Blob(["x"]), signal: AbortSignal.abort() };
            return upload("/v1/liveness/none/frames?n=0", options, () => {}).then(() => "sent", (error) => error.name);
        }"""
    )
    assert became == "AbortError"
    assert visitor.refusals == []


@both
def test_models_say_what_they_are_not_for(visit, grace, language, size):
    visitor = visit(grace, language, size=size).go("models")
    visitor.says("models.limits.strangers")
    cards = visitor.page.locator(".model")
    assert cards.count() == len(asked(grace, "/v1/models")["models"])
    used = {
        heading.inner_text() for heading in cards.filter(has_text=visitor.t("models.used")).get_by_role("heading").all()
    }
    assert used == {"centerface", "dlib-resnet", "mien-s", "mien-age"}
    visitor.shot("models")


def test_language_and_theme_are_chosen_and_remembered(visit, grace):
    visitor = visit(grace, "en", color_scheme="light").go("look")
    page = visitor.page
    assert page.locator("html").get_attribute("lang") == "en"
    visitor.choose(GRACE)
    page.get_by_role("heading", name="Grace Hopper").wait_for()
    visitor.button("settings.title").click()
    page.get_by_label("中文").check()
    page.get_by_label("深色").check()
    assert page.get_by_role("heading", name="看一张图片").count() == 1
    page.keyboard.press("Escape")
    assert page.get_by_role("heading", name="Grace Hopper").is_visible()  # what was found is not lost
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 21, 18)"
    page.reload()
    page.get_by_role("heading", name="看一张图片").wait_for()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_a_server_without_a_gallery_says_so(visit, tmp_path, server_analyzer):
    with serving(tmp_path, server_analyzer, gallery=False) as server:
        visitor = visit(server).go()
        assert visitor.page.url.endswith("#/look")
        visitor.choose(ASTRONAUT)
        visitor.heading("face.number", n=1).wait_for()
        assert not visitor.button("face.enrol").count()
        for view in ("people", "unlock", "welcome"):
            visitor.go(view).says("gallery.none")


def test_a_server_that_is_gone_is_told(visit, tmp_path, server_analyzer):
    with serving(tmp_path, server_analyzer) as server:
        visitor = visit(server).go("look")
    visitor.choose(ASTRONAUT)
    visitor.says("error.unreachable")
