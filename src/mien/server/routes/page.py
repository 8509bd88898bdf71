"""The web page: the files of `mien.web`, and nothing beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

from mien.server.problems import Problem

router = APIRouter(include_in_schema=False)
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served; whatever else lies in the folder is not."""


@dataclass(frozen=True, eq=False)
class Page:
    """One file.

    Attributes:
        data: of it.
        type: of it, as HTTP says it.
        etag: a strong one, with its quotes.
    """

    data: bytes
    type: str
    etag: str


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page."""
    return _answer(request, "index.html")


@router.api_route("/web/{name:path}", methods=["GET", "HEAD"])
async def part(request: Request, name: str) -> Response:
    """What it is made of."""
    return _answer(request, name)


@cache
def pages() -> dict[str, Page]:
    """All files by their path within the folder, read once: a name that is not among them leads nowhere."""
    return dict(_read(files("mien") / "web", ""))


def _read(folder: Traversable, prefix: str) -> list[tuple[str, Page]]:
    found: list[tuple[str, Page]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        suffix = entry.name[entry.name.rfind(".") :]
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        elif suffix in TYPES:
            data = entry.read_bytes()
            found.append((prefix + entry.name, Page(data, TYPES[suffix], f'"{sha256(data).hexdigest()[:32]}"')))
    return found


def _answer(request: Request, name: str) -> Response:
    """A file, or that the caller has it already.

    Raises:
        Problem: there is none of that name.
    """
    page = pages().get(name)
    if page is None:
        raise Problem(404, "not-found", "the page has no such part")
    headers = {"ETag": page.etag, "Cache-Control": "no-cache"}
    if _has(request, page.etag):
        return Response(status_code=304, headers=headers)
    return Response(page.data, media_type=page.type, headers=headers)


def _has(request: Request, etag: str) -> bool:
    """Whether the caller's copy is this one (RFC 9110, 13.1.2: weak comparison)."""
    given = (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(","))
    return any(tag in {etag, "*"} for tag in given)
