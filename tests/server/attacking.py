"""What tests of attacks share: how a refusal looks, and that it is in the log."""

import time

from tests.conftest import PHOTOS
from tests.server.conftest import PATIENCE

HOPPER = (PHOTOS / "grace_hopper.jpg").read_bytes()
TELLTALE = (
    b"Traceback",
    b'File "',
    b"/tmp",
    b"/home",
    b"/usr",
    b"/root",
    b"site-packages",
    b"root:",
    b".py",
    b"sqlite",
)


def check(answer, *statuses, code=None) -> dict:
    """A refusal as it should be."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert not [word for word in TELLTALE if word in answer.content]
    told = answer.json()
    assert set(told) == {"type", "title", "status", "code", "detail"}
    if code is not None:
        assert told["code"] == code
    return told


def logged(server, answer) -> dict:
    """The line of the audit log for an answer."""
    [line] = [line for line in server.lines() if line["request"] == answer.headers["x-request-id"] and "status" in line]
    assert line["status"] == answer.status_code
    return line


def first_line(answer: bytes) -> bytes:
    return answer.split(b"\r\n")[0]


def operations(server, word="x") -> list[tuple[str, str]]:
    """Every documented method and path of a server, with something in place of ids."""
    paths = server.app.openapi()["paths"]
    names = ("{person}", "{id}", "{n}", "{g}", "{name}", "{face}", "{job}", "{session}")
    found = []
    for path, methods in paths.items():
        filled = path
        for name in names:
            filled = filled.replace(name, word)
        while "{" in filled:
            filled = filled[: filled.index("{")] + word + filled[filled.index("}") + 1 :]
        found += [(method.upper(), filled) for method in methods]
    return found


def wait_for(true) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
