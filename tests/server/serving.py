"""Servers for tests: real applications over one set of networks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from mien.server.app import create_app
from mien.server.keys import Keys, server_folder
from mien.server.settings import Limits, Settings
from tests.conftest import PHOTOS

ASTRONAUT, HOPPER = PHOTOS / "astronaut.jpg", PHOTOS / "grace_hopper.jpg"


@contextmanager
def serving(analyzer, folder: Path, *, limits: dict[str, Any] | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of a server whose state is in a folder."""
    made = Settings(folder=folder, workers=1, limits=Limits(**(limits or {})), **settings)
    with TestClient(create_app(made, analyzer), base_url="http://localhost") as client:
        yield client


def key(folder: Path, name: str, *scopes: str) -> dict[str, str]:
    """Headers of a caller with a new key."""
    text, _ = Keys(server_folder(folder)).add(name.replace(":", "-"), scopes)
    return {"authorization": f"Bearer {text}"}


def image(path: Path, name: str | None = None, field: str = "image") -> tuple[str, tuple[str, bytes]]:
    """A part of a form."""
    return field, (name or path.name, path.read_bytes())


def enrol(client: TestClient, name: str, *pictures: Path, **more: Any) -> Any:
    """The answer to an enrolment."""
    data = {"name": name, **{k: v for k, v in more.items() if k in ("consent", "expires")}}
    query = {k: v for k, v in more.items() if k not in data}
    return client.post("/v1/gallery/people", data=data, files=[image(p) for p in pictures], params=query)


def finished(client: TestClient, job: str, *, seconds: float = 120, **how: Any) -> dict[str, Any]:
    """A job, once it is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told = client.get(f"/v1/jobs/{job}", **how).json()["job"]
        if told["state"] in ("done", "failed", "cancelled"):
            return told
        time.sleep(0.05)
    raise AssertionError(f"still {told['state']} after {seconds} s")


def refused(answer: Any, status: int, code: str) -> str:
    """The detail of a refusal, which is a problem of RFC 9457 and tells no path of ours."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert "/tmp" not in answer.text
    assert "Traceback" not in answer.text
    return problem["detail"]
