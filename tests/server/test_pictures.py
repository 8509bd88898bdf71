"""Pictures over HTTP: the answers are the library's own."""

import json

import numpy as np
import pytest
from starlette.testclient import TestClient

from mien import FaceAnalyzer, Gallery, load_image
from mien.analyzer import TASKS, to_dict
from mien.server.app import create_app
from mien.server.settings import Limits, Settings
from tests.conftest import PHOTOS
from tests.models.test_arcface import published

ASTRONAUT, HOPPER = (PHOTOS / name for name in ("astronaut.jpg", "grace_hopper.jpg"))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory, server_analyzer):
    path = tmp_path_factory.mktemp("gallery") / "people.db"
    with Gallery.open(path) as opened:
        opened.enrol("Grace", server_analyzer.with_tasks(("detect", "embed"))(HOPPER))
    return path


@pytest.fixture(scope="module")
def client(gallery, server_analyzer):
    settings = Settings(gallery=str(gallery), workers=2, limits=Limits(picture_pixels=2_000_000))
    with TestClient(create_app(settings, server_analyzer), base_url="http://localhost") as client:
        yield client


def raw(path) -> dict:
    return {"content": path.read_bytes(), "headers": {"content-type": "image/jpeg"}}


def part(path) -> tuple[str, bytes]:
    return path.name, path.read_bytes()


@pytest.mark.parametrize("only", ["detect", "expression", "age,gender", "eyes,mouth", ",".join(TASKS)])
def test_a_picture_is_answered_as_the_library_answers_it(client, server_analyzer, only):
    tasks = tuple(task for task in TASKS if task in only.split(",") or task == "detect")
    expected = to_dict("image", server_analyzer.with_tasks(tasks)(ASTRONAUT))
    assert client.post("/v1/analyze", params={"only": only}, **raw(ASTRONAUT)).json() == json.loads(
        json.dumps(expected)
    )


def test_embeddings_come_when_asked_for(client, server_analyzer):
    face = client.post("/v1/analyze?only=detect&embeddings=true", **raw(HOPPER)).json()["faces"][0]
    own = server_analyzer.with_tasks(("detect", "embed"))(HOPPER).embeddings[0]
    np.testing.assert_allclose(face["embedding"], own, atol=1e-4)
    assert "embedding" not in client.post("/v1/analyze?only=embed", **raw(HOPPER)).json()["faces"][0]


def test_several_pictures_are_answered_in_order_and_a_bad_one_spoils_nothing(client):
    parts = [("image", (name, data)) for name, data in (
        ("one.jpg", ASTRONAUT.read_bytes()), ("notes.txt", b"not a picture"), ("../../three.jpg", HOPPER.read_bytes()),
    )]  # fmt: skip
    one, bad, three = client.post("/v1/analyze?only=detect", files=parts).json()["results"]
    assert one["image"]["path"] == "one.jpg"
    assert bad["image"] == {"path": "notes.txt"}
    assert bad["error"]["status"] == 422
    assert "not a JPEG" in bad["error"]["detail"]
    assert len(three["faces"]) == 1


def test_a_picture_without_faces_has_none(client, tmp_path):
    from mien import save_image

    save_image(tmp_path / "grey.png", np.full((64, 64, 3), 128, np.uint8))
    assert client.post("/v1/analyze", **raw(tmp_path / "grey.png")).json()["faces"] == []


def test_two_pictures_of_one_person_and_of_two(client, server_analyzer, tmp_path):
    from mien import save_image

    save_image(tmp_path / "again.jpg", np.ascontiguousarray(load_image(HOPPER)[:, ::-1]))
    files = {"a": part(HOPPER), "b": part(tmp_path / "again.jpg")}
    same = client.post("/v1/verify", files=files).json()
    assert same["same"] is True
    assert same["a"]["path"] == "grace_hopper.jpg"
    other = client.post("/v1/verify", files={"a": part(HOPPER), "b": part(ASTRONAUT)}).json()
    expected = server_analyzer.with_tasks(("detect", "embed")).verify(HOPPER, ASTRONAUT).to_dict()
    assert {key: other[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        ({"a": HOPPER}, 422, "invalid"),
        ({"a": HOPPER, "b": PHOTOS / "README.md"}, 422, "not-a-picture"),
        ({}, 422, "empty"),
    ],
)
def test_what_cannot_be_compared_is_said(client, files, status, code):
    answer = client.post("/v1/verify", files={name: part(path) for name, path in files.items()} or None)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_rate_that_nobody_measured_is_refused(client):
    files = {"a": part(HOPPER), "b": part(ASTRONAUT)}
    answer = client.post("/v1/verify?fmr=0.5", files=files)
    assert answer.status_code == 422
    assert "1e-3" in answer.json()["detail"]


def test_people_are_recognised_and_strangers_are_not(client):
    known = client.post("/v1/identify?candidates=1", **raw(HOPPER)).json()["faces"][0]
    assert known["identity"]["person"] == "Grace"
    assert known["candidates"][0]["person"] == "Grace"
    stranger = client.post("/v1/identify", **raw(ASTRONAUT)).json()["faces"][0]["identity"]
    assert stranger["person"] is None
    assert "id" not in stranger


def test_who_it_is_and_what_they_show_are_one_question(client, server_analyzer):
    asked = "expression,age,quality"
    face = client.post(f"/v1/identify?only={asked}", **raw(HOPPER)).json()["faces"][0]
    assert face["identity"]["person"] == "Grace"
    described = server_analyzer.with_tasks(("detect", "expression", "age", "embed", "quality"))(HOPPER)
    assert face == json.loads(json.dumps(described.to_dicts(embeddings=False)[0])) | {"identity": face["identity"]}
    alone = client.post("/v1/identify", **raw(HOPPER)).json()["faces"][0]
    assert alone == {name: face[name] for name in ("box", "score", "landmarks", "identity")}
    answer = client.post("/v1/identify?only=feelings", **raw(HOPPER))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_a_picture_without_faces_shows_nobody(client, tmp_path):
    from mien import save_image

    save_image(tmp_path / "grey.png", np.full((64, 64, 3), 128, np.uint8))
    assert client.post("/v1/identify?only=age", **raw(tmp_path / "grey.png")).json()["faces"] == []


def test_without_a_gallery_nobody_is_identified(server_analyzer):
    with TestClient(create_app(Settings(workers=1), server_analyzer), base_url="http://localhost") as client:
        answer = client.post("/v1/identify", **raw(HOPPER))
    assert (answer.status_code, answer.json()["code"]) == (404, "no-gallery")


def test_where_nobody_has_measured_the_embedder_a_threshold_is_named(tmp_path):
    (tmp_path / "own.onnx").write_bytes(published())
    own = f"arcface:{tmp_path / 'own.onnx'}"
    settings = Settings(gallery=str(tmp_path / "people.db"), embedder=own, workers=1, folder=tmp_path)
    app = create_app(settings, lambda _: FaceAnalyzer(embedder=own, only=TASKS, threads=1))
    with TestClient(app, base_url="http://localhost") as client:
        client.post("/v1/gallery/people", data={"name": "Grace"}, files={"image": part(HOPPER)})
        assert client.get("/v1/gallery").json()["measured"] is False
        assert client.post("/v1/identify?threshold=0.9", **raw(HOPPER)).json()["faces"][0]["identity"]["person"]
        for path in ("identify", "videos?identify=true"):
            answer = client.post(f"/v1/{path}", content=HOPPER.read_bytes())
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
            assert "threshold" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("only=feelings", HOPPER.read_bytes(), 422),
        ("", b"", 422),
        ("", b"GIF89a", 422),
        ("", HOPPER.read_bytes()[:5000], 422),
    ],
)
def test_bad_pictures_and_questions_are_said(client, query, body, status):
    answer = client.post(f"/v1/analyze?{query}", content=body, headers={"content-type": "image/jpeg"})
    assert answer.status_code == status
    assert len(answer.json()["detail"].splitlines()) == 1


def test_a_picture_of_too_many_pixels_is_not_decoded(client, tmp_path):
    from PIL import Image

    Image.new("L", (5000, 5000)).save(tmp_path / "bomb.png")
    answer = client.post("/v1/analyze", **raw(tmp_path / "bomb.png"))
    assert (answer.status_code, answer.json()["code"]) == (413, "picture-too-large")
