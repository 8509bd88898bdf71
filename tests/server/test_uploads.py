"""Bodies on a real server: bombs, forms, poisoned JSON, paths, addresses; all refused, nothing changed, all logged."""

import io
import socket
import struct
import time
import zipfile
import zlib

import pytest

from mien.server.bodies import strict_json
from mien.server.problems import Problem
from tests.server.attacking import HOPPER, TELLTALE, check, first_line, logged, operations, wait_for
from tests.server.conftest import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_changes")


@pytest.mark.parametrize(
    "payload",
    [
        "../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%5c..%5cetc%5cpasswd",
        "%252e%252e%252fetc%252fpasswd",
        "%00",
        "..%00.jpg",
        "....//....//etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "file:%2f%2f%2fetc%2fpasswd",
        "%c0%ae%c0%ae/etc/passwd",
        "C:%5cWindows%5cwin.ini",
        "%ff%fe",
    ],
)
def test_paths_lead_nowhere_else(server, payload):
    places = {f"/web/{payload}", f"/{payload}", f"/v1/{payload}"} | {
        path for _, path in operations(server, payload) if payload in path
    }
    for place in sorted(places):
        answer = server.raw(f"GET {place} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert first_line(answer).split()[1][:1] == b"4", (place, answer)
        assert not [word for word in TELLTALE if word in answer], answer


def test_names_of_uploads_are_names_only(server):
    with server.client() as client:
        for name in ("../../../etc/cron.d/x", "..\\..\\x.jpg", "a\u202egpj.exe", "x" * 3000, "C:\\x\\y.jpg"):
            answer = client.post("/v1/analyze?only=detect", files={"image": (name, HOPPER)})
            told = answer.json()["image"]["path"]
            assert not set(told) & set("/\\\u202e\n\r\x00"), told
            assert len(told) <= 120


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
    [
        (png(60_000, 60_000), "picture-too-large"),
        (png(2**31 - 1, 2**31 - 1), None),
        (bomb(), "not-a-picture"),
        (b"", "empty"),
        (b"\xff\xd8\xff", None),
        (HOPPER[:2000], None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"GIF89a" + bytes(20), None),
        (b"http://169.254.169.254/latest/meta-data/", "not-a-picture"),
        (b"file:///etc/passwd", "not-a-picture"),
        (b"/etc/passwd", "not-a-picture"),
        (bytes(100_000), "not-a-picture"),
    ],
    ids=["pixels", "endless", "zip", "empty", "start", "cut", "svg", "gif", "url", "file-url", "path", "zeros"],
)
def test_bombs_and_addresses_are_no_pictures(small, data, code):
    with small.client() as client:
        began = time.process_time()  # of the server, too, which is in this process
        answer = client.post("/v1/analyze", content=data, headers={"content-type": "image/png"})
        check(answer, 413, 422, code=code)
        assert time.process_time() - began < 5
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
        for how in (
            {"json": {"image": url, "url": url}},
            {"data": {"image": url}},
            {"content": url},
            {"files": {"image": (url, url.encode())}},
            {"files": {"a": (None, url), "b": (None, url)}},
        ):
            for path in ("/v1/analyze", "/v1/verify", "/v1/identify"):
                check(client.post(path, params={"url": url, "image": url}, **how), 422)
        with pytest.raises(TimeoutError):
            trap.accept()


def test_what_says_that_it_is_too_large_is_not_read(small):
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 300001\r\n\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=PATIENCE) as connection:
        connection.sendall(head)  # and not a byte more
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")  # and not 408: nothing was waited for


@pytest.mark.parametrize("length", [b"-1", b"1e9", b"99999999999999999999999", b"0x10", b"+5", b"5, 5", b"\xb2"])
def test_lengths_that_are_none_are_refused(hasty, length):
    answer = hasty.raw(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + b"\r\n\r\nxxxxx")
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
    ids=[
        "part",
        "parts",
        "fields",
        "field",
        "header",
        "headers",
        "nameless",
        "undisposed",
        "long-name",
        "endless",
        "cut",
        "empty",
        "no-form",
        "utf-8",
        "nul",
    ],
)
def test_forms_that_bring_too_much_or_make_no_sense(small, body, statuses):
    with small.client() as client:
        answer = client.post("/v1/analyze", content=body, headers=FORM)
        check(answer, *statuses)
        assert logged(small, answer)["key"] == "local"


def test_a_part_that_is_too_large_is_refused_before_all_of_it_has_come(small):
    body = form((IMAGE, bytes(800_000)))
    head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['content-type']}\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=PATIENCE) as connection:
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


def test_uploads_of_all_together_are_bounded_and_given_back(hasty):
    gates = hasty.app.state.gates
    body = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 290000\r\n\r\n"
    stuck = []
    try:
        for _ in range(8):
            stuck.append(socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE))
            stuck[-1].sendall(body + bytes(280_000))
        statuses = [one.recv(100).split(b" ")[1] for one in stuck]  # 429 for what is too much, 408 for the others
        assert {b"429", b"408"} == set(statuses)
    finally:
        for one in stuck:
            one.close()
    wait_for(lambda: gates.in_flight.held == 0)


def test_what_follows_the_last_part_of_a_form_is_not_held_against_others(small):
    gates = small.app.state.gates
    body = form((b'Content-Disposition: form-data; name="video"; filename="a.mp4"', bytes(1000)))
    head = f"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['content-type']}\r\n"
    head += "Content-Length: 900000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=5) as connection:
        connection.sendall(head.encode() + body + bytes(500_000))
        wait_for(lambda: 0 < gates.in_flight.held <= 1000)  # of half a megabyte, what belongs into the file
    wait_for(lambda: gates.in_flight.held == 0)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 18446744073709551616000}',
        nested(20),
        nested(30_000),
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": "\xff"}',
        b'{"a": "\\u0000"}',
        b'{"\\u0000": 1}',
        b'{"a": "\\ud800"}',
        b"{",
        b"\xef\xbb\xbf{}",
        b"'a'",
        b'{"a": 1} {"b": 2}',
        b'\x00{"a": 1}',
        b'{"a": 01}',
        b"{a: 1}",
        b'{"a": 1,}',
        b'{"a": "' + b"x" * 70_000 + b'"}',
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_json_that_can_be_read_in_two_ways_or_none(small, body):
    with small.client() as client:
        for method, path in [("POST", "/v1/analyze"), *operations(small)]:
            if method in {"POST", "PATCH", "PUT"}:
                answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
                told = check(answer, 413 if len(body) > 64_000 else 422)
                assert told["code"] == ("too-large" if len(body) > 64_000 else "invalid-json")
        assert logged(small, answer)["status"] == answer.status_code


@pytest.mark.parametrize(
    "body",
    [b'"' + b'\\"' * 31_000, b'["' * 30_000, b'"' + b"\\" * 60_000, b'{"a":' * 12_000, b'"\\u' * 15_000, b"1" * 60_000],
    ids=["escapes", "opened", "backslashes", "objects", "half-escapes", "digits"],
)
def test_no_json_takes_long_to_refuse(body):
    began = time.process_time()
    with pytest.raises(Problem):
        strict_json(body)
    assert time.process_time() - began < 0.2


def test_brackets_in_strings_are_no_depth():
    assert strict_json(b'{"a": "[[[[[[[[[[[[[[[[[[\\"[[[[[[[["}') == {"a": "[" * 18 + '"' + "[" * 8}


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"1", b'"x"', b"true", b"{}", b'{"name": {"$ne": null}}', b'{"name": 1}']
)
def test_json_of_another_kind_is_refused_by_every_route(small, body):
    with small.client() as client:
        for method, path in operations(small, "0" * 32):
            if method in {"POST", "PATCH", "PUT"} and not path.endswith(("/undo", "/purge", "/videos")):
                answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
                check(answer, 404, 409, 415, 422)
