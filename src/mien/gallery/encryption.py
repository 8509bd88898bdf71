"""Encryption of what a gallery keeps of faces: AES-256-GCM (NIST SP 800-38D) under a random key.

A key, not a passphrase: whoever takes a gallery file can try passphrases for as long as they like, and those that
people remember give in. 256 random bits cannot be tried, and a program reads them from a file, a variable or the
system's keyring without anybody there to type.

A sealed value is one byte of version, 12 bytes of nonce, and what AES-GCM gives (the ciphertext and a tag of 16 bytes).
The version and the caller's context are authenticated with it, so that a value moved elsewhere does not open.
Each nonce is random: under one key, seal no more than 2^32 values (SP 800-38D, section 8.3), which is two
billion faces with crops.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mien.errors import GalleryKeyError
from mien.ops.atomic import sync_folder
from mien.ops.files import printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["AesCipher", "Key", "new_key", "read_cipher", "read_key"]

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_OVERHEAD = len(_VERSION) + _NONCE_BYTES + _TAG_BYTES
_LONGEST_TEXT = 4096  # of a key with whatever surrounds it
_FEWEST_VALUES = 12  # of 32 random bytes, fewer different ones come once in 10^24 keys: somebody typed them
_SERVICE = "mien gallery"
_SOURCES = "write file:PATH, env:NAME or keyring:NAME"

T = TypeVar("T")


@dataclass(frozen=True)
class Key:
    """A gallery's key: 32 random bytes, which it never prints.

    Args:
        secret: the bytes.

    Raises:
        GalleryKeyError: not 32 bytes, or bytes that nobody drew at random.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise GalleryKeyError(f"a gallery key has {KEY_BYTES} bytes, this one has {len(self.secret)}")
        if len(set(self.secret)) < _FEWEST_VALUES:
            raise GalleryKeyError("this gallery key is not random, so it protects nothing: make one with mien")

    @cached_property
    def id(self) -> str:
        """16 hex digits that name the key; derived from it one way (HKDF), they do not help to find it.

        Raises:
            GalleryKeyError: the library for it is not installed.
        """
        return self.derive(b"mien gallery: key id", 8).hex()

    def derive(self, purpose: bytes, size: int) -> bytes:
        """Bytes for one purpose, by HKDF-SHA256 (RFC 5869): those of one purpose say nothing about another's.

        Raises:
            GalleryKeyError: the library for it is not installed.
        """
        _need_library()
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(algorithm=SHA256(), length=size, salt=None, info=purpose).derive(self.secret)


class AesCipher:
    """Seals and opens values with AES-256-GCM under a subkey of a key; a `mien.gallery.stores.protocol.Cipher`.

    May be shared by threads.

    Args:
        key: of the gallery.

    Raises:
        GalleryKeyError: the library for it is not installed.
    """

    def __init__(self, key: Key) -> None:
        self._key_id = key.id
        self._aes = _aes(key.derive(b"mien gallery: AES-256-GCM", KEY_BYTES))

    @property
    def key_id(self) -> str:
        """Names the key without giving it away."""
        return self._key_id

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Encrypt and authenticate; 29 bytes longer than what goes in.

        Args:
            plain: any bytes, also none.
            context: where the value belongs; the same is needed to open it.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aes.encrypt(nonce, plain, _VERSION + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt.

        Raises:
            GalleryKeyError: another key, another context, or changed bytes; or a later mien sealed it.
        """
        from cryptography.exceptions import InvalidTag

        sealed = bytes(sealed)
        if len(sealed) < _OVERHEAD:
            raise GalleryKeyError(f"an encrypted value of the gallery is cut short ({len(sealed)} bytes)")
        if sealed[:1] != _VERSION:
            raise GalleryKeyError(
                f"an encrypted value of the gallery has version {sealed[0]}, and this mien opens version {_VERSION[0]}:"
                " a later mien wrote it, or it was changed"
            )
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._aes.decrypt(nonce, body, _VERSION + context)
        except InvalidTag as error:
            raise GalleryKeyError(
                f"an encrypted value of the gallery does not open with key {self._key_id}: it is of another key,"
                " or was changed or moved"
            ) from error


def read_cipher(source: str | None) -> AesCipher | None:
    """The cipher of a key, see `read_key`; None where no key is named.

    Raises:
        GalleryKeyError: as `read_key`.
    """
    return None if source is None else AesCipher(read_key(source))


def read_key(source: str) -> Key:
    """Read a key from where it is kept.

    Args:
        source: "file:PATH" (a file that only its owner may read), "env:NAME" (an environment variable) or
            "keyring:NAME" (the system's keyring); what is kept there is 32 bytes as base64 or 64 hex digits.

    Raises:
        GalleryKeyError: it is not there, is no key, can be read by others, or a library is missing.
    """
    kind, name = _parsed(source)
    read = {"file": _file_text, "env": _environment_text, "keyring": _keyring_text}[kind]
    try:
        return Key(_decoded(read(name)))
    except GalleryKeyError as error:
        raise GalleryKeyError(f"{kind}:{printable(name)}: {error}") from error


def new_key(target: str) -> Key:
    """Draw a key at random and keep it; what is there already stays as it is.

    Have a copy elsewhere: without the key, what it encrypted is lost.

    Args:
        target: "file:PATH", made so that only its owner may read it (on POSIX), or "keyring:NAME".

    Raises:
        GalleryKeyError: something is there already, it cannot be kept there, or a library is missing.
    """
    kind, name = _parsed(target)
    keep = {"file": _write_file, "env": _no_environment, "keyring": _write_keyring}[kind]
    _need_library()  # a key that cannot be used is better not made
    key = Key(secrets.token_bytes(KEY_BYTES))
    try:
        keep(name, base64.b64encode(key.secret).decode())
    except GalleryKeyError as error:
        raise GalleryKeyError(f"{kind}:{printable(name)}: {error}") from error
    return key


def _parsed(source: str) -> tuple[str, str]:
    kind, _, name = source.partition(":")
    # what came without a kind may be the key itself: never repeated in a message
    if kind not in ("file", "env", "keyring"):
        raise GalleryKeyError(f"where is the gallery's key? {_SOURCES}, not the key itself")
    if not name or "\0" in name:
        raise GalleryKeyError(f"{kind}: names nothing; {_SOURCES}")
    return kind, name


def _decoded(text: str) -> bytes:
    """32 bytes from base64 (either alphabet, with or without padding) or hex; what is wrong never quotes the text."""
    plain = "".join(text.split())
    if not plain:
        raise GalleryKeyError("is empty; a key is 32 random bytes as base64 or 64 hex digits")
    if re.fullmatch(r"[0-9A-Fa-f]{64}", plain):
        return bytes.fromhex(plain)
    try:
        url_safe = plain.rstrip("=").replace("+", "-").replace("/", "_")
        data = base64.b64decode(url_safe + "=" * (-len(url_safe) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise GalleryKeyError("is no key: a key is 32 random bytes as base64 or 64 hex digits") from error
    if len(data) != KEY_BYTES:
        raise GalleryKeyError(f"is no key: {len(data)} bytes where a key has {KEY_BYTES}, as base64 or 64 hex digits")
    return data


# Files


def _file_text(name: str) -> str:
    try:
        # not blocking: a pipe would otherwise be waited for, before anybody sees that it is one
        number = os.open(Path(name).expanduser(), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise GalleryKeyError("no such file") from error
    except OSError as error:
        raise GalleryKeyError(f"cannot be read ({_reason(error)})") from error
    try:
        _check_private(os.fstat(number))
        data = os.read(number, _LONGEST_TEXT + 1)
    except OSError as error:
        raise GalleryKeyError(f"cannot be read ({_reason(error)})") from error
    finally:
        os.close(number)
    if len(data) > _LONGEST_TEXT:
        raise GalleryKeyError("is far too long for a key")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise GalleryKeyError("is no key: a key is text, 32 random bytes as base64 or 64 hex digits") from error


def _check_private(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise GalleryKeyError("is a folder, a pipe or a device, not a file with a key")
    if os.name == "posix" and status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise GalleryKeyError(
            f"can be used by others (mode {mode:03o}): chmod 600 it, and change the key if they have it"
        )


def _write_file(name: str, text: str) -> None:
    path = Path(name).expanduser()
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise GalleryKeyError("exists already, and a key is never overwritten; name another file") from error
    except OSError as error:
        raise GalleryKeyError(f"cannot be written ({_reason(error)})") from error
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(number)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise GalleryKeyError(f"cannot be written ({_reason(error)})") from error


def _reason(error: OSError) -> str:
    return str(error.strerror or error).lower()


# Environment


def _environment_text(name: str) -> str:
    if name not in os.environ:
        raise GalleryKeyError("no such environment variable")
    return os.environ[name]


def _no_environment(name: str, text: str) -> None:
    raise GalleryKeyError("a variable lasts no longer than its program; make the key in a file or the keyring")


# Keyring


def _keyring_text(name: str) -> str:
    text = _ask_keyring(lambda keyring: keyring.get_password(_SERVICE, name))
    if text is None:
        raise GalleryKeyError(f"no such entry of {_SERVICE!r} in the keyring")
    return str(text)


def _write_keyring(name: str, text: str) -> None:
    if _ask_keyring(lambda keyring: keyring.get_password(_SERVICE, name)) is not None:
        raise GalleryKeyError("is in the keyring already, and a key is never overwritten; choose another name")
    _ask_keyring(lambda keyring: keyring.set_password(_SERVICE, name, text))
    if _ask_keyring(lambda keyring: keyring.get_password(_SERVICE, name)) != text:
        raise GalleryKeyError("the keyring does not give back what it was given; keep the key in a file")


def _ask_keyring(ask: Callable[[Any], T]) -> T:
    try:
        import keyring
        from keyring.errors import NoKeyringError
    except ImportError as error:
        raise GalleryKeyError("keyring is not installed: pip install 'mien[keyring]'") from error
    try:
        return ask(keyring)
    except NoKeyringError as error:
        raise GalleryKeyError("this system has no keyring that can be used; keep the key in a file") from error
    except Exception as error:  # backends throw whatever their system throws
        said = printable(str(error).strip() or type(error).__name__)
        raise GalleryKeyError(f"the keyring refuses: {said}") from error


# The library


def _need_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise GalleryKeyError("encryption needs a library: pip install 'mien[encrypted]'") from error


def _aes(secret: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(secret)
