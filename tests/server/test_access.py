"""Keys, scopes, rates, hosts and sites, on a real server: who is not let in changes nothing, and is in the log."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from mien.server import access
from mien.server.keys import Keys, server_folder
from mien.server.settings import Limits
from tests.server.attacking import HOPPER, check, first_line, logged, operations
from tests.server.conftest import with_grace

pytestmark = pytest.mark.usefixtures("nothing_changes")


def test_without_a_key_nothing_is_answered(guarded):
    with guarded.client() as client:
        for method, path in operations(guarded):
            if path in {"/healthz", "/readyz"}:
                continue
            answer = client.request(method, path)
            check(answer, 401, code="no-key")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        check(client.get("/v1/there-is-no-such-thing"), 401)
        check(client.post("/v1/analyze", content=HOPPER), 401)
        assert logged(guarded, answer)["code"] == "no-key"
        assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "shown",
    ["mien_" + "A" * 43, "mien_", "admin", "mien_" + "A" * 5000, "é" * 48, "mien_" + "A" * 42 + "é", "null"],
)
def test_a_key_that_is_none_is_refused(guarded, shown):
    with guarded.client() as client:
        answer = client.get("/v1/info", headers={"Authorization": b"Bearer " + shown.encode("latin-1")})
        assert answer.status_code in {400, 401, 429}
        assert set(answer.json()) >= {"code", "detail"}


@pytest.mark.parametrize("header", ["Basic bWllbjptaWVu", "Bearer", "mien_" + "A" * 43])
def test_what_is_no_bearer_is_no_key(guarded, header):
    with guarded.client() as client:
        assert client.get("/v1/info", headers={"Authorization": header}).status_code in {401, 429}


def test_keys_elsewhere_than_in_the_header_count_for_nothing(guarded):
    key = guarded.keys["admin"]
    with guarded.client() as client:
        check(client.get(f"/v1/info?key={key}&access_token={key}", headers={"Cookie": f"key={key}"}), 401)
        check(client.get("/v1/info", headers={"X-API-Key": key}), 401)
    with guarded.client("admin") as client:
        assert client.get("/v1/info").status_code == 200
    assert key not in "".join(map(json.dumps, guarded.lines()))


def test_two_keys_in_one_request_are_refused(guarded):
    headers = [("Authorization", f"Bearer {guarded.keys['admin']}"), ("Authorization", "Bearer mien_x")]
    with guarded.client() as client:
        check(client.get("/v1/info", headers=headers), 400)


def test_a_key_does_no_more_than_it_was_made_for(guarded):
    for name, allowed in (("analyze", "/v1/models"), ("reader", "/v1/info"), ("writer", "/v1/info")):
        with guarded.client(name) as client:
            assert client.get(allowed).status_code == 200
            check(client.get("/metrics"), 403, code="scope")
    with guarded.client("reader") as client:
        answer = client.post("/v1/analyze", content=HOPPER, headers={"content-type": "image/jpeg"})
        check(answer, 403, code="scope")
        assert logged(guarded, answer)["key"] == "reader"
        assert client.post("/v1/identify", content=HOPPER).status_code == 200
        check(client.post("/v1/identify?only=age", content=HOPPER), 403, code="scope")
    with guarded.client("analyze") as client:
        check(client.post("/v1/identify", content=HOPPER), 403, code="scope")
        for method, path in operations(guarded):
            if path.startswith("/v1/gallery"):
                check(client.request(method, path), 403, code="scope")
    with guarded.client("reader") as client:
        for method, path in operations(guarded):
            if path.startswith("/v1/gallery") and method != "GET":
                check(client.request(method, path), 403, code="scope")
    with guarded.client("writer") as client:
        for method, path in operations(guarded):
            if path.startswith("/v1/gallery") and path.endswith(("/undo", "/purge", "/audit", "/export")):
                check(client.request(method, path), 403, code="scope")


def test_a_revoked_key_stops_at_once_and_an_expired_one_with_its_time(guarded, monkeypatch):
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=2)

    kept = Keys(server_folder(guarded.settings.folder))
    short, _ = kept.add("short", ("analyze",), datetime.now(UTC) + timedelta(hours=1))
    text, _ = kept.add("leaver", ("analyze",))
    with guarded.client(text) as client, guarded.client(short) as shorter:
        assert client.get("/v1/info").status_code == shorter.get("/v1/info").status_code == 200
        kept.revoke("leaver")
        check(client.get("/v1/info"), 401, 429)
        monkeypatch.setattr(access, "datetime", Later)
        check(shorter.get("/v1/info"), 401, code="expired-key")
    kept.revoke("short")


def test_guessing_keys_is_slowed_down_and_right_keys_still_get_in(tmp_path, known_people, server_analyzer):
    with with_grace(tmp_path, known_people, server_analyzer, keys=True) as server, server.client() as client:
        server.app.state.gates.wrong_keys.clock = lambda: 0.0  # however long the guesses take
        codes = [
            client.get("/v1/info", headers={"Authorization": f"Bearer mien_{i:043d}"}).json()["code"] for i in range(14)
        ]
        assert codes[:10] == ["bad-key"] * 10
        assert codes[10:] == ["too-many-bad-keys"] * 4
        late = client.get("/v1/info", headers={"Authorization": "Bearer mien_" + "A" * 43})
        assert late.status_code == 429
        assert 1 <= int(late.headers["retry-after"]) <= 60
        assert client.get("/v1/info", headers={"Authorization": f"Bearer {server.keys['admin']}"}).status_code == 200
        assert [line["code"] for line in server.lines("refused")].count("too-many-bad-keys") == 5


def test_whoever_asks_too_often_has_to_wait(tmp_path, known_people, server_analyzer):
    limits = Limits(per_minute=40)  # 10 at once
    with with_grace(tmp_path, known_people, server_analyzer, keys=True, limits=limits) as server:
        server.app.state.gates.rates.clock = lambda: 0.0  # however long the questions take
        with server.client("admin") as client:
            answers = [client.get("/v1/info") for _ in range(14)]
        assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 4
        assert int(answers[-1].headers["retry-after"]) >= 1
        with server.client("reader") as other:
            assert other.get("/v1/info").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("169.254.169.254", 421),
        ("0.0.0.0", 421),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8765", 200),
        ("127.0.0.1@evil.example", 400),
        ("localhost/x", 400),
        ("a b", 400),
        ("localhost:x", 400),
        ("", 400),
        ("\xe9", 400),
    ],
)
def test_only_its_own_names_lead_to_it(server, host, status):
    with server.client() as client:
        answer = client.get("/v1/info", headers={"Host": host.encode("latin-1")})
    assert answer.status_code == status, answer.text
    if status != 200:
        check(answer, status)
        assert logged(server, answer)["status"] == status


def test_two_hosts_or_none_are_refused(server):
    two = server.raw(b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n")
    none = server.raw(b"GET /v1/info HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert first_line(two).startswith(b"HTTP/1.1 400")
    assert first_line(none).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "file://"},
    ],
)
def test_pages_of_other_sites_can_change_and_read_nothing(server, headers):
    with server.client() as client:
        answer = client.post("/v1/analyze", content=HOPPER, headers=headers)
        check(answer, 403, code="other-site")
        assert logged(server, answer)["code"] == "other-site"
        assert not [name for name in answer.headers if name.startswith("access-control")]
        preflight = client.options("/v1/analyze", headers={**headers, "Access-Control-Request-Method": "POST"})
        assert preflight.status_code in {403, 405}
        assert not [name for name in preflight.headers if name.startswith("access-control")]


def test_its_own_page_may_ask(server):
    with server.client() as client:
        answer = client.get("/v1/info", headers={"Origin": server.url, "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/v1/live"])
def test_websockets_of_other_sites_are_refused(server, path):
    import base64

    key = base64.b64encode(bytes(16)).decode()
    answer = server.raw(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nOrigin: https://evil.example\r\n\r\n".encode()
    )
    assert first_line(answer).startswith(b"HTTP/1.1 403")
    [line] = [line for line in server.lines("refused") if line["method"] == "WEBSOCKET"]
    assert line["code"] == "other-site"


def test_a_server_for_one_machine_is_not_put_behind_a_proxy_by_mistake(server):
    with server.client() as client:
        for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
            check(client.get("/v1/info", headers={header: "203.0.113.9"}), 403, code="proxied")


def test_nobody_says_for_themselves_where_they_come_from(guarded):
    with guarded.client() as client:
        answer = client.get("/v1/info", headers={"X-Forwarded-For": "203.0.113.9"})
    assert logged(guarded, answer)["address"] == "127.0.0.1"
