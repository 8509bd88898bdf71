"""`mien serve` and `mien serve keys`, as a user meets them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx2
import pytest

from mien import Gallery


@pytest.fixture
def state(tmp_path):
    return {"MIEN_STATE": str(tmp_path / "state")}


@pytest.fixture
def started(tmp_path, state):
    """`started(*arguments)` starts a server on a free port, and gives its process and address."""
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "mien", "serve", "--port", "0", "--workers", "1", *arguments],
            stderr=subprocess.PIPE, text=True, env={**os.environ, **state},
        )  # fmt: skip
        processes.append(process)
        for line in process.stderr:
            if found := re.match(r"(https?://\S+)  \((.*)\)", line):
                return process, found[1], found[2]
        raise AssertionError("it did not begin")

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def get(url, **how):
    return httpx2.get(url, trust_env=False, timeout=240, **how)


def wait_until_ready(url) -> None:
    until = time.monotonic() + 240
    while time.monotonic() < until:
        try:
            if get(f"{url}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("it is not ready")


def wait_until_closed(port) -> None:
    """Until it accepts nobody any more."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    raise AssertionError("it goes on accepting")


def test_it_serves_and_ends_in_order(started, tmp_path):
    process, url, told = started("--gallery", str(tmp_path / "people.db"))
    wait_until_ready(url)
    assert "this machine alone" in told
    assert "no keys" in told
    answer = get(f"{url}/v1/info").json()
    assert answer["gallery"]
    assert not answer["keys"]
    assert (tmp_path / "people.db").exists()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0
    assert errors.splitlines()[-1] == "mien: stopped"


def test_a_gallery_of_accurate_embeddings_is_served_as_it_is(started, tmp_path):
    Gallery.open(tmp_path / "people.db", mode="accurate").close()
    _, url, _ = started("--gallery", str(tmp_path / "people.db"))
    wait_until_ready(url)
    assert httpx2.get(f"{url}/v1/gallery", trust_env=False).json()["gallery"]["mode"] == "accurate"


def test_what_was_accepted_is_finished_before_it_ends(started, portrait):
    process, url, _ = started("--no-gallery")
    wait_until_ready(url)
    port = int(url.rpartition(":")[2])
    picture = portrait.read_bytes()
    with socket.create_connection(("127.0.0.1", port), timeout=240) as connection:
        head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}\r\n"
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"  # it has been accepted
        connection.sendall(picture[:-10])
        process.send_signal(signal.SIGINT)
        wait_until_closed(port)
        connection.sendall(picture[-10:])
        answer = connection.recv(1_000_000)
    assert answer.startswith(b"HTTP/1.1 200")
    process.communicate(timeout=240)
    assert process.returncode == 0


def test_keys_are_made_listed_and_revoked(mien, state, started):
    made = mien("serve", "keys", "add", "door", "--scope", "analyze", "--expires", "30d", **state)
    key = made.stdout.decode().strip()
    assert re.fullmatch(r"mien_[A-Za-z0-9_-]{43}", key)
    assert b"not shown again" in made.stderr
    listed = json.loads(mien("serve", "keys", "list", "--json", **state).stdout)
    assert listed["keys"][0]["name"] == "door"
    assert listed["keys"][0]["scopes"] == ["analyze"]
    assert key not in json.dumps(listed)
    _, url, told = started("--no-gallery", "--ask-keys")
    wait_until_ready(url)
    assert "keys are needed" in told
    headers = {"Authorization": f"Bearer {key}"}
    assert get(f"{url}/v1/info").status_code == 401
    assert get(f"{url}/v1/info", headers=headers).json()["scopes"] == ["analyze"]
    assert mien("serve", "keys", "revoke", "door", **state).returncode == 0
    assert get(f"{url}/v1/info", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("keys", "add", "a/b", "--scope", "analyze"), "letters"),
        (("keys", "add", "door", "--scope", "root"), "is no scope"),
        (("keys", "add", "door", "--scope", "analyze", "--expires", "2020-01-01"), "cannot expire"),
        (("keys", "revoke", "door"), "no key called door"),
        (("--host", "0.0.0.0", "--port", "0", "--no-gallery"), "it needs keys"),
        (("--host-name", "faces.example", "--port", "0", "--no-gallery"), "it needs keys"),
        (("--host", "no.such.host.invalid", "--port", "0"), "cannot listen there"),
        (("--port", "0", "--no-gallery", "--tls-cert", "missing.pem"), "both a certificate and its key"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(mien, state, arguments, told):
    done = mien("serve", *arguments, **state)
    assert done.returncode == 2
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not done.stdout


def test_what_may_not_begin_makes_nothing(mien, state, tmp_path):
    done = mien("serve", "--host", "0.0.0.0", "--port", "0", "--gallery", tmp_path / "people.db", **state)
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken(mien, state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = mien("serve", "--no-gallery", "--port", taken.getsockname()[1], **state)
    assert done.returncode == 2
    [line] = done.stderr.decode().splitlines()
    assert "something else listens there; choose another with --port" in line


def test_without_the_extra_one_line_says_so(mien, state, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['fastapi'] = None\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = mien("serve", "--no-gallery", **state, PYTHONPATH=path)
    assert done.returncode == 2
    assert (
        done.stderr.decode().strip()
        == "mien: serving needs more packages: pip install 'mien[server]' (fastapi is missing)"
    )
