"""Schemathesis over the OpenAPI document: whatever it thinks of, no failure of ours, and every answer as described.

`MIEN_SCHEMA_CASES` says how many requests there are in all; some 200 by default.
"""

import os
import threading
import time
from collections import Counter

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mien import Gallery
from mien.server.app import create_app
from mien.server.settings import Limits, Settings
from tests.server.serving import HOPPER, key

CASES = int(os.environ.get("MIEN_SCHEMA_CASES", "200"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
NOT_OVER_HTTP = {"/v1/live"}
THERE = {"who": "Grace", "number": 1}


@pytest.fixture(scope="module")
def server(server_analyzer, tmp_path_factory):
    """A real server, with somebody in its gallery; gives its address and the headers of an administrator."""
    folder = tmp_path_factory.mktemp("schema")
    with Gallery.open(folder / "people.db", keep_crops=True) as gallery:
        gallery.enrol("Grace", server_analyzer.with_tasks(("detect", "embed"))(HOPPER))
    headers = key(folder, "admin", "admin")
    made = Settings(
        gallery=str(folder / "people.db"),
        folder=folder,
        workers=1,
        keys=True,
        limits=Limits(per_minute=0, picture_bytes=1_000_000, keep_seconds=5, jobs=40),
    )
    app = create_app(made, server_analyzer)
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.05)
        assert thread.is_alive()
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", headers
    running.should_exit = True
    thread.join(30)


@pytest.fixture(scope="module")
def schema(server):
    url, headers = server
    return schemathesis.openapi.from_url(f"{url}/v1/openapi.json", headers=headers)


def test_whatever_is_asked_is_answered_as_described(schema, server):
    _, headers = server
    operations = [result.ok() for result in schema.get_all_operations()]
    operations = [one for one in operations if one.path not in NOT_OVER_HTTP]
    assert len(operations) >= 30
    each = max(1, round(CASES / len(operations)))
    statuses = Counter()
    for operation in sorted(operations, key=lambda one: one.method.upper() == "DELETE"):  # what is there is asked first
        _try(operation, each, headers, statuses)
    print(sum(statuses.values()), dict(statuses))
    assert sum(statuses.values()) > CASES / 2
    assert {200, 404, 422} <= set(statuses)


def _try(operation, cases, headers, statuses):
    """So many requests of one kind: as described, not as described, and about what is there."""
    kinds = [
        operation.as_strategy(),
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE),
    ]
    named = {name: value for name, value in THERE.items() if f"{{{name}}}" in operation.path}
    if named:
        kinds.append(operation.as_strategy(path_parameters=named))

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=one_of(kinds))
    def check(case):
        answer = case.call_and_validate(headers=headers, checks=CHECKS, timeout=60)
        statuses[answer.status_code] += 1

    check()


def test_every_route_tells_how_it_refuses(schema):
    for result in schema.get_all_operations():
        operation = result.ok()
        raw = operation.definition.raw
        assert raw.get("summary"), operation.path
        told = set(raw["responses"])
        if operation.path.startswith("/v1/"):
            assert {"401", "403", "429", "500", "503"} <= told, operation.path
        for status, answer in raw["responses"].items():
            if status.startswith(("4", "5")):
                assert list(answer["content"]) == ["application/problem+json"], (operation.path, status)
