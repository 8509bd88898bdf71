"""`Attempt`: frames sent to a server, which asks for actions and judges them."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from mien.client.transport import Transport, encoded
from mien.ops.image import ImageSource


class Attempt:
    """One attempt to be let in; a context manager, which cancels what has not ended.

        with client.unlock("Grace Hopper") as attempt:
            while attempt.state != "done":
                status = attempt.feed(camera.read())
        attempt.accepted

    Args:
        transport: to the server.
        said: what the server says of it.

    Attributes:
        actions: what may be asked, in no order: which one it is, `feed` says when it is asked.
        texts: how to ask for each, by language ("en", "zh").
        seconds: until it ends by itself.
        state: "baseline", "action" or "done".
        accepted: whether the person is let in, once it is done.
    """

    def __init__(self, transport: Transport, said: Mapping[str, Any]) -> None:
        self._transport, self._id = transport, str(said["id"])
        self.actions: list[str] = list(said["actions"])
        self.texts: dict[str, dict[str, str]] = dict(said["texts"])
        self.seconds = float(said["seconds"])
        self.state = str(said.get("state", "baseline"))
        self.accepted: bool | None = None
        self._sent = 0

    def feed(self, frame: ImageSource) -> dict[str, Any]:
        """Send the next frame, now: the server goes by its own clock.

        Returns:
            What the server says: "state", "action", "hint", and in the end "accepted" and "reason".

        Raises:
            LivenessError: the attempt has ended already.
        """
        _, data = encoded(frame)
        headers = {"Content-Type": "application/octet-stream"}
        path, params = f"/v1/liveness/{self._id}/frames", {"n": self._sent}
        said: dict[str, Any] = self._transport.json("POST", path, params=params, content=data, headers=headers)[
            "session"
        ]
        self._sent += 1
        self.state, self.accepted = str(said["state"]), said.get("accepted")
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.state != "done":
            self._transport.json("DELETE", f"/v1/liveness/{self._id}")
