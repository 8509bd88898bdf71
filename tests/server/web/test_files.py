"""The files of the page: served as what they are, nothing beside them, and shipped with the package."""

import re
import zipfile
from pathlib import Path

import httpx2
import pytest

import mien
from mien.server.routes.page import TYPES, pages

WEB = (Path(mien.__file__).parent / "web").resolve()
LIMIT = 400  # lines of one script: more do not fit a reader's head


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


def test_the_page_is_served_with_a_strict_policy(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", sorted(pages()))
def test_each_file_has_its_type_and_is_not_sent_twice(client, name):
    answer = client.get(f"/web/{name}")
    assert answer.headers["content-type"] == TYPES[Path(name).suffix]
    assert answer.content == (WEB / name).read_bytes()
    again = client.get(f"/web/{name}", headers={"If-None-Match": f'"other", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/web/{name}", headers={"If-None-Match": '"other"'}).status_code == 200


def test_head_says_the_same_without_the_file(client):
    head, whole = client.head("/web/app.js"), client.get("/web/app.js")
    assert head.headers["etag"] == whole.headers["etag"]
    assert head.content == b""


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web/nothing.js",
        "/web/../pyproject.toml",
        "/web/..%2f..%2fpyproject.toml",
        "/web/%2e%2e/version.py",
        "/web//etc/passwd",
        "/web/lib",
        "/web/lib/../index.html",
        "/web/index.html%00.js",
    ],
)
def test_nothing_else_is_served(server, path):
    answer = server.raw(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode())
    status = int(answer.split(b" ", 2)[1])
    assert status in {400, 404}
    assert b"root:" not in answer
    assert b"[project]" not in answer


def test_no_page_means_none(tmp_path, server_analyzer):
    from mien.server.settings import Settings
    from tests.server.conftest import running

    settings = Settings(port=0, workers=1, page=False, folder=tmp_path)
    with running(settings, server_analyzer) as bare:
        assert httpx2.get(f"{bare.url}/", trust_env=False).status_code == 404
        assert httpx2.get(f"{bare.url}/web/app.js", trust_env=False).status_code == 404


def test_all_that_is_imported_or_linked_is_there():
    for name, page in pages().items():
        if name.endswith((".js", ".html")):
            text = page.data.decode()
            for target in re.findall(r'(?:from|import\() ?"(\.[^"]+)"', text):
                assert str((WEB / name).parent.joinpath(target).resolve().relative_to(WEB)) in pages(), (name, target)
            for target in re.findall(r'"/web/([\w/.-]+)"', text):
                assert target in pages(), (name, target)


def test_every_icon_that_is_used_is_drawn():
    drawn = set(re.findall(r'<symbol id="([\w-]+)"', pages()["icons.svg"].data.decode()))
    scripts = "\n".join(page.data.decode() for name, page in pages().items() if name.endswith(".js"))
    used = set(re.findall(r'icon\("([\w-]+)"\)|symbol[:=] ?"([\w-]+)"|iconButton\([^"]+"[^"]+"\), "([\w-]+)"', scripts))
    names = {name for match in used for name in match if name}
    assert names
    assert names <= drawn


def test_nothing_of_the_page_could_run_text_of_others():
    for name, page in pages().items():
        text = page.data.decode()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            name
        )
        assert not re.search(r"\sstyle=|\son\w+=\"|javascript:", text), name
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), name  # names of namespaces lead nowhere
        assert name.startswith("texts/") or not name.endswith(".js") or text.count("\n") <= LIMIT, name


def test_the_page_is_part_of_the_wheel(tmp_path):
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder
    root = Path(__file__).parents[3]
    [wheel] = builder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = {f"mien/web/{path.relative_to(WEB).as_posix()}" for path in WEB.rglob("*") if path.is_file()}
    assert files
    assert files <= names
