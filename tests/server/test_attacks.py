"""Attacks on a real server: all refused, nothing changed, all logged, and no answer tells more than it should."""

import io
import json
import socket
import struct
import time
import zipfile
import zlib

import pytest

from mien.server.settings import Limits
from tests.conftest import PHOTOS
from tests.server.conftest import with_grace

HOPPER = (PHOTOS / "grace_hopper.jpg").read_bytes()
SMALL = Limits(
    picture_bytes=300_000, picture_pixels=2_000_000, pictures=3, video_bytes=1_000_000, upload_seconds=1.0, queue=4,
    queue_bytes=2_000_000, connections=24, per_minute=0,
)  # fmt: skip
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


@pytest.fixture(scope="module")
def small(tmp_path_factory, known_people, server_analyzer):
    """A server that gives little, and waits no longer than a second."""
    with with_grace(tmp_path_factory.mktemp("small"), known_people, server_analyzer, limits=SMALL) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_changes(request):
    """Whatever a test of this file does: the gallery is the same before and after it."""
    servers = [request.getfixturevalue(name) for name in ("small", "guarded", "server") if name in request.fixturenames]
    before = [one.people() for one in servers]
    yield
    assert [one.people() for one in servers] == before


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


# keys


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
    with guarded.client("analyze") as client:
        check(client.post("/v1/identify", content=HOPPER), 403, code="scope")
        for method, path in operations(guarded):
            if path.startswith("/v1/gallery"):
                check(client.request(method, path), 403, code="scope")
    with guarded.client("reader") as client:
        for method, path in operations(guarded):
            if path.startswith("/v1/gallery") and method != "GET":
                check(client.request(method, path), 403, code="scope")


def test_a_revoked_key_stops_at_once_and_an_expired_one_with_its_time(guarded):
    from datetime import UTC, datetime, timedelta

    from mien.server.keys import Keys, server_folder

    kept = Keys(server_folder(guarded.settings.folder))
    soon = datetime.now(UTC) + timedelta(seconds=1.2)
    short, _ = kept.add("short", ("analyze",), soon)
    text, _ = kept.add("leaver", ("analyze",))
    with guarded.client(text) as client, guarded.client(short) as shorter:
        assert client.get("/v1/info").status_code == 200
        kept.revoke("leaver")
        check(client.get("/v1/info"), 401, 429)
        time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()) + 0.05)
        check(shorter.get("/v1/info"), 401, code="expired-key")
    kept.revoke("short")


def test_guessing_keys_is_slowed_down_and_right_keys_still_get_in(tmp_path, known_people, server_analyzer):
    with with_grace(tmp_path, known_people, server_analyzer, keys=True) as server, server.client() as client:
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
        with server.client("admin") as client:
            answers = [client.get("/v1/info") for _ in range(14)]
        assert [answer.status_code for answer in answers[:10]] == [200] * 10
        assert 429 in {answer.status_code for answer in answers}
        assert int(answers[-1].headers["retry-after"]) >= 1
        with server.client("reader") as other:
            assert other.get("/v1/info").status_code == 200


# hosts and sites


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 421), ("127.0.0.1.evil.example", 421), ("169.254.169.254", 421), ("0.0.0.0", 421), ("localhost", 200),
     ("LOCALHOST:1", 200), ("[::1]:8765", 200), ("127.0.0.1@evil.example", 400), ("localhost/x", 400), ("a b", 400),
     ("localhost:x", 400), ("", 400), ("\xe9", 400)],
)  # fmt: skip
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
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"}, {"Origin": ""},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://127.0.0.1.evil.example"},
     {"Origin": "file://"}],
)  # fmt: skip
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


# paths


@pytest.mark.parametrize(
    "payload",
    ["../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%5c..%5cetc%5cpasswd",
     "%252e%252e%252fetc%252fpasswd", "%00", "..%00.jpg", "....//....//etc/passwd", "/etc/passwd", "//etc/passwd",
     "file:%2f%2f%2fetc%2fpasswd", "%c0%ae%c0%ae/etc/passwd", "C:%5cWindows%5cwin.ini", "%ff%fe"],
)  # fmt: skip
def test_paths_lead_nowhere_else(server, payload):
    places = {f"/web/{payload}", f"/{payload}", f"/v1/{payload}"} | {
        path for _, path in operations(server, payload) if payload in path
    }
    for place in sorted(places):
        answer = server.raw(f"GET {place} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(), wait=5.0)
        assert first_line(answer).split()[1][:1] == b"4", (place, answer)
        assert not [word for word in TELLTALE if word in answer], answer


def test_names_of_uploads_are_names_only(server):
    with server.client() as client:
        for name in ("../../../etc/cron.d/x", "..\\..\\x.jpg", "a\u202egpj.exe", "x" * 3000, "C:\\x\\y.jpg"):
            answer = client.post("/v1/analyze?only=detect", files={"image": (name, HOPPER)})
            told = answer.json()["image"]["path"]
            assert not set(told) & set("/\\\u202e\n\r\x00"), told
            assert len(told) <= 120


# pictures


def png(width: int, height: int) -> bytes:
    """A picture of any size, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """10 MB of zeros in 10 kB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.jpg", bytes(10_000_000))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "code"),
    [(png(60_000, 60_000), "picture-too-large"), (png(2**31 - 1, 2**31 - 1), None), (bomb(), "not-a-picture"),
     (b"", "empty"), (b"\xff\xd8\xff", None), (HOPPER[:2000], None), (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
     (b"GIF89a" + bytes(20), None), (b"http://169.254.169.254/latest/meta-data/", "not-a-picture"),
     (b"file:///etc/passwd", "not-a-picture"), (b"/etc/passwd", "not-a-picture"), (bytes(100_000), "not-a-picture")],
    ids=["pixels", "endless", "zip", "empty", "start", "cut", "svg", "gif", "url", "file-url", "path", "zeros"],
)  # fmt: skip
def test_bombs_and_addresses_are_no_pictures(small, data, code):
    with small.client() as client:
        began = time.monotonic()
        answer = client.post("/v1/analyze", content=data, headers={"content-type": "image/png"})
        check(answer, 413, 422, code=code)
        assert time.monotonic() - began < 5
        assert logged(small, answer)["route"] == "/v1/analyze"
        check(client.post("/v1/verify", files={"a": ("a.png", data), "b": ("b.jpg", HOPPER)}), 413, 422)


def test_packed_bodies_are_not_unpacked(small):
    body = zlib.compress(bytes(10_000_000))
    with small.client() as client:
        check(client.post("/v1/analyze", content=body, headers={"Content-Encoding": "deflate"}), 415, code="packed")


def test_the_server_fetches_nothing_that_a_request_names(small):
    with socket.create_server(("127.0.0.1", 0)) as trap, small.client() as client:
        trap.settimeout(0.3)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/picture.jpg"
        for how in ({"json": {"image": url, "url": url}}, {"data": {"image": url}}, {"content": url},
                    {"files": {"image": (url, url.encode())}}, {"files": {"a": (None, url), "b": (None, url)}}):  # fmt: skip
            for path in ("/v1/analyze", "/v1/verify", "/v1/identify"):
                check(client.post(path, params={"url": url, "image": url}, **how), 422)
        with pytest.raises(TimeoutError):
            trap.accept()


# sizes


def test_what_says_that_it_is_too_large_is_not_read(small):
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 300001\r\n\r\n"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", small.port), timeout=5) as connection:
        connection.sendall(head)  # and not a byte more
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("length", [b"-1", b"1e9", b"99999999999999999999999", b"0x10", b"+5", b"5, 5", b"\xb2"])
def test_lengths_that_are_none_are_refused(small, length):
    answer = small.raw(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + b"\r\n\r\nxxxxx")
    assert first_line(answer).split()[1] in {b"400", b"413"}


def test_a_stream_without_a_length_is_cut_off(small):
    def endless():
        for _ in range(200):
            yield bytes(64_000)

    with small.client() as client:
        check(client.post("/v1/analyze", content=endless()), 413, code="too-large")


def form(*parts: tuple[bytes, bytes], end: bytes = b"--B--\r\n") -> bytes:
    return b"".join(b"--B\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + end


IMAGE = b'Content-Disposition: form-data; name="image"; filename="a.jpg"'
FORM = {"content-type": "multipart/form-data; boundary=B"}


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (form((IMAGE, bytes(300_001))), {413}),
        (form(*[(IMAGE, b"x")] * 4), {413}),
        (form(*[(b'Content-Disposition: form-data; name="f%d"' % i, b"x") for i in range(40)]), {413}),
        (form((b'Content-Disposition: form-data; name="note"', b"x" * 20_000)), {413}),
        (form((IMAGE + b"\r\nX: " + b"y" * 20_000, b"x")), {413, 422}),
        (form((IMAGE + b"\r\nX: y" * 2000, b"x")), {413, 422}),
        (form((b"Content-Disposition: form-data", b"x")), {422}),
        (form((b"Content-Type: image/jpeg", b"x")), {422}),
        (form((b'Content-Disposition: form-data; name="' + b"n" * 500 + b'"', b"x")), {422}),
        (form((IMAGE, HOPPER), end=b""), {422}),
        (form((IMAGE, HOPPER))[:30_000], {422}),
        (b"", {422}),
        (b"no form at all", {422}),
        (form((b'Content-Disposition: form-data; name="note"', b"\xff\xfe")), {422}),
        (form((b'Content-Disposition: form-data; name="note"', b"a\0b")), {422}),
    ],
    ids=["part", "parts", "fields", "field", "header", "headers", "nameless", "undisposed", "long-name", "endless", "cut",
         "empty", "no-form", "utf-8", "nul"],
)  # fmt: skip
def test_forms_that_bring_too_much_or_make_no_sense(small, body, statuses):
    with small.client() as client:
        answer = client.post("/v1/analyze", content=body, headers=FORM)
        check(answer, *statuses)
        assert logged(small, answer)["key"] == "local"


def test_a_part_that_is_too_large_is_refused_before_all_of_it_has_come(small):
    body = form((IMAGE, bytes(800_000)))
    head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['content-type']}\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=5) as connection:
        connection.sendall(head.encode() + body[:330_000])  # and no more
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 500}"]
)
def test_forms_without_a_usable_boundary(small, kind):
    with small.client() as client:
        check(
            client.post("/v1/analyze", content=form((IMAGE, HOPPER)), headers={"content-type": kind}), 422, code="form"
        )


def test_uploads_of_all_together_are_bounded_and_given_back(small):
    gates = small.app.state.gates
    body = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 290000\r\n\r\n"
    stuck = []
    try:
        for _ in range(8):
            stuck.append(socket.create_connection(("127.0.0.1", small.port), timeout=5))
            stuck[-1].sendall(body + bytes(280_000))
        statuses = [one.recv(100).split(b" ")[1] for one in stuck]  # 429 for what is too much, 408 for the others
        assert {b"429", b"408"} == set(statuses)
    finally:
        for one in stuck:
            one.close()
    wait_for(lambda: gates.in_flight.held == 0)


def wait_for(true, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


# JSON


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "body",
    [b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": ' + b"9" * 5000 + b"}",
     b'{"a": 18446744073709551616000}', nested(20), nested(30_000), b'{"a": 1, "a": 2}', b'{"a": {"b": 1, "b": 2}}',
     b'{"a": "\xff"}', b'{"a": "\\u0000"}', b'{"\\u0000": 1}', b'{"a": "\\ud800"}', b"{", b"\xef\xbb\xbf{}", b"'a'",
     b'{"a": 1} {"b": 2}', b'\x00{"a": 1}', b'{"a": 01}', b"{a: 1}", b'{"a": 1,}', b'{"a": "' + b"x" * 70_000 + b'"}'],
    ids=lambda body: body[:20].decode("latin-1"),
)  # fmt: skip
def test_json_that_can_be_read_in_two_ways_or_none(small, body):
    with small.client() as client:
        for method, path in [("POST", "/v1/analyze"), *operations(small)]:
            if method in {"POST", "PATCH", "PUT"}:
                answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
                told = check(answer, 413 if len(body) > 64_000 else 422)
                assert told["code"] == ("too-large" if len(body) > 64_000 else "invalid-json")
        assert logged(small, answer)["status"] == answer.status_code


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"1", b'"x"', b"true", b"{}", b'{"name": {"$ne": null}}', b'{"name": 1}']
)
def test_json_of_another_kind_is_refused_by_every_route(small, body):
    with small.client() as client:
        for method, path in operations(small, "0" * 32):
            if (
                method in {"POST", "PATCH", "PUT"}
                and path.count("/") < 9
                and "/undo" not in path
                and "/purge" not in path
            ):
                answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
                check(answer, 404, 409, 415, 422)


# the wire


def test_a_header_that_dribbles_in_ends_the_connection(small):
    began = time.monotonic()
    answer = small.raw(b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\n", *[b"X: y\r\n"] * 40, pause=0.1, wait=3.0)
    assert not answer
    assert time.monotonic() - began < 6


def test_a_connection_that_says_nothing_is_ended(small):
    began = time.monotonic()
    assert small.raw(b"", wait=5.0) == b""
    assert 0.5 < time.monotonic() - began < 4


def test_a_dribbling_header_after_an_answer_ends_the_connection_too(small):
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    began = time.monotonic()
    answer = small.raw(whole, *[b"G", b"E", b"T", b" "] * 10, pause=0.1, wait=3.0)
    assert answer.count(b"HTTP/1.1") == 1
    assert time.monotonic() - began < 6


def test_blank_lines_keep_no_connection_open(small):
    began = time.monotonic()
    assert small.raw(*[b"\r\n"] * 40, pause=0.1, wait=3.0).count(b"200") == 0
    assert time.monotonic() - began < 6


@pytest.mark.parametrize(
    "kind",
    [b"Content-Type: image/jpeg", b"Content-Type: application/json", b"Content-Type: multipart/form-data; boundary=B"],
)
def test_a_body_that_dribbles_in_is_refused(small, kind):
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n" + kind + b"\r\nContent-Length: 50000\r\n\r\n"
    began = time.monotonic()
    answer = small.raw(head, *[b"x"] * 20, pause=0.1, wait=3.0)
    assert first_line(answer) == b"HTTP/1.1 408 Request Timeout"
    assert time.monotonic() - began < 6


def test_what_is_left_of_a_refused_body_cannot_dribble_in_forever(small):
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\n\r\n"
    began = time.monotonic()
    answer = small.raw(head, *[b"x"] * 60, pause=0.05, wait=3.0)
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.count(b"HTTP/1.1") == 1
    assert time.monotonic() - began < 6


def test_slow_connections_do_not_keep_others_out(small):
    lorises = [socket.create_connection(("127.0.0.1", small.port)) for _ in range(20)]
    try:
        for loris in lorises:
            loris.sendall(b"GET / HTTP/1.1\r\nX-a: ")
        with small.client() as client:
            assert client.get("/healthz").status_code == 200
    finally:
        for loris in lorises:
            loris.close()


def test_more_connections_than_it_takes_are_told_so(small):
    wait_for(
        lambda: small.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        )
    )
    crowd = [socket.create_connection(("127.0.0.1", small.port), timeout=5) for _ in range(26)]
    try:
        assert b"503" in crowd[-1].recv(1000)
    finally:
        for one in crowd:
            one.close()
    wait_for(
        lambda: small.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        )
    )


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 17_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"y" * 40_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 2_000_000,
    ],
    ids=["address", "value", "many", "name", "endless"],
)
def test_headers_that_are_too_long(small, head):
    answer = small.raw(head, wait=3.0)
    assert first_line(answer).startswith(b"HTTP/1.1 431") or not answer  # cut off while it was still sending


BODY = b"0\r\n\r\nGET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 6\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 6",
     b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: xchunked", b"Transfer-Encoding : chunked",
     b"Transfer-Encoding: identity, chunked\r\nContent-Length: 3", b"Content-Length: 6\r\nContent-Length: 5",
     b"Content-Length: 6\r\nContent-Length: 6", b"Content-Length: 6, 6", b"Content-Length:\x0b6", b"Content-Length : 6",
     b"X: y\nContent-Length: 6", b"X: y\r Content-Length: 6", b"X\0: y", b"X: a\0b", b" X: y", b"X y", b": y",
     b"X: a\r\n folded"],
)  # fmt: skip
def test_requests_that_two_servers_would_read_differently(small, head):
    answer = small.raw(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n" + BODY, wait=3.0)
    assert answer.count(b"HTTP/1.1") == 1, answer
    assert first_line(answer).split()[1] in {b"400", b"422", b"431"}, answer
    assert b'"version"' not in answer


@pytest.mark.parametrize(
    "request_",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"G\0T / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
     b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
     b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
     b"FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\xff" * 5000],
    ids=["tls", "short", "nul", "9.9", "h2", "connect", "absolute", "star", "bytes", "trace", "foo", "noise"],
)  # fmt: skip
def test_what_is_no_request_for_it(small, request_):
    answer = small.raw(request_, wait=2.0)
    assert first_line(answer).split()[1] in {b"400", b"403", b"404", b"405", b"421", b"431"}, answer
    assert not [word for word in TELLTALE if word in answer]


def test_answers_take_no_headers_from_requests(small):
    with small.client() as client:
        for value in ("x%0d%0aSet-Cookie:%20a=b", "x%0aX-Injected:%201"):
            answer = client.get(f"/v1/{value}")
            assert "set-cookie" not in answer.headers
            assert "x-injected" not in answer.headers
        answer = client.get("/v1/info", headers={"X-Request-ID": "mine"})
        assert answer.headers["x-request-id"] != "mine"


def test_lines_of_the_log_are_one_each_whatever_was_asked(small):
    with small.client() as client:
        client.get('/v1/"}%0a{"event":"done","key":"admin"}')
        client.get("/v1/info", headers={"User-Agent": '"}\t{"event": "x'})
    lines = small.lines()
    assert all(line["event"] in {"begin", "done", "refused"} for line in lines)
    assert {line["key"] for line in lines if "key" in line} <= {"local"}


# all answers


def test_every_answer_is_strict_and_says_nothing_of_the_server(server):
    with server.client() as client:
        for answer in (client.get("/healthz"), client.get("/nothing"), client.post("/v1/analyze", content=b"x"),
                       client.get("/web/nothing"), client.get("/v1/info", headers={"Host": "evil"})):  # fmt: skip
            headers = answer.headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["permissions-policy"].startswith("camera=(self)")
            assert headers["cache-control"] in {"no-store", "no-cache"}
            assert len(headers["x-request-id"]) == 16
            assert not {"server", "x-powered-by", "access-control-allow-origin", "set-cookie"} & set(headers)


def test_a_failure_of_ours_is_one_line(tmp_path, known_people, server_analyzer, caplog):
    with with_grace(tmp_path, known_people, server_analyzer) as server, server.client() as client:

        @server.app.get("/v1/broken")
        async def broken():
            raise RuntimeError("secret /tmp/path")

        answer = client.get("/v1/broken")
    check(answer, 500, code="internal")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert logged(server, answer)["status"] == 500
    assert "secret" in caplog.text
