"""Who did what: a line of JSON for each request that reads, changes or is refused. No pictures, no names of people.

Two files, each kept in so many pieces: `audit.jsonl` of callers who are known, and `refused.jsonl` of those who are
not, so that a flood of strangers cannot push out what was done by people with keys.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout

from mien.errors import ServerError

log = logging.getLogger("mien.server")
MOST_BYTES = 20_000_000
PIECES = 5
_LOCK_SECONDS = 5.0


@dataclass(frozen=True)
class Line:
    """One request.

    Attributes:
        request: its id, which the answer has as X-Request-ID.
        method: of HTTP.
        route: as the program has it, "/v1/gallery/people/{id}": never what was asked literally.
        address: of the caller.
        key: name of their key; None: not known.
        key_id: of it.
        subject: id of a person, face, job or session that it was about.
        status: of the answer; None: it only begins, and something is about to change.
        code: of a refusal.
        seconds: until the answer.
    """

    request: str
    method: str
    route: str
    address: str
    key: str | None = None
    key_id: str | None = None
    subject: str | None = None
    status: int | None = None
    code: str | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what is not known."""
        kept = {name: value for name, value in vars(self).items() if value is not None}
        event = "begin" if self.status is None else "refused" if self.status >= 400 else "done"
        return {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | kept


@dataclass(eq=False)
class Audit:
    """The two files.

    Args:
        folder: where they are, see `keys.server_folder`; made when the first line is written.
        most: bytes of one piece of a file.
        pieces: of a file that are kept, the newest one included.
    """

    folder: Path
    most: int = MOST_BYTES
    pieces: int = PIECES
    _lock: Lock = field(default_factory=Lock)
    _told: float = -60.0  # when a failure was last told

    def add(self, line: Line, *, safely: bool = False) -> None:
        """Append a line.

        Args:
            line: of a request.
            safely: it is on the disk when this returns, whatever happens to the machine.

        Raises:
            ServerError: it cannot be written; the log has been told so, loudly.
        """
        path = self.folder / ("refused.jsonl" if line.key is None else "audit.jsonl")
        data = (json.dumps(line.to_dict(), ensure_ascii=True) + "\n").encode()
        with self._lock:
            try:
                self._append(path, data, safely=safely)
            except (OSError, Timeout) as error:
                self._tell(path, error)
                raise ServerError(f"{path}: cannot be written ({error})") from error

    def _append(self, path: Path, data: bytes, *, safely: bool) -> None:
        self._make_room(path, len(data))
        # opened each time: whatever other processes do with the file meanwhile, the line is in the one that is there
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            if os.write(handle, data) != len(data):  # one write: lines of two processes do not mix
                raise OSError("no room")
            if safely:
                os.fsync(handle)
        finally:
            os.close(handle)

    def _make_room(self, path: Path, size: int) -> None:
        try:
            full = path.stat().st_size + size > self.most
        except FileNotFoundError:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return
        if full:
            with FileLock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS, mode=0o600):
                if path.stat().st_size + size > self.most:  # no other process has done it meanwhile
                    self._shift(path)

    def _shift(self, path: Path) -> None:
        """Count the pieces of a file up by one; the oldest goes."""
        for number in range(self.pieces - 1, 0, -1):
            older = path.with_suffix(f".{number}.jsonl")
            newer = path if number == 1 else path.with_suffix(f".{number - 1}.jsonl")
            with suppress(FileNotFoundError):
                newer.replace(older)

    def _tell(self, path: Path, error: Exception) -> None:
        """Tell the log, once a minute: a full disk should not fill it, too."""
        if time.monotonic() - self._told > 60.0:
            self._told = time.monotonic()
            log.critical("%s: cannot be written (%s); until it can, nothing is changed for anybody", path, error)
