"""`Job`: what takes a server longer than a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from mien.client.transport import Transport, error_of
from mien.errors import ServerError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0


class Job:
    """A job on a server, which belongs to the key that began it.

    Args:
        transport: to the server.
        said: what the server says of it, at least its id.

    Attributes:
        id: of it.
        state: "waiting", "running", "done", "failed" or "cancelled", as far as is known.
    """

    def __init__(self, transport: Transport, said: Mapping[str, Any]) -> None:
        self._transport = transport
        self.id = str(said["id"])
        self.state = str(said.get("state", "waiting"))

    def look(self) -> dict[str, Any]:
        """What the server says of it now."""
        said: dict[str, Any] = self._transport.json("GET", self._path())["job"]
        self.state = str(said["state"])
        return said

    def wait(
        self, *, timeout: float | None = None, progress: Callable[[float, float | None], None] | None = None
    ) -> dict[str, Any]:
        """Wait until it has ended.

        Args:
            timeout: seconds; None: however long it takes.
            progress: called with what is done, and of how much where that is known.

        Returns:
            Its result.

        Raises:
            ServerError: it was cancelled, or has not ended in time.
            MienError: it failed, as the library would have.
        """
        until = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            said = self.look()
            if progress is not None and "progress" in said:
                progress(said["progress"]["done"], said["progress"].get("total"))
            if self.state == "done":
                return dict(said.get("result", {}))
            if self.state == "failed":
                problem = said["error"]
                raise error_of(problem["code"], problem["detail"], problem["status"])
            if self.state == "cancelled":
                raise ServerError("the job was cancelled")
            if until is not None and time.monotonic() + pause > until:
                raise ServerError(f"the job has not ended within {timeout:g} seconds; it goes on, see `look`")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    def files(self) -> list[str]:
        """Names of the files that it made."""
        return list(self.look().get("files", ()))

    def file(self, name: str) -> bytes:
        """One of them."""
        return self._transport.bytes("GET", self._path("files", name))

    def name(self, group: int, name: str, *, consent: str | None = None) -> dict[str, Any]:
        """Enrol the faces of a group as a person.

        Args:
            group: its number.
            name: of the person.
            consent: what the person agreed to.
        """
        asked = {"name": name} | ({} if consent is None else {"consent": consent})
        return self._transport.json("POST", self._path("groups", str(group), "name"), json=asked)

    def cancel(self) -> None:
        """Stop it, and remove what it has made."""
        self._transport.json("DELETE", self._path())
        self.state = "cancelled"

    def _path(self, *more: str) -> str:
        return "/".join(["/v1/jobs", *(quote(part, safe="") for part in (self.id, *more))])
