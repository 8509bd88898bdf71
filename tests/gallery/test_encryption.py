"""Encryption of galleries: what is sealed opens only as it was, and every mistake with a key is one line."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys

import keyring
import keyring.backends.fail
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from mien.errors import GalleryKeyError
from mien.gallery.encryption import AesCipher, Key, new_key, read_key

SECRET = bytes(range(32))
CONTEXT = b"gallery 1, vector of face 7"
POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")


@pytest.fixture
def cipher():
    return AesCipher(Key(SECRET))


@pytest.fixture
def keyfile(tmp_path):
    def write(text, mode=0o600):
        path = tmp_path / "key"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return f"file:{path}"

    return write


class Memory(KeyringBackend):
    """A keyring that lasts as long as the test."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.kept = {}
        self.locked = False

    def get_password(self, service, username):
        if self.locked:
            raise KeyringLocked("the collection is\nlocked")
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password


@pytest.fixture
def ring():
    before, made = keyring.get_keyring(), Memory()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


def refused(call, *args):
    with pytest.raises(GalleryKeyError) as caught:
        call(*args)
    line = str(caught.value)
    assert "\n" not in line
    return line


# Sealing


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 512, 100_000])
def test_what_is_sealed_opens(cipher, size):
    plain = os.urandom(size)
    sealed = cipher.seal(plain, CONTEXT)
    assert len(sealed) == size + 29
    assert cipher.open(sealed, CONTEXT) == plain
    assert cipher.open(memoryview(sealed), CONTEXT) == plain
    assert plain not in sealed or size < 3


def test_every_changed_bit_is_noticed(cipher):
    sealed = cipher.seal(b"sixteen bytes or", CONTEXT)
    for position in range(len(sealed)):  # version, nonce, ciphertext, tag
        for bit in range(8):
            changed = bytearray(sealed)
            changed[position] ^= 1 << bit
            with pytest.raises(GalleryKeyError):
                cipher.open(bytes(changed), CONTEXT)


def test_what_is_cut_or_grown_does_not_open(cipher):
    sealed = cipher.seal(b"a vector", CONTEXT)
    for part in [*(sealed[:n] for n in range(len(sealed))), sealed[1:], sealed + b"\0"]:
        refused(cipher.open, part, CONTEXT)
    assert "cut short" in refused(cipher.open, sealed[:28], CONTEXT)


def test_a_moved_value_does_not_open(cipher):
    one, other = (cipher.seal(b"the same", context) for context in (b"face 1", b"face 2"))
    assert cipher.open(one, b"face 1") == cipher.open(other, b"face 2")
    assert "moved" in refused(cipher.open, one, b"face 2")
    assert "moved" in refused(cipher.open, other, b"face 1")
    refused(cipher.open, one, b"")


def test_another_key_does_not_open(cipher):
    sealed = cipher.seal(b"a vector", CONTEXT)
    other = AesCipher(Key(SECRET[::-1]))
    assert other.key_id in refused(other.open, sealed, CONTEXT)


def test_a_later_version_says_so(cipher):
    assert "later mien" in refused(cipher.open, b"\x02" + cipher.seal(b"a vector", CONTEXT)[1:], CONTEXT)


def test_no_nonce_comes_twice(cipher):
    nonces = {cipher.seal(b"", b"")[1:13] for _ in range(20_000)}
    assert len(nonces) == 20_000
    assert len({nonce[:6] for nonce in nonces}) > 19_990  # all of it is drawn, none of it counted


def test_the_format_is_the_documented_one(cipher):
    """Another program opens it with the documented subkey and layout, and with nothing else."""
    sealed = cipher.seal(b"a vector", CONTEXT)
    subkey = Key(SECRET).derive(b"mien gallery: AES-256-GCM", 32)
    assert AESGCM(subkey).decrypt(sealed[1:13], sealed[13:], b"\x01" + CONTEXT) == b"a vector"
    with pytest.raises(InvalidTag):  # the key itself is never used to encrypt
        AESGCM(SECRET).decrypt(sealed[1:13], sealed[13:], b"\x01" + CONTEXT)


def test_the_derivation_stays_what_it_is():
    """Galleries outlive versions of mien: HKDF-SHA256 by the standard library's HMAC gives the same."""
    import hashlib
    import hmac

    def hkdf(info, size):
        extracted = hmac.new(bytes(32), SECRET, hashlib.sha256).digest()
        return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()[:size]

    key = Key(SECRET)
    assert key.id == hkdf(b"mien gallery: key id", 8).hex()
    assert key.derive(b"mien gallery: AES-256-GCM", 32) == hkdf(b"mien gallery: AES-256-GCM", 32)


def test_the_id_gives_nothing_away():
    key = Key(SECRET)
    assert len(key.id) == 16
    assert key.id == Key(SECRET).id != Key(SECRET[::-1]).id
    for text in (key.id, repr(key), str(key)):
        assert SECRET.hex()[:8] not in text
        assert "\\x0" not in text
    assert AesCipher(key).key_id == key.id


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_has_32_bytes(size):
    assert f"has {size}" in refused(Key, bytes(range(size)))


@pytest.mark.parametrize("secret", [bytes(32), b"a" * 32, b"password" * 4, b"0123456789" * 3 + b"00"])
def test_a_key_that_was_typed_is_refused(secret):
    assert "not random" in refused(Key, secret)


# Reading keys


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(SECRET).decode(),
        base64.b64encode(SECRET).decode() + "\r\n",
        base64.b64encode(SECRET).decode().rstrip("="),
        base64.urlsafe_b64encode(SECRET).decode(),
        SECRET.hex(),
        f"  {SECRET.hex().upper()}\n",
    ],
)
def test_the_texts_of_a_key(text, keyfile, monkeypatch):
    monkeypatch.setenv("MIEN_TEST_KEY", text)
    assert read_key(keyfile(text)).secret == read_key("env:MIEN_TEST_KEY").secret == SECRET


def test_both_alphabets_of_base64(keyfile):
    secret = bytes([251, 239, 255, *range(29)])
    plain, url_safe = base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()
    assert plain != url_safe
    assert read_key(keyfile(plain)).secret == read_key(keyfile(url_safe)).secret == secret


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("correct horse battery staple", "is no key"),
        (base64.b64encode(SECRET[:16]).decode(), "16 bytes"),
        (SECRET.hex()[:-2], "bytes where a key has 32"),
        (SECRET.hex()[:-1], "is no key"),
        ("k" * 5000, "too long"),
        (SECRET, "is no key"),
        (b"\xff" * 32, "is no key"),
    ],
)
def test_what_is_no_key(text, said, keyfile):
    line = refused(read_key, keyfile(text))
    assert said in line
    assert line.startswith("file:")
    if isinstance(text, str) and text.strip():
        assert text not in line  # it may be most of a key


@POSIX
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o777])
def test_a_key_that_others_can_use_is_refused(mode, keyfile):
    line = refused(read_key, keyfile(SECRET.hex(), mode))
    assert f"{mode:03o}" in line
    assert "chmod 600" in line


@POSIX
def test_a_key_that_only_its_owner_can_read_is_fine(keyfile):
    assert read_key(keyfile(SECRET.hex(), 0o400)).secret == SECRET


def test_no_such_file(tmp_path):
    assert "no such file" in refused(read_key, f"file:{tmp_path / 'none'}")


def test_a_folder_is_no_key(tmp_path):
    refused(read_key, f"file:{tmp_path}")


@POSIX
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "pipe" in refused(read_key, f"file:{tmp_path / 'pipe'}")


def test_a_home_folder_is_found(tmp_path, monkeypatch, keyfile):
    keyfile(SECRET.hex())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert read_key("file:~/key").secret == SECRET


def test_no_such_variable():
    assert "no such environment variable" in refused(read_key, "env:MIEN_TEST_KEY_THAT_IS_NOT_SET")


@pytest.mark.parametrize("source", ["", SECRET.hex(), "key.txt", "vault:x", "FILE:x", ":x"])
def test_no_such_source(source):
    line = refused(read_key, source)
    assert "file:PATH, env:NAME or keyring:NAME" in line
    assert not source or SECRET.hex() not in line
    refused(new_key, source)


@pytest.mark.parametrize("source", ["file:", "env:", "keyring:", "file:a\0b"])
def test_a_source_without_a_name(source):
    assert "names nothing" in refused(read_key, source)


# Making keys


def test_a_new_key_in_a_file(tmp_path):
    target = f"file:{tmp_path / 'key'}"
    key = new_key(target)
    assert read_key(target) == key
    assert new_key(f"file:{tmp_path / 'other'}") != key
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@POSIX
def test_a_new_key_is_private_under_any_umask(tmp_path):
    before = os.umask(0)
    try:
        new_key(f"file:{tmp_path / 'key'}")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path):
    target = f"file:{tmp_path / 'key'}"
    key = new_key(target)
    assert "never overwritten" in refused(new_key, target)
    assert read_key(target) == key


@POSIX
def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    refused(new_key, f"file:{tmp_path / 'key'}")
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_needs_its_folder(tmp_path):
    assert "cannot be written" in refused(new_key, f"file:{tmp_path / 'none' / 'key'}")


@POSIX
def test_a_full_disk_leaves_no_key(tmp_path):
    """A limit on the size of files stands for the disk: the write fails, and no file stays."""
    program = (
        "import resource, signal, sys\n"
        "from mien.errors import GalleryKeyError\nfrom mien.gallery.encryption import new_key\n"
        "import cryptography.hazmat.primitives.kdf.hkdf\n"
        "sys.dont_write_bytecode = True\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n    new_key('file:' + sys.argv[1])\nexcept GalleryKeyError as error:\n    sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "key"], capture_output=True, check=False)
    assert b"cannot be written" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_new_key_in_the_environment():
    assert "in a file or the keyring" in refused(new_key, "env:MIEN_TEST_KEY")


def test_a_key_in_the_keyring(ring):
    key = new_key("keyring:people")
    assert read_key("keyring:people") == key
    assert list(ring.kept) == [("mien gallery", "people")]
    assert "never overwritten" in refused(new_key, "keyring:people")
    assert read_key("keyring:people") == key
    assert "no such entry" in refused(read_key, "keyring:others")


def test_a_locked_keyring(ring):
    ring.locked = True
    for call in (read_key, new_key):
        assert "locked" in refused(call, "keyring:people")


def test_no_keyring_on_this_system():
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    try:
        for call in (read_key, new_key):
            assert "no keyring" in refused(call, "keyring:people")
    finally:
        keyring.set_keyring(before)


@pytest.mark.parametrize(
    ("library", "call", "said"),
    [
        ("cryptography", "AesCipher(Key(bytes(range(32))))", "pip install 'mien[encrypted]'"),
        ("cryptography", "new_key('file:' + sys.argv[1])", "pip install 'mien[encrypted]'"),
        ("keyring", "read_key('keyring:people')", "pip install 'mien[keyring]'"),
    ],
)
def test_a_missing_library(library, call, said, tmp_path):
    program = (
        f"import sys\nsys.modules[{library!r}] = None\n"
        "from mien.errors import GalleryKeyError\n"
        "from mien.gallery.encryption import AesCipher, Key, new_key, read_key\n"
        f"try:\n    {call}\nexcept GalleryKeyError as error:\n    sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "key"], capture_output=True, check=False)
    assert said in done.stderr.decode()
    assert not (tmp_path / "key").exists()


def test_importing_it_loads_no_library():
    program = (
        "import sys, mien.gallery.encryption\n"
        "sys.exit(not {'cryptography', 'keyring'}.isdisjoint(name.partition('.')[0] for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
