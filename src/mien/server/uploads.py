"""Pictures as they come: raw, or in a form of several parts; never more of them than a request may bring."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from mien.server.problems import Problem
from mien.server.settings import Limits


@dataclass(frozen=True, eq=False)
class Upload:
    """One picture as it came.

    Attributes:
        field: of the form; "image" where it came raw.
        name: as the caller calls it; its field where it has none. Never a path of ours.
        data: encoded.
    """

    field: str
    name: str
    data: bytes


async def read_body(request: Request, most: int) -> bytes:
    """A raw body of at most so many bytes.

    Raises:
        Problem: it is longer, or empty.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Problem(413, "too-large", f"a body of more than {most:,} bytes")
        parts.append(part)
    if not size:
        raise Problem(422, "empty", "an empty body; send a picture")
    return b"".join(parts)


async def read_pictures(request: Request, limits: Limits, *fields: str) -> list[Upload]:
    """The pictures of a request: its raw body, or the parts of a form that have these names.

    Raises:
        Problem: too many, too large, or none.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return [Upload("image", "image", await read_body(request, limits.picture_bytes))]
    form = await read_form(request, limits)
    pictures = [
        Upload(field, part.filename or field, await part.read()) for field in fields for part in files(form, field)
    ]
    if not pictures:
        raise Problem(422, "empty", f"no picture; send one as {' or '.join(fields)}")
    return pictures


async def read_form(request: Request, limits: Limits) -> FormData:
    """A form of several parts.

    Raises:
        Problem: it cannot be read, or brings too much.
    """
    return await request.form(max_files=limits.pictures, max_fields=16, max_part_size=100_000)


def files(form: FormData, field: str) -> list[UploadFile]:
    """The files of a form under one name."""
    return [part for part in form.getlist(field) if isinstance(part, UploadFile)]
