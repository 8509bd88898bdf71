"""Live frames over a WebSocket: one answer a frame, and none for those that the server is too slow for."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.analyzer import Task
from mien.errors import ImageError, MienError
from mien.gallery.gallery import Gallery, acting_as
from mien.server.access import Caller, admitted
from mien.server.context import Context, context_of
from mien.server.live import TASKS, Live
from mien.server.people import actor_of, check_measured
from mien.server.problems import Problem, problem_of
from mien.server.visits import visit_of

router = APIRouter(prefix="/v1")
_HELLO_SECONDS = 10.0
_IDLE_SECONDS = 60.0
_LONGEST_HELLO = 4096
_REFUSED, _TOO_LARGE, _BUSY, _FAILED = 1008, 1009, 1013, 1011


class Hello(BaseModel):
    """The first message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: Annotated[str, Field(max_length=200)] | None = None
    only: list[Literal["detect", "pose", "expression"]] = Field(default=["detect", "pose", "expression"], max_length=8)
    identify: bool = False


class _EndError(Exception):
    """Nothing more is to be said, for a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(eq=False)
class _Newest:
    """Holds the newest frame that nobody has looked at yet; older ones are dropped."""

    number: int = -1
    frame: bytes | None = None
    closed: _EndError | None = None

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()

    def put(self, number: int, frame: bytes) -> int | None:
        """A frame came; the number of the one that it replaces."""
        dropped = self.number if self.frame is not None else None
        self.number, self.frame = number, frame
        self._changed.set()
        return dropped

    def close(self, why: _EndError) -> None:
        """No more come."""
        self.closed = why
        self._changed.set()

    async def take(self) -> tuple[int, bytes]:
        """The newest frame."""
        while self.frame is None:
            if self.closed is not None:
                raise self.closed
            self._changed.clear()
            await self._changed.wait()
        taken, self.frame = (self.number, self.frame), None
        return taken


@router.websocket("/live")
async def live(socket: WebSocket) -> None:
    """Follow the faces of a camera: first a `Hello`, then frames as JPEG."""
    context = context_of(socket)
    await socket.accept()
    try:
        hello = await _hello(socket)
        caller, gallery = await _admit(socket, context, hello)
        with context.places.taken(caller.id):
            await _follow(socket, context, tuple(hello.only), gallery)
    except WebSocketDisconnect:
        return
    except _EndError as end:
        await _close(socket, end.code, end.reason)
    except Problem as problem:
        await _close(socket, _BUSY if problem.status == 429 else _REFUSED, problem.detail)
    except MienError as error:
        await _close(socket, _FAILED, problem_of(error).detail)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed already
        await socket.close(code, reason[:120])


async def _hello(socket: WebSocket) -> Hello:
    try:
        async with asyncio.timeout(_HELLO_SECONDS):
            text = await socket.receive_text()
        if len(text) > _LONGEST_HELLO:
            raise _EndError(_REFUSED, "the first message is too long")
        return Hello.model_validate_json(text)
    except TimeoutError:
        raise _EndError(_REFUSED, "no first message came") from None
    except (ValidationError, KeyError):
        raise _EndError(_REFUSED, "the first message is not what the documentation says") from None


async def _admit(socket: WebSocket, context: Context, hello: Hello) -> tuple[Caller, Gallery | None]:
    """Who it is, and the gallery to name people from, if they may see it."""
    if not hello.identify:
        return await admitted(socket, hello.key, "analyze"), None
    caller = await admitted(socket, hello.key, "analyze", "gallery:read")
    check_measured(context.known())
    return caller, context.known()


async def _follow(socket: WebSocket, context: Context, only: tuple[Task, ...], gallery: Gallery | None) -> None:
    tasks = tuple(task for task in TASKS if task in only or task == "detect")
    make = partial(Live, context.engine.analyzer, tasks, gallery, most_pixels=context.settings.limits.picture_pixels)
    seeing = await context.engine.run(make)
    newest, sending = _Newest(), asyncio.Lock()
    caller = visit_of(socket.scope).caller
    actor = actor_of(caller) if caller is not None else "server"

    def see(number: int, frame: bytes) -> dict[str, Any]:
        with acting_as(actor):
            return seeing.see(number, frame)

    async def send(answer: dict[str, Any]) -> None:
        async with sending:
            await socket.send_json(answer)

    await send({"type": "ready"})
    receiving = asyncio.create_task(_receive(socket, newest, context.settings.limits.picture_bytes, send))
    try:
        while True:
            number, frame = await newest.take()
            try:
                answer = await context.engine.run(see, number, frame)
            except ImageError as error:
                await send({"type": "error", "frame": number, "error": problem_of(error).to_dict()})
            else:
                await send({"type": "faces", **answer})
    finally:
        receiving.cancel()


async def _receive(socket: WebSocket, newest: _Newest, most: int, send: Any) -> None:
    """Take frames as they come, until the caller leaves or says what is no frame."""
    number = 0
    try:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                frame = await socket.receive_bytes()
            if len(frame) > most:
                raise _EndError(_TOO_LARGE, f"a frame of more than {most:,} bytes")
            dropped = newest.put(number, frame)
            number += 1
            if dropped is not None:
                await send({"type": "dropped", "frame": dropped})
    except WebSocketDisconnect:
        newest.close(_EndError(1000, ""))
    except TimeoutError:
        newest.close(_EndError(_REFUSED, "no frame came for a minute"))
    except KeyError:
        newest.close(_EndError(_REFUSED, "frames are binary messages"))
    except _EndError as end:
        newest.close(end)
