"""What went wrong, as every answer says it: RFC 9457 problem details, one line, and neither a path nor a traceback."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mien.errors import MienError, NotInGalleryError
from mien.problem_codes import CODES

log = logging.getLogger("mien.server")
MEDIA_TYPE = "application/problem+json"
GONE = 499
"""The caller hung up: no status of HTTP's, but what logs commonly say."""

_STATUS_OF = {"picture-too-large": 413, "gallery-busy": 503, "gallery": 409, "liveness": 409}
_STATUS: tuple[tuple[type[MienError], int, str], ...] = (
    (NotInGalleryError, 404, "not-found"),
    *((kind, _STATUS_OF.get(code, 422), code) for code, kind in CODES.items()),
)
"""What of the caller's doing an error is, most special first; any other is ours, and is answered with 500."""


class Problem(Exception):  # noqa: N818 - the name that RFC 9457 gives it
    """An answer that is a refusal.

    Args:
        status: of HTTP.
        code: a word that programs go by; it never changes.
        detail: one line for people: what is wrong, and what to do.
        headers: of the answer.
    """

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers or {}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        title = "Client Closed Request" if self.status == GONE else HTTPStatus(self.status).phrase
        return {"type": "about:blank", "title": title, "status": self.status, "code": self.code, "detail": self.detail}

    def response(self) -> JSONResponse:
        """As an answer."""
        return JSONResponse(self.to_dict(), self.status, headers=self.headers, media_type=MEDIA_TYPE)


def problem_of(error: MienError) -> Problem:
    """What an error of the library is for the caller; what is not their doing keeps its text to itself."""
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return Problem(status, code, str(error))
    log.error("a request failed: %s", error)
    return Problem(500, "internal", "the server failed; its log says why")


def install(app: FastAPI) -> None:
    """Answer every failure of an application with problem details."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)  # noqa: S101
        return error.response()

    async def failed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, MienError)  # noqa: S101
        return problem_of(error).response()

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return Problem(422, "invalid", _first(error)).response()

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        headers = dict(error.headers or {})
        code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "refused")
        return Problem(error.status_code, code, str(error.detail), headers).response()

    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("a request failed", exc_info=error)
        return Problem(500, "internal", "the server failed; its log says why").response()

    app.add_exception_handler(Problem, refused)
    app.add_exception_handler(MienError, failed)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def _first(error: RequestValidationError) -> str:
    """The first thing that is wrong with a request, without what was sent."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path"))
    return f"{where or 'request'}: {first.get('msg', 'invalid')}"[:300]
