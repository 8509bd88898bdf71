"""API keys: who may ask for what. A file of hashes that only its owner may read; a key itself is shown once.

A key is 32 random bytes, so a plain SHA-256 keeps it: slow hashes are there for secrets that can be guessed, and 2^256
cannot be tried, however fast one try is. A slow hash would only let strangers use up our processor.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock, Timeout

from mien.errors import MienError, ServerError
from mien.liveness.lockout import state_folder
from mien.ops.atomic import write_whole

Scope = Literal["analyze", "gallery:read", "gallery:write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""`gallery:write` includes `gallery:read`, and `admin` includes all."""
PREFIX = "mien_"
_BYTES = 32
_SHAPE = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_FORMAT = "mien keys 1"
_LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Key:
    """What is kept of a key.

    Attributes:
        id: random; what belongs to a key belongs to this, not to its name.
        name: of whoever has it.
        hash: SHA-256 of the key, in hex.
        scopes: what it was made for.
        created: when, in UTC.
        expires: from when on it is refused, in UTC; None: never.
    """

    id: str
    name: str
    hash: str
    scopes: tuple[Scope, ...]
    created: datetime
    expires: datetime | None = None

    @property
    def allowed(self) -> frozenset[Scope]:
        """What it may do: its scopes, and those that they include."""
        return including(self.scopes)

    def valid(self, at: datetime) -> bool:
        """Whether it has not expired by then."""
        return self.expires is None or at < self.expires

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the hash."""
        told = {"id": self.id, "name": self.name, "scopes": list(self.scopes), "created": self.created.isoformat()}
        return told | ({"expires": self.expires.isoformat()} if self.expires else {})


def including(scopes: tuple[Scope, ...]) -> frozenset[Scope]:
    """Scopes, and those that they include."""
    if "admin" in scopes:
        return frozenset(SCOPES)
    return frozenset(scopes) | ({"gallery:read"} if "gallery:write" in scopes else set())


def server_folder(folder: Path | None) -> Path:
    """Where keys and audit lines are.

    Args:
        folder: see `Settings.folder`.
    """
    return (folder or state_folder()) / "server"


class Keys:
    """The keys of a server; what other processes change is seen at once.

    Args:
        folder: see `server_folder`; made when a first key is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path, self._used_path = folder / "keys.json", folder / "keys-used.json"
        self._stamp: tuple[int, ...] | None = None
        self._kept: tuple[Key, ...] = ()
        self._seen: dict[str, str] = {}  # id: the day on which this process has noted it

    def all(self) -> tuple[Key, ...]:
        """Every key, oldest first, whether it has expired or not.

        Raises:
            ServerError: the file is damaged, or others may write it; then nobody is let in.
        """
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._kept = self._read() if stamp else ()
            self._stamp = stamp  # last: a file that cannot be read is read again
        return self._kept

    def find(self, text: str) -> Key | None:
        """The key of this text, whether it has expired or not; None: there is none.

        Every kept hash is compared, each in constant time, so that nothing can be learnt from how long it takes.

        Raises:
            ServerError: see `all`.
        """
        kept = self.all()
        if not _SHAPE.fullmatch(text):
            return None
        digest = _hash(text)
        found = [key for key in kept if hmac.compare_digest(key.hash, digest)]
        return found[0] if found else None

    def add(self, name: str, scopes: tuple[Scope, ...], expires: datetime | None = None) -> tuple[str, Key]:
        """Make a key.

        Args:
            name: of whoever gets it: letters, digits and ._@-, 64 at most, and not used by another key.
            scopes: what it may do, at least one.
            expires: from when on it is refused, in UTC.

        Returns:
            The key, which is told nowhere again, and what is kept of it.

        Raises:
            ServerError: the name is taken or no name, there are no scopes, or the file cannot be written.
        """
        _check(name, scopes, expires)
        text = PREFIX + secrets.token_urlsafe(_BYTES)
        key = Key(secrets.token_hex(8), name, _hash(text), tuple(dict.fromkeys(scopes)), _now(), expires)
        with self._alone():
            kept = self.all()
            if any(other.name == name for other in kept):
                raise ServerError(f"there is a key called {name} already; revoke it first, or choose another name")
            self._write((*kept, key))
        return text, key

    def revoke(self, name: str) -> Key:
        """Remove a key: it is refused from now on, by servers that run as well.

        Raises:
            ServerError: there is none of this name, or the file cannot be written.
        """
        with self._alone():
            kept = self.all()
            gone = [key for key in kept if key.name == name]
            if not gone:
                raise ServerError(f"there is no key called {name[:64]}; `mien serve keys list` shows them")
            self._write(tuple(key for key in kept if key.name != name))
        return gone[0]

    def used(self) -> dict[str, str]:
        """The day on which a key was last used, by its id: 2026-11-21. Days alone, so that nobody's habits are kept."""
        try:
            days = json.loads(self._used_path.read_text(encoding="utf-8"))
            return {str(key): str(day) for key, day in days.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def unnoted(self, key: Key) -> bool:
        """Whether it has not been noted yet that a key is used today."""
        return self._seen.get(key.id) != _now().date().isoformat()

    def note_use(self, key: Key) -> None:
        """Note that a key is used today; this writes a file, which may take a moment.

        In a file of its own: a server never writes the one that says who is let in.
        """
        self._seen[key.id] = today = _now().date().isoformat()
        try:
            with self._alone():
                known = {other.id for other in self.all()}
                days = {id_: day for id_, day in self.used().items() if id_ in known} | {key.id: today}
                write_whole(self._used_path, json.dumps(days) + "\n", private=True)
        except MienError:
            self._seen.pop(key.id, None)  # it is told to people, and decides nothing: next time, then

    def _stamp_now(self) -> tuple[int, ...] | None:
        """What changes whenever the file does: it is always replaced, so its number on the disk is another."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ServerError(f"{self._path}: cannot be read ({error.strerror or error})") from error
        if os.name == "posix" and (now.st_mode & 0o022 or now.st_uid not in {os.getuid(), 0}):
            raise ServerError(
                f"{self._path}: others may write it, and it says who is let in; look at it, then chmod 600"
            )
        return now.st_ino, now.st_mtime_ns, now.st_size

    def _read(self) -> tuple[Key, ...]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if kept["format"] != _FORMAT:
                raise ValueError("another format")
            return tuple(map(_key, kept["keys"]))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ServerError(f"{self._path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServerError(f"{self._path}: damaged, so nobody is let in; delete it and make new keys") from error

    def _write(self, keys: tuple[Key, ...]) -> None:
        kept = [key.to_dict() | {"hash": key.hash} for key in keys]
        write_whole(self._path, json.dumps({"format": _FORMAT, "keys": kept}, indent=1) + "\n", private=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The only one of all processes that changes keys."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(self._path.with_suffix(".lock"), timeout=_LOCK_SECONDS, mode=0o600)
            lock.acquire()
        except Timeout as error:
            raise ServerError(f"{self._path}: another process is changing it; try again") from error
        except OSError as error:
            raise ServerError(
                f"{self._folder}: cannot be written ({error.strerror or error}); set MIEN_STATE"
            ) from error
        try:
            yield
        finally:
            lock.release()


def _check(name: str, scopes: tuple[Scope, ...], expires: datetime | None) -> None:
    if not _NAME.fullmatch(name):
        raise ServerError(f"{name[:64]!r}: a key's name is of letters, digits and ._@-, 64 at most")
    if not scopes:
        raise ServerError(f"a key needs a scope: {', '.join(SCOPES)}")
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise ServerError(f"{unknown[0][:40]!r} is no scope; choose from {', '.join(SCOPES)}")
    if expires is not None and expires <= _now():
        raise ServerError("a key cannot expire before it is made")


def _key(kept: dict[str, Any]) -> Key:
    """A key as it was written; everything about it is checked, for this decides who is let in."""
    expires = kept.get("expires")
    key = Key(
        str(kept["id"]),
        str(kept["name"]),
        str(kept["hash"]),
        tuple(kept["scopes"]),
        _moment(kept["created"]),
        None if expires is None else _moment(expires),
    )
    if not (re.fullmatch("[0-9a-f]{64}", key.hash) and set(key.scopes) <= set(SCOPES) and _NAME.fullmatch(key.name)):
        raise ValueError("values out of range")
    return key


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
