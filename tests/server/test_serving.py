"""How a server is run: when it asks for keys, by which names it goes, HTTPS, and live frames behind keys."""

import json
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mien.errors import ServerError
from mien.server.gates import Gates
from mien.server.headers import host_name, own_names
from mien.server.keys import Keys, server_folder
from mien.server.serving import listen, server_of
from mien.server.settings import Settings
from tests.server.conftest import PATIENCE, running, trusting


@pytest.mark.parametrize(
    ("how", "needed"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "::1"}, False),
        ({"host": "127.0.0.2"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "192.0.2.1"}, True),
        ({"host": "faces.example"}, True),
        ({"hosts": ("faces.example",)}, True),
        ({"proxies": ("127.0.0.1",)}, True),
        ({"keys": True}, True),
        ({"host": "0.0.0.0", "keyless": True}, False),
    ],
)
def test_keys_are_needed_as_soon_as_others_can_reach_it(tmp_path, how, needed):
    settings = Settings(folder=tmp_path, **how)
    assert settings.needs_keys is needed
    if not needed:
        Gates(settings)
        return
    with pytest.raises(ServerError, match="it needs keys"):
        Gates(settings)
    Keys(server_folder(tmp_path)).add("door", ("analyze",))
    Gates(settings)


def test_its_names_are_its_own():
    assert own_names(Settings()) == {"localhost", "127.0.0.1", "::1"}
    assert "faces.example" in own_names(Settings(host="0.0.0.0", hosts=("Faces.Example",)))
    assert host_name("Faces.Example.:443") == "faces.example"
    assert host_name("[::1]:80") == "::1"
    for wrong in ("", "a b", "a/b", "a:b", "a@b", "[::1", "a?b", "\u0430"):
        assert host_name(wrong) is None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mien")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return folder / "cert.pem", folder / "key.pem"


def test_it_speaks_https(tmp_path, server_analyzer, certificate):
    settings = Settings(port=0, workers=1, folder=tmp_path)
    with running(settings, server_analyzer, tls=certificate) as server:
        with server.client(verify=trusting(certificate[0])) as client:
            answer = client.get("/v1/info")
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"http://127.0.0.1:{server.port}/healthz", trust_env=False)


def test_a_certificate_without_its_key_is_refused(tmp_path, certificate):
    (tmp_path / "other.pem").write_text("no key")
    for how, told in (
        ({"certificate": certificate[0]}, "both"),
        ({"certificate": certificate[0], "key": tmp_path / "missing.pem"}, "cannot be read"),
        ({"certificate": certificate[0], "key": tmp_path / "other.pem"}, "no certificate with its key"),
    ):
        with pytest.raises(ServerError, match=told):
            server_of(None, Settings(), **how)


def test_an_address_that_is_taken_or_not_ours(tmp_path):
    with listen(Settings(port=0)) as taken, pytest.raises(ServerError, match="choose another with --port"):
        listen(Settings(port=taken.getsockname()[1]))
    with pytest.raises(ServerError, match="cannot listen there"):
        listen(Settings(host="192.0.2.1", port=0))


def test_the_body_of_an_answer_does_not_wait_for_the_receipt_of_its_header():
    with listen(Settings(port=0)) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("name", [None, "mien_" + "A" * 43, "reader"])
def test_live_frames_need_a_key_that_may(guarded, name):
    with connect(f"ws://127.0.0.1:{guarded.port}/v1/live", proxy=None, open_timeout=PATIENCE) as stream:
        stream.send(json.dumps({"key": guarded.keys.get(name, name)} if name else {}))
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(timeout=PATIENCE)
    assert closed.value.rcvd.code == 1008
    [*_, line] = [line for line in guarded.lines() if line["method"] == "WEBSOCKET"]
    assert (line["status"], line["event"]) == (403, "refused")
    assert line.get("key") == ("reader" if name == "reader" else None)


def test_live_frames_with_a_key_of_the_first_message_or_the_header(guarded):
    address, key = f"ws://127.0.0.1:{guarded.port}/v1/live", guarded.keys["analyze"]
    for headers, hello in (({}, {"key": key}), ({"Authorization": f"Bearer {key}"}, {})):
        with connect(address, proxy=None, additional_headers=headers, open_timeout=PATIENCE) as stream:
            stream.send(json.dumps({**hello, "only": ["detect"]}))
            assert json.loads(stream.recv(timeout=PATIENCE)) == {"type": "ready"}
