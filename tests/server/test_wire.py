"""Attacks on the wire, and what surrounds answers: slow, long and ambiguous requests on a real server."""

import socket
import time

import pytest

from tests.server.attacking import TELLTALE, check, first_line, logged, wait_for
from tests.server.conftest import PATIENCE, with_grace

pytestmark = pytest.mark.usefixtures("nothing_changes")


def test_a_header_that_dribbles_in_ends_the_connection(hasty):
    assert hasty.dribble(b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n") == b""


def test_a_connection_that_says_nothing_is_ended(hasty):
    began = time.monotonic()
    assert hasty.raw() == b""
    assert time.monotonic() - began > 0.5  # but not at once


def test_a_dribbling_header_after_an_answer_ends_the_connection_too(hasty):
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    answer = hasty.dribble(whole + b"\r\n", *[bytes([c]) for c in whole])
    assert answer.count(b"HTTP/1.1") == 1


def test_blank_lines_keep_no_connection_open(hasty):
    assert hasty.dribble(b"\r\n", b"\r\n").count(b"200") == 0


FORM_START = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'


@pytest.mark.parametrize(
    "kind",
    [b"Content-Type: image/jpeg", b"Content-Type: application/json", b"Content-Type: multipart/form-data; boundary=B"],
)
def test_a_body_that_dribbles_in_is_refused(hasty, kind):
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n" + kind + b"\r\nContent-Length: 50000\r\n\r\n"
    head += FORM_START if b"multipart" in kind else b""
    assert first_line(hasty.dribble(head, b"x")) == b"HTTP/1.1 408 Request Timeout"


def test_whoever_hangs_up_in_the_middle_is_no_failure_of_ours(small, caplog):
    before = len(small.lines())
    for kind in (b"image/jpeg", b"application/json", b"multipart/form-data; boundary=B"):
        head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + kind
        with socket.create_connection(("127.0.0.1", small.port)) as connection:
            connection.sendall(head + b"\r\nContent-Length: 1000\r\n\r\n" + FORM_START)
    wait_for(lambda: len(small.lines()) >= before + 3)
    assert [line["status"] for line in small.lines()[before:]] == [499] * 3
    assert not caplog.records


def test_what_is_left_of_a_refused_body_cannot_dribble_in_forever(hasty):
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\n\r\n"
    answer = hasty.dribble(head, b"x", pause=0.05)
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.count(b"HTTP/1.1") == 1


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
    def answers() -> bool:
        ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        return small.raw(ask).startswith(b"HTTP/1.1 200")

    wait_for(answers)
    crowd = [socket.create_connection(("127.0.0.1", small.port), timeout=PATIENCE) for _ in range(26)]
    try:
        assert b"503" in crowd[-1].recv(1000)
    finally:
        for one in crowd:
            one.close()
    wait_for(answers)


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
def test_headers_that_are_too_long(hasty, head):
    answer = hasty.raw(head)
    assert first_line(answer).startswith(b"HTTP/1.1 431") or not answer  # cut off while it was still sending


BODY = b"0\r\n\r\nGET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 6",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: identity, chunked\r\nContent-Length: 3",
        b"Content-Length: 6\r\nContent-Length: 5",
        b"Content-Length: 6\r\nContent-Length: 6",
        b"Content-Length: 6, 6",
        b"Content-Length:\x0b6",
        b"Content-Length : 6",
        b"X: y\nContent-Length: 6",
        b"X: y\r Content-Length: 6",
        b"X\0: y",
        b"X: a\0b",
        b" X: y",
        b"X y",
        b": y",
        b"X: a\r\n folded",
    ],
)
def test_requests_that_two_servers_would_read_differently(hasty, head):
    answer = hasty.raw(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n" + BODY)
    assert answer.count(b"HTTP/1.1") == 1, answer
    assert first_line(answer).split()[1] in {b"400", b"422", b"431"}, answer
    assert b'"version"' not in answer


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"G\0T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" * 5000,
    ],
    ids=["tls", "short", "nul", "9.9", "h2", "connect", "absolute", "star", "bytes", "trace", "foo", "noise"],
)
def test_what_is_no_request_for_it(hasty, request_):
    answer = hasty.raw(request_)
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


def test_every_answer_is_strict_and_says_nothing_of_the_server(server):
    with server.client() as client:
        for answer in (
            client.get("/healthz"),
            client.get("/nothing"),
            client.post("/v1/analyze", content=b"x"),
            client.get("/web/nothing"),
            client.get("/v1/info", headers={"Host": "evil"}),
        ):
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
