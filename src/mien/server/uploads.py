"""Pictures as they come: raw, or in a form of several parts; never more of them than a request may bring.

A form is read as it streams in, and refused as soon as a part is too large, not after all of it has arrived. Pictures
stay in memory; nothing is written to a file unless `save_body` or `save_files` is asked to, and then by a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mien.server.access import gates_of
from mien.server.bodies import too_large
from mien.server.problems import Problem
from mien.server.settings import Limits
from mien.server.spool import PIECE, Spool
from mien.server.visits import visit_of

_FIELDS = 16
_FIELD_BYTES = 10_000
_HEADER_BYTES = 4_000  # of all headers of one part
_NAME = 64
_LONGEST_NAME = 120
_LONGEST_BOUNDARY = 200
_FORM = "multipart/form-data"


@dataclass(frozen=True, eq=False)
class Upload:
    """One picture as it came.

    Attributes:
        field: of the form; "image" where it came raw.
        name: as the caller calls it, without folders; the field's where it has none. Never a path of ours.
        data: encoded.
    """

    field: str
    name: str
    data: bytes


@dataclass(eq=False)
class Form:
    """A form that has arrived.

    Attributes:
        texts: fields that are no files, by their names; the first of a name counts.
        uploads: files, in the order in which they came.
    """

    texts: dict[str, str] = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """A field that is no file."""
        return self.texts.get(name)

    def files(self, *names: str) -> list[Upload]:
        """Files under these names, name by name."""
        return [upload for name in names for upload in self.uploads if upload.field == name]


async def read_body(request: Request, most: int) -> bytes:
    """A raw body of at most so many bytes.

    Raises:
        Problem: it is longer, or empty.
    """
    body = bytearray()
    async for part in request.stream():
        if len(body) + len(part) > most:
            raise too_large(most)
        body += part
    if not body:
        raise Problem(422, "empty", "an empty body; send a picture")
    return bytes(body)


async def read_pictures(request: Request, limits: Limits, *fields: str, most: int | None = None) -> list[Upload]:
    """The pictures of a request: its raw body, or the parts of a form that have these names.

    Args:
        request: whose body has not been read.
        limits: of pictures.
        fields: names of parts.
        most: pictures; None: `limits.pictures`.

    Raises:
        Problem: too many, too large, or none.
    """
    if not is_form(request):
        return [Upload("image", "image", await read_body(request, limits.picture_bytes))]
    pictures = (await read_form(request, limits, most=most)).files(*fields)
    if not pictures:
        raise Problem(422, "empty", f"no picture; send one as a file called {' or '.join(fields)}")
    return pictures


def is_form(request: Request) -> bool:
    """Whether a body is a form of several parts."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM


async def read_form(request: Request, limits: Limits, *, most: int | None = None) -> Form:
    """A form of several parts.

    Args:
        request: whose body has not been read.
        limits: of pictures.
        most: files; None: `limits.pictures`.

    Raises:
        Problem: it cannot be read, or brings too much.
    """
    sinks = _InMemory(limits.picture_bytes, limits.pictures if most is None else most)
    await _parse(request, sinks)
    return sinks.form


async def save_body(request: Request, path: Path, most: int, part: str) -> str:
    """Write a raw body, or one part of a form, to a file, while it arrives.

    Args:
        request: whose body has not been read.
        path: of a file that is not there yet.
        most: bytes.
        part: name of the form's part; others are refused.

    Returns:
        What the caller calls it, without folders; `part` where it has no name.

    Raises:
        Problem: it is longer, empty, or cannot be read.
        OSError: the file cannot be written.
    """
    sinks = _ToFile(path, most, part)
    if is_form(request):
        await _parse(request, sinks)
    else:
        async for data in request.stream():
            sinks.write(data)
            await _written(request, sinks.spool, PIECE)
        await _written(request, sinks.spool)
    if not sinks.size:
        raise Problem(422, "empty", f"no {part}; send one as the body, or as a file called {part}")
    return sinks.name


async def _written(request: Request, spool: Spool, least: int = 0) -> None:
    """Write what waits; of what arrived, nothing else is in memory then, also not what is between files and after."""
    await spool.flush(least)
    visit = visit_of(request.scope)
    gates_of(request).in_flight.give(visit, visit.held - spool.held)


Write = Callable[[bytes], None]
"""Takes the bytes of a file, and an empty piece at its end."""


async def save_files(request: Request, begin: Callable[[str, str, Spool], Write]) -> None:
    """Write the files of a form while they arrive; it has no other fields.

    Args:
        request: whose body has not been read.
        begin: called with the field and the name of each file, and what writes them; gives what takes its bytes. It may
            raise `Problem`.

    Raises:
        Problem: it is no form, or cannot be read.
        OSError: a file cannot be written.
    """
    if not is_form(request):
        raise Problem(415, "form", "send a form, multipart/form-data")
    await _parse(request, _ToFiles(begin))


class _ToFiles:
    def __init__(self, begin: Callable[[str, str, Spool], Write]) -> None:
        self.spool = Spool()
        self._begin = begin

    def file(self, field: str, name: str) -> Write:
        return self._begin(field, name, self.spool)

    def text(self, field: str) -> Write:
        raise Problem(422, "invalid", "a form with nothing but files, please")


class _Sinks(Protocol):
    """Where the parts of a form go: into memory, or through a spool to files."""

    @property
    def spool(self) -> Spool | None: ...

    def file(self, field: str, name: str) -> Write:
        """A file begins; what is given takes its bytes, and an empty part at its end."""

    def text(self, field: str) -> Write:
        """Another field begins."""


class _InMemory:
    spool = None

    def __init__(self, most_bytes: int, most_files: int) -> None:
        self.form = Form()
        self._most_bytes, self._most_files, self._begun, self._texts = most_bytes, most_files, 0, 0

    def file(self, field: str, name: str) -> Write:
        self._begun += 1
        if self._begun > self._most_files:
            raise Problem(413, "too-many", f"more than {self._most_files} pictures in one request")
        return _gathered(
            lambda data: self.form.uploads.append(Upload(field, name, data)), self._most_bytes, "a picture"
        )

    def text(self, field: str) -> Write:
        self._texts += 1
        if self._texts > _FIELDS:
            raise Problem(413, "too-many", f"more than {_FIELDS} fields in one form")
        return _gathered(lambda data: self._keep(field, data), _FIELD_BYTES, "a field")

    def _keep(self, field: str, data: bytes) -> None:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Problem(422, "invalid", "a field of the form is not in UTF-8") from error
        if "\0" in text:
            raise Problem(422, "invalid", "a field of the form has NUL in it")
        self.form.texts.setdefault(field, text)


class _ToFile:
    def __init__(self, path: Path, most: int, part: str) -> None:
        self.name, self.size, self.spool = part, 0, Spool()
        self._path, self._most, self._part, self._begun = path, most, part, False

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._most:
            raise too_large(self._most)
        self.spool.add(self._path, data)

    def file(self, field: str, name: str) -> Write:
        if field != self._part or self._begun:
            raise Problem(422, "invalid", f"a form with one file, called {self._part}, please")
        self._begun, self.name = True, name
        return self.write

    def text(self, field: str) -> Write:
        raise Problem(422, "invalid", f"a form with one file, called {self._part}, please")


def _gathered(finish: Callable[[bytes], None], most: int, what: str) -> Write:
    """Gather bytes, at most so many; an empty piece ends them."""
    gathered = bytearray()

    def write(data: bytes) -> None:
        if len(gathered) + len(data) > most:
            raise too_large(most, what)
        gathered.extend(data)
        if not data:
            finish(bytes(gathered))

    return write


async def _parse(request: Request, sinks: _Sinks) -> None:
    """Send the parts of a form where they belong, as they arrive.

    Raises:
        Problem: it is no form, or a part is refused.
        OSError: a file cannot be written.
    """
    reading = _Reading(sinks)
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise Problem(422, "form", "a form without a boundary in its Content-Type")
    parser = MultipartParser(boundary, reading.callbacks())  # type: ignore[arg-type]
    try:
        async for data in request.stream():
            parser.write(data)
            if sinks.spool is not None:
                await _written(request, sinks.spool, PIECE)
        parser.finalize()
    except FormParserError as error:
        raise Problem(422, "form", "a form that cannot be read") from error
    if not reading.ended:
        raise Problem(422, "form", "a form that ends in the middle")
    if sinks.spool is not None:
        await _written(request, sinks.spool)


class _Reading:
    """Follows a form part by part."""

    def __init__(self, sinks: _Sinks) -> None:
        self.ended = False
        self._sinks = sinks
        self._write: Write = lambda _: None
        self._name, self._value, self._disposition = bytearray(), bytearray(), b""
        self._header_bytes = 0

    def callbacks(self) -> dict[str, Callable[..., None]]:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end")
        return {f"on_{name}": getattr(self, name) for name in (*names, "headers_finished", "end")}

    def part_begin(self) -> None:
        self._disposition, self._header_bytes = b"", 0

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        field = _text(options.get(b"name", b""))
        if kind != b"form-data" or not field.isprintable() or not 0 < len(field) <= _NAME:
            raise Problem(422, "form", "a part of the form without a name")
        name = options.get(b"filename")
        self._write = (
            self._sinks.text(field) if name is None else self._sinks.file(field, clean_name(_text(name)) or field)
        )

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._write(data[start:end])

    def part_end(self) -> None:
        self._write(b"")

    def end(self) -> None:
        self.ended = True

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _HEADER_BYTES:
            raise Problem(413, "too-large", "a part of the form with a header that is too long")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def clean_name(name: str) -> str:
    """What a caller calls a file: without folders, without what cannot be printed, and not endless; perhaps empty."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable()).strip(" .")[:_LONGEST_NAME]
