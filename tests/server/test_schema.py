"""Schemathesis over the OpenAPI document: whatever it thinks of, no failure of ours, and every answer as described.

`MIEN_SCHEMA_CASES` says how many requests there are in all; some 200 by default.
"""

import io
import os
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import binary, just, one_of
from PIL import Image
from pydantic import ValidationError
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mien.analyzer import TASKS
from mien.server.schemas import ModelsAnswer, PictureAnswer, PicturesAnswer
from mien.server.settings import Limits
from tests.server.conftest import with_grace
from tests.server.serving import ASTRONAUT

CASES = int(os.environ.get("MIEN_SCHEMA_CASES", "200"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
THERE = {"who": "Grace", "number": 1}


def picture() -> bytes:
    """A real one, and small: what is right is tried, too."""
    out = io.BytesIO()
    with Image.open(ASTRONAUT) as image:
        image.crop((150, 0, 310, 160)).save(out, "JPEG")
    return out.getvalue()


schemathesis.openapi.format("binary", one_of(just(picture()), binary(max_size=200)))


@pytest.fixture(scope="module")
def guarded(server_analyzer, known_people, tmp_path_factory):
    limits = Limits(per_minute=0, picture_bytes=1_000_000, keep_seconds=5, jobs=40)
    with with_grace(tmp_path_factory.mktemp("schema"), known_people, server_analyzer, keys=True, limits=limits) as one:
        yield one


@pytest.fixture(scope="module")
def headers(guarded):
    """Of an administrator."""
    return {"Authorization": f"Bearer {guarded.keys['admin']}"}


@pytest.fixture(scope="module")
def operations(guarded, headers):
    schema = schemathesis.openapi.from_url(f"{guarded.url}/v1/openapi.json", headers=headers)
    return [result.ok() for result in schema.get_all_operations()]


def test_whatever_is_asked_is_answered_as_described(operations, headers):
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


def test_every_route_tells_what_it_is_for_and_how_it_refuses(operations):
    for operation in operations:
        raw = operation.definition.raw
        assert raw.get("summary"), operation.path
        if operation.path.startswith("/v1/"):
            assert {"401", "403", "429", "500", "503"} <= set(raw["responses"]), operation.path
        for status, answer in raw["responses"].items():
            if status.startswith(("4", "5")):
                assert list(answer["content"]) == ["application/problem+json"], (operation.path, status)


def test_answers_hold_nothing_that_is_not_described(guarded, headers):
    with guarded.client("admin") as client:
        document = client.get("/v1/openapi.json").json()
        asked = f"?only={','.join(TASKS)}"
        body = {"content": ASTRONAUT.read_bytes(), "headers": {"content-type": "image/jpeg"}}
        several = [("image", ("a.jpg", ASTRONAUT.read_bytes())), ("image", ("b.jpg", b"no picture"))]
        answers = (
            (PictureAnswer, client.post(f"/v1/analyze{asked}&embeddings=true", **body)),
            (PictureAnswer, client.post(f"/v1/identify{asked}&candidates=3", **body)),
            (PicturesAnswer, client.post("/v1/analyze", files=several)),
            (ModelsAnswer, client.get("/v1/models")),
        )
    for model, answer in answers:
        assert answer.status_code == 200, answer.text
        model.model_validate(answer.json(), strict=True)
        with pytest.raises(ValidationError, match="Extra inputs"):
            model.model_validate({**answer.json(), "more": 1})
    objects = [(name, one) for name, one in document["components"]["schemas"].items() if "properties" in one]
    assert len(objects) > 40
    assert [name for name, one in objects if one.get("additionalProperties") is not False] == []
