"""Requests and answers: keys, refusals as the library's own errors, and patience with a busy server."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import GalleryError, ImageError, MienError, ServerError
from mien.ops.image import ImageSource, read_image_bytes
from mien.problem_codes import CODES

if TYPE_CHECKING:
    import httpx2

URL = "http://127.0.0.1:8765"
_KINDS: Mapping[str, type[MienError]] = {**CODES, "no-gallery": GalleryError}
_BUSY = (429, 503)
_LONGEST_PAUSE = 10.0
Part = tuple[str, tuple[str, bytes]]


class Transport:
    """Speaks HTTP with one server. May be shared by threads.

    Args:
        url: of the server, with or without a path before `/v1`.
        key: that it asks for; by default the environment's `MIEN_KEY`.
        timeout: seconds without a byte after which a request is given up.
        patience: seconds for which a busy server is asked again, as it says.
        http: an `httpx2.Client` of your own, which knows the server's address: for proxies, certificates and tests.

    Raises:
        ServerError: the extra `client` is not installed.
    """

    def __init__(
        self, url: str, key: str | None, *, timeout: float, patience: float, http: httpx2.Client | None = None
    ) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise ServerError("the client needs one more package: pip install 'mien[client]'") from error
        self._failures = (httpx2.TransportError, httpx2.InvalidURL)
        self._http = http or httpx2.Client(base_url=url, timeout=timeout)
        self._url, self._patience = url, patience
        if key := key or os.environ.get("MIEN_KEY"):
            self._http.headers["Authorization"] = f"Bearer {key}"

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answer to a request; an empty one is an empty dict.

        Args:
            method: of HTTP.
            path: below the server's address; parts that users chose are quoted by the caller.
            request: what `httpx2.Client.request` takes.

        Raises:
            ServerError: the server cannot be reached, or refuses.
            MienError: what the library would raise for the same picture, person, ...
        """
        content = self.bytes(method, path, **request)
        try:
            answer = json.loads(content) if content else {}
        except ValueError as error:
            raise ServerError(f"{self._url}: answers with something else than JSON; is it a mien server?") from error
        if not isinstance(answer, dict):
            raise ServerError(f"{self._url}: answers with something else than an object; is it a mien server?")
        return answer

    def bytes(self, method: str, path: str, **request: Any) -> bytes:
        """The body of an answer; see `json`."""
        until = time.monotonic() + self._patience
        if "params" in request:
            request["params"] = {name: value for name, value in request["params"].items() if value is not None}
        while True:
            try:
                answer = self._http.request(method, path, **request)
            except self._failures as error:
                raise ServerError(f"{self._url}: cannot be reached: {error}") from error
            if answer.is_success:
                return bytes(answer.content)
            pause = _pause(answer)
            if pause is None or time.monotonic() + pause > until:
                raise refusal(answer)
            time.sleep(pause)


def _pause(answer: httpx2.Response) -> float | None:
    """Seconds after which to ask again; None: never."""
    after = answer.headers.get("retry-after", "")
    return min(float(after), _LONGEST_PAUSE) if answer.status_code in _BUSY and after.isdecimal() else None


def refusal(answer: httpx2.Response) -> MienError:
    """What a refusal says, as the library would have said it."""
    try:
        problem = answer.json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return ServerError(f"the server answers with {answer.status_code}; is it a mien server?", answer.status_code)
    return error_of(code, detail, answer.status_code)


def error_of(code: str, detail: str, status: int) -> MienError:
    """A problem as an error."""
    kind = _KINDS.get(code)
    return ServerError(detail, status, code) if kind is None else kind(detail)


def encoded(image: ImageSource) -> tuple[str, bytes]:
    """A picture as it is sent: its name, and its bytes; arrays become PNG.

    Raises:
        ImageError: it cannot be read.
    """
    if isinstance(image, np.ndarray):
        return "image.png", _png(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return "image", bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return Path(image).name, read_image_bytes(image)
    if callable(getattr(image, "read", None)):
        return Path(str(getattr(image, "name", "image"))).name, bytes(image.read())
    raise ImageError(f"cannot send a {type(image).__name__}: give a path, bytes, a binary file object or an array")


def _png(image: Any) -> bytes:
    from PIL import Image

    from mien.ops.image import load_image

    out = io.BytesIO()
    Image.fromarray(load_image(image)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def parts(field: str, images: Sequence[ImageSource]) -> list[Part]:
    """Pictures as the parts of a form."""
    return [(field, encoded(image)) for image in images]
