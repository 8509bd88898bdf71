"""The client gives what the library gives, and raises what it raises."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from mien import Client, Gallery, GalleryError, ImageDecodeError, NoFaceError, ServerError, load_image
from mien.server.app import create_app
from mien.server.settings import Settings
from tests.conftest import PHOTOS

ASTRONAUT, HOPPER = (PHOTOS / name for name in ("astronaut.jpg", "grace_hopper.jpg"))


@pytest.fixture(scope="module")
def http(tmp_path_factory, server_analyzer):
    path = tmp_path_factory.mktemp("remote") / "people.db"
    with Gallery.open(path) as opened:
        opened.enrol("Grace", server_analyzer.with_tasks(("detect", "embed"))(HOPPER))
    with TestClient(create_app(Settings(gallery=str(path), workers=1), server_analyzer), "http://localhost") as http:
        yield http


@pytest.fixture
def client(http):
    return Client(http=http)


def test_faces_are_those_of_the_library(client, server_analyzer):
    own = server_analyzer.with_tasks(("detect", "pose", "expression", "embed"))(ASTRONAUT)
    faces = client.analyze(ASTRONAUT, only=("pose", "expression"), embeddings=True)
    assert faces.to_dicts() == own.to_dicts()
    assert faces.image_size == own.image_size


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "file", "array"])
def test_pictures_come_in_all_forms(client, kind):
    forms = {
        "path": lambda: HOPPER,
        "str": lambda: str(HOPPER),
        "bytes": HOPPER.read_bytes,
        "array": lambda: load_image(HOPPER),
    }
    if kind == "file":
        with HOPPER.open("rb") as file:
            assert len(client.analyze(file, only=["detect"])) == 1
    else:
        assert len(client.analyze(forms[kind](), only=["detect"])) == 1


def test_many_pictures_and_a_bad_one(client):
    good, bad, also = client.analyze_many([HOPPER, b"no picture", ASTRONAUT], only=["detect"])
    assert (len(good.faces), len(also.faces)) == (1, 1)
    assert isinstance(bad.error, ImageDecodeError)
    [single] = client.analyze_many([b"no picture"])
    assert isinstance(single.error, ImageDecodeError)


def test_verification_and_identification_have_the_librarys_types(client, server_analyzer):
    analyzer = server_analyzer.with_tasks(("detect", "embed"))
    remote, own = client.verify(HOPPER, ASTRONAUT), analyzer.verify(HOPPER, ASTRONAUT)
    assert remote.to_dict() == own.to_dict()
    found = client.identify(HOPPER, candidates=1)
    assert found.people[0].name == "Grace"
    assert found.candidates[0][0] == found.people[0]
    assert client.identify(ASTRONAUT).people == (None,)


def test_who_it_is_and_what_they_show_are_one_question(client, server_analyzer):
    found = client.identify(HOPPER, only=["expression", "age"])
    assert found.people[0].name == "Grace"
    own = server_analyzer.with_tasks(("detect", "expression", "age"))(HOPPER)
    assert found.faces.to_dicts() == own.to_dicts()
    assert client.identify(HOPPER).faces.expressions is None


def test_what_is_wrong_is_raised_as_the_library_does(client):
    grey = np.full((80, 80, 3), 90, np.uint8)
    with pytest.raises(NoFaceError):
        client.verify(HOPPER, grey)
    with pytest.raises(ImageDecodeError):
        client.analyze(b"nothing")
    with pytest.raises(ServerError) as wrong:
        client.analyze(HOPPER, only=["feelings"])
    assert (wrong.value.status, wrong.value.code) == (422, "invalid")


def test_nobody_there_is_one_line():
    with Client("http://127.0.0.1:9", timeout=2) as client, pytest.raises(ServerError, match="cannot be reached"):
        client.info()


def test_a_server_of_another_kind_is_one_line():
    import httpx2

    other = httpx2.Client(
        transport=httpx2.MockTransport(lambda _: httpx2.Response(200, text="<html>")), base_url="http://x"
    )
    with pytest.raises(ServerError, match="is it a mien server"):
        Client(http=other).info()
    html = httpx2.Client(
        transport=httpx2.MockTransport(lambda _: httpx2.Response(502, text="<html>")), base_url="http://x"
    )
    with pytest.raises(ServerError, match="502"):
        Client(http=html).info()


def test_a_busy_server_is_asked_again_and_not_for_ever(monkeypatch):
    import httpx2

    answers = [httpx2.Response(429, headers={"Retry-After": "1"}, json={"code": "busy", "detail": "busy"})] * 2
    answers.append(httpx2.Response(200, json={"version": "1"}))
    asked = []

    def answer(request):
        asked.append(request)
        return answers[min(len(asked), 3) - 1]

    pauses = []
    monkeypatch.setattr("mien.client.transport.time.sleep", pauses.append)
    make = lambda: httpx2.Client(transport=httpx2.MockTransport(answer), base_url="http://x")  # noqa: E731
    assert Client(http=make()).info() == {"version": "1"}
    assert pauses == [1, 1]
    asked.clear()
    with pytest.raises(ServerError, match="busy"):
        Client(http=make(), patience=0.5).info()
    assert len(asked) == 1


def test_people_who_are_not_there(client):
    with pytest.raises((GalleryError, ServerError)):
        client.gallery.person("Nobody at all")


def test_keys_come_from_the_environment(monkeypatch):
    import httpx2

    seen = []

    def answer(request):
        seen.append(request.headers.get("authorization"))
        return httpx2.Response(200, json={})

    monkeypatch.setenv("MIEN_KEY", "mien_abc")
    Client(http=httpx2.Client(transport=httpx2.MockTransport(answer), base_url="http://x")).info()
    assert seen == ["Bearer mien_abc"]
