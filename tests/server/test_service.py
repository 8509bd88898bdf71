"""The server itself: what it says it is, whether it is ready, and its figures."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from mien import FaceAnalyzer, Gallery
from mien.analyzer import TASKS
from mien.models import registry
from mien.server.app import create_app
from mien.server.settings import Settings
from tests.conftest import PHOTOS


@pytest.fixture(scope="module")
def app(tmp_path_factory, server_analyzer):
    path = tmp_path_factory.mktemp("service") / "people.db"
    Gallery.open(path).close()
    return create_app(Settings(gallery=str(path), workers=1), server_analyzer)


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app, base_url="http://localhost") as client:
        yield client


def test_ready_only_while_it_runs(client, app, server_analyzer):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    stopped = TestClient(create_app(Settings(workers=1), server_analyzer), base_url="http://localhost")
    answer = stopped.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not-ready")


def test_a_gallery_is_served_by_networks_that_fit_it(tmp_path):
    Gallery.open(tmp_path / "people.db", mode="accurate").close()
    told = []

    def make(info):
        told.append(info)
        return FaceAnalyzer(only=TASKS, threads=1, accurate=info.mode == "accurate")

    app = create_app(Settings(gallery=str(tmp_path / "people.db"), workers=1, folder=tmp_path), make)
    context = app.state.context
    assert told == [context.gallery.info]
    context.gallery.check(context.engine.analyzer.embedder)
    context.gallery.close()
    create_app(Settings(folder=tmp_path), lambda info: told.append(info) or FaceAnalyzer(only=TASKS))
    assert told[1] is None


def test_info_says_what_is_offered(client):
    info = client.get("/v1/info").json()
    assert info["gallery"] is True
    assert info["models"]["detector"] == "centerface"
    assert set(info["default_tasks"]) <= set(info["tasks"])
    assert info["limits"]["pictures"] == 16


def test_models_are_those_of_the_registry_with_their_limits(client):
    models = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert set(models) == set(registry.records())
    assert all(model["limits"] and model["licence_weights"] for model in models.values())


def test_metrics_count_by_pattern_and_not_by_path(client):
    client.post("/v1/analyze?only=detect", content=(PHOTOS / "astronaut.jpg").read_bytes())
    client.get("/v1/anything/at/all/../x")
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    routes = {sample.labels["route"] for sample in families["mien_requests"].samples if "route" in sample.labels}
    assert "/v1/analyze" in routes
    assert not any("anything" in route for route in routes)
    assert families["mien_faces"].samples[0].value >= 1


def test_what_is_not_there_is_a_problem(client):
    answer = client.get("/v1/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.get("/v1/analyze").status_code == 405


def test_the_document_describes_what_is_there(client):
    document = client.get("/v1/openapi.json").json()
    assert "multipart/form-data" in document["paths"]["/v1/analyze"]["post"]["requestBody"]["content"]
    assert "429" in document["paths"]["/v1/analyze"]["post"]["responses"]
