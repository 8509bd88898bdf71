"""A real browser in front of a real server: a camera that plays a face, and listeners for what a page must never do."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mien import Gallery, load_image
from mien.gallery.enrolling import face_to_enrol
from mien.server.settings import Limits, Settings
from tests.conftest import PHOTOS
from tests.server.conftest import PATIENCE, Running, running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = os.environ.get("MIEN_SHOTS")
"""A folder for pictures of what tests see; for people who want to look."""
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
STILL = """() => !document.querySelector("main .busy, main [aria-busy]")
    && [...document.images].every((one) => one.complete)
    && document.getAnimations().every((one) => one.playState !== "running"
        || one.effect.getComputedTiming().endTime === Infinity)"""
NOTES_LAST = """(() => {
    const later = window.setTimeout;
    window.setTimeout = (work, after, ...more) => later(work, after >= 5000 ? 6 * after : after, ...more);
})()"""
"""Notes pass after some seconds, in which a busy machine may not come to look at them, or to press what is in them."""
PHONE, DESKTOP = {"width": 390, "height": 800}, {"width": 1280, "height": 860}


@pytest.fixture(scope="session")
def camera(tmp_path_factory) -> Path:
    """A film of an astronaut who moves a little, as cameras of browsers can play it."""
    path = tmp_path_factory.mktemp("camera") / "astronaut.mjpeg"
    with Image.open(PHOTOS / "astronaut.jpg") as photo:
        face = photo.convert("RGB").crop((100, 0, 400, 300)).resize((480, 480))
    frames = []
    for i in range(8):
        frame = Image.new("RGB", (640, 480), (104, 100, 96))
        frame.paste(face, (80 + i % 4, 0))
        buffer = io.BytesIO()
        frame.save(buffer, "JPEG", quality=90)
        frames.append(buffer.getvalue())
    path.write_bytes(b"".join(frames))
    return path


@pytest.fixture(scope="package")  # no longer: Playwright's event loop runs in this thread, and others want their own
def browser(camera) -> Iterator[Any]:
    """Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    arguments = [
        "--no-sandbox",  # tests may run as root
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ]
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@dataclass(eq=False)
class Visitor:
    """Somebody before the page, and all that the page did.

    Attributes:
        page: of the browser.
        base: address of the server.
        texts: what the page says in their language, by key.
        problems: what must not happen: errors of scripts, what the policy forbade, requests to elsewhere.
        refusals: status and path of answers that were none of 2xx and 3xx.
    """

    page: Any
    base: str
    language: str
    texts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    refusals: list[tuple[int, str]] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    def _console(self, message: Any) -> None:
        refused = message.text.startswith("Failed to load resource")  # counted as `refusals`
        if message.type in {"error", "warning"} and not refused:
            self.problems.append(f"{message.type}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((f"{self.base}/", f"blob:{self.base}/", "data:")):
            self.problems.append(f"request: {request.url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.refusals.append((response.status, response.url.removeprefix(self.base)))

    def go(self, view: str = "") -> Visitor:
        """Go to a view, from another one or none, and wait until it is shown."""
        self.page.evaluate("document.querySelector('main h1')?.setAttribute('data-left', '')")
        self.page.goto(f"{self.base}/#/{view}" if view else f"{self.base}/")
        self.page.locator("main h1:not([data-left])").wait_for()
        return self

    def settled(self) -> Visitor:
        """Wait until nothing is being fetched or moves any more."""
        self.page.wait_for_function(STILL)
        return self

    def wait_for_problem(self, *words: str) -> None:
        """Wait until something happened that must not, as a test wants it, and forget it."""
        until = time.monotonic() + PATIENCE
        while not any(word in problem for problem in self.problems for word in words):
            assert time.monotonic() < until, self.problems
            self.page.wait_for_timeout(20)  # meanwhile the browser tells what happened
        self.problems.clear()

    def t(self, key: str, n: int | None = None, **values: object) -> str:
        """What the page says for a key."""
        text = self.texts[key]
        if isinstance(text, dict):
            text = text["one"] if n == 1 and "one" in text else text["other"]
        for name, value in ({"n": n} | values).items():
            text = text.replace(f"{{{name}}}", str(value))
        return text

    def button(self, key: str, **values: object) -> Any:
        return self.page.get_by_role("button", name=self.t(key, **values), exact=True)

    def dialog_button(self, key: str) -> Any:
        return self.page.locator("dialog").get_by_role("button", name=self.t(key), exact=True)

    def heading(self, key: str, **values: object) -> Any:
        return self.page.get_by_role("heading", name=self.t(key, **values), exact=True)

    def field(self, key: str, **values: object) -> Any:
        return self.page.get_by_label(self.t(key, **values), exact=True)

    def says(self, key: str, **values: object) -> None:
        """Wait until the page says something."""
        self.page.get_by_text(self.t(key, **values), exact=True).first.wait_for()

    def choose(self, *files: Path | dict[str, Any]) -> None:
        """Choose files where the view takes some."""
        given = [file if isinstance(file, dict) else as_buffer(file) for file in files]
        self.page.locator("input[type=file]").last.set_input_files(given)

    def shot(self, name: str) -> None:
        if SHOTS:
            self.page.wait_for_timeout(300)
            width = self.page.viewport_size["width"]
            self.page.screenshot(path=Path(SHOTS) / f"{name}-{self.language}-{width}.png")


def as_buffer(path: Path) -> dict[str, Any]:
    """A file as the browser takes it beside files that lie nowhere."""
    kind = "video/mp4" if path.suffix == ".mp4" else "image/jpeg"
    return {"name": path.name, "mimeType": kind, "buffer": path.read_bytes()}


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(browser) -> Iterator[Visit]:
    """`visit(server, language="en", ...)`; at the end, nothing may have happened that must not."""
    visitors = []
    contexts = []

    def opened(server: Running, language: str = "en", *, size: dict[str, int] = DESKTOP, **how: Any) -> Visitor:
        context = browser.new_context(viewport=size, locale=LOCALES[language], **how)
        context.set_default_timeout(1000 * PATIENCE)
        context.add_init_script(NOTES_LAST)
        contexts.append(context)
        visitor = Visitor(context.new_page(), server.url, language, texts_of(browser, server)[language])
        visitor.listen()
        visitors.append(visitor)
        return visitor

    yield opened
    for context in contexts:
        context.close()
    assert [problem for visitor in visitors for problem in visitor.problems] == []


_texts: dict[str, dict[str, Any]] = {}


def texts_of(browser: Any, server: Running) -> dict[str, dict[str, Any]]:
    """All texts of the page, by language."""
    if not _texts:
        page = browser.new_page()
        page.goto(f"{server.url}/web/mien.svg")
        for language in LOCALES:
            source = page.evaluate(f"fetch('/web/texts/{language}.js').then(answer => answer.text())")
            _texts[language] = json.loads(as_json(source))
        page.close()
    return _texts


def as_json(source: str) -> str:
    """The object that a file of texts exports, as JSON: it is written so that no more than this is needed."""
    lines = [line.strip() for line in source[source.index("export default {") + 15 :].splitlines()]
    text = "".join(line for line in lines if line and not line.startswith("//")).rstrip().rstrip(";")
    for name in ("one", "other"):
        text = text.replace(f"{{ {name}: ", f'{{ "{name}": ').replace(f", {name}: ", f', "{name}": ')
    return text.replace(",}", "}")


@contextmanager
def serving(
    folder: Path, analyzer: Any, *, keys: bool = False, gallery: bool = True, **people: Path
) -> Iterator[Running]:
    """A server whose gallery keeps crops and knows these people, by name and picture."""
    path = folder / "people.db"
    if gallery:
        with Gallery.open(path, keep_crops=True) as made:
            looking = analyzer.with_tasks(("detect", "embed"))
            for name, picture in people.items():
                image = load_image(picture)
                face = face_to_enrol(picture.name, looking(image), image, largest=True)
                made.enrol(name.replace("_", " "), [face], consent="for tests")
    limits = Limits(per_minute=0)
    settings = Settings(
        port=0, workers=1, gallery=str(path) if gallery else None, folder=folder / "state", limits=limits, keys=keys
    )
    scopes = {"analyze": "analyze", "reader": "gallery:read", "admin": "admin"}
    with running(settings, analyzer, keys=scopes if keys else None) as server:
        yield server


@pytest.fixture(scope="module")
def grace(tmp_path_factory, server_analyzer) -> Iterator[Running]:
    """A server that knows Grace Hopper, and is not to be changed."""
    folder = tmp_path_factory.mktemp("grace")
    with serving(folder, server_analyzer, Grace_Hopper=PHOTOS / "grace_hopper.jpg") as server:
        yield server


@pytest.fixture
def nobody(tmp_path, server_analyzer) -> Iterator[Running]:
    """A server whose gallery is empty."""
    with serving(tmp_path, server_analyzer) as server:
        yield server


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Path:
    """One picture of two people: Grace Hopper, and an astronaut."""
    path = tmp_path_factory.mktemp("pair") / "pair.jpg"
    both = Image.new("RGB", (1024, 600))
    for i, name in enumerate(("grace_hopper.jpg", "astronaut.jpg")):
        with Image.open(PHOTOS / name) as photo:
            both.paste(photo.convert("RGB"), (512 * i, 0))
    both.save(path, quality=92)
    return path


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Path:
    """A second and a half: an astronaut is there, and then Grace Hopper comes, too."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("film") / "two people.mp4"
    with Image.open(PHOTOS / "astronaut.jpg") as one, Image.open(PHOTOS / "grace_hopper.jpg") as other:
        left, right = one.convert("RGB").resize((256, 256)), other.convert("RGB").resize((256, 300))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 512, 256, "yuv420p"
        for i in range(15):
            frame = Image.new("RGB", (512, 256), (90, 90, 90))
            frame.paste(left, (i % 3, 0))
            if i >= 5:
                frame.paste(right, (256, -20))
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return path


def asked(server: Running, path: str) -> Any:
    """What a server answers."""
    with server.client() as client:
        return client.get(path).json()
